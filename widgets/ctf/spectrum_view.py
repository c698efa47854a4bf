"""The picture of a power spectrum with the rings of its CTF, which can be dragged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QPointF, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QPainter, QPen, QPolygonF, QWheelEvent
from PyQt6.QtWidgets import QWidget

from tiltwright.widgets.ctf.ctf_source import Shown
from tiltwright.widgets.image.image_view import ImageView
from tiltwright.widgets.image.overlay import Lines
from tiltwright.widgets.image.tiles import Tile, auto_levels
from tiltwright.widgets.image.viewport import Viewport

if TYPE_CHECKING:
    from tiltwright.engine.ctf.model import Defocus, Optics

_LEFT = np.linspace(math.pi / 2, 3 * math.pi / 2, 73)
_AROUND = np.linspace(0, 2 * math.pi, 145)
_NOTHING = np.float32(-1e6)
RING, BEYOND = "#ffe600", "#d6c95a"


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves ``(n, m, 2)`` in index coordinates, broken where they are NaN."""

    points: npt.NDArray[np.float64]
    colour: str
    width: float = 1.0
    dashed: bool = False

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw each piece."""
        pen = QPen(QColor(self.colour), self.width)
        if self.dashed:
            pen.setDashPattern([3.0, 4.0])
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        x0, y0 = port.to_screen(0.0, 0.0)
        at = self.points * [port.zoom, -port.zoom] + [x0, y0]
        for curve, good in zip(at, np.isfinite(at).all(-1), strict=True):
            edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int)))
            for begin, end in zip(edges[::2], edges[1::2], strict=True):
                painter.drawPolyline(QPolygonF([QPointF(*p) for p in curve[begin:end].tolist()]))


class RingDrag:
    """A drag that begins on a ring and takes it along: a gesture of the image view.

    Parameters
    ----------
    place : callable
        ``(x, y) -> (frequency, direction)`` of an index position.
    radii : callable
        Direction to the frequencies of the zeros there, ``(n,)``.
    moved : callable
        ``(number of the ring, frequency, direction)`` while it is dragged.
    ended : callable
    """

    def __init__(
        self,
        place: Callable[[float, float], tuple[float, float]],
        radii: Callable[[float], npt.NDArray[np.float64]],
        moved: Callable[[int, float, float], None],
        ended: Callable[[], None],
    ) -> None:
        self._place, self._radii, self._moved, self._ended = place, radii, moved, ended
        self.held: int | None = None
        self.step = 1.0

    def near(self, x: float, y: float, reach_px: float) -> int | None:
        """The ring at a position; less than a quarter of the way to the next one counts."""
        s, theta = self._place(x, y)
        radii = self._radii(theta)
        if not len(radii) or not np.isfinite(radii).any():
            return None
        away = np.abs(radii - s)
        k = int(np.nanargmin(away))
        gap = np.nanmin(np.abs(np.delete(radii, k) - radii[k])) if len(radii) > 1 else np.inf
        within = min(reach_px * self.step, 0.25 * float(gap))
        return k if away[k] <= within else None

    def press(self, x: float, y: float, reach_px: float) -> bool:
        """Take a ring."""
        self.held = self.near(x, y, reach_px)
        return self.held is not None

    def move(self, x: float, y: float) -> None:
        """Take it along."""
        s, theta = self._place(x, y)
        if self.held is not None and s > 0:
            self._moved(self.held, s, theta)

    def release(self, x: float, y: float) -> None:
        """Let it go."""
        self.held = None
        self._ended()

    def cursor(self, x: float, y: float, reach_px: float) -> Qt.CursorShape | None:
        """Rings can be taken."""
        near = self.near(x, y, reach_px) is not None
        return Qt.CursorShape.SizeAllCursor if near else None


class SpectrumView(ImageView):
    """One spectrum: measured on the left, fitted on the right, zeros of the CTF as lines.

    Signals
    -------
    ring_dragged : (Defocus)
        A person drags a ring.
    ring_released : ()
    defocus_turned : (steps)
        The wheel was turned with Ctrl.
    shown_anew : ()
        The picture or its contrast changed.
    """

    ring_dragged = pyqtSignal(object)
    ring_released = pyqtSignal()
    defocus_turned = pyqtSignal(int)
    shown_anew = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scale_bar_shown = False
        self._shown: Shown | None = None
        self._defocus: Defocus | None = None
        self._optics: Optics | None = None
        self._rings, self._model = True, True
        self._drag = RingDrag(self.place, self._radii, self._dragged, self.ring_released.emit)
        self.gesture = self._drag
        self._relative = 0.0, 1.0
        self._turned = 0

    # -- content -----------------------------------------------------------------------------

    @property
    def shown(self) -> Shown | None:
        """What is measured."""
        return self._shown

    def show_nothing(self, message: str) -> None:
        """Say why there is no picture."""
        self._shown = self._defocus = None
        self.clear(message)

    def show_spectrum(self, shown: Shown, defocus: Defocus, optics: Optics) -> None:
        """Show what was measured of a view, and the rings of a defocus."""
        self._shown, self._defocus, self._optics = shown, defocus, optics
        self._drag.step = shown.step
        self._compose()

    def show_defocus(self, defocus: Defocus) -> None:
        """Rings and fitted half of another defocus; what is measured stays."""
        if self._shown is not None:
            self._defocus = defocus
            self._compose()

    def set_rings_shown(self, shown: bool) -> None:
        """Draw the zeros of the CTF."""
        self._rings = shown
        self._draw_rings()

    def set_model_shown(self, shown: bool) -> None:
        """Show the fitted rings in the right half."""
        self._model = shown
        self._compose()

    def drag_levels(self, black: float, white: float) -> None:
        """A person chose levels; they are kept relative to the automatic ones."""
        low, high = self._automatic()
        span = high - low
        self._relative = (black - low) / span, (white - low) / span
        self._use_levels()

    def auto_contrast(self) -> None:
        """Levels of the measured half."""
        self._relative = 0.0, 1.0
        self._use_levels()

    def values(self) -> npt.NDArray[np.float32]:
        """What is measured, as it is shown, flat."""
        if self._shown is None:
            return np.zeros(0, np.float32)
        half = (self._shown.measured * self._shown.gain)[:, : self._shown.reach]
        return half[np.isfinite(half)]

    def _automatic(self) -> tuple[float, float]:
        low, high = auto_levels(self.values())
        return (low, high) if high > low else (low - 1, low + 1)

    def _use_levels(self) -> None:
        low, high = self._automatic()
        a, b = self._relative
        self.set_levels(low + a * (high - low), low + b * (high - low))
        self.shown_anew.emit()

    def _compose(self) -> None:
        shown, defocus, optics = self._shown, self._defocus, self._optics
        if shown is None or defocus is None or optics is None:
            return
        picture = shown.picture(defocus, optics, self._model)
        grey = np.where(np.isfinite(picture), picture, _NOTHING)
        self.set_tile(Tile(grey), (picture.shape[1], picture.shape[0]))
        self._use_levels()
        if self._model:
            cut, reach = shown.reach - 0.5, shown.reach
            ends = np.array([[[cut, 0.0], [cut, 2.0 * reach]]])
            self.set_layer("cut", Lines(ends, "#38b6ff", 1.0))
        else:
            self.set_layer("cut")
        self._draw_rings()

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Zoom, or with Ctrl turn the defocus."""
        assert event is not None
        if not event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            super().wheelEvent(event)
            return
        self._turned += event.angleDelta().y()
        steps = int(self._turned / 120)
        self._turned -= 120 * steps
        if steps:
            self.defocus_turned.emit(steps)
        event.accept()

    # -- rings -------------------------------------------------------------------------------

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Frequency (1/angstrom) and direction (radians) at an index position."""
        if self._shown is None:
            return 0.0, 0.0
        dx, dy = x - self._shown.reach, y - self._shown.reach
        return math.hypot(dx, dy) * self._shown.step, math.atan2(dy, dx)

    def _radii(self, theta: float) -> npt.NDArray[np.float64]:
        """Frequencies of the zeros in one direction."""
        if not self._rings or self._shown is None or self._defocus is None:
            return np.zeros(0)
        return self._zeros(np.array([theta]))[:, 0]

    def _zeros(self, theta: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        from tiltwright.engine.ctf.picture import zero_lines

        shown, defocus, optics = self._shown, self._defocus, self._optics
        assert shown is not None
        assert defocus is not None
        assert optics is not None
        return zero_lines(theta, defocus, optics, shown.reach * shown.step)

    def ring_points(self) -> npt.NDArray[np.float64]:
        """The zeros as drawn, ``(n_zeros, n, 2)`` index positions, NaN where there is none.

        Over what is measured only: in the other half they are seen anyway.
        """
        shown = self._shown
        if shown is None or self._defocus is None:
            return np.zeros((0, 1, 2))
        around = _LEFT if self._model else _AROUND
        radius = self._zeros(around)[..., None] / shown.step
        way = np.stack([np.cos(around), np.sin(around)], -1)
        return radius * way + shown.reach

    def _draw_rings(self) -> None:
        if not self._rings or self._shown is None or self._defocus is None:
            self.set_layer("rings")
            return
        points = self.ring_points()
        inside = 1 / self._shown.look.curve.resolution_a / self._shown.step
        radius = np.hypot(*(points - self._shown.reach).T).T
        fits = np.nanmean(radius, 1) <= inside if len(radius) else np.zeros(0, np.bool_)
        self.set_layer(
            "rings", Curves(points[fits], RING), Curves(points[~fits], BEYOND, 1.0, True)
        )

    def _dragged(self, number: int, s: float, theta: float) -> None:
        from tiltwright.engine.ctf.picture import defocus_through

        assert self._defocus is not None
        assert self._optics is not None
        self.ring_dragged.emit(defocus_through(s, theta, number, self._defocus, self._optics))
