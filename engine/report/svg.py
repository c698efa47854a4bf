"""Plots as inline SVG text: axes with round ticks, lines, bars, cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from tiltwright.engine.geometry.transform import Floats


def text(value: object) -> str:
    """Escape anything for HTML text and attributes."""
    return escape(str(value), quote=True)


def number(value: float | None, digits: int = 2, unit: str = "") -> str:
    """Format a number; an en dash when it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    shown = f"{value:.{digits}f}"
    if float(shown) == 0:
        shown = shown.lstrip("-")
    return f"{shown.replace('-', '−')}{unit}"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values that cover ``low`` to ``high``, about ``count`` of them inside."""
    span = high - low
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _label(value: float, step: float) -> str:
    digits = 0 if step == 0 else max(0, -math.floor(math.log10(step) + 1e-9))
    if digits < 6 and abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
        digits += 1
    return number(value, digits)


def finite_range(*arrays: Floats, least: float, zero: bool = False) -> tuple[float, float]:
    """Padded range of the finite values, at least ``least`` wide; with ``zero``, from 0 up."""
    all_values = np.concatenate([np.ravel(a) for a in arrays]) if arrays else np.zeros(0)
    values = all_values[np.isfinite(all_values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if zero:
        return 0.0, max(high * 1.06, least)
    middle, half = (low + high) / 2, max((high - low) * 0.54, least / 2)
    return middle - half, middle + half


class Plot:
    """One set of axes; ``x`` runs over views or beads, numbered from 1.

    Parameters
    ----------
    title, x_name : str
        What a reader sees above and below.
    n : int
        Number of positions along x.
    y_range : (float, float)
        Lowest and highest value shown.
    """

    left, right, top, bottom = 52, 10, 26, 34

    def __init__(
        self,
        title: str,
        n: int,
        y_range: tuple[float, float],
        x_name: str = "view",
        size: tuple[int, int] = (540, 190),
    ) -> None:
        self.title, self.n, self.x_name, self.size = title, max(n, 1), x_name, size
        self.low, self.high = y_range
        self.inner = size[0] - self.left - self.right
        self.parts: list[str] = []

    def x(self, position: float) -> float:
        """Pixel of 0-based ``position``."""
        return self.left + (position + 0.5) * self.inner / self.n

    def y(self, value: float) -> float:
        """Pixel of ``value``, clamped to the axes."""
        part = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return self.size[1] - self.bottom - part * (self.size[1] - self.top - self.bottom)

    def band(self, positions: Sequence[int], title: str) -> None:
        """Shade the columns at ``positions``."""
        width = self.inner / self.n
        for p in positions:
            self.parts.append(
                f'<rect class="band" x="{self.x(p) - width / 2:.1f}" y="{self.top}" '
                f'width="{width:.1f}" height="{self.size[1] - self.top - self.bottom}">'
                f"<title>{text(self.x_name)} {p + 1}: {text(title)}</title></rect>"
            )

    def line(self, values: Floats, name: str, kind: str = "a", unit: str = "") -> None:
        """Draw a line with dots through the finite ``values``; the line breaks at gaps."""
        path, pen = [], "M"
        for i, v in enumerate(values):
            if math.isfinite(v):
                path.append(f"{pen}{self.x(i):.1f} {self.y(v):.1f}")
                pen = "L"
            else:
                pen = "M"
        self.parts.append(f'<path class="line {kind}" d="{"".join(path)}"/>')
        for i, v in enumerate(values):
            if math.isfinite(v):
                cx, cy = self.x(i), self.y(v)
                self.parts.append(
                    f'<circle class="dot {kind}" cx="{cx:.1f}" cy="{cy:.1f}" r="2.2"><title>'
                    f"{text(self.x_name)} {i + 1}: {text(name)} {number(float(v), 3)}{unit}"
                    "</title></circle>"
                )

    def bars(self, values: Floats, name: str, kind: str, slot: int = 0, slots: int = 1) -> None:
        """Draw bars from 0; ``slot`` of ``slots`` stands side by side within a position."""
        width = self.inner / self.n * 0.78 / slots
        for i, v in enumerate(values):
            if math.isfinite(v):
                x = self.x(i) + (slot - slots / 2) * width
                y = self.y(v)
                height = max(self.y(0.0) - y, 0.5)
                self.parts.append(
                    f'<rect class="bar {kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
                    f'height="{height:.1f}"><title>{text(self.x_name)} {i + 1}: {text(name)} '
                    f"{number(float(v), 3)} px</title></rect>"
                )

    def svg(self) -> str:
        """Return the whole plot."""
        w, h = self.size
        out = [
            f'<svg viewBox="0 0 {w} {h}" role="img" aria-label="{text(self.title)}">',
            f'<text class="plot-title" x="{self.left}" y="15">{text(self.title)}</text>',
        ]
        marks = ticks(self.low, self.high)
        step = marks[1] - marks[0] if len(marks) > 1 else 0.0
        for v in marks:
            y = self.y(v)
            kind = "zero" if abs(v) < 1e-12 else "grid"
            out.append(
                f'<line class="{kind}" x1="{self.left}" x2="{w - self.right}" '
                f'y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="tick end" x="{self.left - 6}" y="{y + 3.5:.1f}">'
                f"{_label(v, step)}</text>"
            )
        out += self.parts
        base = h - self.bottom
        out.append(
            f'<line class="axis" x1="{self.left}" x2="{w - self.right}" y1="{base}" y2="{base}"/>'
        )
        every = next(
            s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if self.n / s < 14
        )
        for i in range(self.n):
            if i == 0 or (i + 1) % every == 0:
                out.append(
                    f'<text class="tick mid" x="{self.x(i):.1f}" y="{base + 13}">{i + 1}</text>'
                )
        middle = self.left + self.inner / 2
        out.append(
            f'<text class="tick mid" x="{middle:.1f}" y="{h - 6}">{text(self.x_name)}</text>'
        )
        return "".join(out) + "</svg>"
