"""Searches for big residuals, and through contours by their mean residual."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tiltwright.engine.curation.live import Snapshot
from tiltwright.engine.curation.search import Found
from tiltwright.engine.model.edits import Change, Edit, MovePoints, Point, SetPoints, point_of
from tiltwright.engine.model.fiducial_model import FiducialModel

NO_MORE = "No more residuals!"
NO_MORE_CONTOURS = "No more contours!"
Place = tuple[int, int]


class ResidualSearch:
    """Goes through the points of big residuals, the biggest in standard deviations first.

    Parameters
    ----------
    criterion_sd
        Residuals beyond so many robust standard deviations are big.
    skip_low_weights, least_weight
        Pass over points that the robust solve gives a lower weight: they do no harm.
    examine_once
        A point that was looked at does not come again until the list is cleared.
    """

    def __init__(
        self, criterion_sd: float = 3.0, *, skip_low_weights: bool = True,
        least_weight: float = 0.1, examine_once: bool = True,
    ) -> None:  # fmt: skip
        self.criterion_sd = criterion_sd
        self.skip_low_weights, self.least_weight = skip_low_weights, least_weight
        self.examine_once = examine_once
        self._examined: set[Place] = set()
        self._path: list[Place] = []
        self._moved: Point | None = None

    def next(self, snapshot: Snapshot) -> Found:
        """The biggest residual not looked at yet."""
        places, skipped = self._big(snapshot)
        left = [p for p in places if p not in self._examined]
        if not left:
            if not self.examine_once:
                self._examined.clear()
            return Found(None, None, NO_MORE, done=True, skipped=skipped)
        place = left[0]
        self._examined.add(place)
        self._path.append(place)
        return Found(*place, residual_text(snapshot, *place), skipped=skipped)

    def back_up(self, snapshot: Snapshot) -> Found:
        """The point looked at before this one; the present one will come again."""
        shape = snapshot.sd.shape
        while len(self._path) > 1:
            self._examined.discard(self._path.pop())
            contour, view = self._path[-1]
            if contour < shape[0] and np.isfinite(snapshot.sd[contour, view]):
                return Found(contour, view, residual_text(snapshot, contour, view))
        return Found(None, None, NO_MORE, done=True)

    def clear_examined(self) -> None:
        """Forget which points were looked at."""
        self._examined.clear()
        self._path.clear()

    def progress(self, snapshot: Snapshot) -> tuple[int, int]:
        """How many of how many big residuals were looked at."""
        places, _ = self._big(snapshot)
        left = sum(p not in self._examined for p in places)
        # Those that were mended are big no longer, but were looked at.
        return len(self._examined), len(self._examined) + left

    def move_point(self, snapshot: Snapshot, contour: int, view: int) -> MovePoints | None:
        """The edit that moves a point by its residual, to where the solution wants it."""
        edit = _moves(snapshot, [(contour, view)])
        if edit is not None:
            self._moved = point_of(snapshot.model, contour, view)
        return edit

    def undo_move(self, model: FiducialModel) -> Edit | None:
        """The edit that puts the point moved last back; ``None`` when there is none."""
        point, self._moved = self._moved, None
        if point is None or point.contour >= model.n_tracks:
            return None
        return SetPoints((point,), "Undo move")

    def move_all(self, snapshot: Snapshot) -> MovePoints | None:
        """The edit that moves all big residuals; ``None`` when there is none."""
        return _moves(snapshot, self._big(snapshot)[0])

    def renumber(self, change: Change) -> None:
        """Follow an edit that gave contours other numbers."""

        def now(place: Place) -> Place | None:
            number = change.new_number(place[0])
            return None if number is None else (number, place[1])

        self._examined = {p for p in map(now, self._examined) if p is not None}
        self._path = [p for p in map(now, self._path) if p is not None]
        if self._moved is not None:
            place = now((self._moved.contour, self._moved.view))
            m = self._moved
            self._moved = (
                None if place is None else Point(place[0], m.view, m.x, m.y, m.flag, m.sigma_px)
            )

    def _big(self, snapshot: Snapshot) -> tuple[list[Place], int]:
        sd = np.nan_to_num(snapshot.sd)
        big = (sd > self.criterion_sd) & snapshot.model.measured & snapshot.used
        low = big & (snapshot.weight < self.least_weight)
        if self.skip_low_weights:
            big &= ~low
        places = [(int(c), int(v)) for c, v in np.argwhere(big)]
        places.sort(key=lambda p: -sd[p])
        return places, int(low.sum()) if self.skip_low_weights else 0


def residual_text(snapshot: Snapshot, contour: int, view: int) -> str:
    """``Residual = r (x, y), n SDs``."""
    x, y = snapshot.residual_px[contour, view]
    r, n = snapshot.length_px[contour, view], snapshot.sd[contour, view]
    return f"Residual = {r:.2f} ({x:.2f}, {y:.2f}), {n:.2f} SDs"


def _moves(snapshot: Snapshot, places: list[Place]) -> MovePoints | None:
    moves = []
    for c, v in places:
        x, y = snapshot.model.xy[c, v] + snapshot.residual_px[c, v]
        if np.isfinite(x) and np.isfinite(y):
            moves.append((c, v, float(x), float(y)))
    return MovePoints(tuple(moves)) if moves else None


class ContourSearch:
    """Goes through the contours, the highest mean residual first."""

    def __init__(self) -> None:
        self._path: list[int] = []

    def next(self, snapshot: Snapshot) -> Found:
        """The contour of the highest mean residual among those not looked at yet."""
        mean = snapshot.per_bead_px
        left = [c for c in np.argsort(-np.nan_to_num(mean, nan=-1.0), kind="stable").tolist()
                if np.isfinite(mean[c]) and c not in self._path]  # fmt: skip
        if not left:
            return Found(None, None, NO_MORE_CONTOURS, done=True)
        self._path.append(left[0])
        return self._at(snapshot, left[0])

    def back_up(self, snapshot: Snapshot) -> Found:
        """The contour before."""
        if len(self._path) < 2:
            return Found(None, None, NO_MORE_CONTOURS, done=True)
        self._path.pop()
        return self._at(snapshot, self._path[-1])

    def start_from_beginning(self) -> None:
        """Search from the highest mean residual again."""
        self._path.clear()

    def renumber(self, change: Change) -> None:
        """Follow an edit that gave contours other numbers."""
        new: Callable[[int], int | None] = change.new_number
        self._path = [c for c in map(new, self._path) if c is not None]

    def _at(self, snapshot: Snapshot, contour: int) -> Found:
        length = snapshot.length_px[contour]
        if not np.isfinite(length).any():
            return Found(contour, None, f"Contour {contour + 1} has no residuals")
        mean, sd, worst = np.nanmean(length), np.nanstd(length), np.nanmax(length)
        message = f"Contour {contour + 1}: mean {mean:.2f}, SD {sd:.2f}, max {worst:.2f}"
        return Found(contour, int(np.nanargmax(length)), message)
