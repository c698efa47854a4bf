"""Where an image lies on the screen: zoom, centre, and the map between the two. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace

ZOOM_STEPS = (
    0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 1 / 6, 0.25, 1 / 3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0,
)  # fmt: skip
"""The zoom ladder of 3dmod, screen pixels per image pixel."""


@dataclass(frozen=True)
class Viewport:
    """A window of ``width`` x ``height`` screen pixels onto an image with y upwards.

    ``x, y`` is the index position in the middle of the window, ``zoom`` screen pixels per image
    pixel. Screen positions run from the top left corner of the window.
    """

    width: int = 1
    height: int = 1
    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0

    def to_screen(self, x: float, y: float) -> tuple[float, float]:
        """Screen position of an index position of the image."""
        return (
            self.width / 2 + (x - self.x) * self.zoom,
            self.height / 2 - (y - self.y) * self.zoom,
        )

    def to_image(self, sx: float, sy: float) -> tuple[float, float]:
        """Index position of the image at a screen position."""
        return (
            self.x + (sx - self.width / 2) / self.zoom,
            self.y - (sy - self.height / 2) / self.zoom,
        )

    def resized(self, width: int, height: int) -> Viewport:
        """The same middle and zoom in another window."""
        return replace(self, width=max(1, width), height=max(1, height))

    def fitted(self, nx: int, ny: int) -> Viewport:
        """The whole of an ``nx`` x ``ny`` image in the window."""
        zoom = min(self.width / max(1, nx), self.height / max(1, ny))
        zoom = min(max(zoom, ZOOM_STEPS[0]), ZOOM_STEPS[-1])
        return replace(self, zoom=zoom, x=(nx - 1) / 2, y=(ny - 1) / 2)

    def zoomed(self, zoom: float, sx: float, sy: float) -> Viewport:
        """Another zoom; what lies under the screen position stays there."""
        x, y = self.to_image(sx, sy)
        return replace(
            self,
            zoom=zoom,
            x=x - (sx - self.width / 2) / zoom,
            y=y + (sy - self.height / 2) / zoom,
        )

    def stepped(self, steps: int, sx: float, sy: float) -> Viewport:
        """So many rungs up or down the zoom ladder, at a screen position."""
        zoom = self.zoom
        for _ in range(abs(steps)):
            if steps > 0:
                zoom = next((z for z in ZOOM_STEPS if z > zoom * 1.001), zoom)
            else:
                zoom = next((z for z in reversed(ZOOM_STEPS) if z < zoom * 0.999), zoom)
        return self.zoomed(zoom, sx, sy)

    def panned(self, dx: float, dy: float) -> Viewport:
        """The image moved by so many screen pixels, ``dy`` downwards."""
        return replace(self, x=self.x - dx / self.zoom, y=self.y + dy / self.zoom)

    def kept_inside(self, nx: int, ny: int) -> Viewport:
        """The middle of the window held on the image."""
        return replace(self, x=min(max(self.x, -0.5), nx - 0.5), y=min(max(self.y, -0.5), ny - 0.5))

    def visible(self, nx: int, ny: int) -> tuple[float, float, float, float]:
        """The part of the image that is in the window, ``(x0, y0, x1, y1)``."""
        x0, y1 = self.to_image(0, 0)
        x1, y0 = self.to_image(self.width, self.height)
        return max(x0, -0.5), max(y0, -0.5), min(x1, nx - 0.5), min(y1, ny - 0.5)


def round_length(longest: float) -> float:
    """The longest of 1, 2 or 5 times a power of ten that is not above ``longest``."""
    if not longest > 0:
        return 0.0
    power = 10.0**-12
    while power * 10 <= longest * (1 + 1e-9):
        power *= 10
    return max(m * power for m in (1, 2, 5) if m * power <= longest * (1 + 1e-9))
