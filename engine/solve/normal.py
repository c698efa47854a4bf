"""Normal equations of the bundle adjustment, accumulated point by point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def residual_and_jacobian(p: Any, x: Any, e: Any, j: Any, m: Any) -> None:
    """Projection ``e`` (2) of point ``x`` (3) in a view with parameters ``p`` (7).

    ``j`` (2, 7) receives the derivatives by ``p``, ``m`` (2, 3) those by ``x``. Angles are in
    radians, magnifications logarithmic (see ``variables.KINDS``).
    """
    c, s = np.cos(p[4]), np.sin(p[4])
    mag = np.exp(p[3])
    rc, rs = mag * np.cos(p[2]), mag * np.sin(p[2])
    a = 1 + p[5]
    u = x[0] * c + x[2] * s
    du = x[2] * c - x[0] * s
    w = a * u + p[6] * x[1]
    ox = rc * w - rs * x[1]
    oy = rs * w + rc * x[1]
    e[0], e[1] = ox + p[0], oy + p[1]
    j[0, 0], j[1, 0], j[0, 1], j[1, 1] = 1.0, 0.0, 0.0, 1.0
    j[0, 2], j[1, 2] = -oy, ox
    j[0, 3], j[1, 3] = ox, oy
    j[0, 4], j[1, 4] = rc * a * du, rs * a * du
    j[0, 5], j[1, 5] = rc * u, rs * u
    j[0, 6], j[1, 6] = rc * x[1], rs * x[1]
    m[0, 0], m[1, 0] = rc * a * c, rs * a * c
    m[0, 1], m[1, 1] = rc * p[6] - rs, rs * p[6] + rc
    m[0, 2], m[1, 2] = rc * a * s, rs * a * s


@njit(nogil=True, cache=True)
def accumulate(p: Any, xyz: Any, xy: Any, w: Any, views: Any, cross: Any, own: Any) -> Any:
    """Add up the blocks of the normal equations.

    Parameters
    ----------
    p : (n_views, 7)
    xyz : (n_points, 3)
    xy : (n_points, n_views, 2)
    w : (n_points, n_views), 0 where nothing is measured
    views : (n_views, 7, 8), out
        Blocks of the views and, last, their gradients ``J' w e``.
    cross : (n_points, 3, n_views, 7), out
    own : (n_points, 3, 4), out
        Blocks of the points and, last, their gradients.
    """
    views[:] = 0
    cross[:] = 0
    own[:] = 0
    e, j, m = np.empty(2), np.empty((2, 7)), np.empty((2, 3))
    for i in range(len(xyz)):
        for v in range(len(p)):
            weight = w[i, v]
            if weight <= 0:
                continue
            residual_and_jacobian(p[v], xyz[i], e, j, m)
            for r in range(2):
                d = e[r] - xy[i, v, r]
                for a in range(7):
                    f = weight * j[r, a]
                    for b in range(a + 1):
                        views[v, a, b] += f * j[r, b]
                    views[v, a, 7] += f * d
                    for k in range(3):
                        cross[i, k, v, a] += f * m[r, k]
                for k in range(3):
                    for n in range(3):
                        own[i, k, n] += weight * m[r, k] * m[r, n]
                    own[i, k, 3] += weight * m[r, k] * d
    for v in range(len(p)):
        for a in range(7):
            for b in range(a):
                views[v, b, a] = views[v, a, b]


@njit(nogil=True, cache=True)
def residuals(p: Any, xyz: Any, xy: Any, out: Any) -> None:
    """``out = predicted - measured`` for every point in every view (NaN where ``xy`` is)."""
    e, j, m = np.empty(2), np.empty((2, 7)), np.empty((2, 3))
    for i in range(len(xyz)):
        for v in range(len(p)):
            residual_and_jacobian(p[v], xyz[i], e, j, m)
            out[i, v, 0] = e[0] - xy[i, v, 0]
            out[i, v, 1] = e[1] - xy[i, v, 1]


@njit(nogil=True, cache=True)
def leave_one_out(
    p: Any, xyz: Any, w: Any, error: Any, cov: Any, mixed: Any, back: Any, inverse: Any, out: Any
) -> None:
    """Distance of each point from where the others predict it, ``|(I - H)^-1 e|``.

    ``cov`` (n_views, 7, 7) covariance of each view; ``mixed`` (n_points, n_views, 7, 3)
    ``G C B'``; ``back`` (n_points, 3, 3) ``B C B'``; ``inverse`` (n_points, 3, 3) of the blocks of
    the points, where ``B = U^-1 W`` eliminates them. Written to ``out`` (n_points, n_views),
    NaN where a point has no redundancy.
    """
    e, j, m = np.empty(2), np.empty((2, 7)), np.empty((2, 3))
    for i in range(len(xyz)):
        for v in range(len(p)):
            weight = w[i, v]
            dx, dy = error[i, v, 0], error[i, v, 1]
            if not (np.isfinite(dx) and np.isfinite(dy)):
                out[i, v] = np.nan
                continue
            if weight <= 0:
                out[i, v] = np.hypot(dx, dy)
                continue
            residual_and_jacobian(p[v], xyz[i], e, j, m)
            h = np.zeros((2, 2))
            for r in range(2):
                for s in range(r + 1):
                    t = 0.0
                    for a in range(7):
                        for b in range(7):
                            t += j[r, a] * cov[v, a, b] * j[s, b]
                        for k in range(3):
                            t -= mixed[i, v, a, k] * (j[r, a] * m[s, k] + j[s, a] * m[r, k])
                    for k in range(3):
                        for n in range(3):
                            t += m[r, k] * (back[i, k, n] + inverse[i, k, n]) * m[s, n]
                    h[r, s] = weight * t
            a00, a11, a01 = 1 - h[0, 0], 1 - h[1, 1], -h[1, 0]
            det = a00 * a11 - a01 * a01
            if det < 1e-7:
                out[i, v] = np.nan
            else:
                out[i, v] = np.hypot(a11 * dx - a01 * dy, a00 * dy - a01 * dx) / det


@njit(nogil=True, cache=True)
def gather(views: Any, cross: Any, start: Any, column: Any, value: Any, full: Any, w: Any) -> None:
    """``full = G' V G`` and ``w = cross G`` for a sparse map ``G`` (compressed rows).

    ``views`` (n_views, 7, 8), ``cross`` (n_points, 3, n_views, 7), ``full`` (n_variables,
    n_variables) out, ``w`` (n_points, 3, n_variables) out.
    """
    full[:] = 0
    w[:] = 0
    for v in range(len(views)):
        for a in range(7):
            for m in range(start[7 * v + a], start[7 * v + a + 1]):
                for b in range(7):
                    f = value[m] * views[v, a, b]
                    for n in range(start[7 * v + b], start[7 * v + b + 1]):
                        full[column[m], column[n]] += f * value[n]
    for i in range(len(cross)):
        for k in range(3):
            for v in range(len(views)):
                for a in range(7):
                    f = cross[i, k, v, a]
                    for m in range(start[7 * v + a], start[7 * v + a + 1]):
                        w[i, k, column[m]] += f * value[m]
