"""The normal equations with the beads eliminated, and the leave-one-out errors from them."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.normal import accumulate, gather, leave_one_out
from tiltwright.engine.solve.variables import N_KINDS

RIDGE = 1e-9


def packed(g: ViewGeometry) -> Floats:
    """The parameters of all views, ``(n_views, 7)``."""
    return np.column_stack(
        [
            g.shift_px,
            np.deg2rad(g.axis_deg),
            np.log(g.magnification),
            np.deg2rad(g.tilt_deg),
            g.stretch,
            g.skew,
        ]
    )


def unpacked(p: Floats) -> ViewGeometry:
    return ViewGeometry(
        np.rad2deg(p[:, 4]),
        np.rad2deg(p[:, 2]),
        np.exp(p[:, 3]),
        p[:, 5].copy(),
        p[:, 6].copy(),
        p[:, :2].copy(),
    )


def translations(p: Floats) -> Floats:
    """``(3, n_views * 7)``: the shifts of the views under translations of the specimen."""
    m = unpacked(p).matrices()
    out = np.zeros((3, len(p), N_KINDS))
    out[:, :, :2] = m.transpose(2, 0, 1)
    return out.reshape(3, -1)


class System:
    """The normal equations at one state, points eliminated."""

    def __init__(self, p: Floats, xyz: Floats, xy: Floats, w: Floats, sparse: csr_array) -> None:
        n, v = w.shape
        self.views = np.empty((v, N_KINDS, N_KINDS + 1))
        self.cross = np.empty((n, 3, v, N_KINDS))
        self.own = np.empty((n, 3, 4))
        self.sparse = sparse
        self.gathered = False
        accumulate(p, xyz, xy, w, self.views, self.cross, self.own)

    def reduce(self, g: Floats, gauge: Floats, prior: Floats, damping: float) -> None:
        """Reduce to the variables of the map ``g``; ``prior`` is the precision of each."""
        n = len(self.own)
        block = self.own[:, :, :3].copy()
        diagonal = np.einsum("pii->pi", block)
        own = diagonal.sum(1, keepdims=True) / 3
        # Of all beads too: one whose points are all weighted to nothing stays where it is.
        diagonal += damping * diagonal + RIDGE * (own + own.mean())
        self.inverse = np.linalg.inv(block)
        root = np.linalg.cholesky(self.inverse)
        if not self.gathered:
            self.gathered = True
            n_q = g.shape[1]
            self.w, self.full = np.empty((n, 3, n_q)), np.empty((n_q, n_q))
            table = (self.sparse.indptr, self.sparse.indices, self.sparse.data)
            gather(self.views, self.cross, *table, self.full, self.w)
        half = np.matmul(np.swapaxes(root, 1, 2), self.w).reshape(n * 3, -1)
        full = self.full.copy()
        scale = np.diag(full).copy()
        scale[scale <= 0] = 1.0
        pull = gauge @ g
        full += pull.T @ pull * (scale.mean() / max(float(np.sum(pull**2)), 1e-12) * 10)
        full[np.diag_indices_from(full)] += prior + (damping + RIDGE) * scale
        self.factor = cho_factor(full - half.T @ half, lower=True, check_finite=False)

    def step(self, g: Floats, prior: Floats, q: Floats) -> tuple[Floats, Floats]:
        """Changes of the variables and of the points."""
        right_points = -self.own[:, :, 3]
        moved = np.einsum("pij,pj->pi", self.inverse, right_points)
        right = -g.T @ self.views[:, :, N_KINDS].ravel() - prior * q
        right -= np.einsum("pkq,pk->q", self.w, moved)
        dq = cho_solve(self.factor, right, check_finite=False)
        dx = moved - np.einsum("pij,pj->pi", self.inverse, self.w @ dq)
        return dq, dx


def prediction_blocks(
    p: Floats, xyz: Floats, xy: Floats, w: Floats, g: Floats, prior: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """What the covariance of every predicted position is made of.

    Returns
    -------
    blocks (n_views, 7, 7), mixed (n_points, n_views, 7, 3), back, inverse (n_points, 3, 3)
        Covariance of each view; of views with points; of points, by the views and their own.
    """
    n, v = w.shape
    sparse = csr_array(g)
    system = System(p, xyz, xy, w, sparse)
    system.reduce(g, translations(p), prior, 0.0)
    cov = cho_solve(system.factor, np.eye(g.shape[1]), check_finite=False)
    gc: Floats = np.asarray(sparse @ cov, np.float64)
    blocks = gc.reshape(v, N_KINDS, -1) @ np.swapaxes(g.reshape(v, N_KINDS, -1), 1, 2)
    b = np.matmul(system.inverse, system.w)
    flat = b.reshape(n * 3, -1)
    mixed: Floats = (gc @ flat.T).reshape(v, N_KINDS, n, 3).transpose(2, 0, 1, 3).copy()
    back: Floats = np.matmul((flat @ cov).reshape(n, 3, -1), np.swapaxes(b, 1, 2))
    inverse: Floats = np.asarray(system.inverse, np.float64)
    return blocks, mixed, back, inverse


def loo_distances(
    p: Floats, xyz: Floats, xy: Floats, w: Floats, error: Floats, g: Floats, prior: Floats
) -> Floats:
    """Leave-one-out distances, ``(n_points, n_views)``."""
    out = np.empty(w.shape)
    leave_one_out(p, xyz, w, error, *prediction_blocks(p, xyz, xy, w, g, prior), out)
    return out
