"""The one-dimensional spectrum with its fit, and defocus against tilt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PyQt6.QtCore import QEvent, QPointF, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QColor
from PyQt6.QtWidgets import QVBoxLayout, QWidget

from tiltwright.widgets.theme import colours

if TYPE_CHECKING:
    from tiltwright.engine.ctf.examine import Look

_THEME_EVENTS = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
_REACH_PX = 14.0


class PeriodAxis(pg.AxisItem):
    """Frequencies with their periods as words: 30, 20, 15, 12, 10 ... angstrom."""

    _PERIODS = (100, 60, 40, 30, 20, 15, 12, 10, 9, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.5, 2)

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[tuple[float, Any]]:
        """Where the periods lie that have room."""
        out: list[float] = []
        least = 42 * (maxVal - minVal) / max(size, 1.0)
        for period in self._PERIODS:
            s = 1 / period
            if minVal <= s <= maxVal and (not out or s - out[-1] >= least):
                out.append(s)
        return [(0.0, out)]

    def tickStrings(self, values: Any, scale: float, spacing: float) -> list[str]:
        """Periods."""
        return [f"{1 / v:.3g} Å" for v in values]


class _Plot(QWidget):
    """A quiet plot that follows the theme."""

    def __init__(self, parent: QWidget | None, axes: dict[str, Any] | None = None) -> None:
        super().__init__(parent)
        self.plot = pg.PlotWidget(self, axisItems=axes or {})
        self.plot.setMinimumHeight(90)
        self.plot.hideButtons()
        self.plot.setMenuEnabled(False)
        self.plot.setMouseEnabled(False, False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.plot)
        self._due = QTimer(self)
        self._due.setSingleShot(True)
        self._due.setInterval(0)
        self._due.timeout.connect(self._style)
        self._due.start()

    def _style(self) -> None:
        c = colours()
        item = self.plot.getPlotItem()
        self.plot.setBackground(c.base)
        for side in ("left", "bottom"):
            axis = item.getAxis(side)
            axis.setPen(c.border)
            axis.setTextPen(c.muted)
            axis.enableAutoSIPrefix(False)
        item.getAxis("left").setWidth(52)
        item.showGrid(x=False, y=True, alpha=0.15)

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event is not None and event.type() in _THEME_EVENTS and hasattr(self, "_due"):
            self._due.start()


class CurvePlot(_Plot):
    """Measured and fitted rings over the frequency, and how far they go together."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent, {"bottom": PeriodAxis("bottom")})
        item = self.plot.getPlotItem()
        self.legend = item.addLegend(offset=(-6, 2), colCount=2)
        self.measured = item.plot([], [], name="measured")
        self.model = item.plot([], [], name="fitted")
        self.mark = pg.InfiniteLine(
            angle=90, label="", labelOpts={"position": 0.08, "movable": False, "anchors": [
                (1.05, 1), (1.05, 1)]},
        )  # fmt: skip
        self.mark.hide()
        item.addItem(self.mark)

    def _style(self) -> None:
        super()._style()
        c = colours()
        item = self.plot.getPlotItem()
        item.setLabel("left", "relative power", color=c.muted)
        self.measured.setPen(pg.mkPen(c.accent, width=1.5))
        self.model.setPen(pg.mkPen(c.running, width=1.5))
        self.mark.setPen(pg.mkPen(c.done, width=1.5, style=Qt.PenStyle.DashLine))
        self.mark.label.setColor(c.text)
        ground = QColor(c.base)
        ground.setAlpha(200)
        self.legend.setBrush(pg.mkBrush(ground))
        self.legend.setLabelTextColor(c.text)

    def show_nothing(self) -> None:
        """No view."""
        self.measured.setData([], [])
        self.model.setData([], [])
        self.mark.hide()

    def show_look(self, look: Look, model: npt.NDArray[np.float64]) -> None:
        """A measured curve, and the rings of a defocus on the same frequencies."""
        curve = look.curve
        self.measured.setData(curve.frequency, curve.measured)
        self.model.setData(curve.frequency, model)
        self.mark.setValue(1 / curve.resolution_a)
        self.mark.label.setFormat(f"fits to {curve.resolution_a:.1f} Å")
        self.mark.show()
        item = self.plot.getPlotItem()
        item.setXRange(float(curve.frequency[0]), float(curve.frequency[-1]), padding=0.01)
        top = 1.15 * float(np.percentile(np.abs(curve.measured), 98))
        top = max(top, 1.1 * float(np.abs(model).max()), 1e-6)
        # Room for the words above.
        item.setYRange(-top, 1.3 * top, padding=0)

    def show_model(self, frequency: Any, model: Any) -> None:
        """Another fitted curve, at once."""
        self.model.setData(frequency, model)


class DefocusPlot(_Plot):
    """Defocus of the views over their tilt; a click goes to the view.

    Signals
    -------
    view_selected : (view)
        0-based.
    """

    view_selected = pyqtSignal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._x = self._um = np.zeros(0)
        item = self.plot.getPlotItem()
        self.legend = item.addLegend(offset=(-6, 2), colCount=4)
        self.current = pg.InfiniteLine(angle=90)
        self.bars = pg.PlotDataItem([], [], connect="pairs")
        self.track = pg.PlotDataItem([], [])
        self.good = pg.ScatterPlotItem(size=7)
        self.weak = pg.ScatterPlotItem(size=10, symbol="t")
        self.bad = pg.ScatterPlotItem(size=10, symbol="x")
        self.absent = pg.ScatterPlotItem(size=7, symbol="o")
        for part in (
            self.current, self.bars, self.track, self.good, self.weak, self.bad, self.absent,
        ):  # fmt: skip
            item.addItem(part)
        self.plot.scene().sigMouseClicked.connect(self._clicked)

    def _style(self) -> None:
        super()._style()
        c = colours()
        item = self.plot.getPlotItem()
        item.setLabel("left", "defocus, µm", color=c.muted)
        item.setLabel("bottom", "tilt, °", color=c.muted)
        self.current.setPen(pg.mkPen(c.interactive, width=2))
        faint = QColor(c.accent)
        faint.setAlpha(120)
        self.bars.setPen(pg.mkPen(faint, width=2))
        self.track.setPen(pg.mkPen(c.stale, width=1, style=Qt.PenStyle.DotLine))
        for part, colour in ((self.good, c.accent), (self.weak, c.running), (self.bad, c.failed)):
            part.setPen(pg.mkPen(None if part is not self.bad else colour))
            part.setBrush(pg.mkBrush(colour))
        self.absent.setPen(pg.mkPen(c.stale))
        self.absent.setBrush(pg.mkBrush(None))
        ground = QColor(c.base)
        ground.setAlpha(200)
        self.legend.setBrush(pg.mkBrush(ground))
        self.legend.setLabelTextColor(c.text)

    def show_views(
        self,
        tilt_deg: npt.NDArray[np.float64],
        u_um: npt.NDArray[np.float64],
        v_um: npt.NDArray[np.float64],
        track_um: npt.NDArray[np.float64] | None,
        weak: set[int],
        bad: npt.NDArray[np.bool_],
        absent: npt.NDArray[np.bool_],
    ) -> None:
        """Show all views; every array is ``(n_views,)``, NaN where there is no defocus."""
        x = np.asarray(tilt_deg, np.float64)
        um = (u_um + v_um) / 2
        self._x, self._um = x, um
        there = np.isfinite(um)
        doubt = np.isin(np.arange(len(x)), list(weak)) & ~bad & ~absent
        for part, chosen in (
            (self.good, ~doubt & ~bad & ~absent), (self.weak, doubt), (self.bad, bad & ~absent),
            (self.absent, absent),
        ):  # fmt: skip
            keep = chosen & there
            part.setData(x[keep], um[keep])
        self.legend.clear()
        for part, name in (
            (self.weak, "weak"), (self.bad, "left out"), (self.absent, "excluded"),
        ):  # fmt: skip
            if len(part.data):
                self.legend.addItem(part, name)
        keep = there & ~absent
        ends = np.stack([u_um[keep], v_um[keep]], -1).ravel()
        self.bars.setData(np.repeat(x[keep], 2), ends)
        line = np.argsort(x)
        if track_um is not None:
            line = line[np.isfinite(track_um[line])]
            self.track.setData(x[line], track_um[line])
        else:
            self.track.setData([], [])
        shown = keep if keep.any() else there
        if shown.any():
            low, high = float(v_um[shown].min()), float(u_um[shown].max())
            margin = max(0.12 * (high - low), 0.02)
            item = self.plot.getPlotItem()
            item.setYRange(low - margin, high + (3 if self.legend.items else 1) * margin, padding=0)
            item.setXRange(float(x.min()), float(x.max()), padding=0.03)

    def set_current(self, tilt_deg: float) -> None:
        """Mark a view."""
        self.current.setValue(tilt_deg)

    def view_at(self, position: QPointF) -> int | None:
        """The view whose point lies nearest to a position in the scene; 0-based."""
        box = self.plot.getPlotItem().getViewBox()
        there = np.flatnonzero(np.isfinite(self._um))
        if not len(there) or not box.sceneBoundingRect().contains(position):
            return None
        at = [box.mapViewToScene(QPointF(self._x[v], self._um[v])) for v in there]
        away = np.array([[p.x() - position.x(), p.y() - position.y()] for p in at])
        near = np.hypot(*away.T)
        if near.min() > _REACH_PX:
            near = np.abs(away[:, 0])
        return int(there[near.argmin()])

    def _clicked(self, event: Any) -> None:
        view = self.view_at(event.scenePos())
        if view is not None and event.button() == Qt.MouseButton.LeftButton:
            self.view_selected.emit(view)
