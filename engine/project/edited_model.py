"""The fiducial model of a run as a person edits it: versions beside its results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiltwright.engine.model.fiducial_model import FiducialModel, Flag
from tiltwright.engine.model.files import read_foreign
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.project.edited import EditedResult, author
from tiltwright.engine.project.results import Results
from tiltwright.engine.project.run import Source
from tiltwright.engine.project.versions import Version, open_version, save_version


def model_to_edit(project: Results, number: int, name: str) -> Source | None:
    """The model of a series that a run made or stands on, the nearest above.

    An alignment hands its model on with the gaps filled; what is edited is the one that it took.
    """
    waiting, seen = [number], {number}
    while waiting:
        run = project.runs[waiting.pop(0)]
        takes = [s for port, s in run.inputs.items() if port == "fiducial_model"]
        if takes and takes[0].run in project.runs:
            return model_to_edit(project, takes[0].run, name)
        for port, items in run.outputs.items():
            if items.get(name, {}).get("kind") == "fiducial_model":
                return Source(run.id, port)
        waiting += [p for p in project.parents(run.id) if p not in seen]
        seen.update(waiting)
    return None


class EditedModel(EditedResult):
    """Versions of one fiducial model of a project.

    Parameters
    ----------
    series : TiltSeries
        It belongs to.
    """

    def __init__(self, project: Results, source: Source, name: str, series: TiltSeries) -> None:
        super().__init__(project, source, name)
        self._series = series

    @property
    def journal(self) -> Path:
        """Where unsaved edits are kept."""
        return self.folder / "edits.journal"

    @property
    def closed(self) -> str:
        """Why nothing can be written; empty when it can."""
        owner = self._project.read_only
        return "" if owner is None else f"the project is open elsewhere ({owner})"

    def load(self) -> FiducialModel:
        """The model as it is; raises :class:`InputError`."""
        model: FiducialModel = self._project.item(self._source, self._name)
        return model

    def save(self, model: FiducialModel, note: str, numbers: Mapping[str, Any]) -> Version:
        """Write a new version and make it the result of the run.

        What depends on the run is out of date afterwards.

        Raises
        ------
        InputError
            Read-only, the run is at work, or the files cannot be written.
        """
        self.check_free()
        if not self.versions():
            self._write(self.load(), "as computed", {})
        version = self._write(model, note, numbers)
        place = self._project.place(self._source.run)
        stem = version.path / version.name
        measured, points = Path(f"{stem}.fid"), Path(f"{stem}_points.csv")
        whole = Path(f"{stem}_nogaps.fid")
        changed = {
            "fid": place.name(whole if whole.exists() else measured),
            "measured": place.name(measured), "points": place.name(points),
            "diameter_px": model.diameter_px, "n_tracks": model.n_tracks,
            "n_points": model.n_points, "n_filled": int((model.flag == Flag.FILLED).sum()),
        }  # fmt: skip
        self._adopt(changed, version)
        return version

    def open(self, version: Version) -> FiducialModel:
        """The model of a version; raises :class:`InputError`."""
        return open_version(version, self._series)

    def read(self, path: Path) -> FiducialModel:
        """The model in a file of any program.

        Raises
        ------
        InputError
            Damaged, or of other images than the series'.
        """
        return read_foreign(path, self._series, self._record["diameter_px"])

    def _write(self, model: FiducialModel, note: str, numbers: Mapping[str, Any]) -> Version:
        # Of another program or not, what is in the file besides points stays in it.
        measured = self._record.get("measured")
        place = self._project.place(self._source.run)
        keep = model.file or (place.path(measured) if measured else None)
        if keep is not None and not keep.exists():
            keep = None
        return save_version(
            self.folder, self._name, model, self._series, author=author(), note=note,
            numbers=numbers, keep=keep,
        )  # fmt: skip
