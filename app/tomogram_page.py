"""A tomogram of a project in its viewer, with the beads of its alignment."""

from __future__ import annotations

from PyQt6.QtCore import pyqtSignal

from tiltwright.app import lineage
from tiltwright.app.page_bar import Choice, Options, put_bar
from tiltwright.engine.errors import TiltwrightError
from tiltwright.engine.model.tomogram import Tomogram
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.tomogram.plane_set import Beads
from tiltwright.widgets.tomogram.tomogram_viewer import TomogramViewer


class TomogramPage(TomogramViewer):
    """Shows one tomogram of an output; ``said(text)`` for the status bar.

    Raises
    ------
    InputError
        Its file is missing or damaged.
    """

    said = pyqtSignal(str)

    def __init__(self, project: Project, source: Source, name: str, lane: Lane) -> None:
        super().__init__(lane=lane)
        self._project, self._source, self._name = project, source, name
        self._bead_list: Beads | None = None
        self.compare_with = Choice(
            self._others, "Another tomogram of the same series, with one cursor"
        )
        put_bar(self, [("Compare with", self.compare_with)])
        self.compare_with.picked.connect(self._compare)
        self.load()

    def _others(self) -> Options:
        try:
            return [(None, "–"), *lineage.alternatives(self._project, self._source, self._name)]
        except KeyError:
            return [(None, "–")]

    def load(self) -> None:
        """Read the output anew.

        Raises
        ------
        InputError
            Its file is missing or damaged.
        """
        tomogram: Tomogram = self._project.item(self._source, self._name)
        _ = tomogram.data  # opened here, so that what is wrong is said here
        self.compare_with.fill()
        if self.tomogram is not None:
            cursor = self.first.cursor_voxel
            self.set_tomogram(tomogram, self.second.tomogram, self._beads_of())
            self.set_cursor(*cursor)
        else:
            self.set_tomogram(tomogram, None, self._beads_of())

    def _beads_of(self) -> Beads | None:
        try:
            self._bead_list = lineage.beads(self._project, self._source, self._name)
        except TiltwrightError as exc:
            self.said.emit(str(exc))
            self._bead_list = None
        return self._bead_list

    def compare_to(self, source: Source) -> None:
        """Show another tomogram of the series beside it."""
        self.compare_with.fill()
        self.compare_with.choose(source)

    def _compare(self, source: Source | None) -> None:
        try:
            other = None if source is None else self._project.item(source, self._name)
            _ = other.data if other is not None else None
        except TiltwrightError as exc:
            self.said.emit(str(exc))
            return
        cursor, box = self.first.cursor_voxel, self.box
        self.set_tomogram(self.tomogram, other, self._bead_list)
        self.set_cursor(*cursor)
        if box is not None:
            self.set_box(box)
            self.box_action.setChecked(True)
