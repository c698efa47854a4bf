"""Weighted back-projection of a tilt series to a tomogram file, slab by slab."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import get_num_threads, njit, prange

from tiltwright.engine.conventions import aligned_size
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.interpolate import warp_view
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.recon.backproject import BLOCK, backproject, fixed_point
from tiltwright.engine.recon.filters import angular_weights, filter_rows

Float32s = npt.NDArray[np.float32]

ROWS_IN_MEMORY = 1_200_000_000
"""Bytes of filtered views above which they are kept in a temporary file."""
_SLAB = 16
_SAMPLES = 7
_INT16_USED = 20000.0
_INT16_MAX = 32767.0


@dataclass(frozen=True)
class Reconstruction:
    """What was written: ``int16 = (density - offset) * scale``; float32 has scale 1, offset 0.

    ``xy`` ``(ny, nx)``, ``xz`` ``(nz, nx)`` and ``yz`` ``(nz, ny)`` are the central slices as
    stored, float32.
    """

    path: Path
    shape: tuple[int, int, int]
    scale: float
    offset: float
    xy: Float32s
    xz: Float32s
    yz: Float32s


@njit(nogil=True, cache=True, parallel=True)
def _unblock(slab: Any, out: Any) -> None:
    """``(n_z, n_blocks, n_x, BLOCK)`` to ``(n_z, n_y, n_x)``."""
    n_z, n_blocks, n_x, block = slab.shape
    n_y = out.shape[1]
    for task in prange(n_z * n_blocks):
        z, b = task // n_blocks, task % n_blocks
        rows = min(block, n_y - b * block)
        for x0 in range(0, n_x, 16):
            x1 = min(x0 + 16, n_x)
            for k in range(rows):
                for x in range(x0, x1):
                    out[z, b * block + k, x] = slab[z, b, x, k]


@njit(nogil=True, cache=True, parallel=True)
def _unblock_int16(slab: Any, out: Any, scale: float, offset: float) -> None:
    n_z, n_blocks, n_x, block = slab.shape
    n_y = out.shape[1]
    gain, base = np.float32(scale), np.float32(offset)
    top, half = np.float32(_INT16_MAX), np.float32(32768.5)
    for task in prange(n_z * n_blocks):
        z, b = task // n_blocks, task % n_blocks
        rows = min(block, n_y - b * block)
        for x0 in range(0, n_x, 32):
            x1 = min(x0 + 32, n_x)
            for k in range(rows):
                for x in range(x0, x1):
                    value = min(max((slab[z, b, x, k] - base) * gain, -top), top)
                    out[z, b * block + k, x] = np.int16(np.int32(value + half) - 32768)


@njit(nogil=True, cache=True, fastmath=True)
def _statistics(values: Any, zero: Any) -> tuple[float, float, float, float]:
    """Minimum, maximum, sum and sum of squares, in the type of ``zero``."""
    low = high = values[0]
    total = zero
    squares = zero
    for value in values:
        low, high = min(low, value), max(high, value)
        wide = zero + value
        total += wide
        squares += wide * wide
    return float(low), float(high), float(total), float(squares)


class _Writer(MrcWriter):
    """The writer with its statistics in one pass over each section."""

    def _count(self, section: npt.NDArray[Any]) -> None:
        zero = np.int64(0) if section.dtype.kind == "i" else np.float64(0)
        low, high, total, squares = _statistics(section.reshape(-1), zero)
        self._min, self._max = min(self._min, low), max(self._max, high)
        n, mean = section.size, total / section.size
        delta, count = mean - self._mean, self._n + n
        self._m2 += max(squares - total * mean, 0.0) + delta * delta * self._n * n / count
        self._mean += delta * n / count
        self._n = count


class _Volume:
    """Filtered views and the geometry that maps voxels to them.

    An x-axis tilt ``xi`` is exact at the price of one interpolation along y: with the views
    sheared by ``x'' = x' - y' sin t tan xi`` and ``y'' = y' / cos xi`` (part of the transform that
    resamples them anyway), a voxel lies at ``x'' = x cos t + z sin t / cos xi`` and ``y'' = y - z
    tan xi``: back-projected as if untilted, each section is then moved along y.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        tilt_deg: Floats,
        shift: tuple[float, float],
        x_tilt_deg: float,
        super_sampling: int,
        scratch: Path,
    ) -> None:
        nz, ny, nx = self.shape = shape
        t, xi = np.deg2rad(tilt_deg), math.radians(x_tilt_deg)
        x = np.arange(nx) - (nx - 1) / 2 - shift[0]
        z = np.arange(nz) - (nz - 1) / 2 - shift[1]
        self.shear = np.zeros((len(t), 2, 2))
        self.shear[:, 0, 0] = 1
        self.shear[:, 0, 1] = -np.sin(t) * math.tan(xi)
        self.shear[:, 1, 1] = 1 / math.cos(xi)
        self.y_shift = -z * math.tan(xi)
        self.margin = math.ceil(np.abs(self.y_shift).max()) + 2 if xi else 0
        along_x = x[:, None] * np.cos(t)
        along_z = z[:, None] * np.sin(t) / math.cos(xi)
        reach = (np.abs(along_x).max(0) + np.abs(along_z).max(0)).max()
        self.n_columns = 2 * math.ceil(reach) + 4
        self.n_lines = ny + 2 * self.margin
        n_rows = self.n_columns * super_sampling
        if n_rows >= 32768:
            raise InputError(f"reconstruction: {n_rows} samples across a view; at most 32767")
        middle = super_sampling * (self.n_columns - 1) / 2
        self.at_x = fixed_point(super_sampling * along_x + middle)
        self.at_z = fixed_point(super_sampling * along_z)
        self.n_blocks = -(-self.n_lines // BLOCK)
        rows = (self.n_blocks, len(t), n_rows, BLOCK)
        self.rows: Float32s
        if 4 * math.prod(rows) > ROWS_IN_MEMORY:
            try:
                with tempfile.TemporaryFile(dir=scratch) as file:
                    os.posix_fallocate(file.fileno(), 0, 4 * math.prod(rows))
                    self.rows = np.memmap(file, np.float32, "r+", shape=rows)
            except OSError as exc:
                raise InputError(
                    f"{scratch}: no space for {4 * math.prod(rows) / 2**30:.1f} GiB of filtered "
                    f"views ({exc.strerror}); lower the super-sampling or bin the stack"
                ) from exc
        else:
            self.rows = np.empty(rows, np.float32)

    def put(self, v: int, b: int, filtered: Float32s) -> None:
        """Store block ``b`` of the filtered view, ``(n_rows, n_lines of the block)``."""
        self.rows[b, v, :, : filtered.shape[1]] = filtered
        self.rows[b, v, :, filtered.shape[1] :] = 0

    def sections(
        self, z: npt.NDArray[np.intp], slab: Float32s, scaling: tuple[float, float] | None
    ) -> npt.NDArray[Any]:
        """Sections ``z``, ``(len(z), ny, nx)``; int16 when ``scaling`` is (scale, offset)."""
        _, ny, nx = self.shape
        slab = slab[: len(z)]
        backproject(self.rows, self.at_x, np.ascontiguousarray(self.at_z[z]), slab)
        if scaling is not None and not self.margin:
            short = np.empty((len(z), ny, nx), np.int16)
            _unblock_int16(slab, short, *scaling)
            return short
        out: npt.NDArray[Any] = np.empty((len(z), self.n_lines, nx), np.float32)
        _unblock(slab, out)
        if self.margin:
            out = np.stack([self._moved(o, self.y_shift[k]) for o, k in zip(out, z, strict=True)])
        if scaling is None:
            return out
        scaled = np.rint((out - np.float32(scaling[1])) * np.float32(scaling[0]))
        clipped: npt.NDArray[Any] = np.clip(scaled, -_INT16_MAX, _INT16_MAX).astype(np.int16)
        return clipped

    def _moved(self, section: Float32s, shift: float) -> Float32s:
        ny = self.shape[1]
        whole = math.floor(shift)
        u, first = shift - whole, self.margin + whole - 1
        p = 1 - u
        weights = (
            -0.5 * u * p * p,
            1 + 0.5 * u * u * (3 * u - 5),
            1 + 0.5 * p * p * (3 * p - 5),
            -0.5 * p * u * u,
        )
        total = np.zeros((ny, section.shape[1]), np.float32)
        for k, w in enumerate(weights):
            total += np.float32(w) * section[first + k : first + k + ny]
        return total


def _fill_rows(
    volume: _Volume,
    stack: npt.NDArray[Any],
    xf: Floats,
    views: npt.NDArray[np.intp],
    weights: Floats,
    radial: tuple[float, float],
    super_sampling: int,
    progress: tuple[Monitor, int],
) -> None:
    shape = volume.n_lines, volume.n_columns

    def prepare(k: int) -> None:
        v = views[k]
        aligned = warp_view(stack[v], volume.shear[k] @ xf[v], shape, transposed=True)
        for b in range(volume.n_blocks):
            filtered = filter_rows(
                aligned[:, b * BLOCK : (b + 1) * BLOCK],
                weights[k],
                cutoff=radial[0],
                falloff=radial[1],
                super_sampling=super_sampling,
            )
            volume.put(k, b, filtered)

    threads, (monitor, total) = get_num_threads(), progress
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(views), threads):
            monitor.step(first, total, "filtering")
            for _ in pool.map(prepare, range(first, min(first + threads, len(views)))):
                pass


def _slabs(nz: int) -> Iterator[npt.NDArray[np.intp]]:
    for z in range(0, nz, _SLAB):
        yield np.arange(z, min(z + _SLAB, nz))


def _int16_scaling(volume: _Volume, slab: Float32s, monitor: Monitor) -> tuple[float, float]:
    """Scale and offset from sections spread over the volume: their mean becomes 0."""
    monitor.check()
    depth = np.linspace(0.05, 0.95, _SAMPLES) * (volume.shape[0] - 1)
    sample = volume.sections(np.unique(depth.round().astype(np.intp)), slab, None)
    offset = float(np.float32(sample.mean(dtype=np.float64)))
    low, high = float(sample.min()), float(sample.max())
    largest = max(high - offset, offset - low)
    return float(np.float32(_INT16_USED / largest)) if largest > 0 else 1.0, offset


def reconstruct_series(
    stack: npt.NDArray[Any],
    xf: Floats,
    tilt_deg: npt.ArrayLike,
    *,
    thickness: int,
    axis_deg: float,
    path: str | os.PathLike[str],
    pixel_size_a: float,
    width: int = 0,
    shift_x: float = 0.0,
    shift_z: float = 0.0,
    angle_offset_deg: float = 0.0,
    x_tilt_deg: float = 0.0,
    radial_cutoff: float = 0.35,
    radial_falloff: float = 0.035,
    super_sampling: int = 2,
    used_views: npt.NDArray[np.bool_] | None = None,
    dtype: str = "int16",
    monitor: Monitor = SILENT,
) -> Reconstruction:
    """Reconstruct a tomogram by weighted back-projection (doi:10.1007/978-0-387-69008-7_9).

    Densities are per voxel in units of the stack, dark where the views are dark. Bounded memory:
    the filtered views (in a temporary file beside ``path`` when large) and a few sections.

    Parameters
    ----------
    stack : (n_views, ny, nx)
        Raw views; anything that gives a view when indexed.
    xf : (n_views, 2, 3)
        Raw to aligned positions about the centres, pixels of ``stack``.
    tilt_deg : (n_views,)
        Degrees.
    thickness, width : int
        Voxels along z and x; width 0 is that of the aligned stack.
    axis_deg : float
        Tilt axis angle; decides whether x and y are swapped.
    path : path
        MRC file to write, sections along z.
    pixel_size_a : float
        Angstrom.
    shift_x, shift_z : float
        Moves the specimen in the tomogram, voxels.
    angle_offset_deg : float
        Added to all tilt angles.
    x_tilt_deg : float
        X-axis tilt of the specimen (see ``engine/conventions.py``).
    radial_cutoff, radial_falloff : float
        Cycles/pixel, see :func:`~tiltwright.engine.recon.filters.radial_filter`.
    super_sampling : int
        Samples per pixel of the filtered views.
    used_views : (n_views,) bool, optional
    dtype : "int16" or "float32"
        int16 is scaled by sections sampled first; scale and offset go into a label.
    monitor : Monitor

    Returns
    -------
    Reconstruction

    Raises
    ------
    InputError
        Shapes or values make no sense, or the file cannot be written.
    """
    n_views, ny_raw, nx_raw = stack.shape
    tilt = np.asarray(tilt_deg, np.float64)
    used = np.ones(n_views, bool) if used_views is None else np.asarray(used_views, bool)
    if xf.shape != (n_views, 2, 3) or tilt.shape != (n_views,) or used.shape != (n_views,):
        raise InputError(
            f"reconstruction: {len(xf)} transforms, {tilt.size} tilt angles and {used.size} "
            f"marks for {n_views} views"
        )
    views = np.flatnonzero(used)
    if len(views) == 0:
        raise InputError("reconstruction: no view is used")
    if dtype not in ("int16", "float32"):
        raise InputError(f"reconstruction: output type {dtype} is not int16 or float32")
    if thickness < 1 or width < 0 or super_sampling < 1:
        raise InputError(
            f"reconstruction: thickness {thickness}, width {width} or super-sampling "
            f"{super_sampling} is impossible"
        )
    angles = tilt[views] + angle_offset_deg
    if not (np.isfinite(angles).all() and np.isfinite(xf[views]).all()):
        raise InputError("reconstruction: a tilt angle or a transform is not finite")
    if not abs(x_tilt_deg) < 60 or not np.isfinite([shift_x, shift_z]).all():
        raise InputError(f"reconstruction: x-axis tilt {x_tilt_deg} must be below 60 degrees")
    nx, ny = aligned_size(nx_raw, ny_raw, axis_deg)
    nx = width or nx
    shape = (thickness, ny, nx)
    total = len(views) + thickness
    where = Path(path)
    volume = _Volume(shape, angles, (shift_x, shift_z), x_tilt_deg, super_sampling, where.parent)
    radial = (radial_cutoff, radial_falloff)
    weights = angular_weights(angles)
    _fill_rows(volume, stack, xf, views, weights, radial, super_sampling, (monitor, total))
    slab = np.empty((_SLAB, volume.n_blocks, nx, BLOCK), np.float32)
    scaling = _int16_scaling(volume, slab, monitor) if dtype == "int16" else None
    scale, offset = scaling or (1.0, 0.0)
    labels = ["Tiltwright: weighted back-projection, sections along z"]
    if scaling:
        labels.append(f"int16 = (density - {offset:.8g}) * {scale:.8g}")
    xy, xz, yz = (np.empty(s, np.float32) for s in ((ny, nx), (thickness, nx), (thickness, ny)))
    with _Writer(where, shape, np.dtype(dtype), pixel_size_a, labels=labels) as writer:
        for z in _slabs(thickness):
            monitor.step(len(views) + int(z[0]), total, "back-projection")
            sections = volume.sections(z, slab, scaling)
            writer.write(int(z[0]), sections)
            xz[z], yz[z] = sections[:, ny // 2], sections[:, :, nx // 2]
            if thickness // 2 in z:
                xy[:] = sections[thickness // 2 - z[0]]
        monitor.step(total, total, "back-projection")
    return Reconstruction(where, shape, scale, offset, xy, xz, yz)
