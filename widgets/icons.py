"""Small line drawings beside the words of tool bars, in the colour of the text."""

from __future__ import annotations

from PyQt6.QtCore import QPointF, QRect, QRectF, QSize, Qt
from PyQt6.QtGui import QColor, QIcon, QIconEngine, QPainter, QPen, QPixmap, QPolygonF

from tiltwright.widgets.theme import colours

_GRID = 16.0
_Line = tuple[tuple[float, float], ...]

_LINES: dict[str, tuple[_Line, ...]] = {
    # A stack with an arrow into it.
    "import": (((8, 1.5), (8, 9)), ((5, 6), (8, 9), (11, 6)),
               ((2, 9), (2, 14), (14, 14), (14, 9))),
    # Steps that follow each other.
    "wizard": (((2, 2), (7, 2), (7, 5), (2, 5), (2, 2)), ((9, 11), (14, 11), (14, 14), (9, 14),
               (9, 11)), ((4.5, 5), (4.5, 12.5), (9, 12.5))),
    "edit": (((2.5, 13.5), (3.5, 10), (11, 2.5), (13.5, 5), (6, 12.5), (2.5, 13.5)),
             ((9.5, 4), (12, 6.5))),
    # A curve on its axes.
    "analyze": (((2, 2), (2, 14), (14, 14)), ((4, 11), (7, 7), (9.5, 9), (13.5, 3.5))),
    "continue": (((4, 2.5), (13, 8), (4, 13.5), (4, 2.5)),),
    "restart_from": (((12.5, 4), (9, 2.4), (5, 3.4), (2.8, 7), (3.6, 11), (7, 13.4), (11, 12.6),
                      (13.2, 9.4)), ((13, 1), (13, 4.6), (9.4, 4.6))),
    "stop": (((3.5, 3.5), (12.5, 3.5), (12.5, 12.5), (3.5, 12.5), (3.5, 3.5)),),
    # A square with a tick.
    "stop_keep": (((3.5, 3.5), (12.5, 3.5), (12.5, 12.5), (3.5, 12.5), (3.5, 3.5)),
                  ((5.8, 8.2), (7.4, 9.8), (10.4, 6.2))),
    # A cursor in a line of text.
    "rename": (((1.5, 5), (1.5, 11), (8, 11)), ((1.5, 5), (8, 5)), ((11, 2.5), (11, 13.5)),
               ((9, 2.5), (13, 2.5)), ((9, 13.5), (13, 13.5))),
    "duplicate": (((5.5, 5.5), (13.5, 5.5), (13.5, 13.5), (5.5, 13.5), (5.5, 5.5)),
                  ((3, 10.5), (2.5, 10.5), (2.5, 2.5), (10.5, 2.5), (10.5, 3))),
    "delete": (((2, 4), (14, 4)), ((6, 4), (6, 2), (10, 2), (10, 4)),
               ((3.5, 4), (4.3, 14), (11.7, 14), (12.5, 4)), ((8, 6.5), (8, 11.5))),
    "find": (((9.9, 9.9), (14, 14)),),
    # Two beads, one with the arrow that says where it belongs.
    "edit_beads": (((5.5, 10.5), (11.5, 10.5)), ((9.3, 8.3), (11.5, 10.5), (9.3, 12.7))),
    # Out of the box.
    "float": (((8, 3), (3, 3), (3, 13), (13, 13), (13, 8)), ((8, 8), (14, 2)),
              ((10, 2), (14, 2), (14, 6))),
}  # fmt: skip
_RINGS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "find": ((6.5, 6.5, 4.6),),
    "edit_beads": ((5.5, 10.5, 4), (12, 3.8, 2.4)),
}


class _Drawing(QIconEngine):
    """Draws when it is shown, so that it follows the theme."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def clone(self) -> QIconEngine:
        return _Drawing(self._name)

    def paint(
        self, painter: QPainter | None, rect: QRect, mode: QIcon.Mode, state: QIcon.State
    ) -> None:
        assert painter is not None
        c = colours()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.translate(QPointF(rect.topLeft()))
        painter.scale(rect.width() / _GRID, rect.height() / _GRID)
        colour = c.stale if mode == QIcon.Mode.Disabled else c.text
        pen = QPen(QColor(colour), 1.3)
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        painter.setPen(pen)
        for line in _LINES[self._name]:
            painter.drawPolyline(QPolygonF([QPointF(*point) for point in line]))
        for x, y, r in _RINGS.get(self._name, ()):
            painter.drawEllipse(QRectF(x - r, y - r, 2 * r, 2 * r))
        painter.restore()

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        pixmap = QPixmap(size)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        self.paint(painter, QRect(0, 0, size.width(), size.height()), mode, state)
        painter.end()
        return pixmap


def drawn_icon(name: str) -> QIcon:
    """The drawing of that name; an empty icon when there is none."""
    return QIcon(_Drawing(name)) if name in _LINES else QIcon()
