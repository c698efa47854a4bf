"""The fiducial alignment: a robust bundle adjustment of views and beads.

Levenberg-Marquardt steps on the normal equations with the beads eliminated
(doi:10.1007/3-540-44480-7_21); outliers are weighted down by Tukey's biweight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve
from scipy.sparse import csr_array

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.normal import residuals
from tiltwright.engine.solve.steadiness import Prior, believed_widths, learned_widths, told
from tiltwright.engine.solve.system import (
    RIDGE,
    System,
    loo_distances,
    packed,
    translations,
    unpacked,
)
from tiltwright.engine.solve.triangulate import triangulate
from tiltwright.engine.solve.variables import N_KINDS, Variables, linear_maps, stacked

Bools = npt.NDArray[np.bool_]
_RAYLEIGH_MEDIAN = 1.1774
_TUKEY = 7.0


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
        Robust weights, 0 at gaps and where a point took no part; 1 everywhere else without
        ``robust``. They multiply the precisions given.
    loo_px : (n_tracks, n_views)
        Distance from where all the other points predict it; NaN at gaps and where there is no
        redundancy.
    sd : (n_tracks, n_views)
        Length of the residual over ``sigma_px`` (times the uncertainty given, over its median).
    mean_residual_px, weighted_mean_px
        Mean length of the residuals of the views solved, plain and weighted.
    leave_one_out_px
        Mean of ``loo_px`` over the points of weight above 0.1.
    sigma_px
        Robust standard deviation of one coordinate, corrected for the degrees of freedom, of a
        point of usual uncertainty.
    prior
        As given, with the widths that were learned.
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
    prior: Prior | None = None
    n_rounds: int = 0


def _distances(error: Floats, measured: Bools, root: Floats) -> Floats:
    """Lengths of the errors of the measured points, each times ``root``."""
    length: Floats = (np.hypot(error[..., 0], error[..., 1]) * root)[measured]
    return length


def _weights(length: Floats, measured: Bools, freedom: float, tukey: bool) -> Floats:
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


def _relative(sigma_px: npt.ArrayLike | None, finite: Bools) -> Floats:
    """Square root of the precision of every point, 1 for the usual one."""
    if sigma_px is None:
        return np.ones(finite.shape)
    sigma = np.asarray(sigma_px, np.float64)
    if sigma.shape != finite.shape:
        raise InputError(f"uncertainties of shape {sigma.shape} for points of {finite.shape}")
    known = finite & np.isfinite(sigma)
    if not np.all(sigma[known] > 0):
        raise InputError("the uncertainty of a measured point must be above zero")
    out = np.ones(finite.shape)
    if known.any():
        out[known] = np.median(sigma[known]) / sigma[known]
    return out


def _resume(warm: Solution, base: Floats, seen: Bools, maps: list[Floats]) -> Floats:
    """Variables that come nearest to the geometry of another solution."""
    p = packed(warm.geometry)[seen] - base
    # Where one view's magnification is held, all are meant relative to it.
    still = np.flatnonzero(~maps[3].any(1))
    if maps[3].shape[1] and len(still):
        p[:, 3] -= p[still[0], 3]
    return np.concatenate(
        [np.linalg.lstsq(m, p[:, k], rcond=None)[0] if m.shape[1] else np.zeros(0)
         for k, m in enumerate(maps)]
    )  # fmt: skip


def solved_maps(variables: Variables, tilt_deg: Floats, prior: Prior | None) -> list[Floats]:
    """The linear maps of a solve, see :func:`~tiltwright.engine.solve.variables.linear_maps`."""
    maps = linear_maps(variables, tilt_deg)
    if prior is not None:
        # The prior holds offset and scale, so that the least tilted view need not be held.
        for kind, choice in ((3, variables.magnification), (4, variables.tilt)):
            if choice == "all":
                maps[kind] = np.eye(len(tilt_deg))
    return maps


def solve(
    tracks: Floats,
    tilt_deg: npt.ArrayLike,
    axis_deg: float,
    variables: Variables,
    *,
    used_views: npt.ArrayLike | None = None,
    sigma_px: npt.ArrayLike | None = None,
    robust: bool = True,
    initial: ViewGeometry | None = None,
    prior: Prior | None = None,
    warm: Solution | None = None,
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
    sigma_px : (n_tracks, n_views), optional
        Uncertainty of each measured point, in any unit, NaN where unknown; default: all alike.
    robust
        Weight outliers down.
    initial
        Where to start; what is fixed keeps these values.
    prior
        Believed scatter of the views about ``initial``, for variables of one view each.
    warm
        A solution of almost the same points: the variables start from it, for a few iterations
        instead of many. What is fixed and what the prior holds still come from ``initial``.
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
    base_all = packed(start)
    base = base_all[seen]
    measured: Bools = np.asarray(finite[np.ix_(rows, seen)], np.bool_)
    xy = np.where(measured[..., None], xy_all[np.ix_(rows, seen)], np.nan)
    root = _relative(sigma_px, finite)[np.ix_(rows, seen)]
    precision = root**2 * measured
    maps = solved_maps(variables, tilt[seen], prior)
    g = stacked(maps)
    freedom = 1 - (g.shape[1] + 3 * len(xy) - 3) / (2 * measured.sum())
    freedom = float(np.sqrt(max(freedom, 0.05)))
    held = np.zeros(g.shape[1])
    kinds = np.repeat(np.arange(N_KINDS), [m.shape[1] for m in maps])
    believed = believed_widths(prior)

    q = np.zeros(g.shape[1])
    xyz = np.zeros((len(xy), 3))
    w = precision.copy()
    error = np.empty(xy.shape)
    if warm is None:
        only = stacked(maps[:2] + [np.zeros((len(base), 0))] * (N_KINDS - 2))
        first = System(base, xyz, xy, w, csr_array(only))
        nothing = np.zeros(only.shape[1])
        first.reduce(only, translations(base), nothing, 0.0)
        dq, xyz = first.step(only, nothing, nothing)
        q[: len(dq)] = dq
    else:
        q = _resume(warm, base, seen, maps)
        p = base + (g @ q).reshape(base.shape)
        own = System(p, xyz, xy, w, csr_array(g)).own
        block = own[:, :, :3] + RIDGE * np.trace(own[:, :, :3], axis1=1, axis2=2)[
            :, None, None
        ] * np.eye(3)
        xyz = np.linalg.solve(block, -own[:, :, 3:])[:, :, 0]
        if robust:
            xyz = triangulate(p, xyz, xy, measured)

    def parameters(q: Floats) -> Floats:
        return base + (g @ q).reshape(base.shape)

    def cost(q: Floats, xyz: Floats) -> float:
        residuals(parameters(q), xyz, xy, error)
        return weighted(q)

    def weighted(q: Floats) -> float:
        return float(np.nansum(w[..., None] * error**2) + held @ q**2)

    now = cost(q, xyz)
    # A start that is nearly right needs no gentle weights first.
    gentle = 3 if warm is None else int(warm.variables != variables)
    damping = 1e-4 if warm is None else 0.0
    converged, sparse, widths = False, csr_array(g), True
    n_rounds = 0
    for n_rounds in range(max_iterations):
        length = _distances(error, measured, root)
        held = (float(np.median(length)) / _RAYLEIGH_MEDIAN / freedom / believed[kinds]) ** 2
        before = w
        if robust:
            w = precision * _weights(length, measured, freedom, tukey=n_rounds >= gentle)
        now = weighted(q)
        p = parameters(q)
        system = System(p, xyz, xy, w, sparse)
        pull = translations(p)
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
        if prior is not None and prior.learn and n_rounds >= gentle:
            variance = np.diag(cho_solve(system.factor, np.eye(len(q)), check_finite=False))
            last, believed = believed, learned_widths(believed, q, kinds, variance, held)
            widths = bool(np.allclose(last[2:5], believed[2:5], rtol=0.05))
        damping = damping / 30 if damping > 1e-10 else 0.0
        gain = now - trial
        still = n_rounds > gentle and float(np.abs(w - before).max()) < 1e-2
        if (
            (still or not robust)
            and widths
            and (gain <= (1e-5 if robust else 1e-6) * now or now < 1e-16 * measured.sum())
        ):
            converged = True
            break

    p = parameters(q)
    if maps[3].shape[1]:
        mean = float((p - base)[:, 3].mean())
        p[:, 3] -= mean
        xyz = xyz * np.exp(mean)
    residuals(p, xyz, xy, error)
    loo = loo_distances(p, xyz, xy, w, error, g, held)
    relative = _distances(error, measured, root)
    sigma = float(np.median(relative)) / _RAYLEIGH_MEDIAN / freedom
    if not robust:
        sigma = float(np.sqrt(np.mean(relative**2) / 2)) / freedom
    length = _distances(error, measured, np.ones_like(root))
    w = np.where(measured, w / root**2, 0.0)
    everything = _fill(p, base_all, seen, tilt)
    geometry = replace(unpacked(everything), x_tilt_deg=0.0)
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
        np.hypot(residual[..., 0], residual[..., 1])
        * _relative(sigma_px, finite)
        / max(sigma, 1e-12),
        float(length.mean()),
        float(np.sum(w[measured] * length) / max(w.sum(), 1e-12)),
        float(loo_all[trusted].mean()) if trusted.any() else float("nan"),
        sigma,
        variables,
        converged,
        told(prior, believed),
        n_rounds + 1,
    )
