"""A CTF table while a person edits it: every change can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QObject, pyqtSignal
from PyQt6.QtGui import QUndoCommand, QUndoStack

from tiltwright.widgets.series.exclusion import ExclusionState

if TYPE_CHECKING:
    from tiltwright.engine.ctf.examine import Look
    from tiltwright.engine.ctf.model import Defocus
    from tiltwright.engine.model.ctf_table import CtfTable
    from tiltwright.engine.model.tilt_series import TiltSeries


UNPROVEN = "not proven: other rings fit about as well"


class _Edit(QUndoCommand):
    """Another table; edits of one gesture are one command."""

    def __init__(self, session: CtfSession, text: str, table: CtfTable, gesture: int) -> None:
        super().__init__(text)
        self._session, self._gesture = session, gesture
        self._before, self._after = session.table, table

    def id(self) -> int:
        return 1

    def mergeWith(self, other: QUndoCommand | None) -> bool:
        if not isinstance(other, _Edit) or not self._gesture or other._gesture != self._gesture:
            return False
        self._after = other._after
        return True

    def redo(self) -> None:
        self._session._show(self._after)

    def undo(self) -> None:
        self._session._show(self._before)


class CtfSession(QObject):
    """The table of one series, by view.

    Signals
    -------
    changed : ()
        The table is another one.
    judged : ()
        Other views are weak than before.
    """

    changed = pyqtSignal()
    judged = pyqtSignal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.undo_stack = QUndoStack(self)
        self.table: CtfTable | None = None
        self.series: TiltSeries | None = None
        self.weak: dict[int, str] = {}
        """Views that should be looked at, and why."""
        self.track: npt.NDArray[np.float64] | None = None
        """``(n_views,)`` mean defocus by the neighbours, angstrom."""
        self._rows: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._looks: dict[int, Look] = {}

    def begin(self, table: CtfTable | None, series: TiltSeries | None) -> None:
        """Begin with another table; nothing to undo."""
        self.undo_stack.clear()
        self._looks.clear()
        self.series, self.weak, self.track = series, {}, None
        self._show(table)

    # -- reading -----------------------------------------------------------------------------

    @property
    def modified(self) -> bool:
        """Whether something is not saved."""
        return not self.undo_stack.isClean()

    def row(self, view: int) -> int:
        """Row of a view, -1 when the table has none."""
        return int(self._rows[view]) if view < len(self._rows) else -1

    def defocus(self, view: int) -> Defocus | None:
        """What the table says of a view."""
        row = self.row(view)
        return self.table.defocus_of(row) if self.table is not None and row >= 0 else None

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """``(n_views,)`` values of a column of the table; NaN for views without a row.

        Score and resolution of edited rows are those that were seen.
        """
        out = np.full(len(self._rows), np.nan)
        if self.table is None:
            return out
        there = self._rows >= 0
        out[there] = getattr(self.table, name)[self._rows[there]]
        if name in ("score", "resolution_a"):
            for view, look in self._looks.items():
                if np.isnan(out[view]) and look.defocus == self.defocus(view):
                    out[view] = getattr(look.curve, name)
        return out

    @property
    def bad(self) -> npt.NDArray[np.bool_]:
        """``(n_views,)`` views whose row is left out."""
        return np.array([
            self.table is not None and row >= 0 and not self.table.used[row] for row in self._rows
        ], np.bool_)  # fmt: skip

    @property
    def hand(self) -> int:
        """Of the defocus gradient; 0 as long as it is undetermined."""
        return self.table.hand if self.table is not None else 0

    @property
    def unproven(self) -> npt.NDArray[np.bool_]:
        """``(n_views,)`` views whose defocus is an estimate that the spectra do not prove.

        What a person set or fitted again is theirs.
        """
        proven = self.table is None or self.table.proven
        return np.isfinite(self.column("sigma_a")) & (not proven)

    # -- editing -----------------------------------------------------------------------------

    def set_defocus(self, view: int, defocus: Defocus, text: str, gesture: int = 0) -> None:
        """Set one view; edits with the same ``gesture`` above 0 are undone together."""
        row = self.row(view)
        if self.table is not None and row >= 0 and defocus != self.defocus(view):
            self._push(f"{text} view {view + 1}", self.table.with_row(row, defocus), gesture)

    def mark(self, views: Sequence[int], bad: bool) -> None:
        """Leave the rows of views out, or take them back."""
        rows = [self.row(v) for v in views if self.row(v) >= 0]
        if self.table is not None and rows:
            names = ", ".join(str(v + 1) for v in views)
            verb = "Leave out" if bad else "Take back"
            self._push(f"{verb} {names}", self.table.with_used(rows, not bad))

    def smooth(self, view: int) -> bool:
        """Set a view to what its neighbours say; whether they say anything."""
        from tiltwright.engine.ctf.judge import components_of, defocus_at, off_neighbours

        table, series = self.table, self.series
        if table is None or series is None:
            return False
        row = self.row(view)
        if row < 0:
            guess = table.defocus_of(0)
            table = table.with_view(int(series.order[view]), float(series.tilt_deg[view]), guess)
            row = len(table) - 1
        good = table.used.copy()
        good[row] = False
        if not good.any():
            return False
        by_order = np.argsort(table.order, kind="stable")
        said = off_neighbours(
            table.components()[by_order], good[by_order], table.sigma_a[by_order]
        )[1]
        found = defocus_at(said[int(np.flatnonzero(by_order == row)[0])])
        if np.allclose(components_of(found), table.components()[row], atol=0.5):
            return True
        self._push(f"From neighbours: view {view + 1}", table.with_row(row, found))
        return True

    def set_hand(self, hand: int, confidence: float) -> None:
        """Take over what a check of the hand says."""
        if self.table is not None:
            found = replace(self.table, hand=hand, hand_confidence=round(confidence, 4))
            self._push("Hand", found)

    def restore(self, table: CtfTable, text: str) -> None:
        """Another table of the same series, as one edit."""
        self._push(text, table)

    def have_look(self, view: int, look: Look) -> None:
        """How well a view fits was measured."""
        row = self.row(view)
        before = self.column("score")[view] if row >= 0 else 0.0
        self._looks[view] = look
        # What the table itself says does not change by looking.
        if row >= 0 and not _same(before, self.column("score")[view]):
            self.changed.emit()

    def look(self, view: int) -> Look | None:
        """What was measured last of a view, at whatever defocus."""
        return self._looks.get(view)

    def to_save(self) -> CtfTable:
        """The table with the scores that were seen.

        Scores of rows that were edited and never looked at stay unknown.
        """
        table = self.table
        assert table is not None
        score, resolution = self.column("score"), self.column("resolution_a")
        values = {"score": table.score.copy(), "resolution_a": table.resolution_a.copy()}
        for view, row in enumerate(self._rows):
            if row >= 0:
                values["score"][row], values["resolution_a"][row] = score[view], resolution[view]
        return replace(table, **values)

    def _push(self, text: str, table: CtfTable, gesture: int = 0) -> None:
        self.undo_stack.push(_Edit(self, text, table, gesture))

    def _show(self, table: CtfTable | None) -> None:
        self.table = table
        known = table is not None and self.series is not None
        self._rows = table.row_of_view(self.series) if known else np.zeros(0, np.int64)
        self.changed.emit()

    # -- judging -----------------------------------------------------------------------------

    def judge(self) -> None:
        """Find the views that are weak or off their neighbours."""
        from tiltwright.engine.ctf.judge import off_neighbours, weak_views

        table, series = self.table, self.series
        if table is None or series is None:
            return
        views = np.flatnonzero(self._rows >= 0)
        views = views[np.argsort(series.order[views], kind="stable")]
        rows = self._rows[views]
        p = table.components()[rows]
        counted = table.used[rows] & series.used[views]
        off, said = off_neighbours(p, counted, table.sigma_a[rows])
        weak = weak_views(
            self.column("score")[views], self.column("resolution_a")[views], off,
            p[:, 0] - said[:, 0],
        )  # fmt: skip
        self.track = np.full(len(self._rows), np.nan)
        self.track[views] = said[:, 0]
        self.weak = {int(views[i]): why for i, why in weak.items()}
        for view in np.flatnonzero(self.unproven).tolist():
            why = self.weak.get(view)
            self.weak[view] = f"{why}, {UNPROVEN}" if why else UNPROVEN
        for view in np.flatnonzero(series.used & (self._rows < 0)):
            self.weak[int(view)] = "no CTF"
        self.judged.emit()


def _same(a: float, b: float) -> bool:
    return bool(a == b or (np.isnan(a) and np.isnan(b)))


class BadViews(ExclusionState):
    """The rows that are left out and the weak ones, as the table of views shows them.

    Signals
    -------
    asked : (views, bad)
        A person wants to leave views out, or take them back.
    """

    asked = pyqtSignal(object, bool)

    def set_excluded(self, views: Sequence[int], excluded: bool) -> None:
        """Ask the session, which can undo it."""
        self.asked.emit(list(views), excluded)
