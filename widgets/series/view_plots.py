"""Plots of the numbers of each view; a click goes to the view."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PyQt6.QtCore import QEvent, QPointF, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QColor
from PyQt6.QtWidgets import QTabBar, QVBoxLayout, QWidget

from tiltwright.widgets.series.view_columns import Column
from tiltwright.widgets.theme import colours

_PLOTS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("Shifts", ("shift_x", "shift_y"), "shift, px"),
    ("Rotation", ("rot",), "rotation, °"),
    ("Tilt", ("tilt_change",), "solved − nominal, °"),
    ("Mean / SD", ("mean", "sd"), "value"),
    ("Correlation", ("correlation",), "correlation"),
    ("Residual", ("residual",), "residual, px"),
)


class ViewPlots(QWidget):
    """One plot at a time, chosen by its tab.

    Signals
    -------
    view_selected : (view)
        A person clicked at a view; 0-based.
    """

    view_selected = pyqtSignal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._columns: dict[str, Column] = {}
        self._left_out = np.zeros(0, np.bool_)
        self._current = 0
        self.tabs = QTabBar(self)
        self.tabs.setExpanding(False)
        self.tabs.setDrawBase(False)
        for title, _keys, _unit in _PLOTS:
            self.tabs.addTab(title)
        self.tabs.currentChanged.connect(lambda _index: self._due.start())
        self.plot = pg.PlotWidget(self)
        self.plot.setMinimumHeight(90)
        self.plot.hideButtons()
        self.plot.setMenuEnabled(False)
        self.plot.setMouseEnabled(False, False)
        self.plot.scene().sigMouseClicked.connect(self._clicked)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.tabs)
        column.addWidget(self.plot, 1)
        self._marker = pg.InfiniteLine(angle=90)
        # Drawing takes 10 ms, and columns, exclusion and theme change together.
        self._due = QTimer(self)
        self._due.setSingleShot(True)
        self._due.setInterval(0)
        self._due.timeout.connect(self._draw)
        self._due.start()

    def set_columns(self, columns: list[Column]) -> None:
        """Plot these numbers."""
        self._columns = {c.key: c for c in columns}
        if {"solved", "tilt"} <= self._columns.keys():
            solved, nominal = self._columns["solved"], self._columns["tilt"]
            change = solved.values - nominal.values
            self._columns["tilt_change"] = Column("tilt_change", "solved − nominal", "", change, "")
        for k, (_title, keys, _unit) in enumerate(_PLOTS):
            self.tabs.setTabEnabled(k, any(self._known(key) for key in keys))
        if not self.tabs.isTabEnabled(self.tabs.currentIndex()):
            first = next((k for k in range(len(_PLOTS)) if self.tabs.isTabEnabled(k)), 0)
            self.tabs.setCurrentIndex(first)
        self._due.start()

    def set_left_out(self, left_out: npt.NDArray[np.bool_]) -> None:
        """Draw these views in red."""
        self._left_out = np.array(left_out)
        self._due.start()

    def set_current(self, view: int) -> None:
        """Mark a view."""
        self._current = view
        self._marker.setValue(view + 1)

    def _known(self, key: str) -> bool:
        return key in self._columns and self._columns[key].known

    def _draw(self) -> None:
        c = colours()
        _title, keys, unit = _PLOTS[max(0, self.tabs.currentIndex())]
        plot = self.plot.getPlotItem()
        plot.clear()
        if plot.legend is not None:
            plot.legend.scene().removeItem(plot.legend)
            plot.legend = None
        self.plot.setBackground(c.base)
        for side in ("left", "bottom"):
            axis = plot.getAxis(side)
            axis.setPen(c.border)
            axis.setTextPen(c.muted)
            axis.enableAutoSIPrefix(False)
        plot.getAxis("left").setWidth(52)
        plot.setLabel("left", unit, color=c.muted)
        plot.setLabel("bottom", "view", color=c.muted)
        plot.showGrid(x=False, y=True, alpha=0.15)
        shown = [self._columns[key] for key in keys if self._known(key)]
        if len(shown) > 1:
            ground = QColor(c.base)
            ground.setAlpha(200)
            plot.addLegend(offset=(-4, 2), labelTextColor=c.text, brush=ground, colCount=2)
        for column, colour in zip(shown, (c.accent, c.running), strict=False):
            self._draw_curve(column, colour)
        self._marker = pg.InfiniteLine(
            self._current + 1, angle=90, pen=pg.mkPen(c.interactive, width=2)
        )
        plot.addItem(self._marker)
        if shown:
            plot.setXRange(1, len(shown[0].values), padding=0.02)
            plot.enableAutoRange("y")

    def _draw_curve(self, column: Column, colour: str) -> None:
        c = colours()
        values = column.values
        x = np.arange(1, len(values) + 1)
        good = np.isfinite(values)
        out = np.zeros(len(values), np.bool_)
        out[: len(self._left_out)] = self._left_out[: len(values)]
        faint = QColor(colour)
        faint.setAlpha(110)
        used = good & ~out
        plot = self.plot.getPlotItem()
        plot.plot(x[used], values[used], pen=pg.mkPen(faint, width=1))
        dots = pg.ScatterPlotItem(
            x[used], values[used], size=6, pen=None, brush=colour, name=column.title
        )
        plot.addItem(dots)
        if plot.legend is not None and column.title not in [i[1].text for i in plot.legend.items]:
            plot.legend.addItem(dots, column.title)
        lost = good & out
        plot.addItem(
            pg.ScatterPlotItem(
                x[lost], values[lost], size=9, symbol="x", pen=pg.mkPen(c.failed), brush=c.failed
            )
        )

    def view_at(self, position: QPointF) -> int | None:
        """The view below a position in the plot's scene; 0-based."""
        counts = [len(c.values) for c in self._columns.values()]
        box = self.plot.getPlotItem().getViewBox()
        if not counts or not box.sceneBoundingRect().contains(position):
            return None
        x = float(box.mapSceneToView(position).x())
        return min(max(0, round(x) - 1), counts[0] - 1)

    def _clicked(self, event: Any) -> None:
        view = self.view_at(event.scenePos())
        if view is not None and event.button() == Qt.MouseButton.LeftButton:
            self.view_selected.emit(view)

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        kinds = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        if event is not None and event.type() in kinds and hasattr(self, "_due"):
            self._due.start()
