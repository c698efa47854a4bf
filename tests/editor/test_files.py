"""Versions, the journal and what comes back after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from editor_person import REAL, Folder, Person, automatic_model, nudge
from PyQt6.QtCore import QCoreApplication, QEvent, Qt

from tiltwright.engine.model.edits import AddContour, DeleteContour, MovePoints, Point
from tiltwright.engine.model.fiducial_model import Flag
from tiltwright.widgets.editor.editor_window import EditorWindow
from tiltwright.widgets.editor.files import edit_towards


@pytest.fixture
def opened(qtbot, real, tmp_path):
    """Opens editors on the same files, and closes them."""
    made = []

    def open_(model=None) -> Person:
        window = EditorWindow(real[0], model or real[1], files=Folder(tmp_path, real[0]))
        window.resize(1280, 800)
        window.show()
        made.append(window)
        window.activateWindow()
        person = Person(qtbot, window)
        person.wait(lambda: window.session.live is not None)
        person.settle()
        return person

    yield open_
    for window in made:
        window.close()
        window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def test_s_saves_a_version_that_stays(opened, real):
    person = opened()
    files, window = person.window._files, person.window
    assert not window.layout_.save_button.isEnabled()
    nudge(person, 3)
    person.settle()
    assert window.layout_.save_button.isEnabled()
    saved = []
    window.model_saved.connect(saved.append)
    person.key(Qt.Key.Key_S)
    assert "Done saving model " in person.log
    assert not person.session.modified
    window.versions.note.setText("second look")
    nudge(person, 1, 7)
    person.settle()
    person.key(Qt.Key.Key_S)
    first, second = files.versions()
    assert [v.number for v in saved] == [1, 2]
    assert second.note == "second look"
    snapshot = person.session.snapshot
    assert second.numbers["mean_residual_px"] == pytest.approx(snapshot.mean_residual_px)
    assert second.numbers["leave_one_out_px"] == pytest.approx(snapshot.leave_one_out_px)
    assert np.array_equal(files.open(second).xy, person.model.xy, equal_nan=True)
    assert not np.array_equal(files.open(first).xy, person.model.xy, equal_nan=True)
    # Back before the first: open it, then compare.
    table = window.versions.table
    table.selectRow(1)
    window.versions.open_button.click()
    person.settle()
    assert np.array_equal(files.open(first).xy, person.model.xy, equal_nan=True)
    assert person.session.modified
    table.selectRow(0)
    window.versions.compare_button.click()
    person.wait(lambda: "leave-one-out" in window.versions.words.text())
    assert "1 points moved" in window.versions.words.text()


def test_a_save_that_fails_loses_nothing(opened):
    person = opened()
    person.window._files.fails = True
    nudge(person, 2)
    person.key(Qt.Key.Key_S)
    assert "no space left" in person.log
    assert person.session.modified


def test_unsaved_edits_come_back(opened, real):
    person = opened()
    nudge(person, 20)
    person.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    wanted = person.model
    person.window.close()
    again = opened()
    assert np.array_equal(again.model.xy, wanted.xy, equal_nan=True)
    layout = again.window.layout_
    assert layout.recovery.isVisible()
    assert "21 edits" in layout.recovery_words.text()
    layout.discard_button.click()
    assert np.array_equal(again.model.xy, real[1].xy, equal_nan=True)
    assert not layout.recovery.isVisible()


def test_nothing_comes_back_after_a_save(opened):
    person = opened()
    nudge(person, 5)
    person.settle()
    person.key(Qt.Key.Key_S)
    saved = person.window._files.saved[0]
    model = person.window._files.open(saved)
    person.window.close()
    again = opened(model)
    assert not again.window.layout_.recovery.isVisible()
    assert again.session.undo_stack.count() == 0


def test_fifty_edits_survive_a_kill(opened, real, tmp_path):
    """``kill -9`` of another process that edits."""
    script = textwrap.dedent(f"""
        import sys, time
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from PyQt6.QtWidgets import QApplication
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from editor_person import nudge
        from tiltwright.engine.model.files import read_model
        from tiltwright.engine.model.tilt_series import load_tilt_series
        from tiltwright.widgets.editor.session import Session
        app = QApplication([])
        series = load_tilt_series(Path({str(REAL / "position14.mrc")!r}),
            tilt_angles=Path({str(REAL / "position14.rawtlt")!r}), axis_deg=-84.5,
            pixel_size_a=11.04)
        path = Path({str(automatic_model())!r})
        model = read_model(path, series.n_views, series.size, 100 / 11.04)
        session = Session(series, model, Path({str(tmp_path)!r}) / "edits.journal")
        session.open_journal()
        class P: pass
        p = P(); p.session = session
        P.model = property(lambda s: s.session.model)
        nudge(p, 50, 3)
        print("done", flush=True)
        time.sleep(60)
    """)
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root, text=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "done\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    person = opened()
    assert "50 edits" in person.window.layout_.recovery_words.text()
    twin = Twin(real[1])
    nudge(twin, 50, 3)
    assert np.array_equal(person.model.xy, twin.model.xy, equal_nan=True)


class Twin:
    """The same edits without a window."""

    def __init__(self, model) -> None:
        self.model = model
        self.session = self

    def go(self, current) -> None:
        pass

    def do(self, edit) -> None:
        self.model = edit.apply(self.model).model


def test_an_edit_towards_another_model(real):
    model = real[1]
    fewer = DeleteContour(3).apply(model).model
    more = AddContour(points=(Point(0, 4, 1.0, 2.0, int(Flag.EDITED)),), surface=1).apply(model)
    moved = MovePoints(((0, 5, 3.0, 4.0),)).apply(model).model
    for a, b in ((model, fewer), (fewer, model), (model, more.model), (more.model, fewer),
                 (model, moved), (model, replace(model))):  # fmt: skip
        step = edit_towards(a, b, "x").apply(a)
        for name in ("xy", "flag", "surface"):
            assert np.array_equal(
                getattr(step.model, name), getattr(b, name), equal_nan=name == "xy"
            )
        back = step.inverse.apply(step.model).model
        assert np.array_equal(back.xy, a.xy, equal_nan=True)


def test_closing_leaves_no_thread(opened):
    import threading

    before = set(threading.enumerate())
    person = opened()
    nudge(person, 3)
    person.window.close()
    assert not set(threading.enumerate()) - before


def test_rerunning_the_alignment_saves_first(opened):
    person = opened()
    nudge(person, 1)
    person.settle()
    asked = []
    person.window.realign_requested.connect(lambda: asked.append(person.session.modified))
    person.qtbot.mouseClick(person.window.layout_.realign_button, Qt.MouseButton.LeftButton)
    assert asked == [False]
    assert len(person.window._files.versions()) == 1
