"""A result of a run as a person edits it: versions beside it, of which the newest is in use."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiltwright.engine.errors import InputError
from tiltwright.engine.project.results import Results
from tiltwright.engine.project.run import Source
from tiltwright.engine.project.versions import Version, list_versions

_EDITED = "edited by hand:"
"""How the note on an edited result begins."""


class EditedResult:
    """Versions of one result of a project; the newest is the run's.

    What was computed or imported is kept as the first version. The files of versions lie beside the
    results of the run, so that computing it again keeps them.

    Parameters
    ----------
    source : Source
        The output that is edited.
    name : str
        The series.
    """

    def __init__(self, project: Results, source: Source, name: str) -> None:
        self._project, self._source, self._name = project, source, name

    @property
    def folder(self) -> Path:
        """Where the versions lie."""
        return self._project.folder_of(self._source.run) / "edited" / self._name

    def versions(self) -> list[Version]:
        """All versions, the oldest first; raises :class:`InputError`."""
        return list_versions(self.folder)

    def check_free(self) -> None:
        """Raise :class:`InputError` when nothing can be saved now."""
        self._project.check_writable()
        run = self._project.runs[self._source.run]
        if run.status in ("running", "queued"):
            raise InputError(f"{run.label}: is {run.status}; save when it has finished")

    @property
    def _record(self) -> dict[str, Any]:
        run = self._project.runs[self._source.run]
        record: dict[str, Any] = run.outputs[self._source.port][self._name]
        return record

    def _adopt(self, changed: Mapping[str, Any], version: Version) -> None:
        """Make a version the result of its run, and say so in the run's notes.

        Raises
        ------
        InputError
            The run's file cannot be written; its result is then the one before.
        """
        run, port, name = self._project.runs[self._source.run], self._source.port, self._name
        record, said = self._record, run.notes.get(name, [])
        run.outputs[port][name] = record | dict(changed)
        run.notes[name] = [
            *(line for line in said if not line.startswith(_EDITED)),
            f"{_EDITED} version {version.number}" + (f", {version.note}" if version.note else ""),
        ]
        try:
            self._project.save(run)
        except InputError:
            run.outputs[port][name] = record
            run.notes[name] = said
            raise


def author() -> str:
    """Who is at work; empty for an account without a name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
