"""From a run to its edited model, and back into the pipeline, by clicks."""

from __future__ import annotations

import numpy as np
import pytest
from PyQt6.QtCore import Qt

from tiltwright.app.editor_page import EditorPage
from tiltwright.app.series_page import SeriesPage
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.model.edits import MovePoints
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.engine.simulate.series import SeriesSpec, write_series

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project in which a series has been aligned."""
    base = tmp_path_factory.mktemp("editing")
    write_series(
        SeriesSpec(seed=2, n_views=15, nx=220, ny=200, n_beads=12, n_vesicles=0,
                   shift_step_sd_px=2, carbon=False), base, "s1",
    )  # fmt: skip
    project = Project.create(base / "project")
    add = project.add
    add("import-tilt-series", {"files": [str(base / "s1.mrc")]})
    add("preprocess", {}, {"tilt_series": Source(1, "tilt_series")})
    add("coarse-prealignment", {}, {"tilt_series": Source(2, "tilt_series")})
    add("fiducial-model", {"number": 8}, {"tilt_series": Source(3, "tilt_series")})
    add(
        "fiducial-alignment", {},
        {"tilt_series": Source(4, "tilt_series"), "fiducial_model": Source(4, "fiducial_model")},
    )  # fmt: skip
    for k in sorted(project.runs):
        execute(project, k)
    project.close()
    return base / "project"


def test_edit_save_and_align_again(window, qtbot, folder):
    window.open_folder(folder)
    project = window.project
    window.open_output(5, "tilt_series")
    page = next(p for p in window.workspace.pages() if isinstance(p, SeriesPage))
    qtbot.waitUntil(lambda: page.edit_button.isVisible())
    qtbot.mouseClick(page.edit_button, LEFT)
    editor = next(p for p in window.workspace.pages() if isinstance(p, EditorPage))
    assert window.workspace.currentWidget() is editor
    session = editor.session
    qtbot.waitUntil(lambda: session.up_to_date, timeout=20_000)
    # The numbers are those of the alignment that the project holds.
    fit = project.item(Source(5, "tilt_series"), "s1").alignment.fit
    assert session.snapshot.mean_residual_px == pytest.approx(fit.mean_residual_px, abs=2e-3)
    contour, view = (int(k) for k in np.argwhere(session.model.measured)[4])
    x, y = session.model.xy[contour, view]
    session.do(MovePoints(((contour, view, x + 1, y),)))
    assert window.stale == set()
    key = project.runs[5].key
    qtbot.mouseClick(editor.layout_.realign_button, LEFT)
    qtbot.waitUntil(lambda: not window.jobs.busy and project.runs[5].key != key, timeout=60_000)
    qtbot.waitUntil(lambda: project.runs[5].status == "finished", timeout=20_000)
    again = project.item(Source(5, "tilt_series"), "s1").alignment.fit
    assert again.mean_residual_px > fit.mean_residual_px
    qtbot.waitUntil(lambda: session.up_to_date and not window.stale, timeout=20_000)
    assert again.mean_residual_px == pytest.approx(session.snapshot.mean_residual_px, rel=0.1)
    assert not session.modified


def test_from_the_run_itself(window, qtbot, folder):
    window.open_folder(folder)
    window.runs.select(["5"])
    window.run_actions.actions["edit_beads"].trigger()
    editor = next(p for p in window.workspace.pages() if isinstance(p, EditorPage))
    qtbot.waitUntil(lambda: editor.session.up_to_date, timeout=20_000)
    contour, view = (int(k) for k in np.argwhere(editor.session.model.measured)[4])
    x, y = editor.session.model.xy[contour, view]
    editor.session.do(MovePoints(((contour, view, x + 1, y),)))
    editor.zap.view.setFocus()
    qtbot.keyClick(editor.zap.view, Qt.Key.Key_S)
    qtbot.waitUntil(lambda: window.stale == {5}, timeout=20_000)
    window.workspace.close_page("editor:4.fiducial_model.s1")
    # What was saved is there when it is opened again, and nothing is offered.
    window.run_actions.actions["edit_beads"].trigger()
    editor = next(p for p in window.workspace.pages() if isinstance(p, EditorPage))
    assert not editor.layout_.notice.isVisible()
    assert editor.session.model.xy[contour, view][0] == pytest.approx(x + 1, abs=1e-3)


def test_a_run_without_a_model_says_so(window, qtbot, folder, monkeypatch):
    window.open_folder(folder)
    window.runs.select(["2"])
    said = []
    monkeypatch.setattr(window, "complain", said.append)
    window.run_actions.actions["edit_beads"].trigger()
    assert "stands on no fiducial model" in said[0]
