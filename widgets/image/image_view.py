"""The one view of an image that viewers and editors share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QElapsedTimer, QPointF, QSize, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import (
    QColor,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from PyQt6.QtWidgets import QSizePolicy, QWidget

from tiltwright.widgets.image.gesture import Gesture
from tiltwright.widgets.image.overlay import Layer, draw_text, paint_scale_bar
from tiltwright.widgets.image.picture import Picture, Scaled
from tiltwright.widgets.image.tiles import Grey, Tile, auto_levels, sample, with_margin
from tiltwright.widgets.image.viewport import Viewport

DRAG_PX, DRAG_MS = 6, 250
"""A press becomes a drag after so much way or time."""


class ImageView(QWidget):
    """Shows an image with its origin at the lower left.

    Keys: wheel, ``+`` and ``-`` zoom; drag and arrows pan; Shift+R fits; F11 inverts; Shift+A asks
    for automatic contrast. Positions are index coordinates of the whole image.

    Signals
    -------
    hovered : (x, y, value)
        The pointer moved over the image; the value is NaN outside.
    left : ()
        The pointer left the view.
    clicked : (x, y, button, modifiers)
        A button was pressed and released without a drag.
    viewport_changed : ()
        Zoom, middle or size changed.
    detail_wanted : (bounds, factor)
        What is shown is coarser than the screen: pixels ``(x0, y0, x1, y1)`` are wanted, averaged
        by ``factor``; answer with :meth:`set_detail`.
    levels_changed : (black, white)
    """

    hovered = pyqtSignal(float, float, float)
    left = pyqtSignal()
    clicked = pyqtSignal(float, float, object, object)
    viewport_changed = pyqtSignal()
    detail_wanted = pyqtSignal(object, int)
    levels_changed = pyqtSignal(float, float)
    auto_contrast_asked = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(80, 80)
        self.gesture: Gesture | None = None
        self.pixel_size_a = 0.0
        self.scale_bar_shown = True
        self._port = Viewport()
        self._size = (0, 0)
        self._fits = True
        self._base: Picture | None = None
        self._detail: Picture | None = None
        self._levels = (0.0, 1.0)
        self._inverted = False
        self._layers: dict[str, tuple[Layer, ...]] = {}
        self._caption = "", "#ffffff"
        self._message = ""
        self._scaled = Scaled()
        self._pressed: QPointF | None = None
        self._button = Qt.MouseButton.NoButton
        self._dragging = self._gesturing = False
        self._last = QPointF()
        self._clock = QElapsedTimer()
        self._wheel = 0
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(60)
        self._settle.timeout.connect(self._ask_for_detail)

    # ---- what is shown -------------------------------------------------------------------------

    def sizeHint(self) -> QSize:
        """A comfortable size."""
        return QSize(600, 480)

    @property
    def image_size(self) -> tuple[int, int]:
        """``(nx, ny)`` of the whole image; zeros without one."""
        return self._size

    @property
    def viewport(self) -> Viewport:
        """Where the image lies on the screen."""
        return self._port

    @property
    def fits(self) -> bool:
        """Whether the whole image is shown whatever the size of the window."""
        return self._fits

    @property
    def message(self) -> str:
        """Why nothing is shown."""
        return self._message

    @property
    def levels(self) -> tuple[float, float]:
        """Black and white level."""
        return self._levels

    @property
    def inverted(self) -> bool:
        """Whether black and white are exchanged."""
        return self._inverted

    @property
    def tile(self) -> Tile | None:
        """The tile of the whole image that is shown."""
        return self._base.tile if self._base else None

    def set_image(self, image: npt.NDArray[Any] | None) -> None:
        """Show a whole ``(ny, nx)`` image as it is, with automatic contrast the first time."""
        if image is None:
            self.clear()
            return
        first = self._base is None
        self.set_tile(Tile(np.asarray(image)), (image.shape[1], image.shape[0]))
        if first:
            self.auto_contrast()

    def set_tile(self, tile: Tile, size: tuple[int, int], grey: Grey | None = None) -> None:
        """Show a tile of a whole image of ``size`` ``(nx, ny)``; the zoom stays.

        ``grey`` spares the GUI thread the making of the picture when its levels are those shown.
        """
        self._message = ""
        self._base, self._detail = Picture(tile, grey), None
        if size != self._size:
            self._size = size
            self.fit()
        self._settle.start()
        self.update()

    def set_detail(self, tile: Tile | None) -> None:
        """Lay a finer tile over the base one, until the next :meth:`set_tile`."""
        if tile is None and self._detail is None:
            return
        self._detail = Picture(tile) if tile is not None else None
        self.update()

    def clear(self, message: str = "") -> None:
        """Show nothing, but why."""
        self._base = self._detail = None
        self._size = (0, 0)
        self._message = message
        self._layers.clear()
        self.update()

    def set_levels(self, black: float, white: float) -> None:
        """Set what is black and what is white."""
        if (black, white) == self._levels:
            return
        self._levels = black, white
        self._regrey()
        self.levels_changed.emit(black, white)

    def auto_contrast(self) -> None:
        """Black and white from the values of the tile that is shown."""
        if self._base is not None:
            self.set_levels(*auto_levels(sample(self._base.tile.data)))

    def set_inverted(self, inverted: bool) -> None:
        """Exchange black and white."""
        self._inverted = inverted
        self._regrey()

    def _regrey(self) -> None:
        for picture in (self._base, self._detail):
            if picture is not None:
                picture.forget()
        self.update()

    def set_layer(self, name: str, *layers: Layer) -> None:
        """Draw these under a name, in place of what had it; none removes it."""
        if layers:
            self._layers[name] = layers
        else:
            self._layers.pop(name, None)
        self.update()

    def layer(self, name: str) -> tuple[Layer, ...]:
        """What is drawn under a name."""
        return self._layers.get(name, ())

    def set_caption(self, text: str, colour: str = "#ffffff") -> None:
        """Words in the upper left corner."""
        self._caption = text, colour
        self.update()

    def value_at(self, x: float, y: float) -> float:
        """What is shown at an index position, NaN outside."""
        for picture in (self._detail, self._base):
            if picture is not None and np.isfinite(value := picture.tile.value(x, y)):
                return value
        return float("nan")

    # ---- where it is shown ---------------------------------------------------------------------

    def to_screen(self, x: float, y: float) -> QPointF:
        """Widget position of an index position."""
        return QPointF(*self._port.to_screen(x, y))

    def to_image(self, position: QPointF) -> tuple[float, float]:
        """Index position at a widget position."""
        return self._port.to_image(position.x(), position.y())

    def set_viewport(self, zoom: float, x: float, y: float) -> None:
        """Show the index position ``(x, y)`` in the middle at a zoom."""
        self._fits = False
        self._move(Viewport(self._port.width, self._port.height, zoom, x, y))

    def centre_on(self, x: float, y: float) -> None:
        """Bring an index position into the middle."""
        self.set_viewport(self._port.zoom, x, y)

    def fit(self) -> None:
        """Show the whole image, and keep doing so when the window changes."""
        self._fits = True
        self._move(self._port.fitted(*self._size))

    def zoom_by(self, steps: int, at: QPointF | None = None) -> None:
        """Climb the zoom ladder at a widget position (the middle by default)."""
        at = at or QPointF(self.width() / 2, self.height() / 2)
        self._fits = False
        self._move(self._port.stepped(steps, at.x(), at.y()))

    def pan_by(self, dx: float, dy: float) -> None:
        """Move the image by screen pixels, ``dy`` downwards."""
        self._fits = False
        self._move(self._port.panned(dx, dy))

    def _move(self, port: Viewport) -> None:
        if not self._fits:
            port = port.kept_inside(*self._size)
        if port == self._port:
            return
        self._port = port
        self._settle.start()
        self.update()
        self.viewport_changed.emit()

    def _ask_for_detail(self) -> None:
        if self._base is None:
            return
        shown = self._detail.tile if self._detail is not None else None
        factor = max(1, int(1 / (self._port.zoom * self.devicePixelRatioF()) + 1e-6))
        if factor >= self._base.tile.factor:
            self.set_detail(None)
            return
        bounds = self._port.visible(*self._size)
        if shown is not None and shown.factor <= factor and shown.covers(bounds):
            return
        wanted = with_margin(bounds, self._size)
        if wanted is not None:
            self.detail_wanted.emit(wanted, factor)

    # ---- Qt ------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint the tiles, the layers, the scale bar and the caption."""
        painter = QPainter(self)
        pictures = [p for p in (self._base, self._detail) if p is not None]
        given = (self._port, self._size, self._levels, self._inverted)
        painter.drawPixmap(0, 0, self._scaled.pixmap(pictures, *given, self.devicePixelRatioF()))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for layers in self._layers.values():
            for layer in layers:
                layer.paint(painter, self._port)
        if self._base is not None and self.scale_bar_shown and self.pixel_size_a > 0:
            paint_scale_bar(painter, self._port, self.pixel_size_a)
        if self._caption[0]:
            draw_text(painter, 12, 12 + painter.fontMetrics().ascent(), *self._caption)
        if self._base is None and self._message:
            painter.setPen(QColor("#97a0ad"))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(self.rect().adjusted(20, 20, -20, -20), flags, self._message)
        painter.end()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Keep the middle, or the fit."""
        port = self._port.resized(self.width(), self.height())
        self._move(port.fitted(*self._size) if self._fits and self._size[0] else port)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Zoom at the pointer."""
        assert event is not None
        self._wheel += event.angleDelta().y()
        steps = int(self._wheel / 120)
        if steps:
            self._wheel -= 120 * steps
            self.zoom_by(steps, event.position())
        event.accept()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Begin a click, a drag or a gesture."""
        assert event is not None
        if self._pressed is not None:
            return
        self._pressed = self._last = event.position()
        self._button = event.button()
        self._clock.start()
        self._dragging = False
        if self._button == Qt.MouseButton.LeftButton and self.gesture is not None:
            self._gesturing = self.gesture.press(*self.to_image(self._pressed), self.reach_px)

    @property
    def reach_px(self) -> float:
        """Image pixels within which a gesture is near something: 8 on the screen."""
        return 8 / self._port.zoom

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Pan, or tell what lies under the pointer."""
        assert event is not None
        here = event.position()
        x, y = self.to_image(here)
        if self._gesturing and self.gesture is not None:
            self.gesture.move(x, y)
        elif self._pressed is not None and self._button == Qt.MouseButton.LeftButton:
            way = (here - self._pressed).manhattanLength()
            held = self._clock.elapsed() > DRAG_MS and way >= 2
            if self._dragging or way >= DRAG_PX or held:
                self._dragging = True
                self.setCursor(Qt.CursorShape.ClosedHandCursor)
                self.pan_by(here.x() - self._last.x(), here.y() - self._last.y())
                self._last = here
        elif self.gesture is not None:
            self.setCursor(self.gesture.cursor(x, y, self.reach_px) or Qt.CursorShape.ArrowCursor)
        self.hovered.emit(x, y, self.value_at(x, y))

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """End a gesture or a drag; else it was a click."""
        assert event is not None
        if self._pressed is None or event.button() != self._button:
            return
        pressed, self._pressed = self._pressed, None
        if self._gesturing:
            self._gesturing = False
            if self.gesture is not None:
                self.gesture.release(*self.to_image(event.position()))
        elif self._dragging:
            self.unsetCursor()
        elif self._base is not None:
            x, y = self.to_image(pressed)
            self.clicked.emit(x, y, event.button(), event.modifiers())
        self._dragging = False

    def leaveEvent(self, event: Any) -> None:
        """Nothing lies under the pointer any more."""
        self.left.emit()
        super().leaveEvent(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Zoom, pan, fit, invert and automatic contrast."""
        assert event is not None
        key = event.key()
        shift = event.modifiers() == Qt.KeyboardModifier.ShiftModifier
        step = 40.0
        pans = {
            Qt.Key.Key_Left: (step, 0.0), Qt.Key.Key_Right: (-step, 0.0),
            Qt.Key.Key_Up: (0.0, step), Qt.Key.Key_Down: (0.0, -step),
        }  # fmt: skip
        if key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self.zoom_by(1)
        elif key == Qt.Key.Key_Minus:
            self.zoom_by(-1)
        elif key in pans and not event.modifiers() & Qt.KeyboardModifier.KeypadModifier:
            self.pan_by(*pans[Qt.Key(key)])
        elif key == Qt.Key.Key_R and shift:
            self.fit()
        elif key == Qt.Key.Key_F11:
            self.set_inverted(not self._inverted)
        elif key == Qt.Key.Key_A and shift:
            self.auto_contrast()
            self.auto_contrast_asked.emit()
        else:
            super().keyPressEvent(event)
