"""Between the pixels of an image and those of its binned one: sizes and positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError

Floats = npt.NDArray[np.float64]


def binned_size(n: int, b: int) -> int:
    """Size of ``n`` pixels binned by ``b``, by IMOD's rule (see ``conventions``).

    Raises
    ------
    InputError
        When ``b`` or ``n`` is below 1.
    """
    if b < 1 or n < 1:
        raise InputError(f"cannot bin {n} pixels by {b}: both must be at least 1")
    if b == 1:
        return n
    size, rest = divmod(n, b)
    if (size - n) % 2:
        return size + 1
    return size + 2 if rest > 1 else size


def first_edge(n: int, b: int) -> int:
    """Raw pixel at which the first binned pixel starts; negative where that one is partial."""
    # Python's floor keeps the half pixel of odd n with even b on one side, always the same.
    return (n - binned_size(n, b) * b) // 2


@dataclass(frozen=True)
class BinnedFrame:
    """The map between positions in an ``ny x nx`` image and in its binned one.

    Positions are index coordinates (centre of the first pixel 0.0), ``(..., 2)`` as x, y.
    """

    nx: int
    ny: int
    binning: int

    @property
    def nx_binned(self) -> int:
        """Binned width."""
        return binned_size(self.nx, self.binning)

    @property
    def ny_binned(self) -> int:
        """Binned height."""
        return binned_size(self.ny, self.binning)

    @property
    def scale(self) -> float:
        """Raw pixels per binned pixel."""
        return float(self.binning)

    @property
    def offset(self) -> Floats:
        """``(2,)`` raw offset of the binned grid's centre from the raw centre: 0 or -0.5.

        About-the-centre positions: ``raw = scale * binned + offset``.
        """
        centre = (np.array([self.nx_binned, self.ny_binned]) - 1) / 2
        raw: Floats = self.to_raw(centre) - (np.array([self.nx, self.ny]) - 1) / 2
        return raw

    def _origin(self) -> Floats:
        edge = [first_edge(self.nx, self.binning), first_edge(self.ny, self.binning)]
        return np.array(edge, dtype=np.float64) + (self.binning - 1) / 2

    def to_raw(self, xy: npt.ArrayLike) -> Floats:
        """Binned index positions to raw index positions."""
        raw: Floats = np.asarray(xy, dtype=np.float64) * self.binning + self._origin()
        return raw

    def from_raw(self, xy: npt.ArrayLike) -> Floats:
        """Raw index positions to binned index positions."""
        binned: Floats = (np.asarray(xy, dtype=np.float64) - self._origin()) / self.binning
        return binned

    def centred_to_raw(self, xy: npt.ArrayLike) -> Floats:
        """About the binned centre to about the raw centre."""
        raw: Floats = np.asarray(xy, dtype=np.float64) * self.scale + self.offset
        return raw

    def centred_from_raw(self, xy: npt.ArrayLike) -> Floats:
        """About the raw centre to about the binned centre."""
        binned: Floats = (np.asarray(xy, dtype=np.float64) - self.offset) / self.scale
        return binned
