"""What is being edited: the model, where one is in it, its history and its live alignment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import QObject, pyqtSignal
from PyQt6.QtGui import QUndoCommand, QUndoStack

from tiltwright.engine.curation.growth import Size
from tiltwright.engine.errors import TiltwrightError
from tiltwright.widgets.editor import current as place
from tiltwright.widgets.editor.current import Current
from tiltwright.widgets.editor.unsaved import Unsaved
from tiltwright.widgets.garbage import SetAside
from tiltwright.widgets.lane import Lane

if TYPE_CHECKING:
    from tiltwright.engine.curation.live import LiveAlignment, Snapshot
    from tiltwright.engine.model.edits import Change, Edit
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.engine.model.tilt_series import TiltSeries


_PAUSE_S = 0.2
"""What is chosen for a model that has grown is chosen once nobody edits for so long."""


@dataclass(frozen=True)
class Numbers:
    """The two numbers that judge a model, raw pixels."""

    mean_px: float = float("nan")
    leave_one_out_px: float = float("nan")

    @classmethod
    def of(cls, snapshot: Snapshot) -> Numbers:
        """Those of a solved model."""
        return cls(snapshot.mean_residual_px, snapshot.leave_one_out_px)


class _EditCommand(QUndoCommand):
    """One gesture: an edit, what undoes it, and where one was before and after."""

    def __init__(self, session: Session, edit: Edit, inverse: Edit, then: Current | None) -> None:
        super().__init__(edit.label)
        self._session, self._edit, self._inverse = session, edit, inverse
        self._before, self._after = session.current, then
        self._first = True

    def redo(self) -> None:
        """Apply it; the first time :meth:`Session.do` has."""
        if self._first:
            self._first = False
            return
        self._session.replay(self._edit, self._after or self._session.current)

    def undo(self) -> None:
        """Apply its inverse."""
        self._session.replay(self._inverse, self._before)


class Session(QObject):
    """Holds the model; every edit is journalled, can be undone, and is solved in the lane.

    Signals
    -------
    model_changed : (Change)
    current_changed : ()
        Another point, contour or view.
    solved : ()
        :attr:`snapshot` is a newer one.
    said : (text)
        For the message log.
    failed : (text)
        Something could not be done; for the message log too.

    Attributes
    ----------
    opening, first
        Numbers and snapshot that changes are counted from: of the model as it was opened, or as
        it was when the variables were last chosen.
    chosen_anew : str
        When that was, in words; empty until it happens.
    """

    model_changed = pyqtSignal(object)
    current_changed = pyqtSignal()
    solved = pyqtSignal()
    said = pyqtSignal(str)
    failed = pyqtSignal(str)

    def __init__(
        self,
        series: TiltSeries,
        model: FiducialModel,
        journal: Path | None = None,
        params: Any = None,
        parent: QObject | None = None,
        *,
        closed: str = "",
    ) -> None:
        super().__init__(parent)
        self.series, self._model, self._params = series, model, params
        self.undo_stack = QUndoStack(self)
        self.live_lane = Lane(self)
        # Two that compute at once hold each other up: what can wait does until an edit's numbers
        # have been shown.
        self.slow_lane = Lane(self, behind=[self.live_lane])
        self._aside = SetAside()
        self.snapshot: Snapshot | None = None
        self.live: LiveAlignment | None = None
        self.opening, self.before_edit = Numbers(), Numbers()
        self.first: Snapshot | None = None
        self.chosen_anew = ""
        self._chosen_at: Size | None = None
        self._current = Current(model.n_views // 2)
        self._numbering, self._solved_numbering = 0, 0
        self._serial = count()
        self._waiting: list[Callable[[], None]] = []
        self.unsaved = Unsaved(journal, closed, self)
        self.unsaved.failed.connect(self.failed)
        for lane in (self.live_lane, self.slow_lane):
            lane.failed.connect(self._lane_failed)

    # ---- the model -----------------------------------------------------------------------------

    @property
    def model(self) -> FiducialModel:
        """The model as it is now."""
        return self._model

    @property
    def current(self) -> Current:
        """Where one is."""
        return self._current

    @property
    def modified(self) -> bool:
        """Whether there are edits since the last save."""
        return not self.undo_stack.isClean()

    def do(self, edit: Edit, then: Current | None = None) -> bool:
        """Apply an edit as one step of the history; ``then`` is where one is afterwards.

        False, with a message, when it does not fit the model.
        """
        if self.unsaved.refuses:
            self.failed.emit(self.unsaved.refuses)
            return False
        try:
            step = edit.apply(self._model)
        except TiltwrightError as exc:
            self.failed.emit(str(exc))
            return False
        command = _EditCommand(self, edit, step.inverse, then)
        self._take(step.model, step.change, edit, then)
        self.undo_stack.push(command)
        return True

    def replay(self, edit: Edit, then: Current) -> None:
        """Apply an edit of the history."""
        step = edit.apply(self._model)
        self._take(step.model, step.change, edit, then)

    def _take(self, model: FiducialModel, change: Change, edit: Edit, then: Current | None) -> None:
        if self.snapshot is not None:
            self.before_edit = Numbers.of(self.snapshot)
        self._model = model
        if change.renumbers:
            self._numbering += 1
        self.unsaved.append(edit)
        now = self._current if then is None else then
        if then is None and change.renumbers and now.contour != place.NONE:
            number = change.new_number(now.contour)
            now = Current(now.view) if number is None else replace(now, contour=number)
        self._current = place.settled(now, model)
        self.model_changed.emit(change)
        self.current_changed.emit()
        self.solve()
        self._choose_if_grown()

    # ---- where one is --------------------------------------------------------------------------

    def go(self, current: Current) -> None:
        """Be somewhere else."""
        settled = place.settled(current, self._model)
        if settled != self._current:
            self._current = settled
            self.current_changed.emit()

    def show_view(self, view: int) -> None:
        """Show another view; the current point follows its contour."""
        self.go(place.to_view(self._current, self._model, view))

    def attach(self, contour: int, view: int) -> None:
        """Attach to a point."""
        self.go(place.to_point(self._current, self._model, contour, view))

    # ---- the live alignment --------------------------------------------------------------------

    def choose(self) -> None:
        """Choose variables and groups anew for the model as it is, then solve with them."""
        self._choose(False)

    def _choose(self, by_itself: bool) -> None:
        series, model, params = self.series, self._model, self._params
        self._chosen_at = size = Size.of(model, series.used)
        at = f"at {size.beads} beads"

        def work() -> LiveAlignment:
            from tiltwright.engine.curation.live import LiveAlignment
            from tiltwright.engine.curation.warm import warm_up

            # What later clicks need; while somebody edits it would hold everything up.
            warm_up(series.images)
            return LiveAlignment.choose(series, model, params)

        self.slow_lane.request(
            (id(self), "choose"), work, lambda live: self._have_choice(live, at, by_itself),
            later=by_itself, rest_s=_PAUSE_S,
        )  # fmt: skip

    def _choose_if_grown(self) -> None:
        """What was chosen with three beads is wrong for twenty."""
        if self._chosen_at is None:
            return
        now = Size.of(self._model, self.series.used)
        # Where there were too few beads, one more point may make them enough.
        retry = self.live is None and now != self._chosen_at
        if retry or self._chosen_at.outgrown_by(now):
            self._choose(True)

    def _have_choice(self, live: LiveAlignment, at: str, by_itself: bool) -> None:
        self._aside.again()
        if self.live is not None:
            self.chosen_anew = at
            if by_itself:
                self.said.emit(
                    f"The model has grown: variables chosen anew {at}, changes count from here"
                )
        self.live = live
        self.first = live.first
        self.opening = self.before_edit = Numbers.of(live.first)
        self.said.emit(f"Alignment: {live.description}")
        if live.first.model is self._model:
            self._have_snapshot(live.first, self._numbering)
        else:
            self.solve()

    def solve(self) -> None:
        """Solve the model as it is in the lane; the newest wins."""
        live, model, numbering = self.live, self._model, self._numbering
        if live is None:
            return
        before = self.snapshot if self._solved_numbering == numbering else None
        self.live_lane.request(
            (id(self), "solve"), lambda: live.solve(model, before),
            lambda snapshot: self._have_snapshot(snapshot, numbering),
        )  # fmt: skip

    @property
    def fits(self) -> bool:
        """Whether the contours of the snapshot are those of the model."""
        return self.snapshot is not None and self._solved_numbering == self._numbering

    @property
    def up_to_date(self) -> bool:
        """Whether the snapshot is that of the model as it is."""
        return self.snapshot is not None and self.snapshot.model is self._model

    def _have_snapshot(self, snapshot: Snapshot, numbering: int) -> None:
        if numbering != self._numbering:
            return
        self.snapshot, self._solved_numbering = snapshot, numbering
        if not snapshot.solved:
            self.failed.emit(f"Not solved: {snapshot.problem}")
        self.solved.emit()
        if self.up_to_date:
            waiting, self._waiting = self._waiting, []
            for then in waiting:
                then()

    def when_solved(self, then: Callable[[], None]) -> None:
        """Call ``then`` once the snapshot is that of the model as it is."""
        if self.up_to_date:
            then()
        else:
            self._waiting.append(then)

    # ---- work in the background ----------------------------------------------------------------

    def ask(self, what: str, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Short work of a gesture in the lane; each request is served, in order."""
        self.live_lane.request((id(self), what, next(self._serial)), work, done)

    def ask_slowly(
        self, what: str, work: Callable[[], Any], done: Callable[[Any], None], later: bool = False
    ) -> None:
        """Longer work beside the live solves; the newest of ``what`` wins."""
        self.slow_lane.request((id(self), what), work, done, later=later)

    @property
    def idle(self) -> bool:
        """Whether nothing waits or works."""
        return self.live_lane.idle and self.slow_lane.idle

    def close(self) -> None:
        """End the lanes and close the journal; it stays when there are edits to save."""
        # A stack that goes emits once more.
        self.undo_stack.blockSignals(True)
        self.live_lane.close()
        self.slow_lane.close()
        self._aside.end()
        self.unsaved.close()

    def _lane_failed(self, key: object, text: str) -> None:
        self.failed.emit(text)

    # ---- the journal ---------------------------------------------------------------------------

    def restore(self) -> None:
        """Bring back what was not saved; each edit of it can be undone."""
        start, found = self._model, self.unsaved.take()
        if found is None:
            return
        for edit in found.edits:
            self.do(edit)
        # Only now: what was brought back stands in the journal already.
        self.unsaved.go_on(start, found)

    def leave(self) -> None:
        """Go on from the saved model; what was not saved is set aside beside the journal."""
        if self.unsaved.take() is not None:
            self.unsaved.go_on(self._model, None)

    def saved(self) -> None:
        """The model has been saved: the journal begins anew."""
        self.undo_stack.setClean()
        self.unsaved.saved(self._model)
