"""Numbers, strip, model view, overlay, pictures, history."""

from __future__ import annotations

import numpy as np
import pytest
from editor_person import send_move
from PyQt6.QtCore import QPoint, QPointF, Qt
from PyQt6.QtGui import QWheelEvent
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication

from tiltwright.engine.model.edits import MovePoints
from tiltwright.widgets.editor.bead_fixer import Operation, views_of_text
from tiltwright.widgets.editor.strip import crop_at
from tiltwright.widgets.theme import colours

LEFT, MIDDLE = Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton


def test_a_bad_click_makes_both_numbers_worse_and_undo_better(person):
    numbers, session = person.window.numbers, person.session
    before = session.snapshot.leave_one_out_px
    person.go(5, 10)
    before_xy = person.model.xy[5, 10].copy()
    live, mean = session.live, session.snapshot.mean_residual_px
    at = person.screen(5)
    zoom = person.window.zap.view.viewport.zoom
    person.click(at + QPointF(4 * zoom, 3 * zoom), Qt.MouseButton.RightButton)
    person.settle()
    assert session.snapshot.per_bead_px[5] > 0.1
    assert numbers.last["mean"].text().startswith("▲")
    worse = session.snapshot.mean_residual_px - mean
    words = person.window.layout_.change.text()
    assert f"▲ {worse:.4f}" in words
    assert "leave-one-out" in words
    # What is solved stays the same while one edits.
    assert session.live is live
    assert "in all" in numbers.total["mean"].text()
    back = session.snapshot.residual_px[5, 10]
    assert np.hypot(*(back - (before_xy - person.model.xy[5, 10]))) < 1.5
    person.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    person.settle()
    assert numbers.last["mean"].text().startswith("▼")
    assert numbers.total["mean"].text().startswith("=")
    assert session.snapshot.leave_one_out_px == pytest.approx(before, abs=2e-4)


def test_choose_anew_by_its_button(person):
    session, numbers = person.session, person.window.numbers
    person.go(5, 10)
    person.key(Qt.Key.Key_Right, Qt.KeyboardModifier.KeypadModifier)
    person.settle()
    live = session.live
    person.qtbot.mouseClick(numbers.choose, LEFT)
    person.wait(lambda: session.live is not live)
    person.settle()
    # From here on it is compared with what was chosen now.
    assert numbers.total["mean"].text().startswith("=")
    person.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    live = session.live
    person.qtbot.mouseClick(numbers.choose, LEFT)
    person.wait(lambda: session.live is not live)


def test_a_click_on_a_bar_goes_there(person):
    bars = person.window.numbers.views
    person.qtbot.mouseClick(bars, LEFT, pos=QPoint(round(bars.place(6)), 40))
    assert person.session.current.view == 6
    beads = person.window.numbers.beads
    person.qtbot.mouseClick(beads, LEFT, pos=QPoint(round(beads.place(12)), 40))
    assert person.session.current.contour == 12
    assert len(bars.values) == person.model.n_views
    assert len(beads.values) == person.model.n_tracks


def test_the_strip_shows_all_views_of_the_bead(person):
    strip = person.window.strip
    person.go(7, 10)
    there = person.model.flag[7] > 0
    person.wait(lambda: [c.measured is not None for c in strip.crops] == there.tolist())
    for crop in strip.crops:
        assert crop.predicted is not None
        if there[crop.view]:
            assert crop.off_px < 2
            # The bead is dark, and in the middle.
            n = len(crop.data)
            middle = crop.data[n // 2 - 1 : n // 2 + 2, n // 2 - 1 : n // 2 + 2].mean()
            assert middle < np.median(crop.data)
    at = strip.cell(20).center().toPoint()
    person.qtbot.mouseClick(strip, LEFT, pos=at)
    assert person.session.current.view == 20


def test_a_crop_at_the_edge_keeps_its_place(real):
    series = real[0]
    nx, ny = series.size
    corner = np.array([-(nx - 1) / 2, -(ny - 1) / 2])
    data, (x0, y0), scale = crop_at(series, 3, corner, 6.0)
    assert (x0, y0, scale) == (-6, -6, 1.0)
    assert data.shape == (13, 13)
    assert np.array_equal(data[6:, 6:], series.images[3][:7, :7])
    assert crop_at(series, 3, corner * 2, 6.0)[0].size == 0
    assert crop_at(series, 3, (np.nan, np.nan), 6.0)[0].size == 0


def test_the_model_view_turns_moves_and_picks(person):
    person.window.show_model_view()
    view = person.window.model_view
    person.wait(lambda: len(view._tracks) == person.model.n_tracks)
    view.reset()
    middle = QPoint(view.width() // 2, view.height() // 2)

    def drag(button, by: QPoint) -> None:
        person.qtbot.mousePress(view, button, pos=middle)
        for k in range(1, 5):
            person.qtbot.mouseMove(view, middle + by * k / 4)
            send_move(view, middle + by * k / 4, button)
        person.qtbot.mouseRelease(view, button, pos=middle + by)

    # Tracks in the colours of their surfaces.
    picture = view.grab().toImage()
    seen = {picture.pixelColor(x, y).name() for x in range(0, picture.width(), 2)
            for y in range(0, picture.height(), 2)}  # fmt: skip
    assert {colours().surface_bottom.lower(), colours().surface_top.lower()} <= seen
    zoom = view.zoom
    event = QWheelEvent(QPointF(middle), QPointF(view.mapToGlobal(middle)), QPoint(),
                        QPoint(0, 120), Qt.MouseButton.NoButton,
                        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase,
                        False)  # fmt: skip
    QApplication.sendEvent(view, event)
    assert view.zoom > zoom
    view.reset()
    before = view.rotation.copy()
    drag(MIDDLE, QPoint(60, 0))
    assert not np.allclose(view.rotation, before)
    assert np.allclose(view.rotation @ view.rotation.T, np.eye(3))
    turned = view.rotation.copy()
    drag(LEFT, QPoint(20, 12))
    assert np.allclose(view.rotation, turned)
    assert view.shift != (0.0, 0.0)
    contour = 6
    points = view.points_on_screen(contour)
    inside = [
        k for k, (x, y) in enumerate(points)
        if 0 < x < view.width() and 0 < y < view.height()
        and view.nearest(round(x), round(y)) is not None
        and view.nearest(round(x), round(y))[0] == contour
    ]  # fmt: skip
    at = points[inside[0]]
    found = view.nearest(round(at[0]), round(at[1]))
    person.qtbot.mouseClick(view, LEFT, pos=QPoint(round(at[0]), round(at[1])))
    now = person.session.current
    assert (now.contour, now.at) == found
    assert now.on_view


def test_overlay_is_magenta_and_green(person):
    fixer, view = person.window.bead_fixer, person.window.zap.view
    fixer.set_operation(Operation.SEED)
    fixer.overlay_step.setValue(4)
    person.key(Qt.Key.Key_Slash)
    person.wait(lambda: len(view.layer("overlay")) == 1)
    made = view.layer("overlay")[0]
    assert np.array_equal(made.memory[..., 0], made.memory[..., 2])
    assert not np.array_equal(made.memory[..., 0], made.memory[..., 1])
    # Reverse exchanges black and white; the other side is another view.
    click(person, fixer.reverse)
    person.wait(lambda: view.layer("overlay") and view.layer("overlay")[0] is not made)
    turned = view.layer("overlay")[0]
    assert np.corrcoef(turned.memory[..., 1].ravel(), made.memory[..., 1].ravel())[0, 1] < -0.9
    click(person, fixer.reverse)
    fixer.overlay_step.setFocus()
    fixer.overlay_step.selectAll()
    QTest.keyClicks(fixer.overlay_step, "-4")
    QTest.keyClick(fixer.overlay_step, Qt.Key.Key_Return)
    person.wait(lambda: not np.array_equal(view.layer("overlay")[0].memory, turned.memory))
    person.key(Qt.Key.Key_Slash)
    assert view.layer("overlay") == ()
    fixer.overlay_step.setValue(5)


def click(person, widget) -> None:
    """On the box of a check box."""
    person.qtbot.mouseClick(widget, LEFT, pos=QPoint(8, widget.height() // 2))


def test_the_same_model_on_other_pictures(person):
    """A point keeps its place whatever is shown: raw, or aligned as now."""
    window, layout = person.window, person.window.layout_
    person.go(5, 10)
    layout.pictures.setCurrentText("Aligned as now")
    layout._choose_pictures()
    person.wait(lambda: window.zap.images.source.interpolated and window.zap.view_shown == 10)
    before = person.model.xy[5, 10].copy()
    person.click(person.screen(5))
    assert person.session.current.contour == 5
    at = person.screen(5)
    wanted = person.raw_at(at + QPointF(3, 0))
    person.click(at + QPointF(3, 0), Qt.MouseButton.RightButton)
    assert np.allclose(person.model.xy[5, 10], wanted, atol=1e-3)
    # The tilt axis lies at -84.5 degrees: right on the screen is not right in the raw view.
    step = person.model.xy[5, 10] - before
    assert abs(step[1]) > 5 * abs(step[0])
    layout.pictures.setCurrentIndex(0)
    layout._choose_pictures()
    person.wait(lambda: not window.zap.images.source.interpolated)


def test_without_end_all_can_be_undone_and_redone(person, real):
    session, stack = person.session, person.session.undo_stack
    rng = np.random.default_rng(5)
    there = np.argwhere(real[1].flag > 0)
    for contour, view in there[rng.integers(0, len(there), 60)].tolist():
        x, y = session.model.xy[contour, view]
        assert session.do(MovePoints(((contour, view, x + rng.normal(), y + rng.normal()),)))
    after = session.model
    stack.setIndex(0)
    assert np.array_equal(session.model.xy, real[1].xy, equal_nan=True)
    assert np.array_equal(session.model.flag, real[1].flag)
    stack.setIndex(60)
    assert np.array_equal(session.model.xy, after.xy, equal_nan=True)
    assert np.array_equal(session.model.flag, after.flag)
    assert session.modified
    stack.setIndex(0)
    assert not session.modified


def test_lists_of_views():
    assert views_of_text("1, 3,39-41 x", 41) == {0, 2, 38, 39, 40}
    assert views_of_text("", 41) == frozenset()
    assert views_of_text("50", 41) == frozenset()
