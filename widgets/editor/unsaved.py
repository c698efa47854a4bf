"""What has not been saved: journalled, offered again after a crash, to one editor at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from tiltwright.engine.errors import TiltwrightError

if TYPE_CHECKING:
    from tiltwright.engine.curation.journal import Journal, Recovery
    from tiltwright.engine.model.edits import Edit
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.engine.project.lock import Lock


class Unsaved(QObject):
    """Journals edits; two editors never write one journal.

    Parameters
    ----------
    path : Path, optional
        Of the journal; without, nothing is kept.
    closed : str
        Why the model must not be edited; empty when it may.

    Signals
    -------
    failed : (text)
        For the message log.
    """

    failed = pyqtSignal(str)

    def __init__(self, path: Path | None, closed: str, parent: QObject) -> None:
        super().__init__(parent)
        self._path = path
        self.closed = closed
        self.offered: Recovery | None = None
        """Edits of a session that ended without saving, until it is said what becomes of them."""
        self._journal: Journal | None = None
        self._lock: Lock | None = None
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._renew)

    @property
    def refuses(self) -> str:
        """Why nothing can be edited now; empty when it can."""
        if self.closed:
            return f"Read-only: {self.closed}"
        if self.offered is not None:
            return f"First restore the {self.offered.n_edits} unsaved edits, or leave them"
        return ""

    def open(self, model: FiducialModel) -> None:
        """Take the journal, or find out who has it, and what it holds beyond ``model``."""
        if self._path is None or self.closed:
            return
        from tiltwright.engine.curation.journal import recover
        from tiltwright.engine.project.lock import RENEW_S, Lock

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = Lock(self._path.parent)
            owner = lock.acquire()
            if owner is not None:
                self.closed = f"another editor has this model open ({owner})"
                return
            self._lock = lock
            self._timer.start(int(RENEW_S * 1000))
            self.offered = recover(self._path, model)
        except (TiltwrightError, OSError) as exc:
            self._fail(exc)
            return
        if self.offered is None:
            self.go_on(model, None)

    def take(self) -> Recovery | None:
        """What was offered; :meth:`go_on` says from where on edits are journalled again."""
        found, self.offered = self.offered, None
        return found

    def go_on(self, model: FiducialModel, after: Recovery | None) -> None:
        """Journal edits of the saved ``model`` ``after`` what was taken, or anew.

        What is in the way is set aside as ``edits.journal.1``, ``.2``, ...
        """
        from tiltwright.engine.curation.journal import Journal

        assert self._path is not None
        try:
            self._journal = Journal(self._path, model, after)
        except (TiltwrightError, OSError) as exc:
            self._fail(exc)

    def append(self, edit: Edit) -> None:
        """Journal an edit that was applied."""
        if self._journal is not None:
            try:
                self._journal.append(edit)
            except (TiltwrightError, OSError) as exc:
                self._fail(exc)

    def saved(self, model: FiducialModel) -> None:
        """Begin anew: everything up to ``model`` is saved."""
        if self._journal is not None:
            try:
                self._journal.restart(model)
            except (TiltwrightError, OSError) as exc:
                self._fail(exc)

    def _fail(self, exc: Exception) -> None:
        self._journal = None
        self.failed.emit(f"No journal is kept: {exc}")

    def _renew(self) -> None:
        if self._lock is not None:
            self._lock.renew()
            if self._lock.lost:
                self._journal = None
                owner = self._lock.owner() or "another editor"
                self.closed = f"this editor stood still for long, and {owner} took the model over"
                self.failed.emit(f"{self.refuses}; what you did is in edits.journal")

    def close(self) -> None:
        """Close the journal, which stays with what is in it, and let others have the model."""
        self._timer.stop()
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
