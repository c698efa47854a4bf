"""The picture of the editor: an image view whose mouse edits a model."""

from __future__ import annotations

import time

from PyQt6.QtCore import QEvent, QPointF, Qt, pyqtSignal
from PyQt6.QtGui import QKeyEvent, QMouseEvent
from PyQt6.QtWidgets import QWidget

from tiltwright.widgets.editor.hand import Act, Button, Does, Hand, Mode
from tiltwright.widgets.image.image_view import ImageView

_BUTTONS = {
    Qt.MouseButton.LeftButton: Button.LEFT,
    Qt.MouseButton.MiddleButton: Button.MIDDLE,
    Qt.MouseButton.RightButton: Button.RIGHT,
}


class ZapView(ImageView):
    """Speaks in acts instead of clicks; the zoom, the wheel and the arrows are the image view's.

    Signals
    -------
    acted : (does, x, y)
        A gesture asks for something at an index position of the picture.
    """

    acted = pyqtSignal(object, float, float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.hand = Hand()
        self.set_mode(Mode.MODEL)

    def set_mode(self, mode: Mode) -> None:
        """Say what clicks mean."""
        self.hand.mode = mode
        cross = mode is Mode.MODEL
        self.setCursor(Qt.CursorShape.CrossCursor if cross else Qt.CursorShape.ArrowCursor)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Begin a gesture."""
        assert event is not None
        button = _BUTTONS.get(event.button())
        if button is not None:
            keys, at = event.modifiers(), event.position()
            ctrl = bool(keys & Qt.KeyboardModifier.ControlModifier)
            shift = bool(keys & Qt.KeyboardModifier.ShiftModifier)
            self._do(self.hand.press(button, at.x(), at.y(), _now(), ctrl=ctrl, shift=shift))

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Go on with it, and say what lies under the pointer."""
        assert event is not None
        at = event.position()
        self._do(self.hand.move(at.x(), at.y(), _now()))
        x, y = self.to_image(at)
        self.hovered.emit(x, y, self.value_at(x, y))

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """End it."""
        assert event is not None
        button = _BUTTONS.get(event.button())
        if button is not None:
            at = event.position()
            self._do(self.hand.release(button, at.x(), at.y()))
            self.set_mode(self.hand.mode)

    def _do(self, act: Act | None) -> None:
        if act is None or not self.image_size[0]:
            return
        if act.does is Does.PAN:
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
            self.pan_by(act.x, act.y)
        else:
            self.acted.emit(act.does, *self.to_image(QPointF(act.x, act.y)))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Arrows pan; all other keys belong to the editor."""
        assert event is not None
        arrows = (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Up, Qt.Key.Key_Down)
        if event.key() in arrows:
            super().keyPressEvent(event)
        else:
            event.ignore()

    def focusOutEvent(self, event: QEvent | None) -> None:
        """A gesture does not outlive the focus."""
        self.hand.cancel()
        super().focusOutEvent(event)  # type: ignore[arg-type]


def _now() -> float:
    return time.monotonic() * 1000
