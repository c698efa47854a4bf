from __future__ import annotations

import threading

import mrcfile
import numpy as np
import pytest

from tiltwright.engine.errors import Cancelled, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import identity
from tiltwright.engine.progress import Monitor
from tiltwright.engine.recon.aligned import write_aligned
from tiltwright.engine.recon.backproject import BLOCK, backproject, fixed_point
from tiltwright.engine.recon.filters import angular_weights, filter_rows, radial_filter
from tiltwright.engine.recon.wbp import reconstruct_series

TILT = np.arange(-60.0, 61.0, 3.0)
POINTS = np.array([[21.3, -14.6, 9.2], [-25.7, 20.4, -11.9], [3.4, 31.2, 6.1], [-8.0, -33.3, -3.7]])


def series(geometry, shape, points=POINTS, sigma=3.0):
    ny, nx = shape
    xy = geometry.project(points) + np.array([nx - 1, ny - 1]) / 2
    y, x = np.arange(ny)[:, None], np.arange(nx)
    gx = np.exp(-((x.ravel() - xy[..., 0, None]) ** 2) / (2 * sigma**2))
    gy = np.exp(-((y.ravel() - xy[..., 1, None]) ** 2) / (2 * sigma**2))
    return (500 - 200 * np.einsum("pvy,pvx->vyx", gy, gx)).astype(np.float32)


def positions(volume, points):
    """Where the dark bumps are, by the intensity-weighted centre of a small sphere."""
    centre = (np.array(volume.shape)[::-1] - 1) / 2
    found = []
    for p in points + centre:
        at = p.copy()
        for _ in range(30):
            o = np.rint(at).astype(int)
            box = tuple(slice(q - 6, q + 7) for q in o[::-1])
            z, y, x = np.mgrid[box]
            r2 = (x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2
            w = np.maximum(-volume[box].astype(float), 0) * np.exp(-r2 / 8) * (r2 < 36)
            at = np.array([(w * x).sum(), (w * y).sum(), (w * z).sum()]) / w.sum()
        found.append(at - centre)
    return np.array(found)


def read(path):
    with mrcfile.open(path) as m:
        return m.data.copy()


def test_the_kernel_equals_its_slow_twin():
    rng = np.random.default_rng(0)
    n_blocks, n_views, n_rows, n_x, n_z = 2, 5, 60, 37, 3
    rows = rng.standard_normal((n_blocks, n_views, n_rows, BLOCK), dtype=np.float32)
    t = np.deg2rad(rng.uniform(-60, 60, n_views))
    along_x = np.outer(np.arange(n_x) - 18, np.cos(t)) + 29.5
    along_z = np.outer(np.arange(n_z) - 1.3, np.sin(t))
    out = np.empty((n_z, n_blocks, n_x, BLOCK), np.float32)
    backproject(rows, fixed_point(along_x), fixed_point(along_z), out)
    slow = np.zeros(out.shape)
    for z in range(n_z):
        for x in range(n_x):
            for v in range(n_views):
                at = along_x[x, v] + along_z[z, v]
                k, u = int(np.floor(at)), at - np.floor(at)
                slow[z, :, x] += (1 - u) * rows[:, v, k] + u * rows[:, v, k + 1]
    assert np.abs(out - slow).max() < 5e-4


def test_the_kernel_refuses_positions_outside_its_rows():
    rows = np.zeros((1, 1, 10, BLOCK), np.float32)
    out = np.zeros((1, 1, 2, BLOCK), np.float32)
    zero = fixed_point(np.zeros((1, 1)))
    for bad in (-0.01, 9.0):
        with pytest.raises(InputError, match="outside"):
            backproject(rows, fixed_point(np.full((2, 1), bad)), zero, out)
    with pytest.raises(InputError):
        backproject(rows, np.zeros((2, 3), np.int32), zero, out)
    with pytest.raises(InputError):
        backproject(rows, np.zeros((3, 1), np.int32), zero, out)


def test_angular_weights_cover_the_range_and_share_equal_tilts():
    w = angular_weights([0, -3, 3, 6, 6, 9])
    assert np.allclose(np.rad2deg(w), [3, 3, 3, 1.5, 1.5, 3])
    assert np.allclose(angular_weights([4.0]), 1)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_filtered_rows_are_the_ramp_of_a_wave_at_every_fine_sample(factor):
    n, k = 400, 0.05
    x = np.arange(n * factor) / factor
    view = np.cos(2 * np.pi * k * np.arange(n)).astype(np.float32)[:, None].repeat(3, 1)
    fine = filter_rows(view, 2.0, cutoff=0.35, falloff=0.035, super_sampling=factor)
    inner = slice(100 * factor, 300 * factor)
    assert np.abs(fine[inner, 1] - 2 * k * np.cos(2 * np.pi * k * x[inner])).max() < 2e-3
    assert radial_filter(1000, 0.35, 0.035)[385] == pytest.approx(0.385 * np.exp(-0.5))
    assert radial_filter(1000, 0.35, 0.0)[351:].max() == 0


@pytest.mark.parametrize("axis", [2.0, -84.5])
@pytest.mark.parametrize("x_tilt", [0.0, 2.5])
def test_points_come_out_where_they_are_with_the_right_hand(tmp_path, axis, x_tilt):
    rng = np.random.default_rng(3)
    g = ViewGeometry.nominal(TILT, axis).with_shifts(rng.normal(0, 3, (len(TILT), 2)))
    g = ViewGeometry(**{**vars(g), "x_tilt_deg": x_tilt})
    shape = (112, 100) if axis == 2.0 else (100, 112)
    views = series(g, shape)
    path = tmp_path / "t.mrc"
    result = reconstruct_series(
        views, g.transforms(), TILT, thickness=50, axis_deg=axis, path=path, pixel_size_a=5.0,
        x_tilt_deg=x_tilt,
    )  # fmt: skip
    volume = read(path)
    assert volume.shape == result.shape == (50, 112, 100)
    assert volume.dtype == np.int16
    assert np.array_equal(result.xy, volume[25])
    assert np.array_equal(result.xz, volume[:, 56])
    assert np.array_equal(result.yz, volume[:, :, 50])
    error = positions(volume, POINTS) - POINTS
    assert (np.abs(error).max(axis=0) < [0.05, 0.05, 0.12]).all()


def test_shifts_width_and_float_output(tmp_path):
    g = ViewGeometry.nominal(TILT, 0.0)
    views, shift = series(g, (100, 90)), np.array([4.5, 0, -3.0])
    path = tmp_path / "t.mrc"
    common = {"axis_deg": 0.0, "path": path, "pixel_size_a": 5.0, "thickness": 50}
    r = reconstruct_series(
        views, g.transforms(), TILT, width=80, shift_x=4.5, shift_z=-3.0, dtype="float32", **common
    )
    floats = read(path)
    assert floats.shape == (50, 100, 80)
    assert (r.scale, r.offset) == (1.0, 0.0)
    assert np.abs(positions(floats, POINTS + shift) - POINTS - shift).max() < 0.12
    r = reconstruct_series(
        views, g.transforms(), TILT, width=80, shift_x=4.5, shift_z=-3.0, **common
    )
    assert np.abs(read(path) / r.scale + r.offset - floats).max() < 0.51 / r.scale + 1e-3
    with mrcfile.open(path) as m:
        assert b"int16 = (density" in bytes(m.header.label[1])
        assert m.header.dmean == pytest.approx(m.data.mean(), abs=0.01)
        assert m.header.rms == pytest.approx(m.data.std(), rel=1e-3)


def test_an_angle_offset_turns_the_specimen(tmp_path):
    g = ViewGeometry.nominal(TILT, 0.0)
    path = tmp_path / "t.mrc"
    reconstruct_series(
        series(g, (100, 90)), g.transforms(), TILT - 10, angle_offset_deg=10.0, thickness=50,
        axis_deg=0.0, path=path, pixel_size_a=5.0,
    )  # fmt: skip
    assert np.abs(positions(read(path), POINTS) - POINTS).max() < 0.12


def test_large_series_spill_to_a_file_with_the_same_result(tmp_path, monkeypatch):
    g = ViewGeometry.nominal(TILT, 0.0)
    views = series(g, (64, 64))
    common = {"thickness": 17, "axis_deg": 0.0, "pixel_size_a": 5.0}
    reconstruct_series(views, g.transforms(), TILT, path=tmp_path / "a.mrc", **common)
    monkeypatch.setattr("tiltwright.engine.recon.wbp.ROWS_IN_MEMORY", 1000)
    reconstruct_series(views, g.transforms(), TILT, path=tmp_path / "b.mrc", **common)
    assert np.array_equal(read(tmp_path / "a.mrc"), read(tmp_path / "b.mrc"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mrc", "b.mrc"]


def test_unused_views_do_not_matter(tmp_path):
    g = ViewGeometry.nominal(TILT, 0.0)
    views = series(g, (64, 64))
    spoiled, used = views.copy(), np.ones(len(TILT), bool)
    spoiled[7], used[7] = np.nan, False
    common = {"thickness": 9, "axis_deg": 0.0, "pixel_size_a": 5.0, "used_views": used}
    reconstruct_series(views, g.transforms(), TILT, path=tmp_path / "a.mrc", **common)
    reconstruct_series(spoiled, g.transforms(), TILT, path=tmp_path / "b.mrc", **common)
    assert np.array_equal(read(tmp_path / "a.mrc"), read(tmp_path / "b.mrc"))


def test_constant_views_give_an_even_tomogram(tmp_path):
    views = np.full((3, 20, 20), 9, np.int16)
    reconstruct_series(
        views, identity(3), [-3, 0, 3], thickness=5, axis_deg=0.0, path=tmp_path / "a.mrc",
        pixel_size_a=5.0,
    )  # fmt: skip
    assert read(tmp_path / "a.mrc").shape == (5, 20, 20)


def test_cancelling_leaves_no_file(tmp_path):
    stop = threading.Event()

    def listen(progress):
        if progress.text == "back-projection":
            stop.set()

    with pytest.raises(Cancelled):
        reconstruct_series(
            np.ones((3, 20, 20)), identity(3), [-3, 0, 3], thickness=40, axis_deg=0.0,
            path=tmp_path / "a.mrc", pixel_size_a=5.0, monitor=Monitor(listen, stop),
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"thickness": 0},
        {"width": -1},
        {"super_sampling": 0},
        {"dtype": "int8"},
        {"tilt_deg": [0.0, 1.0]},
        {"tilt_deg": [0.0, np.nan, 1.0]},
        {"used_views": np.zeros(3, bool)},
        {"radial_cutoff": 0.0},
        {"x_tilt_deg": 80.0},
    ],
)
def test_nonsense_is_refused(tmp_path, wrong):
    good = {"tilt_deg": [-3, 0, 3], "thickness": 5, "axis_deg": 0.0, "pixel_size_a": 5.0}
    with pytest.raises(InputError):
        reconstruct_series(
            np.ones((3, 20, 20)), identity(3), path=tmp_path / "a.mrc", **{**good, **wrong}
        )
    assert list(tmp_path.iterdir()) == []


def test_the_aligned_stack_has_the_axis_upright_and_keeps_its_type(tmp_path):
    g = ViewGeometry.nominal([-30.0, 0.0, 30.0], -84.5)
    views = series(g, (100, 112)).astype(np.uint16)
    path = tmp_path / "a.mrc"
    assert write_aligned(views, g.transforms(), -84.5, path, 5.0) == (3, 112, 100)
    aligned = read(path)
    assert aligned.dtype == np.uint16
    x, y = np.rint(POINTS[0, :2] + [49.5, 55.5]).astype(int)
    assert aligned[1, y, x] < 320
    with pytest.raises(InputError):
        write_aligned(views, g.transforms()[:2], -84.5, path, 5.0)
