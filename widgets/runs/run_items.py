"""Drawing of runs and of the edges between them."""

from __future__ import annotations

import itertools

from PyQt6.QtCore import QPointF, QRectF, Qt
from PyQt6.QtGui import (
    QBrush,
    QColor,
    QFont,
    QFontMetricsF,
    QPainter,
    QPainterPath,
    QPen,
)
from PyQt6.QtWidgets import (
    QApplication,
    QGraphicsItem,
    QGraphicsPathItem,
    QStyleOptionGraphicsItem,
    QWidget,
)

from tiltwright.widgets.runs.run_box import STALE, STATUSES, RunBox
from tiltwright.widgets.styled import mix
from tiltwright.widgets.theme import colours

WIDTH, HEIGHT = 254.0, 60.0
GAP_X, GAP_Y = 22.0, 30.0


class RunItem(QGraphicsItem):
    """A box: name, number of items, state, key number, progress, stale mark, label stripe."""

    def __init__(self, run: RunBox) -> None:
        super().__init__()
        self.run = run
        self.selected = self.current = self.focused = False
        self.hidden_below = 0
        self.setZValue(1)
        self.setToolTip(run.tooltip())

    def show_run(self, run: RunBox) -> None:
        """Take a new state of the same run."""
        if run != self.run:
            self.run = run
            self.setToolTip(run.tooltip())
            self.update()

    def mark(self, selected: bool, current: bool, focused: bool) -> None:
        """Show the selection; ``current`` is where the keyboard is."""
        if (selected, current, focused) != (self.selected, self.current, self.focused):
            self.selected, self.current, self.focused = selected, current, focused
            self.update()

    def boundingRect(self) -> QRectF:
        return QRectF(-WIDTH / 2 - 4, -HEIGHT / 2 - 4, WIDTH + 8, HEIGHT + 20)

    def shape(self) -> QPainterPath:
        path = QPainterPath()
        path.addRect(self._box())
        if self.hidden_below:
            path.addRect(self.badge())
        return path

    @staticmethod
    def badge() -> QRectF:
        """The plate below a collapsed run that tells how many are hidden; a click opens them."""
        return QRectF(-24, HEIGHT / 2 - 4, 48, 17)

    @staticmethod
    def _box() -> QRectF:
        return QRectF(-WIDTH / 2, -HEIGHT / 2, WIDTH, HEIGHT)

    def paint(
        self,
        painter: QPainter | None,
        option: QStyleOptionGraphicsItem | None,
        widget: QWidget | None = None,
    ) -> None:
        assert painter is not None
        c, run, box = colours(), self.run, self._box()
        status = STATUSES.get(run.status, STATUSES["new"])
        colour = status.of(c)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        outline = QPainterPath()
        outline.addRoundedRect(box, 5, 5)
        share = 0.0 if run.status == "new" else 0.14 if run.stale else 0.24
        painter.fillPath(outline, mix(c.raised, colour, share))
        painter.save()
        painter.setClipPath(outline)
        if run.stale:
            # Only the lower part is hatched, so that the name stays easy to read.
            hatch = QRectF(box.left(), box.bottom() - 30, box.width(), 30)
            painter.fillRect(hatch, QBrush(_clear(c.stale, 110), Qt.BrushStyle.BDiagPattern))
        painter.fillRect(QRectF(box.left(), box.top(), 5, box.height()), QColor(colour))
        if run.label_colour:
            painter.fillRect(
                QRectF(box.left() + 5, box.bottom() - 5, box.width() - 5, 5),
                QColor(run.label_colour),
            )
        if run.progress is not None:
            track = QRectF(box.left() + 5, box.bottom() - 5, box.width() - 5, 5)
            painter.fillRect(track, mix(c.raised, c.text, 0.2))
            track.setWidth(track.width() * min(max(run.progress, 0.0), 1.0))
            painter.fillRect(track, QColor(c.running))
        painter.restore()
        self._paint_text(painter, colour)
        self._paint_frame(painter, box)

    def _paint_text(self, painter: QPainter, colour: str) -> None:
        c, run = colours(), self.run
        left, top, inner = -WIDTH / 2 + 14, -HEIGHT / 2, WIDTH - 24
        font = QFont(QApplication.font())
        font.setBold(True)
        items = run.items_text()
        items_width = _line(
            painter,
            QApplication.font(),
            c.muted,
            items,
            QRectF(left, top + 5, inner, 20),
            right=True,
        )
        name = QRectF(left, top + 5, inner - items_width - (8 if items else 0), 20)
        _line(painter, font, c.text, run.label, name)
        status = STATUSES.get(run.status, STATUSES["new"])
        strong = mix(colour, c.text, 0.6).name()
        state = f"{status.symbol} {run.progress_text() or run.status}"
        row = QRectF(left, top + 29, inner, 20)
        key = run.key_number_text
        if run.stale:
            _chip(painter, STALE, QRectF(left, top + 29, inner, 20))
            state = f"{status.symbol}"
            row.setLeft(
                row.left() + QFontMetricsF(QApplication.font()).horizontalAdvance(STALE) + 20
            )
        key_width = _line(painter, QApplication.font(), c.text, key, row, right=True)
        row.setWidth(max(row.width() - key_width - 8, 0))
        _line(painter, QApplication.font(), strong, state, row)

    def _paint_frame(self, painter: QPainter, box: QRectF) -> None:
        c = colours()
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(c.accent), 2.5) if self.selected else QPen(QColor(c.border), 1))
        painter.drawRoundedRect(box, 5, 5)
        if self.current and self.focused:
            pen = QPen(QColor(c.text), 1, Qt.PenStyle.DotLine)
            painter.setPen(pen)
            painter.drawRoundedRect(box.adjusted(-3, -3, 3, 3), 7, 7)
        if self.hidden_below:
            badge = self.badge()
            painter.setPen(QPen(QColor(c.border), 1))
            painter.setBrush(QColor(c.raised))
            painter.drawRoundedRect(badge, 8, 8)
            painter.setPen(QColor(c.text))
            painter.setFont(QApplication.font())
            painter.drawText(badge, Qt.AlignmentFlag.AlignCenter, f"+{self.hidden_below}")


def _line(
    painter: QPainter, font: QFont, colour: str, text: str, rect: QRectF, right: bool = False
) -> float:
    """One elided line; returns the width that it takes."""
    if not text or rect.width() < 4:
        return 0.0
    painter.setFont(font)
    painter.setPen(QColor(colour))
    metrics = QFontMetricsF(font)
    short = metrics.elidedText(text, Qt.TextElideMode.ElideRight, rect.width())
    side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
    painter.drawText(rect, int(side | Qt.AlignmentFlag.AlignVCenter), short)
    return float(metrics.horizontalAdvance(short))


def _chip(painter: QPainter, text: str, rect: QRectF) -> None:
    """A word on a plate of its own, at the left of ``rect``."""
    c = colours()
    font = QFont(QApplication.font())
    chip = QRectF(rect)
    chip.setWidth(QFontMetricsF(font).horizontalAdvance(text) + 12)
    painter.setPen(QPen(QColor(c.stale), 1))
    painter.setBrush(QColor(c.raised))
    painter.drawRoundedRect(chip, 4, 4)
    painter.setPen(QColor(c.text))
    painter.setFont(font)
    painter.drawText(chip, Qt.AlignmentFlag.AlignCenter, text)


def _clear(colour: str, alpha: int) -> QColor:
    value = QColor(colour)
    value.setAlpha(alpha)
    return value


class EdgeItem(QGraphicsPathItem):
    """From a run to one that uses its output."""

    def __init__(self) -> None:
        super().__init__()
        self.setBrush(QBrush(Qt.BrushStyle.NoBrush))
        self.setZValue(0)

    def follow(self, points: tuple[tuple[float, float], ...]) -> None:
        """Run through these points, vertically at each of them."""
        half = HEIGHT / 2
        corners = [QPointF(x, y) for x, y in points]
        corners[0] += QPointF(0, half)
        corners[-1] -= QPointF(0, half)
        path = QPainterPath(corners[0])
        for a, b in itertools.pairwise(corners):
            if a.x() == b.x():
                path.lineTo(b)
            else:
                # The bend happens in the gap between two rows, never behind a box.
                turn = a.y() + (half if a is not corners[0] else 0)
                stop = b.y() - (half if b is not corners[-1] else 0)
                path.lineTo(a.x(), turn)
                middle = (turn + stop) / 2
                path.cubicTo(QPointF(a.x(), middle), QPointF(b.x(), middle), QPointF(b.x(), stop))
                path.lineTo(b)
        self.setPath(path)

    def mark(self, selected: bool) -> None:
        """Stand out when one of the ends is selected."""
        c = colours()
        self.setPen(QPen(QColor(c.accent if selected else c.muted), 2.0 if selected else 1.1))
        self.setZValue(0.5 if selected else 0)
