"""Positions of beads in views that are known, whatever some of their points say."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.normal import residual_and_jacobian

_TRIALS = 80
_DRAGGED = 3.0
_INLIER = 4.0
_LEAST_POINTS = 4


@njit(nogil=True, cache=True)
def _consensus(m: Any, s: Any, xy: Any, views: Any, trials: int, inlier: float) -> Any:
    """The position of least median of distances (doi:10.1080/01621459.1984.10477105), then the
    least-squares one of the points that are near it."""
    n = len(views)
    best: float = np.inf
    found: Any = np.zeros(3)
    away = np.empty(n)
    state = np.uint64(88172645463325252)
    for _ in range(trials):
        a, b = np.zeros((3, 3)), np.zeros(3)
        for _ in range(3):
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            v = views[int(state % np.uint64(n))]
            for r in range(2):
                for i in range(3):
                    b[i] += m[v, r, i] * (xy[v, r] - s[v, r])
                    for j in range(3):
                        a[i, j] += m[v, r, i] * m[v, r, j]
        if np.linalg.det(a) < 1e-4:
            continue
        x = np.linalg.solve(a, b)
        for k in range(n):
            v = views[k]
            e = m[v] @ x + s[v] - xy[v]
            away[k] = np.hypot(e[0], e[1])
        middle = np.median(away)
        if middle < best:
            best, found = middle, x
    if best == np.inf:
        return found, False
    a, b = 1e-9 * np.eye(3), 1e-9 * found
    for k in range(n):
        v = views[k]
        e = m[v] @ found + s[v] - xy[v]
        if np.hypot(e[0], e[1]) <= inlier * best + 1e-9:
            for r in range(2):
                for i in range(3):
                    b[i] += m[v, r, i] * (xy[v, r] - s[v, r])
                    for j in range(3):
                        a[i, j] += m[v, r, i] * m[v, r, j]
    return np.linalg.solve(a, b), True


def agreed_position(geometry: ViewGeometry, track: Floats) -> Floats:
    """The position that most points of one bead agree on.

    Parameters
    ----------
    track : (n_views, 2)
        NaN at gaps.

    Returns
    -------
    (3,)
        NaN with fewer than four points.
    """
    views = np.flatnonzero(np.isfinite(track).all(1))
    nowhere = np.full(3, np.nan)
    if len(views) < _LEAST_POINTS:
        return nowhere
    m = np.ascontiguousarray(geometry.matrices())
    found, good = _consensus(m, geometry.shift_px, track, views, _TRIALS, _INLIER)
    position: Floats = found if good else nowhere
    return position


def triangulate(p: Floats, xyz: Floats, xy: Floats, measured: npt.NDArray[np.bool_]) -> Floats:
    """Positions that most points of each bead agree on.

    Parameters
    ----------
    p : (n_views, 7)
        Parameters of the views (see ``system.packed``).
    xyz : (n_points, 3)
        By least squares; kept for beads whose points are as near as those of the others.
    xy : (n_points, n_views, 2)
    measured : (n_points, n_views)

    Returns
    -------
    (n_points, 3)
    """
    m, s, j = np.empty((len(p), 2, 3)), np.empty((len(p), 2)), np.empty((2, 7))
    nowhere = np.zeros(3)
    for v in range(len(p)):
        residual_and_jacobian(p[v], nowhere, s[v], j, m[v])
    error = np.einsum("vij,pj->pvi", m, xyz) + s - xy
    away = np.where(measured, np.hypot(error[..., 0], error[..., 1]), np.nan)
    # Every bead has two points or more, so that no median is of nothing.
    usual = np.nanmedian(away, axis=1)
    out = xyz.copy()
    dragged = usual > _DRAGGED * float(np.median(usual)) + 1e-9
    for i in np.flatnonzero(dragged & (measured.sum(1) >= _LEAST_POINTS)).tolist():
        found, good = _consensus(m, s, xy[i], np.flatnonzero(measured[i]), _TRIALS, _INLIER)
        if good:
            out[i] = found
    return out
