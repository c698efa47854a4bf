"""A tile and the grey image that is painted for it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QRectF, QSize
from PyQt6.QtGui import QColor, QImage, QPainter, QPixmap

from tiltwright.widgets.image.tiles import Grey, Tile, to_grey
from tiltwright.widgets.image.viewport import Viewport

GROUND = "#0a0b0d"


class Picture:
    """A tile and its grey image, made when first painted unless ``ready`` has the levels."""

    def __init__(self, tile: Tile, ready: Grey | None = None) -> None:
        self.tile = tile
        self._ready = ready
        self._grey: npt.NDArray[np.uint8] | None = None
        self._image = QImage()

    def forget(self) -> None:
        """Make the grey image anew when next painted."""
        self._grey = None

    def image(self, black: float, white: float, inverted: bool) -> QImage:
        """The grey image, rows from the top of the screen; levels count when it is made."""
        if self._grey is None:
            ready = self._ready
            if ready is not None and not inverted and ready.levels == (black, white):
                self._grey = ready.values
            else:
                self._grey = to_grey(self.tile.data, black, white, inverted)
            high, wide = self._grey.shape
            self._image = QImage(
                cast(bytes, self._grey.data), self.tile.data.shape[1], high, wide,
                QImage.Format.Format_Grayscale8,
            )  # fmt: skip
        return self._image


class Scaled:
    """Pictures as they lie on the screen, scaled once: marks change more often than they do."""

    def __init__(self) -> None:
        self._pixmap = QPixmap()
        self._key: Hashable = None

    def pixmap(
        self, pictures: Sequence[Picture], port: Viewport, size: tuple[int, int],
        levels: tuple[float, float], inverted: bool, ratio: float,
    ) -> QPixmap:  # fmt: skip
        """All of the window, the later pictures over the earlier; ``size`` of the whole image."""
        key = (tuple(pictures), port, size, levels, inverted, ratio)
        if key != self._key:
            self._key = key
            wanted = QSize(round(port.width * ratio), round(port.height * ratio))
            if self._pixmap.size() != wanted:
                self._pixmap = QPixmap(wanted)
                self._pixmap.setDevicePixelRatio(ratio)
            self._pixmap.fill(QColor(GROUND))
            painter = QPainter(self._pixmap)
            for picture in pictures:
                _paint(painter, picture, port, size, picture.image(*levels, inverted), ratio)
            painter.end()
        return self._pixmap


def _paint(
    painter: QPainter, picture: Picture, port: Viewport, size: tuple[int, int], image: QImage,
    ratio: float,
) -> None:  # fmt: skip
    tile, zoom = picture.tile, port.zoom
    x0, y0 = tile.bounds[:2]
    vx0, vy0, vx1, vy1 = port.visible(*size)
    f = tile.factor
    ny, nx = tile.data.shape
    # Only the visible tile pixels, with one more on each side for the interpolation.
    i0, i1 = max(0, int((vx0 - x0) / f) - 1), min(nx, int((vx1 - x0) / f) + 2)
    j0, j1 = max(0, int((vy0 - y0) / f) - 1), min(ny, int((vy1 - y0) / f) + 2)
    if i1 <= i0 or j1 <= j0:
        return
    left, top = port.to_screen(x0 + i0 * f, y0 + j1 * f)
    target = QRectF(left, top, (i1 - i0) * f * zoom, (j1 - j0) * f * zoom)
    smooth = zoom * f * ratio < 2
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
    # Interpolated from the screen's own format it takes half as long, the conversion included.
    part = image.copy(i0, ny - j1, i1 - i0, j1 - j0)
    painter.drawImage(target, part.convertToFormat(QImage.Format.Format_RGB32), QRectF(part.rect()))
