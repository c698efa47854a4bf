"""The tilt-series viewer: pictures, per-view table, plots, suspect views and exclusion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt6.QtCore import Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QAction, QCloseEvent, QKeySequence, QResizeEvent
from PyQt6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from tiltwright.engine.errors import TiltwrightError
from tiltwright.widgets.actions import POINTER_KEYS, KeyList, button, make_action
from tiltwright.widgets.image.levels_bar import LevelsBar
from tiltwright.widgets.image.navigation import NavigationBar
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.series.exclusion import ExclusionState
from tiltwright.widgets.series.series_images import Comparison, SeriesImages
from tiltwright.widgets.series.series_layers import patch_counts
from tiltwright.widgets.series.suspect_list import SuspectList
from tiltwright.widgets.series.view_columns import view_columns
from tiltwright.widgets.series.view_plots import ViewPlots
from tiltwright.widgets.series.view_statistics import ViewStatistics, examine
from tiltwright.widgets.series.view_table import ViewTable

if TYPE_CHECKING:
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.engine.model.tilt_series import TiltSeries

_WIDE = 860
"""From so many pixels on, the table stands beside the picture."""


class TiltSeriesViewer(QWidget):
    """Looks at one tilt series; it changes nothing but the exclusion, which others save.

    Signals
    -------
    view_changed : (view)
        Another view is shown; 0-based.
    exclusion_changed : (excluded, kept)
        ``(n_views,)`` boolean arrays after a change by a person, its undo or redo.
    """

    view_changed = pyqtSignal(int)
    exclusion_changed = pyqtSignal(object, object)

    def __init__(self, parent: QWidget | None = None, lane: Lane | None = None) -> None:
        super().__init__(parent)
        self._own_lane = lane is None
        self.lane = lane if lane is not None else Lane(self)
        self._series: TiltSeries | None = None
        self._statistics: ViewStatistics | None = None
        self._defocus_um: Any = None
        self.exclusion = ExclusionState(self)
        self.images = SeriesImages(self.lane, self)
        self.table = ViewTable(self.exclusion, self)
        self.plots = ViewPlots(self)
        self.suspects = SuspectList(self.exclusion, self)
        self.levels = LevelsBar(self)
        self.navigation = NavigationBar(self, "view")
        words = self.navigation.words
        words.setMinimumWidth(self.fontMetrics().horizontalAdvance("−60.00°  ✕ left out"))
        self._marking = QTimer(self)
        self._marking.setSingleShot(True)
        self._marking.setInterval(150)
        self._marking.timeout.connect(self._mark)
        self._make_actions()
        self._lay_out()
        self._connect()
        self.set_series(None)
        self.destroyed.connect(self.lane.close if self._own_lane else lambda: None)

    # ---- content -------------------------------------------------------------------------------

    @property
    def series(self) -> TiltSeries | None:
        """What is shown."""
        return self._series

    @property
    def current_view(self) -> int:
        """The view that is shown, 0-based."""
        return self.images.current

    def set_series(
        self,
        series: TiltSeries | None,
        model: FiducialModel | None = None,
        other: TiltSeries | None = None,
        defocus_um: Any = None,
    ) -> None:
        """Show a tilt series.

        Parameters
        ----------
        model : FiducialModel, optional
            Its beads.
        other : TiltSeries, optional
            One of as many views to compare with; else raw and interpolated are compared.
        defocus_um : (n_views,), optional
        """
        before = self._series
        self._series, self._defocus_um = series, defocus_um
        n = series.n_views if series is not None else 0
        same = series is not None and before is not None and before.images is series.images
        if series is None:
            self.exclusion.reset(np.zeros(0, bool), np.zeros(0, bool), {})
        elif not (same and self.exclusion.agrees(series.excluded, series.kept, series.suspect)):
            # What was saved from here comes back as it is, and can still be undone.
            self.exclusion.reset(series.excluded, series.kept, series.suspect)
        if not same:
            self._statistics = None
        aligned = series is not None and series.alignment is not None
        self.interpolated_action.setEnabled(aligned)
        if not aligned:
            self.interpolated_action.setChecked(False)
        self.compare.setEnabled(aligned or other is not None)
        if not self.compare.isEnabled():
            self.compare.setCurrentIndex(0)
        self.beads_action.setEnabled(model is not None)
        self.images.set_series(series, model, other)
        self.patches_action.setEnabled(self.images.patches is not None)
        self.patches_button.setVisible(self.images.patches is not None)
        self.navigation.set_count(n)
        self.position.setText("")
        self.suspects.refresh()
        self._fill_columns()
        self._show_exclusion()
        self.table.set_current(self.images.current)
        if series is not None and self._statistics is None:
            self.lane.request(
                (id(self), "statistics"), lambda: examine(series.images, series.tilt_deg),
                lambda found: self._have_statistics(series, found), later=True,
            )  # fmt: skip

    def set_defocus(self, defocus_um: Any) -> None:
        """Fill the defocus column, ``(n_views,)`` micrometres."""
        self._defocus_um = defocus_um
        self._fill_columns()

    def show_view(self, view: int) -> None:
        """Go to a view, 0-based."""
        self.images.show_view(view)
        self._follow(self.images.current)

    def shutdown(self) -> None:
        """Stop timers and the thread; the viewer shows nothing afterwards."""
        self.navigation.player.stop()
        self.images.set_series(None)
        if self._own_lane:
            self.lane.close()

    def _have_statistics(self, series: TiltSeries, found: ViewStatistics) -> None:
        if self._series is not None and series.images is self._series.images:
            self._statistics = found
            self._fill_columns()

    def _fill_columns(self) -> None:
        series = self._series
        columns = []
        if series is not None:
            erased = patch_counts(self.images.patches, series.n_views)
            columns = view_columns(series, self._statistics, self._defocus_um, erased)
        self.table.set_content(series, columns)
        self.plots.set_columns(columns)

    # ---- actions and layout --------------------------------------------------------------------

    def _make_actions(self) -> None:
        def act(text: str, keys: list[str], slot: Any, tip: str, **more: Any) -> QAction:
            return make_action(self, text, keys, slot, tip, **more)

        view, images = self.images.main_view, self.images
        self.interpolated_action = act(
            "Interpolated", ["I"], images.set_interpolated,
            "Apply the alignment's transforms", checkable=True,
        )  # fmt: skip
        self.fixed_action = act(
            "Fixed contrast", ["Shift+F"], images.set_fixed_contrast,
            "The same black and white for all views; else each view has its own", checkable=True,
        )  # fmt: skip
        self.auto_action = act("Auto", ["Shift+A"], images.auto_contrast, "Automatic contrast")
        self.invert_action = act(
            "Invert", ["F11"], images.set_inverted, "Exchange black and white", checkable=True
        )
        self.fit_action = act("Fit", ["Shift+R"], view.fit, "Fit the view into the window")
        act("Zoom in", ["+", "="], lambda: view.zoom_by(1), "Zoom in")
        act("Zoom out", ["-"], lambda: view.zoom_by(-1), "Zoom out")
        self.axis_action = act(
            "Axis", ["Shift+T"], images.set_axis_shown, "Show the tilt axis",
            checkable=True, checked=True,
        )  # fmt: skip
        self.beads_action = act(
            "Beads", ["T"], images.set_beads_shown, "Show the beads: green bottom, magenta top",
            checkable=True, checked=True,
        )  # fmt: skip
        self.patches_action = act(
            "Patches", ["Shift+P"], images.set_patches_shown,
            "Show what was erased: X-rays and dead pixels", checkable=True, checked=True,
        )  # fmt: skip
        self.compare_action = act("Compare", ["W"], self._next_comparison, "Next way to compare")
        self.exclude_action = act(
            "Exclude",
            ["X"],
            self._toggle_exclusion,
            "Exclude the selected views, or take them back",
        )
        # Space presses buttons elsewhere.
        make_action(
            self, "Exclude", ["Space"], self._toggle_exclusion, "", on=[self.table, self.images]
        )
        stack = self.exclusion.undo_stack
        # Held, because the stack hands them over for good.
        self.undo_action = stack.createUndoAction(self)
        self.redo_action = stack.createRedoAction(self)
        for made, key in ((self.undo_action, "Ctrl+Z"), (self.redo_action, "Ctrl+Y")):
            assert made is not None
            made.setShortcut(QKeySequence(key))
            made.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            self.addAction(made)
        act(
            "Keys", ["?"],
            lambda: KeyList(self, [("Space", "Exclude"), *POINTER_KEYS]).show_over(self.images),
            "List the keys",
        )  # fmt: skip
        self.export_action = act(
            "Export CSV…", ["Ctrl+E"], self._export, "Write the table as comma-separated values"
        )

    def _lay_out(self) -> None:
        self.position = QLabel(self)
        self.position.setMinimumWidth(
            self.fontMetrics().horizontalAdvance("x 0000.0  y 0000.0  value 0000.0")
        )
        self.compare = QComboBox(self)
        self.compare.addItems([c.value for c in Comparison])
        self.compare.setToolTip(
            "Compare raw and interpolated, or with another tilt series: " + "next way (W)"
        )

        top, last = _row(), _row()
        top.addWidget(button(self.interpolated_action, self))
        top.addWidget(QLabel("Compare", self))
        top.addWidget(self.compare)
        top.addStretch(1)
        self.patches_button = button(self.patches_action, self)
        for action in (self.axis_action, self.beads_action, self.invert_action, self.fit_action):
            top.addWidget(button(action, self))
        top.insertWidget(top.count() - 2, self.patches_button)
        last.addWidget(self.levels, 1)
        last.addWidget(button(self.auto_action, self))
        last.addWidget(button(self.fixed_action, self))
        last.addWidget(self.position)

        picture = QWidget(self)
        column = _column(picture)
        column.addLayout(top)
        column.addWidget(self.images, 1)
        column.addWidget(self.navigation)
        column.addLayout(last)

        side = QSplitter(Qt.Orientation.Vertical, self)
        side.setChildrenCollapsible(False)
        numbers = QWidget(side)
        rows = _column(numbers)
        head = _row()
        self.summary = QLabel(numbers)
        head.addWidget(self.summary, 1)
        head.addWidget(button(self.exclude_action, numbers))
        head.addWidget(button(self.export_action, numbers))
        rows.addLayout(head)
        rows.addWidget(self.table, 1)
        lists = QSplitter(Qt.Orientation.Vertical, side)
        lists.setChildrenCollapsible(False)
        lists.addWidget(numbers)
        lists.addWidget(self.suspects)
        lists.setSizes([400, 130])
        lists.setStretchFactor(0, 1)
        side.addWidget(lists)
        side.addWidget(self.plots)
        side.setSizes([540, 210])
        side.setStretchFactor(0, 1)
        self._side = side

        self.splitter = QSplitter(self)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.addWidget(picture)
        self.splitter.addWidget(side)
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 2)
        self.splitter.setSizes([620, 400])
        _column(self).addWidget(self.splitter)

    def _connect(self) -> None:
        self.navigation.went.connect(self.show_view)
        self.compare.currentTextChanged.connect(
            lambda text: self.images.set_comparison(Comparison(text))
        )
        self.images.view_shown.connect(self._follow)
        self.images.rendered.connect(self._show_levels)
        self.images.hovered.connect(self.position.setText)
        self.levels.levels_dragged.connect(self.images.drag_levels)
        self.levels.auto_asked.connect(self.images.auto_contrast)
        for chooser in (self.table, self.plots, self.suspects):
            chooser.view_selected.connect(self.show_view)
        self.exclusion.changed.connect(self._show_exclusion)
        self.exclusion.changed.connect(self.exclusion_changed)

    # ---- reactions -----------------------------------------------------------------------------

    def _next_comparison(self) -> None:
        if self.compare.isEnabled():
            self.compare.setCurrentIndex((self.compare.currentIndex() + 1) % self.compare.count())

    def _follow(self, view: int) -> None:
        """Slider, table and plots go where the pictures are."""
        series = self._series
        if series is None or view != self.images.current:
            return
        out = self.exclusion.left_out[view]
        changed = self.navigation.set_current(
            view, f"{series.tilt_deg[view]:.2f}°" + ("  ✕ left out" if out else "")
        )
        if not self.navigation.player.playing:
            self._mark()
        elif not self._marking.isActive():
            # Table and plot cost more than the picture.
            self._marking.start()
        if changed:
            self.view_changed.emit(view)

    def _mark(self) -> None:
        """Table and plots go to the view that is shown."""
        self.table.set_current(self.images.current)
        self.plots.set_current(self.images.current)

    def _show_levels(self) -> None:
        picture = self.images.main_picture
        if picture is not None:
            self.levels.show_values(picture.values, *self.images.main_view.levels)

    def _toggle_exclusion(self) -> None:
        views = self.table.selected_views()
        if self._series is not None:
            current = self.images.current
            self.exclusion.toggle(views if current in views else [current])

    def _show_exclusion(self) -> None:
        out = self.exclusion.left_out
        self.images.set_left_out(out)
        self.plots.set_left_out(out)
        if self._series is None:
            self.summary.setText("")
            return
        used = len(out) - int(out.sum())
        self.summary.setText(f"{self._series.name}: {used} of {len(out)} views used")
        self.summary.setToolTip(self._series.describe())
        self._follow(self.images.current)

    def _export(self) -> None:
        if self._series is None:
            return
        start = f"{self._series.name}_views.csv"
        path, _ = QFileDialog.getSaveFileName(self, "Export the table", start, "CSV (*.csv)")
        if path:
            try:
                self.table.export_csv(Path(path))
            except TiltwrightError as exc:
                QMessageBox.warning(self, "Export CSV", str(exc))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """The table goes below the picture in a narrow window."""
        super().resizeEvent(event)
        wide = self.width() >= _WIDE
        across, down = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
        if (self.splitter.orientation() == across) != wide:
            self.splitter.setOrientation(across if wide else down)
            self._side.setOrientation(down if wide else across)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """A window of its own ends its thread."""
        self.shutdown()
        super().closeEvent(event)


def _row() -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(6, 3, 6, 3)
    row.setSpacing(6)
    return row


def _column(widget: QWidget) -> QVBoxLayout:
    column = QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(0)
    return column
