"""A mask as a transparent colour over the planes of a tomogram; only what changed is redrawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QObject, QRectF
from PyQt6.QtGui import QColor, QImage, QPainter

from tiltwright.widgets.image.viewport import Viewport
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.tomogram.plane_set import PlaneSet
from tiltwright.widgets.tomogram.surface_view import MASK_COLOUR
from tiltwright.widgets.tomogram.tomogram_planes import AXES, PLANES, Plane

if TYPE_CHECKING:
    from tiltwright.engine.volume.mask_edit import MaskEditor, Region

Bytes = npt.NDArray[np.uint8]
ALPHA = 105
_PIECE_VOXELS = 8 << 20


class MaskPicture:
    """A section of a mask as a layer of an image view.

    Parameters
    ----------
    section : (ny, nx)
        Not 0 inside.
    """

    def __init__(self, section: npt.NDArray[Any]) -> None:
        ny, nx = section.shape
        self.size = nx, ny
        # Rows from the top of the screen, lines padded to four bytes, as QImage wants them.
        self._bytes: Bytes = np.zeros((ny, -(-nx // 4) * 4), np.uint8)
        self._bytes[::-1, :nx] = section != 0
        self._image = QImage(
            cast(bytes, self._bytes.data), nx, ny, self._bytes.shape[1],
            QImage.Format.Format_Indexed8,
        )  # fmt: skip
        colour = QColor(MASK_COLOUR)
        colour.setAlpha(ALPHA)
        self._image.setColorTable([0, colour.rgba()])

    def inside(self, x: int, y: int) -> bool:
        """Whether a pixel is in the mask as it is shown."""
        return bool(self._bytes[self.size[1] - 1 - y, x])

    def patch(self, x0: int, y0: int, part: npt.NDArray[Any]) -> None:
        """Show other values from a pixel on."""
        h, w = part.shape
        top = self.size[1] - y0
        self._bytes[top - h : top, x0 : x0 + w] = (part != 0)[::-1]

    def paint(self, painter: QPainter, port: Viewport) -> None:
        """Draw what is in sight."""
        nx, ny = self.size
        x0, y0, x1, y1 = port.visible(nx, ny)
        i0, i1 = max(0, int(x0)), min(nx, int(x1) + 2)
        j0, j1 = max(0, int(y0)), min(ny, int(y1) + 2)
        if i1 <= i0 or j1 <= j0:
            return
        left, top = port.to_screen(i0 - 0.5, j1 - 0.5)
        target = QRectF(left, top, (i1 - i0) * port.zoom, (j1 - j0) * port.zoom)
        painter.drawImage(target, self._image, QRectF(i0, ny - j1, i1 - i0, j1 - j0))


def read_section(mask: Any, plane: Plane, index: int) -> Iterator[npt.NDArray[Any] | None]:
    """One section of a mask ``(nz, ny, nx)``, ``None`` between pieces of some milliseconds."""
    if plane == "xy":
        yield np.array(mask[index])
        return
    nz, ny, nx = mask.shape
    out = np.empty((nz, nx if plane == "xz" else ny), mask.dtype)
    step = max(1, _PIECE_VOXELS // (ny * nx))
    for z in range(0, nz, step):
        part = mask[z : z + step]
        out[z : z + step] = part[:, index] if plane == "xz" else part[:, :, index]
        yield None
    yield out if plane == "xz" else out.T


class MaskOverlay(QObject):
    """Keeps the mask of an editor in sight on the planes of a tomogram."""

    def __init__(self, planes: PlaneSet, lane: Lane, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._planes, self._lane = planes, lane
        self._editor: MaskEditor | None = None
        self._shown = True
        self._pictures: dict[Plane, tuple[int, MaskPicture]] = {}
        self._wanted: dict[Plane, int] = {}
        planes.cursor_placed.connect(self.follow)

    def set_editor(self, editor: MaskEditor | None) -> None:
        """Show another mask, or none."""
        self._lane.cancel(self._mine)
        self._editor = editor
        self._pictures.clear()
        self._wanted.clear()
        self._draw()
        self.follow()

    def set_shown(self, shown: bool) -> None:
        """Show or hide it."""
        self._shown = shown
        self._draw()
        self.follow()

    def picture(self, plane: Plane) -> MaskPicture | None:
        """What lies over a plane."""
        found = self._pictures.get(plane)
        return found[1] if found is not None else None

    def _mine(self, key: Hashable) -> bool:
        return isinstance(key, tuple) and key[0] == id(self)

    def follow(self) -> None:
        """Read the sections that the cursor is in now."""
        if self._editor is None or not self._shown:
            return
        for plane in PLANES:
            index = self._planes.cursor_voxel[AXES[plane][2]]
            if self._wanted.get(plane) != index:
                self._wanted[plane] = index
                self._read(plane, index)

    def _read(self, plane: Plane, index: int) -> None:
        editor = self._editor
        assert editor is not None
        self._lane.request(
            (id(self), plane), partial(read_section, editor.mask, plane, index),
            self._arrival(editor, plane, index, editor.edits),
        )  # fmt: skip

    def _arrival(
        self, editor: MaskEditor, plane: Plane, index: int, edits: int
    ) -> Callable[[Any], None]:
        def done(section: npt.NDArray[Any]) -> None:
            if editor is not self._editor:
                return
            if editor.edits != edits:
                # Painted while it was read: some of it may be from before.
                self._read(plane, index)
                return
            self._pictures[plane] = index, MaskPicture(section)
            self._draw()

        return done

    def _draw(self) -> None:
        for plane, view in self._planes.views.items():
            found = self._pictures.get(plane)
            view.set_layer("mask", *((found[1],) if found is not None and self._shown else ()))

    def show_change(self, regions: list[Region]) -> None:
        """Redraw boxes that were painted, where the sections pass through them."""
        if self._editor is None:
            return
        mask = self._editor.mask
        for plane, (index, picture) in self._pictures.items():
            right, up, axis = AXES[plane]
            touched = False
            for region in regions:
                # Regions are z, y, x; axes count x, y, z.
                across = region[2 - axis]
                if not across.start <= index < across.stop:
                    continue
                box: list[Any] = list(region)
                box[2 - axis] = index
                part = mask[tuple(box)]
                a, b = region[2 - right], region[2 - up]
                # The two axes left stand in the order z, y, x: the one that runs up comes first
                # but on YZ, where z runs to the right.
                picture.patch(a.start, b.start, part if right < up else part.T)
                touched = True
            if touched:
                self._planes.views[plane].update()
