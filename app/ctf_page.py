"""The CTF of a series of a project in its viewer: edits are saved as versions of the result."""

from __future__ import annotations

from typing import Any

from PyQt6.QtCore import QTimer, pyqtSignal
from PyQt6.QtWidgets import QLabel

from tiltwright.app import lineage
from tiltwright.app.page_bar import Choice, Options
from tiltwright.engine.errors import InputError, TiltwrightError
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.project.edited_ctf import EditedTable
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.engine.project.versions import Version
from tiltwright.engine.protocols import all_protocols
from tiltwright.widgets.ctf.ctf_source import FitRange
from tiltwright.widgets.ctf.ctf_viewer import CtfViewer
from tiltwright.widgets.lane import Lane

_ESTIMATION = "ctf-estimation"
_KEEP_MS = 1000


class CtfPage(CtfViewer):
    """Shows one CTF table of an output, on the spectra of the series that it was made of.

    Signals
    -------
    saved : ()
        The result of the run is another one: what follows is out of date.
    said : (text)
        For the status bar.

    Raises
    ------
    InputError
        Its files are missing or damaged.
    """

    saved = pyqtSignal()
    said = pyqtSignal(str)

    def __init__(self, project: Project, source: Source, name: str, lane: Lane) -> None:
        super().__init__(lane=lane)
        self._project, self._where, self._name = project, source, name
        self._files: EditedTable | None = None
        self.versions = Choice(self._versions, "Go back to a version; saving makes a new one")
        label = QLabel("Version", self)
        label.setBuddy(self.versions)
        self.head.insertWidget(0, label)
        self.head.insertWidget(1, self.versions)
        self._keeping = QTimer(self)
        self._keeping.setSingleShot(True)
        self._keeping.setInterval(_KEEP_MS)
        self._keeping.timeout.connect(self._keep)
        self.session.changed.connect(self._keeping.start)
        self.versions.picked.connect(self._go_back)
        self.save_asked.connect(self.save)
        self.load()

    def load(self) -> None:
        """Read the output anew; the view that is shown stays.

        Raises
        ------
        InputError
            A file is missing or damaged.
        """
        run = self._project.runs[self._where.run]
        taken = run.inputs.get("tilt_series") or lineage.nearest(
            self._project, run.id, self._name, "tilt_series"
        )
        if taken is None or taken.run not in self._project.runs:
            raise InputError(f"{self._name}: the tilt series of this CTF is not there any more")
        series: TiltSeries = self._project.item(taken, self._name)
        self._files = EditedTable(self._project, self._where, self._name, series)
        table = self._files.load()
        view = self.current_view if self.session.series is not None else None
        self.set_content(series, table, self._fit_range())
        if view is not None:
            self.show_view(view)
        self.versions.fill()
        unsaved = self._files.unsaved()
        if unsaved is not None:
            self.session.restore(unsaved, "Edits of the last time")
            self.said.emit(f"{self._name}: edits of the last time that were not saved (Ctrl+Z)")

    def series_changed(self) -> None:
        """Other views of a series are excluded than before."""
        if self.session.modified:
            return  # what is not saved must not be lost for a few grey rows
        try:
            self.load()
        except TiltwrightError as exc:
            self.said.emit(str(exc))

    def _fit_range(self) -> FitRange:
        """What the estimation was told, or what it would be told by default."""
        run = self._project.runs[self._where.run]
        params: Any = all_protocols()[_ESTIMATION].Params()
        if run.protocol == _ESTIMATION:
            params = self._project.params(run)
        return FitRange(
            params.tile_px, (params.longest_a, params.shortest_a), params.pretilt_deg,
            params.astigmatism, params.phase_shift,
        )  # fmt: skip

    def _versions(self) -> Options:
        try:
            found = self._files.versions() if self._files is not None else []
        except TiltwrightError:
            found = []
        newest = [(v, _words(v)) for v in reversed(found)]
        return newest or [(None, "as computed")]

    def save(self) -> None:
        """Save the edits as a new version, which is the result from then on."""
        if self._files is None or not self.session.modified:
            return
        try:
            version = self._files.save(self.session.to_save(), self._note())
        except TiltwrightError as exc:
            self.said.emit(str(exc))
            return
        self._keeping.stop()
        self.session.undo_stack.setClean()
        self.versions.fill()
        self.versions.setCurrentIndex(0)
        self.said.emit(f"{self._name}: saved as version {version.number}")
        self.saved.emit()

    def _note(self) -> str:
        stack = self.session.undo_stack
        done = [stack.text(k) for k in range(stack.index())]
        return done[0] if len(done) == 1 else f"{len(done)} edits"

    def _go_back(self, version: Version | None) -> None:
        if version is None or self._files is None:
            return
        try:
            self.session.restore(self._files.open(version), f"Version {version.number}")
        except TiltwrightError as exc:
            self.said.emit(str(exc))

    def _keep(self) -> None:
        """Keep edits that are not saved, so that closing loses nothing."""
        self._keeping.stop()
        files, session = self._files, self.session
        if files is None or session.table is None or self._project.read_only is not None:
            return
        try:
            if session.modified:
                files.keep_unsaved(session.table)
            else:
                files.drop_unsaved()
        except TiltwrightError as exc:
            self.said.emit(str(exc))

    def shutdown(self) -> None:
        """Keep what is not saved, and end."""
        if self._keeping.isActive():
            self._keep()
        super().shutdown()
        self._keeping.stop()


def _words(version: Version) -> str:
    note = f" · {version.note}" if version.note else ""
    return f"{version.number}{note}"
