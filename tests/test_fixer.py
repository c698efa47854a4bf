"""The searches of the Bead Fixer: their order, their words, and that they survive edits."""

from __future__ import annotations

import numpy as np
import pytest
from curation_cases import phantom

from tiltwright.engine.curation.gaps import GapSearch, gaps_of
from tiltwright.engine.curation.live import LiveAlignment
from tiltwright.engine.curation.residuals import ContourSearch, ResidualSearch
from tiltwright.engine.model.edits import (
    AddContour,
    AddPoint,
    DeleteContour,
    DeletePoints,
    MovePoints,
)


@pytest.fixture
def gappy():
    """Contour 1 whole, 2 lacks start, middle and end, 3 lacks two middles, 4 is empty."""
    _, model, _ = phantom(n=4, n_views=10)
    gone = [(1, v) for v in (0, 1, 5, 9)] + [(2, v) for v in (3, 6, 7)]
    gone += [(3, v) for v in range(10)]
    return DeletePoints(tuple(gone)).apply(model).model


def walk(search, model, step="next"):
    out = []
    while not (found := getattr(search, step)(model)).done:
        out.append((found.contour, found.view, found.arrow))
    assert found.message == "No more gaps found!"
    assert found.contour is None
    return out


def test_gaps_come_contour_by_contour(gappy):
    search = GapSearch()
    order = [(1, 2, -1), (1, 4, 1), (1, 8, 1), (2, 2, 1), (2, 5, 1)]
    assert walk(search, gappy) == order
    assert search.next(gappy).done
    assert walk(search, gappy, "previous") == order[-2::-1]
    search.start_from_beginning()
    found = search.next(gappy)
    assert found.message.startswith("Contour 2 is missing points before current point. Use PageDo")
    assert "after current point. Use PageUp" in search.next(gappy).message


def test_filling_goes_on_where_something_is_left(gappy):
    search = GapSearch()
    search.next(gappy)
    # The missing start is filled from its inner end: view 2 of 2 is left.
    model = AddPoint(1, 1, 0, 0).apply(gappy).model
    found = search.next(model)
    assert (found.contour, found.view, found.arrow) == (1, 1, -1)
    model = AddPoint(1, 0, 0, 0).apply(model).model
    assert (search.next(model).contour, search.current.first) == (1, 5)
    assert (search.next(model).view, search.next(model).contour) == (8, 2)
    search.next(model)
    model = AddPoint(2, 6, 0, 0).apply(model).model
    assert search.next(model).view == 6


def test_reattaching_and_starting_from_a_point(gappy):
    search = GapSearch()
    assert search.reattach(gappy).contour is None
    search.next(gappy), search.next(gappy)
    found = search.reattach(gappy)
    assert (found.contour, found.view) == (1, 4)
    search.start_from_beginning()
    search.next(gappy)
    assert (search.reattach(gappy).view, search.reattach(gappy).arrow) == (2, -1)
    search.start_from(2, 4)
    assert walk(search, gappy) == [(2, 5, 1)]
    search.start_from(2, 4)
    found = search.previous(gappy)
    assert (found.contour, found.view) == (2, 2)


def test_ignored_views_are_no_gaps(gappy):
    assert [g.first for g in gaps_of(gappy, {0, 1, 5, 6, 99})] == [9, 3, 7]
    assert walk(GapSearch({0, 1, 3, 5, 6, 7, 9}), gappy) == []


def test_the_place_follows_contours_that_come_and_go(gappy):
    search = GapSearch()
    search.next(gappy), search.next(gappy)
    step = DeleteContour(0).apply(gappy)
    search.renumber(step.change)
    found = search.next(step.model)
    assert (found.contour, found.view) == (0, 8)
    step = DeleteContour(0).apply(step.model)
    search.renumber(step.change)
    assert walk(search, step.model) == [(0, 2, 1), (0, 5, 1)]
    search.start_from(0, 4)
    search.renumber(AddContour(0).apply(step.model).change)
    found = search.next(AddContour(0).apply(step.model).model)
    assert (found.contour, found.view) == (1, 5)


@pytest.fixture(scope="module")
def moved():
    series, model, _ = phantom(n=15, n_views=21)
    live = LiveAlignment.choose(series, model)
    moves = [(3, 4, 0.9), (7, 10, 0.75), (11, 15, 0.6), (5, 5, 9.0)]
    edit = MovePoints(
        tuple((c, v, model.xy[c, v, 0] + d, model.xy[c, v, 1] + d) for c, v, d in moves)
    )
    bad = edit.apply(model).model
    return live, live.solve(bad, live.first), bad


def places(search, snapshot):
    out = []
    while not (found := search.next(snapshot)).done:
        out.append((found.contour, found.view))
    return out, found


def test_big_residuals_come_worst_first_and_once(moved):
    _, snapshot, _ = moved
    search = ResidualSearch(criterion_sd=4.0, skip_low_weights=False)
    total = search.progress(snapshot)[1]
    found, last = places(search, snapshot)
    assert found[:4] == [(5, 5), (3, 4), (7, 10), (11, 15)]
    assert last.message == "No more residuals!"
    assert search.progress(snapshot) == (total, total)
    assert search.next(snapshot).done
    search.clear_examined()
    first = search.next(snapshot)
    assert (first.contour, first.view) == (5, 5)
    x, y = snapshot.residual_px[5, 5]
    r, sd = snapshot.length_px[5, 5], snapshot.sd[5, 5]
    assert first.message == f"Residual = {r:.2f} ({x:.2f}, {y:.2f}), {sd:.2f} SDs"
    assert search.progress(snapshot) == (1, total)


def test_low_weights_are_passed_over_and_said(moved):
    _, snapshot, _ = moved
    search = ResidualSearch(criterion_sd=4.0)
    found, last = places(search, snapshot)
    assert (5, 5) not in found
    assert last.skipped >= 1
    # Examined more than once: the list begins again after its end.
    search = ResidualSearch(criterion_sd=4.0, examine_once=False)
    assert places(search, snapshot)[0] == found
    assert places(search, snapshot)[0] == found


def test_backing_up_goes_to_the_one_before(moved):
    _, snapshot, _ = moved
    search = ResidualSearch(criterion_sd=4.0, skip_low_weights=False)
    assert search.back_up(snapshot).done
    search.next(snapshot), search.next(snapshot)
    found = search.back_up(snapshot)
    assert (found.contour, found.view) == (5, 5)
    again = search.next(snapshot)
    assert (again.contour, again.view) == (3, 4)


def test_moving_by_the_residual_and_undoing_it(moved):
    live, snapshot, bad = moved
    search = ResidualSearch(criterion_sd=4.0, skip_low_weights=False)
    assert search.undo_move(bad) is None
    found = search.next(snapshot)
    edit = search.move_point(snapshot, found.contour, found.view)
    model = edit.apply(bad).model
    after = live.solve(model, snapshot)
    assert after.length_px[5, 5] < 0.05
    np.testing.assert_allclose(model.xy[5, 5], snapshot.predicted_px[5, 5], atol=1e-3)
    back = search.undo_move(model).apply(model).model
    assert np.array_equal(back.xy, bad.xy, equal_nan=True)
    assert search.undo_move(back) is None
    every = search.move_all(snapshot).apply(bad).model
    assert live.solve(every, snapshot).mean_residual_px < snapshot.mean_residual_px
    gap = DeletePoints(((0, 0),)).apply(bad).model
    assert search.move_point(live.solve(gap), 0, 0) is None


def test_the_examined_follow_renumbering(moved):
    live, snapshot, bad = moved
    search = ResidualSearch(criterion_sd=4.0, skip_low_weights=False)
    search.next(snapshot), search.next(snapshot)
    step = DeleteContour(4).apply(bad)
    search.renumber(step.change)
    after = live.solve(step.model, snapshot)
    found = search.next(after)
    assert (found.contour, found.view) == (6, 10)


def test_contours_come_by_their_mean_residual(moved):
    live, snapshot, bad = moved
    search = ContourSearch()
    order = []
    while not (found := search.next(snapshot)).done:
        order.append(found.contour)
    assert order == np.argsort(-snapshot.per_bead_px, kind="stable").tolist()
    assert found.message == "No more contours!"
    assert search.back_up(snapshot).contour == order[-2]
    search.start_from_beginning()
    first = search.next(snapshot)
    length = snapshot.length_px[first.contour]
    assert first.message == (
        f"Contour {first.contour + 1}: mean {np.nanmean(length):.2f}, SD {np.nanstd(length):.2f}, "
        f"max {np.nanmax(length):.2f}"
    )
    assert first.view == np.nanargmax(length)
    step = DeleteContour(first.contour).apply(bad)
    search.renumber(step.change)
    assert search.next(live.solve(step.model, snapshot)).contour == step.change.new_number(order[1])
    assert search.back_up(snapshot).done
