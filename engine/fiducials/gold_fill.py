"""Masked pixels replaced by noise that continues its surroundings.

Conditional simulation (Hoffman & Ribak 1991, doi:10.1086/186160): a random field with the power
spectrum of the view's background, corrected by what is known around the hole, so that the filling
has the local mean, the noise and the texture of the place and no seam.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.fiducials.background import (
    background_power,
    noise_model,
    stabilise,
    window_px,
)
from tiltwright.engine.fiducials.template import ball_template

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_HALO_PX, _RING_PX = 1.5, 5
"""What lies between these distances from a hole is continued into it; closer is a bead's fringe."""
_NUGGET = 1.02
"""Noise that is smooth to the last digit would be extrapolated along its slope."""
_MOST_KNOWN = 320
"""Known pixels that a hole is conditioned on; more cost time and add nothing."""


def fill_gold(
    image: npt.NDArray[Any], mask: Bools, diameter_px: float, seed: tuple[int, ...]
) -> npt.NDArray[Any]:
    """A copy of a view whose masked pixels hold background; all others are untouched.

    Parameters
    ----------
    image : (ny, nx) of any real type
        Integers are rounded and clipped.
    mask : (ny, nx) bool
    diameter_px : float
        Of the beads; sets how far around a hole its mean is taken.
    seed : tuple of int
        The same seed gives the same noise.

    Raises
    ------
    InputError
        The mask has another size, pixels are not finite, or next to nothing is unmasked.
    """
    if mask.shape != image.shape:
        raise InputError(f"erase fiducials: a mask of {mask.shape} for a view of {image.shape}")
    native = np.ascontiguousarray(image, np.dtype(image.dtype).newbyteorder("="))
    if not np.isfinite(native).all():
        raise InputError("erase fiducials: the view has pixels that are not finite")
    out = native.copy()
    if not mask.any():
        return out
    if mask.mean() > 0.5:
        raise InputError("erase fiducials: more than half of the view is masked")
    from scipy import ndimage

    side = window_px(2 * diameter_px)
    filler = _Filler(native, mask, side, max(8, round(diameter_px)), np.random.default_rng(seed))
    block = side // 2 - 2 * _RING_PX
    labels = ndimage.label(mask, np.ones((3, 3)))[0]
    for k, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        # a cluster larger than the covariance reaches is filled piece by piece
        for y in range(rows.start, rows.stop, block):
            for x in range(columns.start, columns.stop, block):
                ends = min(y + block, rows.stop), min(x + block, columns.stop)
                hole = np.argwhere(labels[y : ends[0], x : ends[1]] == k) + np.array([y, x])
                if len(hole):
                    filler.fill(hole)
    values = filler.data[mask]
    if out.dtype.kind in "iu":
        limits = np.iinfo(out.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    out[mask] = values
    return out


class _Filler:
    """The holes of one view, filled one after the other; what is filled counts as known."""

    def __init__(
        self, image: npt.NDArray[Any], mask: Bools, side: int, around: int,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        from scipy import ndimage

        self.data = image.astype(np.float64)
        self.known = ~mask
        self.side, self.around, self.rng = side, around, rng
        self.distance = ndimage.distance_transform_edt(~mask)
        # the statistics of the background, not of the gold
        nearest = ndimage.distance_transform_edt(mask, return_distances=False, return_indices=True)
        covered = image[tuple(nearest)]
        self.noise = noise_model(covered)
        even = stabilise(covered, self.noise)
        none = np.zeros((0, 2)), np.zeros(0)
        power = background_power(even, *none, ball_template(4.0), side).astype(np.float64)
        power[0, 0] = max(power[0, 1], power[1, 0])
        self.root = np.sqrt(power)
        self.covariance = np.fft.irfft2(power, (side, side))
        self.level = max(self.noise[0] + self.noise[1] * float(covered.mean()), 1e-12)

    def fill(self, hole: npt.NDArray[np.int64]) -> None:
        """Fill the pixels ``(n, 2)``, rows and columns."""
        near, mean, sd = self._surroundings(hole)
        white = self.rng.standard_normal((self.side, self.side))
        field = np.fft.irfft2(np.fft.rfft2(white) * self.root, (self.side, self.side))
        first = hole.min(0) - _RING_PX
        here = field[tuple((hole - first).T)]
        if len(near):
            near = near[:: -(-len(near) // _MOST_KNOWN)]
            seen = (self.data[tuple(near.T)] - mean) / sd
            among = self._lags(near, near)
            among[np.diag_indices_from(among)] *= _NUGGET
            unlike = seen - field[tuple((near - first).T)]
            here = here + self._lags(hole, near) @ np.linalg.solve(among, unlike)
        self.data[tuple(hole.T)] = mean + sd * here
        self.known[tuple(hole.T)] = True

    def _surroundings(
        self, hole: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], float, float]:
        """Known pixels beside a hole, and the mean and the counting noise around it."""
        low, high = hole.min(0), hole.max(0) + 1
        near = self._known_within(low, high, _RING_PX)
        wide = self._known_within(low, high, self.around)
        # what was a hole itself is at distance 0 and background now
        away = self.distance[tuple(near.T)]
        near = near[(away == 0) | (away > _HALO_PX)]
        wide = wide[self.distance[tuple(wide.T)] > _RING_PX]
        if not len(wide):
            wide = np.argwhere(self.known)[:: max(1, self.known.size // 1000)]
        mean = float(self.data[tuple(wide.T)].mean())
        sd = float(np.sqrt(max(self.noise[0] + self.noise[1] * mean, 0.05 * self.level)))
        return near, mean, sd

    def _known_within(self, low: Any, high: Any, by: int) -> npt.NDArray[np.int64]:
        corner = np.maximum(low - by, 0)
        part = self.known[corner[0] : high[0] + by, corner[1] : high[1] + by]
        places: npt.NDArray[np.int64] = np.argwhere(part) + corner
        return places

    def _lags(self, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> Floats:
        d = (a[:, None] - b[None]) % self.side
        lags: Floats = self.covariance[d[..., 0], d[..., 1]]
        return lags
