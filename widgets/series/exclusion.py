"""Which views a person leaves out or keeps, with undo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QObject, pyqtSignal
from PyQt6.QtGui import QUndoCommand, QUndoStack

Bools = npt.NDArray[np.bool_]


class _Change(QUndoCommand):
    def __init__(self, state: ExclusionState, text: str, excluded: Bools, kept: Bools) -> None:
        super().__init__(text)
        self._state = state
        self._before = state.excluded, state.kept
        self._after = excluded, kept

    def redo(self) -> None:
        self._state._set(*self._after)

    def undo(self) -> None:
        self._state._set(*self._before)


class ExclusionState(QObject):
    """Excluded and kept views of one tilt series; every change can be undone.

    Signals
    -------
    changed : (excluded, kept)
        ``(n_views,)`` boolean arrays, read-only, after every change, undo and redo.
    """

    changed = pyqtSignal(object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.undo_stack = QUndoStack(self)
        self.excluded: Bools = np.zeros(0, np.bool_)
        self.kept: Bools = np.zeros(0, np.bool_)
        self.suspect: dict[int, str] = {}

    def reset(self, excluded: Bools, kept: Bools, suspect: Mapping[int, str]) -> None:
        """Begin with another series; nothing to undo, no signal."""
        self.undo_stack.clear()
        self.excluded, self.kept = _frozen(excluded), _frozen(kept)
        self.suspect = dict(suspect)

    def agrees(self, excluded: Bools, kept: Bools, suspect: Mapping[int, str]) -> bool:
        """Whether this is the state already."""
        return (
            np.array_equal(self.excluded, excluded)
            and np.array_equal(self.kept, kept)
            and self.suspect == dict(suspect)
        )

    @property
    def left_out(self) -> Bools:
        """Views that nothing downstream uses: excluded, or suspect and not kept."""
        out = self.excluded.copy()
        for view in self.suspect:
            out[view] |= not self.kept[view]
        return out

    @property
    def undecided(self) -> list[int]:
        """Suspect views that a person has neither excluded nor kept."""
        return [v for v in self.suspect if not (self.excluded[v] or self.kept[v])]

    def set_excluded(self, views: Sequence[int], excluded: bool) -> None:
        """Leave views out, or take them back."""
        new, kept = self.excluded.copy(), self.kept.copy()
        new[list(views)] = excluded
        if excluded:
            kept[list(views)] = False
        verb = "Exclude" if excluded else "Include"
        self._push(f"{verb} {_names(views)}", new, kept)

    def toggle(self, views: Sequence[int]) -> None:
        """Leave views out; take them back when all of them are out."""
        if len(views):
            self.set_excluded(views, not self.excluded[list(views)].all())

    def keep(self, views: Sequence[int]) -> None:
        """Keep views against the advice of a step."""
        excluded, kept = self.excluded.copy(), self.kept.copy()
        excluded[list(views)], kept[list(views)] = False, True
        self._push(f"Keep {_names(views)}", excluded, kept)

    def _push(self, text: str, excluded: Bools, kept: Bools) -> None:
        if not (np.array_equal(excluded, self.excluded) and np.array_equal(kept, self.kept)):
            self.undo_stack.push(_Change(self, text, _frozen(excluded), _frozen(kept)))

    def _set(self, excluded: Bools, kept: Bools) -> None:
        self.excluded, self.kept = excluded, kept
        self.changed.emit(excluded, kept)


def _frozen(array: Bools) -> Bools:
    out = np.array(array, np.bool_)
    out.flags.writeable = False
    return out


def _names(views: Sequence[int]) -> str:
    names = ", ".join(str(v + 1) for v in sorted(views))
    return f"view {names}" if len(views) == 1 else f"views {names}"
