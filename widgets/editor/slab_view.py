"""A few XZ slices through the current bead, reconstructed on the spot."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QRectF, QSize, Qt
from PyQt6.QtGui import QColor, QImage, QPainter, QPaintEvent
from PyQt6.QtWidgets import QSizePolicy, QWidget

from tiltwright.widgets.image.tiles import to_grey

GreyImage = tuple[QImage, npt.NDArray[np.uint8]]
"""A picture and the memory that it looks at."""


def slab_images(slices: npt.NDArray[np.float32]) -> list[GreyImage]:
    """Pictures of slices ``(n, nz, nx)`` at one contrast; for the lane."""
    # A bead is far darker than anything around it.
    black, white = np.percentile(slices, (0.05, 99.8))
    levels = float(black), float(max(white, black + 1e-6))
    images = []
    for one in slices:
        grey = to_grey(one, *levels)
        nz, nx = one.shape
        kind = QImage.Format.Format_Grayscale8
        images.append((QImage(grey.data, nx, nz, grey.shape[1], kind), grey))
    return images


class SlabView(QWidget):
    """Slices one above the other: round beads mean a good alignment, bananas a bad one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(120, 100)
        self.setToolTip(
            "XZ slices through the current bead from the alignment as it is: "
            "round beads mean a good one, bananas a bad one"
        )
        self._slices: npt.NDArray[np.float32] = np.zeros((0, 1, 1), np.float32)
        self._images: list[GreyImage] = []
        self._words = ""

    def sizeHint(self) -> QSize:
        """Square."""
        return QSize(300, 240)

    @property
    def slices(self) -> npt.NDArray[np.float32]:
        """What is shown, ``(n, nz, nx)``."""
        return self._slices

    def set_images(self, made: tuple[npt.NDArray[np.float32], list[GreyImage]]) -> None:
        """Show slices ``(n, nz, nx)``, the middle one through the bead, and their pictures."""
        self._slices, self._images = made
        self._words = ""
        self.update()

    def clear(self, words: str = "") -> None:
        """Show nothing, but why."""
        self._slices, self._images = np.zeros((0, 1, 1), np.float32), []
        self._words = words
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """All slices at one scale."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor("#0a0b0d"))
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        n = len(self._images)
        if not n:
            painter.setPen(QColor("#97a0ad"))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            words = self._words or "Attach to a point to see XZ slices through its bead."
            painter.drawText(self.rect().adjusted(12, 12, -12, -12), flags, words)
            painter.end()
            return
        nz, nx = self._slices.shape[1:]
        columns = max(
            range(1, n + 1),
            key=lambda c: min(self.width() / (c * nx), self.height() / (-(-n // c) * nz)),
        )
        rows = -(-n // columns)
        scale = min((self.width() - 4) / (columns * nx), (self.height() - 4) / (rows * nz))
        left = (self.width() - columns * nx * scale) / 2
        top = (self.height() - rows * nz * scale) / 2
        for k, (image, _) in enumerate(self._images):
            x, y = left + k % columns * nx * scale, top + k // columns * nz * scale
            box = QRectF(x + 1, y + 1, nx * scale - 2, nz * scale - 2)
            painter.drawImage(box, image)
            words = f"{k - n // 2:+d}" if k != n // 2 else "y"
            # Slices are light: words stand on a dark ground.
            ground = QRectF(box.x(), box.y(), 8 + 8 * len(words), 16)
            painter.fillRect(ground, QColor(0, 0, 0, 150))
            painter.setPen(QColor("#ffe600" if k == n // 2 else "#e6e9ee"))
            painter.drawText(ground, Qt.AlignmentFlag.AlignCenter, words)
        painter.end()
