"""A fiducial model from detections and a way to localise beads: tracks, surfaces, lost views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.fiducials.motion import Bools, Priors
from tiltwright.engine.fiducials.seed import Ints, spread_choice
from tiltwright.engine.fiducials.track import Tracker
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import SILENT, Monitor

Localise = Callable[[int, Floats], tuple[Floats, Floats, Floats, Bools]]
"""``localise(view, guesses (n, 2)) -> xy (n, 2), sigma_px (n,), score (n,), ok (n,)``; positions
about the image centre, raw pixels. Called for all views in turn, again in every round, so that
the caller can renew its template between rounds: the first view of a round is done alone."""


@dataclass(frozen=True)
class FiducialTracks:
    """The fiducial model.

    Attributes
    ----------
    xy : (n_tracks, n_views, 2)
        The chosen tracks, raw pixels about the image centre, NaN for gaps.
    sigma_px, score : (n_tracks, n_views)
        Uncertainty of each point and evidence for it, NaN for gaps.
    surface : (n_tracks,) int
        0 bottom, 1 top (all 0 on one surface).
    xyz : (n_tracks, 3)
    all_xy : (n_all, n_views, 2)
        All good tracks, the chosen ones first.
    lost_views : dict
        View (0-based) to the reason why its beads do not fit.
    geometry : ViewGeometry
        The views as the tracking sees them, with priors: a good start for the alignment.
    axis_deg : float
    residual_px : float
        RMS distance of the points from their predictions.
    all_sigma_px : (n_all, n_views), optional
        Uncertainty of the points of all good tracks, NaN for gaps.
    """

    xy: Floats
    sigma_px: Floats
    score: Floats
    surface: Ints
    xyz: Floats
    all_xy: Floats
    lost_views: dict[int, str]
    geometry: ViewGeometry
    axis_deg: float
    residual_px: float
    log: list[str] = field(default_factory=list)
    all_sigma_px: Floats | None = None


def assign_surfaces(xyz: Floats) -> Ints:
    """Split points into a bottom (0) and a top (1) surface, parallel planes that may be inclined.

    The depth is described as a common slope plus one height per surface, found by alternating
    assignment and least squares. Points of one surface only come out all 0.
    """
    n = len(xyz)
    if n < 4:
        return np.zeros(n, np.int64)
    z = xyz[:, 2]
    top = z > 0.5 * (z.min() + z.max())
    for _ in range(20):
        design = np.column_stack([xyz[:, :2], ~top, top]).astype(np.float64)
        normal = design.T @ design + np.diag([1e-3, 1e-3, 1e-9, 1e-9])
        a, b, low, high = np.linalg.solve(normal, design.T @ z)
        height = z - xyz[:, :2] @ [a, b]
        new = height > 0.5 * (low + high)
        if new.all() or not new.any():
            return np.zeros(n, np.int64)
        if (new == top).all():
            break
        top = new
    scatter = np.sqrt(np.mean((height - np.where(top, high, low)) ** 2))
    if high - low < 4.5 * scatter:
        return np.zeros(n, np.int64)
    surface: Ints = top.astype(np.int64)
    return surface


def same_images(detections: Sequence[Floats], tolerance_px: float = 0.02) -> list[tuple[int, int]]:
    """Pairs of views whose detections coincide far better than noise allows: duplicates."""
    pairs = []
    for i in range(len(detections)):
        for j in range(i + 1, len(detections)):
            a, b = detections[i], detections[j]
            if min(len(a), len(b)) < 4:
                continue
            # the surest 30 say it; the other may order its own differently
            nearest = ((a[:30, None] - b[None]) ** 2).sum(-1).min(1)
            if np.mean(nearest < tolerance_px**2) > 0.6:
                pairs.append((i, j))
    return pairs


def _map_views(
    localise: Localise, views: list[int], guesses: list[Floats], threads: int
) -> Iterator[tuple[Floats, Floats, Floats, Bools]]:
    """Results of all views in order; the first is done alone, as it may begin a round."""
    if not views:
        return
    yield localise(views[0], guesses[0])
    if threads < 2:
        yield from map(localise, views[1:], guesses[1:])
        return
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(localise, views[1:], guesses[1:])
    finally:
        pool.shutdown(cancel_futures=True)


def _refine(
    tracker: Tracker, localise: Localise, rounds: int, monitor: Monitor, threads: int
) -> tuple[Floats, Floats]:
    """Replace matches by precise positions at the predictions in all views; solve; repeat."""
    s = tracker.state
    diameter = tracker.diameter
    shape = s.xy.shape[:2]
    same = {v for pair in same_images(tracker.detections) for v in pair}
    for v in [v for v in s.lost if v not in same]:
        # Weak detections may have lost it: centring at the predictions is the better judge.
        if tracker.try_view(v, 0.15)[0]:
            s.log.append(f"view {v + 1} was taken in on trial")
            tracker.solve(max(0.02 * diameter, s.sigma_px), 4)
    sigma, score = np.full(shape, np.nan), np.full(shape, np.nan)
    for n_round in range(rounds):
        predicted = s.geometry.project(s.xyz)
        inside = tracker.inside(predicted)
        sigma[:], score[:] = np.nan, np.nan
        s.xy[:] = np.nan
        jobs: list[tuple[int, Ints]] = []
        for v in np.flatnonzero(s.in_model).tolist():
            away = np.hypot(
                *np.moveaxis(predicted[:, None, v] - predicted[None, :, v], -1, 0)
            ) + 1e9 * np.eye(shape[0])
            # Where two beads overlap a centre is biased: better a gap.
            wanted = np.flatnonzero(inside[:, v] & (away.min(1, initial=1e9) > 1.2 * diameter))
            if len(wanted):
                jobs.append((int(v), wanted))
        guesses = [predicted[wanted, v] for v, wanted in jobs]
        results = _map_views(localise, [v for v, _ in jobs], guesses, threads)
        for n_done, ((v, wanted), result) in enumerate(zip(jobs, results, strict=True)):
            monitor.step(n_done, len(jobs), f"fiducials: centring, round {n_round + 1}")
            xy, error, evidence, ok = result
            gate = max(4 * s.sigma_px, 0.05 * diameter) + (0.1 * diameter if n_round == 0 else 0)
            distance = np.hypot(*(xy - predicted[wanted, v]).T)
            good = ok & np.isfinite(distance) & (distance < gate)
            s.xy[wanted[good], v] = xy[good]
            sigma[wanted[good], v] = error[good]
            score[wanted[good], v] = evidence[good]
        s.index = np.where(np.isfinite(s.xy[..., 0]), 0, -1)
        for _ in range(2):
            tracker.solve(max(0.02, s.sigma_px), 4)
        off = np.hypot(*np.moveaxis(s.geometry.project(s.xyz) - s.xy, -1, 0))
        bad = off > max(5 * s.sigma_px, 0.1)
        s.xy[bad], sigma[bad], score[bad], s.index[bad] = np.nan, np.nan, np.nan, -1
    tracker.drop_unfit()
    drift = s.geometry.tilt_deg - tracker.nominal.tilt_deg
    drift = np.abs(drift - np.median(drift[s.in_model]))
    for v in np.flatnonzero(s.in_model & (drift > 1.5)).tolist():
        s.in_model[v] = False
        s.lost[v] = f"its beads fit a tilt of {s.geometry.tilt_deg[v]:.1f} degrees"
        s.xy[:, v], s.index[:, v] = np.nan, -1
    s.lost = {v: why for v, why in s.lost.items() if not s.in_model[v]}
    gone = ~np.isfinite(s.xy[..., 0])
    sigma[gone], score[gone] = np.nan, np.nan
    return sigma, score


def build_fiducial_model(
    detections: Sequence[Floats],
    tilt_deg: Floats,
    axis_deg: float,
    size_px: tuple[int, int],
    diameter_px: float,
    n_fiducials: int,
    *,
    localise: Localise | None = None,
    rounds: int = 2,
    prealign_shift_px: Floats | None = None,
    skip: Bools | None = None,
    two_surfaces: bool = True,
    axis_uncertainty_deg: float = 3.0,
    least_completeness: float = 0.5,
    monitor: Monitor = SILENT,
    threads: int = 1,
) -> FiducialTracks:
    """Track beads through a tilt series by its geometry and choose well-spread ones.

    Parameters
    ----------
    detections : sequence of (n_v, 2)
        Beads found in each view, the surest first, raw pixels about the image centre.
    tilt_deg : (n_views,)
    axis_deg
        Nominal tilt axis angle; may be some degrees wrong.
    size_px : (nx, ny)
    localise : callable, optional
        See :data:`Localise`; without it the tracks hold the detections themselves.
    skip : (n_views,) bool, optional
        Views known to be bad; they are not used and not among the lost ones.
    threads
        How many views ``localise`` is called for at once; more than 1 only if it allows that.
    least_completeness
        Smallest fraction of the views on whose image a bead lies that a track must cover.

    Raises
    ------
    InputError
        When the numbers of views disagree or a parameter is not positive.
    DataError
        When too few views agree on too few beads.
    """
    n_views = len(tilt_deg)
    if len(detections) != n_views:
        raise InputError(f"{n_views} tilt angles for detections in {len(detections)} views")
    if not (diameter_px > 0 and n_fiducials > 0):
        raise InputError(
            f"fiducials: diameter {diameter_px:g} px and number {n_fiducials} must be positive"
        )
    lists = [np.asarray(d, np.float64).reshape(-1, 2) for d in detections]
    usable = np.ones(n_views, bool) if skip is None else ~np.asarray(skip, bool)
    nominal = ViewGeometry.nominal(tilt_deg, axis_deg)
    if prealign_shift_px is not None:
        nominal = nominal.with_shifts(
            np.where(np.isfinite(prealign_shift_px), prealign_shift_px, 0)
        )
    depth = 0.3 * max(size_px)
    tracker = Tracker(
        lists,
        nominal,
        usable,
        size_px,
        diameter_px,
        Priors(0.3, 0.3, 0.003, axis_uncertainty_deg, depth),
        strongest=max(20, 3 * n_fiducials),
        monitor=monitor,
    )
    if not tracker.start():
        raise DataError(
            "fiducial model: the views at low tilt do not agree on the positions of 4 beads; "
            "check the bead diameter, the tilt angles and the tilt axis angle"
        )
    tracker.grow()
    s = tracker.state
    log = [f"{len(s.xyz)} beads tracked in {int(s.in_model.sum())} of {int(usable.sum())} views"]
    sigma = np.where(s.index >= 0, s.sigma_px, np.nan)
    score = np.where(s.index >= 0, 1.0, np.nan)
    tracker.priors = replace(tracker.priors, axis_deg=0.5, tilt_deg=0.5, magnification=0.005)
    if localise is not None:
        sigma, score = _refine(tracker, localise, rounds, monitor, threads)
    else:
        tracker.solve(max(0.02, s.sigma_px), 6)
    s.xy[:, ~s.in_model] = np.nan
    for i, j in same_images(lists):
        for v, other in ((i, j), (j, i)):
            if v in s.lost:
                s.lost[v] = f"a duplicate of view {other + 1}: {s.lost[v]}"
    expected = (tracker.inside(s.geometry.project(s.xyz)) & s.in_model).sum(1)
    seen = np.isfinite(s.xy[..., 0]).sum(1)
    good = (seen >= 3) & (seen >= least_completeness * expected)
    if good.sum() < 3:
        raise DataError(
            f"fiducial model: only {int(good.sum())} beads can be followed through the views; "
            "check the bead diameter and the tilt angles"
        )
    error = np.hypot(*np.moveaxis(s.geometry.project(s.xyz) - s.xy, -1, 0))[good]
    rms = np.sqrt(np.nanmean(error**2, axis=1))
    xyz, xy, sigma, score = s.xyz[good], s.xy[good], sigma[good], score[good]
    surface = assign_surfaces(xyz) if two_surfaces else np.zeros(len(xyz), np.int64)
    # Completeness counts most: a bead seen in half of the views is worth an eighth.
    quality = (seen[good] / s.in_model.sum()) ** 3 / (1 + rms / np.median(rms))
    chosen = spread_choice(xyz, quality, n_fiducials, surface)
    order = np.concatenate([chosen, np.setdiff1d(np.arange(len(xyz)), chosen)])
    log += [f"view {v + 1} lost: {why}" for v, why in sorted(s.lost.items())]
    return FiducialTracks(
        xy[chosen],
        sigma[chosen],
        score[chosen],
        surface[chosen],
        xyz[chosen],
        xy[order],
        dict(sorted(s.lost.items())),
        s.geometry,
        float(np.mean(s.geometry.axis_deg[s.in_model])),
        float(np.sqrt(np.nanmean(error**2))),
        log + s.log,
        sigma[order],
    )
