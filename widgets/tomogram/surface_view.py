"""The surface of a mask in 3-D, drawn by the processor: no OpenGL is needed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QPointF, QRectF, QSize, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import (
    QColor,
    QImage,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from PyQt6.QtWidgets import QSizePolicy, QWidget

from tiltwright.widgets.image.overlay import draw_text
from tiltwright.widgets.image.picture import GROUND
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.theme import colours
from tiltwright.widgets.turning import about

if TYPE_CHECKING:
    from tiltwright.engine.model.tomogram import Tomogram
    from tiltwright.engine.volume.scene import Scene, Surface, View
    from tiltwright.widgets.tomogram.plane_set import Beads

Floats = npt.NDArray[np.float64]
MASK_COLOUR = "#2fc6d6"
_CLICK_PX = 4.0
_REST_MS = 180


class SurfaceView(QWidget):
    """A mask's surface with beads, the box of the volume, and the section that is shown.

    Left drag turns, middle or right drag moves, the wheel zooms, a double click shows all, a click
    on the surface goes there.

    Signals
    -------
    picked : (x, y, z)
        A person clicked the surface at this voxel.
    drawn : ()
        A picture came in.
    """

    picked = pyqtSignal(int, int, int)
    drawn = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(160, 120)
        self.setToolTip(
            "Left drag turns, middle or right drag moves, wheel zooms, a click goes there; "
            "double click shows all"
        )
        # Of its own: a surface takes seconds, and planes must not wait for it.
        self.lane = Lane(self)
        self.lane.failed.connect(lambda _, text: self._say(text))
        self.destroyed.connect(self.lane.close)
        self._shape: tuple[int, int, int] | None = None
        self._beads: tuple[Floats, Floats, float] = np.zeros((0, 3)), np.zeros((0, 3)), 1.0
        self._surfaces: tuple[Surface, Surface] | None = None
        self._view: View | None = None
        self._section: float | None = None
        self._words = ""
        self._button = Qt.MouseButton.NoButton
        self._from = self._last = QPointF()
        self._moving = self._dragged = False
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._settle)
        self.reset()

    def sizeHint(self) -> QSize:
        """Square."""
        return QSize(420, 420)

    @property
    def view(self) -> View | None:
        """The picture that is shown."""
        return self._view

    @property
    def words(self) -> str:
        """What is written over it."""
        return self._words

    # ---- content -------------------------------------------------------------------------------

    def set_volume(self, tomogram: Tomogram | None, beads: Beads | None = None) -> None:
        """Show the box of a tomogram, without a surface yet."""
        self.lane.cancel(lambda _: True)
        self._surfaces = self._view = None
        self._shape = None if tomogram is None else tomogram.shape
        self._words = ""
        self._beads = np.zeros((0, 3)), np.zeros((0, 3)), 1.0
        if tomogram is not None and beads is not None:
            nm = tomogram.pixel_size_a / 10
            c = colours()
            both = np.array([_rgb(c.surface_bottom), _rgb(c.surface_top)])
            self._beads = (
                tomogram.voxels_of(beads.xyz_nm / nm), both[np.clip(beads.surface, 0, 1)],
                beads.diameter_nm / nm / 2,
            )  # fmt: skip
        self.reset()

    def set_mask(self, mask: Any) -> None:
        """Make the surface of a mask anew; the one that is shown stays until then."""
        from tiltwright.engine.volume.scene import surfaces_of

        if mask is None:
            self.lane.cancel(lambda key: key == "surface")
            self._surfaces = None
            self._ask()
            return
        self._say("Making the surface …")
        self.lane.request("surface", lambda: surfaces_of(mask), self._have_surface)

    def _have_surface(self, found: tuple[Surface, Surface] | str) -> None:
        if isinstance(found, str):
            self._surfaces = None
            self._say(found)
        else:
            self._surfaces = found
            self._say(f"{len(found[0].triangles):,} triangles")
        self._ask()

    def set_section(self, z: float) -> None:
        """Draw the outline of the section that is looked at."""
        if z != self._section:
            self._section = z
            self._ask()

    def shutdown(self) -> None:
        """End the thread."""
        self._rest.stop()
        self.lane.close()

    def _say(self, words: str) -> None:
        self._words = words
        self.update()

    # ---- where it is seen from -----------------------------------------------------------------

    def reset(self) -> None:
        """From the front and a little above, the whole of it."""
        self._turn = about(0, -0.9) @ about(2, 0.35)
        self._zoom, self._shift = 1.0, np.zeros(2)
        self._ask()

    @property
    def rotation(self) -> Floats:
        """The turn, ``(3, 3)``."""
        return self._turn

    @property
    def zoom(self) -> float:
        """1 shows all."""
        return self._zoom

    def _scale(self) -> float:
        assert self._shape is not None
        reach = float(np.linalg.norm(self._shape))
        return self._zoom * min(self.width(), self.height()) / reach

    def _ask(self) -> None:
        """Have it drawn as it is seen now."""
        if self._shape is None or not self.isVisible():
            return
        from tiltwright.engine.volume.scene import Eye, Scene, render

        fine, coarse = self._surfaces or (None, None)
        scene: Scene = Scene(self._shape, fine, coarse, _rgb(MASK_COLOUR), *self._beads)
        # At rest four pixels for one, so that edges are smooth.
        k = self.devicePixelRatioF() * (1 if self._moving else 2)
        eye = Eye(self._turn, self._scale() * k, (self._shift[0] * k, self._shift[1] * k))
        size = max(1, round(self.width() * k)), max(1, round(self.height() * k))
        self.lane.request(
            "picture", partial(render, scene, eye, size, self._moving, self._section), self._have
        )

    def _have(self, view: View) -> None:
        self._view = view
        self.update()
        self.drawn.emit()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """The picture that came last."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(GROUND))
        if self._view is not None:
            data = self._view.image
            ny, nx = data.shape
            image = QImage(cast(bytes, data.data), nx, ny, 4 * nx, QImage.Format.Format_RGB32)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(QRectF(self.rect()), image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._words:
            draw_text(painter, 12, 12 + painter.fontMetrics().ascent(), self._words)
        if self._view is not None:
            self._paint_axes(painter)
        painter.end()

    def _paint_axes(self, painter: QPainter) -> None:
        """Where x, y and z point to."""
        middle = QPointF(34.0, self.height() - 34.0)
        for axis in np.argsort(self._turn[2]):
            x, y, _ = 22.0 * self._turn[:, axis]
            painter.setPen(QColor("#c9d1db"))
            painter.drawLine(middle, middle + QPointF(x, -y))
            painter.drawText(middle + 1.35 * QPointF(x, -y) + QPointF(-4, 4), "xyz"[axis])

    # ---- Qt ------------------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Draw it in the new size."""
        self._move()

    def showEvent(self, event: Any) -> None:
        """Nothing is drawn while it is hidden."""
        super().showEvent(event)
        self._ask()

    def _move(self) -> None:
        self._moving = True
        self._rest.start()
        self._ask()

    def _settle(self) -> None:
        self._rest.stop()
        self._moving = False
        self._ask()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Begin to turn or move."""
        assert event is not None
        self._from = self._last = event.position()
        self._button = event.button()
        self._dragged = False

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Turn about axes of the screen, or move."""
        assert event is not None
        here = event.position()
        if self._button == Qt.MouseButton.NoButton or (
            not self._dragged and (here - self._from).manhattanLength() < _CLICK_PX
        ):
            return
        step, self._last = here - self._last, here
        self._dragged = True
        if self._button == Qt.MouseButton.LeftButton:
            self._turn = about(1, step.x() / 140) @ about(0, step.y() / 140) @ self._turn
        else:
            self._shift = self._shift + np.array([step.x(), step.y()])
        self._move()

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """A click goes to what it shows."""
        assert event is not None
        here, button = event.position(), self._button
        self._button = Qt.MouseButton.NoButton
        click = button == Qt.MouseButton.LeftButton and not self._dragged
        if click and self._view is not None:
            k = self._view.image.shape[1] / self.width()
            at = self._view.voxel(here.x() * k, here.y() * k)
            if at is not None:
                self.picked.emit(*(round(v) for v in at))
        if self._moving:
            self._settle()

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """Show all."""
        self.reset()

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Zoom at the pointer."""
        assert event is not None
        zoom = min(max(self._zoom * 1.0015 ** event.angleDelta().y(), 0.3), 40.0)
        at = np.array([event.position().x(), event.position().y()])
        middle = np.array([self.width() / 2, self.height() / 2])
        self._shift = at - middle - (at - middle - self._shift) * zoom / self._zoom
        self._zoom = zoom
        self._move()
        event.accept()


def _rgb(colour: str) -> tuple[float, float, float]:
    """Red, green and blue, 0 to 255."""
    c = QColor(colour)
    return float(c.red()), float(c.green()), float(c.blue())
