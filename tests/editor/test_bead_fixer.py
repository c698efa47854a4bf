"""The four operations of the Bead Fixer, by buttons and keys on the real series."""

from __future__ import annotations

import numpy as np
import pytest
from editor_person import displaced, spoil
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QMessageBox

from tiltwright.engine.model.fiducial_model import Flag
from tiltwright.widgets.editor.bead_fixer import Command, Operation
from tiltwright.widgets.editor.current import Current

K, LEFT, MIDDLE = Qt.Key, Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton
SHIFT, CTRL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
PAD = Qt.KeyboardModifier.KeypadModifier


def press(person, command: Command) -> None:
    button = person.window.bead_fixer.buttons[command]
    assert button.isVisible()
    person.qtbot.mouseClick(button, LEFT)
    person.settle()


def test_the_diameter_is_that_of_the_data(person, real):
    series, model = real
    diameter = person.window.bead_fixer.diameter.value()
    assert diameter == pytest.approx(100 / series.pixel_size_a, abs=0.06)
    assert model.diameter_px == pytest.approx(diameter, abs=0.06)


# ---- fill gaps -----------------------------------------------------------------------------------


def test_gaps_come_contour_by_contour(person):
    """Missing start, an internal gap, missing end; then the next contour."""
    complete = np.flatnonzero((person.model.flag > 0).all(1))
    a, b = complete[0], complete[1]
    n = person.model.n_views
    spoil(person, [(a, 0), (a, 1), (a, 10), (a, n - 1), (b, 7)])
    press(person, Command.FROM_BEGINNING)
    now = person.session
    wanted = [(a, 2, "before"), (a, 9, "after"), (a, n - 2, "after"), (b, 6, "after")]
    seen = []
    while len(seen) < 200:
        person.key(K.Key_Space)
        if "No more gaps" in person.log:
            break
        seen.append((now.current.contour, now.current.at))
        if now.current.contour in (a, b):
            contour, _, where = wanted[[w[:2] for w in wanted].index(seen[-1])]
            last = person.log.splitlines()[-1]
            assert last.startswith(f"Contour {contour + 1} is missing points {where} current point")
    mine = [s for s in seen if s[0] in (a, b)]
    assert mine == [w[:2] for w in wanted]
    assert [s[0] for s in seen] == sorted(s[0] for s in seen)
    assert person.log.splitlines()[-1] == "No more gaps found!"
    press(person, Command.PREVIOUS_GAP)
    assert (now.current.contour, now.current.at) == seen[-2]
    # The place survives detaching.
    now.go(Current(0))
    person.key(K.Key_Space)
    assert (now.current.contour, now.current.at) == seen[-1]


def test_a_gap_is_filled_by_a_click_and_the_search_goes_on(person, real):
    complete = np.flatnonzero((person.model.flag > 0).all(1))
    a = int(complete[2])
    spoil(person, [(a, 12), (a, 13)])
    person.session.go(Current(11, a, 11))
    press(person, Command.FROM_CURRENT)
    press(person, Command.NEXT_GAP)
    assert (person.session.current.contour, person.session.current.at) == (a, 11)
    person.key(K.Key_PageUp)
    person.click(person.at_raw(real[1].xy[a, 12]), MIDDLE)
    person.wait(lambda: person.model.flag[a, 12] == Flag.EDITED)
    person.settle()
    # Half filled it comes again, now from the new point.
    press(person, Command.NEXT_GAP)
    assert (person.session.current.contour, person.session.current.at) == (a, 12)
    person.session.go(Current(3))
    press(person, Command.REATTACH)
    assert (person.session.current.contour, person.session.current.at) == (a, 12)


def test_views_can_be_ignored(person):
    complete = np.flatnonzero((person.model.flag > 0).all(1))
    a = int(complete[0])
    spoil(person, [(a, 4)])
    panel = person.window.bead_fixer
    panel.ignore_list.setText("5")
    person.session.go(Current(0, a, 0))
    press(person, Command.FROM_CURRENT)
    press(person, Command.NEXT_GAP)
    assert person.session.current.contour != a
    panel.ignore.setChecked(False)
    person.session.go(Current(0, a, 0))
    press(person, Command.FROM_CURRENT)
    press(person, Command.NEXT_GAP)
    assert (person.session.current.contour, person.session.current.at) == (a, 3)
    panel.ignore.setChecked(True)
    panel.ignore_list.clear()


def test_enter_accepts_the_prediction(person, real):
    complete = np.flatnonzero((person.model.flag > 0).all(1))
    a = int(complete[3])
    spoil(person, [(a, 15)])
    person.session.go(Current(14, a, 14))
    person.key(K.Key_PageUp)
    before = person.session.undo_stack.count()
    person.key(K.Key_Return)
    person.wait(lambda: person.model.flag[a, 15] != Flag.GAP)
    assert np.hypot(*(person.model.xy[a, 15] - real[1].xy[a, 15])) < 0.3
    assert person.session.undo_stack.count() == before + 1
    person.key(K.Key_Return)
    assert "There is a point on this view already" in person.log


def test_fill_all_gaps(person, real):
    """A quarter of the points of ten complete beads."""
    rng = np.random.default_rng(2)
    complete = np.flatnonzero((person.model.flag > 0).all(1))[:10]
    places = [(int(c), int(v)) for c in complete for v in range(1, 30) if rng.random() < 0.25]
    spoil(person, places)
    person.key(K.Key_G, CTRL)
    person.wait(lambda: "gaps filled" in person.log)
    person.settle()
    back = [p for p in places if person.model.flag[p]]
    assert len(back) >= 0.95 * len(places)
    off = [np.hypot(*(person.model.xy[p] - real[1].xy[p])) for p in back]
    assert np.sqrt(np.mean(np.square(off))) < 0.3
    assert person.session.undo_stack.undoText().startswith("Fill")
    person.key(K.Key_Z, CTRL)
    assert not any(person.model.flag[p] for p in places)


# ---- fix big residuals ---------------------------------------------------------------------------


def test_residuals_are_never_not_loaded(person):
    """Their buttons are grey until a log was opened; ours never."""
    person.window.bead_fixer.set_operation(Operation.RESIDUALS)
    for command in (Command.NEXT_RESIDUAL, Command.MOVE_POINT, Command.MOVE_ALL):
        assert person.window.bead_fixer.buttons[command].isEnabled()


def test_the_biggest_residual_first_and_moved_back(person, real):
    panel, session = person.window.bead_fixer, person.session
    panel.skip_low.setChecked(False)
    contour, view = displaced(person)
    person.key(K.Key_Apostrophe)
    assert panel.operation is Operation.RESIDUALS
    assert (session.current.contour, session.current.at) == (contour, view)
    assert person.log.splitlines()[-1].startswith("Residual = ")
    assert person.log.splitlines()[-1].endswith("SDs")
    before = session.model.xy[contour, view].copy()
    person.key(K.Key_Semicolon)
    person.settle()
    assert np.hypot(*(session.model.xy[contour, view] - real[1].xy[contour, view])) < 1
    person.key(K.Key_U)
    person.settle()
    assert np.allclose(session.model.xy[contour, view], before, atol=1e-3)
    panel.skip_low.setChecked(True)


def test_the_list_of_residuals(person):
    panel, session = person.window.bead_fixer, person.session
    panel.set_operation(Operation.RESIDUALS)
    press(person, Command.CLEAR_EXAMINED)
    panel.skip_low.setChecked(False)
    displaced(person)
    seen = []
    for _ in range(200):
        press(person, Command.NEXT_RESIDUAL)
        if person.log.splitlines()[-1] == "No more residuals!":
            break
        seen.append((session.current.contour, session.current.at))
    assert len(seen) == len(set(seen)) > 1
    sd = [session.snapshot.sd[p] for p in seen]
    assert sd == sorted(sd, reverse=True)
    assert min(sd) > 3
    assert panel.progress.value() == panel.progress.maximum() == len(seen)
    press(person, Command.BACK_UP)
    assert (session.current.contour, session.current.at) == seen[-2]
    # Only what is beyond the criterion counts.
    panel.criterion.setValue(15.0)
    press(person, Command.CLEAR_EXAMINED)
    press(person, Command.NEXT_RESIDUAL)
    press(person, Command.NEXT_RESIDUAL)
    assert person.log.splitlines()[-1] == "No more residuals!"
    panel.criterion.setValue(3.0)
    panel.skip_low.setChecked(True)


def test_points_are_examined_again_when_that_is_wanted(person):
    """And ``"`` goes back."""
    panel, session = person.window.bead_fixer, person.session
    panel.set_operation(Operation.RESIDUALS)
    press(person, Command.CLEAR_EXAMINED)
    panel.skip_low.setChecked(False)
    contour, view = displaced(person)
    person.key(K.Key_Apostrophe)
    person.key(K.Key_Apostrophe)
    assert (session.current.contour, session.current.at) != (contour, view)
    person.key(K.Key_QuoteDbl, SHIFT)
    assert (session.current.contour, session.current.at) == (contour, view)
    person.qtbot.mouseClick(panel.once, LEFT, pos=QPoint(8, panel.once.height() // 2))
    assert not panel.once.isChecked()
    seen = []
    for _ in range(200):
        person.key(K.Key_Apostrophe)
        if person.log.splitlines()[-1] == "No more residuals!":
            break
        seen.append((session.current.contour, session.current.at))
    person.key(K.Key_Apostrophe)
    assert (session.current.contour, session.current.at) == (contour, view)
    panel.once.setChecked(True)
    panel.skip_low.setChecked(True)


def test_low_weights_are_skipped(person):
    """A point far off takes no part in a robust solution, and does no harm."""
    panel, session = person.window.bead_fixer, person.session
    panel.set_operation(Operation.RESIDUALS)
    press(person, Command.CLEAR_EXAMINED)
    contour, view = displaced(person, by=(12.0, 9.0))
    assert session.snapshot.weight[contour, view] < 0.1
    press(person, Command.NEXT_RESIDUAL)
    assert (session.current.contour, session.current.at) != (contour, view)
    # With a lower threshold it is shown.
    panel.threshold.setFocus()
    panel.threshold.selectAll()
    QTest.keyClicks(panel.threshold, "0")
    QTest.keyClick(panel.threshold, K.Key_Return)
    press(person, Command.CLEAR_EXAMINED)
    press(person, Command.NEXT_RESIDUAL)
    assert (session.current.contour, session.current.at) == (contour, view)
    panel.threshold.setValue(0.10)


@pytest.mark.parametrize("yes", [True, False])
def test_move_all_asks(person, monkeypatch, yes):
    panel, session = person.window.bead_fixer, person.session
    panel.set_operation(Operation.RESIDUALS)
    panel.skip_low.setChecked(False)
    displaced(person)
    answer = QMessageBox.StandardButton.Yes if yes else QMessageBox.StandardButton.No
    asked = []
    monkeypatch.setattr(QMessageBox, "question", lambda *a: asked.append(a[2]) or answer)
    before = session.snapshot.mean_residual_px
    count = session.undo_stack.count()
    press(person, Command.MOVE_ALL)
    assert "can be undone" in asked[0]
    assert session.undo_stack.count() == count + yes
    if yes:
        assert session.snapshot.mean_residual_px < before
    panel.skip_low.setChecked(True)


# ---- look at contours ----------------------------------------------------------------------------


def test_contours_by_mean_residual(person):
    panel, session = person.window.bead_fixer, person.session
    panel.set_operation(Operation.CONTOURS)
    person.window.fixer.contours.start_from_beginning()
    mean = session.snapshot.per_bead_px
    worst = np.argsort(-np.nan_to_num(mean, nan=-1))[:3]
    for contour in worst:
        person.key(K.Key_Apostrophe)
        assert session.current.contour == contour
    last = person.log.splitlines()[-1]
    assert last.startswith(f"Contour {worst[2] + 1}: mean {mean[worst[2]]:.2f}, SD ")
    person.key(K.Key_QuoteDbl, SHIFT)
    assert session.current.contour == worst[1]
    n = person.model.n_tracks
    press(person, Command.DELETE_CONTOUR)
    assert person.model.n_tracks == n - 1
    assert f"Deleted contour {worst[1] + 1}" in person.log


def test_the_operations_have_keys(person):
    for key, operation in zip(
        (K.Key_F1, K.Key_F2, K.Key_F3, K.Key_F4), Operation, strict=True
    ):  # fmt: skip
        person.key(key)
        assert person.window.bead_fixer.operation is operation


def test_the_bead_fixer_out_of_the_window(person):
    panel, floating = person.window.bead_fixer, person.window.layout_.floating
    person.key(K.Key_B)
    assert floating.out
    assert floating.isVisible()
    assert panel.window() is floating
    person.qtbot.mouseClick(panel.buttons[Command.NEXT_GAP], LEFT)
    assert person.log
    # The keys work there too.
    floating.activateWindow()
    person.wait(floating.isActiveWindow)
    person.qtbot.keyClick(floating, K.Key_F3)
    assert panel.operation is Operation.RESIDUALS
    floating.close()
    assert not floating.out
    assert panel.window() is person.window.window()
    person.window.activateWindow()
    person.wait(person.window.isActiveWindow)
    person.qtbot.mouseClick(panel.float_button, LEFT)
    assert floating.out
    person.qtbot.mouseClick(panel.float_button, LEFT)
    assert not floating.out
