"""The three planes of one tomogram through a cursor."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtWidgets import QGridLayout, QLabel, QWidget

from tiltwright.widgets.image.image_view import ImageView
from tiltwright.widgets.image.overlay import Box, Circles, Layer, Lines
from tiltwright.widgets.image.tiles import SMALL_PIXELS, Tile, auto_levels, sample
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.theme import colours
from tiltwright.widgets.tomogram.specimen_box import SpecimenBox
from tiltwright.widgets.tomogram.tomogram_planes import (
    AXES,
    PLANES,
    Plane,
    on_plane,
    plane_size,
    read_plane,
    slab,
)

if TYPE_CHECKING:
    from tiltwright.engine.model.tilt_series import TiltSeries
    from tiltwright.engine.model.tomogram import Tomogram

_CROSSHAIR = "#70ffe600"
_NARROWEST = 0.2
"""A thin tomogram still gets so much of the width and height for its side planes."""


@dataclass(frozen=True, eq=False)
class Beads:
    """Beads in the specimen's frame.

    Attributes
    ----------
    xyz_nm : (n, 3) float64
        About the centre of the specimen; NaN for a bead without a position.
    surface : (n,) int
        0 bottom, 1 top.
    diameter_nm : float
    """

    xyz_nm: npt.NDArray[np.float64]
    surface: npt.NDArray[np.int64]
    diameter_nm: float

    @classmethod
    def of_series(cls, series: TiltSeries, diameter_nm: float) -> Beads | None:
        """The beads of a fiducial alignment; ``None`` without one."""
        beads = series.alignment.beads if series.alignment is not None else None
        if beads is None:
            return None
        return cls(beads.xyz * series.pixel_size_a / 10, beads.surface, diameter_nm)


class PlaneSet(QWidget):
    """Shows XY, XZ and YZ planes with one zoom and one cursor.

    Signals
    -------
    cursor_moved : (x, y, z)
        A person clicked a voxel.
    scrolled : ()
        A person zoomed or panned.
    hovered : (text)
    rendered : (plane)
        A plane came in.
    cursor_placed : ()
        The cursor is at another voxel, whoever moved it.
    """

    cursor_moved = pyqtSignal(int, int, int)
    scrolled = pyqtSignal()
    hovered = pyqtSignal(str)
    rendered = pyqtSignal(str)
    cursor_placed = pyqtSignal()

    def __init__(self, lane: Lane, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lane = lane
        self.tomogram: Tomogram | None = None
        self.title = ""  # which of several tomograms of a series this is
        self.views: dict[Plane, ImageView] = {plane: ImageView(self) for plane in PLANES}
        self.info = QLabel(self)
        self.info.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.info.setWordWrap(True)
        self.info.setMargin(8)
        self.cursor_voxel = (0, 0, 0)
        self._thickness = 1
        self._shown: dict[Plane, Hashable] = {}
        self._levels: tuple[float, float] | None = None
        self._box: SpecimenBox | None = None
        self._beads: Beads | None = None
        self._crosshair = True
        self._linking = False
        self._middle = np.zeros(3)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(3)
        self._grid.addWidget(self.views["xy"], 0, 0)
        self._grid.addWidget(self.views["yz"], 0, 1)
        self._grid.addWidget(self.views["xz"], 1, 0)
        self._grid.addWidget(self.info, 1, 1)
        for plane, view in self.views.items():
            view.setMinimumSize(60, 60)
            view.scale_bar_shown = plane == "xy"
            view.clicked.connect(partial(self._clicked, plane))
            view.viewport_changed.connect(partial(self._follow, plane))
            view.hovered.connect(partial(self._hover, plane))
            view.left.connect(partial(self.hovered.emit, ""))
        lane.failed.connect(self._fail)

    # ---- content -------------------------------------------------------------------------------

    @property
    def levels(self) -> tuple[float, float]:
        """Black and white of all planes."""
        return self.views["xy"].levels

    def set_tomogram(self, tomogram: Tomogram | None, message: str = "") -> None:
        """Show the middle of a tomogram."""
        self._lane.cancel(self._mine)
        self.tomogram = tomogram
        self._shown.clear()
        self._levels = None
        self._box = self._beads = None
        for view in self.views.values():
            view.clear()
            view.pixel_size_a = tomogram.pixel_size_a if tomogram is not None else 0.0
        if tomogram is None:
            self.views["xy"].clear(message)
            self.info.setText("")
            return
        nz, ny, nx = tomogram.shape
        self._middle = (np.array([nx, ny, nz]) - 1) / 2
        for k, n in enumerate((nx, max(nz, round(_NARROWEST * nx)))):
            self._grid.setColumnStretch(k, n)
        for k, n in enumerate((ny, max(nz, round(_NARROWEST * ny)))):
            self._grid.setRowStretch(k, n)
        self.cursor_voxel = nx // 2, ny // 2, nz // 2
        self._read()

    def set_cursor(self, x: int, y: int, z: int) -> None:
        """Move the cursor to a voxel, held inside the tomogram."""
        if self.tomogram is None:
            return
        nz, ny, nx = self.tomogram.shape
        held = tuple(
            int(np.clip(v, 0, n - 1)) for v, n in zip((x, y, z), (nx, ny, nz), strict=True)
        )
        self.cursor_voxel = held[0], held[1], held[2]
        self._read()
        self.cursor_placed.emit()

    def set_thickness(self, thickness: int) -> None:
        """Average so many sections."""
        self._thickness = thickness
        self._read()

    def set_levels(self, black: float, white: float) -> None:
        """What a person chose."""
        self._levels = black, white
        for view in self.views.values():
            view.set_levels(black, white)

    def auto_contrast(self) -> None:
        """Levels from the XY plane, and again from each new kind of slab."""
        self._levels = None
        self._apply_levels()

    def _apply_levels(self) -> None:
        tile = self.views["xy"].tile
        if tile is None:
            return
        levels = self._levels or auto_levels(sample(tile.data))
        for view in self.views.values():
            view.set_levels(*levels)

    def set_inverted(self, inverted: bool) -> None:
        """Exchange black and white."""
        for view in self.views.values():
            view.set_inverted(inverted)

    def set_box(self, box: SpecimenBox | None) -> None:
        """Draw a box."""
        self._box = box
        self._draw()

    def set_beads(self, beads: Beads | None) -> None:
        """Draw beads."""
        self._beads = beads
        self._draw()

    def set_crosshair(self, shown: bool) -> None:
        """Draw the planes through the cursor."""
        self._crosshair = shown
        self._draw()

    def fit(self) -> None:
        """Show everything."""
        if self.tomogram is not None:
            self._middle = (np.array(self.tomogram.shape[::-1]) - 1) / 2
            self.views["xy"].fit()
            self._follow("xy")

    # ---- reading -------------------------------------------------------------------------------

    def _read(self) -> None:
        """Ask for the planes that are not shown; XY first."""
        if self.tomogram is None:
            return
        self._draw()
        try:
            data = self.tomogram.data
        except Exception as exc:
            self.views["xy"].clear(str(exc))
            return
        for plane in PLANES:
            axis = AXES[plane][2]
            n = self.tomogram.shape[::-1][axis]
            wanted = slab(self.cursor_voxel[axis], self._thickness, n)
            if self._shown.get(plane) == wanted:
                continue
            size = plane_size(self.tomogram.shape, plane)
            factor = 1 + int(np.sqrt(size[0] * size[1] / (4 * SMALL_PIXELS)))
            self._lane.request(
                (id(self), plane),
                partial(read_plane, data, plane, self.cursor_voxel, self._thickness, factor),
                self._arrival(plane, wanted, size),
            )

    def _arrival(
        self, plane: Plane, wanted: Hashable, size: tuple[int, int]
    ) -> Callable[[Tile], None]:
        def done(tile: Tile) -> None:
            self._shown[plane] = wanted
            view = self.views[plane]
            first = view.tile is None
            self._linking = True
            view.set_tile(tile, size)
            self._linking = False
            if first:
                self._follow("xy")
            if plane == "xy":
                self._apply_levels()
            elif self.views["xy"].tile is not None:
                view.set_levels(*self.levels)
            self._draw()
            self.rendered.emit(plane)

        return done

    def _mine(self, key: Hashable) -> bool:
        return isinstance(key, tuple) and key[0] == id(self)

    def _fail(self, key: Hashable, text: str) -> None:
        if self._mine(key) and isinstance(key, tuple):
            self.views[key[1]].clear(f"This plane cannot be read.\n{text}")

    # ---- pointer, zoom and layers --------------------------------------------------------------

    def _clicked(self, plane: Plane, x: float, y: float, button: Any, _keys: Any) -> None:
        if button != Qt.MouseButton.LeftButton:
            return
        right, up, _ = AXES[plane]
        voxel = list(self.cursor_voxel)
        voxel[right], voxel[up] = round(x), round(y)
        self.set_cursor(*voxel)
        self.cursor_moved.emit(*self.cursor_voxel)

    def _hover(self, plane: Plane, x: float, y: float, value: float) -> None:
        if not np.isfinite(value):
            self.hovered.emit("")
            return
        right, up, _ = AXES[plane]
        at = [float(v) for v in self.cursor_voxel]
        at[right], at[up] = x, y
        words = "  ".join(f"{n} {v + 1:.0f}" for n, v in zip("xyz", at, strict=True))
        self.hovered.emit(f"{words}  value {value:.4g}")

    def viewport(self) -> tuple[float, float, float, float]:
        """Zoom, and the voxel in the middle of the planes."""
        x, y, z = (float(v) for v in self._middle)
        return self.views["xy"].viewport.zoom, x, y, z

    def set_viewport(self, zoom: float, x: float, y: float, z: float) -> None:
        """Show a voxel in the middle of all planes."""
        self._middle = np.array([x, y, z])
        self._linking = True
        for plane, view in self.views.items():
            view.set_viewport(zoom, *(float(v) for v in on_plane(self._middle, plane)))
        self._linking = False

    def _follow(self, plane: Plane) -> None:
        """The other planes take the zoom and what they share of the middle."""
        view = self.views[plane]
        if self._linking or view.tile is None:
            return
        right, up, _ = AXES[plane]
        self._middle[[right, up]] = view.viewport.x, view.viewport.y
        self._linking = True
        for other, its in self.views.items():
            if other != plane and its.tile is not None:
                at = (float(v) for v in on_plane(self._middle, other))
                its.set_viewport(view.viewport.zoom, *at)
        self._linking = False
        self.scrolled.emit()

    def _draw(self) -> None:
        tomogram = self.tomogram
        if tomogram is None:
            return
        sizes = np.array(tomogram.shape[::-1], np.float64)
        at = np.array(self.cursor_voxel, np.float64)
        for plane, view in self.views.items():
            right, up, axis = AXES[plane]
            ends = np.array([[at, at], [at, at]])
            ends[0, :, right] = -0.5, sizes[right] - 0.5
            ends[1, :, up] = -0.5, sizes[up] - 0.5
            cross = [Lines(on_plane(ends, plane), _CROSSHAIR, 1.0)] if self._crosshair else []
            view.set_layer("crosshair", *cross)
            view.set_layer("beads", *self._bead_layers(plane))
            box = self._box
            if box is None:
                view.set_layer("box")
            else:
                handles = box.tilt_handles() if plane == "yz" else np.zeros((0, 2))
                view.set_layer("box", Box(box.corners(plane), colours().interactive, handles, 2.0))
            first, end = slab(self.cursor_voxel[axis], self._thickness, int(sizes[axis]))
            name = "xyz"[axis]
            where = f"{first + 1}–{end}" if end - first > 1 else f"{first + 1}"
            view.set_caption(f"{plane.upper()}   {name} {where}")
        x, y, z = self.cursor_voxel
        nm = tomogram.specimen_of(at) * tomogram.pixel_size_a / 10
        self.info.setText(
            f"<b>{escape(tomogram.name)}</b><br>{escape(self.title)}{'<br>' * bool(self.title)}"
            f"{tomogram.describe()}<br>"
            f"x {x + 1}  y {y + 1}  z {z + 1}<br>"
            f"{nm[0]:.0f}, {nm[1]:.0f}, {nm[2]:.0f} nm from the specimen's centre"
        )

    def _bead_layers(self, plane: Plane) -> list[Layer]:
        beads, tomogram = self._beads, self.tomogram
        if beads is None or tomogram is None:
            return []
        nm = tomogram.pixel_size_a / 10
        voxels = tomogram.voxels_of(beads.xyz_nm / nm)
        axis = AXES[plane][2]
        first, end = slab(self.cursor_voxel[axis], self._thickness, tomogram.shape[::-1][axis])
        reach = beads.diameter_nm / nm / 2
        near = (voxels[:, axis] >= first - reach) & (voxels[:, axis] <= end - 1 + reach)
        palette = colours()
        return [
            Circles(on_plane(voxels[which], plane), 2.6 * reach, colour)
            for surface, colour in ((0, palette.surface_bottom), (1, palette.surface_top))
            if (which := near & (beads.surface == surface)).any()
        ]
