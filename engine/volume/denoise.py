"""Denoising of a tomogram: diffusion, Beltrami flow, Gaussian, median, band-pass.

Diffusion and flow are explicit schemes on two float32 volumes in turn, tile by tile; what is
larger than memory allows lies in a scratch file. The other filters work on slabs of sections.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.io.atomic import file_error
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.stack.densities import store_as
from tiltwright.engine.volume.beltrami import flow_tile
from tiltwright.engine.volume.diffusion import MAX_HALO, TILE_X, TILE_Y, diffuse_tile

Volume = npt.NDArray[np.float32]
Method = Literal["eed", "beltrami", "gaussian", "median", "band-pass"]

MEMORY_BYTES = 2_600_000_000
"""Two volumes up to this size together are kept in memory."""
_SLAB = 16
_CUBE, _CUBES = 24, 4
_HALF_AT = math.sqrt(math.log(2) / 2) / math.pi
"""Sigma times frequency of a Gaussian filter where its response is one half."""


@dataclass(frozen=True)
class Denoising:
    """What is done to a volume.

    Attributes
    ----------
    method : str
    iterations, step : int, float
        Of diffusion and flow; ``step`` is at most 1/6.
    sigma : float
        Voxels: of the Gaussian, or of the smoothing before the gradient in ``eed``.
    lam : float
        Gradient per voxel that stops the diffusion; 0 is the mean gradient, found anew before
        each iteration.
    size : int
        Side of the median's cube, odd.
    low, high : float
        Spatial frequencies, cycles per voxel, at which the band-pass has half its height; 0 is
        none.
    """

    method: Method = "eed"
    iterations: int = 10
    step: float = 0.1
    sigma: float = 0.5
    lam: float = 0.0
    size: int = 3
    low: float = 0.0
    high: float = 0.0

    def check(self) -> None:
        """Raise :class:`InputError` naming the first impossible value."""
        for name, least, most in (
            ("iterations", 1, 10000), ("step", 1e-6, 1 / 6), ("sigma", 0, 50), ("lam", 0, 1e30),
            ("size", 1, 15), ("low", 0, 0.5), ("high", 0, 0.5),
        ):  # fmt: skip
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(f"denoise: {name} {value:g} is not within {least:g} to {most:g}")
        if self.method == "eed" and len(gradient_taps(self.sigma)) > MAX_HALO - 2:
            raise InputError(f"denoise: sigma {self.sigma:g} before a gradient is at most 2.7")
        if self.method == "median" and self.size % 2 == 0:
            raise InputError(f"denoise: the median needs an odd size, not {self.size}")
        if self.method == "band-pass" and not (self.low or self.high):
            raise InputError("denoise: a band-pass needs a lower or an upper limit")
        if self.low and self.high and self.low >= self.high:
            raise InputError("denoise: the band-pass's limits enclose nothing")


def gradient_taps(sigma: float) -> Volume:
    """Middle weight and those to one side of a sampled Gaussian of ``sigma`` voxels."""
    n = max(1, int(2 * sigma + 0.5)) if sigma > 0 else 0
    one = np.exp(-0.5 * (np.arange(n + 1) / max(sigma, 1e-9)) ** 2)
    return np.asarray(one / (one[0] + 2 * one[1:].sum()), np.float32)


def gradient_cubes(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Where the mean gradient of a volume ``(nz, ny, nx)`` is measured: cubes spread over it."""
    starts = [
        np.unique(np.linspace(0, max(n - _CUBE, 0), _CUBES).round().astype(int)) for n in shape
    ]
    for first in np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 3).tolist():
        yield tuple(slice(a, a + _CUBE) for a in first)


def mean_gradient(volume: Volume, sigma: float) -> float:
    """Mean magnitude of the gradient of the smoothed volume, from cubes spread over it.

    Raises
    ------
    DataError
        The volume is constant.
    """
    return mean_gradient_of((volume[cube] for cube in gradient_cubes(volume.shape)), sigma)


def mean_gradient_of(cubes: Iterable[npt.NDArray[Any]], sigma: float) -> float:
    """The same of the cubes alone; raises :class:`DataError`."""
    from scipy.ndimage import correlate1d

    taps = gradient_taps(sigma).astype(np.float64)
    kernel = np.concatenate([taps[:0:-1], taps])
    total = count = 0.0
    for part in cubes:
        cube = np.asarray(part, np.float64)
        for axis in range(3):
            cube = correlate1d(cube, kernel, axis, mode="nearest")
        square = sum(np.gradient(cube, axis=a) ** 2 for a in range(3) if cube.shape[a] > 1)
        total += float(np.sqrt(square).sum())
        count += cube.size
    if not total > 0:
        raise DataError("denoise: the volume is constant, at least where its gradient is measured")
    return total / count


def denoise_slab(
    volume: npt.NDArray[Any], how: Denoising, monitor: Monitor = SILENT, threads: int = 1
) -> Volume:
    """Filter a volume ``(nz, ny, nx)`` in memory; the preview of a slab is nothing else.

    Raises
    ------
    InputError
        Impossible values of ``how``, or voxels that are not finite.
    DataError
        The volume is constant.
    Cancelled
    """
    blocks = [block.copy() for _, block in _filtered(volume, how, None, monitor, threads)]
    return np.concatenate(blocks)


def denoise_volume(
    data: Any,
    how: Denoising,
    path: Path,
    pixel_size_a: float,
    *,
    dtype: npt.DTypeLike = np.float32,
    labels: tuple[str, ...] = (),
    monitor: Monitor = SILENT,
    threads: int = 2,
) -> None:
    """Filter a volume into an MRC file.

    Parameters
    ----------
    data : (nz, ny, nx)
        Memory-mapped or not, of any real type.
    dtype
        Of the file; integers are rounded and clipped.
    monitor, threads
        Cancelling is heard within a few tenths of a second.

    Raises
    ------
    InputError
        Impossible values, voxels that are not finite, or the file cannot be written.
    DataError
        The volume is constant.
    Cancelled
    """
    nz, ny, nx = data.shape
    with MrcWriter(path, (nz, ny, nx), dtype, pixel_size_a, labels=list(labels)) as writer:
        for z, block in _filtered(data, how, path.parent, monitor, threads):
            writer.write(z, store_as(block, dtype))


def _filtered(
    data: Any, how: Denoising, scratch: Path | None, monitor: Monitor, threads: int
) -> Iterator[tuple[int, Volume]]:
    """First section and float32 sections of the result, in order."""
    how.check()
    if data.ndim != 3 or 0 in data.shape:
        raise InputError(f"denoise: want a volume (nz, ny, nx), not one of shape {data.shape}")
    if how.method in ("eed", "beltrami"):
        return _evolved(data, how, scratch, monitor, threads)
    return _by_slabs(data, how, monitor, threads)


def finite(block: npt.NDArray[Any], z: int) -> Volume:
    out = np.asarray(block, np.float32)
    # a sum is finite only if all its terms are, and costs no mask
    if not math.isfinite(float(out.sum(dtype=np.float64))):
        raise InputError(f"denoise: voxels in sections {z + 1} to {z + len(out)} are not finite")
    return out


def _room(shape: tuple[int, ...], scratch: Path | None) -> Volume:
    """A volume in memory, or in a nameless scratch file when two of them are too large."""
    size = 4 * math.prod(shape)
    if scratch is None or 2 * size <= MEMORY_BYTES:
        return np.empty(shape, np.float32)
    try:
        with tempfile.TemporaryFile(dir=scratch) as file:
            file.truncate(size)
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as exc:
        raise file_error(scratch, exc) from exc


def _evolved(
    data: Any, how: Denoising, scratch: Path | None, monitor: Monitor, threads: int
) -> Iterator[tuple[int, Volume]]:
    nz, ny, nx = data.shape
    now, then = _room(data.shape, scratch), _room(data.shape, scratch)
    for z in range(0, nz, _SLAB):
        monitor.check()
        now[z : z + _SLAB] = finite(data[z : z + _SLAB], z)
    tiles = [(y, x) for y in range(0, ny, TILE_Y) for x in range(0, nx, TILE_X)]
    sigma = how.sigma if how.method == "eed" else 0.0
    taps, total = gradient_taps(sigma), how.iterations * len(tiles)
    with ThreadPoolExecutor(threads) as pool:
        for k in range(how.iterations):
            lam = how.lam or mean_gradient(now, sigma)

            def one(
                tile: tuple[int, int], now: Volume = now, then: Volume = then, lam: float = lam
            ) -> None:
                monitor.check()
                if how.method == "eed":
                    diffuse_tile(now, then, *tile, taps, lam, how.step)
                else:
                    flow_tile(now, then, *tile, lam, how.step)

            for i, _ in enumerate(pool.map(one, tiles), k * len(tiles) + 1):
                monitor.step(i, total, f"iteration {k + 1} of {how.iterations}")
            now, then = then, now
    del then
    for z in range(0, nz, _SLAB):
        yield z, now[z : z + _SLAB]


def _by_slabs(
    data: Any, how: Denoising, monitor: Monitor, threads: int
) -> Iterator[tuple[int, Volume]]:
    work, halo = local_filter(how)
    nz = data.shape[0]
    depth = max(_SLAB, halo)

    def one(z: int) -> Volume:
        monitor.check()
        first, last = max(z - halo, 0), min(z + depth + halo, nz)
        slab = finite(data[first:last], first)
        return work(slab)[z - first : min(z + depth, nz) - first]

    with ThreadPoolExecutor(threads) as pool:
        starts = range(0, nz, depth)
        for i in range(0, len(starts), threads):
            monitor.step(starts[i], nz, how.method)
            some = starts[i : i + threads]
            yield from zip(some, pool.map(one, some), strict=True)
        monitor.step(nz, nz, how.method)


def local_filter(how: Denoising) -> tuple[Callable[[Volume], Volume], int]:
    """A filter of a slab, and how many sections beside it matter."""
    from scipy.ndimage import gaussian_filter, median_filter

    def gauss(slab: Volume, sigma: float) -> Volume:
        smooth: Volume = gaussian_filter(slab, sigma, mode="nearest", truncate=4.0)
        return smooth

    if how.method == "gaussian":
        return lambda slab: gauss(slab, how.sigma), math.ceil(4 * how.sigma) + 1
    if how.method == "median":
        return lambda slab: median_filter(slab, how.size, mode="nearest"), how.size // 2
    below = _HALF_AT / how.low if how.low else 0.0
    above = _HALF_AT / how.high if how.high else 0.0

    def band(slab: Volume) -> Volume:
        out = gauss(slab, above) if above else slab
        return out - gauss(slab, below) if below else out

    return band, math.ceil(4 * max(below, above)) + 1
