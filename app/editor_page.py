"""The fiducial editor on a model of a project: saving makes a new version of its run's result."""

from __future__ import annotations

import contextlib
from typing import Any

from PyQt6.QtCore import pyqtSignal

from tiltwright.app import lineage
from tiltwright.engine.errors import InputError
from tiltwright.engine.project.edited_model import EditedModel, model_to_edit
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.widgets.editor.editor_window import EditorWindow
from tiltwright.widgets.lane import Lane

_ALIGNMENT = "fiducial-alignment"


class EditorPage(EditorWindow):
    """Edits the model that an output is, or was made with.

    Signals
    -------
    saved : ()
        The result of the run is another one: what follows is out of date.
    alignment_asked : (run)
        Run what depends on this run.

    Raises
    ------
    InputError
        There is no model, or its files are missing or damaged.
    """

    saved = pyqtSignal()
    alignment_asked = pyqtSignal(int)

    def __init__(self, project: Project, source: Source, name: str, lane: Lane) -> None:
        where = lineage.nearest(project, source.run, name, "tilt_series")
        if where is None:
            raise InputError(f"{name}: the tilt series of this model is not there any more")
        series = project.item(where, name)
        files = EditedModel(project, source, name, series)
        params = _params_below(project, source)
        super().__init__(series, files.load(), files=files, params=params, lane=lane)
        self.model_saved.connect(lambda _: self.saved.emit())
        self.realign_requested.connect(lambda: self.alignment_asked.emit(source.run))


def edited_source(project: Project, run: int, name: str) -> Source:
    """The model that is edited from a run; raises :class:`InputError` when there is none."""
    found = model_to_edit(project, run, name)
    if found is None:
        raise InputError(f"{project.runs[run].label}: stands on no fiducial model of {name}")
    return found


def _params_below(project: Project, source: Source) -> Any:
    """Parameters of the alignment that takes the model, so that the numbers agree."""
    for run in sorted(project.runs.values(), key=lambda r: -r.id):
        taken = run.inputs.get("fiducial_model")
        if run.protocol == _ALIGNMENT and taken is not None and taken.run == source.run:
            # One that an older version wrote is no reason not to edit.
            with contextlib.suppress(InputError):
                return project.params(run)
    return None
