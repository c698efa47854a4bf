"""The tracks of a model in 3-D, turned on the processor: no OpenGL is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QPointF, QSize, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import (
    QColor,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPixmap,
    QWheelEvent,
)
from PyQt6.QtWidgets import QSizePolicy, QWidget

from tiltwright.widgets.editor.hand import DRAG_PX
from tiltwright.widgets.theme import colours
from tiltwright.widgets.turning import about

if TYPE_CHECKING:
    from tiltwright.engine.model.fiducial_model import FiducialModel

Floats = npt.NDArray[np.float64]
PICK_PX = 12.0
_SHARE = 0.4
"""Depth of all views as a share of the width of the image."""


class ModelView(QWidget):
    """Tracks as smooth curves coloured by surface: x and y of the image, and the tilt as depth.

    Middle drag turns, left drag moves, the wheel zooms, a click picks.

    Signals
    -------
    picked : (contour, view)
        A person clicked the nearest point of a track.
    """

    picked = pyqtSignal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(120, 100)
        self.setToolTip(
            "Model view (V): middle drag turns, left drag moves, wheel zooms, click picks; "
            "double click shows it from the front"
        )
        self._tracks: list[tuple[Floats, bool]] = []
        self._views: list[npt.NDArray[np.intp]] = []
        self._current = -1
        self._radius = 1.0
        self._moving = False
        self._drawn, self._drawn_key = QPixmap(), ()
        self._last = self._from = QPointF()
        self._button = Qt.MouseButton.NoButton
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(150)
        self._rest.timeout.connect(self._settle)
        self.reset()

    def sizeHint(self) -> QSize:
        """Square."""
        return QSize(300, 240)

    def reset(self) -> None:
        """From a little to the side, the whole of it."""
        self._turn = about(1, -0.55) @ about(0, 0.35)
        self._zoom, self._shift = 1.0, np.zeros(2)
        self.update()

    @property
    def rotation(self) -> Floats:
        """The turn, ``(3, 3)``."""
        return self._turn

    @property
    def zoom(self) -> float:
        """1 shows all."""
        return self._zoom

    @property
    def shift(self) -> tuple[float, float]:
        """Screen pixels, downwards."""
        return float(self._shift[0]), float(self._shift[1])

    def set_model(
        self, model: FiducialModel, tilt_deg: Floats, positions: Floats | None = None
    ) -> None:
        """Show a model with the tilt as depth.

        Parameters
        ----------
        positions : (n_tracks, n_views, 2), optional
            Aligned ones: raw tracks jump with the shifts of the views.
        """
        xy = model.xy if positions is None else positions
        reach = float(max(model.size_px))
        depth = (tilt_deg - tilt_deg.mean()) / max(1.0, float(np.ptp(tilt_deg))) * _SHARE * reach
        self._tracks, self._views = [], []
        for contour in range(model.n_tracks):
            views = np.flatnonzero(np.isfinite(xy[contour]).all(1))
            points = np.column_stack([xy[contour, views], depth[views]])
            self._tracks.append((points, bool(model.surface[contour] == 1)))
            self._views.append(views)
        far = max((float(np.abs(p).max()) for p, _ in self._tracks if len(p)), default=reach)
        self._radius = 1.1 * far
        self._drawn_key = ()
        self.update()

    def set_current(self, contour: int) -> None:
        """Draw a contour thick."""
        if contour != self._current:
            self._current = contour
            self.update()

    def points_on_screen(self, contour: int) -> Floats:
        """Screen positions of the points of a track, ``(n, 2)``."""
        return self._project(self._tracks[contour][0])

    def _project(self, points: Floats) -> Floats:
        scale = self._zoom * 0.5 * min(self.width(), self.height()) / self._radius
        turned = points @ self._turn.T
        at: Floats = turned[:, :2] * [scale, -scale] + [self.width() / 2, self.height() / 2]
        return at + self._shift

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Plain lines while it moves, smooth curves at rest; those not current drawn once."""
        c = colours()
        ratio, at = self.devicePixelRatioF(), (self._zoom, *self.shift)
        key = (self._turn.tobytes(), at, self.size(), ratio, self._moving, c)
        if key != self._drawn_key:
            self._drawn_key = key
            self._drawn = QPixmap(self.size() * ratio)
            self._drawn.setDevicePixelRatio(ratio)
            self._draw_tracks(self._drawn)
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._drawn)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, not self._moving)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if 0 <= self._current < len(self._tracks):
            path = QPainterPath()
            self._add(path, self._project(self._tracks[self._current][0]))
            painter.setPen(QPen(QColor(c.current), 3.2))
            painter.drawPath(path)
        painter.end()

    def _draw_tracks(self, pixmap: QPixmap) -> None:
        c = colours()
        pixmap.fill(QColor("#000000"))
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, not self._moving)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for top, colour in ((False, c.surface_bottom), (True, c.surface_top)):
            path = QPainterPath()
            for points, on_top in self._tracks:
                if on_top is top:
                    self._add(path, self._project(points))
            painter.setPen(QPen(QColor(colour), 1.4))
            painter.drawPath(path)
        painter.end()

    def _add(self, path: QPainterPath, at: Floats) -> None:
        if len(at) == 1:
            path.addEllipse(QPointF(*at[0]), 2, 2)
        if len(at) < 2:
            return
        path.moveTo(*at[0])
        if self._moving:
            for x, y in at[1:].tolist():
                path.lineTo(x, y)
            return
        # Catmull-Rom: the tangent at a point is half the way between its neighbours.
        slope = np.gradient(at, axis=0)
        before, after = at[:-1] + slope[:-1] / 3, at[1:] - slope[1:] / 3
        for a, b, end in zip(before.tolist(), after.tolist(), at[1:].tolist(), strict=True):
            path.cubicTo(*a, *b, *end)

    # ---- mouse ---------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Begin to move or turn."""
        assert event is not None
        self._from = self._last = event.position()
        self._button = event.button()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Turn about axes of the screen, or move."""
        assert event is not None
        if self._button == Qt.MouseButton.NoButton:
            return
        here = event.position()
        if not self._moving and (here - self._from).manhattanLength() < DRAG_PX:
            return
        step, self._last = here - self._last, here
        self._moving = True
        if self._button == Qt.MouseButton.MiddleButton:
            self._turn = about(1, step.x() / 120) @ about(0, step.y() / 120) @ self._turn
        elif self._button == Qt.MouseButton.LeftButton:
            self._shift = self._shift + np.array([step.x(), step.y()])
        self._rest.start()
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """A click picks."""
        assert event is not None
        button, self._button = self._button, Qt.MouseButton.NoButton
        moved = (event.position() - self._from).manhattanLength() >= DRAG_PX
        if button == Qt.MouseButton.LeftButton and not moved:
            found = self.nearest(event.position().x(), event.position().y())
            if found is not None:
                self.picked.emit(*found)
        self._settle()

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """From the front."""
        self.reset()

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Zoom at the pointer."""
        assert event is not None
        factor = 1.0015 ** event.angleDelta().y()
        zoom = min(max(self._zoom * factor, 0.2), 60.0)
        at = np.array([event.position().x(), event.position().y()])
        middle = np.array([self.width() / 2, self.height() / 2])
        self._shift = at - middle - (at - middle - self._shift) * zoom / self._zoom
        self._zoom = zoom
        self._moving = True
        self._rest.start()
        self.update()
        event.accept()

    def _settle(self) -> None:
        self._moving = False
        self._rest.stop()
        self.update()

    def nearest(self, x: float, y: float) -> tuple[int, int] | None:
        """Contour and view of the nearest point on the screen, within reach."""
        best, found = PICK_PX, None
        for k in range(len(self._tracks)):
            at = self.points_on_screen(k)
            if not len(at):
                continue
            way = np.hypot(*(at - [x, y]).T)
            nearest = int(np.argmin(way))
            if way[nearest] < best:
                best, found = float(way[nearest]), (k, int(self._views[k][nearest]))
        return found
