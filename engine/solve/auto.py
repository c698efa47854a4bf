"""The freedom that the data support: variables chosen by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.bundle import Solution, solve
from tiltwright.engine.solve.variables import KINDS, Variables

CAP = 4.0
"""Leave-one-out distances count up to so many times the noise."""


@dataclass(frozen=True)
class Candidate:
    """A set of variables that was tried.

    Attributes
    ----------
    score_px : float
        Root of the mean squared leave-one-out distance, distances capped.
    n_parameters : int
        Variables of the views, shifts included (a prior makes them count less than they are).
    excess, excess_se : float
        Mean by which the squared distance exceeds that of the best, per point, in squared
        pixels, and its standard error over tracks.
    """

    variables: Variables
    score_px: float
    n_parameters: int
    excess: float = 0.0
    excess_se: float = 0.0
    chosen: bool = False


_SD = ("rotation_sd_deg", "magnification_sd", "tilt_sd_deg", "stretch_sd", "skew_sd")


def estimate_priors(
    tracks: Floats,
    tilt_deg: npt.ArrayLike,
    axis_deg: npt.ArrayLike,
    variables: Variables,
    *,
    used_views: npt.NDArray[np.bool_] | None = None,
    robust: bool = True,
    initial: ViewGeometry | None = None,
    initial_xyz: Floats | None = None,
    rounds: int = 6,
) -> tuple[Variables, Solution]:
    """Learn from the data how much the variables vary (empirical Bayes).

    Fixed-point iteration of MacKay 1992, doi:10.1162/neco.1992.4.3.415, on the variance of each
    kind of variable: squares of the values over the number that the data determine.

    Returns
    -------
    variables : Variables
        With the prior standard deviations set for every kind solved per view or group.
    solution : Solution
        The solution with these.
    """
    modes = variables.modes()
    sd = np.array([0.5, 0.003, 0.5, 0.003, 0.003])
    active = [k for k in range(5) if modes[k] in ("group", "all")]
    sd[[0, 2]] = np.maximum(sd[[0, 2]], 1e-4)
    solution: Solution | None = None
    for round_ in range(rounds):
        now = _with_sd(variables, sd, active)
        solution = solve(
            tracks, tilt_deg, axis_deg, now, used_views=used_views, robust=robust,
            initial=initial if solution is None else solution.geometry,
            initial_xyz=initial_xyz if solution is None else _finite(solution.xyz),
        )  # fmt: skip
        if round_ == rounds - 1:
            break
        new = sd.copy()
        for k in active:
            which = solution.variable_kind == k + 2
            values, variance = solution.variable_values[which], solution.variable_variance[which]
            unit = np.deg2rad(1.0) if k in (0, 2) else 1.0
            prior = (sd[k] * unit) ** 2
            if k < 3:
                values = values - values.mean()
            determined = float((1 - variance / prior).clip(0, 1).sum()) - (1.0 if k < 3 else 0.0)
            new[k] = np.sqrt((values**2).sum() / max(determined, 0.5)) / unit
        limits = np.array([1e-3, 1e-6, 1e-3, 1e-6, 1e-6])
        new = np.clip(new, limits, np.array([5.0, 0.05, 5.0, 0.05, 0.05]))
        done = bool(np.all(np.abs(np.log(new[active] / sd[active])) < 0.05))
        sd = new
        if done and round_ > 0:
            break
    assert solution is not None
    return solution.variables, solution


def _finite(xyz: Floats) -> Floats:
    return np.where(np.isfinite(xyz), xyz, 0.0)


def _with_sd(variables: Variables, sd: Floats, active: list[int]) -> Variables:
    return replace(variables, **{_SD[k]: float(sd[k]) for k in active})


def choose_variables(
    tracks: Floats,
    tilt_deg: npt.ArrayLike,
    axis_deg: npt.ArrayLike,
    *,
    used_views: npt.NDArray[np.bool_] | None = None,
    robust: bool = True,
    initial: ViewGeometry | None = None,
    distortion: bool = True,
) -> tuple[Variables, list[Candidate]]:
    """Choose what to solve for by leave-one-out cross-validation.

    Candidates run from shifts alone to every variable of every view; the flexible ones carry
    Gaussian priors whose widths are learnt from the data. The one with the smallest score wins,
    or the one with fewer variables whose score is within one standard error (over tracks) of it.

    Parameters
    ----------
    tracks, tilt_deg, axis_deg, used_views, robust, initial
        As of :func:`~tiltwright.engine.solve.bundle.solve`.
    distortion : bool
        Try skew and stretch too.

    Returns
    -------
    variables : Variables
    candidates : list of Candidate
        In ascending order of freedom, the chosen one marked.
    """
    few = Variables(rotation="none", tilt="fixed")
    one = Variables(rotation="one", tilt="fixed")
    every = Variables("all", magnification="all", tilt="all")
    sets: list[tuple[Variables, bool]] = [
        (few, False),
        (one, False),
        (replace(one, tilt="group", magnification="group"), True),
        (replace(one, rotation="group", tilt="group", magnification="group"), True),
        (replace(every, magnification="fixed", tilt="fixed"), True),
        (replace(every, tilt="fixed"), True),
        (replace(every, tilt="group"), True),
        (every, True),
    ]
    n_tracks = int((np.isfinite(tracks).all(-1).sum(1) >= 2).sum())
    if n_tracks < 4:
        sets = sets[: 1 if n_tracks < 3 else 2]
    solutions: list[Solution] = []
    for variables, learn in sets:
        solutions.append(_try(tracks, tilt_deg, axis_deg, variables, learn, used_views, robust,
                              initial))  # fmt: skip
    if distortion and n_tracks >= 8:
        kinds: tuple[Literal["skew", "full"], ...] = ("skew", "full")
        for kind in kinds:
            solutions.append(_try(tracks, tilt_deg, axis_deg, replace(every, distortion=kind), True,
                                  used_views, robust, initial))  # fmt: skip
    return _select(solutions)


def _try(
    tracks: Floats,
    tilt_deg: npt.ArrayLike,
    axis_deg: npt.ArrayLike,
    variables: Variables,
    learn: bool,
    used_views: npt.NDArray[np.bool_] | None,
    robust: bool,
    initial: ViewGeometry | None,
) -> Solution:
    if learn:
        return estimate_priors(
            tracks, tilt_deg, axis_deg, variables, used_views=used_views, robust=robust,
            initial=initial,
        )[1]  # fmt: skip
    return solve(
        tracks, tilt_deg, axis_deg, variables, used_views=used_views, robust=robust,
        initial=initial,
    )  # fmt: skip


def _select(solutions: list[Solution]) -> tuple[Variables, list[Candidate]]:
    """Score solutions on the same points, with the same cap, and choose."""
    if not solutions:
        raise DataError("choose_variables: nothing to choose from")
    sigma = min(s.sigma_px for s in solutions if np.isfinite(s.sigma_px))
    cap = CAP * max(sigma, 1e-9)
    squares = [np.minimum(s.loo_px, cap) ** 2 for s in solutions]
    present = np.isfinite(squares[0])
    per_track = np.array([np.where(present, q, 0.0).sum(1) for q in squares])
    count = max(int(present.sum()), 1)
    total = per_track.sum(1) / count
    best = int(total.argmin())
    difference = per_track - per_track[best]
    n = max(len(difference[0]), 2)
    se = np.sqrt(n * difference.var(axis=1, ddof=1)) / count if n > 1 else np.zeros(len(total))
    order = sorted(range(len(solutions)), key=lambda i: _freedom(solutions[i]))
    chosen = next(i for i in order if total[i] - total[best] <= se[i] or i == best)
    candidates = [
        Candidate(
            s.variables, float(np.sqrt(total[i])), s.n_variables, float(total[i] - total[best]),
            float(se[i]), i == chosen,
        )
        for i, s in enumerate(solutions)
    ]  # fmt: skip
    return solutions[chosen].variables, candidates


def _freedom(solution: Solution) -> float:
    """Number of variables that the data determine: those held by a prior count in part."""
    sd = solution.variables.prior_sd()
    total = 0.0
    for k in range(len(KINDS)):
        which = solution.variable_kind == k + 2
        if not which.any():
            continue
        if np.isinf(sd[k]):
            total += float(which.sum())
        else:
            share = 1 - solution.variable_variance[which] / sd[k] ** 2
            total += float(share.clip(0, 1).sum())
    return total
