"""The CTF table of a run as a person edits it: versions beside its results."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.hashes import file_hash
from tiltwright.engine.model.ctf_table import CtfTable, read_table, write_table
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.project.edited import EditedResult, author
from tiltwright.engine.project.results import Results
from tiltwright.engine.project.run import Source
from tiltwright.engine.project.versions import Version, new_folder, write_record


class EditedTable(EditedResult):
    """Versions of one CTF table of a project.

    Parameters
    ----------
    series : TiltSeries
        It belongs to.
    """

    def __init__(self, project: Results, source: Source, name: str, series: TiltSeries) -> None:
        super().__init__(project, source, name)
        self._series = series

    def load(self) -> CtfTable:
        """The table as it is; raises :class:`InputError`."""
        table: CtfTable = self._project.item(self._source, self._name)
        return table

    def save(self, table: CtfTable, note: str) -> Version:
        """Write a new version and make it the result of the run.

        What depends on the run is out of date afterwards.

        Raises
        ------
        InputError
            Read-only, the run is at work, or the files cannot be written.
        """
        self.check_free()
        if not self.versions():
            self._write(self.load(), "as computed")
        unsaved = self._unsaved_path()
        version = self._write(table, note)
        self._adopt(self._changes(table, version), version)
        if unsaved is not None:
            with contextlib.suppress(OSError):
                unsaved.unlink(missing_ok=True)
        return version

    def open(self, version: Version) -> CtfTable:
        """The table of a version; raises :class:`InputError`."""
        hand, agreed = version.numbers.get("hand", 0), version.numbers.get("hand_confidence", 0.0)
        return read_table(
            version.path / f"{self._name}_ctf.csv", self.load().optics, int(hand), float(agreed),
            float(version.numbers.get("rival", 0.0)),
        )  # fmt: skip

    # -- what is not saved yet ---------------------------------------------------------------

    def _unsaved_path(self) -> Path | None:
        """Of edits to just this result; ``None`` when its file is gone."""
        try:
            path = self._project.place(self._source.run).path(self._record["files"]["_ctf.csv"])
            return self.folder / f"unsaved_{file_hash(path)[:12]}" / f"{self._name}_ctf.csv"
        except (InputError, KeyError, TypeError):
            return None

    def keep_unsaved(self, table: CtfTable) -> None:
        """Keep edits for the next time.

        Raises
        ------
        InputError
            Read-only, or the file cannot be written.
        """
        self._project.check_writable()
        path = self._unsaved_path()
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                raise InputError(f"{path.parent}: {exc.strerror}") from exc
            write_table(path.parent, self._name, table, self._series)

    def drop_unsaved(self) -> None:
        """Forget them."""
        path = self._unsaved_path()
        if path is not None and self._project.read_only is None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def unsaved(self) -> CtfTable | None:
        """Edits of this result that were not saved, if there are any that can be read."""
        path = self._unsaved_path()
        if path is None or not path.exists():
            return None
        now = self.load()
        try:
            return read_table(path, now.optics, now.hand, now.hand_confidence, now.rival)
        except InputError:
            return None

    # -- files -------------------------------------------------------------------------------

    def _write(self, table: CtfTable, note: str) -> Version:
        path = new_folder(self.folder)
        write_table(path, self._name, table, self._series)
        numbers = {
            "hand": float(table.hand), "hand_confidence": table.hand_confidence,
            "rival": table.rival,
        }  # fmt: skip
        return write_record(path, self._name, author(), note, numbers)

    def _changes(self, table: CtfTable, version: Version) -> dict[str, object]:
        place = self._project.place(self._source.run)
        stem = version.path / self._name
        named = {
            ending: place.name(Path(f"{stem}{ending}"))
            for ending in ("_ctf.csv", ".defocus")
            if Path(f"{stem}{ending}").exists()
        }
        return {
            "files": named, "text": table.describe(), "hand": table.hand,
            "hand_confidence": round(table.hand_confidence, 4), "rival": round(table.rival, 4),
        }  # fmt: skip
