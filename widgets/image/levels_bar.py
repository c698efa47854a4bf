"""A histogram with two handles for what is black and what is white."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QPointF, QRectF, QSize, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QColor, QLinearGradient, QMouseEvent, QPainter, QPaintEvent, QPolygonF
from PyQt6.QtWidgets import QSizePolicy, QWidget

from tiltwright.widgets.theme import colours

_BINS, _MARGIN = 128, 8
_ENOUGH = 12_000
"""Of so many values the histogram looks the same, and paging stays quick."""
_SOON_MS = 60
"""Another picture's histogram is painted after the picture and what a click on it has to say."""


class LevelsBar(QWidget):
    """Shows how often values occur; the handles are dragged, or the span between them.

    Signals
    -------
    levels_dragged : (black, white)
        A person moved a handle.
    auto_asked : ()
        A double click.
    """

    levels_dragged = pyqtSignal(float, float)
    auto_asked = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self.setToolTip(
            "Histogram of the view. Drag the black or the white level, or what lies between them; "
            "double click for automatic contrast (Shift+A)."
        )
        self._values: npt.NDArray[Any] = np.zeros(0, np.float32)
        self._range = (0.0, 1.0)
        self._heights = np.zeros(_BINS)
        self._levels = (0.0, 1.0)
        self._grip: str | None = None
        self._held = (0.0, 0.0, 0.0)
        self._outdated = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON_MS)
        self._soon.timeout.connect(self.update)

    def sizeHint(self) -> QSize:
        """Wide and low."""
        return QSize(200, 48)

    def minimumSizeHint(self) -> QSize:
        """Still usable."""
        return QSize(110, 48)

    @property
    def levels(self) -> tuple[float, float]:
        """Black and white."""
        return self._levels

    def show_values(self, values: npt.NDArray[Any], black: float, white: float) -> None:
        """Count these values and put the handles."""
        self._values = values[:: max(1, len(values) // _ENOUGH)]
        self._levels = black, white
        # The scale stays while a handle is held.
        self._outdated = self._grip is None
        # Not put off by the next picture: it moves along with a movie.
        if not self._soon.isActive():
            self._soon.start()

    def set_levels(self, black: float, white: float) -> None:
        """Put the handles."""
        self._levels = black, white
        if self._grip is None:
            self._count()
        self.update()

    def _count_if_outdated(self) -> None:
        if self._outdated:
            self._count()

    def _count(self) -> None:
        self._outdated = False
        black, white = self._levels
        low, high = black, white
        if self._values.size:
            inner = np.percentile(self._values, (0.2, 99.8))
            low, high = min(low, float(inner[0])), max(high, float(inner[1]))
        margin = 0.04 * (high - low) or 0.5
        self._range = low - margin, high + margin
        counts, _ = np.histogram(self._values, _BINS, self._range)
        # The root shows the tails beside the peak.
        heights = np.sqrt(counts.astype(float))
        # Whole numbers in narrow bins make a comb.
        heights = np.convolve(heights, [0.25, 0.5, 0.25], "same")
        self._heights = heights / (heights.max() or 1.0)

    def position(self, value: float) -> float:
        """Widget x of a value."""
        self._count_if_outdated()
        low, high = self._range
        return _MARGIN + (value - low) / (high - low) * (self.width() - 2 * _MARGIN)

    def value(self, x: float) -> float:
        """The value at a widget x."""
        self._count_if_outdated()
        low, high = self._range
        return low + (x - _MARGIN) / max(1, self.width() - 2 * _MARGIN) * (high - low)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Histogram, the grey ramp below it, and the handles."""
        self._count_if_outdated()
        c = colours()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        floor = self.height() - 12.0
        xs = np.linspace(_MARGIN, self.width() - _MARGIN, _BINS)
        points = [
            QPointF(x, floor - h * (floor - 3)) for x, h in zip(xs, self._heights, strict=True)
        ]
        shape = QPolygonF([QPointF(xs[0], floor), *points, QPointF(xs[-1], floor)])
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(c.stale))
        painter.drawPolygon(shape)
        left, right = (self.position(v) for v in self._levels)
        ramp = QLinearGradient(left, 0, max(right, left + 1), 0)
        ramp.setColorAt(0, QColor("#000000"))
        ramp.setColorAt(1, QColor("#ffffff"))
        painter.setBrush(ramp)
        painter.setPen(QColor(c.border))
        painter.drawRect(QRectF(_MARGIN, floor + 1, self.width() - 2 * _MARGIN, 7))
        for x, colour in ((left, "#000000"), (right, "#ffffff")):
            painter.setPen(QColor(c.accent))
            painter.drawLine(QPointF(x, 2), QPointF(x, floor + 8))
            painter.setBrush(QColor(colour))
            painter.drawPolygon(
                QPolygonF([QPointF(x - 5, self.height() - 1), QPointF(x + 5, self.height() - 1),
                           QPointF(x, floor + 1)])
            )  # fmt: skip
        painter.setPen(QColor(c.muted))
        font = painter.font()
        font.setPointSizeF(max(6.0, font.pointSizeF() * 0.8))
        painter.setFont(font)
        top = QRectF(_MARGIN + 2, 0, self.width() - 2 * _MARGIN - 4, 14)
        for value, side in zip(self._levels, ("AlignLeft", "AlignRight"), strict=True):
            painter.drawText(top, Qt.AlignmentFlag[side], f"{value:.4g}")
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Take the nearer handle, or both."""
        assert event is not None
        x = event.position().x()
        left, right = (self.position(v) for v in self._levels)
        near = {"black": abs(x - left), "white": abs(x - right)}
        grip = min(near, key=lambda k: near[k])
        between = left < x < right and near[grip] > 10
        self._grip = "both" if between else grip
        self._held = x, *self._levels
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Move what was taken."""
        assert event is not None
        if self._grip is None:
            return
        x = event.position().x()
        black, white = self._levels
        least = 0.005 * (self._range[1] - self._range[0])
        if self._grip == "black":
            black = min(self.value(x), white - least)
        elif self._grip == "white":
            white = max(self.value(x), black + least)
        else:
            step = self.value(x) - self.value(self._held[0])
            black, white = self._held[1] + step, self._held[2] + step
        if (black, white) != self._levels:
            self._levels = black, white
            self.update()
            self.levels_dragged.emit(black, white)

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """Let go."""
        self._grip = None
        self._count()
        self.update()

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """Ask for automatic contrast."""
        self._grip = None
        self.auto_asked.emit()
