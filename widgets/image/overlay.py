"""What is drawn over an image: layers of circles, lines, arrows and text in index coordinates.

A layer is one immutable value. Its shapes are drawn one by one: Qt needs seven times as long for
the path of 150 circles as for 150 circles, and a hundred times as long for that of lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QLineF, QPointF, QRectF, Qt
from PyQt6.QtGui import QColor, QFontMetricsF, QPainter, QPainterPath, QPen, QPolygonF

from tiltwright.widgets.image.viewport import Viewport, round_length

Positions = npt.NDArray[np.float64]


class Layer(Protocol):
    """Something that draws itself over an image."""

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw in screen coordinates; the painter is antialiased."""


def _screen(xy: Positions, port: Viewport) -> Positions:
    """Index positions ``(..., 2)`` to screen positions, those far outside left where they are."""
    x, y = port.to_screen(0.0, 0.0)
    out: Positions = np.asarray(xy, np.float64) * [port.zoom, -port.zoom] + [x, y]
    return out


def _pen(colour: str, width: float, dashed: bool) -> QPen:
    pen = QPen(QColor(colour), width)
    # Round caps take five times as long to draw.
    pen.setCapStyle(Qt.PenCapStyle.FlatCap if dashed else Qt.PenCapStyle.SquareCap)
    if dashed:
        pen.setDashPattern([4.0, 3.0])
    return pen


def _draw_lines(painter: QPainter, ends: Positions) -> None:
    """Lines ``(n, 2, 2)`` in screen positions."""
    painter.drawLines([QLineF(*a, *b) for a, b in ends.tolist()])


@dataclass(frozen=True, eq=False)
class Circles:
    """Circles about ``xy`` ``(n, 2)``; those at NaN are not drawn."""

    xy: Positions
    diameter_px: float
    colour: str
    width: float = 1.5
    dashed: bool = False
    least_screen_px: float = 8.0

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw those in sight."""
        radius = max(self.diameter_px * port.zoom, self.least_screen_px) / 2
        at = _screen(self.xy, port).reshape(-1, 2)
        inside = (at > -radius).all(-1) & (at < [port.width + radius, port.height + radius]).all(-1)
        painter.setPen(_pen(self.colour, self.width, self.dashed))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for x, y in at[inside].tolist():
            painter.drawEllipse(QPointF(x, y), radius, radius)


@dataclass(frozen=True, eq=False)
class Squares:
    """Squares about ``xy`` ``(n, 2)`` with sides ``side_px`` ``(n,)``."""

    xy: Positions
    side_px: Positions
    colour: str
    width: float = 1.5
    least_screen_px: float = 10.0

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw those in sight."""
        half = np.maximum(self.side_px * port.zoom, self.least_screen_px)[:, None] / 2
        at = _screen(self.xy, port).reshape(-1, 2)
        inside = ((at > -half) & (at - half < [port.width, port.height])).all(-1)
        painter.setPen(_pen(self.colour, self.width, False))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for (x, y), (h,) in zip(at[inside].tolist(), half[inside].tolist(), strict=True):
            painter.drawRect(QRectF(x - h, y - h, 2 * h, 2 * h))


@dataclass(frozen=True, eq=False)
class Lines:
    """Straight lines ``(n, 2, 2)``: start and end of each."""

    ends: Positions
    colour: str
    width: float = 1.5
    dashed: bool = False

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw them."""
        ends = np.asarray(self.ends, np.float64).reshape(-1, 2, 2)
        painter.setPen(_pen(self.colour, self.width, self.dashed))
        _draw_lines(painter, _screen(ends[np.isfinite(ends).all((1, 2))], port))


@dataclass(frozen=True, eq=False)
class Arrows:
    """Arrows from ``start`` ``(n, 2)`` by ``offset * scale``, image pixels."""

    start: Positions
    offset: Positions
    colour: str
    scale: float = 1.0
    width: float = 2.0
    head_px: float = 8.0

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw shafts and heads."""
        good = np.isfinite(self.start).all(-1) & np.isfinite(self.offset).all(-1)
        start = _screen(self.start[good], port)
        step = self.offset[good] * self.scale * [port.zoom, -port.zoom]
        length = np.hypot(*step.T)
        long = length >= 0.5
        start, step, length = start[long], step[long], length[long]
        tip = start + step
        back = np.minimum(self.head_px, length)[:, None] / length[:, None] * step
        aside = back[:, ::-1] * [-0.5, 0.5]
        lines = [(start, tip), (tip, tip - back + aside), (tip, tip - back - aside)]
        painter.setPen(_pen(self.colour, self.width, False))
        _draw_lines(painter, np.concatenate([np.stack(pair, 1) for pair in lines]))


@dataclass(frozen=True, eq=False)
class Texts:
    """Words at ``xy`` ``(n, 2)``, moved by ``offset_px`` on the screen."""

    xy: Positions
    words: tuple[str, ...]
    colour: str
    offset_px: tuple[float, float] = (6.0, -6.0)

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw each with a dark rim."""
        for (x, y), text in zip(_screen(self.xy, port), self.words, strict=True):
            if np.isfinite(x) and -50 < x < port.width + 50 and -50 < y < port.height + 50:
                draw_text(painter, x + self.offset_px[0], y + self.offset_px[1], text, self.colour)


@dataclass(frozen=True, eq=False)
class Box:
    """A closed polygon ``(n, 2)`` with handles; what lies outside is dimmed."""

    corners: Positions
    colour: str
    handles: Positions = field(default_factory=lambda: np.zeros((0, 2)))
    width: float = 1.5

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw outline and handles."""
        shape = QPolygonF([QPointF(x, y) for x, y in _screen(self.corners, port)])
        outside = QPainterPath()
        outside.addRect(QRectF(0, 0, port.width, port.height))
        outside.addPolygon(shape)
        outside.closeSubpath()
        painter.fillPath(outside, QColor(0, 0, 0, 110))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(_pen(self.colour, self.width, False))
        painter.drawPolygon(shape)
        painter.setBrush(QColor(self.colour))
        painter.setPen(Qt.PenStyle.NoPen)
        for x, y in _screen(self.handles, port).tolist():
            painter.drawRect(QRectF(x - 4, y - 4, 8, 8))
        painter.setBrush(Qt.BrushStyle.NoBrush)


def draw_text(painter: QPainter, x: float, y: float, text: str, colour: str = "#ffffff") -> None:
    """Words that can be read on any picture: a translucent dark ground below them."""
    size = QFontMetricsF(painter.font())
    ground = QRectF(
        x - 4, y - size.ascent() - 2, size.horizontalAdvance(text) + 8, size.height() + 4
    )
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(0, 0, 0, 150))
    painter.drawRoundedRect(ground, 3, 3)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QColor(colour))
    painter.drawText(QPointF(x, y), text)


def paint_scale_bar(painter: QPainter, port: Viewport, pixel_size_a: float) -> float:
    """A bar of a round length at the bottom right; returns its length in nm."""
    nm_per_px = pixel_size_a / 10 / port.zoom
    length_nm = round_length(min(160.0, 0.3 * port.width) * nm_per_px)
    if not length_nm:
        return 0.0
    bar = length_nm / nm_per_px
    text = f"{length_nm / 1000:g} µm" if length_nm >= 1000 else f"{length_nm:g} nm"
    size = QFontMetricsF(painter.font())
    wide = max(bar, size.horizontalAdvance(text))
    right, bottom = port.width - 14.0, port.height - 14.0
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(0, 0, 0, 150))
    high = size.height() + 9
    painter.drawRoundedRect(QRectF(right - wide - 8, bottom - high - 2, wide + 16, high + 9), 4, 4)
    painter.setBrush(QColor("#ffffff"))
    middle = right - wide / 2
    painter.drawRect(QRectF(middle - bar / 2, bottom - 1, bar, 3))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QColor("#ffffff"))
    painter.drawText(QPointF(middle - size.horizontalAdvance(text) / 2, bottom - 7), text)
    return length_nm
