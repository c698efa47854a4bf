"""A regularised bundle adjustment that stays well posed while tracks are still being made.

Every view has a shift, an axis angle, a magnification and a tilt; Gaussian priors hold what the
points at hand do not determine, so that three views or a single surface are no special case.
The alignment itself is solved elsewhere (``engine/solve``); a prior there is learned or absent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
import numpy.typing as npt

from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats, rotation

Bools = npt.NDArray[np.bool_]
_N = 5  # parameters of a view: shift x, shift y, axis, log magnification, tilt


@dataclass(frozen=True)
class Priors:
    """Standard deviations that hold the parameters of the views.

    Attributes
    ----------
    axis_deg, tilt_deg, magnification
        Of one view about the mean of all.
    common_axis_deg
        Of the mean axis about its nominal value.
    depth_px
        Of the positions of the points about the origin.
    """

    axis_deg: float
    tilt_deg: float
    magnification: float
    common_axis_deg: float
    depth_px: float


def _mean_prior(n: int, each: float, common: float) -> Floats:
    """Precision of ``n`` values that scatter by ``each`` about a mean known to ``common``."""
    ones = np.ones((n, n)) / n
    precision: Floats = (np.eye(n) - ones) / each**2 + ones / (n * common**2)
    return precision


def bundle(
    xy: Floats,
    weight: Floats,
    geometry: ViewGeometry,
    xyz: Floats,
    nominal: ViewGeometry,
    priors: Priors,
    sigma_px: float,
    n_iterations: int = 4,
) -> tuple[ViewGeometry, Floats]:
    """Fit views and points to tracks under priors (Gauss-Newton on the Schur complement).

    Parameters
    ----------
    xy : (n_tracks, n_views, 2)
        Measured positions about the image centre, raw pixels; NaN where there is none.
    weight : (n_tracks, n_views)
        Weight of each measured point, 1 = a standard deviation of ``sigma_px``.
    geometry, xyz
        Where to start; ``xyz`` is ``(n_tracks, 3)``.
    nominal
        What the priors hold to (tilt and axis angles). Views without points keep the mean
        deviation of the others.

    Returns
    -------
    geometry, xyz
    """
    measured = np.isfinite(xy).all(-1) & (weight > 0)
    w = np.where(measured, weight, 0.0) / sigma_px**2
    target = np.where(measured[..., None], xy, 0.0)
    n_points, n_views = measured.shape
    seen: Bools = np.asarray(measured.any(0), np.bool_)
    each = np.deg2rad([priors.axis_deg, priors.tilt_deg])
    precision = np.zeros((n_views, _N, n_views, _N))
    precision[:, 2, :, 2] = _mean_prior(n_views, each[0], np.deg2rad(priors.common_axis_deg))
    precision[:, 3, :, 3] = _mean_prior(n_views, priors.magnification, 1e-5)
    precision[:, 4, :, 4] = _mean_prior(n_views, each[1], each[1] / np.sqrt(n_views) / 3)
    flat = precision.reshape(n_views * _N, n_views * _N)
    ridge = np.tile([1e-8, 1e-8, 0, 0, 0], n_views)
    spread = np.eye(3) / priors.depth_px**2
    start = np.zeros((n_views, _N))
    start[:, 2] = np.deg2rad(geometry.axis_deg - nominal.axis_deg)
    start[:, 3] = np.log(geometry.magnification)
    start[:, 4] = np.deg2rad(geometry.tilt_deg - nominal.tilt_deg)
    state, points = start.copy(), xyz.astype(np.float64)
    state[:, :2] = geometry.shift_px
    cost = np.inf
    best = (state, points)
    damping = 0.0
    system: tuple[Floats, Floats, Floats, Floats, Floats] = (flat, spread, spread, spread, spread)
    for _ in range(n_iterations + 1):
        t = np.deg2rad(nominal.tilt_deg) + state[:, 4]
        turn = (
            rotation(nominal.axis_deg + np.rad2deg(state[:, 2]))
            * np.exp(state[:, 3])[:, None, None]
        )
        flat_xy = np.empty((n_points, n_views, 2))
        flat_xy[..., 0] = points[:, :1] * np.cos(t) + points[:, 2:] * np.sin(t)
        flat_xy[..., 1] = points[:, 1:2]
        offset = np.einsum("vij,pvj->pvi", turn, flat_xy)
        error = np.where(measured[..., None], offset + state[:, :2] - target, 0.0)
        vector = state.copy()
        vector[:, :2] = 0
        now = float(
            np.sum(w[..., None] * error**2)
            + vector.ravel() @ flat @ vector.ravel()
            + np.sum(points**2) / priors.depth_px**2
        )
        if now > cost * (1 + 1e-9):
            damping = max(10 * damping, 1e-3)
            if damping > 1e3:
                break
            view_step, point_step = _step(*system, damping)
            state, points = best[0] + view_step, best[1] + point_step
            continue
        improved = cost - now
        cost, best = now, (state, points)
        if improved < 1e-7 * now:
            break
        jacobian = np.zeros((n_points, n_views, 2, _N))
        jacobian[..., 0, 0] = jacobian[..., 1, 1] = 1
        jacobian[..., 0, 2] = -offset[..., 1]
        jacobian[..., 1, 2] = offset[..., 0]
        jacobian[..., 3] = offset
        slope = points[:, 2:] * np.cos(t) - points[:, :1] * np.sin(t)
        jacobian[..., 4] = slope[..., None] * turn[:, :, 0]
        jacobian *= w[..., None, None] > 0
        linear = np.zeros((n_views, 2, 3))
        linear[:, :, 0] = turn[:, :, 0] * np.cos(t)[:, None]
        linear[:, :, 1] = turn[:, :, 1]
        linear[:, :, 2] = turn[:, :, 0] * np.sin(t)[:, None]
        weighted = jacobian * w[..., None, None]
        left, right_side = (
            a.transpose(1, 0, 2, 3).reshape(n_views, -1, _N) for a in (weighted, jacobian)
        )
        views = np.swapaxes(left, 1, 2) @ right_side
        cross = (np.swapaxes(linear, 1, 2) @ weighted).swapaxes(1, 2).reshape(n_points, 3, -1)
        gram = np.einsum("vik,vil->vkl", linear, linear)
        per_point = np.einsum("pv,vkl->pkl", w, gram) + spread
        full = flat.copy().reshape(n_views, _N, n_views, _N)
        index = np.arange(n_views)
        full[index, :, index, :] += views
        right_views = -np.einsum("pvia,pvi->va", weighted, error).ravel() - flat @ vector.ravel()
        right_points = -np.einsum("pv,vik,pvi->pk", w, linear, error) - points / priors.depth_px**2
        system = (
            full.reshape(flat.shape) + np.diag(ridge),
            per_point,
            cross,
            right_views,
            right_points,
        )
        damping /= 10
        view_step, point_step = _step(*system, damping)
        state, points = state + view_step, points + point_step
    state, points = best
    if not seen.all():
        state = _fill(state, seen)
    solved = replace(
        nominal,
        tilt_deg=nominal.tilt_deg + np.rad2deg(state[:, 4]),
        axis_deg=nominal.axis_deg + np.rad2deg(state[:, 2]),
        magnification=np.exp(state[:, 3]),
        shift_px=state[:, :2].copy(),
    )
    return solved, points


def _fill(state: Floats, seen: Bools) -> Floats:
    """Give the views without points the mean deviations of the others; shifts stay."""
    out = state.copy()
    if seen.any():
        out[~seen, 2:] = state[seen, 2:].mean(0)
    return out


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _solve_reduced(full, lower, right):  # type: ignore[no-untyped-def]
    """Solve ``(full - lower.T lower) x = right`` by Cholesky; overwrites ``full`` and ``right``.

    Some hundred unknowns: a threaded LAPACK spends more on waking its threads than on the sum,
    and many times that on a busy machine.
    """
    n = full.shape[0]
    for r in range(0, lower.shape[0], 3):
        a, b, c = lower[r], lower[r + 1], lower[r + 2]
        for i in range(n):
            p, q, s = a[i], b[i], c[i]
            row = full[i]
            for j in range(i + 1):
                row[j] -= p * a[j] + q * b[j] + s * c[j]
    for i in range(n):
        full[i, i] *= 1 + 1e-10
    for i in range(n):
        row = full[i]
        for j in range(i):
            other = full[j]
            total = 0.0
            for k in range(j):
                total += row[k] * other[k]
            row[j] = (row[j] - total) / other[j]
        total = 0.0
        for k in range(i):
            total += row[k] * row[k]
        row[i] = np.sqrt(max(row[i] - total, 1e-300))
        total = 0.0
        for k in range(i):
            total += row[k] * right[k]
        right[i] = (right[i] - total) / row[i]
    for i in range(n - 1, -1, -1):
        row = full[i]
        x = right[i] / row[i]
        right[i] = x
        for k in range(i):
            right[k] -= row[k] * x
    return right


def _step(
    views: Floats,
    points: Floats,
    cross: Floats,
    right_views: Floats,
    right_points: Floats,
    damping: float,
) -> tuple[Floats, Floats]:
    """One damped step of the normal equations, points eliminated."""
    n_points = len(points)
    root = np.linalg.cholesky(points * (1 + damping * np.eye(3)))
    inverse = np.linalg.inv(root)  # 3 x 3: far quicker than solving for every column
    lower = (inverse @ cross).reshape(3 * n_points, -1)
    right = (inverse @ right_points[..., None]).reshape(-1)
    reduced = views + damping * np.diag(np.diag(views))
    step = _solve_reduced(reduced, lower, right_views - lower.T @ right)
    back = (right - lower @ step).reshape(n_points, 3, 1)
    moved: Floats = (np.swapaxes(inverse, -1, -2) @ back)[..., 0]
    views_step: Floats = step.reshape(-1, _N)
    return views_step, moved


def fit_view(
    xy: Floats, predicted: Floats, weight: Floats, centre: Floats, spread: float
) -> tuple[Floats, Floats]:
    """Shift and small linear correction that bring predictions onto measured points.

    Parameters
    ----------
    xy, predicted : (n, 2)
    weight : (n,)
    centre : (2,)
        About which the linear part acts.
    spread
        Prior standard deviation of the elements of the linear part, relative to the noise of
        one pixel.

    Returns
    -------
    linear : (2, 2), shift : (2,), so that ``xy ~ centre + linear (predicted - centre) + shift``.
    """
    design = np.column_stack([predicted - centre, np.ones(len(xy))])
    normal = (design * weight[:, None]).T @ design
    normal[[0, 1], [0, 1]] += 1 / spread**2
    normal[2, 2] += 1e-9
    solved = np.linalg.solve(normal, (design * weight[:, None]).T @ (xy - predicted))
    return np.eye(2) + solved[:2].T, solved[2]
