"""Power spectra of a tilted view: tiles of nearly equal defocus, averaged in sectors and rings."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from tiltwright.engine.errors import DataError, InputError

Floats = npt.NDArray[np.float64]
_OUTLIER = 1.6
_N_SECTORS = 12
_N_TERMS = 6
_LEAST_RINGS = 20


@dataclass(frozen=True)
class ViewSpectra:
    """Flattened spectra of a view.

    Attributes
    ----------
    ratio : (n_groups, n_sectors, n_rings) float64
        Power divided by its smooth background, minus 1.
    weight : (n_groups, n_sectors, n_rings) float64
        Independent pixels of the Fourier transforms behind each value.
    s2 : (n_sectors, n_rings) float64
        Squared frequency, 1/angstrom squared, at the centroid of the bin.
    theta : (n_sectors,) float64
        Direction of the middle of each sector, radians.
    offset_a : (n_groups,) float64
        Defocus of each group minus that of the specimen's origin for ``hand = 1``.
    background : (n_rings,) float64
        Smooth background in units of the mean power in the band.
    """

    ratio: Floats
    weight: Floats
    s2: Floats
    theta: Floats
    offset_a: Floats
    background: Floats

    @property
    def frequency(self) -> Floats:
        """Frequency of each ring, 1/angstrom, ``(n_rings,)``."""
        out: Floats = np.sqrt(self.s2.mean(0))
        return out


@dataclass(frozen=True)
class Bins:
    """Which pixel of a tile's half spectrum falls into which sector and ring."""

    index: npt.NDArray[np.int64]
    n: int
    count: Floats
    s2: Floats
    theta: Floats


@lru_cache(maxsize=8)
def ring_bins(tile: int, pixel_size_a: float, low_a: float, high_a: float) -> Bins:
    """Bins one Fourier pixel wide between the periods ``low_a`` and ``high_a``, angstrom.

    Raises
    ------
    InputError
        The range has too few rings for a fit.
    """
    first, last = tile * pixel_size_a / low_a, tile * pixel_size_a / high_a
    last = min(last, 0.49 * tile)
    n_rings = int(last - first)
    if n_rings < _LEAST_RINGS:
        raise InputError(
            f"CTF: {low_a:g} to {high_a:g} Å are {max(n_rings, 0)} rings of a tile of {tile} "
            f"pixels at {pixel_size_a:g} Å/px (at least {_LEAST_RINGS}): widen the fit range, take "
            "larger tiles, or a stack that is binned less"
        )
    ky = fft.fftfreq(tile, 1 / tile)[:, None]
    kx = np.arange(tile // 2 + 1)[None]
    k = np.hypot(ky, kx)
    ring = np.floor(k - first).astype(np.int64)
    angle = np.arctan2(ky, np.maximum(kx, 0)) + 0 * k
    sector = np.floor((angle + math.pi / 2) / math.pi * _N_SECTORS).astype(np.int64) % _N_SECTORS
    inside = (ring >= 0) & (ring < n_rings)
    # The column of zero frequency in x holds every pair twice.
    inside &= (kx > 0) | (ky > 0)
    flat = np.where(inside, sector * n_rings + ring, _N_SECTORS * n_rings).ravel()
    n = _N_SECTORS * n_rings
    count = np.bincount(flat, minlength=n + 1)[:n].astype(np.float64)
    squares = np.bincount(flat, (k**2).ravel(), n + 1)[:n]
    middle = np.tile(first + np.arange(n_rings) + 0.5, _N_SECTORS) ** 2
    k2 = np.where(count > 0, squares / np.maximum(count, 1), middle)
    s2 = k2.reshape(_N_SECTORS, n_rings) / (tile * pixel_size_a) ** 2
    theta = ((np.arange(_N_SECTORS) + 0.5) / _N_SECTORS - 0.5) * math.pi
    return Bins(flat, n, count.reshape(_N_SECTORS, n_rings), s2, theta)


def tile_corners(n: int, tile: int) -> npt.NDArray[np.int64]:
    """First pixels of tiles that cover ``n`` pixels and overlap by about a half."""
    count = max(1, round((n - tile) / (tile / 2)) + 1)
    return np.rint(np.linspace(0, n - tile, count)).astype(np.int64)


def view_spectra(
    image: npt.NDArray[Any],
    pixel_size_a: float,
    slope_a: npt.ArrayLike,
    centre_xy: npt.ArrayLike,
    *,
    tile: int,
    band_a: tuple[float, float],
    group_a: float,
) -> ViewSpectra:
    """Spectra of one view.

    Parameters
    ----------
    image : (ny, nx)
    pixel_size_a : float
        Angstrom.
    slope_a : (x, y)
        Change of defocus per pixel of this image, angstrom, for ``hand = 1``.
    centre_xy : (x, y)
        Index position in this image of the specimen's origin.
    tile : int
        Side of the tiles, pixels.
    band_a : (longest, shortest) period, angstrom
    group_a : float
        Tiles whose defocus differs by less are averaged, angstrom.

    Raises
    ------
    InputError
        The image is smaller than a tile, or the band too narrow.
    DataError
        Nothing but blank tiles.
    """
    bins = ring_bins(tile, pixel_size_a, *band_a)
    tiles = tile_spectra(image, bins, slope_a, centre_xy, tile=tile)
    return grouped_spectra(tiles, bins, group_a)


@dataclass(frozen=True)
class Tiles:
    """Spectra of the tiles of a view, each divided by its mean power in the band.

    Attributes
    ----------
    power : (n_tiles, n_bins) float64
        Sums over the bins.
    offset_a : (n_tiles,) float64
        Defocus minus that of the specimen's origin for ``hand = 1``.
    planes : list of (2 reach + 1, reach + 1) float32
        Half transforms about zero frequency, ``[reach + ky, kx]``; empty unless asked for.
    """

    power: Floats
    offset_a: Floats
    planes: list[npt.NDArray[np.float32]]


def tile_spectra(
    image: npt.NDArray[Any],
    bins: Bins,
    slope_a: npt.ArrayLike,
    centre_xy: npt.ArrayLike,
    *,
    tile: int,
    reach: int = 0,
    threads: int = 1,
) -> Tiles:
    """Spectra of the tiles of a view, without those of another brightness than most.

    Parameters
    ----------
    reach : int
        Fourier pixels up to which the planes are kept; 0 keeps none.
    threads : int

    Others, errors raised: as of :func:`view_spectra`.
    """
    ny, nx = image.shape
    if min(ny, nx) < tile:
        raise InputError(f"CTF: tiles of {tile} pixels are larger than the {nx} x {ny} image")
    window = np.sin(math.pi * (np.arange(tile, dtype=np.float32) + 0.5) / tile) ** 2
    window = window[:, None] * window
    slope, centre = np.asarray(slope_a, np.float64), np.asarray(centre_xy, np.float64)

    def one(corner: tuple[int, int]) -> tuple[Floats, float, float, Any] | None:
        x, y = corner
        part = np.asarray(image[y : y + tile, x : x + tile], np.float32)
        part = (part - part.mean()) * window
        if not np.isfinite(part).all() or not part.any():
            return None
        half = fft.rfft2(part)
        power = half.real**2 + half.imag**2
        binned = np.bincount(bins.index, power.ravel(), bins.n + 1)[: bins.n]
        level = binned.sum() / bins.count.sum()
        offset = float(slope @ (np.array([x, y]) + (tile - 1) / 2 - centre))
        plane = None
        if reach:
            plane = np.concatenate([power[-reach:], power[: reach + 1]])[:, : reach + 1]
            plane = plane / np.float32(level)
        return binned / level, math.log(level), offset, plane

    corners = [(x, y) for y in tile_corners(ny, tile) for x in tile_corners(nx, tile)]
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            made = list(pool.map(one, corners))
    else:
        made = [one(corner) for corner in corners]
    there = [m for m in made if m is not None]
    if not there:
        raise DataError("CTF: the view is blank")
    levels = np.array([m[1] for m in there])
    good = np.flatnonzero(np.abs(levels - np.median(levels)) < _OUTLIER)
    return Tiles(
        np.array([there[i][0] for i in good]), np.array([there[i][2] for i in good]),
        [there[i][3] for i in good] if reach else [],
    )  # fmt: skip


def defocus_groups(offset_a: Floats, group_a: float) -> tuple[npt.NDArray[np.int64], Floats]:
    """Group of each tile, so that the defocus differs by less than ``group_a``; their means."""
    low = offset_a.min()
    n_groups = max(1, math.ceil((offset_a.max() - low) / max(group_a, 1e-3)))
    width = max((offset_a.max() - low) / n_groups, 1e-9)
    group = np.minimum(((offset_a - low) / width).astype(np.int64), n_groups - 1)
    _, group = np.unique(group, return_inverse=True)
    mean: Floats = np.bincount(group, offset_a) / np.bincount(group)
    return group, mean


def grouped_spectra(tiles: Tiles, bins: Bins, group_a: float) -> ViewSpectra:
    """Average tiles of nearly equal defocus, and divide by the common background."""
    group, mean = defocus_groups(tiles.offset_a, group_a)
    n_sectors, n_rings = bins.s2.shape
    total = np.zeros((len(mean), bins.n))
    np.add.at(total, group, tiles.power)
    number = np.bincount(group).astype(np.float64)
    count = np.maximum(bins.count, 1e-9)
    power = (total / number[:, None]).reshape(-1, n_sectors, n_rings) / count
    # Half overlapping Hann windows: a tile brings little more than half of what it would alone.
    weight = number[:, None, None] * bins.count * 0.5
    rings = (power * weight).sum((0, 1)) / np.maximum(weight.sum((0, 1)), 1e-9)
    background = smooth_background(np.sqrt(bins.s2.mean(0)), rings, weight.sum((0, 1)))
    ratio = np.where(bins.count > 0, power / background - 1, 0.0)
    return ViewSpectra(ratio, weight, bins.s2, bins.theta, mean, background)


def smooth_background(s: Floats, power: Floats, weight: Floats) -> Floats:
    """A smooth curve through a radial spectrum: a polynomial of its logarithm in ``s``."""
    x = 2 * (s - s[0]) / (s[-1] - s[0]) - 1
    log = np.log(np.maximum(power, 1e-12 * power.max()))
    basis = np.polynomial.chebyshev.chebvander(x, _N_TERMS - 1)
    root = np.sqrt(weight)
    terms = np.linalg.lstsq(basis * root[:, None], log * root, rcond=None)[0]
    out: Floats = np.exp(basis @ terms)
    return out
