"""Every key of the editor, with real key events on the real series."""

from __future__ import annotations

import numpy as np
import pytest
from editor_person import send_move
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtGui import QKeySequence
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication

from tiltwright.engine.model.fiducial_model import Flag
from tiltwright.widgets.actions import KeyList
from tiltwright.widgets.editor.current import NONE, order_of, views_of
from tiltwright.widgets.editor.hand import Mode
from tiltwright.widgets.editor.marks import GapMark
from tiltwright.widgets.image.overlay import Arrows, Circles
from tiltwright.widgets.series.series_layers import RIM

K = Qt.Key
CTRL, SHIFT, PAD = (
    Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.KeypadModifier,
)  # fmt: skip
PLAIN = Qt.KeyboardModifier.NoModifier
LADDER = (
    0.1, 0.1667, 0.25, 0.3333, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20,
)  # fmt: skip


def test_the_views(person):
    n, session = person.model.n_views, person.session
    middle = n // 2
    for key, view in (
        (K.Key_PageUp, middle + 1), (K.Key_PageDown, middle), (K.Key_PageDown, middle - 1),
        (K.Key_Home, n - 1), (K.Key_PageUp, n - 1), (K.Key_End, 0), (K.Key_PageDown, 0),
        (K.Key_Insert, middle),
    ):  # fmt: skip
        person.key(key)
        assert session.current.view == view
    navigation = person.window.zap.navigation
    assert navigation.spin.value() == middle + 1
    tilt = session.series.tilt_deg[middle]
    assert navigation.words.text().startswith(f"{tilt:.2f}°")


def test_the_current_point_follows_its_contour(person):
    person.go(3, 10)
    person.key(K.Key_PageUp)
    assert person.session.current.at == 11
    assert person.session.current.on_view


def test_the_zoom_ladder(person):
    view = person.window.zap.view
    view.set_viewport(0.1, 300, 200)
    for zoom in LADDER[1:]:
        person.key(K.Key_Plus if zoom < 2 else K.Key_Equal)
        assert view.viewport.zoom == pytest.approx(zoom, rel=1e-3)
    for zoom in LADDER[-2::-1]:
        person.key(K.Key_Minus)
        assert view.viewport.zoom == pytest.approx(zoom, rel=1e-3)
    person.key(K.Key_R, SHIFT)
    assert view.fits


@pytest.mark.parametrize(
    ("key", "way"),
    [(K.Key_Left, (-1, 0)), (K.Key_Right, (1, 0)), (K.Key_Up, (0, 1)), (K.Key_Down, (0, -1))],
)
def test_arrows_pan_and_keypad_arrows_nudge(person, key, way):
    view = person.window.zap.view
    person.go(3, 10)
    view.set_viewport(2.0, 360, 250)
    before = view.viewport
    person.key(key)
    moved = view.viewport.x - before.x, view.viewport.y - before.y
    assert np.sign(moved).tolist() == list(way)
    at = person.model.xy[3, 10].copy()
    port = view.viewport
    person.key(key, PAD)
    assert np.allclose(person.model.xy[3, 10] - at, way, atol=1e-3)
    person.key(key, PAD | CTRL)
    assert np.allclose(person.model.xy[3, 10] - at, np.multiply(way, 1.1), atol=1e-3)
    assert view.viewport == port
    assert person.session.undo_stack.count() == 2


def test_contours(person):
    session = person.session
    person.go(3, 10)
    person.key(K.Key_C)
    assert session.current.contour == 2
    assert session.current.attached
    person.key(K.Key_C, SHIFT)
    person.key(K.Key_C, SHIFT)
    assert session.current.contour == 4
    assert person.window.info.contour.value() == 5
    assert person.window.info.contour.suffix() == f" / {person.model.n_tracks}"


def test_points(person):
    session = person.session
    contour = int(np.argmax((person.model.flag == 0).sum(1)))
    views = views_of(person.model, contour).tolist()
    braces = K.Key_BraceLeft, K.Key_BraceRight
    person.go(contour, views[3])
    for key, view in (
        (K.Key_BracketRight, views[4]), (K.Key_BracketLeft, views[3]),
        (K.Key_BraceLeft, views[0]), (K.Key_BracketLeft, views[0]), (K.Key_BraceRight, views[-1]),
    ):  # fmt: skip
        person.key(key, SHIFT if key in braces else PLAIN)
        assert session.current.at == session.current.view == view
    assert person.window.info.point.value() == len(views)
    assert person.window.info.point.suffix() == f" / {len(views)}"


def test_new_and_deleted_contours(person):
    n = person.model.n_tracks
    person.key(K.Key_N)
    assert person.model.n_tracks == n + 1
    assert person.session.current.contour == n
    person.go(4, 10)
    track = person.model.xy[4].copy()
    person.key(K.Key_D, SHIFT)
    assert person.model.n_tracks == n
    # The previous contour becomes current, without a point.
    assert person.session.current.contour == 3
    assert person.session.current.at == NONE
    person.key(K.Key_Z, CTRL)
    assert np.array_equal(person.model.xy[4], track, equal_nan=True)
    assert person.session.current.contour == 4


def test_delete_undo_redo(person):
    person.go(5, 10)
    person.key(K.Key_Delete)
    assert person.model.flag[5, 10] == Flag.GAP
    # The point before becomes the current one.
    assert person.session.current.at == 9
    person.key(K.Key_Z, CTRL)
    assert person.model.flag[5, 10]
    assert person.session.current.at == 10
    person.key(K.Key_Y, CTRL)
    assert person.model.flag[5, 10] == Flag.GAP
    person.settle()


def test_display_keys(person):
    view = person.window.zap.view
    person.go(5, 10)
    full = len(view.layer("marks"))
    assert full > 3
    person.key(K.Key_T)
    assert view.layer("marks") == ()
    person.key(K.Key_T)
    person.key(K.Key_G)
    assert len(view.layer("marks")) > full
    # Ghosts lie where the points of the neighbouring views are.
    ghosts = np.concatenate(
        [m.xy for m in view.layer("marks") if isinstance(m, Circles) and len(m.colour) == 9]
    )
    shown = person.window.zap.images.source.to_raw(10, ghosts)
    near = person.model.xy[:, [8, 9, 11, 12]].reshape(-1, 2)
    near = near[np.isfinite(near).all(1)]
    assert np.allclose(np.sort(shown, 0), np.sort(near, 0))
    person.key(K.Key_G)
    assert len(view.layer("marks")) == full
    person.key(K.Key_F11)
    assert view.inverted
    person.key(K.Key_F11)
    assert not view.inverted
    automatic = view.levels
    person.window.zap.images.drag_levels(automatic[0] + 5, automatic[1] - 5)
    assert view.levels != automatic
    person.key(K.Key_A, SHIFT)
    assert view.levels == pytest.approx(automatic)


def test_modes(person):
    person.key(K.Key_M)
    assert person.window.mode is Mode.MOVIE
    assert person.window.info.modes[Mode.MOVIE].isChecked()
    person.key(K.Key_M)
    assert person.window.mode is Mode.MODEL


def click(person, widget) -> None:
    at = widget.rect().center()
    at.setX(10)
    person.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=at)


def test_modes_by_their_buttons(person):
    for mode in (Mode.MOVIE, Mode.MODEL):
        click(person, person.window.info.modes[mode])
        assert person.window.mode is mode
        assert person.window.zap.view.hand.mode is mode


def test_contrast_by_its_handles(person):
    """Black, white, and what lies between, dragged; then Auto."""
    info, view = person.window.info, person.window.zap.view
    bar, automatic = info.levels, view.levels
    y = bar.height() // 2

    def drag(value, by):
        start = round(bar.position(value))
        person.qtbot.mousePress(bar, Qt.MouseButton.LeftButton, pos=QPoint(start, y))
        send_move(bar, QPoint(start + by, y), Qt.MouseButton.LeftButton)
        person.qtbot.mouseRelease(bar, Qt.MouseButton.LeftButton, pos=QPoint(start + by, y))

    drag(automatic[0], 30)
    assert view.levels[0] > automatic[0]
    assert view.levels[1] == automatic[1]
    drag(automatic[1], -30)
    assert view.levels[1] < automatic[1]
    assert bar.levels == view.levels
    person.qtbot.mouseClick(info.auto, Qt.MouseButton.LeftButton)
    assert view.levels == pytest.approx(automatic)


def test_the_slider_goes_through_the_views(person):
    navigation, session = person.window.zap.navigation, person.session
    middle = session.current.view
    slider = navigation.slider
    right = QPoint(slider.width() - 4, slider.height() // 2)
    person.qtbot.mouseClick(slider, Qt.MouseButton.LeftButton, pos=right)
    assert session.current.view > middle
    assert navigation.spin.value() == session.current.view + 1
    assert navigation.words.text().startswith(
        f"{session.series.tilt_deg[session.current.view]:.2f}°"
    )
    person.settle()


def test_p_plays_back_and_forth(person):
    player = person.window.zap.navigation.player
    person.qtbot.keyClick(person.window.zap.view, K.Key_P)
    assert player.playing
    start = person.session.current.view
    person.wait(lambda: person.session.current.view != start)
    person.qtbot.keyClick(person.window.zap.view, K.Key_P)
    assert not player.playing
    person.settle()


def test_the_model_view_and_the_key_list(person):
    person.key(K.Key_V)
    assert person.window.model_view.isVisible()
    person.qtbot.keyClick(person.window.zap.view, K.Key_Question, SHIFT)
    lists = [w for w in QApplication.topLevelWidgets() if isinstance(w, KeyList)]
    assert len(lists) == 1
    words = lists[0].text()
    lists[0].close()
    for expected in ("Delete contour", "Ghosts", "Middle", "Nudge"):
        assert expected in words


def test_every_shortcut_stands_once(person):
    """Two actions with one key would both be silent."""
    found: dict[str, str] = {}
    for action in person.window.actions():
        for key in action.shortcuts():
            text = key.toString(QKeySequence.SequenceFormat.PortableText)
            assert text not in found, (text, action.text(), found[text])
            found[text] = action.text()


def test_letters_in_a_field_are_letters(person):
    person.window.layout_.show_tab(person.window.versions)
    note = person.window.versions.note
    note.setFocus()
    QTest.keyClicks(note, "scan")
    assert note.text() == "scan"
    assert person.model.n_tracks == len(person.model.xy)
    assert person.session.undo_stack.count() == 0
    note.clear()


def test_enter_in_a_field_ends_typing(person):
    info, session = person.window.info, person.session

    def type_(spin, text):
        spin.setFocus()
        spin.selectAll()
        QTest.keyClicks(spin, text)
        QTest.keyClick(spin, K.Key_Return)

    type_(info.contour, "7")
    assert session.current.contour == 6
    type_(info.point, "5")
    assert order_of(person.model, session.current) == 4
    type_(info.z, "12")
    assert session.current.view == 11
    person.settle()


# ---- what is drawn -----------------------------------------------------------------------------


def test_circles_by_surface_the_current_one_yellow(person, real):
    from tiltwright.widgets.theme import colours

    person.go(5, 10)
    c, marks = colours(), person.window.zap.view.layer("marks")
    circles = [m for m in marks if isinstance(m, Circles)]
    by_colour = {m.colour: m for m in circles if not m.dashed}
    there = person.model.flag[:, 10] > 0
    there[5] = False
    for surface, colour in ((0, c.surface_bottom), (1, c.surface_top)):
        assert len(by_colour[colour].xy) >= 1
        wanted = (there & (person.model.surface == surface)).sum()
        assert sum(len(m.xy) for m in circles if m.colour == colour and len(m.xy) > 1) == wanted
    # Of the bead's diameter, with room for its rim.
    shown = by_colour[c.surface_bottom].diameter_px
    assert shown == pytest.approx(RIM * person.model.diameter_px)
    yellow = by_colour[c.current]
    assert np.allclose(
        person.window.zap.images.source.to_raw(10, yellow.xy[0]), person.model.xy[5, 10]
    )


def test_arrows_at_a_gap_and_the_prediction(person, real):
    person.go(5, 10)
    person.key(K.Key_BracketRight)
    person.key(K.Key_Delete)
    person.settle()
    now = person.session.current
    assert (now.view, now.at) == (11, 10)
    marks = person.window.zap.view.layer("marks")
    dashed = [m for m in marks if isinstance(m, Circles) and m.dashed and len(m.xy) == 1]
    predicted = person.window.zap.images.source.to_raw(11, dashed[0].xy[0])
    assert np.hypot(*(predicted - real[1].xy[5, 11])) < 1.5
    person.key(K.Key_PageDown)
    gaps = [m for m in person.window.zap.view.layer("marks") if isinstance(m, GapMark)]
    assert [m.up for m in gaps] == [True]
    person.key(K.Key_PageUp)
    person.key(K.Key_PageUp)
    gaps = [m for m in person.window.zap.view.layer("marks") if isinstance(m, GapMark)]
    assert [m.up for m in gaps] == [False]


def test_residual_arrows_point_where_the_solution_wants_the_bead(person):
    person.go(5, 10)
    arrows = [m for m in person.window.zap.view.layer("marks") if isinstance(m, Arrows)]
    mine = arrows[-1]
    residual = person.session.snapshot.residual_px[5, 10]
    assert np.allclose(mine.offset[0], residual, atol=1e-6)
    assert mine.scale == 10.0
    person.window.layout_.arrows.setValue(25)
    arrows = [m for m in person.window.zap.view.layer("marks") if isinstance(m, Arrows)]
    assert arrows[-1].scale == 25.0
    person.window.layout_.arrows.setValue(10)


def test_the_spin_boxes_of_the_information_panel(person):
    info = person.window.info
    info.contour.setValue(9)
    assert person.session.current.contour == 8
    info.point.setValue(4)
    assert order_of(person.model, person.session.current) == 3
    info.z.setValue(6)
    assert person.session.current.view == 5
    assert info.object.value() == 1
    assert info.object.text() == "1 / 1"


def test_float_gives_each_view_its_contrast(person):
    view, info = person.window.zap.view, person.window.info
    person.go(5, 0)
    first = view.levels
    person.go(5, 15)
    assert view.levels != first
    info.float.setChecked(False)
    held = view.levels
    person.go(5, 0)
    assert view.levels == held
    info.float.setChecked(True)
    assert view.levels == pytest.approx(first)
