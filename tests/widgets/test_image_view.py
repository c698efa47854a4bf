"""The image view: origin, zoom, pan, keys, pointer, layers, detail."""

from __future__ import annotations

import numpy as np
import pytest
from PyQt6.QtCore import QPoint, QPointF, Qt
from PyQt6.QtGui import QWheelEvent
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication

from tiltwright.widgets.image import picture
from tiltwright.widgets.image.image_view import ImageView
from tiltwright.widgets.image.overlay import Arrows, Box, Circles, Lines, Texts
from tiltwright.widgets.image.tiles import Grey, Tile
from tiltwright.widgets.image.viewport import ZOOM_STEPS, Viewport, round_length

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def view(qtbot):
    out = ImageView()
    qtbot.addWidget(out)
    out.resize(400, 300)
    out.show()
    qtbot.waitExposed(out)
    image = np.zeros((60, 80), np.float32)
    image[:10] = 200
    image[50:, 70:] = 100
    out.set_image(image)
    out.set_levels(0, 200)
    return out


def grey(view, x, y):
    point = view.to_screen(x, y)
    return view.grab().toImage().pixelColor(round(point.x()), round(point.y())).red()


def wheel(view, at, notches):
    event = QWheelEvent(
        QPointF(at), QPointF(view.mapToGlobal(at)), QPoint(), QPoint(0, 120 * notches),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(view, event)


def test_row_zero_is_at_the_bottom(view):
    assert view.to_screen(40, 2).y() > view.to_screen(40, 50).y()
    assert grey(view, 40, 4) == 255
    assert grey(view, 75, 55) in (127, 128)
    assert grey(view, 20, 40) == 0


def test_fit_shows_the_whole_image_and_follows_the_window(view, qtbot):
    assert view.viewport.zoom == pytest.approx(5.0)
    view.resize(800, 300)
    qtbot.waitUntil(lambda: view.viewport.width == 800)
    assert view.viewport.zoom == pytest.approx(5.0)
    view.resize(200, 150)
    qtbot.waitUntil(lambda: view.viewport.width == 200)
    assert view.viewport.zoom == pytest.approx(2.5)


def test_positions_go_there_and_back(view):
    view.set_viewport(3.0, 20.0, 10.0)
    at = view.to_screen(12.25, 33.5)
    assert view.to_image(at) == pytest.approx((12.25, 33.5))
    assert (at.x(), at.y()) == pytest.approx((200 - 7.75 * 3, 150 - 23.5 * 3))


def test_the_wheel_zooms_along_the_ladder_at_the_pointer(view):
    at = QPoint(120, 90)
    before = view.to_image(QPointF(at))
    wheel(view, at, 1)
    assert view.viewport.zoom == 6
    assert view.to_image(QPointF(at)) == pytest.approx(before)
    wheel(view, at, -3)
    assert view.viewport.zoom == 3
    for _ in range(9):
        wheel(view, at, 5)
    assert view.viewport.zoom == ZOOM_STEPS[-1] == 20


def test_keys_zoom_pan_fit_and_invert(view, qtbot):
    qtbot.keyClick(view, Qt.Key.Key_Plus)
    assert view.viewport.zoom == 6
    qtbot.keyClick(view, Qt.Key.Key_Minus)
    qtbot.keyClick(view, Qt.Key.Key_Minus)
    assert view.viewport.zoom == 4
    x = view.viewport.x
    qtbot.keyClick(view, Qt.Key.Key_Right)
    assert view.viewport.x == pytest.approx(x + 10)
    qtbot.keyClick(view, Qt.Key.Key_R, Qt.KeyboardModifier.ShiftModifier)
    assert view.viewport.zoom == pytest.approx(5)
    qtbot.keyClick(view, Qt.Key.Key_F11)
    assert grey(view, 40, 4) == 0
    with qtbot.waitSignal(view.auto_contrast_asked):
        qtbot.keyClick(view, Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier)


def test_a_drag_pans_and_a_click_does_not(view, qtbot):
    clicks = []
    view.clicked.connect(lambda x, y, button, keys: clicks.append((x, y, button)))
    before = view.viewport
    QTest.mousePress(view, LEFT, pos=QPoint(100, 100))
    QTest.mouseMove(view, QPoint(130, 90))
    QTest.mouseRelease(view, LEFT, pos=QPoint(130, 90))
    assert view.viewport.x == pytest.approx(before.x - 30 / 5)
    assert view.viewport.y == pytest.approx(before.y - 10 / 5)
    assert clicks == []
    QTest.mouseClick(view, Qt.MouseButton.MiddleButton, pos=QPoint(200, 150))
    x, y, button = clicks.pop()
    assert (x, y) == pytest.approx((view.viewport.x, view.viewport.y))
    assert button == Qt.MouseButton.MiddleButton


def test_the_value_below_the_pointer_is_told(view, qtbot):
    told = []
    view.hovered.connect(lambda *now: told.append(now))
    QTest.mouseMove(view, view.to_screen(30, 5).toPoint())
    x, y, value = told[-1]
    assert (round(x), round(y), value) == (30, 5, 200)


def test_a_gesture_takes_the_drag(view):
    class Tool:
        def __init__(self):
            self.log = []

        def press(self, x, y, reach_px):
            self.log.append(("press", round(x), round(y)))
            return x > 40

        def move(self, x, y):
            self.log.append(("move", round(x), round(y)))

        def release(self, x, y):
            self.log.append(("release", round(x), round(y)))

        def cursor(self, x, y, reach_px):
            return Qt.CursorShape.SizeVerCursor

    view.gesture = tool = Tool()
    before = view.viewport
    start, end = view.to_screen(50, 20).toPoint(), view.to_screen(60, 30).toPoint()
    QTest.mousePress(view, LEFT, pos=start)
    QTest.mouseMove(view, end)
    QTest.mouseRelease(view, LEFT, pos=end)
    assert tool.log == [("press", 50, 20), ("move", 60, 30), ("release", 60, 30)]
    assert view.viewport == before
    QTest.mouseMove(view, start)
    assert view.cursor().shape() == Qt.CursorShape.SizeVerCursor


def test_layers_are_drawn_where_they_belong(view):
    def colour(x, y):
        point = view.to_screen(x, y)
        image = view.grab().toImage()
        return image.pixelColor(round(point.x()), round(point.y())).name()

    at = np.array([[20.0, 30.0], [np.nan, np.nan]])
    view.set_layer("beads", Circles(at, 8.0, "#00ff00", width=3))
    assert colour(24, 30) == "#00ff00"
    assert colour(20, 30) == "#000000"
    view.set_layer("axis", Lines(np.array([[[60.0, 20.0], [60.0, 40.0]]]), "#0000ff", width=4))
    assert colour(60, 30) == "#0000ff"
    view.set_layer(
        "residuals", Arrows(np.array([[30.0, 45.0]]), np.array([[2.0, 0.0]]), "#ff0000", 5.0, 4)
    )
    assert colour(35, 45) == "#ff0000"
    box = np.array([[5.0, 15.0], [15.0, 15.0], [15.0, 25.0], [5.0, 25.0]])
    view.set_layer("box", Box(box, "#ffffff", box[:1]), Texts(box[:1], ("words",), "#ffffff"))
    assert colour(5, 15) == "#ffffff"
    view.set_layer("beads")
    assert colour(24, 30) == "#000000"
    assert view.layer("beads") == ()


def test_a_coarse_tile_asks_for_detail_where_one_looks(view, qtbot):
    asked = []
    view.detail_wanted.connect(lambda bounds, factor: asked.append((bounds, factor)))
    view.set_tile(Tile(np.full((50, 100), 50, np.float32), factor=8), (800, 400))
    assert view.viewport.zoom == 0.5
    qtbot.waitUntil(lambda: len(asked) == 1)
    assert asked[-1] == ((0, 0, 800, 400), 2)
    view.set_viewport(2.0, 100.0, 100.0)
    qtbot.waitUntil(lambda: len(asked) == 2)
    (x0, y0, x1, y1), factor = asked[-1]
    assert factor == 1
    assert x0 <= 0
    assert y0 <= 25
    assert 200 <= x1 < 300
    assert 175 <= y1 < 300
    detail = Tile(np.full((y1 - y0, x1 - x0), 150, np.float32), x0, y0, 1)
    view.set_detail(detail)
    assert view.value_at(100, 100) == 150
    assert view.value_at(700, 300) == 50
    view.pan_by(-5, 0)
    qtbot.wait(120)
    assert len(asked) == 2, "what is held already must not be asked for again"


def test_an_empty_view_says_why(view):
    view.clear("View 3 cannot be read.")
    assert view.image_size == (0, 0)
    assert np.isnan(view.value_at(1, 1))
    assert view.grab().toImage().pixelColor(2, 2).lightness() < 20


def test_the_middle_of_the_window_stays_on_the_image():
    port = Viewport(100, 100, 1.0, 40, 40).panned(500, -1000).kept_inside(80, 60)
    assert (port.x, port.y) == (-0.5, -0.5)


@pytest.mark.parametrize(
    ("longest", "length"), [(160, 100), (99.9, 50), (20, 20), (4.9, 2), (0.3, 0.2), (0, 0)]
)
def test_scale_bars_have_round_lengths(longest, length):
    assert round_length(longest) == pytest.approx(length)


def test_marks_move_without_scaling_the_picture_again(qtbot, view, monkeypatch):
    made = []
    monkeypatch.setattr(picture, "_paint", lambda *given: made.append(given[1].tile))
    view.set_image(np.zeros((40, 60), np.float32))
    view.grab()
    n = len(made)
    assert n >= 1
    for k in range(5):
        view.set_layer("marks", Circles(np.array([[k, k]], float), 5.0, "#ff0000"))
        view.grab()
    assert len(made) == n
    for change in (
        lambda: view.zoom_by(1), lambda: view.set_levels(3, 5), lambda: view.set_inverted(True),
        lambda: view.resize(view.width() + 9, view.height()),
        lambda: view.set_image(np.ones((40, 60), np.float32)),
    ):  # fmt: skip
        before = len(made)
        change()
        view.grab()
        assert len(made) > before


def test_grey_made_beforehand_is_shown_only_at_its_levels(qtbot, view):
    tile = Tile(np.full((40, 60), 50, np.float32))
    view.set_tile(tile, (60, 40), Grey((0, 100), np.full((40, 60), 200, np.uint8)))

    def middle() -> int:
        return view.grab().toImage().pixelColor(view.rect().center()).red()

    view.set_levels(0, 100)
    assert middle() == 200
    view.set_levels(0, 200)
    assert middle() in (63, 64)
    view.set_levels(0, 100)
    view.set_inverted(True)
    assert middle() in (127, 128)
