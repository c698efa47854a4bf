"""Opening outputs of runs in the workspace: tables, tilt series and tomograms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import QObject, pyqtSignal
from PyQt6.QtWidgets import QWidget

from tiltwright.app import describe, lineage
from tiltwright.app.ctf_page import CtfPage
from tiltwright.app.quality import quality
from tiltwright.app.series_page import SeriesPage
from tiltwright.app.tomogram_page import TomogramPage
from tiltwright.app.workspace import Workspace
from tiltwright.engine.errors import InputError, TiltwrightError
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.runs.quality_table import QualityTable

if TYPE_CHECKING:
    from tiltwright.app.editor_page import EditorPage
    from tiltwright.widgets.tomogram.denoise_preview import DenoisePreview

_LEAST_CACHE = 32 << 20


class OutputPages(QObject):
    """Opens outputs, once each, and keeps the pages up to date.

    Signals
    -------
    views_excluded : ()
        A person excluded or kept views of an output; saved already.
    model_saved : ()
        A fiducial model or a CTF was edited: what follows is out of date.
    alignment_asked : (run)
        What depends on this run shall be run.
    crop_requested : (Source, SpecimenBox)
    denoise_requested : (Source, values)
        A tomogram shall be denoised with these parameters.
    change_requested : (Source, names)
        A step shall be run again for some series of its output.
    message : (text)
        For the status bar.
    """

    views_excluded = pyqtSignal()
    model_saved = pyqtSignal()
    alignment_asked = pyqtSignal(int)
    crop_requested = pyqtSignal(object, object)
    denoise_requested = pyqtSignal(object, object)
    change_requested = pyqtSignal(object, object)
    message = pyqtSignal(str)

    def __init__(
        self, workspace: Workspace, lane: Lane, background: Lane, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._workspace, self._lane, self._background = workspace, lane, background
        self._project: Project | None = None
        self._cache_bytes = 320 << 20
        workspace.pages_changed.connect(self._share_cache)

    def set_project(self, project: Project | None) -> None:
        """Whose outputs are opened."""
        self._project = project

    def set_cache(self, n_bytes: int) -> None:
        """How many bytes of pictures all viewers together may hold."""
        self._cache_bytes = n_bytes
        self._share_cache()

    def _share_cache(self) -> None:
        viewers = [p for p in self._workspace.pages() if isinstance(p, SeriesPage)]
        for viewer in viewers:
            viewer.images.set_cache_bytes(max(_LEAST_CACHE, self._cache_bytes // len(viewers)))

    def open(self, source: Source, name: str = "", *, worst: bool = False) -> QWidget | None:
        """Open an output: one series of it, or the table of all when it has several.

        Parameters
        ----------
        worst : bool
            Go to the view that should be looked at.

        Raises
        ------
        InputError
            Its files are missing or damaged.
        """
        project = self._project
        run = project.runs.get(source.run) if project is not None else None
        items = run.outputs.get(source.port, {}) if run is not None else {}
        if not items:
            raise InputError("there is no such result yet; run the step first")
        if not name and len(items) > 1:
            return self._open_table(source)
        name = name or next(iter(items))
        if name not in items:
            raise InputError(f"{name}: run {source.run} has no result of it")
        if items[name].get("kind") == "tomogram":
            return self._open_tomogram(source, name)
        if items[name].get("kind") == "ctf_table":
            return self._open_ctf(source, name)
        page = self._open_series(source, name)
        if worst and page.series is not None:
            view = lineage.worst_view(page.series)
            if view is not None:
                page.show_view(view)
        return page

    def compare(self, first: Source, second: Source, name: str) -> None:
        """Open an output, with another one of the same series to compare with.

        Raises
        ------
        InputError
            A file is missing or damaged.
        """
        page = self.open(first, name)
        if isinstance(page, (SeriesPage, TomogramPage)):
            page.compare_to(second)

    def renew(self, number: int) -> None:
        """A run has other results than before: its pages show them."""
        for ident, page in self._workspace.pages_of(number):
            if isinstance(page, QualityTable):
                self._fill_table(page, self._source_of(ident))
            elif isinstance(page, (SeriesPage, TomogramPage, CtfPage)):
                try:
                    page.load()
                except (TiltwrightError, KeyError) as exc:
                    self.message.emit(f"closed: {exc}")
                    self._workspace.close_page(ident)
        for page in self._workspace.pages():
            if isinstance(page, SeriesPage):
                page.find_ctf()

    def _source_of(self, ident: str) -> Source:
        return describe.parse_output(ident.partition(":")[2])

    def _title(self, source: Source, name: str) -> str:
        assert self._project is not None
        return f"{name} · {self._project.runs[source.run].label}"

    def _open_series(self, source: Source, name: str) -> SeriesPage:
        project = self._project
        assert project is not None
        found = source
        if lineage.kind_of(project, source, name) == "fiducial_model":
            found = lineage.nearest(project, source.run, name, "tilt_series") or source
            if found.run != source.run:
                found = source

        def make() -> QWidget:
            page = SeriesPage(project, source, name, self._lane)
            page.views_excluded.connect(self.views_excluded)
            page.edit_asked.connect(lambda: self._try_edit(source.run, name))
            page.ctf_asked.connect(lambda ctf: self._try_open(ctf, name))
            page.said.connect(self.message)
            return page

        ident = f"series:{found.run}.{found.port}.{name}"
        page = self._workspace.show_page(ident, self._title(source, name), make)
        assert isinstance(page, SeriesPage)
        return page

    def edit_beads(self, number: int, name: str = "") -> EditorPage:
        """The editor of the fiducial model that a run made or stands on.

        Raises
        ------
        InputError
            There is none, or a file is missing or damaged.
        """
        # The editor brings the solver: the window starts without it.
        from tiltwright.app.editor_page import EditorPage, edited_source

        project = self._project
        assert project is not None
        run = project.runs[number]
        name = name or next(iter(run.series), "")
        source = edited_source(project, number, name)

        def make() -> QWidget:
            page = EditorPage(project, source, name, self._lane)
            page.saved.connect(self.model_saved)
            page.alignment_asked.connect(self.alignment_asked)
            return page

        ident = f"editor:{source.run}.{source.port}.{name}"
        page = self._workspace.show_page(ident, f"Edit {self._title(source, name)}", make)
        assert isinstance(page, EditorPage)
        return page

    def _try_edit(self, number: int, name: str) -> None:
        try:
            self.edit_beads(number, name)
        except TiltwrightError as exc:
            self.message.emit(str(exc))

    def _open_tomogram(self, source: Source, name: str) -> TomogramPage:
        project = self._project
        assert project is not None

        def make() -> QWidget:
            page = TomogramPage(project, source, name, self._lane)
            page.crop_requested.connect(lambda box: self.crop_requested.emit(source, box))
            page.said.connect(self.message)
            page.mask_saved.connect(self.model_saved)
            page.denoise_asked.connect(lambda voxel: self._try_denoise(page.where, name, voxel))
            return page

        ident = f"tomogram:{source.run}.{source.port}.{name}"
        page = self._workspace.show_page(ident, self._title(source, name), make)
        assert isinstance(page, TomogramPage)
        return page

    def open_denoise(
        self,
        source: Source,
        name: str = "",
        values: Mapping[str, Any] | None = None,
        voxel: tuple[int, int, int] | None = None,
    ) -> DenoisePreview:
        """Raw and denoised side by side for a tomogram, anew.

        Raises
        ------
        InputError
            There is no such tomogram, or its file is missing or damaged.
        """
        from tiltwright.widgets.tomogram.denoise_preview import DenoisePreview

        project = self._project
        assert project is not None
        name = name or next(iter(project.names(source)), "")
        tomogram = project.item(source, name)
        _ = tomogram.data

        def make() -> QWidget:
            page = DenoisePreview(tomogram, values, voxel)
            page.run_asked.connect(lambda chosen: self.denoise_requested.emit(source, chosen))
            return page

        ident = f"denoise:{source.run}.{source.port}.{name}"
        self._workspace.close_page(ident)
        page = self._workspace.show_page(ident, f"Denoise · {self._title(source, name)}", make)
        assert isinstance(page, DenoisePreview)
        return page

    def _try_denoise(self, source: Source, name: str, voxel: tuple[int, int, int]) -> None:
        try:
            self.open_denoise(source, name, voxel=voxel)
        except TiltwrightError as exc:
            self.message.emit(str(exc))

    def _open_ctf(self, source: Source, name: str) -> CtfPage:
        project = self._project
        assert project is not None

        def make() -> QWidget:
            page = CtfPage(project, source, name, self._lane)
            page.saved.connect(self.model_saved)
            page.said.connect(self.message)
            self.views_excluded.connect(page.series_changed)
            return page

        ident = f"ctf:{source.run}.{source.port}.{name}"
        page = self._workspace.show_page(ident, self._title(source, name), make)
        assert isinstance(page, CtfPage)
        return page

    # -- tables ------------------------------------------------------------------------------

    def _open_table(self, source: Source) -> QualityTable:
        project = self._project
        assert project is not None

        def make() -> QWidget:
            table = QualityTable()
            table.series_opened.connect(lambda name: self._try_open(source, name))
            table.parameter_change_requested.connect(
                lambda names: self.change_requested.emit(source, names)
            )
            return table

        ident = f"table:{source.run}.{source.port}"
        page = self._workspace.show_page(ident, f"All · {project.runs[source.run].label}", make)
        assert isinstance(page, QualityTable)
        self._fill_table(page, source)
        return page

    def _try_open(self, source: Source, name: str) -> None:
        try:
            self.open(source, name, worst=True)
        except TiltwrightError as exc:
            self.message.emit(str(exc))

    def _fill_table(self, table: QualityTable, source: Source) -> None:
        project = self._project
        assert project is not None
        rows = quality(project, project.runs[source.run], source.port)
        table.set_rows(rows)
        twin = project.snapshot()

        def pictures() -> Iterator[Any]:
            run, found = twin.runs[source.run], {}
            for row in rows:
                found[row.name] = describe.thumbnail_of(twin, run, source.port, row.name)
                yield None
            yield found

        def have(found: dict[str, Any]) -> None:
            ident = f"table:{source.run}.{source.port}"
            if self._workspace.page(ident) is table:
                table.set_rows([
                    replace(row, thumbnail=found[row.name].image) if found[row.name] else row
                    for row in rows
                ])  # fmt: skip

        self._background.request(("table", source), pictures, have, later=True)
