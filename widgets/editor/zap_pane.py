"""The view of the editor: pictures, marks, and the row that goes through the views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt6.QtCore import QTimer, pyqtSignal
from PyQt6.QtWidgets import QVBoxLayout, QWidget

from tiltwright.widgets.editor.current import seen
from tiltwright.widgets.editor.hand import Does, Mode
from tiltwright.widgets.editor.marks import Scene, Shown, marks
from tiltwright.widgets.editor.overlay_picture import OverlayPicture, overlay
from tiltwright.widgets.editor.pen import Pen
from tiltwright.widgets.editor.session import Session
from tiltwright.widgets.editor.zap_view import ZapView
from tiltwright.widgets.image.navigation import NavigationBar
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.series.series_images import SeriesImages

if TYPE_CHECKING:
    from tiltwright.engine.model.tilt_series import TiltSeries

_PATIENCE_MS = 40


class ZapImages(SeriesImages):
    """Pictures whose mouse edits."""

    view_class = ZapView


class ZapPane(QWidget):
    """Shows the session's model over a view, and hands gestures to the pen.

    Signals
    -------
    moved : ()
        Another view is shown, or the current point in Movie mode is another one.
    """

    moved = pyqtSignal()

    def __init__(self, session: Session, lane: Lane, pen: Pen, owner: QWidget) -> None:
        super().__init__(owner)
        self._session, self._lane, self._pen = session, lane, pen
        session.slow_lane.give_way_to(lane)
        self.images = ZapImages(lane, self)
        view = self.images.main_view
        assert isinstance(view, ZapView)
        self.view = view
        self.navigation = NavigationBar(owner, "view")
        self.shown = Shown()
        self.looked: tuple[float, float] | None = None
        self._held: tuple[float, float] | None = None
        self._overlay_step, self._reverse = 0, False
        self._view = -1
        self._ways: dict[Does, Callable[[int, tuple[float, float]], None]] = {
            Does.ATTACH: lambda v, at: pen.attach(v, at, self.raw_per_screen),
            Does.LOOK: self._look,
            Does.ADD: pen.add,
            Does.MOVE: pen.move,
            Does.RECENTRE: lambda v, _: pen.recentre(v),
            Does.DELETE_NEAR: lambda v, at: pen.delete_near(v, at, self.raw_per_screen),
            Does.PLAY_FORWARD: lambda *_: self.navigation.player.toggle(1),
            Does.PLAY_BACKWARD: lambda *_: self.navigation.player.toggle(-1),
        }
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.images, 1)
        column.addWidget(self.navigation)
        self.navigation.set_count(session.model.n_views)
        self.navigation.words.setMinimumWidth(
            self.fontMetrics().horizontalAdvance("−60.00°  ✕ left out")
        )
        self.navigation.went.connect(session.show_view)
        self.images.view_shown.connect(self._picture_shown)
        self.view.acted.connect(self._act)
        # Painting and solving hold each other up: after an edit the marks wait for the solution,
        # unless it takes longer than anybody would notice.
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_PATIENCE_MS)
        self._soon.timeout.connect(self.draw)
        session.model_changed.connect(lambda _: self._draw_soon())
        session.solved.connect(self.draw)
        session.current_changed.connect(self._follow)
        self.images.set_axis_shown(False)

    # ---- what is shown -------------------------------------------------------------------------

    def set_series(self, series: TiltSeries, interpolated: bool) -> None:
        """Show the pictures of a series: raw, or moved by its alignment."""
        self.images.set_series(series)
        self.images.set_interpolated(interpolated)
        self.images.show_view(self._session.current.view)
        self._tell_view()

    @property
    def view_shown(self) -> int:
        """The view whose picture is on the screen, -1 before the first."""
        return self._view

    @property
    def raw_per_screen(self) -> float:
        """Raw pixels per pixel of the screen."""
        source = self.images.source
        scale = source.series.frame.scale if source is not None else 1.0
        return float(scale) / self.view.viewport.zoom

    @property
    def raw_per_image(self) -> float:
        """Raw pixels per pixel of the pictures."""
        source = self.images.source
        return float(source.series.frame.scale) if source is not None else 1.0

    def set_mode(self, mode: Mode) -> None:
        """Say what clicks mean."""
        self.view.set_mode(mode)
        self.navigation.player.stop()
        if mode is Mode.MODEL:
            self.looked = None
            self.draw()

    def set_shown(self, **changes: Any) -> None:
        """Show or hide what :class:`Shown` names."""
        self.shown = replace(self.shown, **changes)
        self.draw()

    def set_overlay(self, step: int, reverse: bool = False) -> None:
        """Lay another view over this one; 0 takes it away."""
        self._overlay_step, self._reverse = step, reverse
        self._ask_overlay()

    def scene(self) -> Scene:
        """What the marks are made of now."""
        session = self._session
        scene = Scene(
            session.model, session.series.used, held=self._held, current=session.current,
            looked=self.looked, shown=self.shown,
        )  # fmt: skip
        snapshot = session.snapshot
        if snapshot is None or not session.fits:
            return scene
        now, spread = session.current, float("nan")
        known = 0 <= now.contour < len(snapshot.xyz) and self._view >= 0
        # Only said where there is no point.
        if known and not seen(session.model, now.contour, self._view):
            spread = float(np.sqrt(np.trace(snapshot.covariance_px2[now.contour, self._view]) / 2))
        return replace(
            scene, residual_px=snapshot.residual_px, predicted=snapshot.predicted_px,
            uncertainty_px=spread,
        )  # fmt: skip

    def draw(self) -> None:
        """Draw the marks of the view that is on the screen."""
        self._soon.stop()
        source = self.images.source
        if source is not None and self._view >= 0:
            self.view.set_layer("marks", *marks(self.scene(), source, self._view))

    def _draw_soon(self) -> None:
        """Draw with the next solution when one is on its way."""
        session = self._session
        if session.live is None or session.up_to_date:
            self.draw()
        elif not self._soon.isActive():
            self._soon.start()

    def screen_of(self, contour: int, view: int) -> tuple[float, float]:
        """Where a point lies on the screen; NaN without a picture or a point."""
        source = self.images.source
        if source is None:
            return float("nan"), float("nan")
        x, y = source.from_raw(view, self._session.model.xy[contour, view])
        at = self.view.to_screen(float(x), float(y))
        return at.x(), at.y()

    # ---- following -----------------------------------------------------------------------------

    def _follow(self) -> None:
        view, before = self._session.current.view, self._view
        if view != before:
            if self._session.current.on_view:
                self.looked = None
            self.images.show_view(view)
        self._tell_view()
        # A picture at hand has been shown, and its marks drawn, by now.
        if self._view == before:
            self._draw_soon()
        self.moved.emit()

    def _tell_view(self) -> None:
        view = self._session.current.view
        series = self._session.series
        out = "" if series.used[view] else "  ✕ left out"
        self.navigation.set_current(view, f"{series.tilt_deg[view]:.2f}°{out}")

    def _picture_shown(self, view: int) -> None:
        self._view = view
        self.draw()
        self._ask_overlay()

    def bring_into_sight(self) -> None:
        """Pan when the current point, or where it is expected, lies outside the window."""
        source, session = self.images.source, self._session
        now = session.current
        if source is None or now.contour < 0:
            return
        raw = session.model.xy[now.contour, now.view]
        if not np.isfinite(raw).all() and session.fits and session.snapshot is not None:
            raw = session.snapshot.predicted_px[now.contour, now.view]
        if not np.isfinite(raw).all():
            return
        x, y = source.from_raw(now.view, raw)
        at = self.view.to_screen(float(x), float(y))
        if not self.view.rect().adjusted(20, 20, -20, -20).contains(at.toPoint()):
            self.view.centre_on(float(x), float(y))

    # ---- gestures ------------------------------------------------------------------------------

    def _act(self, does: Does, x: float, y: float) -> None:
        source = self.images.source
        if source is None or self._view < 0:
            return
        raw = source.to_raw(self._view, (x, y))
        at = float(raw[0]), float(raw[1])
        if does is Does.HOLD:
            if self._session.current.on_view:
                self._held = at
                self.draw()
            return
        self._held = None
        self._ways[does](self._view, at)
        self._draw_soon()

    def _look(self, view: int, at: tuple[float, float]) -> None:
        self.looked = at
        self.moved.emit()

    # ---- overlay -------------------------------------------------------------------------------

    def _ask_overlay(self) -> None:
        other = self._view + self._overlay_step
        source, picture = self.images.source, self.images.main_picture
        there = 0 <= other < self._session.model.n_views
        if not self._overlay_step or source is None or picture is None or not there:
            self.view.set_layer("overlay")
            return
        view, reverse, factor = self._view, self._reverse, picture.tile.factor

        def done(made: OverlayPicture) -> None:
            if self._view == view and self._overlay_step:
                self.view.set_layer("marks")
                self.view.set_layer("overlay", made)
                self.draw()

        self._lane.request(
            (id(self), "overlay"),
            lambda: overlay(picture, source.render(other, factor), reverse), done,
        )  # fmt: skip
