"""Where the specimen begins and ends in a tomogram, and how it is inclined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError

Floats = npt.NDArray[np.float64]

_SHRINK = 4
"""The ramp filter's noise is fine; what is left after averaging so many voxels is structure."""
_SMOOTH = 5
_LEAST_GAIN = 0.3
"""Part of a profile's variance that its two edges must explain."""
_LEAST_PATCHES = 6
_WORTH = 0.7
"""An inclination must lessen the scatter of the edges to this part, or the planes stay level."""


@dataclass(frozen=True)
class Boundaries:
    """Bottom and top of a slab-like specimen as parallel planes, index coordinates.

    They enclose nine tenths of the places looked at.
    ``z = bottom_px + slope_x (x - cx) + slope_y (y - cy)`` with ``(cx, cy)`` the centre of the
    volume, and the same with ``top_px``.

    Attributes
    ----------
    bottom_px, top_px : float
        First and last section that hold specimen, at the centre of the volume.
    slope_x, slope_y : float
    n_patches : int
        Places that agree.
    scatter_px : float
        Median distance of their edges from the planes.
    """

    bottom_px: float
    top_px: float
    slope_x: float
    slope_y: float
    n_patches: int
    scatter_px: float

    @property
    def thickness_px(self) -> float:
        """Sections from bottom to top, both counted."""
        return self.top_px - self.bottom_px + 1

    @property
    def centre_px(self) -> float:
        """Middle of the specimen at the centre of the volume."""
        return (self.top_px + self.bottom_px) / 2

    @property
    def x_tilt_deg(self) -> float:
        """What must be added to the x-axis tilt for the specimen to lie flat along y."""
        return float(np.rad2deg(np.arctan(self.slope_y)))

    @property
    def tilt_offset_deg(self) -> float:
        """Inclination along x, which a tilt angle offset would undo."""
        return float(np.rad2deg(np.arctan(self.slope_x)))


def patch_size(shape: Sequence[int], size: int) -> int:
    """Size of the patches of a volume: as wanted, but three must lie side by side."""
    return max(16, min(size, min(shape[1:]) // 3 // _SHRINK * _SHRINK))


def patch_grid(shape: Sequence[int], size: int, most: int = 8) -> list[tuple[int, int]]:
    """Corners ``(x0, y0)`` of up to ``most`` x ``most`` patches spread over a volume.

    Raises
    ------
    InputError
        The volume is smaller than a patch.
    """
    nz, ny, nx = shape
    if min(ny, nx) < size or nz < 16:
        raise InputError(f"a volume of {nx} x {ny} x {nz} is too small to find the specimen in")
    # The outer parts of a tomogram are less well covered by the tilted views.
    steps = [
        np.unique(
            np.linspace(0.06 * (n - size), 0.94 * (n - size), min(most, n // size)).astype(int)
        )
        for n in (nx, ny)
    ]
    return [(int(x), int(y)) for y in steps[1] for x in steps[0]]


def patch_profile(volume: Any, x0: int, y0: int, size: int) -> Floats:
    """Log variance of the structure in each section of one patch, ``(nz,)``.

    Parameters
    ----------
    volume : (nz, ny, nx)
        Anything that gives a part when sliced.
    """
    n = size // _SHRINK * _SHRINK
    part = np.asarray(volume[:, y0 : y0 + n, x0 : x0 + n], np.float32)
    nz, m = len(part), n // _SHRINK
    small = part.reshape(nz, m, _SHRINK, m, _SHRINK).mean((2, 4))
    # Sections beside each other share structure, not noise.
    kernel = np.ones(_SMOOTH) / _SMOOTH
    padded = np.pad(small, ((_SMOOTH // 2, _SMOOTH // 2), (0, 0), (0, 0)), "edge")
    running = np.cumsum(np.concatenate([np.zeros((1, m, m)), padded]), 0)
    small = (running[_SMOOTH:] - running[:-_SMOOTH]) / _SMOOTH
    # Robust, or a single bead or a crystal would outweigh the rest.
    spread = np.percentile(small.reshape(nz, -1), (10, 90), axis=1)
    profile = np.log(np.maximum(spread[1] - spread[0], 1e-12)) * 2
    smooth: Floats = np.convolve(np.pad(profile, _SMOOTH // 2, "edge"), kernel, "valid")
    return smooth


def profile_edges(profile: Floats) -> tuple[float, float, float]:
    """First and last section of the high part of a profile, and what two edges explain of it.

    The best fit of a step up and a step down, of all pairs of edges.
    """
    n = len(profile)
    p = np.asarray(profile, np.float64) - profile.mean()
    total = float((p**2).sum())
    if not np.isfinite(total) or total <= 1e-12:
        return 0.0, float(n - 1), 0.0
    sums = np.concatenate([[0.0], np.cumsum(p)])
    first, end = np.triu_indices(n + 1, 4)
    inside = end - first
    good = inside <= n - 4
    first, end, inside = first[good], end[good], inside[good]
    held = sums[end] - sums[first]
    gain = np.where(held > 0, held**2 * n / (inside * (n - inside)), 0.0)
    best = int(np.argmax(gain))
    return float(first[best]), float(end[best] - 1), float(gain[best] / total)


def fit_planes(
    shape: Sequence[int], size: int, corners: Sequence[tuple[int, int]], profiles: Sequence[Floats]
) -> Boundaries:
    """Two parallel planes through the edges of the patches, insensitive to a few wrong ones.

    Raises
    ------
    DataError
        Too few patches show a specimen.
    """
    edges = np.array([profile_edges(p) for p in profiles]).reshape(-1, 3)
    good = edges[:, 2] >= _LEAST_GAIN
    if good.sum() < min(_LEAST_PATCHES, max(3, len(edges))):
        raise DataError(
            f"the specimen's boundaries were not found: {int(good.sum())} of {len(edges)} places "
            "show them; set the box by hand"
        )
    at = (np.array(corners, np.float64) + (size - 1) / 2)[good]
    at -= [(shape[2] - 1) / 2, (shape[1] - 1) / 2]
    low, high = edges[good, 0], edges[good, 1]
    level = _planes(at, low, high, inclined=False)
    solution = _planes(at, low, high, inclined=True)
    if _scatter(at, low, high, solution) > _WORTH * _scatter(at, low, high, level):
        solution = level
    rise = at @ solution[2:]
    below, above = low - rise - solution[0], high - rise - solution[1]
    scatter = float(np.median(np.abs(np.r_[below, above])))
    close = np.maximum(np.abs(below), np.abs(above)) < max(6.0, 4.5 * scatter)
    # Nothing may be cut off, so the planes move out to the outermost edges but for a tenth.
    bottom = solution[0] + min(0.0, float(np.percentile(below, 10)))
    top = solution[1] + max(0.0, float(np.percentile(above, 90)))
    return Boundaries(
        max(0.0, float(bottom)), min(shape[0] - 1.0, float(top)), float(solution[2]),
        float(solution[3]), int(close.sum()), scatter,
    )  # fmt: skip


def _planes(at: Floats, low: Floats, high: Floats, inclined: bool) -> Floats:
    """Bottom, top and slopes by iteratively reweighted least squares, Cauchy weights."""
    n = len(at)
    z = np.concatenate([low, high])
    side = np.repeat([0.0, 1.0], n)
    design = np.c_[1 - side, side, np.tile(at, (2, 1)) * inclined]
    # From level planes, so that wrong edges cannot tip them at the start.
    off = z - np.where(side > 0, np.median(high), np.median(low))
    solution = np.zeros(4)
    for _ in range(30):
        scale = 1.4826 * float(np.median(np.abs(off))) + 0.5
        root = 1 / np.sqrt(1 + (off / scale) ** 2)
        solution = np.linalg.lstsq(design * root[:, None], z * root, rcond=None)[0]
        off = z - design @ solution
    return solution


def _scatter(at: Floats, low: Floats, high: Floats, solution: Floats) -> float:
    rise = at @ solution[2:]
    off = np.r_[low - rise - solution[0], high - rise - solution[1]]
    return float(np.median(np.abs(off)))


def patches(volume: Any, size: int = 64) -> Iterator[tuple[tuple[int, int], Floats]]:
    """Corner and profile of each patch, one after the other; some 20 ms each.

    Raises
    ------
    InputError
        The volume is too small.
    """
    fitting = patch_size(volume.shape, size)
    for x0, y0 in patch_grid(volume.shape, fitting):
        yield (x0, y0), patch_profile(volume, x0, y0, fitting)


def find_boundaries(volume: Any, size: int = 64) -> Boundaries:
    """Find a specimen's bottom, top and inclination from where its structure ends.

    Parameters
    ----------
    volume : (nz, ny, nx)
        Memory-mapped or not; about an eighth of it is read.
    size : int
        Of the patches, voxels.

    Raises
    ------
    InputError
        The volume is too small.
    DataError
        No boundaries are to be seen.
    """
    found = list(patches(volume, size))
    return fit_planes(
        volume.shape, patch_size(volume.shape, size), [c for c, _ in found], [p for _, p in found]
    )
