"""A model that a person edits becomes the result of its run, and what follows is out of date."""

from __future__ import annotations

import numpy as np
import pytest

from tiltwright.engine.errors import InputError
from tiltwright.engine.execution.runner import execute, series_of_input
from tiltwright.engine.model.edits import DeleteContour, MovePoints
from tiltwright.engine.project.edited_model import EditedModel, model_to_edit
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source

MODEL = Source(4, "fiducial_model")


@pytest.fixture
def edited(opened) -> EditedModel:
    series = series_of_input(opened, opened.runs[4], "s1")
    return EditedModel(opened, MODEL, "s1", series)


def test_what_is_edited_is_the_model_that_an_alignment_took(opened):
    for number in (4, 5, 6, 7):
        assert model_to_edit(opened, number, "s1") == MODEL
    assert model_to_edit(opened, 3, "s1") is None
    assert model_to_edit(opened, 5, "nobody") is None


def test_saving_makes_what_follows_out_of_date(opened, edited):
    assert opened.stale() == set()
    before = edited.load()
    contour, view = np.argwhere(before.measured)[3]
    x, y = before.xy[contour, view]
    after = MovePoints(((int(contour), int(view), x + 1.5, y),)).apply(before).model
    version = edited.save(after, "one point", {"mean_residual_px": 0.25})
    assert version.number == 2
    assert [v.note for v in edited.versions()] == ["as computed", "one point"]
    assert opened.stale() == {5, 6, 7}
    assert any("version 2, one point" in line for line in opened.runs[4].notes["s1"])
    # Everything stands on the disk, also for another window.
    again = Project.open(opened.folder, read_only=True)
    found = again.item(MODEL, "s1")
    assert np.array_equal(found.xy, after.xy, equal_nan=True)
    assert np.array_equal(found.flag, after.flag)
    # The other series keeps its result: only what changed is computed again.
    other = opened.runs[5].keys["s2"]
    execute(opened, 5)
    assert opened.runs[5].keys["s2"] == other
    assert opened.stale() == {6, 7}
    residuals = opened.item(Source(5, "tilt_series"), "s1").alignment.fit.residual_px
    assert np.isfinite(residuals[contour, view]).all()


def test_the_model_as_computed_can_be_had_again(opened, edited):
    before = edited.load()
    edited.save(DeleteContour(0).apply(before).model, "", {})
    assert edited.load().n_tracks == before.n_tracks - 1
    first = edited.open(edited.versions()[0])
    assert np.array_equal(first.xy, before.xy, equal_nan=True)
    assert np.array_equal(first.surface, before.surface)
    edited.save(first, "back", {})
    assert np.array_equal(edited.load().xy, before.xy, equal_nan=True)


def test_computing_the_run_again_keeps_the_versions(opened, edited):
    before = edited.load()
    edited.save(DeleteContour(0).apply(before).model, "", {})
    execute(opened, 4, mode="restart")
    assert edited.load().n_tracks == before.n_tracks
    assert len(edited.versions()) == 2


def test_a_project_of_another_window_is_not_written(opened, edited):
    model = edited.load()
    reader = Project.open(opened.folder, read_only=True)
    series = series_of_input(reader, reader.runs[4], "s1")
    with pytest.raises(InputError, match="read-only"):
        EditedModel(reader, MODEL, "s1", series).save(model, "", {})
    opened.runs[4].status = "running"
    with pytest.raises(InputError, match="running"):
        edited.save(model, "", {})
    assert edited.versions() == []
