"""Measuring a distance on a picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PyQt6.QtCore import Qt

from tiltwright.widgets.image.overlay import Layer, Lines, Texts

COLOUR = "#ffe600"


class MeasureGesture:
    """Draws a line; ``measured(layers, length_nm)`` is called while it is drawn.

    Parameters
    ----------
    pixel_size_a : callable
        Of the picture as it is.
    """

    def __init__(
        self, pixel_size_a: Callable[[], float], measured: Callable[[list[Layer], float], None]
    ) -> None:
        self._pixel_size_a, self._measured = pixel_size_a, measured
        self._start = (0.0, 0.0)

    def press(self, x: float, y: float, reach_px: float) -> bool:
        """Begin here."""
        self._start = x, y
        self._measured([], 0.0)
        return True

    def move(self, x: float, y: float) -> None:
        """The line so far."""
        ends = np.array([self._start, (x, y)])
        nm = float(np.hypot(*(ends[1] - ends[0]))) * self._pixel_size_a() / 10
        words = f"{nm:.1f} nm" if nm < 1000 else f"{nm / 1000:.3f} µm"
        layers: list[Layer] = [
            Lines(ends[None], COLOUR, 1.8),
            Texts(ends[1:], (words,), COLOUR, (10.0, -8.0)),
        ]
        self._measured(layers, nm)

    def release(self, x: float, y: float) -> None:
        """The line stays."""

    def cursor(self, x: float, y: float, reach_px: float) -> Qt.CursorShape | None:
        """A cross."""
        return Qt.CursorShape.CrossCursor
