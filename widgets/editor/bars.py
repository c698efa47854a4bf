"""A row of bars that one can click: the residual of each view or bead."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QEvent, QRectF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent
from PyQt6.QtWidgets import QSizePolicy, QToolTip, QWidget

from tiltwright.widgets.theme import colours, is_dark

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_TITLE_PX = 15


class Bars(QWidget):
    """Bars of ``values``, a tick where each was when the editor was opened.

    Parameters
    ----------
    title : str
    what : str
        'view' or 'bead', for the tooltips.

    Signals
    -------
    picked : (index)
        A person clicked a bar.
    """

    picked = pyqtSignal(int)

    def __init__(self, title: str, what: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMouseTracking(True)
        self._title, self._what = title, what
        self._values: Floats = np.zeros(0)
        self._before: Floats = np.zeros(0)
        self._marked = -1
        self._top, self._typical = 1.0, 0.0

    def sizeHint(self) -> QSize:
        """Wide and low."""
        return QSize(240, 54)

    @property
    def values(self) -> Floats:
        """What is shown."""
        return self._values

    def set_values(self, values: Floats, before: Floats | None = None) -> None:
        """Show values (NaN: no bar) and what they were when the editor was opened."""
        self._values = values
        self._before = before if before is not None and len(before) == len(values) else np.zeros(0)
        finite = values[np.isfinite(values)]
        # One wild bar must not flatten the others.
        self._typical = float(np.median(finite)) if len(finite) else 0.0
        most = min(3.0 * self._typical, float(finite.max())) if len(finite) else 1.0
        self._top = max(most, 1e-6)
        self.update()

    def set_marked(self, index: int) -> None:
        """Mark where one is."""
        if index != self._marked:
            self._marked = index
            self.update()

    def index_at(self, x: float) -> int:
        """The bar at a widget x, -1 without any."""
        n = len(self._values)
        return min(max(0, int(x / max(1, self.width()) * n)), n - 1) if n else -1

    def place(self, index: int) -> float:
        """Widget x of the middle of a bar."""
        return (index + 0.5) * self.width() / max(1, len(self._values))

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Bars, ticks and the title."""
        c = colours()
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(c.base))
        n = len(self._values)
        step = self.width() / max(1, n)
        floor, high = self.height() - 2.0, self.height() - _TITLE_PX - 4.0
        if 0 <= self._marked < n:
            marked = QRectF(self._marked * step, _TITLE_PX, step, floor)
            painter.fillRect(marked, QColor(c.raised))
        known = np.isfinite(self._values)
        here = np.arange(n) == self._marked
        with np.errstate(invalid="ignore"):
            cut, large = self._values > self._top, self._values > 2 * self._typical
        tall = np.minimum(np.nan_to_num(self._values) / self._top, 1.0) * high
        left, wide = np.arange(n) * step + 0.1 * step, max(1.0, 0.8 * step)

        def fill(which: Bools, colour: str, top: Floats, tall: Floats) -> None:
            """Bars of one colour at once: one by one they take five times as long."""
            painter.setBrush(QColor(colour))
            rows = np.stack([left, top, np.full(n, wide), tall], 1)[which].tolist()
            painter.drawRects([QRectF(*row) for row in rows])

        painter.setPen(Qt.PenStyle.NoPen)
        thin = np.full(n, 2.0)
        fill(known & ~large & ~here, c.accent, floor - tall, tall)
        fill(known & large & ~here, c.residual, floor - tall, tall)
        fill(known & here, c.current if is_dark() else c.running, floor - tall, tall)
        # A cut bar says so by its shape.
        fill(known & cut, c.base, np.full(n, floor - high + 3), thin)
        if len(self._before):
            was = np.minimum(np.nan_to_num(self._before) / self._top, 1.0) * high
            fill(known & np.isfinite(self._before), c.muted, floor - was - 1, thin)
        painter.setPen(QColor(c.muted))
        font = painter.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() * 0.85))
        painter.setFont(font)
        painter.drawText(QRectF(4, 0, self.width() - 8, _TITLE_PX), self._title)
        right = Qt.AlignmentFlag.AlignRight
        if known.any():
            worst = int(np.nanargmax(self._values))
            words = f"worst: {self._what} {worst + 1}, {self._values[worst]:.3f} px"
            painter.drawText(QRectF(4, 0, self.width() - 8, _TITLE_PX), right, words)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the bar."""
        assert event is not None
        if (index := self.index_at(event.position().x())) >= 0:
            self.picked.emit(index)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Say what the bar is."""
        assert event is not None
        index = self.index_at(event.position().x())
        if index >= 0:
            value = self._values[index]
            number = f"{value:.3f} px" if np.isfinite(value) else "no points"
            words = f"{self._what} {index + 1}: {number}; click to go there"
            QToolTip.showText(event.globalPosition().toPoint(), words, self)

    def leaveEvent(self, event: QEvent | None) -> None:
        """No tooltip."""
        QToolTip.hideText()
        super().leaveEvent(event)
