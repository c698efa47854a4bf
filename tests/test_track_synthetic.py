"""Tracking on synthetic detections whose beads are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tiltwright.engine.errors import Cancelled, DataError, InputError
from tiltwright.engine.fiducials.build import assign_surfaces, build_fiducial_model, same_images
from tiltwright.engine.fiducials.match import mutual_nearest, vote_displacement
from tiltwright.engine.fiducials.motion import Priors, bundle, fit_view
from tiltwright.engine.fiducials.seed import depth_votes, spread_choice
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.progress import Monitor

SIZE = (720, 512)
TILT = np.arange(-60, 61, 3.0)
DIAMETER = 9.06


def series(seed, n=30, noise=0.3, miss=0.1, false=30, jump=0.0, dead=None, duplicate=None):
    """Geometry, points, detections of each view and the point each belongs to (-1: none)."""
    r = np.random.default_rng(seed)
    n_views = len(TILT)
    walk = np.cumsum(r.normal(0, 6, (n_views, 2)), 0)
    walk[8:] += jump
    g = ViewGeometry.nominal(TILT + r.normal(0, 0.15, n_views), -84.5)
    g = replace(
        g,
        axis_deg=g.axis_deg + r.normal(0, 0.15, n_views),
        magnification=1 + r.normal(0, 0.0008, n_views),
        shift_px=walk - walk[20],
    )
    xyz = r.uniform(-0.5, 0.5, (n, 3)) * [560, 720, 10]
    xyz[:, 2] += np.where(r.random(n) < 0.5, -60, 60)
    exact = g.project(xyz)
    detections, truth = [], []
    for v in range(n_views):
        on = (np.abs(exact[:, v]) < np.array(SIZE) / 2 - 5).all(1) & (r.random(n) > miss)
        names = np.flatnonzero(on) if v != dead else np.zeros(0, int)
        wrong = (r.random((r.poisson(false) + 1, 2)) - 0.5) * SIZE
        xy = np.concatenate([exact[names, v] + r.normal(0, noise, (len(names), 2)), wrong])
        order = r.permutation(len(xy))
        detections.append(xy[order])
        truth.append(np.append(names, np.full(len(wrong), -1))[order])
    if duplicate is not None:
        detections[duplicate], truth[duplicate] = detections[duplicate - 1], truth[duplicate - 1]
    return g, xyz, exact, detections, truth


def exact_localiser(exact, noise, seed=0):
    """Finds the bead nearest to the guess, with noise."""
    r = np.random.default_rng(seed)

    def localise(view, guesses):
        beads = exact[:, view]
        away = np.hypot(*np.moveaxis(guesses[:, None] - beads[None], -1, 0))
        xy = beads[away.argmin(1)] + r.normal(0, noise, guesses.shape)
        return xy, np.full(len(xy), noise), np.ones(len(xy)), away.min(1) < 4

    return localise


def rigid_residual(geometry, exact, keep):
    """True residual as in ACCEPTANCE: exact projections through the solved transforms."""
    a = geometry.transforms()
    q = np.einsum("vij,pvj->pvi", a[..., :2], exact) + a[..., 2]
    q, t = q[:, keep], np.deg2rad(geometry.tilt_deg[keep])
    m = np.stack([np.cos(t), np.sin(t)], 1)
    xz = np.linalg.lstsq(m, q[..., 0].T, rcond=None)[0]
    r = np.hypot(q[..., 0].T - m @ xz, (q[..., 1] - q[..., 1].mean(1, keepdims=True)).T)
    return float(np.sqrt((r**2).mean()))


@pytest.mark.parametrize("seed", [0, 1])
def test_beads_become_tracks_of_one_bead_each(seed):
    _, _, exact, detections, _ = series(seed)
    model = build_fiducial_model(detections, TILT, -84.5, SIZE, DIAMETER, 25)
    off = np.hypot(*np.moveaxis(model.all_xy[:, None] - exact[None], -1, 0))
    bead = np.nanmedian(off, axis=2).argmin(1)
    assert len(model.xy) == 25
    assert len(set(bead)) == len(model.all_xy) >= 28
    far = off[np.arange(len(bead)), bead] > 6 * 0.3
    assert far.sum() <= 2
    assert np.isfinite(model.all_xy[..., 0]).mean() > 0.75
    assert not model.lost_views


def test_bad_views_are_lost_and_a_wrong_axis_is_found():
    g, _, exact, detections, _ = series(3, n=12, false=20, jump=60.0, dead=30, duplicate=15)
    model = build_fiducial_model(
        detections, TILT, -81.5, SIZE, DIAMETER, 25, localise=exact_localiser(exact, 0.05)
    )
    assert sorted(model.lost_views) == [15, 30]
    assert "duplicate of view 15" in model.lost_views[15]
    assert model.axis_deg == pytest.approx(g.axis_deg.mean(), abs=0.2)
    keep = np.setdiff1d(np.arange(41), [15, 30])
    assert rigid_residual(model.geometry, exact, keep) < 0.05
    assert np.isnan(model.xy[:, [15, 30]]).all()


def test_a_localiser_carries_its_noise_to_the_solution():
    _g, _, exact, detections, _ = series(4)
    model = build_fiducial_model(
        detections, TILT, -84.5, SIZE, DIAMETER, 25, localise=exact_localiser(exact, 0.05)
    )
    assert model.residual_px == pytest.approx(0.05 * np.sqrt(2), rel=0.25)
    assert rigid_residual(model.geometry, exact, np.arange(41)) < 0.03
    assert set(model.surface) == {0, 1}
    assert model.all_sigma_px is not None
    assert (np.isfinite(model.all_sigma_px) == np.isfinite(model.all_xy[..., 0])).all()
    np.testing.assert_array_equal(model.all_sigma_px[: len(model.xy)], model.sigma_px)


def test_wrong_prealignment_does_no_harm():
    g, _, _exact, detections, _ = series(5)
    shift = g.shift_px + np.random.default_rng(0).normal(0, 40, g.shift_px.shape)
    model = build_fiducial_model(
        detections, TILT, -84.5, SIZE, DIAMETER, 25, prealign_shift_px=shift
    )
    assert not model.lost_views
    assert len(model.all_xy) >= 26


def test_errors_and_cancelling():
    _, _, _, detections, _ = series(0, n=10)
    with pytest.raises(InputError, match="41 tilt angles"):
        build_fiducial_model(detections[:-1], TILT, 0, SIZE, DIAMETER, 25)
    with pytest.raises(InputError, match="positive"):
        build_fiducial_model(detections, TILT, 0, SIZE, 0, 25)
    with pytest.raises(DataError, match="low tilt"):
        build_fiducial_model([d[:2] for d in detections], TILT, 0, SIZE, DIAMETER, 25)
    monitor = Monitor()
    monitor.stop.set()
    with pytest.raises(Cancelled):
        build_fiducial_model(detections, TILT, -84.5, SIZE, DIAMETER, 25, monitor=monitor)


def test_bundle_recovers_the_views_from_exact_points():
    g, xyz, exact, _, _ = series(6, n=15)
    nominal = ViewGeometry.nominal(TILT, -84.5)
    loose = Priors(5, 5, 0.05, 20, 1e5)
    start = nominal.with_shifts(g.shift_px)
    solved, points = bundle(exact, np.ones(exact.shape[:2]), start, xyz, nominal, loose, 1e-3, 30)
    assert np.abs(solved.project(points) - exact).max() < 1e-3
    gaps = exact.copy()
    gaps[::2, 3] = np.nan
    again, points = bundle(gaps, np.ones(exact.shape[:2]), start, xyz, nominal, loose, 1e-3, 30)
    assert np.abs(again.project(points) - exact).max() < 1e-2


def test_fit_view_finds_shift_and_linear_part():
    r = np.random.default_rng(0)
    p = r.normal(0, 100, (20, 2))
    a = np.array([[1.01, 0.002], [-0.003, 0.99]])
    linear, shift = fit_view(p @ a.T + [5, -3], p, np.ones(20), np.zeros(2), 1e3)
    np.testing.assert_allclose(linear, a, atol=1e-6)
    np.testing.assert_allclose(shift, [5, -3], atol=1e-6)


def test_depth_votes_find_the_depth_like_the_slow_twin():
    g, xyz, exact, _, _ = series(7, n=8)
    views = np.arange(5, 36, 3)
    points = [exact[:, v] for v in range(41)]
    found, count = depth_votes(exact[:, 20], 20, points, g, views, 200.0, 2.0)
    assert np.abs(found - xyz).max() < 4
    for i in range(8):
        z = np.linspace(-200, 200, 401)  # the grid of the kernel
        matrix = g.matrices()[20]
        right = (exact[i, 20] - g.shift_px[20])[:, None] - matrix[:, 2:] * z
        there = g.project(np.column_stack([np.linalg.solve(matrix[:, :2], right).T, z]))
        hits = np.zeros(len(z), int)
        for v in views.tolist():
            away = np.linalg.norm(points[v][None] - there[:, v, None], axis=-1)
            hits += away.min(1) < 2
        assert count[i] == hits.max()


def test_displacement_votes():
    r = np.random.default_rng(1)
    a = r.uniform(-300, 300, (30, 2))
    b = np.concatenate([a[5:] + np.array([61, -17]), r.uniform(-300, 300, (40, 2))])
    move, votes, second = vote_displacement(a, b, np.zeros(2), 200.0, 3.0)
    np.testing.assert_allclose(move, [61, -17], atol=1e-6)
    assert votes >= 25 > 2 * second
    move, votes, _ = vote_displacement(a, np.zeros((0, 2)), np.ones(2), 200.0, 3.0)
    assert votes == 0
    assert (move == 1).all()


def test_mutual_nearest_is_one_to_one():
    p = np.array([[0, 0], [1, 0], [50, 50]], float)
    d = np.array([[0.8, 0], [20, 20]], float)
    assert mutual_nearest(p, d, 5).tolist() == [-1, 0, -1]
    assert mutual_nearest(p, d[:0], 5).tolist() == [-1, -1, -1]


def test_surfaces_and_spread():
    r = np.random.default_rng(2)
    xyz = r.uniform(-300, 300, (30, 3))
    side = r.random(30) < 0.4
    xyz[:, 2] = 0.05 * xyz[:, 0] + np.where(side, 50, -50) + r.normal(0, 4, 30)
    assert (assign_surfaces(xyz) == side).all()
    xyz[:, 2] = r.normal(0, 3, 30)
    assert (assign_surfaces(xyz) == 0).all()
    chosen = spread_choice(xyz, np.ones(30), 8, side.astype(int))
    assert len(set(chosen)) == 8
    assert side[chosen].sum() == 4
    assert len(spread_choice(xyz[:0], np.ones(0), 3)) == 0


def test_same_images_are_recognised():
    _, _, _, detections, _ = series(8, duplicate=10)
    assert same_images(detections) == [(9, 10)]
