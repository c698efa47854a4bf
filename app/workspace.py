"""The right side of the window: forms, viewers and tables as tabs, opened in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PyQt6.QtCore import pyqtSignal
from PyQt6.QtGui import QKeySequence, QShortcut
from PyQt6.QtWidgets import QTabWidget, QWidget

from tiltwright.app import describe
from tiltwright.engine.errors import TiltwrightError
from tiltwright.engine.execution.runner import series_of_input
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.plane_set import Beads
from tiltwright.widgets.quality_table import QualityTable
from tiltwright.widgets.styled import EmptyState
from tiltwright.widgets.tilt_series_viewer import TiltSeriesViewer
from tiltwright.widgets.tomogram_viewer import TomogramViewer


class Workspace(QTabWidget):
    """Tabs by an identity, so that a thing opened twice is shown once.

    Signals
    -------
    views_excluded : (Source, name)
        A person excluded or kept views of an output; saved already.
    message : (text)
        For the status bar.
    """

    views_excluded = pyqtSignal(object, str)
    crop_requested = pyqtSignal(object, object)
    message = pyqtSignal(str)

    def __init__(self, lane: Lane, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lane = lane
        self._project: Project | None = None
        self._pages: dict[str, QWidget] = {}
        self.setTabsClosable(True)
        self.setMovable(True)
        self.setDocumentMode(True)
        self.tabCloseRequested.connect(self._close_at)
        QShortcut(QKeySequence("Ctrl+W"), self).activated.connect(
            lambda: self._close_at(self.currentIndex())
        )
        self._show_empty()

    def set_project(self, project: Project | None) -> None:
        """Whose outputs are opened; tabs of another project close."""
        self.close_all()
        self._project = project

    # -- tabs --------------------------------------------------------------------------------

    def page(self, ident: str) -> QWidget | None:
        """The page with this identity."""
        return self._pages.get(ident)

    def show_page(self, ident: str, title: str, make: Callable[[], QWidget]) -> QWidget:
        """Show the page of this identity, made when there is none yet."""
        if ident not in self._pages:
            page = make()
            self._pages[ident] = page
            if self.count() == 1 and isinstance(self.widget(0), EmptyState):
                self.removeTab(0)
            self.addTab(page, title)
        self.setCurrentWidget(self._pages[ident])
        self._pages[ident].setFocus()
        return self._pages[ident]

    def close_page(self, ident: str) -> None:
        """Close a page."""
        page = self._pages.pop(ident, None)
        if page is None:
            return
        shutdown = getattr(page, "shutdown", None)
        if shutdown is not None:
            shutdown()
        self.removeTab(self.indexOf(page))
        page.deleteLater()
        if self.count() == 0:
            self._show_empty()

    def close_all(self) -> None:
        """Close every page."""
        for ident in list(self._pages):
            self.close_page(ident)

    def close_run(self, number: int) -> None:
        """Close the pages that show a run that is gone."""
        for ident in list(self._pages):
            if ident.split(":")[1].split(".")[0] == str(number):
                self.close_page(ident)

    def _close_at(self, index: int) -> None:
        page = self.widget(index)
        ident = next((k for k, p in self._pages.items() if p is page), None)
        if ident is not None:
            self.close_page(ident)

    def _show_empty(self) -> None:
        empty = EmptyState(
            "Nothing is open",
            "Double-click a run for its form, or click one of its outputs in the summary below.",
        )
        bar = self.tabBar()
        self.addTab(empty, "Viewer")
        if bar is not None:
            bar.setTabButton(0, bar.ButtonPosition.RightSide, None)

    # -- outputs -----------------------------------------------------------------------------

    def open_output(self, source: Source, name: str = "") -> None:
        """Open an output: one series of it, or the table of all when it has several.

        Raises
        ------
        InputError
            Its files are missing or damaged.
        """
        assert self._project is not None
        run = self._project.runs[source.run]
        items = run.outputs.get(source.port, {})
        if not name and len(items) > 1:
            self._open_table(source)
            return
        name = name or next(iter(items), "")
        if name not in items:
            return
        if items[name]["kind"] == "tomogram":
            self._open_tomogram(source, name)
        else:
            self._open_series(source, name)

    def _title(self, source: Source, name: str) -> str:
        assert self._project is not None
        return f"{name} · {self._project.runs[source.run].label}"

    def _open_table(self, source: Source) -> None:
        project = self._project
        assert project is not None
        ident = f"table:{source.run}.{source.port}"

        def make() -> QWidget:
            table = QualityTable()
            table.series_opened.connect(lambda name: self._try_open(source, name))
            return table

        page = self.show_page(ident, f"All · {project.runs[source.run].label}", make)
        assert isinstance(page, QualityTable)
        page.set_rows(describe.quality(project, project.runs[source.run], source.port))

    def _try_open(self, source: Source, name: str) -> None:
        try:
            self.open_output(source, name)
        except TiltwrightError as exc:
            self.message.emit(str(exc))

    def _open_series(self, source: Source, name: str) -> None:
        """A tilt series, with the fiducial model of the same run if it has one."""
        project = self._project
        assert project is not None
        run = project.runs[source.run]
        kind = run.outputs[source.port][name]["kind"]
        model = None
        if kind == "fiducial_model":
            model = project.item(source, name)
            series = series_of_input(project, run, name)
            if series is None:
                self.message.emit(f"{name}: the tilt series of this model is not there any more")
                return
        else:
            series = project.item(source, name)
            for port, items in run.outputs.items():
                if items.get(name, {}).get("kind") == "fiducial_model":
                    model = project.item(Source(source.run, port), name)
        where = source
        if kind == "fiducial_model" and "tilt_series" in run.outputs:
            where = Source(source.run, "tilt_series")

        def make() -> QWidget:
            viewer = TiltSeriesViewer(lane=self._lane)
            viewer.exclusion_changed.connect(
                lambda excluded, kept: self._exclude(where, name, excluded, kept)
            )
            return viewer

        page = self.show_page(
            f"series:{where.run}.{where.port}.{name}", self._title(source, name), make
        )
        assert isinstance(page, TiltSeriesViewer)
        if page.series is None or page.series.work_path != series.work_path or model is not None:
            page.set_series(series, model)

    def _exclude(self, source: Source, name: str, excluded: Any, kept: Any) -> None:
        assert self._project is not None
        try:
            self._project.exclude(source, name, excluded, kept)
        except TiltwrightError as exc:
            self.message.emit(str(exc))
            return
        self.views_excluded.emit(source, name)

    def _open_tomogram(self, source: Source, name: str) -> None:
        project = self._project
        assert project is not None
        tomogram = project.item(source, name)

        def make() -> QWidget:
            viewer = TomogramViewer(lane=self._lane)
            viewer.crop_requested.connect(lambda box: self.crop_requested.emit(source, box))
            return viewer

        page = self.show_page(
            f"tomogram:{source.run}.{source.port}.{name}", self._title(source, name), make
        )
        assert isinstance(page, TomogramViewer)
        series = series_of_input(project, project.runs[source.run], name)
        fit = series.alignment.fit if series is not None and series.alignment is not None else None
        beads = None
        if fit is not None and series is not None:
            beads = Beads(
                fit.xyz * series.pixel_size_a / 10, fit.surface, self._bead_nm(source, name)
            )
        if page.tomogram != tomogram:
            page.set_tomogram(tomogram, beads=beads)

    def _bead_nm(self, source: Source, name: str) -> float:
        """Diameter of the beads of a series, from the nearest fiducial model above."""
        project = self._project
        assert project is not None
        for k in sorted(project.ancestors([source.run]), reverse=True):
            for items in project.runs[k].outputs.values():
                record = items.get(name, {})
                if record.get("kind") == "fiducial_model":
                    series = series_of_input(project, project.runs[k], name)
                    if series is not None:
                        return float(record["diameter_px"] * series.pixel_size_a / 10)
        return 10.0
