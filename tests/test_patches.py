"""Patch tracking on series without beads whose geometry is known."""

from __future__ import annotations

import json
from threading import Event

import numpy as np
import pytest
from scipy import ndimage

from tiltwright.app.cli import main
from tiltwright.engine.errors import Cancelled, DataError, InputError
from tiltwright.engine.fiducials import patch_images
from tiltwright.engine.fiducials.patch_images import Band, PatchImages
from tiltwright.engine.fiducials.patch_track import LEAST_COVER, join_displacements
from tiltwright.engine.fiducials.patches import automatic_patch_px, patch_grid, track_patches
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.io.text import read_angles, read_xf
from tiltwright.engine.progress import Monitor
from tiltwright.engine.protocols.fiducial_model import FiducialModel
from tiltwright.engine.simulate.series import SeriesSpec, simulate_series, write_series

AXIS = -84.5
SPEC = SeriesSpec(seed=5, n_views=21, nx=320, ny=256, n_beads=0, n_vesicles=5, shift_step_sd_px=2.0)


@pytest.fixture(scope="module")
def series():
    made = simulate_series(SPEC)
    return made, np.stack([made.view(v) for v in range(SPEC.n_views)])


def rough(made, seed=0):
    """The true shifts as a coarse alignment finds them: wrong by some pixels."""
    wrong = np.random.default_rng(seed).normal(0, 1.5, (made.spec.n_views, 2))
    return made.geometry.shift_px + wrong


def misfit(model, made):
    """Distance of each point from the patch's best position under the true geometry."""
    g = made.geometry
    matrices = g.matrices()
    out = np.full(model.xy.shape[:2], np.nan)
    for p, track in enumerate(model.xy):
        v = np.isfinite(track[:, 0])
        design, right = matrices[v].reshape(-1, 3), (track[v] - g.shift_px[v]).ravel()
        point = np.linalg.lstsq(design, right, rcond=None)[0]
        out[p, v] = np.hypot(*(design @ point - right).reshape(-1, 2).T)
    return out


def true_residual(transforms, tilt_deg, exact):
    """What is left of exact projections ``(n_views, n_points, 2)`` about a rigid set of points."""
    q = np.einsum("vij,vpj->vpi", transforms[..., :2], exact) + transforms[:, None, :, 2]
    t = np.deg2rad(tilt_deg)
    m = np.stack([np.cos(t), np.sin(t)], 1)
    x = q[..., 0] - m @ np.linalg.lstsq(m, q[..., 0], rcond=None)[0]
    return float(np.sqrt((x**2 + (q[..., 1] - q[..., 1].mean(0)) ** 2).mean()))


def random_points(made, n=80):
    r = np.random.default_rng(9)
    half = [0.4 * made.spec.ny, 0.4 * made.spec.nx, 40]
    return made.geometry.project(r.uniform(-1, 1, (n, 3)) * half).transpose(1, 0, 2)


def test_patches_move_as_points_of_the_specimen_do(series):
    made, stack = series
    model = track_patches(stack, made.nominal_deg, AXIS, prealign_shift_px=rough(made))
    off = misfit(model, made)
    assert len(model.xy) >= 20
    assert not model.lost_views
    assert np.nanmedian(off) < 0.35
    assert np.isfinite(off).sum(0).min() >= 10
    keep = np.isfinite(model.xy[..., 0])
    np.testing.assert_array_equal(keep, np.isfinite(model.sigma_px))
    np.testing.assert_array_equal(keep, np.isfinite(model.score))
    assert model.all_xy.shape == model.xy.shape
    assert (model.surface == 0).all()
    transforms = model.geometry.transforms()
    exact = random_points(made)
    coarse = ViewGeometry.nominal(made.nominal_deg, AXIS).with_shifts(rough(made)).transforms()
    before = true_residual(coarse, made.nominal_deg, exact)
    after = true_residual(transforms, model.geometry.tilt_deg, exact)
    assert before > 1.0
    assert after < 0.3


def test_threads_do_not_change_the_result(series):
    made, stack = series
    few = slice(6, 15)
    a, b = (
        track_patches(
            stack[few], made.nominal_deg[few], AXIS, prealign_shift_px=rough(made)[few],
            iterations=1, threads=n,
        )
        for n in (1, 2)
    )  # fmt: skip
    np.testing.assert_array_equal(a.xy, b.xy)


def test_what_leaves_the_image_or_lies_on_fill_is_a_gap(series):
    made, stack = series
    filled = stack.copy()
    filled[:, :, :60] = 900  # fill of one grey
    filled[14:, 150:] = 900
    model = track_patches(filled, made.nominal_deg, AXIS, prealign_shift_px=rough(made))
    patch = automatic_patch_px((SPEC.nx, SPEC.ny))
    index = model.xy + (np.array([SPEC.nx, SPEC.ny]) - 1) / 2
    # A patch with 30 % of its area on fill may have its middle this near to it.
    slack = (LEAST_COVER - 0.5 - 0.1) * patch
    assert np.nanmin(index[..., 0]) > 60 + slack
    assert np.nanmax(index[:, 14:, 1]) < 150 - slack
    assert np.nanmax(index[:, :14, 1]) > 170
    assert np.nanmedian(misfit(model, made)) < 0.4


def test_a_view_of_something_else_is_lost_with_a_reason(series):
    made, stack = series
    wrong = stack.copy()
    noise = np.random.default_rng(3).normal(0, 1, stack[4].shape)
    wrong[4] = 400 + 60 * ndimage.gaussian_filter(noise, 2) / 0.14
    model = track_patches(wrong, made.nominal_deg, AXIS, prealign_shift_px=rough(made))
    assert set(model.lost_views) == {4}
    assert "patches" in model.lost_views[4]
    assert np.isnan(model.xy[:, 4]).all()
    assert any(line.startswith("view 5 lost") for line in model.log)


def test_skipped_views_are_neither_used_nor_lost(series):
    made, stack = series
    skip = np.zeros(SPEC.n_views, bool)
    skip[[0, 8]] = True
    model = track_patches(
        stack, made.nominal_deg, AXIS, prealign_shift_px=rough(made), skip=skip, iterations=1
    )
    assert np.isnan(model.xy[:, skip]).all()
    assert not model.lost_views


def test_noise_defeats_it_and_says_so():
    stack = np.random.default_rng(0).normal(400, 20, (7, 128, 160))
    with pytest.raises(DataError, match="patch"):
        track_patches(stack, np.linspace(-9, 9, 7), AXIS, patch_px=48)


def test_impossible_parameters_are_named(series):
    _, stack = series
    tilt = np.linspace(-60, 60, SPEC.n_views)
    with pytest.raises(InputError, match="tilt angles"):
        track_patches(stack, tilt[1:], AXIS)
    with pytest.raises(InputError, match=r"overlap 0\.95"):
        track_patches(stack, tilt, AXIS, overlap=0.95)
    with pytest.raises(InputError, match="smaller patches"):
        track_patches(stack, tilt, AXIS, patch_px=300)


def test_it_can_be_cancelled(series):
    made, stack = series
    stop = Event()
    seen = []

    def listen(progress):
        seen.append(progress.text)
        if "outwards" in progress.text:
            stop.set()

    with pytest.raises(Cancelled):
        track_patches(stack, made.nominal_deg, AXIS, monitor=Monitor(listen, stop))
    assert "outwards" in seen[-1]


def test_grid_covers_the_image_evenly():
    grid = patch_grid((720, 512), 84, 0.33)
    assert np.abs(grid).max(0) == pytest.approx([318, 214])
    for axis in (0, 1):
        step = np.diff(np.unique(grid[:, axis]))
        assert np.ptp(step) < 1e-9
        assert step[0] <= 84 * 0.67
    assert len(patch_grid((720, 512), 84, 0.33, 10, (4, 3))) == 12
    assert patch_grid((100, 100), 100, 0.3).tolist() == [[0, 0]]


def test_joined_displacements_are_those_that_made_the_measurements():
    r = np.random.default_rng(1)
    n, n_views = 3, 12
    truth = r.normal(0, 2, (n, n_views, 2))
    truth -= truth.mean(1, keepdims=True)
    share = np.zeros((2, n, n_views, n_views))
    ok = np.ones((2, n, n_views), bool)
    for v in range(n_views):
        for s, near in enumerate((range(max(0, v - 3), v), range(v + 1, min(n_views, v + 4)))):
            ok[s, :, v] = len(near) > 0
            if near:
                share[s][:, v, list(near)] = 1 / len(near)
    shift = truth - np.einsum("spvu,puk->spvk", share, truth)
    shift[0, 1, 5] += [7, -4]  # one wrong peak
    e, kept = join_displacements(shift, ok, share, 1e-9)
    e -= e.mean(1, keepdims=True)
    np.testing.assert_allclose(e, truth, atol=1e-4)
    assert not kept[0, 1, 5]
    assert kept.sum() == ok.sum() - 1


def wave(nx, ny, dx=0.0, dy=0.0):
    x, y = np.meshgrid(np.arange(nx) - dx, np.arange(ny) - dy)
    return (np.sin(0.31 * x + 0.12 * y) + np.sin(0.17 * y - 0.23 * x) + np.sin(0.4 * y)).astype(
        np.float32
    )


@pytest.mark.parametrize("compiled", [True, False])
def test_cut_samples_the_image_where_the_matrix_says(compiled):
    image, n = wave(40, 36), 12
    valid = np.ones(image.shape, bool)
    valid[:, :15] = False
    centre, m = np.array([[18.3, 17.6]]), np.array([[0.5, -0.2], [0.3, 0.9]])
    out, cover = np.empty((1, n, n), np.float32), np.empty(1)
    cut = patch_images._cut if compiled else patch_images._cut.py_func
    cut(image, valid, centre, m, np.ones(n, np.float32), out, cover)
    j, i = np.mgrid[:n, :n] - (n - 1) / 2
    x = centre[0, 0] + m[0, 0] * i + m[0, 1] * j
    y = centre[0, 1] + m[1, 0] * i + m[1, 1] * j
    exact = np.sin(0.31 * x + 0.12 * y) + np.sin(0.17 * y - 0.23 * x) + np.sin(0.4 * y)
    np.testing.assert_allclose(out[0], exact, atol=0.01)
    assert cover[0] == pytest.approx(np.mean(x >= 15))


@pytest.mark.parametrize("compiled", [True, False])
def test_peak_of_an_oblique_parabola_is_exact(compiled):
    n = 16
    y, x = np.meshgrid(np.fft.fftfreq(n, 1 / n), np.fft.fftfreq(n, 1 / n), indexing="ij")
    u, v = x + 2.3, y - 1.2
    maps = (9 - u**2 - 0.6 * v**2 - 0.7 * u * v)[None].astype(np.float32)
    maps = np.concatenate([maps, x[None].astype(np.float32)])
    out = np.empty((2, 3))
    peaks = patch_images._peaks if compiled else patch_images._peaks.py_func
    peaks(maps, np.zeros(2), 4, out)
    np.testing.assert_allclose(out[0, :2], [-2.3, 1.2], atol=1e-5)
    assert np.isnan(out[1]).all()  # a slope has no peak


def test_correlation_finds_a_sub_pixel_shift_and_moving_undoes_it():
    r = np.random.default_rng(2)
    big = ndimage.gaussian_filter(r.normal(0, 1, (400, 400)), 8)
    stack = np.stack(
        [
            ndimage.shift(big, (4 * dy, 4 * dx), order=3)[::4, ::4]
            for dx, dy in ((0, 0), (1.4, -2.3))
        ]
    ).astype(np.float32)
    # A detector's noise: what is perfectly smooth passes for fill.
    stack += r.normal(0, 0.5 * stack.std(), stack.shape).astype(np.float32)
    images = PatchImages(stack, 1, 48, Band(0.02, 0.2, 0.05), [0, 1], Monitor(), 1)
    at = np.zeros((1, 2))
    a, cover = images.cut(0, at, np.eye(2))
    b, _ = images.cut(1, at, np.eye(2))
    assert cover[0] == 1
    by, height = images.peaks(images.correlate(b, a), np.zeros(2), 8)
    np.testing.assert_allclose(by[0], [1.4, -2.3], atol=0.1)
    assert height[0] > 4
    by, _ = images.peaks(images.correlate(images.moved(b, by), a), np.zeros(2), 8)
    np.testing.assert_allclose(by[0], 0, atol=0.1)


def test_parameters_of_the_other_kind_are_hidden():
    for name, info in FiducialModel.Params.model_fields.items():
        shown = info.json_schema_extra.get("shown_if")
        if name == "kind":
            assert shown is None
        else:
            assert shown == {"kind": "patches" if name.startswith("patch_") else "gold"}, name


def test_process_aligns_a_series_without_beads(tmp_path, capsys):
    made = simulate_series(SPEC)
    write_series(SPEC, tmp_path, "ice")
    rc = main(
        ["process", str(tmp_path / "ice.mrc"), "--tilt-axis", str(AXIS), "--fiducial-model.kind",
         "patches", "--stop-after", "fiducial-alignment", "--output", str(tmp_path / "out"),
         "--json"]
    )  # fmt: skip
    assert rc == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["suspect_views"] == []
    assert summary["n_fiducials"] >= 15
    xf = read_xf(tmp_path / "out" / "ice.xf", SPEC.n_views)
    tilt = read_angles(tmp_path / "out" / "ice.tlt", SPEC.n_views)
    assert true_residual(xf, tilt, random_points(made)) < 0.2
