"""Black and white levels that follow each view, or stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiltwright.engine.model.tilt_series import TiltSeries

Levels = tuple[float, float]


class Contrast:
    """Levels of the pictures of a viewer.

    Per view, what a person chose is kept relative to the automatic levels of each view, so that
    dark high tilts stay readable. Fixed, it is kept as it is, for each series that is shown.
    """

    def __init__(self, fixed: bool = False) -> None:
        self.fixed = fixed
        self._relative: Levels = (0.0, 1.0)
        self._absolute: dict[int, Levels] = {}

    def levels(self, series: TiltSeries, automatic: Levels) -> Levels:
        """Levels of a picture whose automatic ones are given."""
        if self.fixed:
            return self._absolute.setdefault(id(series.images), automatic)
        black, white = automatic
        low, high = self._relative
        return black + low * (white - black), black + high * (white - black)

    def drag(self, series: TiltSeries, black: float, white: float, automatic: Levels) -> None:
        """A person chose levels for a picture."""
        if self.fixed:
            self._absolute[id(series.images)] = black, white
        else:
            span = automatic[1] - automatic[0]
            self._relative = (black - automatic[0]) / span, (white - automatic[0]) / span

    def reset(self) -> None:
        """Back to automatic levels."""
        self._relative = 0.0, 1.0
        self._absolute.clear()

    def set_fixed(self, fixed: bool, series: TiltSeries, levels: Levels) -> None:
        """Hold the levels of the picture that is shown, or let them follow again."""
        if fixed and not self.fixed:
            self._absolute = {id(series.images): levels}
        self.fixed = fixed
