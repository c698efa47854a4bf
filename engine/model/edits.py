"""Edits of a fiducial model: values that know how to apply and how to undo themselves.

``edit.apply(model)`` answers a :class:`Step`: the new model, the edit that undoes it, and the
record of what changed, which views of the model follow. Models are immutable: an edit copies the
dense arrays and never searches them, so that it takes well below a millisecond, and the history of
a long session holds the few numbers of its inverses instead of models. Points lie on a grid of
contours and views, so they are in the order of views and at most one per contour and view.

Contours and views are counted from 0; positions are raw pixels about the image centre, rounded to
what a ``.fid`` file holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tiltwright.engine.conventions import EDGE_MINUS_INDEX, image_centre
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag

NAN = float("nan")


@dataclass(frozen=True)
class Change:
    """What an edit changed, for the views of the model.

    Attributes
    ----------
    contours : frozenset of int
        Contours of the new model with other points or another surface than before.
    views : frozenset of int
        Views on which points appeared, moved or vanished.
    added : tuple of int
        Contours that are new, numbers of the new model, ascending.
    removed : tuple of int
        Contours that are gone, numbers of the old model, ascending.
    """

    contours: frozenset[int] = frozenset()
    views: frozenset[int] = frozenset()
    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()

    @property
    def renumbers(self) -> bool:
        """Whether contours have other numbers than before."""
        return bool(self.added or self.removed)

    def new_number(self, contour: int) -> int | None:
        """The number that an old contour has now; ``None`` if it is gone."""
        if contour in self.removed:
            return None
        contour -= sum(r < contour for r in self.removed)
        for a in self.added:
            contour += a <= contour
        return contour

    def old_number(self, contour: int) -> int | None:
        """The number that a contour of the new model had; ``None`` if it is new."""
        if contour in self.added:
            return None
        contour -= sum(a < contour for a in self.added)
        for r in self.removed:
            contour += r <= contour
        return contour

    def then(self, after: Change) -> Change:
        """This change followed by another, as one."""
        kept = {n for c in self.contours if (n := after.new_number(c)) is not None}
        added = {n for c in self.added if (n := after.new_number(c)) is not None}
        removed = {o for c in after.removed if (o := self.old_number(c)) is not None}
        return Change(
            frozenset(kept | after.contours), self.views | after.views,
            tuple(sorted(added | set(after.added))), tuple(sorted(removed | set(self.removed))),
        )  # fmt: skip


@dataclass(frozen=True)
class Step:
    """An edit that was applied: the model after it, the edit that undoes it, and the change."""

    model: FiducialModel
    inverse: Edit
    change: Change

    def __iter__(self):  # type: ignore[no-untyped-def]
        """``model, inverse, change = edit.apply(model)``."""
        return iter((self.model, self.inverse, self.change))


@runtime_checkable
class Edit(Protocol):
    """What every edit can do."""

    @property
    def label(self) -> str:
        """The edit in words, for menus and the log."""

    def apply(self, model: FiducialModel) -> Step:
        """Apply to ``model``; raises :class:`InputError` when the edit does not fit it."""


@dataclass(frozen=True)
class Point:
    """One place of the model: what is there, or nothing (``flag`` GAP)."""

    contour: int
    view: int
    x: float = NAN
    y: float = NAN
    flag: int = int(Flag.GAP)
    sigma_px: float = NAN


def point_of(model: FiducialModel, contour: int, view: int) -> Point:
    """What the model holds there."""
    x, y = model.xy[contour, view]
    return Point(
        contour, view, float(x), float(y), int(model.flag[contour, view]),
        float(model.sigma_px[contour, view]),
    )  # fmt: skip


def rounded(xy: npt.ArrayLike, size_px: tuple[int, int]) -> Floats:
    """Positions as a ``.fid`` file of single precision holds them."""
    offset = np.array(image_centre(*size_px)) + EDGE_MINUS_INDEX
    out: Floats = (np.asarray(xy, np.float64) + offset).astype(np.float32).astype(float) - offset
    return out


def _check(model: FiducialModel, contours: Sequence[int], views: Sequence[int]) -> None:
    for c in contours:
        if not 0 <= c < model.n_tracks:
            raise InputError(f"edit: contour {c + 1} of {model.n_tracks} does not exist")
    for v in views:
        if not 0 <= v < model.n_views:
            raise InputError(f"edit: view {v + 1} of {model.n_views} does not exist")


def _frozen(model: FiducialModel, **arrays: npt.NDArray[np.generic]) -> FiducialModel:
    for array in arrays.values():
        array.flags.writeable = False
    return replace(model, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SetPoints:
    """Put points, or gaps, where they are said to be; all other point edits come down to it."""

    points: tuple[Point, ...]
    label: str = "Set points"

    def apply(self, model: FiducialModel) -> Step:
        """See :class:`Edit`."""
        _check(model, [p.contour for p in self.points], [p.view for p in self.points])
        places = [(p.contour, p.view) for p in self.points]
        if len(set(places)) < len(places):
            raise InputError("edit: two points of one contour on one view")
        if not all(np.isfinite([p.x, p.y]).all() for p in self.points if p.flag != Flag.GAP):
            raise InputError("edit: a point at no finite position")
        before = tuple(point_of(model, *place) for place in places)
        xy, flag, sigma = model.xy.copy(), model.flag.copy(), model.sigma_px.copy()
        for p in self.points:
            at = p.contour, p.view
            there = p.flag != Flag.GAP
            xy[at] = rounded((p.x, p.y), model.size_px) if there else np.nan
            flag[at] = p.flag
            sigma[at] = round(p.sigma_px, 4) if there else np.nan
        change = Change(frozenset(c for c, _ in places), frozenset(v for _, v in places))
        made = _frozen(model, xy=xy, flag=flag, sigma_px=sigma)
        return Step(made, SetPoints(before, self.label), change)


@dataclass(frozen=True)
class AddPoint:
    """Add a point to a contour on a view; one that is already there moves.

    ``sigma_px`` is its uncertainty where centring tells it, ``flag`` a :class:`Flag`.
    """

    contour: int
    view: int
    x: float
    y: float
    sigma_px: float = NAN
    flag: int = int(Flag.EDITED)

    @property
    def label(self) -> str:
        """See :class:`Edit`."""
        return f"Add point of contour {self.contour + 1}, view {self.view + 1}"

    def apply(self, model: FiducialModel) -> Step:
        """See :class:`Edit`."""
        point = Point(self.contour, self.view, self.x, self.y, self.flag, self.sigma_px)
        return SetPoints((point,), self.label).apply(model)


@dataclass(frozen=True)
class MovePoints:
    """Move points that exist: ``((contour, view, x, y), ...)``; they count as edited."""

    moves: tuple[tuple[int, int, float, float], ...]

    @property
    def label(self) -> str:
        """See :class:`Edit`."""
        if len(self.moves) == 1:
            contour, view = self.moves[0][:2]
            return f"Move point of contour {contour + 1}, view {view + 1}"
        return f"Move {len(self.moves)} points"

    def apply(self, model: FiducialModel) -> Step:
        """See :class:`Edit`; raises also when there is no point."""
        _check(model, [m[0] for m in self.moves], [m[1] for m in self.moves])
        for c, v, *_ in self.moves:
            if model.flag[c, v] == Flag.GAP:
                raise InputError(f"edit: contour {c + 1} has no point on view {v + 1}")
        points = tuple(Point(*m, int(Flag.EDITED)) for m in self.moves)
        return SetPoints(points, self.label).apply(model)


@dataclass(frozen=True)
class DeletePoints:
    """Delete points: ``((contour, view), ...)``; the contours stay, even when empty."""

    places: tuple[tuple[int, int], ...]

    @property
    def label(self) -> str:
        """See :class:`Edit`."""
        if len(self.places) == 1:
            contour, view = self.places[0]
            return f"Delete point of contour {contour + 1}, view {view + 1}"
        return f"Delete {len(self.places)} points"

    def apply(self, model: FiducialModel) -> Step:
        """See :class:`Edit`."""
        return SetPoints(tuple(Point(*p) for p in self.places), self.label).apply(model)


@dataclass(frozen=True)
class FillPoints:
    """Fill gaps: points as centring found them (``flag`` MEASURED or FILLED, ``sigma_px``)."""

    points: tuple[Point, ...]

    @property
    def label(self) -> str:
        """See :class:`Edit`."""
        n = len(self.points)
        return f"Fill {n} gap{'s' * (n != 1)}"

    def apply(self, model: FiducialModel) -> Step:
        """See :class:`Edit`; raises also where a point was measured."""
        _check(model, [p.contour for p in self.points], [p.view for p in self.points])
        for p in self.points:
            if model.flag[p.contour, p.view] in (Flag.MEASURED, Flag.EDITED):
                raise InputError(
                    f"edit: contour {p.contour + 1} has a point on view {p.view + 1} already"
                )
        return SetPoints(self.points, self.label).apply(model)


@dataclass(frozen=True)
class AddContour:
    """Insert a contour with the given points (their ``contour`` is not looked at).

    ``index`` -1 adds it at the end.
    """

    index: int = -1
    points: tuple[Point, ...] = ()
    surface: int = 0

    @property
    def label(self) -> str:
        """See :class:`Edit`."""
        return "New contour"

    def apply(self, model: FiducialModel) -> Step:
        """See :class:`Edit`."""
        at = model.n_tracks if self.index == -1 else self.index
        if not 0 <= at <= model.n_tracks:
            raise InputError(f"edit: no contour can be inserted as number {at + 1}")
        wider = _frozen(
            model, xy=np.insert(model.xy, at, np.nan, axis=0),
            flag=np.insert(model.flag, at, Flag.GAP, axis=0),
            surface=np.insert(model.surface, at, self.surface),
            sigma_px=np.insert(model.sigma_px, at, np.nan, axis=0),
        )  # fmt: skip
        own = tuple(replace(p, contour=at) for p in self.points)
        made = SetPoints(own).apply(wider)
        change = Change(frozenset({at}), made.change.views, (at,), ())
        return Step(made.model, DeleteContour(at), change)


@dataclass(frozen=True)
class DeleteContour:
    """Delete a contour and its points."""

    contour: int

    @property
    def label(self) -> str:
        """See :class:`Edit`."""
        return f"Delete contour {self.contour + 1}"

    def apply(self, model: FiducialModel) -> Step:
        """See :class:`Edit`."""
        c = self.contour
        _check(model, [c], [])
        views = np.flatnonzero(model.flag[c] != Flag.GAP).tolist()
        points = tuple(point_of(model, c, v) for v in views)
        made = _frozen(
            model, xy=np.delete(model.xy, c, 0), flag=np.delete(model.flag, c, 0),
            surface=np.delete(model.surface, c), sigma_px=np.delete(model.sigma_px, c, 0),
        )  # fmt: skip
        change = Change(frozenset(), frozenset(views), (), (c,))
        return Step(made, AddContour(c, points, int(model.surface[c])), change)


@dataclass(frozen=True)
class SetSurface:
    """Say on which surface contours lie: 0 bottom, 1 top; one for each contour."""

    contours: tuple[int, ...]
    surfaces: tuple[int, ...]

    @property
    def label(self) -> str:
        """See :class:`Edit`."""
        return "Set surface"

    def apply(self, model: FiducialModel) -> Step:
        """See :class:`Edit`."""
        _check(model, self.contours, [])
        if len(self.surfaces) != len(self.contours):
            raise InputError(f"edit: {len(self.surfaces)} surfaces, {len(self.contours)} contours")
        if len(set(self.contours)) < len(self.contours):
            raise InputError("edit: two surfaces for one contour")
        if not all(s in (-1, 0, 1) for s in self.surfaces):
            raise InputError("edit: a surface is 0 (bottom), 1 (top) or -1 (not known)")
        surface = model.surface.copy()
        before = tuple(int(surface[c]) for c in self.contours)
        surface[list(self.contours)] = self.surfaces
        made = _frozen(model, surface=surface)
        return Step(made, SetSurface(self.contours, before), Change(frozenset(self.contours)))


@dataclass(frozen=True)
class SwapTracks:
    """Exchange the points of two contours on the given views, gaps included."""

    first: int
    second: int
    views: tuple[int, ...]

    @property
    def label(self) -> str:
        """See :class:`Edit`."""
        n = len(self.views)
        return f"Swap contours {self.first + 1} and {self.second + 1} on {n} view{'s' * (n != 1)}"

    def apply(self, model: FiducialModel) -> Step:
        """See :class:`Edit`."""
        a, b, v = self.first, self.second, np.array(self.views, np.int64)
        _check(model, [a, b], self.views)
        arrays = {}
        for name in ("xy", "flag", "sigma_px"):
            old = getattr(model, name)
            new = old.copy()
            new[a, v], new[b, v] = old[b, v], old[a, v]
            arrays[name] = new
        change = Change(frozenset({a, b}), frozenset(self.views))
        return Step(_frozen(model, **arrays), self, change)


@dataclass(frozen=True)
class Together:
    """Several edits as one gesture, in order."""

    edits: tuple[Edit, ...]
    label: str = "Several edits"

    def apply(self, model: FiducialModel) -> Step:
        """See :class:`Edit`."""
        inverses: list[Edit] = []
        change = Change()
        for edit in self.edits:
            step = edit.apply(model)
            model = step.model
            inverses.insert(0, step.inverse)
            change = change.then(step.change)
        return Step(model, Together(tuple(inverses), self.label), change)
