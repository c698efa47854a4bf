"""Runs in the background: a queue, one compute lane, and signals on the GUI thread."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from PyQt6.QtCore import QObject, pyqtSignal

from tiltwright.engine.errors import Cancelled, InputError, TiltwrightError
from tiltwright.engine.execution.runner import Hooks, Mode, RunProgress, execute
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run, Status

COMPUTE_NICE = 5
"""Lower than the window's priority; on Linux a thread has one of its own."""


@dataclass(frozen=True)
class _Order:
    number: int
    mode: Mode
    before: Status
    """What the run returns to when it is taken out of the queue."""


def _give_way() -> None:
    """The window comes before this thread and those that it starts, where the system can."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), COMPUTE_NICE)


class _Worker(QObject):
    """Carries out one run; numba aborts when two threads enter parallel kernels at once."""

    changed = pyqtSignal(object)
    progress = pyqtSignal(object)
    line = pyqtSignal(int, str)
    ended = pyqtSignal(int, str)

    def __init__(self, project: Project, order: _Order, threads: int) -> None:
        # Without a parent: the thread, which emits, keeps it alive, whatever becomes of the window.
        super().__init__()
        self.order = order
        self.stop, self.enough = threading.Event(), threading.Event()
        self._project, self._threads = project, threads
        self._thread = threading.Thread(target=self._run, name="compute lane", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end; False when it has not come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        number = self.order.number
        hooks = Hooks(
            progress=self.progress.emit, log=lambda line: self.line.emit(number, line),
            changed=self.changed.emit, stop=self.stop, enough=self.enough,
            threads=self._threads,
        )  # fmt: skip
        error = ""
        try:
            import numba

            _give_way()
            numba.set_num_threads(min(self._threads, int(numba.config.NUMBA_NUM_THREADS)))
            execute(self._project, number, self.order.mode, hooks)
        except Cancelled:
            error = "cancelled"
        except TiltwrightError as exc:
            error = str(exc)
        except Exception as exc:
            import traceback

            error = f"an error of the program: {exc!r}"
            self.line.emit(number, traceback.format_exc())
        self.ended.emit(number, error)


class Jobs(QObject):
    """The queue of a project's runs.

    Signals
    -------
    run_changed : (Run)
        A run has a new status or new outputs; already in the project.
    progress_changed : (RunProgress)
    line_logged : (run, line)
    run_ended : (run, error)
        ``error`` is empty when it succeeded.
    became_idle
    """

    run_changed = pyqtSignal(object)
    progress_changed = pyqtSignal(object)
    line_logged = pyqtSignal(int, str)
    run_ended = pyqtSignal(int, str)
    became_idle = pyqtSignal()

    def __init__(self, threads: Callable[[], int], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._threads = threads
        self._project: Project | None = None
        self._queue: list[_Order] = []
        self._worker: _Worker | None = None
        self.progress: dict[int, RunProgress] = {}

    def set_project(self, project: Project | None) -> None:
        """Whose runs are carried out; nothing may be running."""
        assert self._worker is None
        self._project, self._queue = project, []
        self.progress.clear()

    @property
    def busy(self) -> bool:
        """Whether a run is running or waits."""
        return self._worker is not None or bool(self._queue)

    @property
    def running(self) -> int | None:
        """The run that is running."""
        return self._worker.order.number if self._worker is not None else None

    def start(self, number: int, mode: Mode = "continue") -> None:
        """Queue a run; it starts when it can.

        Raises
        ------
        InputError
            The project is read-only, or the run is running or waits already.
        """
        project = self._project
        assert project is not None
        project.check_writable()
        if number == self.running or any(o.number == number for o in self._queue):
            raise InputError(f"{project.runs[number].label}: is running or waits already")
        run = project.runs[number]
        self._queue.append(_Order(number, mode, run.status))
        # Not written: a queue ends with its window.
        run.status = "queued"
        self.run_changed.emit(run)
        self._next()

    def stop(self, number: int) -> None:
        """Cancel a running or waiting run."""
        if self._worker is not None and number == self.running:
            self._worker.stop.set()
            return
        waiting = [o for o in self._queue if o.number == number]
        for order in waiting:
            self._take_back(order)

    def end_early(self, number: int) -> None:
        """Let a running run end the series at hand with what it has."""
        if self._worker is not None and self.can_end_early(number):
            self._worker.enough.set()

    def can_end_early(self, number: int) -> bool:
        """Whether a run is running, and its protocol has something to keep at any time."""
        project = self._project
        if project is None or number != self.running:
            return False
        run = project.runs[number]
        return project.protocol(run).ends_early(project.params(run))

    def stop_all(self) -> None:
        """Cancel everything."""
        for order in list(self._queue):
            self.stop(order.number)
        if self._worker is not None:
            self._worker.stop.set()

    def wait(self, seconds: float = 10) -> bool:
        """Wait for the running run to end; signals of its end are delivered later."""
        return self._worker is None or self._worker.wait(seconds)

    def _take_back(self, order: _Order) -> None:
        """Out of the queue, as if it had never been in it."""
        assert self._project is not None
        self._queue.remove(order)
        run = self._project.runs.get(order.number)
        if run is not None:
            run.status = order.before
            self.run_changed.emit(run)

    def _ready(self, order: _Order) -> bool:
        """Whether everything that a run waits for has ended."""
        assert self._project is not None
        run = self._project.runs[order.number]
        before = {*self._project.parents(order.number), *run.wait_for}
        pending = {o.number for o in self._queue}
        return not before & pending

    def _next(self) -> None:
        if self._worker is not None or self._project is None:
            return
        order = next((o for o in self._queue if self._ready(o)), None)
        if order is None and self._queue:
            order = self._queue[0]  # they wait for each other: the first must begin
        if order is None:
            self.became_idle.emit()
            return
        self._queue.remove(order)
        worker = _Worker(self._project.snapshot(), order, self._threads())
        self._worker = worker
        worker.changed.connect(self._take)
        worker.progress.connect(self._take_progress)
        worker.line.connect(self.line_logged)
        worker.ended.connect(self._ended)
        worker.start()

    def _take(self, run: Run) -> None:
        """Put a worker's state of a run into the project; a person's words on it stay."""
        assert self._project is not None
        mine = self._project.runs.get(run.id)
        if mine is not None:
            words = ("label", "comment", "colour", "excluded", "wait_for")
            differs = any(getattr(mine, w) != getattr(run, w) for w in words)
            for word in words:
                setattr(run, word, getattr(mine, word))
            self._project.runs[run.id] = run
            if differs and run.status != "running":
                try:
                    self._project.save(run)
                except TiltwrightError as exc:
                    self.line_logged.emit(run.id, f"error: {exc}")
        self.run_changed.emit(run)

    def _take_progress(self, progress: RunProgress) -> None:
        self.progress[progress.run] = progress
        self.progress_changed.emit(progress)

    def _ended(self, number: int, error: str) -> None:
        worker = self._worker
        assert worker is not None
        assert self._project is not None
        worker.wait()
        worker.deleteLater()
        self._worker = None
        self.progress.pop(number, None)
        run = self._project.runs.get(number)
        if run is not None and run.status == "queued":
            run.status = worker.order.before  # it could not even begin
        if error:
            self._drop_dependents(number)
        self.run_ended.emit(number, error)
        self._next()

    def _drop_dependents(self, number: int) -> None:
        """What waits for a run that did not succeed cannot start."""
        assert self._project is not None
        below = self._project.descendants([number]) - {number}
        for order in [o for o in self._queue if o.number in below]:
            self._take_back(order)
