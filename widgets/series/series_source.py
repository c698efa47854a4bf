"""Where the pictures of a tilt series come from, raw or interpolated; no Qt, for the lane."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltwright.engine.conventions import aligned_size
from tiltwright.widgets.image.tiles import (
    Grey,
    Tile,
    auto_levels,
    display_factor,
    read_tile,
    sample,
    source_bounds,
    to_grey,
    warp_tile,
)

if TYPE_CHECKING:
    from tiltwright.engine.model.tilt_series import TiltSeries

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rendered:
    """A view as it is shown: its tile, automatic levels, a sample of its values, and its grey."""

    tile: Tile
    levels: tuple[float, float]
    values: npt.NDArray[np.float32]
    grey: Grey

    @property
    def n_bytes(self) -> int:
        """Memory that it takes."""
        return self.tile.data.nbytes + self.values.nbytes + self.grey.values.nbytes


class SeriesSource:
    """The views of a tilt series, as they are or moved by its alignment.

    Positions are index coordinates of the picture that is shown, or raw positions about the
    centre of the raw, unbinned view.

    Raises
    ------
    InputError
        ``interpolated`` without an alignment.
    """

    def __init__(self, series: TiltSeries, interpolated: bool = False) -> None:
        self.series = series
        self.interpolated = interpolated
        self._images = series.images
        ny, nx = (int(n) for n in self._images.shape[1:])
        self._raw_size = nx, ny
        self.size = aligned_size(nx, ny, series.axis_deg) if interpolated else self._raw_size
        self._xf = series.image_transforms() if interpolated else None

    @property
    def key(self) -> Hashable:
        """What tells the pictures of two sources apart."""
        # The pixels and the transforms, so that a change of the exclusion is no other picture.
        return id(self._images), id(self.series.alignment) if self.interpolated else 0

    def factor(self, width: int, height: int) -> int:
        """The display level at which a view fills ``width`` x ``height`` screen pixels."""
        return display_factor(*self.size, width, height)

    def render(self, view: int, factor: int) -> Rendered:
        """A whole view at a display level."""
        tile = self.tile(view, factor)
        values = sample(tile.data)
        levels = auto_levels(values)
        return Rendered(tile, levels, values, Grey(levels, to_grey(tile.data, *levels)))

    def tile(self, view: int, factor: int, bounds: tuple[int, int, int, int] | None = None) -> Tile:
        """A view, or pixels ``(x0, y0, x1, y1)`` of it, averaged by ``factor``."""
        image = self._images[view]
        if self._xf is None:
            return read_tile(image, factor, bounds)
        xf, sizes = self._xf[view], (self._raw_size, self.size)
        if bounds is None:
            return warp_tile(read_tile(image, factor), sizes[0], xf, sizes[1])
        around = source_bounds(bounds, sizes[0], xf, sizes[1], margin=3 * factor)
        part = read_tile(image, factor, around)
        # The mean of a part is not the grey that lies around the whole view.
        fill = float(np.mean(sample(image)))
        return warp_tile(part, sizes[0], xf, sizes[1], bounds, fill)

    def from_raw(self, view: int, xy: npt.ArrayLike) -> Floats:
        """Raw positions about the centre, ``(..., 2)``, to positions in the picture."""
        at = self.series.frame.centred_from_raw(xy)
        if self._xf is not None:
            at = at @ self._xf[view, :, :2].T + self._xf[view, :, 2]
        shown: Floats = at + (np.array(self.size) - 1) / 2
        return shown

    def to_raw(self, view: int, xy: npt.ArrayLike) -> Floats:
        """Positions in the picture, ``(..., 2)``, to raw positions about the centre."""
        at = np.asarray(xy, np.float64) - (np.array(self.size) - 1) / 2
        if self._xf is not None:
            at = (at - self._xf[view, :, 2]) @ np.linalg.inv(self._xf[view, :, :2]).T
        return self.series.frame.centred_to_raw(at)

    def axis_line(self, view: int) -> Floats:
        """The tilt axis in the picture, ``(1, 2, 2)``, beyond its edges."""
        reach = float(np.hypot(*self.size))
        upright = np.array([[0.0, -reach], [0.0, reach]])
        centre = (np.array(self.size) - 1) / 2
        if self._xf is not None:
            return _line(upright + centre)
        if self.series.alignment is not None:
            xf = self.series.image_transforms()[view]
            return _line((upright - xf[:, 2]) @ np.linalg.inv(xf[:, :2]).T + centre)
        phi = np.deg2rad(self.series.axis_deg)
        along = np.array([-np.sin(phi), np.cos(phi)])
        return _line(centre + np.array([[-reach], [reach]]) * along)


class PictureCache:
    """The views shown last, up to a number of bytes."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.bytes = 0
        self._held: OrderedDict[Hashable, Rendered] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        """Whether a picture is held."""
        return key in self._held

    def get(self, key: Hashable) -> Rendered | None:
        """The picture of a key, which becomes the last to go."""
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        return self._held[key]

    def put(self, key: Hashable, rendered: Rendered) -> None:
        """Hold a picture, and let the oldest go."""
        if key in self._held:
            self.bytes -= self._held.pop(key).n_bytes
        self._held[key] = rendered
        self.bytes += rendered.n_bytes
        self._shrink()

    def set_budget(self, budget_bytes: int) -> None:
        """Hold at most so much from now on."""
        self.budget_bytes = budget_bytes
        self._shrink()

    def _shrink(self) -> None:
        while self.bytes > self.budget_bytes and len(self._held) > 1:
            self.bytes -= self._held.popitem(last=False)[1].n_bytes

    def has_room(self, for_bytes: int) -> bool:
        """Whether so much more fits without letting anything go."""
        return self.bytes + for_bytes <= self.budget_bytes

    def clear(self) -> None:
        """Let everything go."""
        self._held.clear()
        self.bytes = 0


def _line(ends: Floats) -> Floats:
    return ends.reshape(1, 2, 2)
