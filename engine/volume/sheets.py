"""Kernels that find sheets: plane-ness from the Hessian, votes along the curved tangent plane."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

_FAST = {"contract", "reassoc", "nsz"}


@njit(nogil=True, cache=True, fastmath=_FAST)
def plane_ness(v: Any, sign: float, gain: float, strength: Any, normal: Any) -> None:
    """Keep the larger plane-ness of each voxel, and its normal; the outermost voxels stay.

    The Hessian's largest eigenvalue less the larger magnitude of the others: 0 for lines and
    balls, and where the sheet is of the other sign.

    Parameters
    ----------
    v : (nz, ny, nx) float32
        Smoothed.
    sign : float
        1 for dark sheets, -1 for light ones.
    gain : float
        Normalises the scale.
    strength : (nz, ny, nx) float32
    normal : (nz, ny, nx, 3) float32, as x, y, z
    """
    nz, ny, nx = v.shape
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            for x in range(1, nx - 1):
                twice = 2.0 * v[z, y, x]
                a = sign * (v[z, y, x + 1] + v[z, y, x - 1] - twice)
                b = sign * (v[z, y + 1, x] + v[z, y - 1, x] - twice)
                c = sign * (v[z + 1, y, x] + v[z - 1, y, x] - twice)
                if a + b + c <= 0.0 and max(a, b, c) <= 0.0:
                    continue
                d = 0.25 * sign * (
                    v[z, y + 1, x + 1] + v[z, y - 1, x - 1]
                    - v[z, y + 1, x - 1] - v[z, y - 1, x + 1]
                )  # fmt: skip
                e = 0.25 * sign * (
                    v[z + 1, y, x + 1] + v[z - 1, y, x - 1]
                    - v[z + 1, y, x - 1] - v[z - 1, y, x + 1]
                )  # fmt: skip
                f = 0.25 * sign * (
                    v[z + 1, y + 1, x] + v[z - 1, y - 1, x]
                    - v[z + 1, y - 1, x] - v[z - 1, y + 1, x]
                )  # fmt: skip
                q = (a + b + c) / 3.0
                aa, bb, cc = a - q, b - q, c - q
                p2 = (aa * aa + bb * bb + cc * cc + 2.0 * (d * d + e * e + f * f)) / 6.0
                if p2 <= 1e-30:
                    continue
                p = math.sqrt(p2)
                det = aa * (bb * cc - f * f) - d * (d * cc - f * e) + e * (d * f - bb * e)
                triple = min(max(0.5 * det / (p2 * p), -1.0), 1.0)
                angle = math.acos(triple) / 3.0
                first = q + 2.0 * p * math.cos(angle)
                last = q + 2.0 * p * math.cos(angle + 2.0 * math.pi / 3.0)
                middle = 3.0 * q - first - last
                s = gain * (first - max(abs(middle), abs(last)))
                if s <= strength[z, y, x]:
                    continue
                # the eigenvector is normal to two rows of H - first
                aa, bb, cc = a - first, b - first, c - first
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
                    continue
                norm = 1.0 / math.sqrt(n0)
                strength[z, y, x] = s
                normal[z, y, x, 0] = x0 * norm
                normal[z, y, x, 1] = y0 * norm
                normal[z, y, x, 2] = z0 * norm


@njit(nogil=True, cache=True)
def _linear(v: Any, x: float, y: float, z: float) -> float:
    i, j, k = int(x), int(y), int(z)
    u, w, t = x - i, y - j, z - k
    total = 0.0
    for c in range(2):
        for b in range(2):
            weight = (t if c else 1 - t) * (w if b else 1 - w)
            total += weight * ((1 - u) * v[k + c, j + b, i] + u * v[k + c, j + b, i + 1])
    return total


@njit(nogil=True, cache=True)
def is_ridge(strength: Any, normal: Any, x: int, y: int, z: int) -> bool:
    """Whether no point one voxel along the normal is a stronger sheet."""
    s = strength[z, y, x]
    nx, ny, nz = normal[z, y, x, 0], normal[z, y, x, 1], normal[z, y, x, 2]
    return bool(
        _linear(strength, x + nx, y + ny, z + nz) <= s
        and _linear(strength, x - nx, y - ny, z - nz) < s
    )


@njit(nogil=True, cache=True)
def vote(
    strength: Any, normal: Any, least: float, disc: Any, weights: Any, bends: Any, halo: int,
    votes: Any,
) -> None:  # fmt: skip
    """Votes of its neighbourhood for every ridge voxel at least ``halo`` inside the volume.

    Neighbours on a spherical cap tangent to the voxel vote with their strength, as far as their
    normals are those of the cap; the best of some curvatures counts.

    Parameters
    ----------
    disc : (n, 2) float64
        Samples of the plane, voxels.
    weights : (n,) float64
        Sum 1.
    bends : (m,) float64
        Curvatures, 1 / voxel.
    votes : (nz, ny, nx) float32, zeros
    """
    nz, ny, nx = strength.shape
    for z in range(halo, nz - halo):
        for y in range(halo, ny - halo):
            for x in range(halo, nx - halo):
                if strength[z, y, x] < least or not is_ridge(strength, normal, x, y, z):
                    continue
                a, b, c = normal[z, y, x, 0], normal[z, y, x, 1], normal[z, y, x, 2]
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
                        )
                        like = dot * dot / (ex * ex + ey * ey + ez * ez)
                        total += weights[k] * s * like * like
                    best = max(best, total)
                votes[z, y, x] = best


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
    for part, count in ((0.3, 8), (0.65, 10), (1.0, 14)):
        angle = 2 * np.pi * (np.arange(count) + part) / count
        rings.append(part * radius * np.stack([np.cos(angle), np.sin(angle)], 1))
    disc = np.concatenate(rings)
    # each sample stands for the area about it
    areas = np.repeat([0.225 / 8, 0.45 / 10, 0.5 / 14], [8, 10, 14])
    weights = areas * np.exp(-0.5 * (disc**2).sum(1) / (0.6 * radius) ** 2)
    return disc, weights / weights.sum()
