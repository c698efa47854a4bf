"""X-ray spikes and dead pixels: found by their steepness, replaced from their surroundings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tiltwright.engine.errors import InputError
from tiltwright.engine.stack.binning import bin_view

Patch = tuple[float, float, float]


def _local_sd(centred: npt.NDArray[np.float32], cell: int) -> npt.NDArray[np.float32]:
    """Robust local deviation, from the median of cell-wise deviations around each pixel."""
    power = bin_view(np.abs(centred), cell, antialias=False)
    small = 1.2533 * ndimage.median_filter(power, 5, mode="nearest")
    floor = max(0.3 * float(np.median(small)), 1e-12)
    ny, nx = centred.shape
    rows = np.minimum(np.arange(ny) // cell, small.shape[0] - 1)
    cols = np.minimum(np.arange(nx) // cell, small.shape[1] - 1)
    out: npt.NDArray[np.float32] = np.maximum(small, floor)[np.ix_(rows, cols)].astype(np.float32)
    return out


def find_spikes(
    image: npt.NDArray[Any],
    peak_sd: float = 8.0,
    difference_sd: float = 6.0,
    radius_px: float = 4.2,
    big_difference_sd: float = 19.0,
    giant_sd: float = 12.0,
    grow_px: float = 4.0,
    edge_exclusion_px: int = 4,
) -> list[Patch]:
    """Find the spikes of a view; gold beads, dark or light, are left alone.

    A spike rises by many local deviations from one pixel to the next but one, both ways or
    all round, and is small; a bead's edge is spread over its own width.

    Parameters
    ----------
    image : (ny, nx)
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
    a = image.astype(np.float32)
    if min(a.shape) < 16 or not np.isfinite(a).all():
        return []
    centred = a - np.float32(np.median(a))
    background = ndimage.uniform_filter(centred, 31, mode="nearest")
    residual = centred - background
    sd = _local_sd(residual, 16)
    e = max(edge_exclusion_px, 2)
    high = np.abs(residual) > peak_sd * sd
    high[:e] = high[-e:] = False
    high[:, :e] = high[:, -e:] = False
    labels, _ = ndimage.label(high, np.ones((3, 3)))
    patches: list[Patch] = []
    for k, box in enumerate(ndimage.find_objects(labels)):
        assert box is not None
        inside = labels[box] == k + 1
        area = int(inside.sum())
        radius = float(np.sqrt(area / np.pi))
        if radius > radius_px + grow_px:
            continue
        values = np.where(inside, np.abs(residual[box]), -1)
        dy, dx = np.unravel_index(int(values.argmax()), values.shape)
        y, x = box[0].start + int(dy), box[1].start + int(dx)
        s = float(sd[y, x])
        sign = np.sign(residual[y, x])
        here = a[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] * sign
        ring = np.ones(here.shape, bool)
        ring[1:-1, 1:-1] = False
        drop = (float(a[y, x] * sign) - float(np.median(here[ring]))) / s
        height = float(values.max()) / s
        # A bead of many deviations falls steeply too, but by a part of its height only.
        steep = drop > difference_sd and drop > 0.7 * height
        if (steep and radius <= radius_px) or (
            drop > big_difference_sd and height > giant_sd and drop > 0.5 * height
        ):
            patches.append((float(x), float(y), max(radius, 0.6) + 0.9))
    return patches


def erase_spikes(
    image: npt.NDArray[Any],
    peak_sd: float = 8.0,
    difference_sd: float = 6.0,
    radius_px: float = 4.2,
    big_difference_sd: float = 19.0,
    giant_sd: float = 12.0,
    grow_px: float = 4.0,
    edge_exclusion_px: int = 4,
) -> tuple[npt.NDArray[Any], list[Patch]]:
    """Replace spikes by a plane through the pixels around each, plus their noise.

    Parameters are those of :func:`find_spikes`.

    Returns
    -------
    cleaned : (ny, nx) of the input's type
    patches : list of (x, y, radius)

    Raises
    ------
    InputError
        When the image is not two-dimensional.
    """
    patches = find_spikes(
        image, peak_sd, difference_sd, radius_px, big_difference_sd, giant_sd, grow_px,
        edge_exclusion_px,
    )  # fmt: skip
    cleaned = image.copy()
    ny, nx = image.shape
    rng = np.random.default_rng(0)
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
    return cleaned, patches
