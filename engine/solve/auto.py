"""Which variables the data support: the simplest that predict left-out points as well as any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.bundle import Solution, solve
from tiltwright.engine.solve.variables import Variables, linear_maps

_LEVELS: dict[str, tuple[str, ...]] = {
    "rotation": ("one", "group", "all"),
    "tilt": ("fixed", "group", "all"),
    "magnification": ("fixed", "group", "all"),
}
_DISTORTIONS = ("none", "skew", "full")
_SWEEPS = 3
_STEPS = 10
_CAP = 5.0
_LEAST_GAIN = 0.1
"""Distortion must lower the score by this part: beads that move with the ice mimic it."""


@dataclass(frozen=True)
class Candidate:
    """A choice of variables that was tried.

    ``score_px`` is the mean leave-one-out distance (clipped against outliers), and
    ``standard_error`` that of its difference from the best, paired point by point.
    """

    variables: Variables
    score_px: float
    standard_error: float
    n_parameters: int


def _changed(v: Variables, kind: str, level: str) -> Variables:
    change: dict[str, Any] = {kind: level}
    return replace(v, **change)


def choose_variables(
    tracks: Floats,
    tilt_deg: npt.ArrayLike,
    axis_deg: float,
    used_views: npt.ArrayLike | None = None,
    sigma_px: npt.ArrayLike | None = None,
) -> tuple[Variables, list[Candidate]]:
    """Choose the variables of an alignment by leave-one-out prediction.

    The levels of rotation, tilt and magnification are searched one kind at a time from the most
    free until none improves, then the distortion. The simplest within one standard error of the
    paired difference from the best is taken.

    Parameters
    ----------
    tracks, tilt_deg, axis_deg, used_views, sigma_px
        As for :func:`tiltwright.engine.solve.bundle.solve`.

    Returns
    -------
    variables
    candidates
        All that were tried, best first.

    Raises
    ------
    DataError, InputError
        As ``solve``.
    """
    tried: dict[Variables, Solution] = {}

    def run(v: Variables) -> Solution:
        if v not in tried:
            # All start from the freest; the last digits of what fits badly do not matter.
            warm = tried.get(Variables())
            tried[v] = solve(
                tracks, tilt_deg, axis_deg, v, used_views=used_views, sigma_px=sigma_px,
                warm=warm, max_iterations=60 if warm is None else _STEPS,
            )  # fmt: skip
        return tried[v]

    measured = np.isfinite(run(Variables()).residual_px).all(-1)
    if used_views is not None:
        given = np.asarray(used_views)
        used = np.zeros(measured.shape[1], np.bool_)
        used[given if given.dtype == np.bool_ else given.astype(np.intp)] = True
        measured &= used
    tilt = np.asarray(tilt_deg, np.float64)[measured.any(0)]

    def size(v: Variables) -> int:
        return sum(g.shape[1] for g in linear_maps(v, tilt))

    def table_of(options: list[Variables]) -> list[Floats]:
        loo = [run(v).loo_px[measured] for v in options]
        limits = [np.median(x[np.isfinite(x)]) for x in loo if np.isfinite(x).any()]
        limit = _CAP * float(min(limits)) + 1e-9 if limits else 1.0
        return [np.minimum(np.where(np.isfinite(x), x, limit), limit) for x in loo]

    def pick(options: list[Variables]) -> tuple[Variables, Variables]:
        """The best, and the simplest within one standard error of it."""
        table = table_of(options)
        best = table[int(np.argmin([t.mean() for t in table]))]
        inside = [
            v
            for v, t in zip(options, table, strict=True)
            if (t - best).mean() <= (t - best).std() / np.sqrt(len(t))
        ]
        return options[int(np.argmin([t.mean() for t in table]))], min(inside, key=size)

    present = Variables()
    for _ in range(_SWEEPS):
        before = present
        for kind, levels in _LEVELS.items():
            present = pick([_changed(present, kind, level) for level in levels])[0]
        if present == before:
            break
    simple = present
    for kind, levels in _LEVELS.items():
        frugal = pick([_changed(present, kind, level) for level in levels])[1]
        simple = _changed(simple, kind, getattr(frugal, kind))
    run(simple)
    chosen = pick(list(tried))[1]
    distorted = pick([_changed(chosen, "distortion", d) for d in _DISTORTIONS])[1]
    gain = 1 - float(np.divide(*(t.mean() for t in table_of([distorted, chosen]))))
    if gain > _LEAST_GAIN:
        chosen = distorted
    options = list(tried)
    table = table_of(options)
    best = min(table, key=lambda t: float(t.mean()))
    found = [
        Candidate(v, float(t.mean()), float((t - best).std() / np.sqrt(len(t))), size(v))
        for v, t in zip(options, table, strict=True)
    ]
    return chosen, sorted(found, key=lambda c: c.score_px)
