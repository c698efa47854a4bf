"""What the buttons and keys of the Bead Fixer do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import QObject, pyqtSignal
from PyQt6.QtWidgets import QMessageBox, QWidget

from tiltwright.engine.curation.gaps import GapSearch
from tiltwright.engine.curation.residuals import ContourSearch, ResidualSearch
from tiltwright.engine.model.edits import DeleteContour, Edit
from tiltwright.widgets.editor.bead_fixer import BeadFixer, Command, Operation
from tiltwright.widgets.editor.centring import Centring
from tiltwright.widgets.editor.current import NONE, Current, to_point
from tiltwright.widgets.editor.session import Session

if TYPE_CHECKING:
    from tiltwright.engine.curation.filling import FillReport
    from tiltwright.engine.curation.live import Snapshot


class Fixer(QObject):
    """Searches and repairs; where it leads, the session goes.

    Signals
    -------
    filled : (FillReport)
    went : ()
        A search led to another point.
    """

    went = pyqtSignal()
    filled = pyqtSignal(object)

    def __init__(
        self, session: Session, panel: BeadFixer, centring: Centring, owner: QWidget
    ) -> None:
        super().__init__(owner)
        self._session, self._panel, self._centring, self._owner = session, panel, centring, owner
        self.gaps = GapSearch()
        self.residuals = ResidualSearch()
        self.contours = ContourSearch()
        self._does: dict[Command, Callable[[], None]] = {
            Command.NEXT_GAP: lambda: self._gap(self.gaps.next),
            Command.PREVIOUS_GAP: lambda: self._gap(self.gaps.previous),
            Command.REATTACH: lambda: self._found(self.gaps.reattach(session.model)),
            Command.FROM_BEGINNING: self._from_beginning,
            Command.FROM_CURRENT: self._from_current,
            Command.ACCEPT: self.accept_prediction,
            Command.FILL_ALL: self.fill_all,
            Command.NEXT_RESIDUAL: lambda: self._solved(self.residuals.next),
            Command.BACK_UP: lambda: self._solved(self.residuals.back_up),
            Command.MOVE_POINT: self._move_point,
            Command.UNDO_MOVE: self._undo_move,
            Command.MOVE_ALL: self._move_all,
            Command.CLEAR_EXAMINED: self._clear_examined,
            Command.NEXT_CONTOUR: lambda: self._solved(self.contours.next),
            Command.BACK_UP_CONTOUR: lambda: self._solved(self.contours.back_up),
            Command.DELETE_CONTOUR: self.delete_contour,
        }
        panel.asked.connect(self.ask)
        panel.search_changed.connect(self._search_changed)
        session.model_changed.connect(self._model_changed)
        session.solved.connect(self._show_progress)
        session.failed.connect(lambda _: panel.set_working(Command.FILL_ALL, False))

    def ask(self, command: Command) -> None:
        """Do what a button says."""
        self._does[command]()

    def key(self, forwards: bool) -> None:
        """``'`` and ``"``: what they mean in the operation that is chosen."""
        if self._panel.operation is Operation.CONTOURS:
            self.ask(Command.NEXT_CONTOUR if forwards else Command.BACK_UP_CONTOUR)
        else:
            if self._panel.operation is not Operation.RESIDUALS:
                self._panel.set_operation(Operation.RESIDUALS)
            self.ask(Command.NEXT_RESIDUAL if forwards else Command.BACK_UP)

    def gap_key(self, forwards: bool) -> None:
        """Space: the next gap; the operation follows."""
        if self._panel.operation is not Operation.GAPS:
            self._panel.set_operation(Operation.GAPS)
        self.ask(Command.NEXT_GAP if forwards else Command.PREVIOUS_GAP)

    # ---- searches ------------------------------------------------------------------------------

    @property
    def _at(self) -> tuple[int, int] | None:
        now = self._session.current
        return (now.contour, now.at) if now.attached else None

    def _gap(self, search: Callable[..., Any]) -> None:
        self._search_changed()
        self._found(search(self._session.model))

    def _found(self, found: Any) -> None:
        """Go where a search leads, and say what it says."""
        session = self._session
        if found.contour is not None:
            now = session.current
            view = now.view if found.view is None else found.view
            session.go(to_point(now, session.model, found.contour, view))
            self.went.emit()
        if found.message:
            session.said.emit(found.message)

    def _solved(self, search: Callable[[Snapshot], Any]) -> None:
        """Search in the residuals of the model as it is, once they are there."""
        session = self._session
        if session.up_to_date and session.snapshot is not None:
            self._found(search(session.snapshot))
            self._show_progress()
        elif session.live is not None:
            session.when_solved(lambda: self._solved(search))
        else:
            session.failed.emit("The alignment is still being chosen; one moment")

    def _from_beginning(self) -> None:
        self.gaps.start_from_beginning()
        self._session.said.emit("The search starts again from the first contour")

    def _from_current(self) -> None:
        at = self._at
        if at is None:
            self._session.failed.emit("There is no current point to start from")
            return
        self.gaps.start_from(*at)
        self._session.said.emit(f"The search goes on from contour {at[0] + 1}, view {at[1] + 1}")

    def _search_changed(self) -> None:
        panel = self._panel
        self.gaps.ignore = panel.ignored_views | self._unused()
        self.residuals.criterion_sd = panel.criterion.value()
        self.residuals.skip_low_weights = panel.skip_low.isChecked()
        self.residuals.least_weight = panel.threshold.value()
        self.residuals.examine_once = panel.once.isChecked()
        self._show_progress()

    def _unused(self) -> frozenset[int]:
        used = self._session.series.used
        return frozenset(v for v in range(len(used)) if not used[v])

    def _show_progress(self) -> None:
        if self._session.snapshot is not None and self._session.fits:
            self._panel.show_progress(*self.residuals.progress(self._session.snapshot))

    def _model_changed(self, change: Any) -> None:
        if change.renumbers:
            for search in (self.gaps, self.residuals, self.contours):
                search.renumber(change)

    def _clear_examined(self) -> None:
        self.residuals.clear_examined()
        self._show_progress()
        self._session.said.emit("The list of examined points is empty")

    # ---- repairs -------------------------------------------------------------------------------

    def _move_point(self) -> None:
        session = self._session
        if not session.up_to_date or session.snapshot is None:
            session.when_solved(self._move_point)
            return
        now = session.current
        edit = None
        if now.on_view:
            edit = self.residuals.move_point(session.snapshot, now.contour, now.at)
        if edit is None:
            session.failed.emit("Go to a big residual first")
        elif session.do(edit, now):
            session.said.emit(f"Moved the point of contour {now.contour + 1} by its residual")

    def _undo_move(self) -> None:
        edit = self.residuals.undo_move(self._session.model)
        if edit is None:
            self._session.failed.emit("There is no move to undo")
        elif self._session.do(edit):
            self._session.said.emit("The point is back where it was")

    def _move_all(self) -> None:
        session = self._session
        if not session.up_to_date or session.snapshot is None:
            session.when_solved(self._move_all)
            return
        edit = self.residuals.move_all(session.snapshot)
        if edit is None:
            session.said.emit("No more residuals!")
            return
        n = len(edit.moves)
        answer = QMessageBox.question(
            self._owner, "Move All by Residual",
            f"Move {n} points with big residuals to where the solution wants them?\n\n"
            "The solution then judges points by themselves: they no longer say anything about it. "
            "Do so only when most of the other points are right. It can be undone.",
        )  # fmt: skip
        if answer == QMessageBox.StandardButton.Yes and session.do(edit):
            session.said.emit(f"Moved {n} points by their residuals")

    def delete_contour(self) -> None:
        """Delete the current contour; the previous one becomes current, without a point."""
        session = self._session
        contour = session.current.contour
        if contour == NONE:
            session.failed.emit("There is no current contour")
            return
        then = Current(session.current.view, contour - 1 if contour else NONE)
        if session.do(DeleteContour(contour), then):
            session.said.emit(f"Deleted contour {contour + 1}")

    def accept_prediction(self) -> None:
        """Add the missing point of the current contour where it is predicted, centred."""
        session, tool = self._session, self._centring.tool
        now, snapshot = session.current, session.snapshot
        if now.contour == NONE:
            session.failed.emit("There is no current contour")
            return
        if session.model.measured[now.contour, now.view]:
            session.failed.emit("There is a point on this view already")
            return
        if snapshot is None or not session.fits or tool is None:
            session.failed.emit("There is no prediction yet; one moment")
            return
        model, contour, view = session.model, now.contour, now.view

        def work() -> tuple[Edit | None, str]:
            from tiltwright.engine.curation.filling import accept_prediction

            return accept_prediction(model, snapshot, tool, contour, view)

        def done(result: tuple[Edit | None, str]) -> None:
            edit, reason = result
            if edit is None:
                session.failed.emit(reason)
            elif session.do(edit, Current(view, contour, view)) and reason:
                session.said.emit(reason)

        session.ask("accept", work, done)

    def fill_all(self) -> None:
        """Centre all missing points where they are predicted."""
        session, tool, snapshot = self._session, self._centring.tool, self._session.snapshot
        if snapshot is None or tool is None:
            session.failed.emit("There are no predictions yet; one moment")
            return
        if not session.up_to_date:
            session.when_solved(self.fill_all)
            return
        model = session.model
        self._panel.set_working(Command.FILL_ALL, True)
        session.said.emit("Filling gaps…")

        def work() -> FillReport:
            from tiltwright.engine.curation.filling import fill_gaps

            return fill_gaps(model, snapshot, tool)

        def done(report: FillReport) -> None:
            self._panel.set_working(Command.FILL_ALL, False)
            if session.model is not model:
                session.failed.emit("The model has changed meanwhile; fill the gaps again")
                return
            if report.edit is not None and not session.do(report.edit):
                return
            session.said.emit(report.text)
            self.filled.emit(report)

        session.ask_slowly("fill", work, done)
