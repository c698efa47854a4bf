"""Part of a denoised tomogram, as the whole run would make it, in a moment.

Diffusion and flow take the mean gradient of the whole volume before each iteration. It is measured
in some cubes, so only these are filtered along with the part that is wanted, each with a margin
that what lies beyond cannot reach across.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tiltwright.engine.errors import InputError
from tiltwright.engine.volume.beltrami import flow_tile
from tiltwright.engine.volume.denoise import (
    Denoising,
    Volume,
    finite,
    gradient_cubes,
    gradient_taps,
    local_filter,
    mean_gradient_of,
)
from tiltwright.engine.volume.diffusion import TILE_X, TILE_Y, diffuse_tile

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
_FRAME = 6
"""Voxels about a cube: an error of the mean gradient matters less than one of a voxel."""


def evolves(how: Denoising) -> bool:
    """Whether the method iterates, and takes the gradient of the whole volume into account."""
    return how.method in ("eed", "beltrami")


def margin_of(how: Denoising) -> int:
    """Voxels about a part that matter for it: five sigmas of the spread, and the first step's."""
    if not evolves(how):
        return local_filter(how)[1]
    return 4 + math.ceil(5 * math.sqrt(2 * how.iterations * how.step))


def limits(data: Any, how: Denoising) -> Iterator[list[float] | None]:
    """``lambda`` of each iteration of the whole run; ``None`` after pieces of it, then the list.

    Parameters
    ----------
    data : (nz, ny, nx)

    Raises
    ------
    InputError, DataError
        As :func:`~tiltwright.engine.volume.denoise.denoise_slab`.
    """
    how.check()
    if how.lam or not evolves(how):
        yield [how.lam] * how.iterations
        return
    cubes = [_framed(data, cube) for cube in gradient_cubes(data.shape)]
    yield None
    # Side by side: a tile is as wide as some cubes, and takes as long for one.
    size = cubes[0].shape
    across = max(1, TILE_X // size[2])
    down = -(-len(cubes) // across)
    now = np.zeros((size[0], down * size[1], across * size[2]), np.float32)
    inner = []
    for k, cube in enumerate(cubes):
        y, x = k // across * size[1], k % across * size[2]
        now[:, y : y + size[1], x : x + size[2]] = cube
        inner.append((
            slice(_FRAME, size[0] - _FRAME), slice(y + _FRAME, y + size[1] - _FRAME),
            slice(x + _FRAME, x + size[2] - _FRAME),
        ))  # fmt: skip
    then = np.empty_like(now)
    found = []
    sigma = how.sigma if how.method == "eed" else 0.0
    for _ in range(how.iterations):
        found.append(mean_gradient_of((now[part] for part in inner), sigma))
        _step(now, then, how, found[-1], None)
        now, then = then, now
        yield None
    yield found


def _framed(data: Any, cube: tuple[slice, ...]) -> Volume:
    """A cube with its frame, mirrored where the volume ends."""
    part, pads = [], []
    for s, n in zip(cube, data.shape, strict=True):
        stop = min(s.stop, n)
        low, high = max(0, s.start - _FRAME), min(n, stop + _FRAME)
        part.append(slice(low, high))
        pads.append((_FRAME - (s.start - low), _FRAME - (high - stop)))
    return np.pad(finite(data[tuple(part)], part[0].start), pads, "symmetric")


def denoise_box(
    data: Any, how: Denoising, box: Box, lams: Sequence[float], threads: int = 1
) -> Iterator[Volume | None]:
    """The voxels of a box as the run on the whole volume makes them, before any rounding.

    Yields ``None`` after each piece of the work, then the box ``(nz, ny, nx)``.

    Parameters
    ----------
    data : (nz, ny, nx)
    box
        First voxel and the one after the last, in z, y and x.
    lams
        What :func:`limits` gave.

    Raises
    ------
    InputError
        Impossible values, a box outside, or voxels that are not finite.
    """
    how.check()
    margin = margin_of(how)
    cut, inner = [], []
    for (first, last), n in zip(box, data.shape, strict=True):
        if not 0 <= first < last <= n:
            raise InputError(f"denoise: no voxels {first + 1} to {last} of {n}")
        low = max(0, first - margin)
        cut.append(slice(low, min(n, last + margin)))
        inner.append(slice(first - low, last - low))
    now = np.array(finite(data[tuple(cut)], cut[0].start))
    yield None
    if not evolves(how):
        yield np.ascontiguousarray(local_filter(how)[0](now)[tuple(inner)])
        return
    then = np.empty_like(now)
    with ThreadPoolExecutor(threads) as pool:
        for lam in lams:
            _step(now, then, how, lam, pool)
            now, then = then, now
            yield None
    yield np.ascontiguousarray(now[tuple(inner)])


def _step(
    now: Volume, then: Volume, how: Denoising, lam: float, pool: ThreadPoolExecutor | None
) -> None:
    """One iteration."""
    taps = gradient_taps(how.sigma if how.method == "eed" else 0.0)

    def one(tile: tuple[int, int]) -> None:
        if how.method == "eed":
            diffuse_tile(now, then, *tile, taps, lam, how.step)
        else:
            flow_tile(now, then, *tile, lam, how.step)

    ny, nx = now.shape[1:]
    tiles = [(y, x) for y in range(0, ny, TILE_Y) for x in range(0, nx, TILE_X)]
    for _ in map(one, tiles) if pool is None else pool.map(one, tiles):
        pass
