"""The picture area of the tilt-series viewer: one view, two side by side, or blinking."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from operator import eq
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt6.QtCore import QTimer, pyqtSignal
from PyQt6.QtGui import QResizeEvent
from PyQt6.QtWidgets import QHBoxLayout, QWidget

from tiltwright.widgets.image.contrast import Contrast
from tiltwright.widgets.image.image_view import ImageView
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.series.series_layers import (
    axis_layer,
    bead_layers,
    caption,
    patch_layers,
    patches_of,
)
from tiltwright.widgets.series.series_source import PictureCache, Rendered, SeriesSource

if TYPE_CHECKING:
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.engine.model.tilt_series import TiltSeries

CACHE_BYTES = 320 << 20
BLINK_MS = 600


class Comparison(Enum):
    """How a second picture is shown."""

    OFF = "Off"
    SIDE = "Side by side"
    BLINK = "Blink"


@dataclass
class _Pane:
    view: ImageView
    source: SeriesSource | None = None
    shown: int = -1
    rendered: Rendered | None = None


class SeriesImages(QWidget):
    """Shows views of a tilt series; pictures are read in the lane and kept in a bounded cache.

    Signals
    -------
    view_shown : (view)
        A picture of this view (0-based) is on the screen.
    rendered : ()
        The main picture or its contrast changed.
    hovered : (text)
        Position in raw pixels, and value, under the pointer; empty outside.
    clicked : (view, raw x, raw y about the centre, button, modifiers)
    """

    view_class: type[ImageView] = ImageView
    """What shows the pictures; derived classes may have another one."""

    view_shown = pyqtSignal(int)
    rendered = pyqtSignal()
    hovered = pyqtSignal(str)
    clicked = pyqtSignal(int, float, float, object, object)

    def __init__(
        self, lane: Lane, parent: QWidget | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        super().__init__(parent)
        self._lane = lane
        self._series: TiltSeries | None = None
        self._other: TiltSeries | None = None
        self._model: FiducialModel | None = None
        self._sources: list[SeriesSource] = []
        self._cache = PictureCache(cache_bytes)
        self.contrast = Contrast()
        self._interpolated = False
        self._comparison = Comparison.OFF
        self._blinked = False
        self._axis_shown, self._beads_shown, self._patches_shown = True, True, True
        self.patches: Any = None
        self._current, self._way = 0, 1
        self._left_out = np.zeros(0, np.bool_)
        self._linking = False
        self._panes = [_Pane(self.view_class(self)), _Pane(self.view_class(self))]
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        for k, pane in enumerate(self._panes):
            row.addWidget(pane.view, 1)
            self._connect(k, pane.view)
        self._panes[1].view.hide()
        self._blink = QTimer(self)
        self._blink.setInterval(BLINK_MS)
        self._blink.timeout.connect(self._blink_over)
        self._resized = QTimer(self)
        self._resized.setSingleShot(True)
        self._resized.setInterval(80)
        self._resized.timeout.connect(self._show_again)
        lane.failed.connect(self._fail)

    def _connect(self, k: int, view: ImageView) -> None:
        # Bound methods, not lambdas: those end with their widget.
        view.viewport_changed.connect(partial(self._link, k))
        view.detail_wanted.connect(partial(self._refine, k))
        view.hovered.connect(partial(self._hover, k))
        view.left.connect(self._leave)
        view.clicked.connect(partial(self._click, k))
        view.auto_contrast_asked.connect(self.auto_contrast)

    # ---- what is shown -------------------------------------------------------------------------

    @property
    def main_view(self) -> ImageView:
        """The first picture."""
        return self._panes[0].view

    @property
    def second_view(self) -> ImageView:
        """The picture beside it."""
        return self._panes[1].view

    @property
    def current(self) -> int:
        """The view asked for last, 0-based."""
        return self._current

    @property
    def main_picture(self) -> Rendered | None:
        """What the first pane shows."""
        return self._panes[0].rendered

    @property
    def source(self) -> SeriesSource | None:
        """Where the first pane's picture comes from."""
        return self._panes[0].source

    @property
    def held_bytes(self) -> int:
        """Bytes of pictures in the cache."""
        return self._cache.bytes

    def set_cache_bytes(self, n_bytes: int) -> None:
        """Bytes of pictures that may be held."""
        self._cache.set_budget(n_bytes)

    def set_series(
        self,
        series: TiltSeries | None,
        model: FiducialModel | None = None,
        other: TiltSeries | None = None,
    ) -> None:
        """Show another series, its beads, and one to compare with (else raw with interpolated)."""
        self._lane.cancel(self._mine)
        before, self._series = self._series, series
        ali = series.alignment if series is not None else None
        if before is None or before.alignment is not ali or other is not self._other:
            self._cache.clear()
        self._model, self._other = model, other
        if series is None or before is None or series.erased_path != before.erased_path:
            self.patches = patches_of(series)
        if series is None or before is None or series.images is not before.images:
            self._cache.clear()
            self.contrast = Contrast(self.contrast.fixed)
            self._current = series.n_views // 2 if series is not None else 0
            for pane in self._panes:
                pane.view.clear("" if series is not None else "No tilt series is open.")
                pane.source = pane.rendered = None
                pane.view.pixel_size_a = series.image_pixel_size_a if series is not None else 0.0
        if series is None or series.alignment is None:
            self._interpolated = False
        self._left_out = ~series.used if series is not None else np.zeros(0, np.bool_)
        self._arrange()

    def set_other(self, other: TiltSeries | None) -> None:
        """Compare with another series of as many views."""
        self._cache.clear()
        self._other = other
        self._arrange()

    def set_model(self, model: FiducialModel | None) -> None:
        """Draw the beads of another model."""
        self._model = model
        self._draw_layers()

    def set_interpolated(self, interpolated: bool) -> None:
        """Apply the alignment's transforms."""
        self._interpolated = interpolated
        self._arrange()

    def set_comparison(self, comparison: Comparison) -> None:
        """Show a second picture or not."""
        self._comparison = comparison
        self._arrange()

    def set_axis_shown(self, shown: bool) -> None:
        """Draw the tilt axis."""
        self._axis_shown = shown
        self._draw_layers()

    def set_beads_shown(self, shown: bool) -> None:
        """Draw the beads."""
        self._beads_shown = shown
        self._draw_layers()

    def set_patches_shown(self, shown: bool) -> None:
        """Draw the erased patches."""
        self._patches_shown = shown
        self._draw_layers()

    def set_left_out(self, left_out: Any) -> None:
        """Mark views that are left out."""
        self._left_out = np.array(left_out)
        self._draw_layers()

    def _arrange(self) -> None:
        """Give each pane its source, and show the current view in them."""
        series = self._series
        self._sources = []
        if series is not None:
            self._sources = [SeriesSource(series, self._interpolated)]
            if self._other is not None:
                aligned = self._interpolated and self._other.alignment is not None
                self._sources.append(SeriesSource(self._other, aligned))
            elif series.alignment is not None:
                self._sources.append(SeriesSource(series, not self._interpolated))
        two = len(self._sources) == 2
        self._panes[1].view.setVisible(two and self._comparison is Comparison.SIDE)
        blinks = two and self._comparison is Comparison.BLINK
        (self._blink.start if blinks else self._blink.stop)()
        self._blinked = False
        self.show_view(self._current)

    def _blink_over(self) -> None:
        if self.isVisible():
            self._blinked = not self._blinked
            self.show_view(self._current)

    def show_view(self, view: int) -> None:
        """Show a view (0-based) as soon as its picture is there."""
        if self._series is None:
            return
        view = min(max(0, view), self._series.n_views - 1)
        self._way = 1 if view >= self._current else -1
        self._current = view
        for k, source in enumerate(self._wanted_sources()):
            key = self._key(k, source, view)
            held = self._cache.get(key)
            if held is not None:
                # What was asked for before must not arrive afterwards.
                self._lane.cancel(partial(eq, (id(self), "view", k)))
                self._show(k, source, view, held)
            else:
                self._lane.request(
                    (id(self), "view", k),
                    self._work(source, view, key[2]),
                    self._arrival(k, source, view, key),
                )

    def _show_again(self) -> None:
        self.show_view(self._current)

    def _wanted_sources(self) -> list[SeriesSource]:
        if len(self._sources) == 2 and self._comparison is Comparison.SIDE:
            return self._sources
        return [self._sources[-1 if self._blinked else 0]]

    def _key(self, k: int, source: SeriesSource, view: int) -> tuple[Hashable, int, int]:
        pane = self._panes[k].view
        ratio = pane.devicePixelRatioF()
        factor = source.factor(round(pane.width() * ratio), round(pane.height() * ratio))
        return source.key, view, factor

    @staticmethod
    def _work(source: SeriesSource, view: int, factor: int) -> Callable[[], Rendered]:
        return lambda: source.render(view, factor)

    def _arrival(
        self, k: int, source: SeriesSource, view: int, key: Hashable
    ) -> Callable[[Rendered], None]:
        def done(rendered: Rendered) -> None:
            self._cache.put(key, rendered)
            if source.key in [wanted.key for wanted in self._wanted_sources()]:
                self._show(k, source, view, rendered)

        return done

    def _show(self, k: int, source: SeriesSource, view: int, rendered: Rendered) -> None:
        pane = self._panes[k]
        before, pane.source = pane.source, source
        centre = (pane.view.viewport.x, pane.view.viewport.y)
        zoom, fits = pane.view.viewport.zoom, pane.view.fits
        pane.shown, pane.rendered = view, rendered
        self._linking = True
        pane.view.set_tile(rendered.tile, source.size, rendered.grey)
        if before is not None and before.key != source.key and not fits:
            # The same place of the specimen stays in the middle.
            x, y = source.from_raw(view, before.to_raw(view, centre))
            pane.view.set_viewport(zoom, float(x), float(y))
        self._linking = False
        pane.view.set_levels(*self.contrast.levels(source.series, rendered.levels))
        self._draw_layers()
        if k == 0:
            self.rendered.emit()
            self.view_shown.emit(view)
        self._prefetch()

    def _prefetch(self) -> None:
        """Read the nearest view that is not held, as long as there is room."""
        picture = self._panes[0].rendered
        if picture is None or self._series is None:
            return
        n, at = self._series.n_views, self._current
        sources = list(enumerate(self._wanted_sources()))
        if self._comparison is Comparison.BLINK and len(self._sources) == 2:
            sources = [(0, source) for source in self._sources]
        for view in sorted(range(n), key=lambda v: (abs(v - at), -self._way * (v - at))):
            for k, source in sources:
                key = self._key(k, source, view)
                if key in self._cache:
                    continue
                room = self._cache.has_room(picture.n_bytes)
                if room or abs(view - at) <= 2:
                    # When it is full the oldest make room for the nearest, and no more is read.
                    done = self._prefetched(key) if room else partial(self._cache.put, key)
                    work = self._work(source, view, key[2])
                    self._lane.request((id(self), "prefetch"), work, done, later=True)
                return

    def _prefetched(self, key: Hashable) -> Callable[[Rendered], None]:
        def done(rendered: Rendered) -> None:
            self._cache.put(key, rendered)
            self._prefetch()

        return done

    def _refine(self, k: int, bounds: tuple[int, int, int, int], factor: int) -> None:
        pane = self._panes[k]
        source, view = pane.source, pane.shown
        if source is None or view < 0:
            return

        def done(tile: Any) -> None:
            if pane.source is source and pane.shown == view:
                pane.view.set_detail(tile)

        self._lane.request((id(self), "detail", k), lambda: source.tile(view, factor, bounds), done)

    def _mine(self, key: Hashable) -> bool:
        return isinstance(key, tuple) and key[0] == id(self)

    def _fail(self, key: Hashable, text: str) -> None:
        if self._mine(key) and isinstance(key, tuple) and key[1] == "view":
            self._panes[key[2]].view.clear(f"View {self._current + 1} cannot be read.\n{text}")

    # ---- contrast ------------------------------------------------------------------------------

    def drag_levels(self, black: float, white: float) -> None:
        """A person chose black and white for the first picture."""
        pane = self._panes[0]
        if pane.rendered is not None and pane.source is not None:
            self.contrast.drag(pane.source.series, black, white, pane.rendered.levels)
            self._apply_contrast()

    def auto_contrast(self) -> None:
        """Automatic levels, in fixed contrast those of the current view."""
        self.contrast.reset()
        self._apply_contrast()

    def set_fixed_contrast(self, fixed: bool) -> None:
        """The same levels for all views, or levels for each."""
        pane = self._panes[0]
        if pane.source is not None:
            self.contrast.set_fixed(fixed, pane.source.series, pane.view.levels)
        else:
            self.contrast = Contrast(fixed)
        self._apply_contrast()

    def _apply_contrast(self) -> None:
        for pane in self._panes:
            if pane.rendered is not None and pane.source is not None:
                levels = self.contrast.levels(pane.source.series, pane.rendered.levels)
                pane.view.set_levels(*levels)
        self.rendered.emit()

    def set_inverted(self, inverted: bool) -> None:
        """Exchange black and white."""
        for pane in self._panes:
            pane.view.set_inverted(inverted)

    # ---- pointer, links and layers -------------------------------------------------------------

    def _hover(self, k: int, x: float, y: float, value: float) -> None:
        pane = self._panes[k]
        if pane.source is None or not np.isfinite(value):
            self.hovered.emit("")
            return
        self.hovered.emit(f"x {x:.1f}  y {y:.1f}  value {value:.4g}")

    def _leave(self) -> None:
        self.hovered.emit("")

    def _click(self, k: int, x: float, y: float, button: Any, keys: Any) -> None:
        pane = self._panes[k]
        if pane.source is not None:
            raw = pane.source.to_raw(pane.shown, (x, y))
            self.clicked.emit(pane.shown, float(raw[0]), float(raw[1]), button, keys)

    def _link(self, k: int) -> None:
        """The other pane follows: the same place of the specimen, the same zoom."""
        a, b = self._panes[k], self._panes[1 - k]
        if self._linking or not b.view.isVisible() or a.source is None or b.source is None:
            return
        if a.view.fits or a.shown < 0:
            return
        port = a.view.viewport
        x, y = b.source.from_raw(a.shown, a.source.to_raw(a.shown, (port.x, port.y)))
        self._linking = True
        b.view.set_viewport(port.zoom, float(x), float(y))
        self._linking = False

    def _draw_layers(self) -> None:
        for pane in self._panes:
            if pane.source is not None and pane.shown >= 0:
                source, view = pane.source, pane.shown
                axis = [axis_layer(source, view)] if self._axis_shown else []
                model = self._model if self._beads_shown else None
                pane.view.set_layer("axis", *axis)
                pane.view.set_layer("beads", *bead_layers(source, view, model))
                patches = self.patches if self._patches_shown else None
                mine = patches is not None and source.series is not self._other
                pane.view.set_layer(
                    "patches", *(patch_layers(source, view, patches) if mine else [])
                )
                named = self._comparison is not Comparison.OFF or source.interpolated
                out = view < len(self._left_out) and bool(self._left_out[view])
                pane.view.set_caption(
                    *caption(
                        source,
                        view,
                        named,
                        source.series is self._other,
                        out,
                        int((patches[:, 0] == view).sum()) if mine else None,
                    )
                )

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Another size may need another display level."""
        super().resizeEvent(event)
        self._resized.start()
