"""Every mouse gesture of the editor, with real events on the real series."""

from __future__ import annotations

import numpy as np
import pytest
from editor_person import all_beads
from PyQt6.QtCore import QPoint, QPointF, Qt
from PyQt6.QtGui import QWheelEvent
from PyQt6.QtWidgets import QApplication

from tiltwright.engine.model.fiducial_model import Flag
from tiltwright.widgets.editor.bead_fixer import Operation
from tiltwright.widgets.editor.centring import FAILED
from tiltwright.widgets.editor.hand import DRAG_MS, Mode
from tiltwright.widgets.image.overlay import Circles

LEFT, MIDDLE, RIGHT = (
    Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton, Qt.MouseButton.RightButton,
)  # fmt: skip
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def lonely(person) -> int:
    """A bead of the current view with no other within 40 screen pixels."""
    view = person.session.current.view
    for contour in range(person.model.n_tracks):
        at = np.array([person.screen(contour, view).x(), person.screen(contour, view).y()])
        if not np.isfinite(at).all():
            continue
        others = [
            np.hypot(*(np.array([q.x(), q.y()]) - at))
            for k in range(person.model.n_tracks)
            if k != contour and np.isfinite((q := person.screen(k, view)).x())
        ]
        if min(others) > 60 and 60 < at[0] < 800 and 60 < at[1] < 500:
            return contour
    raise AssertionError("no lonely bead")


def test_left_attaches_within_fifteen_pixels_else_detaches(person):
    bead = lonely(person)
    at = person.screen(bead)
    person.click(at + QPointF(14, 0))
    now = person.session.current
    assert (now.contour, now.at, now.on_view) == (bead, now.view, True)
    person.click(at + QPointF(16, 0))
    assert not person.session.current.attached
    assert person.session.undo_stack.count() == 0


@pytest.mark.parametrize("mode", list(Mode))
def test_left_drag_pans_and_does_not_attach(person, mode):
    person.window.set_mode(mode)
    zap = person.window.zap.view
    zap.zoom_by(2)
    bead = lonely(person)
    at, before = person.screen(bead), zap.viewport
    person.press(at, LEFT)
    person.move(at + QPointF(20, 10), LEFT)
    person.move(at + QPointF(30, 12), LEFT)
    person.release(at + QPointF(30, 12), LEFT)
    assert zap.viewport.x == pytest.approx(before.x - 30 / before.zoom)
    assert zap.viewport.y == pytest.approx(before.y + 12 / before.zoom)
    assert not person.session.current.attached


def test_a_press_becomes_a_drag_after_a_quarter_of_a_second(person):
    zap = person.window.zap.view
    zap.zoom_by(1)
    at, before = QPointF(300, 200), zap.viewport
    person.press(at, LEFT)
    person.move(at + QPointF(3, 0), LEFT)
    assert zap.viewport == before
    person.qtbot.wait(DRAG_MS + 30)
    person.move(at + QPointF(4, 0), LEFT)
    person.release(at + QPointF(4, 0), LEFT)
    assert zap.viewport.x < before.x


def test_middle_adds_a_point_snapped_to_the_bead(person, real):
    bead = lonely(person)
    view = person.session.current.view
    true = real[1].xy[bead, view]
    person.go(bead, view)
    person.key(Qt.Key.Key_Delete)
    assert person.model.flag[bead, view] == Flag.GAP
    person.session.show_view(view)
    person.settle()
    person.click(person.at_raw(true) + QPointF(4, -3), MIDDLE)
    person.wait(lambda: person.model.flag[bead, view] == Flag.EDITED)
    assert np.hypot(*(person.model.xy[bead, view] - true)) < 0.3
    assert person.model.sigma_px[bead, view] > 0
    assert person.session.undo_stack.count() == 2
    now = person.session.current
    assert (now.contour, now.at) == (bead, view)


def test_middle_without_autocentre_adds_where_it_was_clicked(person):
    bead = lonely(person)
    view = person.session.current.view
    person.go(bead, view)
    person.window.bead_fixer.autocentre.setChecked(False)
    person.key(Qt.Key.Key_Delete)
    at = QPointF(300.25, 200.5)
    raw = person.raw_at(at)
    person.click(at, MIDDLE)
    assert np.allclose(person.model.xy[bead, view], raw, atol=1e-3)


def test_no_bead_no_point(person):
    """In the blank corner that the real series has there is none."""
    bead = lonely(person)
    view = person.session.current.view
    person.go(bead, view)
    person.key(Qt.Key.Key_Delete)
    count = person.session.undo_stack.count()
    images = person.window.session.series.images
    at = person.window.zap.view.to_screen(*_blank(images[view], person.model, view))
    person.click(at, MIDDLE)
    person.wait(lambda: FAILED in person.log)
    assert person.session.undo_stack.count() == count


def _blank(image, model, view):
    """Index position farthest from every bead, well inside."""
    ny, nx = image.shape
    centre = np.array([(nx - 1) / 2, (ny - 1) / 2])
    known = all_beads(model, view) + centre
    smooth = np.array(
        [[(x, y) for x in range(40, nx - 40, 16)] for y in range(40, ny - 40, 16)], float
    ).reshape(-1, 2)
    dark = []
    for x, y in smooth.astype(int):
        part = np.asarray(image[y - 30 : y + 31, x - 30 : x + 31], float)
        near = np.hypot(*(known - [x, y]).T).min()
        spread = (part.mean() - part.min()) / max(part.std(), 1e-3)
        dark.append(spread + (100 if near < 45 else 0))
    return tuple(smooth[int(np.argmin(dark))])


def test_middle_without_a_contour_in_gap_mode_says_why_not(person):
    person.click(QPointF(300, 200), MIDDLE)
    assert "No automatic new contours in gap filling mode" in person.log
    assert person.session.undo_stack.count() == 0


def test_middle_in_seed_mode_begins_contours(person, real):
    """A click on a known bead with the current contour seen here makes a new contour."""
    person.window.bead_fixer.set_operation(Operation.SEED)
    bead = lonely(person)
    view = person.session.current.view
    person.go(bead, view)
    n = person.model.n_tracks
    person.click(person.screen(bead), MIDDLE)
    person.wait(lambda: person.model.n_tracks == n + 1)
    assert np.hypot(*(person.model.xy[n, view] - real[1].xy[bead, view])) < 0.3
    assert person.session.current.contour == n
    # On another view near the same place it goes on with that contour.
    person.window.bead_fixer.autocentre.setChecked(False)
    person.session.show_view(view + 1)
    person.settle()
    person.click(person.at_raw(person.model.xy[n, view]) + QPointF(3, 0), MIDDLE)
    assert person.model.n_tracks == n + 1
    assert person.model.flag[n, view + 1] == Flag.EDITED
    # Farther away than two diameters it is another bead.
    person.session.show_view(view + 2)
    person.settle()
    far = person.model.xy[n, view + 1] + 2.5 * person.model.diameter_px
    person.click(person.at_raw(far), MIDDLE)
    assert person.model.n_tracks == n + 2


def test_without_automatic_new_contour_the_point_is_replaced(person):
    person.window.bead_fixer.set_operation(Operation.SEED)
    automatic = person.window.bead_fixer.auto_contour
    person.qtbot.mouseClick(automatic, LEFT, pos=QPoint(8, automatic.height() // 2))
    assert not automatic.isChecked()
    bead = lonely(person)
    view = person.session.current.view
    person.go(bead, view)
    n = person.model.n_tracks
    person.window.bead_fixer.autocentre.setChecked(False)
    at = person.screen(bead) + QPointF(5, 4)
    wanted = person.raw_at(at)
    person.click(at, MIDDLE)
    assert person.model.n_tracks == n
    assert np.allclose(person.model.xy[bead, view], wanted, atol=1e-3)
    automatic.setChecked(True)


def test_light_beads_are_sought_where_light_is_chosen(person, real):
    """A dark one is not what is sought then: something else is found, or nothing."""
    bead = lonely(person)
    view = person.session.current.view
    light, centring = person.window.bead_fixer.light, person.window.centring
    for on in (True, False):
        person.go(bead, view)
        at, before = person.screen(bead), centring.tool
        person.qtbot.mouseClick(light, LEFT, pos=QPoint(8, light.height() // 2))
        assert light.isChecked() is on
        person.wait(lambda before=before: centring.tool is not before)
        person.key(Qt.Key.Key_Delete)
        person.click(at, MIDDLE)
        person.wait(lambda: FAILED in person.log or person.model.flag[bead, view] > 0)
        there = bool(person.model.flag[bead, view])
        off = np.hypot(*(person.model.xy[bead, view] - real[1].xy[bead, view]))
        assert there and off < 0.3 if not on else not there or off > 2.0
        person.session.undo_stack.setIndex(0)
        person.window.layout_.messages.clear()


def test_right_moves_the_current_point_as_one_command(person):
    bead = lonely(person)
    view = person.session.current.view
    person.go(bead, view)
    start, end = person.screen(bead), person.screen(bead) + QPointF(9.5, -4.25)
    wanted = person.raw_at(end)
    before = person.model.xy[bead, view].copy()
    person.press(start, RIGHT)
    for k in range(1, 6):
        person.move(start + (end - start) * k / 5, RIGHT)
    assert np.array_equal(person.model.xy[bead, view], before)
    yellow = [m for m in person.window.zap.view.layer("marks") if isinstance(m, Circles)][-1]
    assert np.allclose(person.at_raw(wanted).x(), end.x())
    assert np.allclose(
        person.window.zap.images.source.to_raw(view, yellow.xy[0]), wanted, atol=1e-6
    )
    person.release(end, RIGHT)
    assert np.allclose(person.model.xy[bead, view], wanted, atol=1e-3)
    assert person.session.undo_stack.count() == 1
    assert person.model.flag[bead, view] == Flag.EDITED


def test_right_without_a_current_point_on_this_view_moves_nothing(person):
    person.click(QPointF(300, 200), RIGHT)
    assert "no current point" in person.log
    assert person.session.undo_stack.count() == 0


def test_ctrl_right_deletes_within_eight_pixels(person):
    bead = lonely(person)
    view = person.session.current.view
    person.go(bead, view)
    at = person.screen(bead)
    person.click(at + QPointF(9, 0), RIGHT, CTRL)
    assert person.model.flag[bead, view]
    person.click(at + QPointF(7, 0), RIGHT, CTRL)
    assert person.model.flag[bead, view] == Flag.GAP


def test_shift_right_centres_the_current_point(person, real):
    bead = lonely(person)
    view = person.session.current.view
    true = real[1].xy[bead, view]
    person.go(bead, view)
    person.click(person.screen(bead) + QPointF(4, 3), RIGHT)
    assert np.hypot(*(person.model.xy[bead, view] - true)) > 1.5
    person.click(QPointF(10, 10), RIGHT, SHIFT)
    person.wait(lambda: np.hypot(*(person.model.xy[bead, view] - true)) < 0.3)


def test_movie_left_sets_the_current_point(person):
    person.window.set_mode(Mode.MOVIE)
    at = QPointF(321, 234)
    raw = person.raw_at(at)
    person.click(at)
    assert np.allclose(person.window.zap.looked, raw)
    assert person.session.undo_stack.count() == 0
    x = raw[0] + (person.model.size_px[0] - 1) / 2
    assert person.window.info.at_x.text().startswith(f"{x:.2f}")


@pytest.mark.parametrize(("button", "way"), [(MIDDLE, 1), (RIGHT, -1)])
def test_movie_middle_and_right_play(person, button, way):
    person.window.set_mode(Mode.MOVIE)
    player, start = person.window.zap.navigation.player, person.session.current.view
    seen = []
    person.window.zap.images.view_shown.connect(seen.append)
    try:
        person.click(QPointF(300, 200), button)
        assert player.playing
        person.wait(lambda: len(seen) >= 4)
        person.click(QPointF(300, 200), button)
        assert not player.playing
    finally:
        person.window.zap.images.view_shown.disconnect(seen.append)
    played = [v for v in seen if v != start]
    assert played[:2] == [start + way, start + 2 * way]
    assert person.session.undo_stack.count() == 0


def test_the_wheel_zooms_at_the_pointer(person):
    view = person.window.zap.view
    at = QPointF(250, 180)
    x, y = view.to_image(at)
    zoom = view.viewport.zoom
    event = QWheelEvent(at, QPointF(view.mapToGlobal(at.toPoint())), QPoint(), QPoint(0, 120),
                        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
                        Qt.ScrollPhase.NoScrollPhase, False)  # fmt: skip
    QApplication.sendEvent(view, event)
    assert view.viewport.zoom > zoom
    assert view.to_image(at) == pytest.approx((x, y))
