"""Kernels of nonlinear diffusion: one explicit step of a tile, all its stages in the cache.

Edge-enhancing diffusion (Weickert 1998, "Anisotropic Diffusion in Image Processing"; in
tomography Frangakis & Hegerl 2001, doi:10.1006/jsbi.2001.4406, and Fernandez & Li 2003,
doi:10.1016/j.jsb.2003.09.010): ``u_t = div(D grad u)`` with ``D`` from the structure tensor ``J``,
the products of the gradient of the smoothed volume averaged over a binomial 3 x 3 x 3
neighbourhood, with eigenvalues ``m1 >= m2 >= m3``. The coherence ``c = m1 - m3`` is what stops
the diffusion, by Weickert's function ``g = 1 - exp(-3.31488 / (c / lambda^2)^4)``, and

    ``D = 1 - (1 - g) ((J - m3) / c)^4``

so that it is ``g`` across an edge, 1 along a line, and in the third direction passes smoothly
from 1 on a plane to ``g`` about a line: both switches are one matrix function, without
eigenvectors, and the whole step is plain arithmetic on vectors.

A tile is a column of the volume; its kernel walks along z with the last few planes of each stage.
Rows hold components side by side at the constant distance ``WIDTH``, so that the compiler sees
that nothing overlaps.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

TILE_X, TILE_Y = 256, 32
MAX_HALO = 8
WIDTH = TILE_X + 2 * MAX_HALO
_RAW = 16
"""Planes of the unfiltered tile that are kept: more than twice the largest halo is not needed."""
_FAST = {"contract", "reassoc", "nsz", "arcp"}
_F = np.float32
_ZERO, _HALF, _ONE, _TWO = _F(0), _F(0.5), _F(1), _F(2)
_QUARTER, _THIRD, _SIXTH = _F(0.25), _F(1 / 3), _F(1 / 6)
_FLAT, _TINY = _F(1e-9), _F(1e-20)
"""Parts of lambda's structure tensor, and of any, below which there is none: squares of smaller
ones would be lost, and what is left of them would be no direction but noise that grows."""
_PRODUCTS = _F(1 / 256)
"""Of the differences (1/2 each) and of the weights 1, 2, 1 along three axes."""
_EDGE, _MOST, _PART = _F(3.31488), _F(16), _F(1 / 64)
_C0, _C1, _C2 = _F(0.50000268), _F(0.57723104), _F(-0.10981559)
_C3, _C4, _C5 = _F(0.04756418), _F(-0.01913432), _F(0.00415402)
"""cos(2/3 acos s) for s from 0 to 1, to 3e-6: it gives the eigenvalues without a cosine."""


@njit(nogil=True, cache=True)
def load_tile(section: Any, y: int, x: int, to: Any) -> None:
    """Copy a tile whose first pixel is ``(y, x)``; beyond the edges the outermost pixels repeat."""
    ny, nx = section.shape
    low, high = max(0, -x), min(to.shape[1], nx - x)
    for r in range(to.shape[0]):
        source, row = section[min(max(y + r, 0), ny - 1)], to[r]
        row[:low] = source[0]
        row[low:high] = source[x + low : x + high]
        row[high:] = source[nx - 1]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _add(weight: Any, low: Any, high: Any, to: Any) -> None:
    for c in range(to.shape[0]):
        to[c] += weight * (low[c] + high[c])


@njit(nogil=True, cache=True, fastmath=_FAST)
def _one_two_one(low: Any, mid: Any, high: Any, to: Any) -> None:
    for c in range(to.shape[0]):
        to[c] = low[c] + _TWO * mid[c] + high[c]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _scale(weight: Any, source: Any, to: Any) -> None:
    for c in range(to.shape[0]):
        to[c] = weight * source[c]


@njit(nogil=True, cache=True)
def _blur_plane(raw: Any, taps: Any, line: Any, to: Any) -> None:
    """Smooth along y and x; ``taps`` are the middle weight and those to one side."""
    n = taps.shape[0] - 1
    for r in range(n, raw.shape[0] - n):
        _scale(taps[0], raw[r], line)
        for k in range(1, n + 1):
            _add(taps[k], raw[r - k], raw[r + k], line)
        _scale(taps[0], line, to[r])
        inner = to[r][n : WIDTH - n]
        for k in range(1, n + 1):
            _add(taps[k], line[n - k : WIDTH - n - k], line[n + k : WIDTH - n + k], inner)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _products(mid: Any, down: Any, up: Any, below: Any, above: Any, to: Any) -> None:
    """Products of the gradient (times 4): xx, yy, zz, xy, xz, yz."""
    for c in range(1, WIDTH - 1):
        gx, gy, gz = mid[c + 1] - mid[c - 1], up[c] - down[c], above[c] - below[c]
        to[c] = gx * gx
        to[WIDTH + c] = gy * gy
        to[2 * WIDTH + c] = gz * gz
        to[3 * WIDTH + c] = gx * gy
        to[4 * WIDTH + c] = gx * gz
        to[5 * WIDTH + c] = gy * gz


@njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")
def _fluxes(
    tensor: Any, mid: Any, down: Any, up: Any, below: Any, above: Any, limit: Any, to: Any
) -> None:
    """Diffusivities along x and y, mixed fluxes along x and y, then both along z.

    ``tensor`` is 256 times the structure tensor, ``limit`` the same times lambda squared.
    """
    least = limit * _FLAT + _TINY
    for c in range(1, WIDTH - 1):
        xx, yy, zz = tensor[c], tensor[WIDTH + c], tensor[2 * WIDTH + c]
        xy, xz, yz = tensor[3 * WIDTH + c], tensor[4 * WIDTH + c], tensor[5 * WIDTH + c]
        mean = (xx + yy + zz) * _THIRD
        xx, yy, zz = xx - mean, yy - mean, zz - mean
        off = xy * xy + xz * xz + yz * yz
        p = math.sqrt((xx * xx + yy * yy + zz * zz + _TWO * off) * _SIXTH) + least
        # cos 3 theta, where the eigenvalues are mean + 2 p cos(theta + 2 pi k / 3)
        # each part divided first: the cube of p is 0 where nothing changes
        q = _ONE / p
        a, b, d, e, f, g = xx * q, yy * q, zz * q, xy * q, xz * q, yz * q
        det = a * (b * d - g * g) - e * (e * d - g * f) + f * (e * g - b * f)
        triple = min(max(_HALF * det, -_ONE), _ONE)
        s = math.sqrt(_HALF + _HALF * triple)
        t = math.sqrt(_HALF - _HALF * triple)
        high = _C0 + s * (_C1 + s * (_C2 + s * (_C3 + s * (_C4 + s * _C5))))
        low = _C0 + t * (_C1 + t * (_C2 + t * (_C3 + t * (_C4 + t * _C5))))
        span = _TWO * p * (high + low)
        # (J - m3) / (m1 - m3), and its fourth power
        part = _ONE / span
        lift = _TWO * p * low
        xx, yy, zz = (xx + lift) * part, (yy + lift) * part, (zz + lift) * part
        xy, xz, yz = xy * part, xz * part, yz * part
        for _ in range(2):
            a, b, d = (
                xx * xx + xy * xy + xz * xz,
                xy * xy + yy * yy + yz * yz,
                xz * xz + yz * yz + zz * zz,
            )
            xy, xz, yz = (
                xy * (xx + yy) + xz * yz,
                xz * (xx + zz) + xy * yz,
                yz * (yy + zz) + xy * xz,
            )
            xx, yy, zz = a, b, d
        ratio = min(limit * part, _TWO)
        ratio *= ratio
        power = min(_EDGE * ratio * ratio, _MOST) * -_PART
        stop = _ONE + power * (
            _ONE + power * (_HALF + power * (_SIXTH + power * _SIXTH * _QUARTER))
        )
        for _ in range(6):
            stop *= stop
        gx = _HALF * (mid[c + 1] - mid[c - 1])
        gy = _HALF * (up[c] - down[c])
        gz = _HALF * (above[c] - below[c])
        to[c] = _ONE - stop * xx
        to[WIDTH + c] = _ONE - stop * yy
        to[2 * WIDTH + c] = -stop * (xy * gy + xz * gz)
        to[3 * WIDTH + c] = -stop * (xy * gx + yz * gz)
        to[4 * WIDTH + c] = _ONE - stop * zz
        to[5 * WIDTH + c] = -stop * (xz * gx + yz * gy)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _divergence_xy(mid: Any, down: Any, up: Any, f: Any, f_down: Any, f_up: Any, to: Any) -> None:
    """Twice the divergence of the flux within a section."""
    for c in range(1, WIDTH - 1):
        u = mid[c]
        to[c] = (
            (f[c + 1] + f[c]) * (mid[c + 1] - u)
            - (f[c] + f[c - 1]) * (u - mid[c - 1])
            + (f_up[WIDTH + c] + f[WIDTH + c]) * (up[c] - u)
            - (f[WIDTH + c] + f_down[WIDTH + c]) * (u - down[c])
            + f[2 * WIDTH + c + 1] - f[2 * WIDTH + c - 1]
            + f_up[3 * WIDTH + c] - f_down[3 * WIDTH + c]
        )  # fmt: skip


@njit(nogil=True, cache=True, fastmath=_FAST)
def _advance(
    mid: Any, below: Any, above: Any, f: Any, f_below: Any, f_above: Any, flow: Any, step: Any,
    to: Any,
) -> None:  # fmt: skip
    """Add the divergence along z and make the step; ``to`` begins at the tile's first voxel."""
    for i in range(to.shape[0]):
        c = i + MAX_HALO
        u = mid[c]
        total = (
            flow[c]
            + (f_above[4 * WIDTH + c] + f[4 * WIDTH + c]) * (above[c] - u)
            - (f[4 * WIDTH + c] + f_below[4 * WIDTH + c]) * (u - below[c])
            + f_above[5 * WIDTH + c] - f_below[5 * WIDTH + c]
        )  # fmt: skip
        to[i] = u + step * total


@njit(nogil=True, cache=True)
def diffuse_tile(u: Any, out: Any, y0: int, x0: int, taps: Any, lam: float, step: float) -> None:
    """One step of edge-enhancing diffusion of the tile at ``(y0, x0)``.

    Parameters
    ----------
    u, out : (nz, ny, nx) float32
        ``out`` receives the tile; both its edges and those of ``u`` let nothing through.
    taps : (n + 1,) float32
        Middle weight and those to one side of the smoothing before the gradient, ``n <= 5``.
    lam : float
        Lambda, in units of ``u`` per voxel.
    step : float
        Time step; stable up to 1/6.
    """
    nz, ny, nx = u.shape
    n = taps.shape[0] - 1
    halo = n + 3
    wide, high = min(TILE_X, nx - x0), min(TILE_Y, ny - y0)
    rows = high + 2 * halo
    raw = np.zeros((_RAW, rows, WIDTH), np.float32)
    blurred = np.zeros((_RAW, rows, WIDTH), np.float32)
    smooth = np.zeros((4, rows, WIDTH), np.float32)
    tensor = np.zeros((4, rows, 6 * WIDTH), np.float32)
    flux = np.zeros((4, rows, 6 * WIDTH), np.float32)
    turned = np.zeros((4, 6 * WIDTH), np.float32)
    line, row6 = np.zeros(WIDTH, np.float32), np.zeros(6 * WIDTH, np.float32)
    limit = np.float32(256 * lam * lam)
    half_step = np.float32(0.5 * step)
    end = 6 * WIDTH - 1
    for k in range(-halo, nz + halo):
        load_tile(u[min(max(k, 0), nz - 1)], y0 - halo, x0 - MAX_HALO, raw[k & 15])
        _blur_plane(raw[k & 15], taps, line, blurred[k & 15])
        stage = k + halo - 2 * n
        if stage < 0:
            continue
        z = k - n
        for r in range(n, rows - n):
            _scale(taps[0], blurred[z & 15, r], smooth[z & 3, r])
            for j in range(1, n + 1):
                _add(taps[j], blurred[(z - j) & 15, r], blurred[(z + j) & 15, r], smooth[z & 3, r])
        if stage < 2:
            continue
        z -= 1
        s, below, above = smooth[z & 3], smooth[(z - 1) & 3], smooth[(z + 1) & 3]
        for r in range(n + 1, rows - n - 1):
            _products(s[r], s[r - 1], s[r + 1], below[r], above[r], row6)
            _one_two_one(row6[: end - 1], row6[1:end], row6[2:], turned[r & 3, 1:end])
            if r >= n + 3:
                _one_two_one(
                    turned[(r - 2) & 3], turned[(r - 1) & 3], turned[r & 3], tensor[z & 3, r - 1]
                )
        if stage < 4:
            continue
        z -= 1
        p, below, above = raw[z & 15], raw[(z - 1) & 15], raw[(z + 1) & 15]
        for r in range(n + 2, rows - n - 2):
            _one_two_one(tensor[(z - 1) & 3, r], tensor[z & 3, r], tensor[(z + 1) & 3, r], row6)
            _fluxes(row6, p[r], p[r - 1], p[r + 1], below[r], above[r], limit, flux[z & 3, r])
        if stage < 6:
            continue
        z -= 1
        p, below, above = raw[z & 15], raw[(z - 1) & 15], raw[(z + 1) & 15]
        f, f_below, f_above = flux[z & 3], flux[(z - 1) & 3], flux[(z + 1) & 3]
        for r in range(halo, halo + high):
            _divergence_xy(p[r], p[r - 1], p[r + 1], f[r], f[r - 1], f[r + 1], line)
            _advance(
                p[r], below[r], above[r], f[r], f_below[r], f_above[r], line, half_step,
                out[z, y0 + r - halo, x0 : x0 + wide],
            )  # fmt: skip
