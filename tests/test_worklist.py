"""The worklist finds what was spoilt, and its proposals mend it."""

from __future__ import annotations

import numpy as np
import pytest
from curation_cases import POSITION14, SPOILT, accept_all, phantom, real, simulated, spoil

from tiltwright.engine.curation.live import LiveAlignment
from tiltwright.engine.curation.worklist import Key, Kind, find, predicted_effect
from tiltwright.engine.fiducials.fill import BeadCentring
from tiltwright.engine.model.edits import (
    AddContour,
    Change,
    DeletePoints,
    FillPoints,
    MovePoints,
    SwapTracks,
    Together,
    point_of,
)
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag


@pytest.mark.parametrize("seed", range(4))
def test_what_was_spoilt_is_at_the_top(seed):
    series, model, _ = phantom(gaps=0.05, seed=seed)
    bad, moved, (a, b, views), twice = spoil(model, np.random.default_rng(seed))
    items = find(LiveAlignment.choose(series, bad).first)
    swapped = [i for i in items if i.kind is Kind.SWAPPED]
    assert [(i.contour, i.other) for i in swapped] == [(a, b)]
    # Where a swapped point was moved as well it may be a big residual of its own.
    assert set(swapped[0].views) <= set(views)
    double = [i for i in items if i.kind is Kind.DUPLICATE]
    assert [{i.contour, i.other} for i in double] == [{twice, model.n_tracks}]
    wrong = moved | {(c, v) for c in (a, b) for v in views}
    wrong |= {(model.n_tracks, v) for c, v in wrong if c == twice}
    top = items[: next(k for k, i in enumerate(items) if i.kind not in SPOILT)]
    for item in top:
        if item.kind is Kind.RESIDUAL:
            assert (item.contour, item.view) in wrong
    said = {(c, v) for i in top for c in (i.contour, i.other) for v in i.views}
    assert moved <= said
    assert [i.gain_px for i in items] == sorted((i.gain_px for i in items), reverse=True)
    assert all(i.reason and i.view in i.views for i in items)


def test_accepting_the_proposals_mends_a_simulated_series():
    series, model, _ = simulated()
    before = LiveAlignment.choose(series, model).first.leave_one_out_px
    bad, *_ = spoil(model, np.random.default_rng(1), n=25)
    live = LiveAlignment.choose(series, bad)
    centring = BeadCentring(series.stack, series.frame, model.diameter_px)
    centring.learn(bad.xy)
    snapshot, n = accept_all(live, live.first, centring)
    assert snapshot.leave_one_out_px == pytest.approx(before, rel=0.05)
    assert snapshot.model.n_tracks == model.n_tracks
    assert n <= 32
    far = np.hypot(*np.moveaxis(snapshot.model.xy - model.xy, -1, 0))
    assert np.nanmax(far) < 0.5


@pytest.mark.skipif(not POSITION14.exists(), reason="the real tilt series is not here")
def test_accepting_the_proposals_mends_the_real_series():
    """Acceptance C, line c."""
    series, model = real()
    before = LiveAlignment.choose(series, model).first.leave_one_out_px
    bad, moved, (a, b, views), _ = spoil(model, np.random.default_rng(0))
    live = LiveAlignment.choose(series, bad)
    assert find(live.first)[0].kind is Kind.SWAPPED
    centring = BeadCentring(series.stack, series.frame, model.diameter_px)
    centring.learn(bad.xy)
    snapshot, n = accept_all(live, live.first, centring)
    assert snapshot.leave_one_out_px == pytest.approx(before, rel=0.05)
    assert snapshot.model.n_tracks == model.n_tracks
    assert n <= 50
    wrong = moved | {(c, v) for c in (a, b) for v in views if model.measured[c, v]}
    away = np.hypot(*np.moveaxis(snapshot.model.xy - model.xy, -1, 0))
    back = sum(bool(np.nan_to_num(away[place], nan=9) < 0.3) for place in wrong)
    assert back >= 0.93 * len(wrong)


def test_accepting_by_the_geometry_alone_mends_too():
    series, model, _ = phantom(gaps=0.05)
    before = LiveAlignment.choose(series, model).first.leave_one_out_px
    bad, *_ = spoil(model, np.random.default_rng(2))
    live = LiveAlignment.choose(series, bad)
    snapshot, _ = accept_all(live, live.first)
    assert snapshot.leave_one_out_px == pytest.approx(before, rel=0.05)


def test_a_track_that_jumped_onto_a_bead_without_point_is_swapped_back():
    series, model, _ = phantom(n=15)
    views = (10, 11, 12)
    less = DeletePoints(tuple((4, v) for v in views)).apply(model).model
    bad = SwapTracks(2, 4, views).apply(less).model
    (item,) = [i for i in find(LiveAlignment.choose(series, bad).first) if i.kind is Kind.SWAPPED]
    assert (item.contour, item.other, item.views) == (2, 4, views)
    assert np.array_equal(item.edit.apply(bad).model.flag, less.flag)


def test_a_short_track_of_which_half_is_exchanged():
    series, model, _ = phantom(n=15)
    # Ten points are left, three of them on the views that are exchanged, where it gets eight.
    gone = tuple((4, v) for v in range(41) if v not in (3, 5, 8, *range(20, 27)))
    short = DeletePoints(gone).apply(model).model
    views = tuple(range(2, 10))
    bad = SwapTracks(2, 4, views).apply(short).model
    items = find(LiveAlignment.choose(series, bad).first)
    assert (items[0].kind, items[0].contour, items[0].other) == (Kind.SWAPPED, 2, 4)
    assert items[0].views == views
    assert not any(i.kind is Kind.RESIDUAL and i.contour == 4 for i in items)
    assert np.array_equal(items[0].edit.apply(bad).model.flag, short.flag)


def test_halves_of_one_bead_are_merged():
    series, model, _ = phantom(n=15)
    late = tuple(point_of(model, 3, v) for v in range(20, 41))
    bad = DeletePoints(tuple((3, p.view) for p in late)).apply(model).model
    bad = AddContour(-1, late).apply(bad).model
    (item,) = [i for i in find(LiveAlignment.choose(series, bad).first) if i.kind is Kind.DUPLICATE]
    assert {item.contour, item.other} == {3, 15}
    assert isinstance(item.edit, Together)
    merged = item.edit.apply(bad).model
    assert merged.n_tracks == 15
    assert merged.n_points == model.n_points


def test_gaps_and_points_off_the_image_are_listed():
    series, model, _ = phantom(n=15)
    gap = tuple((6, v) for v in (7, 8, 9, 20))
    bad = DeletePoints(gap).apply(model).model
    beyond = np.array(model.size_px) / 2 + 4
    bad = MovePoints(((1, 5, *beyond.tolist()),)).apply(bad).model
    snapshot = LiveAlignment.choose(series, bad).first
    items = find(snapshot, criterion_sd=1e9)
    gaps = [i for i in items if i.kind is Kind.GAP and i.contour == 6]
    assert sorted(i.views for i in gaps) == [(7, 8, 9), (20,)]
    assert all(isinstance(i.edit, FillPoints) for i in gaps)
    filled = gaps[0].edit.apply(bad).model
    assert (filled.flag[6, list(gaps[0].views)] == Flag.FILLED).all()
    off = [i for i in items if i.kind is Kind.OFF_IMAGE]
    assert [(i.contour, i.views) for i in off] == [(1, (5,))]
    # A filled point of weak evidence is still a gap to look at.
    again = find(LiveAlignment.choose(series, filled).first)
    weak = [i for i in again if i.kind is Kind.GAP and i.views == gaps[0].views]
    assert "weak" in weak[0].reason


def test_the_predicted_effect_is_what_happens():
    series, model, _ = phantom(n=15)
    bad, *_ = spoil(model, np.random.default_rng(3), n=10)
    live = LiveAlignment.choose(series, bad)
    item = find(live.first)[0]
    effect = predicted_effect(item.edit, live, live.first)
    after = live.solve(item.edit.apply(bad).model, live.first)
    assert effect.leave_one_out_px == after.leave_one_out_px
    assert effect.mean_residual_change_px < 0
    change = after.leave_one_out_px - live.first.leave_one_out_px
    assert effect.leave_one_out_change_px == change


def test_keys_survive_solves_and_renumbering():
    key = Key(Kind.SWAPPED, 3, 7, -1)
    assert key.renumbered(Change(removed=(5,))) == Key(Kind.SWAPPED, 3, 6, -1)
    assert key.renumbered(Change(removed=(7,))) is None
    assert Key(Kind.GAP, 3, -1, 9).renumbered(Change(added=(0,))) == Key(Kind.GAP, 4, -1, 9)
    series, model, _ = phantom(n=12, gaps=0.05)
    live = LiveAlignment.choose(series, model)
    first = [i.key for i in find(live.first)]
    assert set(first) == {i.key for i in find(live.solve(model, live.first))}
    assert len(set(first)) == len(first)


def test_a_model_of_nothing_has_an_empty_list():
    series, model, _ = phantom(n=12)
    live = LiveAlignment.choose(series, model)
    nothing = FiducialModel.from_tracks(np.full((0, 41, 2), np.nan), model.size_px, 9.0)
    assert find(live.solve(nothing)) == []
