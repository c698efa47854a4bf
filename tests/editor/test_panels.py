"""Numbers, strip, model view, overlay, pictures, history."""

from __future__ import annotations

import numpy as np
import pytest
from PyQt6.QtCore import QPoint, QPointF, Qt

from tiltwright.engine.model.edits import MovePoints
from tiltwright.widgets.editor.bead_fixer import views_of_text
from tiltwright.widgets.editor.strip import crop_at

LEFT, MIDDLE = Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton


def test_a_bad_click_makes_both_numbers_worse_and_undo_better(person):
    numbers, session = person.window.numbers, person.session
    before = session.snapshot.leave_one_out_px
    person.go(5, 10)
    x, y = person.model.xy[5, 10]
    session.do(MovePoints(((5, 10, x + 4, y - 3),)))
    person.settle()
    assert session.snapshot.per_bead_px[5] > 0.1
    assert numbers.last["mean"].text().startswith("▲")
    assert "since opening" in numbers.total["mean"].text()
    assert np.hypot(*(session.snapshot.residual_px[5, 10] - [-4, 3])) < 1.5
    person.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    person.settle()
    assert numbers.last["mean"].text().startswith("▼")
    assert numbers.total["mean"].text().startswith("=")
    assert session.snapshot.leave_one_out_px == pytest.approx(before, abs=2e-4)


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


def send_move(widget, at: QPoint, button) -> None:
    from PyQt6.QtCore import QEvent
    from PyQt6.QtGui import QMouseEvent
    from PyQt6.QtWidgets import QApplication

    event = QMouseEvent(
        QEvent.Type.MouseMove, QPointF(at), QPointF(widget.mapToGlobal(at)),
        Qt.MouseButton.NoButton, button, Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QApplication.sendEvent(widget, event)


def test_overlay_is_magenta_and_green(person):
    fixer, view = person.window.bead_fixer, person.window.zap.view
    fixer.overlay_step.setValue(4)
    person.key(Qt.Key.Key_Slash)
    person.wait(lambda: len(view.layer("overlay")) == 1)
    made = view.layer("overlay")[0]
    assert np.array_equal(made.memory[..., 0], made.memory[..., 2])
    assert not np.array_equal(made.memory[..., 0], made.memory[..., 1])
    person.key(Qt.Key.Key_Slash)
    assert view.layer("overlay") == ()


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
