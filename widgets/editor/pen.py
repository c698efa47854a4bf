"""What gestures and keys do to the model: attach, add, move, nudge, delete."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tiltwright.engine.model.edits import (
    AddContour,
    AddPoint,
    DeletePoints,
    Edit,
    MovePoints,
    Point,
)
from tiltwright.engine.model.fiducial_model import Flag
from tiltwright.widgets.editor.bead_fixer import BeadFixer, Operation
from tiltwright.widgets.editor.centring import Centring
from tiltwright.widgets.editor.current import (
    NONE,
    Current,
    nearest,
    seen,
    to_neighbour,
    to_point,
    views_of,
)
from tiltwright.widgets.editor.session import Session

if TYPE_CHECKING:
    from tiltwright.engine.fiducials.fill import Found

ATTACH_PX, DELETE_PX = 15.0, 8.0
"""Screen pixels within which a click attaches, and Ctrl+right deletes."""
NEW_CONTOUR_DIAMETERS = 2.0


class Pen:
    """Turns what a person does on a view into edits; positions are raw, about the centre."""

    def __init__(self, session: Session, panel: BeadFixer, centring: Centring) -> None:
        self._session, self._panel, self._centring = session, panel, centring

    def attach(self, view: int, at: tuple[float, float], screen_px: float) -> None:
        """Attach to the nearest point within reach, else detach; ``screen_px`` raw pixels."""
        session = self._session
        contour = nearest(session.model, view, at, ATTACH_PX * screen_px)
        if contour == NONE:
            session.go(Current(view))
        else:
            session.go(to_point(session.current, session.model, contour, view))

    def add(self, view: int, at: tuple[float, float]) -> None:
        """Add a point to the current contour, snapped to the bead when that is wanted."""
        session, panel = self._session, self._panel
        now = session.current
        if now.contour == NONE and panel.operation is Operation.GAPS:
            session.failed.emit(
                "No automatic new contours in gap filling mode: attach to a contour first, or "
                "press N for a new one"
            )
            return
        snaps = panel.operation in (Operation.SEED, Operation.GAPS)
        if snaps and panel.autocentre.isChecked():
            contour = now.contour

            def found(bead: Found) -> None:
                self._add(contour, view, (bead.x, bead.y), bead.sigma_px)

            self._centring.snap(view, at, found)
        else:
            self._add(now.contour, view, at, math.nan)

    def _add(self, contour: int, view: int, at: tuple[float, float], sigma_px: float) -> None:
        session = self._session
        model = session.model
        if contour >= model.n_tracks:
            contour = NONE
        edit: Edit
        if contour == NONE or self._wants_contour(contour, view, at):
            point = Point(0, view, *at, int(Flag.EDITED), sigma_px)
            edit, contour = AddContour(points=(point,)), model.n_tracks
        else:
            edit = AddPoint(contour, view, *at, sigma_px)
        session.do(edit, Current(view, contour, view))

    def _wants_contour(self, contour: int, view: int, at: tuple[float, float]) -> bool:
        """Whether a click in seed mode begins another bead."""
        panel, model = self._panel, self._session.model
        if panel.operation is not Operation.SEED or not panel.auto_contour.isChecked():
            return False
        if seen(model, contour, view):
            return True
        views = views_of(model, contour)
        if not len(views):
            return False
        near = model.xy[contour, views[np.argmin(np.abs(views - view))]]
        return math.dist(near, at) > NEW_CONTOUR_DIAMETERS * model.diameter_px

    def move(self, view: int, at: tuple[float, float]) -> None:
        """Put the current point here; it must lie on the view that is shown."""
        session, now = self._session, self._session.current
        if not now.on_view or now.view != view:
            session.failed.emit("There is no current point on this view to move")
            return
        session.do(MovePoints(((now.contour, view, *at),)), now)

    def nudge(self, dx_px: float, dy_px: float) -> None:
        """Move the current point by raw pixels."""
        now = self._session.current
        if now.on_view:
            x, y = self._session.model.xy[now.contour, now.view]
            self.move(now.view, (float(x + dx_px), float(y + dy_px)))

    def recentre(self, view: int) -> None:
        """Snap the current point to its bead."""
        session, now = self._session, self._session.current
        if not now.on_view or now.view != view:
            session.failed.emit("There is no current point on this view to centre")
            return
        x, y = session.model.xy[now.contour, view]

        def found(bead: Found) -> None:
            if seen(session.model, now.contour, view):
                session.do(
                    AddPoint(now.contour, view, bead.x, bead.y, bead.sigma_px),
                    Current(view, now.contour, view),
                )

        self._centring.snap(view, (float(x), float(y)), found)

    def delete_near(self, view: int, at: tuple[float, float], screen_px: float) -> None:
        """Delete the point of the current contour within reach of a click."""
        session, now = self._session, self._session.current
        if now.contour == NONE or not seen(session.model, now.contour, view):
            return
        if math.dist(session.model.xy[now.contour, view], at) <= DELETE_PX * screen_px:
            self._delete(now.contour, view)

    def delete_current(self) -> None:
        """Delete the current point."""
        now = self._session.current
        if now.attached:
            self._delete(now.contour, now.at)
        else:
            self._session.failed.emit("There is no current point")

    def _delete(self, contour: int, view: int) -> None:
        session = self._session
        there = Current(session.current.view, contour, view)
        # The point before becomes the current one, else the one after.
        beside = to_neighbour(there, session.model, -1)
        if beside.at == view:
            beside = to_neighbour(there, session.model, 1)
        at = beside.at if beside.at != view else NONE
        session.do(DeletePoints(((contour, view),)), Current(there.view, contour, at))

    def new_contour(self) -> None:
        """Begin a contour without points."""
        session = self._session
        n = session.model.n_tracks
        if session.do(AddContour(), Current(session.current.view, n)):
            session.said.emit(f"Contour {n + 1} is new")
