"""Beltrami flow: one explicit step of a tile.

Fernandez 2009 (TOMOBFLOW, doi:10.1186/1471-2105-10-178), after Sochen, Kimmel & Malladi 1998
(doi:10.1109/83.661181): ``u_t = div(grad u / w) / w`` with ``w = sqrt(1 + |grad u|^2 / beta^2)``.
The volume is seen as a surface that shrinks along its mean curvature; there is no threshold, and
``beta`` only says how high one unit of density is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from tiltwright.engine.volume.diffusion import MAX_HALO, TILE_X, TILE_Y, WIDTH, load_tile

_FAST = {"contract", "reassoc", "nsz", "arcp"}
_ONE = np.float32(1)


@njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")
def _weights(mid: Any, down: Any, up: Any, below: Any, above: Any, scale: Any, to: Any) -> None:
    for c in range(1, WIDTH - 1):
        gx, gy, gz = mid[c + 1] - mid[c - 1], up[c] - down[c], above[c] - below[c]
        to[c] = _ONE / math.sqrt(_ONE + scale * (gx * gx + gy * gy + gz * gz))


@njit(nogil=True, cache=True, fastmath=_FAST)
def _within(mid: Any, down: Any, up: Any, w: Any, w_down: Any, w_up: Any, to: Any) -> None:
    """Twice the divergence within a section."""
    for c in range(1, WIDTH - 1):
        u, here = mid[c], w[c]
        to[c] = (
            (w[c + 1] + here) * (mid[c + 1] - u)
            + (w[c - 1] + here) * (mid[c - 1] - u)
            + (w_up[c] + here) * (up[c] - u)
            + (w_down[c] + here) * (down[c] - u)
        )


@njit(nogil=True, cache=True, fastmath=_FAST)
def _advance(
    mid: Any, below: Any, above: Any, w: Any, w_below: Any, w_above: Any, flow: Any, step: Any,
    to: Any,
) -> None:  # fmt: skip
    for i in range(to.shape[0]):
        c = i + MAX_HALO
        u, here = mid[c], w[c]
        total = (
            flow[c]
            + (w_above[c] + here) * (above[c] - u)
            + (w_below[c] + here) * (below[c] - u)
        )  # fmt: skip
        to[i] = u + step * here * total


@njit(nogil=True, cache=True)
def flow_tile(u: Any, out: Any, y0: int, x0: int, beta: float, step: float) -> None:
    """One step of the Beltrami flow of the tile at ``(y0, x0)``.

    Parameters
    ----------
    u, out : (nz, ny, nx) float32
        ``out`` receives the tile; edges let nothing through.
    beta : float
        Gradient, in units of ``u`` per voxel, at which the flow begins to slow down.
    step : float
        Time step; stable up to 1/6.
    """
    nz, ny, nx = u.shape
    wide, high = min(TILE_X, nx - x0), min(TILE_Y, ny - y0)
    rows = high + 4
    raw = np.zeros((8, rows, WIDTH), np.float32)
    weight = np.zeros((4, rows, WIDTH), np.float32)
    line = np.zeros(WIDTH, np.float32)
    scale, half_step = np.float32(0.25 / (beta * beta)), np.float32(0.5 * step)
    for k in range(-2, nz + 2):
        load_tile(u[min(max(k, 0), nz - 1)], y0 - 2, x0 - MAX_HALO, raw[k & 7])
        if k < 0:
            continue
        z = k - 1
        p, below, above = raw[z & 7], raw[(z - 1) & 7], raw[(z + 1) & 7]
        for r in range(1, rows - 1):
            _weights(p[r], p[r - 1], p[r + 1], below[r], above[r], scale, weight[z & 3, r])
        if k < 2:
            continue
        z -= 1
        p, below, above = raw[z & 7], raw[(z - 1) & 7], raw[(z + 1) & 7]
        w, w_below, w_above = weight[z & 3], weight[(z - 1) & 3], weight[(z + 1) & 3]
        for r in range(2, 2 + high):
            _within(p[r], p[r - 1], p[r + 1], w[r], w[r - 1], w[r + 1], line)
            _advance(
                p[r], below[r], above[r], w[r], w_below[r], w_above[r], line, half_step,
                out[z, y0 + r - 2, x0 : x0 + wide],
            )  # fmt: skip
