"""Edits: random sequences undone and redone, what never happens, and what they cost."""

from __future__ import annotations

import json
import time
import tracemalloc

import numpy as np
import pytest
from curation_cases import phantom

from tiltwright.engine.curation.journal import edit_of_json, edit_to_json
from tiltwright.engine.errors import InputError
from tiltwright.engine.model.edits import (
    AddContour,
    AddPoint,
    Change,
    DeleteContour,
    DeletePoints,
    Edit,
    FillPoints,
    MovePoints,
    Point,
    SetPoints,
    SetSurface,
    SwapTracks,
    Together,
    point_of,
    rounded,
)
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag


def same(a: FiducialModel, b: FiducialModel) -> bool:
    return all(
        np.array_equal(getattr(a, k), getattr(b, k), equal_nan=k in ("xy", "sigma_px"))
        for k in ("xy", "flag", "surface", "sigma_px")
    )


def random_edit(model: FiducialModel, rng: np.random.Generator) -> Edit:
    """Any edit that fits the model."""
    n, n_views = model.flag.shape
    kind = rng.integers(10)
    if n < 3 or kind == 0:
        points = tuple(
            Point(0, int(v), *rng.uniform(-300, 300, 2), int(Flag.EDITED), float(rng.random()))
            for v in rng.choice(n_views, rng.integers(0, 6), replace=False)
        )
        return AddContour(int(rng.integers(-1, n + 1)), points, int(rng.integers(2)))
    c, v = int(rng.integers(n)), int(rng.integers(n_views))
    x, y = (float(a) for a in rng.uniform(-400, 400, 2))
    measured, gaps = np.argwhere(model.measured), np.argwhere(~model.measured)
    if kind == 1:
        return DeleteContour(c)
    if kind == 2:
        return AddPoint(c, v, x, y, float(rng.choice([np.nan, 0.1234567])))
    if kind in (3, 4) and len(measured):
        some = measured[rng.choice(len(measured), min(len(measured), 5), replace=False)]
        if kind == 3:
            return DeletePoints(tuple((int(a), int(b)) for a, b in some))
        return MovePoints(tuple((int(a), int(b), x + k, y) for k, (a, b) in enumerate(some)))
    if kind == 5:
        return SetSurface((c,), (int(rng.integers(2)),))
    if kind == 6 and len(gaps):
        some = gaps[rng.choice(len(gaps), min(len(gaps), 7), replace=False)]
        flags = rng.choice([int(Flag.FILLED), int(Flag.MEASURED)], len(some))
        return FillPoints(
            tuple(Point(int(a), int(b), x, y, int(f), 0.2)
                  for (a, b), f in zip(some, flags, strict=True))
        )  # fmt: skip
    if kind == 7:
        views = tuple(sorted(int(a) for a in rng.choice(n_views, 4, replace=False)))
        return SwapTracks(c, int(rng.integers(n)), views)
    if kind == 8:
        first = random_edit(model, rng)
        return Together((first, random_edit(first.apply(model).model, rng)), "two")
    return AddPoint(c, v, x, y)


@pytest.mark.parametrize("seed", range(12))
def test_undo_all_and_redo_all_of_random_edits(seed):
    rng = np.random.default_rng(seed)
    _, start, _ = phantom(n=8, n_views=11, gaps=0.3, seed=seed)
    models, inverses, forward = [start], [], []
    for _ in range(120):
        edit = random_edit(models[-1], rng)
        step = edit.apply(models[-1])
        assert isinstance(edit, Edit)
        assert edit.label
        models.append(step.model)
        inverses.append(step.inverse)
        forward.append(edit)
    model, redo = models[-1], []
    for k in reversed(range(len(inverses))):
        model, again, change = inverses[k].apply(model)
        redo.append(again)
        assert same(model, models[k])
        check_change(change, models[k + 1], model)
    assert same(model, start)
    for k, again in enumerate(reversed(redo)):
        model = again.apply(model).model
        assert same(model, models[k + 1])
    # The same from their journalled form.
    model = start
    for edit, after in zip(forward, models[1:], strict=True):
        read = edit_of_json(json.loads(json.dumps(edit_to_json(edit))))
        model, _, change = read.apply(model)
        assert same(model, after)


@pytest.mark.parametrize("seed", range(6))
def test_the_change_says_what_changed_and_models_stay_sound(seed):
    rng = np.random.default_rng(100 + seed)
    _, model, _ = phantom(n=7, n_views=9, gaps=0.3, seed=seed)
    for _ in range(150):
        before = model
        model, _, change = random_edit(model, rng).apply(model)
        check_change(change, before, model)
        there = model.flag != Flag.GAP
        assert np.array_equal(there, np.isfinite(model.xy).all(-1))
        assert np.isnan(model.sigma_px[~there]).all()
        # No finer than a file of single precision.
        np.testing.assert_array_equal(model.xy[there], rounded(model.xy[there], model.size_px))
        read = FiducialModel.from_tracks(
            model.xy, model.size_px, model.diameter_px, surface=model.surface, flag=model.flag,
            sigma_px=model.sigma_px,
        )  # fmt: skip
        assert same(read, model)
        for array in (model.xy, model.flag, model.surface, model.sigma_px):
            assert not array.flags.writeable


def check_change(change: Change, before: FiducialModel, after: FiducialModel) -> None:
    """Everything that differs is in the record, and the numbers map both ways."""
    assert after.n_tracks == before.n_tracks + len(change.added) - len(change.removed)
    views = set()
    for c in range(after.n_tracks):
        old = change.old_number(c)
        if old is None:
            assert c in change.added
            views |= set(np.flatnonzero(after.flag[c]))
            continue
        assert change.new_number(old) == c
        differs = ~(
            (before.flag[old] == after.flag[c])
            & np.isclose(before.xy[old], after.xy[c], equal_nan=True, atol=0, rtol=0).all(-1)
        )
        views |= set(np.flatnonzero(differs))
        if differs.any() or before.surface[old] != after.surface[c]:
            assert c in change.contours
    for c in change.removed:
        assert change.new_number(c) is None
        views |= set(np.flatnonzero(before.flag[c]))
    assert views <= change.views


def test_edits_that_do_not_fit_are_refused():
    _, model, _ = phantom(n=3, n_views=5)
    gap = DeletePoints(((0, 0),)).apply(model).model
    for edit, on in [
        (AddPoint(3, 0, 0, 0), model),
        (AddPoint(0, 5, 0, 0), model),
        (AddPoint(0, 0, np.nan, 0), model),
        (MovePoints(((0, 0, 1.0, 1.0),)), gap),
        (FillPoints((Point(1, 1, 0, 0, 2),)), model),
        (DeleteContour(-1), model),
        (AddContour(5), model),
        (SetSurface((0,), (3,)), model),
        (SetSurface((0, 1), (1,)), model),
        (SetSurface((0, 0), (1, 0)), model),
        (SwapTracks(0, 7, (1,)), model),
        (SetPoints((Point(0, 0, 1, 1, 1), Point(0, 0, 2, 2, 1))), model),
    ]:
        with pytest.raises(InputError):
            edit.apply(on)


def test_a_point_keeps_its_place_and_its_origin():
    _, model, _ = phantom(n=3, n_views=5)
    moved = MovePoints(((1, 2, 10.25, -3.5),)).apply(model).model
    assert point_of(moved, 1, 2).flag == Flag.EDITED
    assert point_of(moved, 1, 3) == point_of(model, 1, 3)
    assert moved.xy[1, 2].tolist() == [10.25, -3.5]
    swapped = SwapTracks(0, 1, (2,)).apply(moved).model
    assert swapped.xy[0, 2].tolist() == [10.25, -3.5]
    assert swapped.flag[0, 2] == Flag.EDITED
    assert np.array_equal(swapped.xy[1, 2], moved.xy[0, 2])


def test_an_edit_of_300_contours_takes_less_than_a_millisecond():
    _, model, _ = phantom(n=300, n_views=41)
    edits = [
        AddPoint(5, 5, 1.0, 2.0), MovePoints(((3, 3, 1.0, 1.0),)), DeletePoints(((9, 9),)),
        AddContour(), DeleteContour(150), SwapTracks(1, 2, tuple(range(8))), SetSurface((1,), (1,)),
    ]  # fmt: skip
    for edit in edits:
        seconds = []
        for _ in range(30):
            began = time.perf_counter()
            edit.apply(model)
            seconds.append(time.perf_counter() - began)
        # The best of many: other processes may hold the machine.
        assert min(seconds) < 1e-3, edit.label


def test_500_edits_and_their_undo_take_little_memory():
    rng = np.random.default_rng(5)
    _, start, _ = phantom(n=300, n_views=41)
    tracemalloc.start()
    model, inverses = start, []
    for _ in range(500):
        step = random_edit(model, rng).apply(model)
        model = step.model
        inverses.append(step.inverse)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 50e6
    redo = []
    for inverse in reversed(inverses):
        step = inverse.apply(model)
        model = step.model
        redo.append(step.inverse)
    assert same(model, start)
