"""Versions, the journal and what comes back after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from editor_person import Folder, Person, nudge, stack
from PyQt6.QtCore import QCoreApplication, QEvent, Qt

from tiltwright.engine.curation.journal import recover
from tiltwright.engine.model.edits import AddContour, DeleteContour, MovePoints, Point
from tiltwright.engine.model.fiducial_model import Flag
from tiltwright.engine.model.files import write_model
from tiltwright.engine.project.versions import open_version
from tiltwright.widgets.editor.editor_window import EditorWindow
from tiltwright.widgets.editor.files import edit_towards

LEFT = Qt.MouseButton.LeftButton


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
    files, window = person.window.saving._files, person.window
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
    comparison = window.versions.comparison
    person.wait(lambda: window.versions.pages.currentIndex() == 1)
    assert "1 point moved" in window.versions.words.text()
    then, now = (cell.text() for cell in comparison.cells["leave-one-out"])
    assert f"{person.session.snapshot.leave_one_out_px:.4f}" in now
    assert f"{second.numbers['leave_one_out_px']:.4f}" in then


def test_a_save_that_fails_loses_nothing(opened):
    person = opened()
    person.window.saving._files.fails = True
    nudge(person, 2)
    person.key(Qt.Key.Key_S)
    assert "no space left" in person.log
    assert person.session.modified


def test_unsaved_edits_are_offered_and_restored(opened, real):
    person = opened()
    nudge(person, 20)
    person.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    wanted = person.model
    person.window.close()
    again = opened()
    notice = again.window.layout_.notice
    assert notice.isVisible()
    assert notice.words.text().startswith("21 edits")
    # Offered: nothing is done, and nothing can be done, before it is said what becomes of them.
    assert again.model is real[1]
    nudge(again, 1)
    assert "First restore the 21 unsaved edits, or leave them" in again.log
    assert again.model is real[1]
    assert not again.window.save()
    again.qtbot.mouseClick(notice.restore_button, LEFT)
    assert np.array_equal(again.model.xy, wanted.xy, equal_nan=True)
    assert not notice.isVisible()
    assert again.session.undo_stack.count() == 21
    # They are still journalled, with what comes after.
    nudge(again, 1, 9)
    wanted = again.model
    again.window.close()
    third = opened()
    assert third.window.layout_.notice.words.text().startswith("22 edits")
    third.qtbot.mouseClick(third.window.layout_.notice.restore_button, LEFT)
    assert np.array_equal(third.model.xy, wanted.xy, equal_nan=True)


def test_unsaved_edits_can_be_left(opened, real, tmp_path):
    person = opened()
    nudge(person, 2)
    person.window.close()
    again = opened()
    again.qtbot.mouseClick(again.window.layout_.notice.leave_button, LEFT)
    assert again.model is real[1]
    assert not again.window.layout_.notice.isVisible()
    nudge(again, 1)
    again.window.close()
    third = opened()
    assert third.window.layout_.notice.words.text().startswith("1 edit,")
    # Nothing was lost.
    assert recover(tmp_path / "edits.journal.1", real[1]).n_edits == 2


def test_a_crash_after_a_save_loses_nothing(opened, real):
    person = opened()
    nudge(person, 3)
    person.settle()
    person.key(Qt.Key.Key_S)
    nudge(person, 2, 5)
    wanted = person.model
    saved = person.window.saving._files.saved[0]
    person.window.close()
    again = opened(open_version(saved, real[0]))
    assert again.window.layout_.notice.words.text().startswith("2 edits")
    again.qtbot.mouseClick(again.window.layout_.notice.restore_button, LEFT)
    assert np.array_equal(again.model.xy, wanted.xy, equal_nan=True)


def test_two_editors_do_not_write_one_journal(opened, real):
    first, second = opened(), opened()
    notice = second.window.layout_.notice
    assert notice.isVisible()
    assert "another editor has this model open (process" in notice.words.text()
    assert not notice.restore_button.isVisible()
    nudge(second, 1)
    assert "Read-only: another editor" in second.log
    assert second.model is real[1]
    second.key(Qt.Key.Key_S)
    assert second.window.saving._files.versions() == []
    nudge(first, 2)
    second.window.close()
    first.window.close()
    # Closed, it is free again.
    assert opened().window.layout_.notice.words.text().startswith("2 edits")


def test_nothing_comes_back_after_a_save(opened):
    person = opened()
    nudge(person, 5)
    person.settle()
    person.key(Qt.Key.Key_S)
    saved = person.window.saving._files.saved[0]
    model = person.window.saving._files.open(saved)
    person.window.close()
    again = opened(model)
    assert not again.window.layout_.notice.isVisible()
    assert again.session.undo_stack.count() == 0


CHILD = """
import sys, time
import numpy as np
from pathlib import Path
from PyQt6.QtCore import Qt
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication
here, folder, stack, diameter = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
sys.path.insert(0, str(here))
from editor_person import Folder, open_series
from tiltwright.engine.model.files import read_model
from tiltwright.widgets.editor.current import Current
from tiltwright.widgets.editor.editor_window import EditorWindow
app = QApplication([])
series = open_series(Path(stack))
model = read_model(folder / "start.fid", series.n_views, series.size, float(diameter),
                   folder / "start_points.csv")
window = EditorWindow(series, model, files=Folder(folder, series))
window.resize(1280, 800)
window.show()
window.activateWindow()
while not window.isActiveWindow():
    app.processEvents()
view = window.zap.view
view.setFocus()
window.session.go(Current(3, 4, 3))
K = Qt.Key
for k in range(10):
    QTest.keyClick(view, K.Key_Right, Qt.KeyboardModifier.KeypadModifier)
    QTest.keyClick(view, K.Key_Up, Qt.KeyboardModifier.KeypadModifier)
    QTest.keyClick(view, K.Key_Delete)
    QTest.keyClick(view, K.Key_Z, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClick(view, K.Key_Left, Qt.KeyboardModifier.KeypadModifier)
    QTest.keyClick(view, K.Key_PageUp)
now = window.session.model
np.savez(folder / "wanted.npz", xy=now.xy, flag=now.flag, n=window.session.undo_stack.count())
print("done", flush=True)
time.sleep(60)
"""


def test_fifty_edits_survive_a_kill(opened, real, tmp_path):
    """``kill -9`` of an editor of another process, after fifty keys that edit."""
    write_model(tmp_path, "start", real[1], real[0])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(tmp_path), str(stack()),
         str(real[1].diameter_px)],
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "done\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    wanted = np.load(tmp_path / "wanted.npz")
    # Each Delete was undone: an undo is journalled as an edit too.
    assert wanted["n"] == 30
    person = opened()
    notice = person.window.layout_.notice
    assert notice.words.text().startswith("50 edits, the last on ")
    assert person.model is real[1]
    person.qtbot.mouseClick(notice.restore_button, LEFT)
    assert np.array_equal(person.model.xy, wanted["xy"], equal_nan=True)
    assert np.array_equal(person.model.flag, wanted["flag"])
    assert not np.array_equal(person.model.xy, real[1].xy, equal_nan=True)
    for _ in range(50):
        person.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert np.array_equal(person.model.xy, real[1].xy, equal_nan=True)


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
    assert len(person.window.saving._files.versions()) == 1
