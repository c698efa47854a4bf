"""The fiducial alignment: a robust bundle adjustment of views and beads.

Levenberg-Marquardt steps on the normal equations with the beads eliminated
(doi:10.1007/3-540-44480-7_21); outliers are weighted down by Tukey's biweight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.normal import accumulate, gather, leave_one_out, residuals
from tiltwright.engine.solve.variables import N_KINDS, Variables, linear_maps, stacked

Bools = npt.NDArray[np.bool_]
_RAYLEIGH_MEDIAN = 1.1774
_TUKEY = 5.0
_RIDGE = 1e-9
_DISTORTION_SD = 0.02


@dataclass(frozen=True)
class Solution:
    """A solved alignment.

    Attributes
    ----------
    geometry
        Of every view; views without points are interpolated in the order of tilt.
    xyz : (n_tracks, 3)
        NaN for a track with fewer than two points in the views that were solved.
    residual_px : (n_tracks, n_views, 2)
        Predicted minus measured, NaN at gaps.
    weight : (n_tracks, n_views)
        Robust weights, 0 at gaps and where a point took no part.
    loo_px : (n_tracks, n_views)
        Distance from where all the other points predict it; NaN at gaps and where there is no
        redundancy.
    sd : (n_tracks, n_views)
        Length of the residual over ``sigma_px``.
    mean_residual_px, weighted_mean_px
        Mean length of the residuals of the views solved, plain and weighted.
    leave_one_out_px
        Mean of ``loo_px`` over the points of weight above 0.1.
    sigma_px
        Robust standard deviation of one coordinate, corrected for the degrees of freedom.
    """

    geometry: ViewGeometry
    xyz: Floats
    residual_px: Floats
    weight: Floats
    loo_px: Floats
    sd: Floats
    mean_residual_px: float
    weighted_mean_px: float
    leave_one_out_px: float
    sigma_px: float
    variables: Variables
    converged: bool


@dataclass(frozen=True)
class Prior:
    """How much the views of a steady microscope scatter: standard deviations of one view."""

    axis_deg: float
    tilt_deg: float
    magnification: float


def _believed(prior: Prior | None) -> Floats:
    """Standard deviation of the variables of each kind; infinite where nothing is believed."""
    sd = np.full(N_KINDS, np.inf)
    if prior is not None:
        sd[2:5] = np.deg2rad(prior.axis_deg), prior.magnification, np.deg2rad(prior.tilt_deg)
    sd[5:] = _DISTORTION_SD
    return sd


class _System:
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
        diagonal += damping * diagonal + _RIDGE * diagonal.sum(1, keepdims=True) / 3
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
        full[np.diag_indices_from(full)] += prior + (damping + _RIDGE) * scale
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


def _loo(
    p: Floats, xyz: Floats, xy: Floats, w: Floats, error: Floats, g: Floats, prior: Floats
) -> Floats:
    """Leave-one-out distances, ``(n_points, n_views)``."""
    n, v = w.shape
    sparse = csr_array(g)
    system = _System(p, xyz, xy, w, sparse)
    system.reduce(g, _translations(p), prior, 0.0)
    cov = cho_solve(system.factor, np.eye(g.shape[1]), check_finite=False)
    gc: Floats = np.asarray(sparse @ cov, np.float64)
    blocks = gc.reshape(v, N_KINDS, -1) @ np.swapaxes(g.reshape(v, N_KINDS, -1), 1, 2)
    b = np.matmul(system.inverse, system.w)
    flat = b.reshape(n * 3, -1)
    mixed = (gc @ flat.T).reshape(v, N_KINDS, n, 3).transpose(2, 0, 1, 3).copy()
    back = np.matmul((flat @ cov).reshape(n, 3, -1), np.swapaxes(b, 1, 2))
    out = np.empty((n, v))
    leave_one_out(p, xyz, w, error, blocks, mixed, back, system.inverse, out)
    return out


def _translations(p: Floats) -> Floats:
    """``(3, n_views * 7)``: the shifts of the views under translations of the specimen."""
    m = _geometry(p).matrices()
    out = np.zeros((3, len(p), N_KINDS))
    out[:, :, :2] = m.transpose(2, 0, 1)
    return out.reshape(3, -1)


def _geometry(p: Floats) -> ViewGeometry:
    return ViewGeometry(
        np.rad2deg(p[:, 4]),
        np.rad2deg(p[:, 2]),
        np.exp(p[:, 3]),
        p[:, 5].copy(),
        p[:, 6].copy(),
        p[:, :2].copy(),
    )


def _distances(error: Floats, measured: Bools) -> Floats:
    length: Floats = np.hypot(error[..., 0], error[..., 1])[measured]
    return length


def _weights(error: Floats, measured: Bools, freedom: float, tukey: bool) -> Floats:
    length = _distances(error, measured)
    scale = max(float(np.median(length)) / _RAYLEIGH_MEDIAN / freedom, 1e-9)
    w = np.zeros(measured.shape)
    if tukey:
        w[measured] = np.clip(1 - (length / (_TUKEY * scale)) ** 2, 0, None) ** 2
    else:
        w[measured] = 1 / (1 + (length / (2 * scale)) ** 2)
    return w


def _mask(used_views: npt.ArrayLike | None, n: int) -> Bools:
    if used_views is None:
        return np.ones(n, np.bool_)
    given = np.asarray(used_views)
    if given.dtype == np.bool_ and given.shape == (n,):
        return given.copy()
    out = np.zeros(n, np.bool_)
    out[given.astype(np.intp)] = True
    return out


def _fill(p: Floats, base: Floats, seen: Bools, tilt: Floats) -> Floats:
    """Parameters of all views; those not solved lie between their neighbours in tilt order."""
    out = base.copy()
    order = np.argsort(tilt[seen], kind="stable")
    deviation = (p - base[seen])[order]
    for kind in range(N_KINDS):
        out[:, kind] += np.interp(tilt, tilt[seen][order], deviation[:, kind])
    out[seen] = p
    return out


def solve(
    tracks: Floats,
    tilt_deg: npt.ArrayLike,
    axis_deg: float,
    variables: Variables,
    *,
    used_views: npt.ArrayLike | None = None,
    robust: bool = True,
    initial: ViewGeometry | None = None,
    prior: Prior | None = None,
    max_iterations: int = 60,
) -> Solution:
    """Align the views of a tilt series by the beads tracked through them.

    Parameters
    ----------
    tracks : (n_tracks, n_views, 2)
        Raw pixels about the image centre, NaN where a bead was not measured.
    tilt_deg : (n_views,)
        Nominal tilt angles.
    axis_deg
        Nominal tilt axis angle.
    variables
        What may vary about the nominal values (or about ``initial``).
    used_views : (n_views,) bool, or indices, optional
        Views that take part; default: all.
    robust
        Weight outliers down.
    initial
        Where to start; what is fixed keeps these values.
    prior
        Believed scatter of the views about ``initial``, for variables of one view each.
    max_iterations

    Raises
    ------
    InputError
        Shapes do not fit.
    DataError
        Too few points to align by.
    """
    xy_all = np.asarray(tracks, np.float64)
    tilt = np.asarray(tilt_deg, np.float64)
    if xy_all.ndim != 3 or xy_all.shape[1:] != (len(tilt), 2):
        raise InputError(f"tracks of shape {xy_all.shape} for {len(tilt)} tilt angles")
    finite: Bools = np.asarray(
        np.isfinite(xy_all).all(-1) & _mask(used_views, len(tilt))[None, :], np.bool_
    )
    rows: Bools = np.asarray(finite.sum(1) >= 2, np.bool_)
    seen: Bools = np.asarray(finite[rows].any(0), np.bool_)
    if rows.sum() < 2 or seen.sum() < 3:
        raise DataError(
            f"alignment: {int(rows.sum())} beads in {int(seen.sum())} views are too few; "
            "track more beads or use more views"
        )
    start = ViewGeometry.nominal(tilt, axis_deg) if initial is None else initial
    base_all = np.column_stack(
        [
            start.shift_px,
            np.deg2rad(start.axis_deg),
            np.log(start.magnification),
            np.deg2rad(start.tilt_deg),
            start.stretch,
            start.skew,
        ]
    )
    base = base_all[seen]
    measured: Bools = np.asarray(finite[np.ix_(rows, seen)], np.bool_)
    xy = np.where(measured[..., None], xy_all[np.ix_(rows, seen)], np.nan)
    maps = linear_maps(variables, tilt[seen])
    if prior is not None and variables.tilt == "all":
        # The prior holds the offset, so that the least tilted view need not be held.
        maps[4] = np.eye(len(base))
    g = stacked(maps)
    freedom = 1 - (g.shape[1] + 3 * len(xy) - 3) / (2 * measured.sum())
    freedom = float(np.sqrt(max(freedom, 0.05)))
    held = np.zeros(g.shape[1])
    believed = np.repeat(_believed(prior), [m.shape[1] for m in maps])

    q = np.zeros(g.shape[1])
    xyz = np.zeros((len(xy), 3))
    w = measured.astype(np.float64)
    only = stacked(maps[:2] + [np.zeros((len(base), 0))] * (N_KINDS - 2))
    first = _System(base, xyz, xy, w, csr_array(only))
    nothing = np.zeros(only.shape[1])
    first.reduce(only, _translations(base), nothing, 0.0)
    dq, xyz = first.step(only, nothing, nothing)
    q[: len(dq)] = dq
    error = np.empty(xy.shape)

    def parameters(q: Floats) -> Floats:
        return base + (g @ q).reshape(base.shape)

    def cost(q: Floats, xyz: Floats) -> float:
        residuals(parameters(q), xyz, xy, error)
        return float(np.nansum(w[..., None] * error**2) + held @ q**2)

    now = cost(q, xyz)
    damping = 1e-4
    converged, sparse = False, csr_array(g)
    for n_rounds in range(max_iterations):
        scale = float(np.median(_distances(error, measured))) / _RAYLEIGH_MEDIAN
        held = (scale / believed) ** 2
        before = w
        if robust:
            w = _weights(error, measured, freedom, tukey=n_rounds > 2)
        now = cost(q, xyz)
        system = _System(parameters(q), xyz, xy, w, sparse)
        pull = _translations(parameters(q))
        accepted = False
        while damping < 1e6:
            system.reduce(g, pull, held, damping)
            dq, dx = system.step(g, held, q)
            trial = cost(q + dq, xyz + dx)
            if trial <= now * (1 + 1e-12) + 1e-20:
                accepted = True
                break
            damping = max(damping * 10, 1e-8)
        if not accepted:
            damping = 1e-4
            cost(q, xyz)
            converged = True
            break
        q, xyz = q + dq, xyz + dx
        damping = damping / 30 if damping > 1e-10 else 0.0
        gain = now - trial
        still = not robust or (n_rounds > 3 and float(np.abs(w - before).max()) < 5e-3)
        if still and (gain <= 1e-6 * now or now < 1e-16 * measured.sum()):
            converged = True
            break

    p = parameters(q)
    if maps[3].shape[1]:
        mean = float((p - base)[:, 3].mean())
        p[:, 3] -= mean
        xyz = xyz * np.exp(mean)
    residuals(p, xyz, xy, error)
    loo = _loo(p, xyz, xy, w, error, g, held)
    length = _distances(error, measured)
    sigma = float(np.median(length)) / _RAYLEIGH_MEDIAN / freedom
    if not robust:
        sigma = float(np.sqrt(np.mean(length**2) / 2)) / freedom
    everything = _fill(p, base_all, seen, tilt)
    geometry = replace(_geometry(everything), x_tilt_deg=0.0)
    n_tracks, n_views = finite.shape
    where = np.ix_(rows, seen)
    points = np.full((n_tracks, 3), np.nan)
    points[rows] = xyz
    weight, loo_all = np.zeros((n_tracks, n_views)), np.full((n_tracks, n_views), np.nan)
    weight[where], loo_all[where] = w, loo
    residual = geometry.project(points) - xy_all
    trusted = (weight > 0.1) & np.isfinite(loo_all)
    return Solution(
        geometry,
        points,
        residual,
        weight,
        loo_all,
        np.hypot(residual[..., 0], residual[..., 1]) / max(sigma, 1e-12),
        float(length.mean()),
        float(np.sum(w[measured] * length) / max(w.sum(), 1e-12)),
        float(loo_all[trusted].mean()) if trusted.any() else float("nan"),
        sigma,
        variables,
        converged,
    )
