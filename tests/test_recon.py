from __future__ import annotations

import errno
import os
import threading

import mrcfile
import numpy as np
import pytest
from numba import get_num_threads, njit

from tiltwright.engine.errors import Cancelled, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import identity
from tiltwright.engine.progress import Monitor
from tiltwright.engine.recon import vectors
from tiltwright.engine.recon.aligned import write_aligned
from tiltwright.engine.recon.backproject import backproject, empty_rows, fixed_point
from tiltwright.engine.recon.filters import RowFilter, angular_weights, radial_filter
from tiltwright.engine.recon.strips import Request, Strips
from tiltwright.engine.recon.vectors import BLOCK, LANES, TILE
from tiltwright.engine.recon.wbp import Weighting, reconstruct_series

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


def slow_twin(rows, along_x, along_z, line, n_lines):
    """The sections by loops over voxels, float64."""
    n_views = rows.shape[1]
    views = rows.astype(float).transpose(1, 2, 0, 3).reshape(n_views, rows.shape[2], -1)
    out = np.zeros((len(along_z), n_lines, len(along_x)))
    for z, x in np.ndindex(len(along_z), len(along_x)):
        column = np.zeros(views.shape[2])
        for v in range(n_views):
            at = along_x[x, v] + along_z[z, v]
            k, u = int(np.floor(at)), at - np.floor(at)
            column += (1 - u) * views[v, k] + u * views[v, k + 1]
        whole, u = int(np.floor(line[z])), line[z] - np.floor(line[z])
        if u == 0:
            out[z, :, x] = column[whole : whole + n_lines]
            continue
        for tap in range(-1, 3):  # Keys' cubic, a = -1/2
            d = abs(tap - u)
            w = 1.5 * d**3 - 2.5 * d**2 + 1 if d < 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
            out[z, :, x] += w * column[whole + tap : whole + tap + n_lines]
    return out


@pytest.mark.parametrize(
    ("n_views", "n_x", "n_z", "n_blocks", "n_lines", "line"),
    [
        (5, 37, 3, 2, 64, (0.0, 0.0)),
        (1, 1, 1, 1, 1, (31.0, 31.0)),
        (9, 16, 17, 1, 30, (1.0, 1.0)),
        (17, 33, 18, 2, 51, (1.0, 9.7)),
        (8, 15, 5, 3, 90, (3.25, 1.5)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_the_kernel_equals_its_slow_twin(n_views, n_x, n_z, n_blocks, n_lines, line, dtype):
    rng = np.random.default_rng(n_views)
    rows = empty_rows(n_blocks * BLOCK, n_views, 60)
    rows[:] = rng.standard_normal(rows.shape)
    t = np.deg2rad(rng.uniform(-60, 60, n_views))
    along_x = np.outer(np.arange(n_x) - (n_x - 1) / 2, np.cos(t)) + 29.5
    along_z = np.outer(np.arange(n_z) - (n_z - 1) / 2, np.sin(t))
    lines = np.linspace(*line, n_z)
    out = np.empty((n_z, n_lines, n_x), dtype)
    scaling = (1.0, 0.0) if dtype == np.float32 else (6000.0, 0.4)
    backproject(rows, fixed_point(along_x), fixed_point(along_z), out, lines, scaling)
    slow = (slow_twin(rows, along_x, along_z, lines, n_lines) - scaling[1]) * scaling[0]
    if dtype == np.int16:
        assert n_views == 1 or np.abs(slow).max() > 32767
        slow = np.clip(slow, -32767, 32767)
    assert np.abs(out - slow).max() < (1e-3 if dtype == np.float32 else 4.0)


def test_the_vector_steps_equal_their_plain_forms():
    rng = np.random.default_rng(1)
    rows, sums = rng.random(3 * 7 * BLOCK, np.float32), rng.random(40 + BLOCK, np.float32)
    at_x, at_z = (fixed_point(rng.uniform(0, 2.9, 6)) for _ in range(2))
    plain, fast = sums.copy(), sums.copy()
    where = (rows, BLOCK, 7 * BLOCK, at_x, 2, at_z, 3, 2)
    vectors.add_views(plain, 40, *where)
    njit(lambda s, w: vectors.add_views(s, 40, *w))(fast, where)
    assert np.abs(plain - fast).max() < 1e-5
    assert np.array_equal(fast[:40], sums[:40])
    columns, flat = rng.random(LANES * BLOCK + 8, np.float32), np.zeros((2, 600), np.float32)
    vectors.transpose(columns, 8, flat[0], 3)
    njit(lambda a, b: vectors.transpose(a, 8, b, 3))(columns, flat[1])
    assert np.array_equal(flat[0], flat[1])
    turned = flat[0, 3 : 3 + LANES * TILE].reshape(LANES, TILE)[:, :LANES]
    assert np.array_equal(turned, columns[8:].reshape(LANES, BLOCK)[:, :LANES].T)


def test_the_kernel_refuses_positions_outside_its_rows():
    rows = np.zeros((1, 1, 10, BLOCK), np.float32)
    out = np.zeros((1, BLOCK, 2), np.float32)
    zero = fixed_point(np.zeros((1, 1)))
    two = fixed_point(np.zeros((2, 1)))
    for bad in (-0.01, 9.0):
        with pytest.raises(InputError, match="outside the filtered rows"):
            backproject(rows, fixed_point(np.full((2, 1), bad)), zero, out)
    for bad in (-1.0, 1.0, 0.5):
        with pytest.raises(InputError, match="outside the strip"):
            backproject(rows, two, zero, out, np.array([bad]))
    with pytest.raises(InputError):
        backproject(rows, np.zeros((2, 3), np.int32), zero, out)
    with pytest.raises(InputError):
        backproject(rows, np.zeros((3, 1), np.int32), zero, out)
    with pytest.raises(InputError):
        backproject(rows[..., ::-1], two, zero, out)
    with pytest.raises(InputError):
        backproject(rows, two, zero, out.astype(complex))


def test_angular_weights_cover_the_range_and_share_equal_tilts():
    w = angular_weights([0, -3, 3, 6, 6, 9])
    assert np.allclose(np.rad2deg(w), [3, 3, 3, 1.5, 1.5, 3])
    assert np.allclose(angular_weights([4.0]), 1)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_filtered_rows_are_the_ramp_of_a_wave_at_every_fine_sample(factor):
    n, k = 400, 0.05
    x = np.arange(n * factor) / factor
    view = np.cos(2 * np.pi * k * np.arange(n)).astype(np.float32)[:, None].repeat(3, 1)
    fine = RowFilter(n, cutoff=0.35, falloff=0.035, super_sampling=factor)(view, 2.0)
    inner = slice(100 * factor, 300 * factor)
    wave = 2 * k * np.cos(2 * np.pi * k * x[inner])
    assert np.abs(fine[inner, 1] - wave / np.sinc(k / factor) ** 2).max() < 2e-3
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
        Request(
            views,
            g.transforms(),
            TILT,
            thickness=50,
            axis_deg=axis,
            path=path,
            pixel_size_a=5.0,
            x_tilt_deg=x_tilt,
        )
    )
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
        Request(
            views,
            g.transforms(),
            TILT,
            width=80,
            shift_x=4.5,
            shift_z=-3.0,
            dtype="float32",
            **common,
        )
    )
    floats = read(path)
    assert floats.shape == (50, 100, 80)
    assert (r.scale, r.offset) == (1.0, 0.0)
    assert np.abs(positions(floats, POINTS + shift) - POINTS - shift).max() < 0.12
    r = reconstruct_series(
        Request(views, g.transforms(), TILT, width=80, shift_x=4.5, shift_z=-3.0, **common)
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
        Request(
            series(g, (100, 90)),
            g.transforms(),
            TILT - 10,
            angle_offset_deg=10.0,
            thickness=50,
            axis_deg=0.0,
            path=path,
            pixel_size_a=5.0,
        )
    )
    assert np.abs(positions(read(path), POINTS) - POINTS).max() < 0.12


@pytest.mark.parametrize("x_tilt", [0.0, 4.0])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_the_strips_do_not_show(tmp_path, monkeypatch, x_tilt, dtype):
    g = ViewGeometry.nominal(TILT, 0.0)
    views = series(g, (150, 61))
    common = {"thickness": 35, "axis_deg": 0.0, "pixel_size_a": 5.0, "dtype": dtype}
    common |= {"x_tilt_deg": x_tilt, "width": 45, "shift_x": 2.5, "shift_z": -1.5}
    whole = reconstruct_series(
        Request(views, g.transforms(), TILT, path=tmp_path / "a.mrc", **common)
    )
    for limit, value in (("STRIP_LINES", 37), ("STRIP_BYTES", 1)):
        monkeypatch.setattr(f"tiltwright.engine.recon.wbp.{limit}", value)
        part = reconstruct_series(
            Request(views, g.transforms(), TILT, path=tmp_path / "b.mrc", **common)
        )
        a, b = read(tmp_path / "a.mrc").astype(float), read(tmp_path / "b.mrc").astype(float)
        assert a.shape == (35, 150, 45)
        assert np.abs(a - b).max() <= (1 if dtype == "int16" else 1e-4 * np.abs(a).max())
        assert np.array_equal(part.xy, b[17])
        assert np.array_equal(part.xz, b[:, 75])
        assert np.array_equal(part.yz, b[:, :, 22])
    assert whole.scale == part.scale
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mrc", "b.mrc"]


def test_one_view_and_one_slice(tmp_path):
    image = np.random.default_rng(0).normal(0, 1, (1, 1, 40)).astype(np.float32)
    reconstruct_series(
        Request(
            image,
            identity(1),
            [0.0],
            thickness=3,
            axis_deg=0.0,
            path=tmp_path / "a.mrc",
            pixel_size_a=5.0,
            dtype="float32",
        ),
        Weighting(super_sampling=1),
    )
    volume = read(tmp_path / "a.mrc")
    assert volume.shape == (3, 1, 40)
    # At no tilt all sections are the filtered view itself; the aligned view is two pixels wider
    # on either side, filled with the mean.
    padded = np.full((44, 1), image.mean(), np.float32)
    padded[2:-2, 0] = image
    filtered = RowFilter(44, cutoff=0.35, falloff=0.035, super_sampling=1)(padded, 1.0)[2:-2, 0]
    assert np.abs(volume - filtered).max() < 1e-4


def test_unused_views_do_not_matter(tmp_path):
    g = ViewGeometry.nominal(TILT, 0.0)
    views = series(g, (64, 64))
    spoiled, used = views.copy(), np.ones(len(TILT), bool)
    spoiled[7], used[7] = np.nan, False
    common = {"thickness": 9, "axis_deg": 0.0, "pixel_size_a": 5.0, "used_views": used}
    reconstruct_series(Request(views, g.transforms(), TILT, path=tmp_path / "a.mrc", **common))
    reconstruct_series(Request(spoiled, g.transforms(), TILT, path=tmp_path / "b.mrc", **common))
    assert np.array_equal(read(tmp_path / "a.mrc"), read(tmp_path / "b.mrc"))


def test_constant_views_give_an_even_tomogram(tmp_path):
    views = np.full((3, 20, 20), 9, np.int16)
    reconstruct_series(
        Request(
            views,
            identity(3),
            [-3, 0, 3],
            thickness=5,
            axis_deg=0.0,
            path=tmp_path / "a.mrc",
            pixel_size_a=5.0,
        )
    )
    assert read(tmp_path / "a.mrc").shape == (5, 20, 20)


@pytest.mark.parametrize(("factor", "limit"), [(1, 0.27), (2, 0.06), (4, 0.02)])
def test_interpolation_costs_little_of_even_white_noise(tmp_path, factor, limit):
    views = np.random.default_rng(0).normal(0, 1, (len(TILT), 8, 80)).astype(np.float32)
    volumes = []
    for sampling in (10, factor):
        reconstruct_series(
            Request(
                views,
                identity(len(TILT)),
                TILT,
                thickness=30,
                axis_deg=0.0,
                path=tmp_path / "a.mrc",
                pixel_size_a=5.0,
                dtype="float32",
            ),
            Weighting(super_sampling=sampling),
        )
        volumes.append(read(tmp_path / "a.mrc")[:, :, 10:-10])
    assert (volumes[1] - volumes[0]).std() < limit * volumes[0].std()


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    def pwrite(fd, data, at):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(InputError, match=r"a\.mrc: no space left on device; free space"):
        reconstruct_series(
            Request(
                np.ones((3, 20, 20)),
                identity(3),
                [-3, 0, 3],
                thickness=40,
                axis_deg=0.0,
                path=tmp_path / "a.mrc",
                pixel_size_a=5.0,
            )
        )
    assert list(tmp_path.iterdir()) == []


def test_cancelling_stops_before_the_next_piece(tmp_path, monkeypatch):
    stop, projected, original = threading.Event(), [], Strips.sections

    def sections(*args):
        projected.append(args)
        stop.set()
        return original(*args)

    monkeypatch.setattr("tiltwright.engine.recon.strips.Strips.sections", sections)
    with pytest.raises(Cancelled):
        reconstruct_series(
            Request(
                np.ones((3, 20, 20)),
                identity(3),
                [-3, 0, 3],
                thickness=1600,
                axis_deg=0.0,
                path=tmp_path / "a.mrc",
                pixel_size_a=5.0,
            ),
            monitor=Monitor(None, stop),
        )
    # One piece for each thread at most, of a hundred.
    assert 1 <= len(projected) <= get_num_threads()
    assert list(tmp_path.iterdir()) == []


def test_cancelling_leaves_no_file(tmp_path):
    stop = threading.Event()

    def listen(progress):
        if progress.text == "back-projection":
            stop.set()

    with pytest.raises(Cancelled):
        reconstruct_series(
            Request(
                np.ones((3, 20, 20)),
                identity(3),
                [-3, 0, 3],
                thickness=40,
                axis_deg=0.0,
                path=tmp_path / "a.mrc",
                pixel_size_a=5.0,
            ),
            monitor=Monitor(listen, stop),
        )
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
    of_filter = {k: wrong.pop(k) for k in list(wrong) if k in vars(Weighting())}
    stack = np.ones((3, 20, 20))
    request = Request(stack, identity(3), path=tmp_path / "a.mrc", **{**good, **wrong})
    with pytest.raises(InputError):
        reconstruct_series(request, Weighting(**of_filter))
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
