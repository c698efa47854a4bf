"""All views of a bead as a strip of small pictures about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap
from PyQt6.QtWidgets import QSizePolicy, QToolTip, QWidget

from tiltwright.widgets.image.tiles import auto_levels, to_grey
from tiltwright.widgets.theme import colours

if TYPE_CHECKING:
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.engine.model.tilt_series import TiltSeries

Floats = npt.NDArray[np.float64]
_LEAST_PX, _MOST_PX = 22, 96
_PIECE = 8
CROP_DIAMETERS = 3.0
"""Width of a small picture in bead diameters."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A square part of a view about a bead.

    Attributes
    ----------
    view : int
    data : (n, n)
        Empty where the bead lies off the image.
    scale : float
        Raw pixels per pixel of ``data``.
    picture : (QImage or None, memory)
        Grey, with its own contrast.
    measured, predicted : (x, y), optional
        Index positions in ``data``.
    """

    view: int
    data: npt.NDArray[np.float32]
    scale: float
    picture: tuple[QImage | None, npt.NDArray[np.uint8]]
    measured: tuple[float, float] | None = None
    predicted: tuple[float, float] | None = None

    @property
    def off_px(self) -> float:
        """Raw pixels between the measured and the predicted position; NaN without one."""
        if self.measured is None or self.predicted is None:
            return float("nan")
        return float(np.hypot(*np.subtract(self.measured, self.predicted))) * self.scale


def crop_at(
    series: TiltSeries, view: int, at: npt.ArrayLike, half_raw_px: float
) -> tuple[npt.NDArray[np.float32], tuple[int, int], float]:
    """Square pixels of a view about a raw position; empty off the image.

    Returns
    -------
    data, (x0, y0), scale
        ``x0, y0`` is the index of its first pixel in the view, ``scale`` raw pixels per pixel.
    """
    frame = series.frame
    image = series.images[view]
    ny, nx = image.shape
    centre = frame.centred_from_raw(at) + np.array([(nx - 1) / 2, (ny - 1) / 2])
    half = max(3, round(half_raw_px / frame.scale))
    if not np.isfinite(centre).all() or not (
        -half < centre[0] < nx + half and -half < centre[1] < ny + half
    ):
        return np.zeros((0, 0), np.float32), (0, 0), frame.scale
    x0, y0 = (int(v) - half for v in np.rint(centre))
    x1, y1 = x0 + 2 * half + 1, y0 + 2 * half + 1
    part = np.asarray(image[max(0, y0) : min(ny, y1), max(0, x0) : min(nx, x1)], np.float32)
    if not part.size:
        return np.zeros((0, 0), np.float32), (0, 0), frame.scale
    out = np.full((2 * half + 1, 2 * half + 1), np.float32(part.mean()))
    top, left = max(0, -y0), max(0, -x0)
    out[top : top + part.shape[0], left : left + part.shape[1]] = part
    return out, (x0, y0), frame.scale


def crops_of(
    series: TiltSeries, model: FiducialModel, contour: int, predicted: Floats | None
) -> list[Crop]:
    """Small pictures of every view of a bead, about where it is measured, else predicted."""
    *_, crops = crops_in_pieces(series, model, contour, predicted)
    assert crops is not None
    return crops


def crops_in_pieces(
    series: TiltSeries, model: FiducialModel, contour: int, predicted: Floats | None
) -> Iterator[list[Crop] | None]:
    """The same for the lane: ``None`` now and then, so that others may go first."""
    half = CROP_DIAMETERS / 2 * model.diameter_px
    out = []
    for view in range(model.n_views):
        there = model.xy[contour, view]
        guess = predicted[contour, view] if predicted is not None else np.full(2, np.nan)
        middle = there if np.isfinite(there).all() else guess
        data, corner, scale = crop_at(series, view, middle, half)
        ny, nx = series.images.shape[1:]
        centre = np.array([(nx - 1) / 2, (ny - 1) / 2]) - corner

        def place(
            raw: Floats, centre: Floats = centre, size: int = data.size
        ) -> tuple[float, float] | None:
            if not size or not np.isfinite(raw).all():
                return None
            x, y = series.frame.centred_from_raw(raw) + centre
            return float(x), float(y)

        out.append(Crop(view, data, scale, grey_image(data), place(there), place(guess)))
        if view % _PIECE == _PIECE - 1:
            yield None
    yield out


class StripView(QWidget):
    """Small pictures in rows; green where measured, dashed yellow where predicted.

    Signals
    -------
    view_picked : (view)
        A person clicked a small picture.
    """

    view_picked = pyqtSignal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setMinimumHeight(2 * _LEAST_PX)
        self.setMouseTracking(True)
        self._crops: list[Crop] = []
        self._drawn, self._drawn_key = QPixmap(), ()
        self._view = -1
        self._tilt: Sequence[float] = ()
        self._colour = ""
        self._diameter_px = 1.0

    def sizeHint(self) -> QSize:
        """Two rows."""
        return QSize(600, 110)

    @property
    def crops(self) -> list[Crop]:
        """What is shown."""
        return self._crops

    def set_crops(
        self, crops: list[Crop], tilt_deg: Sequence[float], diameter_px: float, colour: str = ""
    ) -> None:
        """Show the pictures of another bead, ``colour`` that of its surface."""
        self._crops, self._tilt = crops, tilt_deg
        self._diameter_px, self._colour = diameter_px, colour or colours().surface_bottom
        self._drawn_key = ()
        self.update()

    def set_view(self, view: int) -> None:
        """Frame the view that is shown."""
        if view != self._view:
            self._view = view
            self.update()

    def _layout(self) -> tuple[float, int]:
        """Size of a picture, and pictures in a row."""
        n = max(1, len(self._crops))
        best = float(_LEAST_PX)
        for rows in range(1, n + 1):
            columns = -(-n // rows)
            best = max(best, min(self.width() / columns, self.height() / rows))
        best = min(best, float(_MOST_PX))
        return best, max(1, int(self.width() / best + 1e-6))

    def cell(self, view: int) -> QRectF:
        """Where the picture of a view lies."""
        return _cell(view, *self._layout())

    def view_at(self, at: QPointF) -> int:
        """The view at a place, -1 outside."""
        size, columns = self._layout()
        k = int(at.y() // size) * columns + int(at.x() // size)
        return k if 0 <= k < len(self._crops) and at.x() < columns * size else -1

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """The pictures, drawn once, and the frame of the current view."""
        ratio, c = self.devicePixelRatioF(), colours()
        key = (self.size(), ratio, c)
        if key != self._drawn_key:
            self._drawn_key = key
            self._drawn = QPixmap(self.size() * ratio)
            self._drawn.setDevicePixelRatio(ratio)
            self._draw(self._drawn)
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._drawn)
        if 0 <= self._view < len(self._crops):
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(QPen(QColor(c.current), 2.0))
            painter.drawRect(self.cell(self._view).adjusted(1, 1, -1, -1))
        painter.end()

    def _draw(self, pixmap: QPixmap) -> None:
        """Pictures and circles."""
        c = colours()
        painter = QPainter(pixmap)
        painter.fillRect(self.rect(), QColor("#0a0b0d"))
        painter.setRenderHints(
            QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform
        )
        if not self._crops:
            painter.setPen(QColor("#97a0ad"))
            words = "All views of the current bead: attach to a point to see them."
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, words)
        font = painter.font()
        font.setPixelSize(9)
        painter.setFont(font)
        layout = self._layout()
        for k, crop in enumerate(self._crops):
            image = crop.picture[0]
            box = _cell(k, *layout).adjusted(1, 1, -1, -1)
            if image is None:
                painter.fillRect(box, QColor("#1a1d22"))
                painter.setPen(QColor("#97a0ad"))
                painter.drawText(box, Qt.AlignmentFlag.AlignCenter, "off")
            else:
                painter.drawImage(box, image, QRectF(0, 0, image.width(), image.height()))
                scale = box.width() / image.width()
                radius = self._diameter_px / crop.scale * scale / 2
                for at, colour, dashed in (
                    (crop.predicted, c.current, True), (crop.measured, self._colour, False),
                ):  # fmt: skip
                    if at is None:
                        continue
                    pen = QPen(QColor(colour), 1.2)
                    if dashed:
                        pen.setDashPattern([2.5, 2.0])
                    painter.setPen(pen)
                    x = box.left() + (at[0] + 0.5) * scale
                    y = box.bottom() - (at[1] + 0.5) * scale
                    painter.drawEllipse(QPointF(x, y), radius, radius)
                if crop.measured is None:
                    painter.setPen(QPen(QColor(c.running), 1.5))
                    painter.drawRect(box)
            painter.setPen(QColor("#ffffff"))
            painter.drawText(box.adjusted(2, 1, 0, 0), f"{crop.view + 1}")
        painter.end()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the view."""
        assert event is not None
        if (view := self.view_at(event.position())) >= 0:
            self.view_picked.emit(view)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Say which view it is, and how far off its point lies."""
        assert event is not None
        view = self.view_at(event.position())
        if view < 0:
            QToolTip.hideText()
            return
        crop = self._crops[view]
        words = f"view {view + 1}, {self._tilt[view]:.1f}°"
        if crop.measured is None:
            words += ": no point"
        elif np.isfinite(crop.off_px):
            words += f": {crop.off_px:.2f} px from where the other points put it"
        QToolTip.showText(event.globalPosition().toPoint(), words, self)

    def leaveEvent(self, event: QEvent | None) -> None:
        """No tooltip."""
        QToolTip.hideText()
        super().leaveEvent(event)


def _cell(k: int, size: float, columns: int) -> QRectF:
    return QRectF(k % columns * size, k // columns * size, size, size)


def grey_image(data: npt.NDArray[np.float32]) -> tuple[QImage | None, npt.NDArray[np.uint8]]:
    """A picture of pixels with their own contrast, and the memory that it looks at."""
    if not data.size:
        return None, np.zeros((0, 0), np.uint8)
    grey = to_grey(data, *auto_levels(data))
    ny, nx = data.shape
    image = QImage(grey.data, nx, ny, grey.shape[1], QImage.Format.Format_Grayscale8)
    return image, grey
