"""Projection of blocks of voxels into views: the exact adjoint of back-projection.

A voxel adds to the two rows from which ``backproject`` takes, with the same weights. Volumes lie in
blocks of slices, ``(n_blocks, n_z, width, BLOCK)`` (see ``empty_volume``), views as for
``backproject``. Along x the row never moves by more than one per voxel, so that the two rows stay
in registers and a row is written once per line of voxels.

:func:`sweep` does both in one pass: a tile of voxels is corrected by what is projected back into it
and, while it lies in the cache, projected into the rows of the next residual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tiltwright.engine.errors import InputError
from tiltwright.engine.recon.vectors import BLOCK, FRACTION_BITS, add_views, spread_line

Float32s = npt.NDArray[np.float32]
Int32s = npt.NDArray[np.int32]

SWEEP_Z = 8
"""Sections of a tile; pieces of a volume are swept by multiples of it."""
_SWEEP_X = 32
_TILE_X, _TILE_Z, _VIEWS = 16, 4, 8
_ONE = 1 << FRACTION_BITS


@dataclass(frozen=True)
class Rays:
    """Where the voxels ``(n_x, n_z)`` fall in some views, in the layouts that kernels read.

    ``at_x`` and ``at_z`` are flat ``(n_x, n_views)`` and ``(n_z, n_views)``; ``line_x`` is flat
    ``(n_views, n_x)``; ``low`` and ``high`` are the least and the greatest position of a view.
    """

    n_views: int
    n_x: int
    n_z: int
    at_x: Int32s
    at_z: Int32s
    line_x: Int32s
    low: int
    high: int

    @staticmethod
    def of(at_x: Int32s, at_z: Int32s) -> Rays:
        """From the parts of the row position, ``(n_x, n_views)`` and ``(n_z, n_views)``.

        Raises
        ------
        InputError
            Shapes disagree, or a view is tilted so far that rows do not ascend with x by 0 to 1.
        """
        (n_x, n_views), (n_z, views_z) = at_x.shape, at_z.shape
        if n_views != views_z or min(n_x, n_z) < 1:
            raise InputError(f"projection: positions of {n_views} and of {views_z} views")
        step = np.diff(at_x, axis=0)
        if step.size and (step.min() < 0 or step.max() > _ONE):
            raise InputError("projection: tilts must be within 90 degrees, without super-sampling")
        low = at_x.min(axis=0).astype(np.int64) + at_z.min(axis=0)
        high = at_x.max(axis=0).astype(np.int64) + at_z.max(axis=0)
        return Rays(
            n_views, n_x, n_z, np.ascontiguousarray(at_x).reshape(-1),
            np.ascontiguousarray(at_z).reshape(-1), np.ascontiguousarray(at_x.T).reshape(-1),
            int(low.min(initial=0)), int(high.max(initial=0)),
        )  # fmt: skip

    def check(self, rows: Float32s, volume: Float32s) -> None:
        """Raise :class:`InputError` unless one block of each fits."""
        n_views, n_rows, block = rows.shape
        n_z, width, lanes = volume.shape
        if (n_views, block, n_z, lanes) != (self.n_views, BLOCK, self.n_z, BLOCK):
            raise InputError(f"projection: rows {rows.shape} do not fit a volume {volume.shape}")
        if width < self.n_x or not (rows.flags.c_contiguous and volume.flags.c_contiguous):
            raise InputError("projection: arrays must be contiguous and as wide as the positions")
        if self.low < 0 or self.high >= (n_rows - 1) * _ONE:
            raise InputError("projection: a voxel lies outside the rows")


@njit(nogil=True, cache=True)
def _gather(rows: Any, rays: Any, per_view: int, volume: Any, tile: Any) -> None:
    """Back-project into a tile of voxels: ``volume += ...``."""
    n_views, at_x, at_z, width = rays
    x0, x1, z0, z1 = tile
    for xb in range(x0, x1, _TILE_X):
        for zb in range(z0, z1, _TILE_Z):
            for first in range(0, n_views, _VIEWS):
                n = min(_VIEWS, n_views - first)
                for z in range(zb, min(zb + _TILE_Z, z1)):
                    for x in range(xb, min(xb + _TILE_X, x1)):
                        add_views(
                            volume, (z * width + x) * BLOCK, rows, first * per_view, per_view,
                            at_x, x * n_views + first, at_z, z * n_views + first, n,
                        )  # fmt: skip


@njit(nogil=True, cache=True)
def _limit(volume: Any, width: int, tile: Any, bounds: Any, mask: Any) -> None:
    x0, x1, z0, z1 = tile
    low, high = bounds
    for z in range(z0, z1):
        for at in range((z * width + x0) * BLOCK, (z * width + x1) * BLOCK):
            value = min(max(volume[at], low), high)
            volume[at] = value * mask[at] if mask.size else value


@njit(nogil=True, cache=True)
def _sweep(
    volume: Any, width: int, back: Any, back_rays: Any, forth: Any, forth_rays: Any,
    per_view: int, span: Any, limits: Any, mask: Any,
) -> None:  # fmt: skip
    n_x, first, last = span
    low, high, limited = limits
    n_back, back_x, back_z = back_rays
    n_forth, line_x, forth_z = forth_rays
    for z0 in range(first, last, SWEEP_Z):
        z1 = min(z0 + SWEEP_Z, last)
        for x0 in range(0, n_x, _SWEEP_X):
            x1 = min(x0 + _SWEEP_X, n_x)
            tile = (x0, x1, z0, z1)
            if n_back:
                _gather(back, (n_back, back_x, back_z, width), per_view, volume, tile)
            if limited:
                _limit(volume, width, tile, (low, high), mask)
            for v in range(n_forth):
                for z in range(z0, z1):
                    spread_line(
                        forth, v * per_view, volume, (z * width + x0) * BLOCK, line_x,
                        v * n_x + x0, forth_z[z * n_forth + v], x1 - x0,
                    )  # fmt: skip


def sweep(
    volume: Float32s,
    back: tuple[Float32s, Rays] | None,
    forth: tuple[Float32s, Rays] | None,
    sections: tuple[int, int],
    bounds: tuple[float, float] = (-np.inf, np.inf),
    mask: Float32s | None = None,
) -> None:
    """Add what ``back`` projects into some sections, limit them, add them to the rows ``forth``.

    Runs in the calling thread and does not hold the interpreter lock.

    Parameters
    ----------
    volume : (n_z, width, BLOCK) float32
        One block of slices.
    back, forth : (rows, Rays), optional
        Rows ``(n_views, n_rows, BLOCK)`` of the same block.
    sections : (first, beyond the last)
    bounds : (least, greatest)
        Voxels are clipped to them.
    mask : like ``volume``, optional
        Voxels are multiplied by it.

    Raises
    ------
    InputError
        Shapes disagree, or a voxel lies outside the rows.
    """
    n_z, width, _ = volume.shape
    given = [pair for pair in (back, forth) if pair is not None]
    for rows, rays in given:
        rays.check(rows, volume)
    if len({(rows.shape[1], rays.n_x) for rows, rays in given}) != 1:
        raise InputError("projection: two sets of rows must have one length and one width")
    if not 0 <= sections[0] <= sections[1] <= n_z or (
        mask is not None and (mask.shape != volume.shape or not mask.flags.c_contiguous)
    ):
        raise InputError(f"projection: sections {sections} or the mask do not fit the volume")
    none, nothing = np.empty(0, np.float32), np.empty(0, np.int32)
    rows, rays = given[0]
    limits = np.float32(bounds[0]), np.float32(bounds[1])
    limited = mask is not None or bounds != (-np.inf, np.inf)
    _sweep(
        volume.reshape(-1), width,
        none if back is None else back[0].reshape(-1),
        (0, nothing, nothing) if back is None else (back[1].n_views, back[1].at_x, back[1].at_z),
        none if forth is None else forth[0].reshape(-1),
        (0, nothing, nothing)
        if forth is None
        else (forth[1].n_views, forth[1].line_x, forth[1].at_z),
        rows.shape[1] * BLOCK, (rays.n_x, *sections), (*limits, limited),
        none if mask is None else mask.reshape(-1),
    )  # fmt: skip


def project(volume: Float32s, rows: Float32s, rays: Rays) -> None:
    """Add the projections of one block of slices to ``rows`` ``(n_views, n_rows, BLOCK)``."""
    sweep(volume, None, (rows, rays), (0, len(volume)))
