"""Saving, opening and comparing what was saved; every save is a version that stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import QObject, pyqtSignal

from tiltwright.engine.errors import TiltwrightError
from tiltwright.widgets.editor.files import ModelFiles, edit_towards
from tiltwright.widgets.editor.session import Session
from tiltwright.widgets.editor.versions_panel import VersionsPanel

if TYPE_CHECKING:
    from tiltwright.engine.curation.live import Snapshot
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.engine.project.versions import Version


class Saving(QObject):
    """What the buttons of the versions panel do.

    Parameters
    ----------
    files : ModelFiles, optional
        Without, nothing is kept.

    Signals
    -------
    saved : (Version)
    """

    saved = pyqtSignal(object)

    def __init__(
        self, session: Session, files: ModelFiles | None, panel: VersionsPanel, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._session, self._files, self._panel = session, files, panel
        self._taken: tuple[int, str, Path] | None = None
        panel.save_asked.connect(self.save)
        panel.opened.connect(self.open_version)
        panel.compared.connect(self.compare)
        panel.file_chosen.connect(self.open_file)

    def refresh(self) -> None:
        """List the versions that there are."""
        found = self._try(self._files.versions) if self._files is not None else ()
        self._panel.set_versions(found or ())

    def _try(self, work: Callable[[], Any]) -> Any:
        """What ``work`` gives; None, with a message, when it cannot be done."""
        try:
            return work()
        except TiltwrightError as exc:
            self._session.failed.emit(str(exc))
            return None

    def save(self, note: str = "") -> bool:
        """Write a new version; whether that could be done."""
        session, files, snapshot = self._session, self._files, self._session.snapshot
        refused = session.unsaved.refuses
        if files is None or refused:
            session.failed.emit(refused or "This model has no place to be saved")
            return False
        numbers: dict[str, Any] = {
            "n_contours": session.model.n_tracks, "n_points": session.model.n_points
        }  # fmt: skip
        if snapshot is not None and session.up_to_date and snapshot.solved:
            numbers |= {
                "mean_residual_px": snapshot.mean_residual_px,
                "leave_one_out_px": snapshot.leave_one_out_px,
            }
        model = replace(session.model, file=self._taken_from())
        note = note or self._panel.note.text()
        version = self._try(lambda: files.save(model, note, numbers))
        if version is None:
            return False
        session.saved()
        self._panel.note.clear()
        now = time.strftime("%H:%M:%S")
        session.said.emit(f"Done saving model {now}: version {version.number}")
        self.refresh()
        self.saved.emit(version)
        return True

    def _take(self, target: FiducialModel, label: str) -> bool:
        if not self._session.do(edit_towards(self._session.model, target, label)):
            return False
        self._session.said.emit(
            f"{label}: {target.n_tracks} contours, {target.n_points} points; can be undone"
        )
        return True

    def open_version(self, version: Version) -> None:
        """Take the points of a version, as an edit."""
        files = self._files
        target = self._try(lambda: files.open(version)) if files is not None else None
        if target is not None:
            self._take(target, f"Open version {version.number}")

    def open_file(self, path: Path) -> None:
        """Take the points of another program's model; on saving, what else it holds is kept."""
        files, label = self._files, f"Open {path.name}"
        target = self._try(lambda: files.read(path)) if files is not None else None
        if target is not None and self._take(target, label):
            self._taken = self._session.undo_stack.index(), label, path

    def _taken_from(self) -> Path | None:
        """The file that was opened, unless that was undone."""
        if self._taken is None:
            return None
        stack, (at, label, path) = self._session.undo_stack, self._taken
        return path if stack.index() >= at and stack.text(at - 1) == label else None

    def compare(self, version: Version) -> None:
        """Say how a version differs, and solve it beside the model as it is."""
        from tiltwright.engine.project.versions import compare

        session, files = self._session, self._files
        other = self._try(lambda: files.open(version)) if files is not None else None
        if other is None:
            return
        found = compare(other, session.model)
        n = len(found.moved)
        far = f", up to {found.moved_px.max():.2f} px" if n else ""
        self._panel.say(
            f"{n} point{'s' * (n != 1)} moved{far}, {len(found.only_first)} only in version "
            f"{version.number}, {len(found.only_second)} only now"
        )
        live = session.live
        if live is None:
            return

        def done(solved: Snapshot) -> None:
            now = session.snapshot
            if now is not None:
                self._panel.show_two(f"Version {version.number}", solved, now)

        session.ask("compare", lambda: live.solve(other), done)
