"""Kernels that draw a specimen's attenuation; projections of balls are exact at any tilt."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True)
def draw_plane(
    out: NDArray[np.float32],
    inverse: NDArray[np.float64],
    origin: NDArray[np.float64],
    tile: NDArray[np.float32],
    scale: float,
    ice: float,
    texture: float,
    carbon: NDArray[np.float64],
) -> None:
    """Draw ice with a texture and a carbon film with a curved edge, thin layers at z = 0.

    ``out`` ``(ny, nx)`` is overwritten; ``inverse (out pixel - origin)`` is the specimen's
    ``(x, y)`` in pixels; ``tile`` is a periodic texture with ``scale`` pixels of it per pixel.
    ``carbon``: attenuation, x of the edge, curvature (1/px) and width (px) of the edge.
    """
    n = tile.shape[0]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            dx, dy = j - origin[0], i - origin[1]
            sx = inverse[0, 0] * dx + inverse[0, 1] * dy
            sy = inverse[1, 0] * dx + inverse[1, 1] * dy
            u, v = sx * scale, sy * scale
            ju, iv = math.floor(u), math.floor(v)
            fu, fv = u - ju, v - iv
            j0, i0 = int(ju) % n, int(iv) % n
            j1, i1 = (j0 + 1) % n, (i0 + 1) % n
            low = tile[i0, j0] * (1 - fu) + tile[i0, j1] * fu
            high = tile[i1, j0] * (1 - fu) + tile[i1, j1] * fu
            value = ice + texture * (low * (1 - fv) + high * fv)
            if carbon[0] > 0:
                e = (sx - carbon[1] - carbon[2] * sy * sy) / carbon[3]
                if e > -30:
                    value += carbon[0] / (1 + math.exp(-e))
            out[i, j] = value


@njit(nogil=True, cache=True)
def draw_ball(
    out: NDArray[np.float32], x: float, y: float, radius: float, strength: float, sub: int
) -> None:
    """Add the projection of a ball, averaged over ``sub`` by ``sub`` points of each pixel.

    ``x, y`` are index coordinates, ``strength`` is attenuation per pixel of path.
    """
    r2 = radius * radius
    for i in range(
        max(0, math.floor(y - radius - 1)), min(out.shape[0], math.ceil(y + radius + 2))
    ):
        for j in range(
            max(0, math.floor(x - radius - 1)), min(out.shape[1], math.ceil(x + radius + 2))
        ):
            total = 0.0
            for a in range(sub):
                dy = i - y + (a + 0.5) / sub - 0.5
                for b in range(sub):
                    dx = j - x + (b + 0.5) / sub - 0.5
                    q = r2 - dx * dx - dy * dy
                    if q > 0:
                        total += math.sqrt(q)
            out[i, j] += 2 * strength * total / (sub * sub)
