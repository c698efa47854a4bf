"""Kernels that find sheets: plane-ness from the Hessian, votes along the curved tangent plane."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

_FAST = {"contract", "reassoc", "nsz"}
UNIT = 127
"""Length of the normals that are kept."""
_ZERO, _HALF, _ONE, _TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)
_QUARTER, _SIXTH, _THIRD = np.float32(0.25), np.float32(1 / 6), np.float32(1 / 3)
_ROOT3, _NEVER = np.float32(math.sqrt(3.0)), np.float32(1e-12)
_NODES = np.polynomial.chebyshev.chebpts1(9)
_TURN = tuple(
    np.float32(c)
    for c in np.polynomial.chebyshev.cheb2poly(
        np.polynomial.chebyshev.chebfit(_NODES, np.cos(np.arccos((_NODES + 1) / 2) * 2 / 3), 8)
    )
)
"""Of cos(a / 3) as a polynomial in 2 cos(a / 2) - 1, to 1e-7."""
_HOPE = 0.3
"""Part of the votes wanted that the flat cap must give, or the bent ones are not tried, and that
its innermost ring must: a sphere of the sharpest bend gives more than that."""
INNER = 8
"""Samples of the innermost ring."""


@njit(nogil=True, cache=True, fastmath=_FAST)
def blur(v: Any, kernel: Any) -> None:
    """Smooth ``(nz, ny, nx)`` float32 in place, the edges going on for ever.

    Parameters
    ----------
    kernel : (radius + 1,) float32
        From the middle outwards.
    """
    nz, ny, nx = v.shape
    reach = len(kernel) - 1
    row = np.empty(nx + 2 * reach, np.float32)
    plane = np.empty((max(ny, nz) + 2 * reach, nx), np.float32)
    for z in range(nz):
        for y in range(ny):
            row[:reach], row[reach + nx :] = v[z, y, 0], v[z, y, nx - 1]
            row[reach : reach + nx] = v[z, y]
            out = v[z, y]
            for x in range(nx):
                out[x] = kernel[0] * row[x + reach]
            for k in range(1, reach + 1):
                for x in range(nx):
                    out[x] += kernel[k] * (row[x + reach - k] + row[x + reach + k])
        for y in range(ny + 2 * reach):
            plane[y] = v[z, min(max(y - reach, 0), ny - 1)]
        for y in range(ny):
            _mix(plane, y + reach, kernel, v[z, y])
    for y in range(ny):
        for z in range(nz + 2 * reach):
            plane[z] = v[min(max(z - reach, 0), nz - 1), y]
        for z in range(nz):
            _mix(plane, z + reach, kernel, v[z, y])


@njit(nogil=True, cache=True, fastmath=_FAST)
def _mix(plane: Any, at: int, kernel: Any, out: Any) -> None:
    for x in range(len(out)):
        out[x] = kernel[0] * plane[at, x]
    for k in range(1, len(kernel)):
        for x in range(len(out)):
            out[x] += kernel[k] * (plane[at - k, x] + plane[at + k, x])


@njit(nogil=True, cache=True, fastmath=_FAST)
def plane_ness(v: Any, sign: float, gain: float, strength: Any, normal: Any) -> None:
    """Keep the larger plane-ness of each voxel, and its normal; the outermost voxels stay.

    The Hessian's largest eigenvalue less the larger magnitude of the others: 0 for lines and
    balls, and where the sheet is of the other sign.

    Parameters
    ----------
    v : (nz, ny, nx) float32
        Smoothed; of about unit size.
    sign : float
        1 for dark sheets, -1 for light ones.
    gain : float
        Normalises the scale.
    strength : (nz, ny, nx) float32
    normal : (nz, ny, nx, 3) int8, as x, y, z
        Of length ``UNIT``.
    """
    nz, ny, nx = v.shape
    h = np.zeros((8, nx), np.float32)
    way, scale = np.float32(sign), np.float32(gain)
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            _hessian(v, z, y, way, h)
            have = strength[z, y]
            for x in range(1, nx - 1):
                s = scale * h[7, x]
                if s > have[x] and _normal(
                    h[0, x], h[1, x], h[2, x], h[3, x], h[4, x], h[5, x], h[6, x], normal[z, y, x]
                ):
                    have[x] = s


@njit(nogil=True, cache=True, fastmath=_FAST)
def _hessian(v: Any, z: int, y: int, way: Any, h: Any) -> None:
    """Of one row: xx, yy, zz, xy, xz, yz, the largest eigenvalue, the plane-ness.

    Without branches, so that several voxels are done at once.
    """
    o, n, s, u, t = v[z, y], v[z, y + 1], v[z, y - 1], v[z + 1, y], v[z - 1, y]
    un, us, tn, ts = v[z + 1, y + 1], v[z + 1, y - 1], v[z - 1, y + 1], v[z - 1, y - 1]
    for x in range(1, len(o) - 1):
        twice = _TWO * o[x]
        a = way * (o[x + 1] + o[x - 1] - twice)
        b = way * (n[x] + s[x] - twice)
        c = way * (u[x] + t[x] - twice)
        d = _QUARTER * way * (n[x + 1] + s[x - 1] - n[x - 1] - s[x + 1])
        e = _QUARTER * way * (u[x + 1] + t[x - 1] - u[x - 1] - t[x + 1])
        f = _QUARTER * way * (un[x] + ts[x] - us[x] - tn[x])
        q = (a + b + c) * _THIRD
        aa, bb, cc = a - q, b - q, c - q
        p2 = (aa * aa + bb * bb + cc * cc + _TWO * (d * d + e * e + f * f)) * _SIXTH
        p = np.float32(math.sqrt(p2))
        per = _ONE / (p + _NEVER)
        det = aa * (bb * cc - f * f) - d * (d * cc - f * e) + e * (d * f - bb * e)
        # cos of three times the angle; the cosine of the angle is smooth in w
        triple = _HALF * (per * per * per * det)
        triple = triple if triple > -_ONE else -_ONE
        w = _TWO * np.float32(math.sqrt(_HALF + _HALF * (triple if triple < _ONE else _ONE))) - _ONE
        turn = _TURN[8]
        for k in (7, 6, 5, 4, 3, 2, 1, 0):
            turn = turn * w + _TURN[k]
        rest = _ONE - turn * turn
        lean = _ROOT3 * np.float32(math.sqrt(rest if rest > _ZERO else _ZERO))
        first = q + _TWO * p * turn
        middle, last = abs(q - p * (turn - lean)), abs(q - p * (turn + lean))
        h[0, x], h[1, x], h[2, x], h[3, x], h[4, x], h[5, x] = a, b, c, d, e, f
        h[6, x], h[7, x] = first, first - (middle if middle > last else last)


@njit(nogil=True, cache=True)
def _normal(
    a: float, b: float, c: float, d: float, e: float, f: float, first: float, out: Any
) -> bool:
    """The eigenvector of ``first``: normal to two rows of the Hessian less it."""
    aa, bb, cc = float(a) - first, float(b) - first, float(c) - first
    x0, y0, z0 = d * f - e * bb, e * d - aa * f, aa * bb - d * d
    x1, y1, z1 = d * cc - e * f, e * e - aa * cc, aa * f - d * e
    x2, y2, z2 = bb * cc - f * f, f * e - d * cc, d * f - bb * e
    n0 = x0 * x0 + y0 * y0 + z0 * z0
    n1 = x1 * x1 + y1 * y1 + z1 * z1
    n2 = x2 * x2 + y2 * y2 + z2 * z2
    if n1 > n0:
        x0, y0, z0, n0 = x1, y1, z1, n1
    if n2 > n0:
        x0, y0, z0, n0 = x2, y2, z2, n2
    if n0 <= 0.0:
        return False
    size = UNIT / math.sqrt(n0)
    out[0], out[1], out[2] = round(x0 * size), round(y0 * size), round(z0 * size)
    return True


@njit(nogil=True, cache=True, fastmath=_FAST)
def _linear(v: Any, x: float, y: float, z: float) -> float:
    i, j, k = int(x), int(y), int(z)
    u, w, t = x - i, y - j, z - k
    a = (1 - u) * v[k, j, i] + u * v[k, j, i + 1]
    b = (1 - u) * v[k, j + 1, i] + u * v[k, j + 1, i + 1]
    c = (1 - u) * v[k + 1, j, i] + u * v[k + 1, j, i + 1]
    d = (1 - u) * v[k + 1, j + 1, i] + u * v[k + 1, j + 1, i + 1]
    return (1 - t) * ((1 - w) * a + w * b) + t * ((1 - w) * c + w * d)  # type: ignore[no-any-return]


@njit(nogil=True, cache=True)
def crest(strength: Any, normal: Any, x: int, y: int, z: int) -> float:
    """How far along the normal the crest of the sheet lies, voxels; 9 when beyond the voxel.

    It is a ridge voxel where no point one voxel along the normal is stronger.
    """
    s = strength[z, y, x]
    a, b, c = normal[z, y, x, 0] / UNIT, normal[z, y, x, 1] / UNIT, normal[z, y, x, 2] / UNIT
    after = _linear(strength, x + a, y + b, z + c)
    if after > s:
        return 9.0
    before = _linear(strength, x - a, y - b, z - c)
    if before >= s:
        return 9.0
    return float(0.5 * (before - after) / (before - 2.0 * s + after))


@njit(nogil=True, cache=True)
def crests(strength: Any, normal: Any, points: Any, offset: Any) -> None:
    """Where the sheet passes, from the middle of ridge voxels ``(n, 3)``, both as z, y, x."""
    for p in range(points.shape[0]):
        z, y, x = points[p]
        along = crest(strength, normal, x, y, z) / UNIT
        for k in range(3):
            offset[p, k] = along * normal[z, y, x, 2 - k]


@njit(nogil=True, cache=True, fastmath=_FAST)
def vote(
    strength: Any, normal: Any, least: float, wanted: float, disc: Any, weights: Any, bends: Any,
    low: Any, votes: Any,
) -> None:  # fmt: skip
    """Votes of its neighbourhood for every ridge voxel of a box within a volume.

    Neighbours on a spherical cap tangent to the voxel vote with their strength, as far as their
    normals are those of the cap; the best of some curvatures counts.

    Parameters
    ----------
    least : float
        Weaker voxels are not looked at.
    wanted : float
        Votes below it need not be exact, and may be left 0.
    disc : (n, 2) float64
        Samples of the plane, voxels.
    weights : (n,) float64
        Sum 1.
    bends : (m,) float64
        Curvatures, 1 / voxel, the first 0.
    low : (3,) int64
        First voxel of the box, z, y, x; at least the disc's reach and one from all sides.
    votes : (mz, my, mx) float32, zeros
        Of the box.
    """
    mz, my, mx = votes.shape
    hope, share = _HOPE * wanted, weights[:INNER].sum()
    for z in range(low[0], low[0] + mz):
        for y in range(low[1], low[1] + my):
            for x in range(low[2], low[2] + mx):
                if strength[z, y, x] < least or crest(strength, normal, x, y, z) > 1.0:
                    continue
                a, b, c = (
                    normal[z, y, x, 0] / UNIT, normal[z, y, x, 1] / UNIT, normal[z, y, x, 2] / UNIT
                )  # fmt: skip
                # two directions within the plane
                if abs(a) <= abs(b) and abs(a) <= abs(c):
                    ux, uy, uz = 0.0, c, -b
                elif abs(b) <= abs(c):
                    ux, uy, uz = -c, 0.0, a
                else:
                    ux, uy, uz = b, -a, 0.0
                size = 1.0 / math.sqrt(ux * ux + uy * uy + uz * uz)
                ux, uy, uz = ux * size, uy * size, uz * size
                wx, wy, wz = b * uz - c * uy, c * ux - a * uz, a * uy - b * ux
                best = 0.0
                for bend in bends:
                    total = 0.0
                    for k in range(disc.shape[0]):
                        if k == INNER and total < hope * share:
                            break
                        i, j = disc[k, 0], disc[k, 1]
                        rise = 0.5 * bend * (i * i + j * j)
                        px = int(x + i * ux + j * wx + rise * a + 0.5)
                        py = int(y + i * uy + j * wy + rise * b + 0.5)
                        pz = int(z + i * uz + j * wz + rise * c + 0.5)
                        s = strength[pz, py, px]
                        if s <= 0.0:
                            continue
                        # the cap's normal leans back by the slope bend * r
                        ex = a - bend * (i * ux + j * wx)
                        ey = b - bend * (i * uy + j * wy)
                        ez = c - bend * (i * uz + j * wz)
                        dot = (
                            ex * normal[pz, py, px, 0]
                            + ey * normal[pz, py, px, 1]
                            + ez * normal[pz, py, px, 2]
                        ) / UNIT
                        like = dot * dot / (ex * ex + ey * ey + ez * ez)
                        total += weights[k] * s * like * like
                    best = max(best, total)
                    if best < hope:
                        break
                votes[z - low[0], y - low[1], x - low[2]] = best


@njit(nogil=True, cache=True)
def mark_balls(mask: Any, points: Any, offsets: Any) -> None:
    """Set the voxels at ``offsets`` around each of ``points``, both (n, 3) as z, y, x."""
    nz, ny, nx = mask.shape
    for p in range(points.shape[0]):
        for o in range(offsets.shape[0]):
            z, y, x = (
                points[p, 0] + offsets[o, 0],
                points[p, 1] + offsets[o, 1],
                points[p, 2] + offsets[o, 2],
            )
            if 0 <= z < nz and 0 <= y < ny and 0 <= x < nx:
                mask[z, y, x] = 1


def disc_samples(radius: float) -> tuple[Any, Any]:
    """Samples of a disc without its centre, (n, 2), and their Gaussian weights, (n,)."""
    rings = []
    for part, count in ((0.3, INNER), (0.65, 10), (1.0, 14)):
        angle = 2 * np.pi * (np.arange(count) + part) / count
        rings.append(part * radius * np.stack([np.cos(angle), np.sin(angle)], 1))
    disc = np.concatenate(rings)
    # each sample stands for the area about it
    areas = np.repeat([0.225 / INNER, 0.45 / 10, 0.5 / 14], [INNER, 10, 14])
    weights = areas * np.exp(-0.5 * (disc**2).sum(1) / (0.6 * radius) ** 2)
    return disc, weights / weights.sum()


def gauss(sigma: float) -> Any:
    """Half of a Gaussian kernel to 3 sigma for :func:`blur`, ``(radius + 1,)`` float32."""
    half = np.exp(-0.5 * (np.arange(int(3 * sigma + 0.5) + 1) / max(sigma, 1e-6)) ** 2)
    return (half / (2 * half.sum() - half[0])).astype(np.float32)
