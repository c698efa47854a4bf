"""Search for gaps, contour by contour: missing start, each internal gap, missing end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tiltwright.engine.curation.search import Found
from tiltwright.engine.model.edits import Change
from tiltwright.engine.model.fiducial_model import FiducialModel

NO_MORE = "No more gaps found!"


@dataclass(frozen=True)
class Gap:
    """Views of a contour that lack a point.

    Attributes
    ----------
    contour : int
    first, last : int
        First and last view that lacks a point and is not ignored.
    attach : int
        View of the point before the gap; of the first point when the start is missing.
    arrow : -1 or 1
        From there towards the gap.
    """

    contour: int
    first: int
    last: int
    attach: int
    arrow: int

    @property
    def message(self) -> str:
        """What the log says."""
        where, key = ("before", "PageDown") if self.arrow < 0 else ("after", "PageUp")
        return (
            f"Contour {self.contour + 1} is missing points {where} current point. "
            f"Use {key} to go to the view and add a point."
        )


def gaps_of(model: FiducialModel, ignore: Iterable[int] = ()) -> list[Gap]:
    """All gaps in the order of the search; contours without any point have none."""
    wanted = np.ones(model.n_views, np.bool_)
    wanted[[v for v in ignore if 0 <= v < model.n_views]] = False
    out: list[Gap] = []
    for c, here in enumerate(model.measured):
        views = np.flatnonzero(here)
        if not len(views):
            continue
        edges = [-1, *views.tolist(), model.n_views]
        for low, high in pairwise(edges):
            lacking = np.flatnonzero(wanted[low + 1 : high]) + low + 1
            if len(lacking):
                start = low < 0
                attach, arrow = (high, -1) if start else (low, 1)
                out.append(Gap(c, int(lacking[0]), int(lacking[-1]), attach, arrow))
    return out


class GapSearch:
    """Goes from gap to gap; survives edits and detaching, since it keeps its own place.

    Parameters
    ----------
    ignore : views whose gaps do not count, among them those that are excluded.
    """

    def __init__(self, ignore: Iterable[int] = ()) -> None:
        self.ignore = frozenset(ignore)
        self._last: Gap | None = None
        self._from: tuple[int, int] | None = None

    @property
    def current(self) -> Gap | None:
        """The gap found last."""
        return self._last

    def start_from_beginning(self) -> None:
        """Search from the first contour on."""
        self._last = self._from = None

    def start_from(self, contour: int, view: int) -> None:
        """Search from the current point on."""
        self._last, self._from = None, (contour, view)

    def next(self, model: FiducialModel) -> Found:
        """The next gap; one that was filled in part comes again."""
        for gap in gaps_of(model, self.ignore):
            if self._comes(gap):
                return self._found(gap)
        return Found(None, None, NO_MORE, done=True)

    def previous(self, model: FiducialModel) -> Found:
        """The gap before."""
        last, start = self._last, self._from
        for gap in reversed(gaps_of(model, self.ignore)):
            if last is not None:
                before = (gap.contour, gap.first) < (last.contour, last.first)
            else:
                before = start is not None and (gap.contour, gap.attach) < start
            if before:
                return self._found(gap)
        return Found(None, None, NO_MORE, done=True)

    def reattach(self, model: FiducialModel) -> Found:
        """Back to the gap found last, at the point that lies before what is left of it."""
        last = self._last
        if last is None or last.contour >= model.n_tracks:
            return Found(None, None, "There is no gap to go back to")
        views = np.flatnonzero(model.measured[last.contour])
        if not len(views):
            return Found(None, None, f"Contour {last.contour + 1} has no points")
        before, after = views[views < last.first], views[views >= last.first]
        if len(before):
            return Found(last.contour, int(before[-1]), last.message, last.arrow)
        return Found(last.contour, int(after[0]), last.message, -1)

    def renumber(self, change: Change) -> None:
        """Follow an edit that gave contours other numbers."""
        if self._last is not None:
            number = change.new_number(self._last.contour)
            at = self._last.contour if number is None else number
            first = -1 if number is None else self._last.first
            old = self._last
            self._last = Gap(at, first, old.last, old.attach, old.arrow)
        if self._from is not None:
            number = change.new_number(self._from[0])
            self._from = (self._from[0], 0) if number is None else (number, self._from[1])

    def _comes(self, gap: Gap) -> bool:
        if self._last is not None:
            here, last = (gap.contour, gap.first), (self._last.contour, self._last.first)
            return here > last or (here == last and gap.attach != self._last.attach)
        return self._from is None or (gap.contour, gap.attach) >= self._from

    def _found(self, gap: Gap) -> Found:
        self._last = gap
        return Found(gap.contour, gap.attach, gap.message, gap.arrow)
