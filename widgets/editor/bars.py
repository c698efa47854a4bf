"""A row of bars that one can click: the residual of each view or bead."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QEvent, QRectF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent
from PyQt6.QtWidgets import QSizePolicy, QToolTip, QWidget

from tiltwright.widgets.theme import colours, is_dark

Floats = npt.NDArray[np.float64]
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
        self._top = 1.0

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
        usual = 3.0 * float(np.median(finite)) if len(finite) else 1.0
        self._top = max(min(usual, float(finite.max())) if len(finite) else 1.0, 1e-6)
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
        typical = float(np.nanmedian(self._values)) if np.isfinite(self._values).any() else 0.0
        for k, value in enumerate(self._values.tolist()):
            if k == self._marked:
                painter.fillRect(QRectF(k * step, _TITLE_PX, step, floor), QColor(c.raised))
            if not np.isfinite(value):
                continue
            tall = min(value / self._top, 1.0) * high
            colour = c.residual if value > 2 * typical else c.accent
            if k == self._marked:
                colour = c.current if is_dark() else c.running
            inner = QRectF(k * step + 0.1 * step, floor - tall, max(1.0, 0.8 * step), tall)
            painter.fillRect(inner, QColor(colour))
            if value > self._top:
                # A cut bar says so by its shape.
                notch = QRectF(inner.left(), floor - high + 3, inner.width(), 2)
                painter.fillRect(notch, QColor(c.base))
            if len(self._before) and np.isfinite(self._before[k]):
                was = floor - min(self._before[k] / self._top, 1.0) * high
                painter.fillRect(QRectF(inner.left(), was - 1, inner.width(), 2), QColor(c.muted))
        painter.setPen(QColor(c.muted))
        font = painter.font()
        font.setPointSizeF(max(7.0, font.pointSizeF() * 0.85))
        painter.setFont(font)
        painter.drawText(QRectF(4, 0, self.width() - 8, _TITLE_PX), self._title)
        right = Qt.AlignmentFlag.AlignRight
        if n and np.isfinite(self._values).any():
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
