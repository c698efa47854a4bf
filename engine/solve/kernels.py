"""Kernels of the bundle adjustment: residuals, normal equations, covariance of predictions.

The local parameters of a view are ``(shift x, shift y, rotation, log magnification, tilt,
stretch, skew)``, angles in radian; see ``engine/conventions.py`` for the model. All kernels are
sequential, so that they may run in a live thread.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.variables import Ints


@njit(nogil=True, cache=True)
def _view(local: Floats, point: Floats, pred: Floats, jac: Floats) -> None:
    """Predicted position ``(2,)`` and Jacobian ``(2, 10)``: seven local parameters, then xyz."""
    cp, sp = np.cos(local[2]), np.sin(local[2])
    m = np.exp(local[3])
    ct, st = np.cos(local[4]), np.sin(local[4])
    a, k = 1.0 + local[5], local[6]
    q0 = point[0] * ct + point[2] * st
    dq = -point[0] * st + point[2] * ct
    q1 = point[1]
    ux, uy = m * (a * q0 + k * q1), m * q1
    rx, ry = cp * ux - sp * uy, sp * ux + cp * uy
    pred[0], pred[1] = local[0] + rx, local[1] + ry
    jac[0, 0], jac[1, 0], jac[0, 1], jac[1, 1] = 1.0, 0.0, 0.0, 1.0
    jac[0, 2], jac[1, 2] = -ry, rx
    jac[0, 3], jac[1, 3] = rx, ry
    for row in range(2):
        r = m * (cp if row == 0 else sp)
        jac[row, 4] = r * a * dq
        jac[row, 5] = r * q0
        jac[row, 6] = r * q1
        jac[row, 7] = r * a * ct
        jac[row, 9] = r * a * st
    jac[0, 8] = m * (cp * k - sp)
    jac[1, 8] = m * (sp * k + cp)


@njit(nogil=True, cache=True)
def predict(local: Floats, xyz: Floats, out: Floats) -> None:
    """Fill ``out`` ``(n_tracks, n_views, 2)`` with predicted positions."""
    jac = np.zeros((2, 10))
    for t in range(xyz.shape[0]):
        for v in range(local.shape[0]):
            _view(local[v], xyz[t], out[t, v], jac)


@njit(nogil=True, cache=True)
def point_jacobian(local: Floats, out: Floats) -> None:
    """Fill ``out`` ``(n_views, 2, 10)`` with the Jacobian of the specimen's origin."""
    pred, origin = np.zeros(2), np.zeros(3)
    for v in range(local.shape[0]):
        _view(local[v], origin, pred, out[v])


@njit(nogil=True, cache=True)
def normal_equations(
    local: Floats,
    xyz: Floats,
    tracks: Floats,
    weight: Floats,
    index: Ints,
    factor: Floats,
    damping: float,
    block: Floats,
    gradient: Floats,
    reduced: Floats,
    reduced_gradient: Floats,
    lower: Floats,
) -> None:
    """Accumulate the normal equations with the points ready to be eliminated.

    With ``B`` the block of the variables, ``V = L L'`` that of a point and ``W`` what couples
    them, fills ``block`` with ``B`` ``(n, n)``, ``gradient`` ``(n,)``, ``reduced`` with
    ``inv(L) W'`` ``(n_tracks, 3, n)``, ``reduced_gradient`` ``(n_tracks, 3)`` and ``lower``
    ``(n_tracks, 3, 3)``. The outputs must come zeroed. Weight 0 is a gap.
    """
    n_tracks, n_views = weight.shape
    n = gradient.shape[0]
    pred, jac = np.zeros(2), np.zeros((2, 10))
    view_block, view_gradient = np.zeros((n_views, 7, 7)), np.zeros((n_views, 7))
    for t in range(n_tracks):
        v3, g3 = np.zeros((3, 3)), np.zeros(3)
        w3 = reduced[t]
        for v in range(n_views):
            w = weight[t, v]
            if w == 0.0:
                continue
            _view(local[v], xyz[t], pred, jac)
            ex, ey = pred[0] - tracks[t, v, 0], pred[1] - tracks[t, v, 1]
            for i in range(7):
                view_gradient[v, i] += w * (jac[0, i] * ex + jac[1, i] * ey)
                for j in range(i + 1):
                    view_block[v, i, j] += w * (jac[0, i] * jac[0, j] + jac[1, i] * jac[1, j])
                for c in range(3):
                    value = w * (jac[0, i] * jac[0, 7 + c] + jac[1, i] * jac[1, 7 + c])
                    for s in range(2):
                        if index[v, i, s] >= 0:
                            w3[c, index[v, i, s]] += factor[v, i, s] * value
            for i in range(3):
                g3[i] += w * (jac[0, 7 + i] * ex + jac[1, 7 + i] * ey)
                for j in range(3):
                    v3[i, j] += w * (jac[0, 7 + i] * jac[0, 7 + j] + jac[1, 7 + i] * jac[1, 7 + j])
        trace = v3[0, 0] + v3[1, 1] + v3[2, 2]
        for i in range(3):
            v3[i, i] += damping * v3[i, i] + 1e-12 * trace
        low = lower[t]
        low[0, 0] = np.sqrt(v3[0, 0])
        low[1, 0] = v3[1, 0] / low[0, 0]
        low[1, 1] = np.sqrt(max(v3[1, 1] - low[1, 0] ** 2, 1e-12 * trace))
        low[2, 0] = v3[2, 0] / low[0, 0]
        low[2, 1] = (v3[2, 1] - low[2, 0] * low[1, 0]) / low[1, 1]
        low[2, 2] = np.sqrt(max(v3[2, 2] - low[2, 0] ** 2 - low[2, 1] ** 2, 1e-12 * trace))
        for c in range(3):
            for e in range(c):
                g3[c] -= low[c, e] * g3[e]
            g3[c] /= low[c, c]
            reduced_gradient[t, c] = g3[c]
        for i in range(n):
            w3[0, i] /= low[0, 0]
            w3[1, i] = (w3[1, i] - low[1, 0] * w3[0, i]) / low[1, 1]
            w3[2, i] = (w3[2, i] - low[2, 0] * w3[0, i] - low[2, 1] * w3[1, i]) / low[2, 2]
    for v in range(n_views):
        for i in range(7):
            for a in range(2):
                if index[v, i, a] < 0:
                    continue
                gradient[index[v, i, a]] += factor[v, i, a] * view_gradient[v, i]
                for j in range(7):
                    value = view_block[v, i, j] if j <= i else view_block[v, j, i]
                    for b in range(2):
                        if index[v, j, b] >= 0:
                            block[index[v, i, a], index[v, j, b]] += (
                                factor[v, i, a] * factor[v, j, b] * value
                            )


@njit(nogil=True, cache=True)
def back_substitute(
    lower: Floats, reduced_gradient: Floats, coupled: Floats, xyz: Floats, out: Floats
) -> None:
    """New positions ``out`` after a step; ``coupled`` is ``reduced @ step`` ``(n_tracks, 3)``."""
    for t in range(xyz.shape[0]):
        low = lower[t]
        b2 = (reduced_gradient[t, 2] + coupled[t, 2]) / low[2, 2]
        b1 = (reduced_gradient[t, 1] + coupled[t, 1] - low[2, 1] * b2) / low[1, 1]
        b0 = reduced_gradient[t, 0] + coupled[t, 0] - low[1, 0] * b1 - low[2, 0] * b2
        out[t, 0] = xyz[t, 0] - b0 / low[0, 0]
        out[t, 1] = xyz[t, 1] - b1
        out[t, 2] = xyz[t, 2] - b2


@njit(nogil=True, cache=True)
def prediction_covariance(
    local: Floats,
    xyz: Floats,
    index: Ints,
    factor: Floats,
    lower: Floats,
    covariance: Floats,
    coupled: Floats,
    crossed: Floats,
    out: Floats,
) -> None:
    """Covariance of every predicted position, per unit of noise variance.

    ``covariance`` ``(n, n)`` is that of the variables, ``coupled`` ``reduced @ covariance``
    ``(n_tracks, 3, n)``, ``crossed`` ``(n_tracks, 3, 3)`` ``reduced @ covariance @ reduced'``;
    ``out`` ``(n_tracks, n_views, 2, 2)``.
    """
    n_tracks, n_views = out.shape[:2]
    pred, jac = np.zeros(2), np.zeros((2, 10))
    y = np.zeros((2, 3))
    mixed = np.zeros((7, 3))
    own = np.zeros((n_views, 7, 7))
    for v in range(n_views):
        for i in range(7):
            for j in range(7):
                for a in range(2):
                    for b in range(2):
                        if index[v, i, a] >= 0 and index[v, j, b] >= 0:
                            own[v, i, j] += (
                                factor[v, i, a]
                                * factor[v, j, b]
                                * covariance[index[v, i, a], index[v, j, b]]
                            )
    for t in range(n_tracks):
        low = lower[t]
        for v in range(n_views):
            _view(local[v], xyz[t], pred, jac)
            for r in range(2):
                y[r, 0] = jac[r, 7] / low[0, 0]
                y[r, 1] = (jac[r, 8] - low[1, 0] * y[r, 0]) / low[1, 1]
                y[r, 2] = (jac[r, 9] - low[2, 0] * y[r, 0] - low[2, 1] * y[r, 1]) / low[2, 2]
            for i in range(7):
                for c in range(3):
                    mixed[i, c] = 0.0
                    for a in range(2):
                        if index[v, i, a] >= 0:
                            mixed[i, c] += factor[v, i, a] * coupled[t, c, index[v, i, a]]
            for r in range(2):
                for q in range(2):
                    value = 0.0
                    for i in range(7):
                        for j in range(7):
                            value += jac[r, i] * own[v, i, j] * jac[q, j]
                        for c in range(3):
                            value -= jac[r, i] * mixed[i, c] * y[q, c]
                            value -= jac[q, i] * mixed[i, c] * y[r, c]
                    for c in range(3):
                        value += y[r, c] * y[q, c]
                        for d in range(3):
                            value += y[r, c] * crossed[t, c, d] * y[q, d]
                    out[t, v, r, q] = value
