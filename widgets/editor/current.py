"""Where one is in a model: contour, view, and the point one is attached to. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tiltwright.engine.model.fiducial_model import FiducialModel

NONE = -1


@dataclass(frozen=True)
class Current:
    """The place of a person in a model; views and contours from 0, ``NONE`` without one.

    Attributes
    ----------
    view : int
        The view that is shown.
    contour : int
    at : int
        View of the point that is attached to. While one steps through the views it follows the
        contour: where the contour has no point on the view shown, the last one stays.
    """

    view: int = 0
    contour: int = NONE
    at: int = NONE

    @property
    def attached(self) -> bool:
        """Whether there is a current point."""
        return self.contour != NONE and self.at != NONE

    @property
    def on_view(self) -> bool:
        """Whether the current point lies on the view that is shown."""
        return self.attached and self.at == self.view


def views_of(model: FiducialModel, contour: int) -> npt.NDArray[np.intp]:
    """The views on which a contour has points, in order."""
    if not 0 <= contour < model.n_tracks:
        return np.zeros(0, np.intp)
    return np.flatnonzero(model.flag[contour])


def seen(model: FiducialModel, contour: int, view: int) -> bool:
    """Whether a contour has a point on a view."""
    return 0 <= contour < model.n_tracks and bool(model.flag[contour, view])


def to_view(now: Current, model: FiducialModel, view: int) -> Current:
    """Another view is shown; the current point follows its contour."""
    view = min(max(0, view), model.n_views - 1)
    at = view if now.attached and seen(model, now.contour, view) else now.at
    return replace(now, view=view, at=at)


def to_point(now: Current, model: FiducialModel, contour: int, view: int) -> Current:
    """Attached to a point, with its view shown; only the contour when there is no such point."""
    if not 0 <= contour < model.n_tracks:
        return Current(min(max(0, view), model.n_views - 1))
    view = min(max(0, view), model.n_views - 1)
    return Current(view, contour, view if seen(model, contour, view) else NONE)


def to_contour(now: Current, model: FiducialModel, step: int) -> Current:
    """The next (+1) or previous (-1) contour: its point on this view, else the nearest one."""
    if not model.n_tracks:
        return Current(now.view)
    start = now.contour if now.contour != NONE else (-1 if step > 0 else model.n_tracks)
    contour = min(max(0, start + step), model.n_tracks - 1)
    views = views_of(model, contour)
    if not len(views):
        return Current(now.view, contour)
    nearest = int(views[np.argmin(np.abs(views - now.view))])
    return Current(nearest, contour, nearest)


def to_order(now: Current, model: FiducialModel, order: int) -> Current:
    """The ``order``-th point of the current contour, from 0; negative counts from the end."""
    views = views_of(model, now.contour)
    if not len(views):
        return now
    order = order % len(views) if order < 0 else min(order, len(views) - 1)
    return Current(int(views[order]), now.contour, int(views[order]))


def to_neighbour(now: Current, model: FiducialModel, step: int) -> Current:
    """The next (+1) or previous (-1) point of the contour, seen from the current one."""
    views = views_of(model, now.contour)
    here = now.at if now.attached else now.view
    further = views[views > here] if step > 0 else views[views < here][::-1]
    if not len(further):
        return now
    return Current(int(further[0]), now.contour, int(further[0]))


def settled(now: Current, model: FiducialModel) -> Current:
    """The same place after the model has changed: never at a point that is gone."""
    view = min(now.view, model.n_views - 1)
    if now.contour >= model.n_tracks:
        return Current(view, model.n_tracks - 1 if model.n_tracks else NONE)
    if now.attached and not seen(model, now.contour, now.at):
        return Current(view, now.contour, view if seen(model, now.contour, view) else NONE)
    return replace(now, view=view)


def order_of(model: FiducialModel, now: Current) -> int:
    """Which point of its contour the current one is, from 0; ``NONE`` without one."""
    return int((views_of(model, now.contour) < now.at).sum()) if now.attached else NONE


def nearest(
    model: FiducialModel, view: int, xy: tuple[float, float], within_px: float
) -> int:  # fmt: skip
    """The contour whose point on a view lies nearest to raw ``xy``; ``NONE`` beyond a distance."""
    if not model.n_tracks:
        return NONE
    way = np.hypot(*(model.xy[:, view] - xy).T)
    way[~np.isfinite(way)] = np.inf
    best = int(np.argmin(way))
    return best if way[best] <= within_px else NONE
