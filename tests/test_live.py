"""Live alignment: the numbers of Fiducial alignment, honest predictions, no outlier drags it."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from curation_cases import AXIS, phantom

from tiltwright.engine.curation.live import LiveAlignment
from tiltwright.engine.curation.warm import warm_up
from tiltwright.engine.errors import DataError
from tiltwright.engine.model.edits import (
    AddContour,
    DeleteContour,
    DeletePoints,
    Point,
    SwapTracks,
)
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.fiducial_alignment import FiducialAlignment
from tiltwright.engine.solve.bundle import solve
from tiltwright.engine.solve.system import packed
from tiltwright.engine.solve.triangulate import triangulate
from tiltwright.engine.solve.uncertainty import prediction_covariance
from tiltwright.engine.solve.variables import Variables


@pytest.fixture(scope="module")
def case():
    series, model, exact = phantom(n=20, n_views=31, gaps=0.1)
    return series, model, exact, LiveAlignment.choose(series, model)


def test_the_numbers_are_those_of_fiducial_alignment(case):
    series, model, _, live = case
    made = FiducialAlignment.run(
        {"tilt_series": series, "fiducial_model": model}, FiducialAlignment.Params(), Context()
    )
    aligned = made["tilt_series"].alignment
    snapshot = live.solve(model)
    fit, ours = aligned.fit, snapshot.alignment()
    assert snapshot.mean_residual_px == pytest.approx(fit.mean_residual_px, rel=1e-4)
    assert snapshot.leave_one_out_px == pytest.approx(fit.leave_one_out_px, rel=1e-4)
    np.testing.assert_allclose(snapshot.residual_px, fit.residual_px, atol=5e-3)
    np.testing.assert_allclose(snapshot.loo_px, fit.loo_px, atol=5e-3)
    np.testing.assert_allclose(snapshot.per_view_px, fit.per_view_px(), rtol=0.01)
    np.testing.assert_allclose(ours.transforms, aligned.transforms, atol=5e-3)
    np.testing.assert_allclose(ours.tilt_deg, aligned.tilt_deg, atol=2e-3)
    np.testing.assert_allclose(snapshot.xyz, fit.xyz, atol=0.05)
    assert np.array_equal(snapshot.surface, fit.surface)
    assert live.description == fit.variables
    assert live.candidates == fit.candidates


def test_levelling_moves_no_projection(case):
    _, model, _, live = case
    params = FiducialAlignment.Params(angle_offset_deg=3.0, z_shift_px=20.0)
    for each in (live, LiveAlignment.choose(live.series, model, params)):
        snapshot = each.solve(model)
        np.testing.assert_allclose(
            snapshot.geometry.project(snapshot.xyz), snapshot.predicted_px, atol=1e-6
        )


def test_predictions_come_with_honest_uncertainties(case):
    _, model, exact, live = case
    snapshot = live.solve(model)
    error = snapshot.predicted_px - exact
    told = np.sqrt(np.trace(snapshot.covariance_px2, axis1=2, axis2=3) / 2)
    gaps = ~model.measured
    for where in (gaps, ~gaps):
        ratio = np.sqrt(np.mean((error[where] / told[where][:, None]) ** 2))
        assert 0.8 < ratio < 1.2


def test_the_covariance_is_the_scatter_of_many_solves():
    series, _, exact = phantom(n=10, n_views=15)
    rng = np.random.default_rng(1)
    used = np.ones(15, np.bool_)
    at, told = [], None
    cut = np.zeros(exact.shape[:2], np.bool_)
    cut[2, :6] = cut[5, 7] = True
    for _ in range(150):
        xy = exact + rng.normal(0, 0.1, exact.shape)
        xy[cut] = np.nan
        s = solve(xy, series.tilt_deg, AXIS, Variables(), robust=False)
        at.append(s.geometry.project(s.xyz))
        told = prediction_covariance(s, xy, series.tilt_deg, used_views=used) / s.sigma_px**2
    scatter = np.stack(at)
    for place in [(2, 0), (2, 5), (5, 7), (0, 3), (9, 14)]:
        covariance = np.cov(scatter[:, *place].T) / 0.01
        ratio = np.linalg.eigvals(np.linalg.solve(told[place], covariance)).real
        assert ratio.min() > 0.6
        assert ratio.max() < 1.6


def test_contours_come_and_go(case):
    _, model, exact, live = case
    before = live.solve(model)
    fewer = live.solve(DeleteContour(4).apply(model).model, before)
    np.testing.assert_allclose(np.delete(before.predicted_px, 4, 0), fewer.predicted_px, atol=0.1)
    empty = live.solve(AddContour().apply(model).model, before)
    assert np.isnan(empty.predicted_px[-1]).all()
    assert empty.surface[-1] == -1
    assert empty.leave_one_out_px == pytest.approx(before.leave_one_out_px, rel=1e-3)
    points = tuple(Point(0, v, *exact[4, v], int(Flag.MEASURED)) for v in (3, 15, 28))
    three = live.solve(AddContour(-1, points).apply(model).model, empty)
    np.testing.assert_allclose(three.predicted_px[-1], exact[4], atol=1.0)


def test_too_few_points_are_said_not_raised(case):
    series, model, _, live = case
    none = DeletePoints(tuple((c, v) for c in range(1, 20) for v in range(31))).apply(model).model
    snapshot = live.solve(none)
    assert not snapshot.solved
    assert "too few" in snapshot.problem
    assert np.isnan(snapshot.leave_one_out_px)
    assert snapshot.predicted_px.shape == model.xy.shape
    again = live.solve(model, snapshot)
    assert again.solved
    assert again.leave_one_out_px == pytest.approx(live.first.leave_one_out_px, rel=1e-3)
    with pytest.raises(DataError):
        LiveAlignment.choose(series, FiducialModel.from_tracks(model.xy[:2], model.size_px, 9.0))


def test_filled_points_and_unused_views_take_no_part(case):
    series, model, _, _ = case
    excluded = series.excluded.copy()
    excluded[7] = True
    live = LiveAlignment.choose(replace(series, excluded=excluded), model)
    flag = model.flag.copy()
    flag[3, 3] = Flag.FILLED
    filled = replace(model, flag=flag)
    snapshot = live.solve(filled)
    assert np.isnan(snapshot.residual_px[:, 7]).all()
    assert np.isnan(snapshot.residual_px[3, 3]).all()
    assert np.isfinite(snapshot.predicted_px[3, 3]).all()


def test_swapped_tracks_do_not_drag_their_beads(case):
    _, model, exact, live = case
    swapped = SwapTracks(2, 9, tuple(range(12))).apply(model).model
    for before in (None, live.solve(model)):
        snapshot = live.solve(swapped, before)
        error = np.hypot(*np.moveaxis(snapshot.predicted_px - exact, -1, 0))
        assert error[[2, 9]].max() < 0.6
        assert (snapshot.weight[2, :12] == 0).all()
    chosen = LiveAlignment.choose(live.series, swapped).first
    assert np.hypot(*np.moveaxis(chosen.predicted_px - exact, -1, 0))[[2, 9]].max() < 0.6


def test_triangulation_by_consensus():
    _, model, exact = phantom(n=6, n_views=21, noise=0.0)
    series, _, _ = phantom(n=6, n_views=21, noise=0.0)
    s = solve(exact, series.tilt_deg, AXIS, Variables(), robust=False, max_iterations=200)
    xy = exact.copy()
    rng = np.random.default_rng(0)
    # Nine of 21 points agree on another place.
    xy[1, 4:13] += [150.0, -80.0]
    xy[3, ::3] += rng.normal(0, 40, (7, 2))
    measured = np.ones(xy.shape[:2], np.bool_)
    measured[5, 3:] = False
    xy[5, 3:] = np.nan
    start = s.xyz + rng.normal(0, 30, s.xyz.shape) * [[0], [1], [0], [1], [0], [0]]
    found = triangulate(packed(s.geometry), start, xy, measured)
    np.testing.assert_allclose(found, s.xyz, atol=0.02)
    kept = triangulate(packed(s.geometry), s.xyz, exact, np.ones_like(measured))
    assert np.array_equal(kept, s.xyz)
    assert model.n_tracks == 6


def test_warming_loads_every_kernel_of_a_click(case):
    warm_up()
    _, model, _, live = case
    swapped = SwapTracks(2, 9, tuple(range(12))).apply(model).model
    began = time.perf_counter()
    live.solve(swapped)
    # Compiling one kernel takes seconds.
    assert time.perf_counter() - began < 1.0
