"""Two views in one picture: this one magenta, another green."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QRectF
from PyQt6.QtGui import QImage, QPainter

from tiltwright.widgets.image.tiles import Tile, to_grey
from tiltwright.widgets.image.viewport import Viewport
from tiltwright.widgets.series.series_source import Rendered


@dataclass(frozen=True, eq=False)
class OverlayPicture:
    """A layer in place of the grey picture; beads that do not move with the view turn white."""

    tile: Tile
    image: QImage
    memory: npt.NDArray[np.uint8] = field(repr=False)

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw it over the picture."""
        x0, y0, x1, y1 = self.tile.bounds
        left, top = port.to_screen(x0, y1)
        right, bottom = port.to_screen(x1, y0)
        painter.drawImage(QRectF(left, top, right - left, bottom - top), self.image)


def overlay(this: Rendered, other: Rendered, reverse: bool = False) -> OverlayPicture:
    """Both with their own contrast; of the smaller size where they differ."""
    a = to_grey(this.tile.data, *this.levels, reverse)
    b = to_grey(other.tile.data, *other.levels, reverse)
    ny, nx = (min(p, q) for p, q in zip(this.tile.data.shape, other.tile.data.shape, strict=True))
    rgb = np.zeros((ny, nx, 4), np.uint8)
    rgb[..., 0] = rgb[..., 2] = a[:ny, :nx]
    rgb[..., 1] = b[:ny, :nx]
    rgb[..., 3] = 255
    image = QImage(rgb.data, nx, ny, 4 * nx, QImage.Format.Format_RGBA8888)
    return OverlayPicture(this.tile, image, rgb)
