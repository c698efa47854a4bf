"""What is drawn over a view in the editor: beads, ghosts, gaps, residuals, predictions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QPointF, Qt
from PyQt6.QtGui import QColor, QPainter, QPen, QPolygonF

from tiltwright.widgets.editor.current import Current, seen
from tiltwright.widgets.image.overlay import Arrows, Circles, Layer, Texts
from tiltwright.widgets.image.viewport import Viewport
from tiltwright.widgets.series.series_layers import RIM
from tiltwright.widgets.theme import colours

if TYPE_CHECKING:
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.widgets.series.series_source import SeriesSource

Floats = npt.NDArray[np.float64]
GHOST_REACH = 2
"""Ghosts of so many views on each side."""
_GAP_PX = 12.0


@dataclass(frozen=True)
class Shown:
    """What a person wants to see.

    Attributes
    ----------
    model, ghosts, residuals, predictions : bool
    residual_scale : float
        Residual arrows are drawn so much longer than they are.
    """

    model: bool = True
    ghosts: bool = False
    residuals: bool = True
    predictions: bool = True
    residual_scale: float = 10.0


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that the marks of a view are made of; positions are raw, about the centre.

    Attributes
    ----------
    model : FiducialModel
    used : (n_views,) bool
    residual_px : (n_tracks, n_views, 2)
        Predicted minus measured; NaN where nothing is known.
    predicted : (n_tracks, n_views, 2)
    uncertainty_px : float
        Of the current bead's predicted position on this view; NaN where nothing is known.
    held : (x, y), optional
        Where the pointer holds the current point.
    looked : (x, y), optional
        The point set in Movie mode.
    """

    model: FiducialModel
    used: npt.NDArray[np.bool_]
    residual_px: Floats | None = None
    predicted: Floats | None = None
    uncertainty_px: float = float("nan")
    held: tuple[float, float] | None = None
    current: Current = field(default_factory=Current)
    looked: tuple[float, float] | None = None
    shown: Shown = field(default_factory=Shown)

    def at(self, current: Current) -> Scene:
        """The same with another current point."""
        return replace(self, current=current)


@dataclass(frozen=True, eq=False)
class GapMark:
    """A yellow arrow beside a point, towards the view that lacks it: up is the next view."""

    xy: tuple[float, float]
    up: bool
    beside_px: float
    colour: str

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw it in screen pixels, whatever the zoom."""
        x, y = port.to_screen(*self.xy)
        beside = max(self.beside_px * port.zoom, 8.0) / 2 + 5
        way = -1.0 if self.up else 1.0
        tip, tail = y + way * (beside + 2 * _GAP_PX), y + way * beside
        painter.setPen(QPen(QColor(self.colour), 2.5))
        painter.setBrush(QColor(self.colour))
        painter.drawLine(QPointF(x, tail), QPointF(x, tip))
        side = tip - way * _GAP_PX * 0.8
        painter.drawPolygon(
            QPolygonF([QPointF(x, tip), QPointF(x - 6, side), QPointF(x + 6, side)])
        )
        painter.setBrush(Qt.BrushStyle.NoBrush)


@dataclass(frozen=True, eq=False)
class Cross:
    """A small cross of a fixed size on the screen."""

    xy: tuple[float, float]
    colour: str

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw it."""
        x, y = port.to_screen(*self.xy)
        painter.setPen(QPen(QColor(self.colour), 1.5))
        painter.drawLine(QPointF(x - 6, y), QPointF(x + 6, y))
        painter.drawLine(QPointF(x, y - 6), QPointF(x, y + 6))


def marks(scene: Scene, source: SeriesSource, view: int) -> list[Layer]:
    """The layers of a view, from below to above."""
    if not scene.shown.model or view >= scene.model.n_views:
        return _look(scene, source, view)
    out: list[Layer] = []
    if scene.shown.ghosts:
        out += _ghosts(scene, source, view)
    out += _beads(scene, source, view)
    if scene.shown.predictions:
        out += _prediction(scene, source, view)
    if scene.shown.residuals:
        out += _residuals(scene, source, view)
    return out + _current(scene, source, view) + _look(scene, source, view)


def _diameter(scene: Scene, source: SeriesSource) -> float:
    return scene.model.diameter_px / source.series.frame.scale * RIM


def _beads(scene: Scene, source: SeriesSource, view: int) -> list[Layer]:
    model, c = scene.model, colours()
    out: list[Layer] = []
    for surface, colour in ((0, c.surface_bottom), (1, c.surface_top)):
        for filled in (False, True):
            which = (model.flag[:, view] > 0) & (model.measured[:, view] != filled)
            which &= (model.surface == surface) if surface else (model.surface != 1)
            if scene.current.on_view:
                which = which.copy()
                which[scene.current.contour] = False
            if which.any():
                at = source.from_raw(view, model.xy[which, view])
                out.append(Circles(at, _diameter(scene, source), colour, dashed=filled))
    return out


def _ghosts(scene: Scene, source: SeriesSource, view: int) -> list[Layer]:
    model, c = scene.model, colours()
    out: list[Layer] = []
    near = [
        v for v in range(view - GHOST_REACH, view + GHOST_REACH + 1)
        if v != view and 0 <= v < model.n_views
    ]  # fmt: skip
    for surface, colour in ((0, c.surface_bottom), (1, c.surface_top)):
        which = model.surface == surface
        points = model.xy[which][:, near].reshape(-1, 2)
        points = points[np.isfinite(points).all(1)]
        if len(points):
            at = source.from_raw(view, points)
            faint = QColor(colour)
            faint.setAlpha(110)
            name = faint.name(QColor.NameFormat.HexArgb)
            out.append(Circles(at, 0.6 * _diameter(scene, source), name, 1.0, False, 4.0))
    return out


def _residuals(scene: Scene, source: SeriesSource, view: int) -> list[Layer]:
    if scene.residual_px is None or len(scene.residual_px) != scene.model.n_tracks:
        return []
    start, step = scene.model.xy[:, view], scene.residual_px[:, view]
    good = np.isfinite(start).all(1) & np.isfinite(step).all(1)
    if not good.any():
        return []
    a = source.from_raw(view, start[good])
    b = source.from_raw(view, start[good] + step[good])
    red = colours().residual
    out: list[Layer] = [Arrows(a, b - a, red, scene.shown.residual_scale, 1.6, 7.0)]
    now = scene.current
    if now.on_view and good[now.contour]:
        mine = int(good[: now.contour].sum())
        out.append(
            Arrows(a[mine : mine + 1], (b - a)[mine : mine + 1], red,
                   scene.shown.residual_scale, 3.0, 11.0)
        )  # fmt: skip
    return out


def _prediction(scene: Scene, source: SeriesSource, view: int) -> list[Layer]:
    """Where the geometry expects the current bead, when it has no point on this view."""
    now, model = scene.current, scene.model
    if not 0 <= now.contour < model.n_tracks or scene.predicted is None:
        return []
    if len(scene.predicted) != model.n_tracks or seen(model, now.contour, view):
        return []
    at = scene.predicted[now.contour, view]
    if not np.isfinite(at).all():
        return []
    c, shown = colours(), source.from_raw(view, at[None])
    diameter = _diameter(scene, source)
    out: list[Layer] = [Circles(shown, diameter, c.current, 1.8, dashed=True)]
    sigma = scene.uncertainty_px
    if np.isfinite(sigma):
        scale = source.series.frame.scale
        ring = QColor(c.current)
        ring.setAlpha(120)
        around = diameter + 4 * sigma / scale
        out.append(Circles(shown, around, ring.name(QColor.NameFormat.HexArgb), 1.0, dashed=True))
        out.append(Texts(shown, (f"± {sigma:.2f} px",), c.current, (14.0, -12.0)))
    return out


def _current(scene: Scene, source: SeriesSource, view: int) -> list[Layer]:
    now, model, c = scene.current, scene.model, colours()
    diameter = _diameter(scene, source)
    out: list[Layer] = []
    if scene.held is not None:
        at = source.from_raw(view, np.array([scene.held]))
        return [Circles(at, diameter, c.current, 2.4), Cross(tuple(at[0]), c.current)]
    if not now.on_view or now.contour >= model.n_tracks:
        return out
    raw = model.xy[now.contour, view]
    if not np.isfinite(raw).all():
        return out
    at = source.from_raw(view, raw[None])
    out.append(Circles(at, diameter, c.current, 2.4))
    surface = c.surface_top if model.surface[now.contour] == 1 else c.surface_bottom
    out.append(Circles(at, 0.62 * diameter, surface, 1.2, False, 5.0))
    for step in (1, -1):
        beside = view + step
        there = 0 <= beside < model.n_views and scene.used[beside]
        if there and not seen(model, now.contour, beside):
            out.append(GapMark(tuple(at[0]), step > 0, diameter, c.current))
    return out


def _look(scene: Scene, source: SeriesSource, view: int) -> list[Layer]:
    if scene.looked is None:
        return []
    at = source.from_raw(view, np.array([scene.looked]))
    return [Cross(tuple(at[0]), colours().current)]
