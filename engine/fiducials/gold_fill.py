"""Masked pixels replaced by noise that continues its surroundings.

Conditional simulation (Hoffman & Ribak 1991, doi:10.1086/186160): a random field with the power
spectrum of the view's background, corrected by what is known around the hole, so that the filling
has the local mean, the noise and the texture of the place and no seam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.fiducials.background import (
    background_power,
    noise_model,
    stabilise,
    window_px,
)
from tiltwright.engine.fiducials.template import Image, ball_template

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_HALO_PX, _RING_PX = 1.5, 5
"""What lies between these distances from a hole is continued into it; closer is a bead's edge."""
_NUGGET = 1.02
"""Noise that is smooth to the last digit would be extrapolated along its slope."""
_MOST_KNOWN = 240
"""Known pixels that a hole is conditioned on; more cost time and add nothing."""
_LEAST_AROUND = 40
"""Pixels that the level of a hole is taken from at least."""
_LEAST_LEFT = 0.3
"""So much of a view must be beyond all fringes, or its noise is measured within them, too."""
_LEVEL = 0.02
"""How much a sloping level is held back: one side alone does not tell the slope."""


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
        Of the beads; sets how far around a hole its level is taken.
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

    side = window_px(2 * diameter_px)
    data = native.astype(np.float64)
    holes = _holes(data, mask, diameter_px, side // 2 - 2 * _RING_PX)
    for hole in holes:
        data[tuple(hole.at.T)] = hole.level
    covered = data.astype(np.float32)
    for hole in holes:
        covered[tuple(hole.rim.T)] = hole.rim_level
    part = float((covered == native).mean())
    if part < _LEAST_LEFT:
        covered, part = data.astype(np.float32), float(1 - mask.mean())
    field = _Field(covered, part, side, np.random.default_rng(seed))
    field.fill(data, holes)
    values = data[mask]
    if out.dtype.kind in "iu":
        limits = np.iinfo(out.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    out[mask] = values
    return out


@dataclass(frozen=True)
class _Hole:
    """Pixels that are filled at once, rows and columns, and what is known beside them.

    Attributes
    ----------
    at, level : (n, 2), (n,)
        Pixels of the hole and the level of the view around it, sloping.
    near, near_level, ring : (m, 2), (m,), (m,)
        Pixels beside it and how far they are from all holes; 0 in another one.
    rim, rim_level : (k, 2), (k,)
        All around it that its level does not come from.
    """

    at: npt.NDArray[np.int64]
    level: Floats
    near: npt.NDArray[np.int64]
    near_level: Floats
    ring: npt.NDArray[np.int64]
    rim: npt.NDArray[np.int64]
    rim_level: Floats


def _holes(data: Floats, mask: Bools, diameter_px: float, block: int) -> list[_Hole]:
    """The holes of ``mask`` with their surroundings, large ones piece by piece."""
    from scipy import ndimage

    # a bead's fringe is a matter of its size, as both are chosen by the pixel
    fringe, around = max(_RING_PX, diameter_px / 2), max(8, round(diameter_px))
    labels = ndimage.label(mask, np.ones((3, 3)))[0]
    out = []
    for k, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        for y in range(rows.start, rows.stop, block):
            for x in range(columns.start, columns.stop, block):
                ends = min(y + block, rows.stop), min(x + block, columns.stop)
                at = np.argwhere(labels[y : ends[0], x : ends[1]] == k) + np.array([y, x])
                if len(at):
                    out.append(_surroundings(data, mask, at, fringe, around))
    return out


def _surroundings(
    data: Floats, mask: Bools, at: npt.NDArray[np.int64], fringe: float, around: int
) -> _Hole:
    """One hole: its level comes from beyond the fringe, farther out where all is masked."""
    from scipy import ndimage

    low, high = at.min(0), at.max(0) + 1
    by = around
    while True:
        margin = by + int(fringe) + 1
        first = np.maximum(low - margin, 0)
        part = mask[first[0] : high[0] + margin, first[1] : high[1] + margin]
        distance = np.zeros(part.shape)
        if not part.all():
            distance = ndimage.distance_transform_edt(~part)
        inside = _within(part.shape, low - first - by, high - first + by)
        wide = np.argwhere(inside & (distance > fringe)) + first
        if len(wide) >= _LEAST_AROUND or part.shape == mask.shape:
            break
        by *= 2
    if not len(wide):
        wide = np.argwhere(~mask)
        wide = wide[:: max(1, len(wide) // 1000)]
    beside = _within(part.shape, low - first - _RING_PX, high - first + _RING_PX)
    beside &= (distance == 0) | (distance > _HALO_PX)
    beside[tuple((at - first).T)] = False
    near = np.argwhere(beside)
    near = near[:: max(1, -(-len(near) // _MOST_KNOWN))]
    ring = np.minimum(distance[tuple(near.T)], _RING_PX).astype(np.int64)
    near = near + first
    rim = np.argwhere(inside & (distance > 0) & (distance <= fringe)) + first
    middle, scale = (low + high - 1) / 2, float((high - low).max() / 2 + by)
    plane = _level((wide - middle) / scale, data[tuple(wide.T)])
    levels = [plane[0] + (p - middle) / scale @ plane[1:] for p in (at, near, rim)]
    return _Hole(at, levels[0], near, levels[1], ring, rim, levels[2])


def _within(shape: tuple[int, ...], low: Any, high: Any) -> Bools:
    out = np.zeros(shape, np.bool_)
    low = np.maximum(low, 0)
    out[low[0] : high[0], low[1] : high[1]] = True
    return out


def _level(at: Floats, values: Floats) -> Floats:
    """A plane through ``values`` (n,) at ``at`` (n, 2) that outliers do not tilt, ``(3,)``."""
    basis = np.concatenate([np.ones((len(at), 1)), at], 1)
    held = len(at) * _LEVEL * np.diag([0.0, 1, 1])
    plane = np.array([np.median(values), 0, 0])
    for _ in range(3):
        rest = np.abs(values - basis @ plane)
        # Huber 1964, doi:10.1214/aoms/1177703732
        limit = 2 * 1.4826 * float(np.median(rest))
        if limit == 0:
            break
        weighted = basis * np.minimum(1, limit / np.maximum(rest, limit))[:, None]
        plane = np.linalg.solve(weighted.T @ basis + held, weighted.T @ values)
    return plane


@numba.njit(nogil=True, cache=True)
def _lags(covariance, a, b):  # type: ignore[no-untyped-def]
    """Covariance of the pixels ``a`` (n, 2) with those of ``b`` (m, 2)."""
    side = covariance.shape[0]
    out = np.empty((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            out[i, j] = covariance[(a[i, 0] - b[j, 0]) % side, (a[i, 1] - b[j, 1]) % side]
    return out


class _Field:
    """Noise with the power spectrum of one view, the same field for all of its holes."""

    def __init__(self, covered: Image, part: float, side: int, rng: np.random.Generator) -> None:
        """Measure ``covered`` (ny, nx), of which only a part has noise."""
        from scipy import fft

        self.noise = noise_model(covered)
        even = stabilise(covered, self.noise)
        none = np.zeros((0, 2)), np.zeros(0)
        power = background_power(even, *none, ball_template(4.0), side).astype(np.float64)
        power[0, 0] = max(power[0, 1], power[1, 0])
        power /= part
        self.covariance = np.fft.irfft2(power, (side, side))
        self.level = max(self.noise[0] + self.noise[1] * float(covered.mean()), 1e-12)
        # the field's period is the view, not the square of the spectrum
        shape = tuple(fft.next_fast_len(max(n, side), True) for n in covered.shape)
        kernel = np.zeros(shape, np.float32)
        kernel[:side, :side] = np.fft.fftshift(np.fft.irfft2(np.sqrt(power), (side, side)))
        waves = fft.rfft2(rng.standard_normal(shape, np.float32))
        waves *= fft.rfft2(kernel)
        self.values = fft.irfft2(waves, shape)

    def fill(self, data: Floats, holes: list[_Hole]) -> None:
        """Fill the holes of ``data`` (ny, nx), which hold their level, one after the other."""
        sd = [self._sd(float(hole.level.mean())) for hole in holes]
        fringes, doubt = self._fringes(data, holes, sd)
        for hole, one, fringe in zip(holes, sd, fringes, strict=True):
            at, near = tuple(hole.at.T), tuple(hole.near.T)
            here = self.values[at].astype(np.float64)
            if len(hole.near):
                seen = (data[near] - hole.near_level) / one - fringe[hole.ring]
                among = _lags(self.covariance, hole.near, hole.near)
                among[np.diag_indices_from(among)] *= _NUGGET
                among[np.diag_indices_from(among)] += doubt[hole.ring]
                unlike = np.linalg.solve(among, seen - self.values[near])
                here += _lags(self.covariance, hole.at, hole.near) @ unlike
            data[at] = hole.level + one * here

    def _sd(self, level: float) -> float:
        return float(np.sqrt(max(self.noise[0] + self.noise[1] * level, 0.05 * self.level)))

    def _fringes(self, data: Floats, holes: list[_Hole], sd: list[float]) -> tuple[Floats, Floats]:
        """What beads leave around them, by pixels from the holes: of each hole, and its variance.

        It has one shape in a view; how strong it is around a hole is fitted.
        """
        n, total = _RING_PX + 1, self.covariance[0, 0]
        count, first, second = np.zeros((3, len(holes), n))
        for k, (hole, one) in enumerate(zip(holes, sd, strict=True)):
            rest = (data[tuple(hole.near.T)] - hole.near_level) / one
            count[k] = np.bincount(hole.ring, minlength=n)
            first[k] = np.bincount(hole.ring, rest, n)
            second[k] = np.bincount(hole.ring, rest**2, n)
        # in the first ring are other holes
        count[:, 0] = first[:, 0] = second[:, 0] = 0
        every = np.maximum(count.sum(0), 1)
        shape = first.sum(0) / every
        weight = count / np.maximum(count.sum(1, keepdims=True), 1)
        mean = first / np.maximum(count, 1)
        strength = ((weight * mean * shape).sum(1) + total) / ((weight * shape**2).sum(1) + total)
        fringes = strength[:, None] * shape
        variance = (second - 2 * fringes * first + fringes**2 * count).sum(0) / every
        return fringes, np.maximum(variance - total, 0) * (every > 1)
