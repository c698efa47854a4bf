"""Everything of a model that is worth a look, by what mending it gains.

The gain of an item is in pixels of the leave-one-out error over *all* measured points, the ones
that the robust solve does not believe included: an outlier of 10 px among 1000 points is worth
0.01 px. For a gap it is what one more point takes from the errors of the others, its leverage
``h = t / (1 + t)`` with ``t`` the variance of its prediction over that of a point. Points counted
twice make the error look smaller than it is, by about their share of it; that is what removing
them is worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tiltwright.engine.curation.evidence import Evidence
from tiltwright.engine.curation.filling import overlapped
from tiltwright.engine.curation.live import LiveAlignment, Snapshot
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.model.edits import (
    Change,
    DeleteContour,
    DeletePoints,
    Edit,
    FillPoints,
    MovePoints,
    Point,
    SwapTracks,
    Together,
    point_of,
)
from tiltwright.engine.model.fiducial_model import Flag
from tiltwright.engine.solve.triangulate import agreed_position

Bools = npt.NDArray[np.bool_]
_NEAR = 0.5
"""In diameters: so close to a prediction, a point is on that bead."""
_RAYLEIGH_MEAN = 1.2533
_LEAST_SHARED = 3


class Kind(StrEnum):
    """What may be wrong."""

    GAP = "gap"
    RESIDUAL = "big residual"
    SWAPPED = "swapped tracks"
    DUPLICATE = "duplicated bead"
    OFF_IMAGE = "off the image"
    WEAK = "weak centring"


class Key(NamedTuple):
    """What an item is about, the same after other edits: for the list of what was rejected."""

    kind: Kind
    contour: int
    other: int
    view: int

    def renumbered(self, change: Change) -> Key | None:
        """The key after an edit that renumbers contours; ``None`` if a contour is gone."""
        contour = change.new_number(self.contour)
        other = change.new_number(self.other) if self.other >= 0 else -1
        return (
            None
            if contour is None or other is None
            else self._replace(contour=contour, other=other)
        )


@dataclass(frozen=True)
class Item:
    """One thing worth a look.

    Attributes
    ----------
    kind : Kind
    contour : int
    views : tuple of int
        The views it is about, ascending.
    other : int
        The other contour of swapped or duplicated tracks, -1 for none.
    edit : Edit
        The proposal from the geometry alone; see
        :func:`~tiltwright.engine.curation.proposals.proposal` for the one that looks at the image.
    gain_px : float
        What it gains, see the module.
    reason : str
        In words.
    """

    kind: Kind
    contour: int
    views: tuple[int, ...]
    other: int
    edit: Edit
    gain_px: float
    reason: str

    @property
    def view(self) -> int:
        """Where to go: the first of its views."""
        return self.views[0]

    @property
    def key(self) -> Key:
        """What it is about."""
        # A pair of tracks is one thing, whichever views it is found on next time.
        pair = self.kind in (Kind.SWAPPED, Kind.DUPLICATE)
        return Key(self.kind, self.contour, self.other, -1 if pair else self.view)


@dataclass(frozen=True)
class Effect:
    """What an edit does to the numbers: as they would be, and their changes."""

    leave_one_out_px: float
    mean_residual_px: float
    leave_one_out_change_px: float
    mean_residual_change_px: float

    @property
    def gain_px(self) -> float:
        """The larger of the two gains; NaN when nothing could be solved.

        The leave-one-out error is robust: a point far away is not in it, and mending that one is
        seen in the mean residual alone.
        """
        gains = [-self.leave_one_out_change_px, -self.mean_residual_change_px]
        return max((gain for gain in gains if np.isfinite(gain)), default=np.nan)


def predicted_effect(edit: Edit, live: LiveAlignment, snapshot: Snapshot) -> Effect:
    """Solve with the edit on trial.

    Raises
    ------
    InputError
        The edit does not fit the snapshot's model.
    """
    after = live.solve(edit.apply(snapshot.model).model, snapshot)
    loo, mean = after.leave_one_out_px, after.mean_residual_px
    return Effect(loo, mean, loo - snapshot.leave_one_out_px, mean - snapshot.mean_residual_px)


def find(
    snapshot: Snapshot, *, criterion_sd: float = 5.0, evidence: Evidence | None = None
) -> list[Item]:
    """List what is worth a look in the snapshot's model, the greatest gain first.

    Parameters
    ----------
    criterion_sd
        Residuals beyond so many robust standard deviations are big.
    evidence
        What the images say of the points; without it weak centring is not looked for.
    """
    *_, items = find_in_pieces(snapshot, criterion_sd=criterion_sd, evidence=evidence)
    assert items is not None
    return items


_PIECE = 16


def find_in_pieces(
    snapshot: Snapshot, *, criterion_sd: float = 5.0, evidence: Evidence | None = None
) -> Iterator[list[Item] | None]:
    """The same for the background: ``None`` now and then, so that others may go first."""
    look = _Look(snapshot, criterion_sd)
    kinds = [look.duplicates(), look.swaps(), look.residuals(), look.off_image(), look.gaps()]
    if evidence is not None:
        kinds.append(look.weak(evidence))
    items: list[Item] = []
    for item in chain.from_iterable(kinds):
        items.append(item)
        if len(items) % _PIECE == 0:
            yield None
    yield sorted(items, key=lambda item: -item.gain_px)


class _Look:
    """One look at a snapshot; what one kind of item explains is not listed as another."""

    def __init__(self, snapshot: Snapshot, criterion_sd: float) -> None:
        self.s, self.model = snapshot, snapshot.model
        self.measured: Bools = self.model.measured & snapshot.used
        self.n = max(int(self.measured.sum()), 1)
        self.near = _NEAR * self.model.diameter_px
        self.criterion_sd = criterion_sd
        self.predicted = snapshot.predicted_px.copy()
        self.length, self.sd = snapshot.length_px, snapshot.sd.copy()
        known = np.isfinite(snapshot.loo_px)
        self.loo = np.where(known, snapshot.loo_px, np.nan_to_num(self.length))
        self.usual = snapshot.leave_one_out_px if np.isfinite(snapshot.leave_one_out_px) else 0.0
        self.big: Bools = np.nan_to_num(self.sd) > criterion_sd
        self.explained = np.zeros_like(self.measured)
        self.twins: set[tuple[int, int]] = set()

    def _excess(self, contour: int, view: int) -> float:
        """What mending one point gains."""
        return max(float(self.loo[contour, view]) - self.usual, 0.0) / self.n

    def duplicates(self) -> Iterator[Item]:
        """Pairs of contours on one bead."""
        xy = np.where(self.measured[..., None], self.model.xy, np.nan)
        counts = self.measured.sum(1)
        for a in range(self.model.n_tracks):
            away = np.hypot(*np.moveaxis(xy[a + 1 :] - xy[a], -1, 0))
            shared = np.isfinite(away)
            close = np.nan_to_num(away, nan=np.inf) < self.near
            n_shared, n_close = shared.sum(1), close.sum(1)
            apart = np.linalg.norm(self.s.xyz[a + 1 :] - self.s.xyz[a], axis=1)
            with np.errstate(invalid="ignore"):
                one_bead = (n_shared < _LEAST_SHARED) & (apart < self.near)
            same = (n_shared >= _LEAST_SHARED) & (n_close > 0.5 * n_shared)
            for b in (np.flatnonzero(same | one_bead) + a + 1).tolist():
                # The fuller one stays.
                keep, drop = (a, b) if counts[a] >= counts[b] else (b, a)
                twice = np.flatnonzero(close[b - a - 1])
                self.twins.add((a, b))
                yield self._merge(keep, drop, twice.tolist())

    def _merge(self, keep: int, drop: int, twice: list[int]) -> Item:
        lacking = np.flatnonzero(self.measured[drop] & ~self.model.measured[keep])
        points = [point_of(self.model, drop, v) for v in lacking.tolist()]
        moved = tuple(Point(keep, p.view, p.x, p.y, p.flag, p.sigma_px) for p in points)
        edits: tuple[Edit, ...] = (DeleteContour(drop),)
        if moved:
            edits = (FillPoints(moved), *edits)
        self.explained[drop] = True
        views = tuple(np.flatnonzero(self.measured[drop]).tolist())
        label = f"Merge contour {drop + 1} into {keep + 1}"
        return Item(
            Kind.DUPLICATE, drop, views, keep, Together(edits, label),
            len(views) * self.usual / self.n,
            f"contours {drop + 1} and {keep + 1} are on one bead, on {len(twice)} views twice",
        )  # fmt: skip

    def swaps(self) -> Iterator[Item]:
        """Pairs of contours that sit on each other's beads on some views."""
        pairs: dict[tuple[int, int], set[int]] = {}
        taken: dict[tuple[int, int], set[int]] = {}
        for a, v in np.argwhere(self.big & self.measured & ~self.explained).tolist():
            b, sure = self._sits_on(a, v), True
            if b is None:
                b = self._taken_by(a, v)
                sure = b is not None and bool(self.big[b, v])
            if b is not None:
                pair = (min(a, b), max(a, b)) if sure else (a, b)
                (pairs if sure else taken).setdefault(pair, set()).add(v)
        # A track with half of its points exchanged may be believed to be on the other's bead.
        for (a, b), some in taken.items():
            pair = min(a, b), max(a, b)
            if pair in pairs or len(some) >= _LEAST_SHARED:
                pairs.setdefault(pair, set()).update(some | self._holds(b, a))
        for pair, found in pairs.items():
            yield self._swap(*pair, sorted(found))

    def _swap(self, a: int, b: int, views: list[int]) -> Item:
        gain = sum(self._excess(c, v) for c in (a, b) for v in views if self.measured[c, v])
        tracks = np.where(self.measured[[a, b], :, None], self.model.xy[[a, b]], np.nan)
        tracks[:, views] = tracks[::-1, views]
        for c, track in zip((a, b), tracks, strict=True):
            self._look_again(c, track)
        self.explained[a, views] = self.explained[b, views] = True
        return Item(
            Kind.SWAPPED, a, tuple(views), b, SwapTracks(a, b, tuple(views)), gain,
            f"contours {a + 1} and {b + 1} are exchanged on {len(views)} "
            f"view{'s' * (len(views) != 1)}",
        )  # fmt: skip

    def _look_again(self, c: int, track: Floats) -> None:
        """Judge the other points of a track by where it is once its points are put right."""
        geometry = self.s.geometry
        predicted = geometry.project(agreed_position(geometry, track)[None])[0]
        length = np.hypot(*(predicted - self.model.xy[c]).T)
        right = np.hypot(*(predicted - track).T)
        if not (np.isfinite(right).any() and np.isfinite(self.length[c]).any()):
            return
        if np.nanmedian(right) >= np.nanmedian(self.length[c]):
            return
        self.predicted[c], self.length[c] = predicted, length
        self.sd[c] = length / max(self.s.sigma_px, 1e-12)
        self.loo[c] = np.nan_to_num(length)
        self.big[c] = np.nan_to_num(self.sd[c]) > self.criterion_sd

    def _taken_by(self, a: int, v: int) -> int | None:
        """The contour whose point sits on the bead of ``a``, which is elsewhere."""
        away = np.hypot(*(self.model.xy[:, v] - self.predicted[a, v]).T)
        away = np.where(
            self.measured[:, v] & ~self.explained[:, v] & np.isfinite(away), away, np.inf
        )
        away[a] = np.inf
        b = int(np.argmin(away))
        near = away[b] < self.near and (min(a, b), max(a, b)) not in self.twins
        return b if near and self._trust(a) > self._trust(b) else None

    def _trust(self, c: int) -> float:
        """The part of a track's points that fit it."""
        return 1 - float(self.big[c].sum()) / max(int(self.measured[c].sum()), 1)

    def _holds(self, b: int, a: int) -> set[int]:
        """Views on which ``b`` sits on the bead of ``a``, which is elsewhere or nowhere."""
        away = np.hypot(*(self.model.xy[b] - self.predicted[a]).T)
        with np.errstate(invalid="ignore"):
            there = self.measured[b] & (away < self.near)
        return set(np.flatnonzero(there & (self.big[a] | ~self.measured[a])).tolist())

    def _sits_on(self, a: int, v: int) -> int | None:
        """The contour on whose bead point ``a`` sits, if that one lacks it or sits on ``a``'s."""
        predicted = self.predicted[:, v]
        away = np.hypot(*(predicted - self.model.xy[a, v]).T)
        away[a] = np.inf
        away = np.where(np.isfinite(away) & ~self.explained[:, v], away, np.inf)
        b = int(np.argmin(away))
        if away[b] > self.near or (min(a, b), max(a, b)) in self.twins:
            return None
        if not self.measured[b, v]:
            return b
        back = float(np.hypot(*(self.model.xy[b, v] - predicted[a])))
        return b if self.big[b, v] and back < self.near else None

    def residuals(self) -> Iterator[Item]:
        """Points far from where the others predict them."""
        for c, v in np.argwhere(self.big & self.measured & ~self.explained).tolist():
            x, y = (float(a) for a in self.predicted[c, v])
            self.explained[c, v] = True
            yield Item(
                Kind.RESIDUAL, c, (v,), -1, MovePoints(((c, v, x, y),)), self._excess(c, v),
                f"residual {self.length[c, v]:.2f} px, {self.sd[c, v]:.0f} SDs",
            )  # fmt: skip

    def off_image(self) -> Iterator[Item]:
        """Points beyond the border of the image."""
        half = np.array(self.model.size_px) / 2
        with np.errstate(invalid="ignore"):
            beyond = (np.abs(self.model.xy) > half).any(-1) & self.measured & ~self.explained
        for c in np.flatnonzero(beyond.any(1)).tolist():
            views = tuple(np.flatnonzero(beyond[c]).tolist())
            self.explained[c, list(views)] = True
            yield Item(
                Kind.OFF_IMAGE, c, views, -1, DeletePoints(tuple((c, v) for v in views)),
                float(self.loo[c, list(views)].sum()) / self.n, "the point lies off the image",
            )  # fmt: skip

    def gaps(self) -> Iterator[Item]:
        """Runs of views on which a bead lies on the image, alone, and has no point."""
        s = self.s
        open_ = ~self.model.measured & s.used & s.inside() & ~overlapped(s)
        for c in np.flatnonzero(open_.any(1)).tolist():
            for views in _runs(np.flatnonzero(open_[c]).tolist()):
                yield self._gap(c, views)

    def _gap(self, c: int, views: list[int]) -> Item:
        largest = np.nan_to_num(_largest(self.s.covariance_px2[c, views]), nan=np.inf)
        t = largest / max(self.s.sigma_px**2, 1e-12)
        leverage = np.where(np.isfinite(t), t / (1 + np.where(np.isfinite(t), t, 0)), 1.0)
        at = self.predicted[c].tolist()
        points = tuple(Point(c, v, at[v][0], at[v][1], int(Flag.FILLED)) for v in views)
        weak = int((self.model.flag[c, views] == Flag.FILLED).sum())
        reason = f"{len(views)} view{'s' * (len(views) != 1)} without a point"
        if weak:
            reason += f", {weak} filled on weak evidence"
        return Item(
            Kind.GAP, c, tuple(views), -1, FillPoints(points),
            float(leverage.sum()) * self.usual / self.n, reason,
        )  # fmt: skip

    def weak(self, evidence: Evidence) -> Iterator[Item]:
        """Points where the images show no bead, or show it elsewhere."""
        for c, v in np.argwhere(evidence.doubtful & self.measured & ~self.explained).tolist():
            offset = evidence.offset_px[c, v]
            score, usual = evidence.score[c, v], evidence.usual_score[v]
            edit: Edit = DeletePoints(((c, v),))
            reason = f"score {score:.0f}, usual in this view {usual:.0f}"
            if np.isfinite(offset).all():
                x, y = (float(a) for a in self.model.xy[c, v] + offset)
                if np.hypot(*offset) > evidence.tolerance_px:
                    edit = MovePoints(((c, v, x, y),))
                    reason = f"the bead is {np.hypot(*offset):.2f} px from the point"
            else:
                reason = "no bead is seen at the point"
            share = 1.0 - min(score / max(usual, 1e-9), 1.0)
            gain = max(self._excess(c, v), share * self.usual / self.n)
            yield Item(Kind.WEAK, c, (v,), -1, edit, gain, reason)


def _largest(covariance: Floats) -> Floats:
    """The larger eigenvalue of 2 x 2 matrices, NaN where they are."""
    half = (covariance[..., 0, 0] + covariance[..., 1, 1]) / 2
    apart = (covariance[..., 0, 0] - covariance[..., 1, 1]) / 2
    largest: Floats = half + np.hypot(apart, covariance[..., 0, 1])
    return largest


def _runs(views: Iterable[int]) -> Iterator[list[int]]:
    """Ascending numbers split where one is left out."""
    for _, run in groupby(enumerate(views), lambda pair: pair[1] - pair[0]):
        yield [v for _, v in run]
