"""X-ray spikes and dead pixels: found by their steepness, replaced from their surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.patches import ErasedPatch
from tiltwright.engine.progress import SILENT, Monitor

Patch = tuple[float, float, float]

_CELL = 16  # pixels over which the local deviation is taken
_HALF = 15  # the local mean is that of 31 x 31 pixels


@dataclass(frozen=True)
class SpikeCriteria:
    """What counts as a spike.

    Attributes
    ----------
    peak_sd : float
        Deviation from the local median that makes a candidate, local standard deviations.
    difference_sd : float
        Drop to the pixels around it that a candidate must have, local standard deviations.
    radius_px : float
        Largest radius of an ordinary spike.
    big_difference_sd, giant_sd : float
        A larger patch needs this drop between neighbouring pixels and this deviation.
    grow_px : float
        A larger patch may exceed ``radius_px`` by this much.
    edge_exclusion_px : int
        Pixels along the edges that are not searched.
    """

    peak_sd: float = 8.0
    difference_sd: float = 6.0
    radius_px: float = 4.2
    big_difference_sd: float = 19.0
    giant_sd: float = 12.0
    grow_px: float = 4.0
    edge_exclusion_px: int = 4


USUAL = SpikeCriteria()


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _residual(a: Any, half: int, cell: int, out: Any, power: Any) -> None:
    """Image less its local mean, and the mean absolute value of that in every cell."""
    ny, nx = a.shape
    wide = 1.0 / (2 * half + 1) ** 2
    column = np.zeros(nx, np.float64)
    for k in range(-half, half + 1):
        y = min(max(k, 0), ny - 1)
        for x in range(nx):
            column[x] += a[y, x]
    count = np.zeros(power.shape, np.float64)
    for y in range(ny):
        total = 0.0
        for k in range(-half, half + 1):
            total += column[min(max(k, 0), nx - 1)]
        j = y // cell
        for x in range(nx):
            r = a[y, x] - total * wide
            out[y, x] = r
            power[j, x // cell] += abs(r)
            count[j, x // cell] += 1
            total += column[min(x + half + 1, nx - 1)] - column[max(x - half, 0)]
        last, first = min(y + half + 1, ny - 1), max(y - half, 0)
        for x in range(nx):
            column[x] += np.float64(a[last, x]) - np.float64(a[first, x])
    for j in range(power.shape[0]):
        for i in range(power.shape[1]):
            power[j, i] /= count[j, i]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _grown(a: Any, residual: Any, sd: Any, cell: int, edge: int, limits: Any, largest: int) -> Any:
    """Patches above ``limits[0]`` deviations that pass the other limits, as (x, y, radius)."""
    peak_sd, drop_sd, radius_px, big_sd, giant_sd = limits
    ny, nx = a.shape
    seen = np.zeros((ny, nx), np.uint8)
    queue = np.empty((ny * nx, 2), np.int32)
    ring = np.empty(16, np.float64)
    found = [(0.0, 0.0, 0.0) for _ in range(0)]
    for y0 in range(edge, ny - edge):
        for x0 in range(edge, nx - edge):
            if abs(residual[y0, x0]) <= peak_sd * sd[y0 // cell, x0 // cell] or seen[y0, x0]:
                continue
            seen[y0, x0] = 1
            queue[0] = y0, x0
            head, tail = 0, 1
            top, py, px = -1.0, y0, x0
            while head < tail:
                y, x = queue[head]
                head += 1
                if abs(residual[y, x]) > top:
                    top, py, px = abs(residual[y, x]), y, x
                for v in range(max(y - 1, edge), min(y + 2, ny - edge)):
                    for u in range(max(x - 1, edge), min(x + 2, nx - edge)):
                        if seen[v, u]:
                            continue
                        if abs(residual[v, u]) > peak_sd * sd[v // cell, u // cell]:
                            seen[v, u] = 1
                            queue[tail] = v, u
                            tail += 1
            if tail > largest:
                continue
            s = sd[py // cell, px // cell]
            sign = 1.0 if residual[py, px] > 0 else -1.0
            n = 0
            for v in range(-2, 3):
                for u in range(-2, 3):
                    if max(abs(v), abs(u)) == 2:
                        ring[n] = a[py + v, px + u] * sign
                        n += 1
            drop = (a[py, px] * sign - np.median(ring)) / s
            height = top / s
            radius = np.sqrt(tail / np.pi)
            # A bead of many deviations falls steeply too, but by a part of its height only.
            steep = drop > drop_sd and drop > 0.7 * height and radius <= radius_px
            if steep or (drop > big_sd and height > giant_sd and drop > 0.5 * height):
                found.append((float(px), float(py), max(radius, 0.6) + 0.9))
    return found


def find_spikes(image: npt.NDArray[Any], criteria: SpikeCriteria = USUAL) -> list[Patch]:
    """Find the spikes of a view; gold beads, dark or light, are left alone.

    A spike rises by many local deviations from one pixel to the next but one, both ways or
    all round, and is small; a bead's edge is spread over its own width.

    Parameters
    ----------
    image : (ny, nx)
    criteria : SpikeCriteria

    Returns
    -------
    list of (x, y, radius), index coordinates and pixels

    Raises
    ------
    InputError
        When the image is not two-dimensional.
    """
    if image.ndim != 2:
        raise InputError(f"a view must be two-dimensional, not {image.ndim}-dimensional")
    a = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("="))
    if a.dtype.kind not in "iu" and a.dtype != np.float32:
        a = a.astype(np.float32)
    if min(a.shape) < 16 or (a.dtype.kind == "f" and not np.isfinite(a).all()):
        return []
    residual = np.empty(a.shape, np.float32)
    power = np.zeros((-(-a.shape[0] // _CELL), -(-a.shape[1] // _CELL)))
    _residual(a, _HALF, _CELL, residual, power)
    sd = 1.2533 * ndimage.median_filter(power, 5, mode="nearest")
    sd = np.maximum(sd, max(0.3 * float(np.median(sd)), 1e-12))
    c = criteria
    limits = (c.peak_sd, c.difference_sd, c.radius_px, c.big_difference_sd, c.giant_sd)
    largest = int(np.pi * (c.radius_px + c.grow_px) ** 2)
    edge = max(c.edge_exclusion_px, 2)
    patches: list[Patch] = _grown(a, residual, sd, _CELL, edge, limits, largest)
    return patches


def erase_spikes(
    image: npt.NDArray[Any], criteria: SpikeCriteria = USUAL
) -> tuple[npt.NDArray[Any], list[Patch]]:
    """Replace spikes by a plane through the pixels around each, plus their noise.

    Parameters
    ----------
    image : (ny, nx)
    criteria : SpikeCriteria

    Returns
    -------
    cleaned : (ny, nx) of the input's type
    patches : list of (x, y, radius)

    Raises
    ------
    InputError
        When the image is not two-dimensional.
    """
    patches = find_spikes(image, criteria)
    return erase_patches(image, patches), patches


def erase_patches(
    image: npt.NDArray[Any], patches: Sequence[Patch], seed: int = 0
) -> npt.NDArray[Any]:
    """Replace patches by a plane through the pixels around each, plus their noise.

    Parameters
    ----------
    image : (ny, nx)
    patches : sequence of (x, y, radius), index coordinates and pixels
    seed : int
        The same seed gives the same noise; halves of the data must not share it.

    Returns
    -------
    cleaned : (ny, nx) of the input's type
    """
    cleaned = image.copy()
    ny, nx = image.shape
    rng = np.random.default_rng(seed)
    for x, y, r in patches:
        reach = int(np.ceil(r)) + 3
        y0, x0 = max(int(y) - reach, 0), max(int(x) - reach, 0)
        part = cleaned[y0 : min(int(y) + reach + 1, ny), x0 : min(int(x) + reach + 1, nx)]
        yy, xx = np.mgrid[: part.shape[0], : part.shape[1]]
        distance = np.hypot(yy + y0 - y, xx + x0 - x)
        inner, ring = distance <= r, (distance > r + 0.5) & (distance <= r + 3)
        plane = np.stack([np.ones_like(xx), xx, yy], -1).astype(np.float64)
        fit = np.linalg.lstsq(plane[ring], part[ring].astype(np.float64), rcond=None)[0]
        noise = part[ring] - plane[ring] @ fit
        value = plane[inner] @ fit + rng.choice(noise, int(inner.sum()))
        if image.dtype.kind in "iu":
            limits = np.iinfo(image.dtype)
            value = np.clip(np.rint(value), limits.min, limits.max)
        part[inner] = value.astype(image.dtype)
    return cleaned


def erase_stack(
    stack: npt.NDArray[Any],
    criteria: SpikeCriteria = USUAL,
    *,
    out: npt.NDArray[Any],
    monitor: Monitor = SILENT,
) -> list[ErasedPatch]:
    """Erase the spikes of all views, two at a time, view by view from ``stack`` into ``out``.

    Views with pixels that are not numbers are copied as they are.

    Parameters
    ----------
    stack : (n_views, ny, nx)
        Anything that gives a view when indexed.
    criteria : SpikeCriteria
    out : (n_views, ny, nx)
        Of the same shape and type; may be memory-mapped.

    Returns
    -------
    list of ErasedPatch, view by view

    Raises
    ------
    InputError
        When ``out`` does not fit.
    """
    if stack.shape != out.shape or stack.dtype.newbyteorder("=") != out.dtype:
        raise InputError(f"{out.dtype} {out.shape} cannot take a stack of {stack.dtype} "
                         f"{stack.shape}")  # fmt: skip

    def one(v: int) -> list[Patch]:
        out[v], patches = erase_spikes(np.asarray(stack[v]), criteria)
        return patches

    found: list[list[Patch]] = []
    with ThreadPoolExecutor(2) as pool:
        # A few at a time, so that cancelling does not wait for all of them.
        for first in range(0, len(stack), 4):
            monitor.step(first, len(stack), "erasing spikes")
            found += pool.map(one, range(first, min(first + 4, len(stack))))
    return [ErasedPatch(v, *patch) for v, some in enumerate(found) for patch in some]
