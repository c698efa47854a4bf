"""Parts of images at display levels: numpy only, for the background lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SMALL_PIXELS = 1 << 22
"""Views of up to so many pixels are averaged whole; of larger ones only some rows are read."""


@dataclass(frozen=True)
class Tile:
    """Part of an image: ``data[j, i]`` covers ``factor`` x ``factor`` pixels from (x0, y0) on.

    ``x0 + factor * i`` is the first pixel column of ``data[:, i]``.
    """

    data: npt.NDArray[Any]
    x0: int = 0
    y0: int = 0
    factor: int = 1

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Edges ``(x0, y0, x1, y1)`` in index coordinates of the whole image."""
        ny, nx = self.data.shape
        x, y = self.x0 - 0.5, self.y0 - 0.5
        return x, y, x + nx * self.factor, y + ny * self.factor

    def covers(self, bounds: tuple[float, float, float, float]) -> bool:
        """Whether all of ``bounds`` lies in the tile, but for a pixel of its own."""
        x0, y0, x1, y1 = self.bounds
        f = self.factor
        return bool(
            x0 <= bounds[0] + f and y0 <= bounds[1] + f
            and x1 >= bounds[2] - f and y1 >= bounds[3] - f
        )  # fmt: skip

    def value(self, x: float, y: float) -> float:
        """What is shown at an index position of the whole image; NaN outside."""
        i = int(np.floor((x + 0.5 - self.x0) / self.factor))
        j = int(np.floor((y + 0.5 - self.y0) / self.factor))
        ny, nx = self.data.shape
        return float(self.data[j, i]) if 0 <= i < nx and 0 <= j < ny else float("nan")


def display_factor(nx: int, ny: int, width: int, height: int) -> int:
    """Pixels per tile pixel at which a whole image still fills ``width`` x ``height``."""
    zoom = min(width / nx, height / ny)
    return max(1, int(1 / zoom + 1e-6)) if zoom > 0 else 1


def with_margin(
    bounds: tuple[float, float, float, float], size: tuple[int, int], margin: float = 0.15
) -> tuple[int, int, int, int] | None:
    """Whole pixels around ``bounds``, so that a short pan finds its picture ready.

    ``None`` when nothing of an image of ``size`` (nx, ny) lies there.
    """
    x0, y0, x1, y1 = bounds
    if x1 <= x0 or y1 <= y0:
        return None
    mx, my = margin * (x1 - x0), margin * (y1 - y0)
    return (
        max(0, int(x0 - mx)), max(0, int(y0 - my)),
        min(size[0], int(x1 + mx) + 2), min(size[1], int(y1 + my) + 2),
    )  # fmt: skip


def read_tile(
    image: npt.NDArray[Any], factor: int, bounds: tuple[int, int, int, int] | None = None
) -> Tile:
    """Read an image, or the pixels ``x0 <= x < x1, y0 <= y < y1`` of it, averaged by ``factor``.

    Of large views the middle row of each group is read, or the middle two, so that the centres of
    the tile's pixels are exact at a fraction of the reading.
    """
    ny, nx = image.shape
    x0, y0, x1, y1 = bounds or (0, 0, nx, ny)
    x0, y0, x1, y1 = max(0, x0), max(0, y0), min(nx, x1), min(ny, y1)
    f = max(1, min(factor, x1 - x0, y1 - y0))
    part = image[y0:y1, x0:x1]
    if f == 1:
        return Tile(_native(part), x0, y0, 1)
    my, mx = part.shape[0] // f, part.shape[1] // f
    rows = range(f) if part.size <= SMALL_PIXELS else range((f - 1) // 2, f // 2 + 1)
    kind = np.dtype(part.dtype).kind
    # Sums of 8 and 16 bit integers are exact and fast in 32 bits.
    exact = kind in "iub" and part.dtype.itemsize <= 2 and f * len(rows) < 1 << 15
    total = np.zeros((my, mx), np.int32 if exact else np.float32)
    for r in rows:
        lines = part[r : my * f : f]
        for c in range(f):
            total += lines[:, c : mx * f : f]
    data = np.multiply(total, np.float32(1 / (f * len(rows))), dtype=np.float32)
    return Tile(data, x0, y0, f)


@dataclass(frozen=True)
class Grey:
    """The grey values of a tile, made beforehand; lines padded to four bytes.

    Attributes
    ----------
    levels : (black, white)
        That they were made with.
    """

    levels: tuple[float, float]
    values: npt.NDArray[np.uint8]


def _native(part: npt.NDArray[Any]) -> npt.NDArray[Any]:
    dtype = np.dtype(part.dtype)
    wanted = np.float32 if dtype.kind == "f" and dtype != np.float32 else dtype.newbyteorder("=")
    return np.array(part, dtype=wanted)


def warp_tile(
    tile: Tile,
    size: tuple[int, int],
    xf: npt.NDArray[np.float64],
    out_size: tuple[int, int],
    bounds: tuple[int, int, int, int] | None = None,
    fill: float | None = None,
) -> Tile:
    """Move a tile of a raw image into the aligned one.

    Parameters
    ----------
    size, out_size : (nx, ny)
        Of the whole raw and aligned image.
    xf : (2, 3)
        Raw to aligned positions about the centres, in pixels of the whole images.
    bounds : (x0, y0, x1, y1), optional
        Of the aligned image, pixels; all of it by default.
    """
    from tiltwright.engine.geometry.interpolate import warp_view

    f = tile.factor
    x0, y0, x1, y1 = bounds or (0, 0, *out_size)
    shape = max(1, (y1 - y0) // f), max(1, (x1 - x0) // f)
    before = _middle(tile.x0, tile.y0, tile.data.shape, f, size)
    after = _middle(x0, y0, shape, f, out_size)
    local = np.array(xf, np.float64)
    local[:, 2] = (local[:, :2] @ before + local[:, 2] - after) / f
    return Tile(warp_view(tile.data, local, shape, fill), x0, y0, f)


def _middle(x0: int, y0: int, shape: Any, f: int, size: tuple[int, int]) -> Any:
    """Centre of a tile about the centre of its whole image."""
    return np.array([x0 + (shape[1] * f - size[0]) / 2, y0 + (shape[0] * f - size[1]) / 2])


def source_bounds(
    bounds: tuple[int, int, int, int],
    size: tuple[int, int],
    xf: npt.NDArray[np.float64],
    out_size: tuple[int, int],
    margin: int,
) -> tuple[int, int, int, int]:
    """The raw pixels that ``bounds`` of the aligned image come from, with a margin."""
    from tiltwright.engine.geometry.transform import apply, invert

    corners = np.array([[bounds[i], bounds[j]] for i in (0, 2) for j in (1, 3)], np.float64)
    raw = apply(invert(xf), corners - (np.array(out_size) - 1) / 2) + (np.array(size) - 1) / 2
    low, high = np.floor(raw.min(0)) - margin, np.ceil(raw.max(0)) + margin + 1
    x0, y0 = (int(np.clip(v, 0, n - 1)) for v, n in zip(low, size, strict=True))
    x1, y1 = (int(np.clip(v, 1, n)) for v, n in zip(high, size, strict=True))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def sample(data: npt.NDArray[Any], n: int = 60_000) -> npt.NDArray[np.float32]:
    """Up to about ``n`` finite values spread evenly over an array, flat."""
    step = max(1, int(np.sqrt(data.size / n)))
    values = np.asarray(data[step // 2 :: step, step // 2 :: step], np.float32).ravel()
    finite: npt.NDArray[np.float32] = values[np.isfinite(values)]
    return finite


def auto_levels(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Black and white level from the quartiles, so that beads and blank corners do not count."""
    if not values.size:
        return 0.0, 1.0
    low, middle, high = (float(v) for v in np.percentile(values, (20, 50, 80)))
    black, white = middle - 3.4 * (middle - low), middle + 3.4 * (high - middle)
    black, white = max(black, float(values.min())), min(white, float(values.max()))
    if white - black < 1e-6 * max(1.0, abs(middle)):
        black, white = float(values.min()), float(values.max())
    return (black, white) if white > black else (black - 0.5, black + 0.5)


def to_grey(
    data: npt.NDArray[Any], black: float, white: float, inverted: bool = False
) -> npt.NDArray[np.uint8]:
    """8-bit grey values, rows from top to bottom of the screen, lines padded to four bytes."""
    ny, nx = data.shape
    out = np.zeros((ny, -(-nx // 4) * 4), np.uint8)
    gain = 255.0 / (white - black) if white != black else 255.0
    if inverted:
        black, gain = white, -gain
    scaled = np.subtract(data[::-1], np.float32(black), dtype=np.float32)
    scaled *= np.float32(gain)
    if not np.isfinite(scaled.sum()):
        np.nan_to_num(scaled, copy=False, nan=0.0)
    np.clip(scaled, 0, 255, out=scaled)
    out[:, :nx] = scaled
    return out
