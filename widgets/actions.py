"""Actions with a key and a tooltip that says it, and the small drawn icons of the viewers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PyQt6.QtCore import QPointF, QRectF, QSize, Qt
from PyQt6.QtGui import QAction, QColor, QIcon, QKeySequence, QPainter, QPixmap, QPolygonF
from PyQt6.QtWidgets import QLabel, QToolButton, QWidget

from tiltwright.widgets.theme import colours

_TRIANGLES: dict[str, list[tuple[float, float, float, float, float, float]]] = {
    "play": [(5, 3, 13, 8, 5, 13)],
    "next": [(4, 3, 11, 8, 4, 13)],
    "previous": [(12, 3, 5, 8, 12, 13)],
}
_BARS: dict[str, list[tuple[float, float, float, float]]] = {
    "pause": [(4, 3, 3, 10), (9, 3, 3, 10)],
    "next": [(11, 3, 2, 10)],
    "previous": [(3, 3, 2, 10)],
}


def icon(name: str) -> QIcon:
    """One of ``play pause next previous``, in the colour of the text."""
    scale = 2
    pixmap = QPixmap(QSize(16 * scale, 16 * scale))
    pixmap.setDevicePixelRatio(scale)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colours().text))
    for t in _TRIANGLES.get(name, []):
        points = [QPointF(t[k], t[k + 1]) for k in (0, 2, 4)]
        painter.drawPolygon(QPolygonF(points))
    for bar in _BARS.get(name, []):
        painter.drawRect(QRectF(*bar))
    painter.end()
    return QIcon(pixmap)


def make_action(
    owner: QWidget,
    text: str,
    keys: Sequence[str],
    slot: Callable[..., Any],
    tip: str,
    *,
    checkable: bool = False,
    checked: bool = False,
    on: Sequence[QWidget] = (),
) -> QAction:
    """An action of ``owner`` (or only of the widgets ``on``), its keys valid inside them."""
    action = QAction(text, owner)
    action.setShortcuts([QKeySequence(key) for key in keys])
    action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
    shown = " or ".join(QKeySequence(k).toString(_NATIVE) for k in keys)
    action.setToolTip(f"{tip} ({shown})" if shown else tip)
    action.setCheckable(checkable)
    action.setChecked(checked)
    (action.toggled if checkable else action.triggered).connect(slot)
    for widget in on or (owner,):
        widget.addAction(action)
    return action


_NATIVE = QKeySequence.SequenceFormat.NativeText


def button(action: QAction, parent: QWidget, drawn: str = "") -> QToolButton:
    """A flat button for an action, with a drawn icon or its text."""
    out = QToolButton(parent)
    out.setDefaultAction(action)
    out.setAutoRaise(not action.isCheckable())
    out.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    if action.isCheckable():
        # Fusion hardly tells a checked button from an unchecked one.
        out.setStyleSheet(
            "QToolButton { border: 1px solid palette(mid); border-radius: 3px; padding: 2px 7px; }"
            "QToolButton:checked { background: palette(highlight);"
            " border-color: palette(highlight); color: palette(highlighted-text); }"
            "QToolButton:hover { border-color: palette(highlight); }"
            "QToolButton:disabled { color: palette(placeholder-text); background: transparent;"
            " border-color: palette(mid); }"
        )
    if drawn:
        action.setIcon(icon(drawn))
        out.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
    return out


class KeyList(QLabel):
    """A pop-up with the keys of a widget's actions; any click closes it."""

    def __init__(self, owner: QWidget, more: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(owner, Qt.WindowType.Popup)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMargin(14)
        self.setTextFormat(Qt.TextFormat.RichText)
        rows = [
            (" or ".join(k.toString(_NATIVE) for k in action.shortcuts()), action.text())
            for action in owner.actions()
            if action.text() and action.shortcuts()
        ]
        cells = [
            f"<td><b>{keys}</b>&nbsp;&nbsp;</td><td>{words}&nbsp;&nbsp;&nbsp;&nbsp;</td>"
            for keys, words in [*rows, *more]
        ]
        half = -(-len(cells) // 2)
        lines = [
            f"<tr>{a}{b}</tr>" for a, b in zip(cells[:half], [*cells[half:], ""], strict=False)
        ]
        self.setText(f"<table>{''.join(lines)}</table>")

    def show_over(self, widget: QWidget) -> None:
        """Show it in the middle of a widget."""
        self.adjustSize()
        middle = widget.mapToGlobal(widget.rect().center())
        self.move(middle - self.rect().center())
        self.show()


POINTER_KEYS = (
    ("Wheel", "Zoom at the pointer"), ("Drag", "Pan"), ("Arrows", "Pan"),
)  # fmt: skip
"""What the image view does without an action."""
