"""Back-projection of filtered views into sections of voxels.

The filtered views of a strip of neighbouring slices lie in blocks of ``BLOCK`` slices,
``(n_blocks, n_views, n_rows, BLOCK)`` from :func:`empty_rows`, so that the slices are the fastest
axis and every load is a whole cache line. A tile of voxel columns is summed over a few views at a
time: the rows that they need stay in the first-level cache and the sums of a column in registers,
two fused multiply-adds per vector of voxels and view. Each tile is then transposed in registers,
moved along y (an x-axis tilt), scaled, and stored as part of its sections.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tiltwright.engine.errors import InputError
from tiltwright.engine.recon.vectors import BLOCK, FRACTION_BITS, LANES, TILE, add_views, transpose

Float32s = npt.NDArray[np.float32]
Int32s = npt.NDArray[np.int32]

CHUNK_Z = 16
"""Sections that are best projected at once: their rows stay in the second-level cache."""
_TILE_Z, _VIEWS = 4, 8
_ONE = 1 << FRACTION_BITS
_INT16_MAX = 32767.0


def empty_rows(n_lines: int, n_views: int, n_rows: int) -> Float32s:
    """Room for the filtered views of ``n_lines`` slices, ``(n_blocks, n_views, n_rows, BLOCK)``.

    See :func:`empty_room`.
    """
    return empty_room((-(-n_lines // BLOCK), n_views, n_rows, BLOCK))


def empty_room(shape: tuple[int, ...]) -> Float32s:
    """Room that begins at a cache line.

    With rows across two of them, the kernel takes half as long again.
    """
    n = math.prod(shape)
    room = np.empty(n + LANES, np.float32)
    first = -room.ctypes.data // 4 % LANES
    return room[first : first + n].reshape(shape)


def fixed_point(position: npt.NDArray[np.floating[Any]]) -> Int32s:
    """Row positions as fixed-point integers, rounded to the nearest."""
    result: Int32s = np.rint(position * _ONE).astype(np.int32)
    return result


def cubic_taps(position: npt.ArrayLike) -> tuple[npt.NDArray[np.intp], Float32s]:
    """First of four neighbours and their Catmull-Rom weights, ``(n,)`` and ``(n, 4)``."""
    at = np.asarray(position, np.float64)
    whole = np.floor(at)
    u = at - whole
    p = 1 - u
    weights = (
        -0.5 * u * p * p,
        1 + 0.5 * u * u * (3 * u - 5),
        1 + 0.5 * p * p * (3 * p - 5),
        -0.5 * p * u * u,
    )
    return whole.astype(np.intp) - 1, np.stack(weights, axis=-1).astype(np.float32)


@njit(nogil=True, cache=True)
def _sum_tile(
    rows: Any, size: Any, at_x: Any, x0: int, at_z: Any, z0: int, z1: int, sums: Any
) -> None:
    """Add all views and blocks to the columns from ``x0``; ``sums`` ``(n_z, n_blocks, x, BLOCK)``.

    ``size`` is (blocks, views, floats of a view).
    """
    n_blocks, n_views, per_view = size
    n_tiles = (z1 - z0 + _TILE_Z - 1) // _TILE_Z
    for part in range(n_blocks * (TILE // LANES) * n_tiles):
        z_first = z0 + part % n_tiles * _TILE_Z
        x_first = part // n_tiles % (TILE // LANES) * LANES
        block = part // n_tiles // (TILE // LANES)
        for first in range(0, n_views, _VIEWS):
            n = min(_VIEWS, n_views - first)
            start = (block * n_views + first) * per_view
            for z in range(z_first, min(z_first + _TILE_Z, z1)):
                to = ((z - z0) * n_blocks + block) * TILE * BLOCK
                at = z * n_views + first
                for x in range(x_first, x_first + LANES):
                    place = (x0 + x) * n_views + first
                    add_views(sums, to + x * BLOCK, rows, start, per_view, at_x, place, at_z, at, n)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _store(
    lines: Any, first: int, taps: Any, scaling: Any, whole: bool, out: Any, x0: int, n_x: int
) -> None:
    """Interpolate along y, scale, round if ``whole``: ``out[k, x0 + x]`` from ``lines[k, x]``."""
    scale, offset = scaling
    top, half = np.float32(_INT16_MAX), np.float32(32768.5)
    moved = taps[1] != np.float32(1.0)
    for k in range(out.shape[0]):
        for x in range(n_x):
            if moved:
                at = first + k
                value = (taps[0] * lines[at, x] + taps[1] * lines[at + 1, x]) + (
                    taps[2] * lines[at + 2, x] + taps[3] * lines[at + 3, x]
                )
            else:
                value = lines[first + k + 1, x]
            value = (value - offset) * scale
            if whole:
                value = min(max(value, -top), top)
                out[k, x0 + x] = np.int32(value + half) - 32768
            else:
                out[k, x0 + x] = value


@njit(nogil=True, cache=True)
def _project(
    rows: Any, size: Any, at_x: Any, at_z: Any, first: Any, taps: Any, scaling: Any, whole: bool,
    out: Any, sums: Any, lines: Any,
) -> None:  # fmt: skip
    n_z, _, n_x = out.shape
    n_blocks, flat = size[0], lines.reshape(-1)
    for x0 in range(0, n_x, TILE):
        for z0 in range(0, n_z, CHUNK_Z):
            z1 = min(z0 + CHUNK_Z, n_z)
            sums[:] = 0
            _sum_tile(rows, size, at_x, x0, at_z, z0, z1, sums)
            for z in range(z0, z1):
                for block in range(n_blocks):
                    at = ((z - z0) * n_blocks + block) * TILE * BLOCK
                    for x in range(0, TILE, LANES):
                        for k in range(0, BLOCK, LANES):
                            # Line 0 of ``lines`` is a spare one before the first.
                            to = (1 + block * BLOCK + k) * TILE + x
                            transpose(sums, at + x * BLOCK + k, flat, to)
                _store(
                    lines, first[z] + 1, taps[z], scaling, whole, out[z], x0, min(TILE, n_x - x0)
                )


def _moves(
    line: npt.NDArray[np.floating[Any]] | None, out: npt.NDArray[Any], n_blocks: int
) -> tuple[npt.NDArray[np.intp], Float32s]:
    """Taps of the slices that line 0 of each section comes from, checked."""
    first, taps = cubic_taps(np.zeros(len(out)) if line is None else line)
    moved = taps[:, 1] != 1
    last = first + out.shape[1] + np.where(moved, 2, 0)
    if len(first) != len(out) or (first + ~moved).min() < 0 or last.max() >= n_blocks * BLOCK:
        raise InputError(f"back-projection: {out.shape[1]} lines lie outside the strip")
    return first, taps


@njit(nogil=True, cache=True)
def _take(
    volume: Any, size: Any, sections: Any, first: Any, taps: Any, scaling: Any, whole: bool,
    out: Any, lines: Any,
) -> None:  # fmt: skip
    n_blocks, n_z, width, column = size
    flat = lines.reshape(-1)
    for x0 in range(0, out.shape[2], TILE):
        for k in range(out.shape[0]):
            for block in range(n_blocks):
                at = ((block * n_z + sections[k]) * width + column + x0) * BLOCK
                for x in range(0, TILE, LANES):
                    for y in range(0, BLOCK, LANES):
                        to = (1 + block * BLOCK + y) * TILE + x
                        transpose(volume, at + x * BLOCK + y, flat, to)
            n_x = min(TILE, out.shape[2] - x0)
            _store(lines, first[k] + 1, taps[k], scaling, whole, out[k], x0, n_x)


def empty_volume(n_blocks: int, n_z: int, n_x: int) -> Float32s:
    """Room for ``n_blocks`` blocks of slices, ``(n_blocks, n_z, width, BLOCK)`` of zeros.

    ``width`` is ``n_x`` and some spare columns, which stay 0.
    """
    room = empty_room((n_blocks, n_z, n_x + -n_x % TILE, BLOCK))
    room[:] = 0
    return room


def take_sections(
    volume: Float32s,
    sections: npt.NDArray[np.intp],
    out: npt.NDArray[Any],
    line: npt.NDArray[np.floating[Any]] | None = None,
    scaling: tuple[float, float] = (1.0, 0.0),
    column: int = 0,
) -> None:
    """Sections of a volume that lies in blocks of slices, moved along y and scaled.

    Parameters
    ----------
    volume : (n_blocks, n_z, width, BLOCK) float32
        See :func:`empty_volume`.
    sections : (n,)
        Which.
    out : (n, n_lines, n_x) float32 or int16
    line, scaling
        See :func:`backproject`.
    column : int
        The first that is taken.

    Raises
    ------
    InputError
        Shapes disagree, or a line lies outside the slices.
    """
    n_blocks, n_z, width, _ = volume.shape
    # Columns are read by whole tiles.
    fits = len(out) == len(sections) and 0 <= column <= width - -(-out.shape[2] // TILE) * TILE
    if not fits or out.size == 0 or sections.min() < 0 or sections.max() >= n_z:
        raise InputError(f"sections of shape {out.shape} do not fit a volume {volume.shape}")
    first, taps = _moves(line, out, n_blocks)
    lines = empty_room((n_blocks * BLOCK + 1, TILE))
    _take(
        volume.reshape(-1), (n_blocks, n_z, width, column), sections, first, taps,
        (np.float32(scaling[0]), np.float32(scaling[1])), out.dtype.kind == "i", out, lines,
    )  # fmt: skip


def backproject(
    rows: Float32s,
    at_x: Int32s,
    at_z: Int32s,
    out: npt.NDArray[Any],
    line: npt.NDArray[np.floating[Any]] | None = None,
    scaling: tuple[float, float] = (1.0, 0.0),
) -> None:
    """Back-project filtered views into sections of voxels, linear interpolation.

    Runs in the calling thread and does not hold the interpreter lock; threads share the work by
    ranges of sections. The voxel ``(x, z)`` takes from view ``v`` the row at ``at_x[x, v] +
    at_z[z, v]``, for every slice of every block.

    Parameters
    ----------
    rows : (n_blocks, n_views, n_rows, BLOCK) float32
        Filtered views with their weights, C-contiguous; see :func:`empty_rows`.
    at_x : (n_x, n_views) int32
    at_z : (n_z, n_views) int32
        The two parts of the row position, from :func:`fixed_point`.
    out : (n_z, n_lines, n_x) float32 or int16
        Overwritten by ``(density - offset) * scale``; int16 is rounded and clipped.
    line : (n_z,), optional
        Slice of the strip at which line 0 of each section lies, cubic interpolation; default 0.
    scaling : (scale, offset)

    Raises
    ------
    InputError
        Shapes disagree, a position lies outside ``0 <= position < n_rows - 1``, or a line outside
        the slices.
    """
    n_blocks, n_views, n_rows, width = rows.shape
    (n_x, views_x), (n_z, views_z) = at_x.shape, at_z.shape
    if (views_x, views_z, width) != (n_views, n_views, BLOCK) or n_views == 0:
        raise InputError(f"back-projection: positions of {views_x} views for {n_views} views")
    if out.ndim != 3 or (out.shape[0], out.shape[2]) != (n_z, n_x) or out.dtype.kind not in "fi":
        raise InputError(f"back-projection: sections of shape {out.shape} do not fit the views")
    if not (rows.flags.c_contiguous and out.flags.c_contiguous):
        raise InputError("back-projection: the arrays must be contiguous")
    if out.size == 0:
        return
    first, taps = _moves(line, out, n_blocks)
    low = at_x.min(axis=0).astype(np.int64) + at_z.min(axis=0)
    high = at_x.max(axis=0).astype(np.int64) + at_z.max(axis=0)
    if low.min() < 0 or high.max() >= (n_rows - 1) * _ONE:
        raise InputError("back-projection: a voxel lies outside the filtered rows")
    spare = -n_x % TILE
    if spare:
        at_x = np.pad(at_x, ((0, spare), (0, 0)), mode="edge")
    sums = empty_room((min(n_z, CHUNK_Z) * n_blocks * TILE * BLOCK,))
    lines = empty_room((n_blocks * BLOCK + 1, TILE))
    _project(
        rows.reshape(-1), (n_blocks, n_views, n_rows * BLOCK),
        np.ascontiguousarray(at_x).reshape(-1), np.ascontiguousarray(at_z).reshape(-1),
        first, taps, (np.float32(scaling[0]), np.float32(scaling[1])), out.dtype.kind == "i", out,
        sums, lines,
    )  # fmt: skip
