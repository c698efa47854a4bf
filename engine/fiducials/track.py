"""Tracks made by the geometry: detections of all views matched through the tilt geometry.

Structure from motion for a single-axis tilt series: points in space that the detections of the
views of least tilt agree upon are solved with the views, predicted into the next view, whose
shift is voted by all predictions at once, and matched one to one; the model is solved again and
grows outwards. A view that does not fit is left out and tried again against the whole model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tiltwright.engine.fiducials.discover import discover
from tiltwright.engine.fiducials.match import follow, mutual_nearest, vote_displacement
from tiltwright.engine.fiducials.motion import Bools, Priors, bundle
from tiltwright.engine.fiducials.seed import Ints
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats, rotation
from tiltwright.engine.progress import SILENT, Monitor


@dataclass
class Tracks:
    """The state of tracking; also its result.

    Attributes
    ----------
    xy : (n_tracks, n_views, 2)
        Matched positions about the image centre, raw pixels, NaN for gaps.
    index : (n_tracks, n_views) int
        Which detection of the view, -1 for gaps.
    xyz : (n_tracks, 3)
    geometry : ViewGeometry
    in_model : (n_views,) bool
        Views whose beads fit.
    lost : dict
        View (0-based) to the reason why it does not.
    sigma_px : float
        Robust standard deviation of the residuals, per coordinate.
    """

    xy: Floats
    index: Ints
    xyz: Floats
    geometry: ViewGeometry
    in_model: Bools
    lost: dict[int, str] = field(default_factory=dict)
    sigma_px: float = 1.0
    log: list[str] = field(default_factory=list)


class Tracker:
    """Grows tracks from the detections of all views.

    Parameters
    ----------
    detections : sequence of (n_v, 2)
        Positions about the image centre, raw pixels, one array per view.
    nominal : ViewGeometry
        Tilt and axis angles as stated; the shifts are the prealignment's (zero if there is none).
    usable : (n_views,) bool
        False for views known to be bad.
    size_px : (nx, ny)
    diameter_px : float
    priors : Priors
    least_matched : float
        A view with a smaller fraction of the expected beads is lost.
    strongest : int, optional
        How many detections of a view (the first ones) vote for the first shifts; all if None.
    """

    def __init__(
        self,
        detections: Sequence[Floats],
        nominal: ViewGeometry,
        usable: Bools,
        size_px: tuple[int, int],
        diameter_px: float,
        priors: Priors,
        least_matched: float = 0.4,
        strongest: int | None = None,
        monitor: Monitor = SILENT,
    ) -> None:
        self.detections = [np.asarray(d, np.float64).reshape(-1, 2) for d in detections]
        self.nominal = nominal
        self.usable = usable & np.array([len(d) > 2 for d in self.detections])
        self.half = np.array(size_px) / 2 - 0.5 - 0.5 * diameter_px
        self.reach = 0.45 * float(min(size_px))
        self.diameter = diameter_px
        self.priors = priors
        self.least_matched = least_matched
        self.strongest = strongest
        self.monitor = monitor
        n = nominal.n_views
        self.state = Tracks(
            np.full((0, n, 2), np.nan),
            np.full((0, n), -1, np.int64),
            np.zeros((0, 3)),
            nominal,
            np.zeros(n, bool),
        )

    # -- the model ---------------------------------------------------------------------------

    def solve(self, sigma_px: float, n_iterations: int = 3) -> None:
        """Fit views and points to the present matches, outliers weighted down."""
        s = self.state
        if not len(s.xyz):
            return
        predicted = s.geometry.project(s.xyz)
        error = np.hypot(*np.moveaxis(predicted - s.xy, -1, 0))
        weight = np.where(np.isfinite(error), 1 / (1 + (error / (3 * sigma_px)) ** 2), 0.0)
        fresh = ~np.isfinite(s.xyz).all(-1)
        weight[fresh] = 0
        weight[:, ~s.in_model] = 0
        s.geometry, s.xyz = bundle(
            s.xy, weight, s.geometry, s.xyz, self.nominal, self.priors, sigma_px, n_iterations
        )
        error = (s.geometry.project(s.xyz) - s.xy)[:, s.in_model]
        error = error[np.isfinite(error)]
        if len(error) > 8:
            s.sigma_px = float(max(0.02, 1.4826 * np.median(np.abs(error))))

    def inside(self, predicted: Floats) -> Bools:
        """Which predicted positions lie on the image."""
        return np.asarray((np.abs(predicted) < self.half).all(-1), np.bool_)

    def rematch(self, gate_px: float, views: npt.ArrayLike | None = None) -> None:
        """Match the predictions of all (or some) views of the model to detections, anew."""
        s = self.state
        predicted = s.geometry.project(s.xyz)
        which = np.flatnonzero(s.in_model) if views is None else np.atleast_1d(views)
        for v in which:
            match = mutual_nearest(predicted[:, v], self.detections[v], gate_px)
            self._assign(int(v), match)

    def _assign(self, v: int, match: Ints) -> None:
        s = self.state
        s.index[:, v] = match
        s.xy[:, v] = np.nan
        found = match >= 0
        s.xy[found, v] = self.detections[v][match[found]]

    def keep(self, which: Bools) -> None:
        """Keep only some tracks."""
        s = self.state
        s.xy, s.index, s.xyz = s.xy[which], s.index[which], s.xyz[which]

    # -- growing -----------------------------------------------------------------------------

    def start(self, n_core: int = 7) -> bool:
        """Make points from the views around the least tilt; False when they do not agree."""
        t = self.nominal.tilt_deg
        usable = np.flatnonzero(self.usable)
        for floor, margin in ((5, 1.3), (4, 1.0)):
            for centre in usable[np.argsort(np.abs(t[usable]))][:8]:
                core = usable[np.argsort(np.abs(t[usable] - t[centre]))][:n_core]
                if self._start_at(int(centre), np.sort(core), floor, margin):
                    return True
        return False

    def _start_at(self, centre: int, core: Ints, floor: int, margin: float) -> bool:
        s = self.state
        s.geometry = self.nominal
        shift = self.nominal.shift_px.copy()
        turn = rotation(self.nominal.axis_deg[centre])
        tilt = np.deg2rad(self.nominal.tilt_deg)
        order = core[np.argsort(np.abs(tilt[core] - tilt[centre]))]
        agreed = [centre]
        for v in order[1:]:
            best: tuple[int, Floats] | None = None
            for a in sorted(agreed, key=lambda a: abs(tilt[a] - tilt[v]))[:2]:
                # In the frame with the axis vertical u shrinks by the ratio of the cosines.
                squeeze = turn @ np.diag([np.cos(tilt[v]) / np.cos(tilt[a]), 1]) @ turn.T
                guess = self.nominal.shift_px[v] - squeeze @ self.nominal.shift_px[a]
                points = self.detections[a][: self.strongest] @ squeeze.T
                move, votes, second = vote_displacement(
                    points,
                    self.detections[v][: self.strongest],
                    guess,
                    self.reach,
                    0.35 * self.diameter,
                )
                if votes >= floor and votes > margin * second and (best is None or votes > best[0]):
                    best = votes, move + squeeze @ shift[a]
            if best is not None:
                shift[v] = best[1]
                agreed.append(int(v))
        if len(agreed) < 3:
            return False
        s.geometry = self.nominal.with_shifts(shift)
        s.in_model = np.zeros_like(self.usable)
        s.in_model[agreed] = True
        self.keep(np.zeros(len(s.xyz), bool))
        gate = 0.35 * self.diameter
        self.discover(max(3, int(np.ceil(0.6 * len(agreed)))), gate)
        if len(s.xyz) < 4:
            return False
        for _ in range(2):
            self.solve(0.15 * self.diameter)
            self.rematch(gate)
        self.discover(max(3, int(np.ceil(0.6 * len(agreed)))), gate)
        self.solve(0.15 * self.diameter)
        return len(s.xyz) >= 4

    def discover(self, least: int, gate_px: float, fraction: float = 0.0) -> int:
        """Add points that free detections of at least ``least`` views of the model agree upon.

        ``fraction``: of the views in which the point must lie on the image.
        """
        s = self.state
        free: list[Floats] = []
        names: list[Ints] = []
        for v, here in enumerate(self.detections):
            taken = np.zeros(len(here), bool)
            held = s.index[:, v]
            taken[held[held >= 0]] = True
            names.append(np.flatnonzero(~taken))
            free.append(here[~taken])
        views = np.flatnonzero(s.in_model)
        added = discover(
            free, s.geometry, views, least, gate_px, 2 * self.priors.depth_px,
            lambda predicted: fraction * int(self.inside(predicted)[views].sum()),
            self.monitor,
        )  # fmt: skip
        if added:
            match = np.array([m for m, _ in added])
            index, track = np.full_like(match, -1), np.full((*match.shape, 2), np.nan)
            for v in views.tolist():
                hit = match[:, v] >= 0
                index[hit, v] = names[v][match[hit, v]]
                track[hit, v] = free[v][match[hit, v]]
            s.xy = np.concatenate([s.xy, track])
            s.index = np.concatenate([s.index, index])
            s.xyz = np.concatenate([s.xyz, [xyz for _, xyz in added]])
        return len(added)

    def try_view(self, v: int, least: float | None = None) -> tuple[bool, str]:
        """Vote the shift of a view from all predictions, match, and take it in if it fits."""
        s = self.state
        model = np.flatnonzero(s.in_model)
        near = model[np.argmin(np.abs(self.nominal.tilt_deg[model] - self.nominal.tilt_deg[v]))]
        # What the model has learnt of its nearest view holds for this one until it is solved.
        geometry = replace(
            s.geometry,
            tilt_deg=s.geometry.tilt_deg.copy(),
            axis_deg=s.geometry.axis_deg.copy(),
            magnification=s.geometry.magnification.copy(),
            shift_px=s.geometry.shift_px.copy(),
        )
        drift = s.geometry.tilt_deg[near] - self.nominal.tilt_deg[near]
        geometry.tilt_deg[v] = self.nominal.tilt_deg[v] + drift
        geometry.axis_deg[v] = s.geometry.axis_deg[near]
        step = self.nominal.shift_px[v] - self.nominal.shift_px[near]
        geometry.shift_px[v] = s.geometry.shift_px[near] + step
        predicted = geometry.project(s.xyz)[:, v]
        here = self.detections[v]
        # Only points that are well seen by now may vote.
        strength = np.isfinite(s.xy[..., 0])[:, model].mean(1)
        voters = predicted[strength > 0.3]
        if len(voters) < 4:
            voters = predicted
        move, votes, _ = vote_displacement(
            voters, here, np.zeros(2), self.reach, 0.35 * self.diameter
        )
        if votes < 4:
            return False, "no shift brings its beads to where they are expected"
        predicted = predicted + move
        followed = follow(predicted, here, self.diameter)
        if followed is None:
            return False, "no shift brings its beads to where they are expected"
        predicted = followed
        gate = 0.35 * self.diameter
        match = mutual_nearest(predicted, here, gate)
        expected = self.inside(predicted) & (strength > 0.3)
        matched = (match >= 0) & expected
        n_expected = int(expected.sum())
        density = len(here) / np.prod(2 * self.half)
        chance = n_expected * density * np.pi * gate**2
        if matched.sum() < max(4, (least or self.least_matched) * n_expected, 2.0 * chance + 2):
            return False, (f"only {int(matched.sum())} of {n_expected} expected beads fit")
        hit = match >= 0
        geometry.shift_px[v] += np.median(here[match[hit]] - geometry.project(s.xyz)[hit, v], 0)
        s.geometry = geometry
        s.in_model[v] = True
        self._assign(v, match)
        return True, ""

    def grow(self) -> None:
        """Take in all views, from the model outwards; views that do not fit wait for the end."""
        s = self.state
        t = self.nominal.tilt_deg
        waiting = [int(v) for v in np.flatnonzero(self.usable & ~s.in_model)]
        reasons: dict[int, str] = {}
        sigma = 0.12 * self.diameter
        done = 0
        while waiting:
            model = np.flatnonzero(s.in_model)
            gap = [float(np.min(np.abs(t[model] - t[v]))) for v in waiting]
            v = waiting.pop(int(np.argmin(gap)))
            self.monitor.step(done, len(t), "fiducials: tracking")
            done += 1
            fits, reason = self.try_view(v)
            if not fits:
                reasons[v] = reason
                continue
            self.solve(sigma, 2)
            if done % 4 == 0:
                self.rematch(0.4 * self.diameter)
                n = int(s.in_model.sum())
                self.discover(max(4, int(0.5 * n)), 0.3 * self.diameter)
                self.prune()
                self.solve(sigma, 2)
        self.refine()
        again = np.flatnonzero(self.usable & ~s.in_model)
        for v in sorted(again.tolist(), key=lambda v: float(np.min(np.abs(t[s.in_model] - t[v])))):
            fits, reason = self.try_view(v)
            if fits:
                self.solve(max(0.05 * self.diameter, s.sigma_px), 3)
                self.rematch(0.35 * self.diameter)
            else:
                reasons[v] = reason
        self.refine()
        for v in np.flatnonzero(self.usable & ~s.in_model).tolist():
            s.lost.setdefault(int(v), reasons.get(int(v), "its beads do not fit"))
        s.lost = {v: why for v, why in s.lost.items() if not s.in_model[v]}

    def prune(self, fraction: float = 0.3) -> None:
        """Drop tracks that are seen too seldom where they should be, and repeated ones."""
        s = self.state
        predicted = s.geometry.project(s.xyz)
        expected = self.inside(predicted) & s.in_model
        seen = (s.index >= 0) & s.in_model
        n_seen = seen.sum(1)
        good: Bools = (n_seen >= np.maximum(3, fraction * expected.sum(1))) & (n_seen >= 3)
        apart = np.linalg.norm(s.xyz[:, None] - s.xyz[None], axis=-1)
        for i, j in zip(*np.nonzero(np.triu(apart < 0.5 * self.diameter, 1)), strict=True):
            if good[i] and good[j]:
                good[j if n_seen[i] >= n_seen[j] else i] = False
        self.keep(good)

    def refine(self) -> None:
        """Solve and match again with a gate that shrinks to what the residuals allow."""
        s = self.state
        for factor in (0.35, 0.25, 0.2):
            self.solve(max(0.3 * factor * self.diameter, 0.5 * s.sigma_px), 4)
            gate = float(np.clip(4 * s.sigma_px, 0.1 * self.diameter, factor * self.diameter))
            self.rematch(gate)
            n = int(s.in_model.sum())
            self.discover(max(4, int(0.25 * n)), gate, fraction=0.4)
            self.prune()
        self.solve(max(0.03 * self.diameter, s.sigma_px), 4)
        self.drop_unfit()

    def drop_unfit(self) -> None:
        """Take out views of the model of whose expected beads too few fit."""
        s = self.state
        predicted = s.geometry.project(s.xyz)
        expected = self.inside(predicted)
        seen = s.index >= 0
        strong = (seen & s.in_model).sum(1) >= 0.5 * (expected & s.in_model).sum(1)
        for v in np.flatnonzero(s.in_model).tolist():
            e = int((expected[:, v] & strong).sum())
            m = int((seen[:, v] & strong).sum())
            if m < max(3, self.least_matched * e):
                s.in_model[v] = False
                s.lost[int(v)] = f"only {m} of {e} expected beads fit"
                s.index[:, v] = -1
                s.xy[:, v] = np.nan
