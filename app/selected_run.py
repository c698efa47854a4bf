"""What the tabs below show of the selected run: summary, pictures and its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PyQt6.QtCore import QObject

from tiltwright.app import describe
from tiltwright.engine.execution.runner import LOG
from tiltwright.engine.project.project import Project
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.runs.run_summary import Thumbnail
from tiltwright.widgets.runs.summary_view import SummaryView

_LOG_BYTES = 200_000
_PICTURES = 4
_PICTURES_OF_OUTPUT = 3


class SelectedRun(QObject):
    """Fills a summary view; files are read in the lane."""

    def __init__(self, view: SummaryView, lane: Lane, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._view, self._lane = view, lane
        self._project: Project | None = None
        self._stale = False
        self._pictures: dict[int, tuple[Thumbnail, ...]] = {}
        self._log_read = False
        self._log_grew = False
        self.number: int | None = None
        """The run that is shown."""

    def set_project(self, project: Project | None) -> None:
        """Whose runs are shown."""
        self._project = project
        self._pictures.clear()
        self._view.project_log.clear()
        self.show(None)

    def show(self, number: int | None, stale: bool = False) -> bool:
        """Show a run as it is now; whether it is another one than before."""
        project = self._project
        if project is None or number is None or number not in project.runs:
            other, self.number = self.number is not None, None
            self._view.set_summary(None)
            self._view.log.clear()
            return other
        run = project.runs[number]
        other, self.number, self._stale = number != self.number, number, stale
        pictures = self._pictures.get(number)
        self._view.set_summary(describe.summary(project, run, stale, pictures or ()))
        if other:
            self._view.log.clear()
            self._read_log()
        if pictures is None and run.outputs:
            self._pictures[number] = ()
            twin = project.snapshot()
            self._lane.request(
                ("thumbnails", number), lambda: _thumbnails(twin, number),
                lambda found: self._have_pictures(number, found), later=True,
            )  # fmt: skip
        return other

    def forget_pictures(self, number: int) -> None:
        """A run has other results than before."""
        self._pictures.pop(number, None)

    def _have_pictures(self, number: int, found: tuple[Thumbnail, ...]) -> None:
        self._pictures[number] = found
        if number == self.number:
            self.show(number, self._stale)

    # -- log ---------------------------------------------------------------------------------

    def log(self, number: int, line: str) -> None:
        """A run has written a line to its log."""
        if number == self.number:
            if self._log_read:
                self._view.log.append(line)
            else:
                self._log_grew = True

    def _read_log(self) -> None:
        project, number = self._project, self.number
        assert project is not None
        assert number is not None
        path = project.folder_of(number) / LOG
        self._log_read = self._log_grew = False
        self._lane.request("log", lambda: (number, _end_of(path)), self._have_log)

    def _have_log(self, found: tuple[int, str]) -> None:
        number, text = found
        if number != self.number:
            return
        if self._log_grew:
            # It was written to while it was read.
            self._read_log()
            return
        self._log_read = True
        self._view.log.set_text(text)


def _end_of(path: Path) -> str:
    """The last part of a log."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _LOG_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    if size > _LOG_BYTES:
        text = f"… earlier lines are in {path}\n" + text.partition("\n")[2]
    return text


def _thumbnails(project: Project, number: int) -> tuple[Any, ...]:
    """Pictures of the first series of each output."""
    run = project.runs[number]
    found = []
    for port, items in run.outputs.items():
        for name in sorted(items)[:_PICTURES_OF_OUTPUT]:
            picture = describe.thumbnail_of(project, run, port, name)
            if picture is not None:
                found.append(picture)
    return tuple(found[:_PICTURES])
