"""A tile and the grey image that is painted for it."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
from PyQt6.QtGui import QImage

from tiltwright.widgets.image.tiles import Tile, to_grey


class Picture:
    """A tile and its grey image, made when first painted."""

    def __init__(self, tile: Tile) -> None:
        self.tile = tile
        self._grey: npt.NDArray[np.uint8] | None = None
        self._image = QImage()

    def forget(self) -> None:
        """Make the grey image anew when next painted."""
        self._grey = None

    def image(self, black: float, white: float, inverted: bool) -> QImage:
        """The grey image, rows from the top of the screen; levels count when it is made."""
        if self._grey is None:
            self._grey = to_grey(self.tile.data, black, white, inverted)
            high, wide = self._grey.shape
            self._image = QImage(
                cast(bytes, self._grey.data), self.tile.data.shape[1], high, wide,
                QImage.Format.Format_Grayscale8,
            )  # fmt: skip
        return self._image
