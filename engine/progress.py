"""Progress and cancellation of long work, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from tiltwright.engine.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """An immutable record of how far a piece of work has come.

    ``done`` of ``total`` units (views, slabs) are finished; ``text`` says what is being done.
    """

    done: int
    total: int
    text: str


@dataclass(frozen=True)
class Monitor:
    """What long work calls between its pieces of at most about 0.2 s.

    Parameters
    ----------
    listener : callable, optional
        Receives each :class:`Progress`; called in the worker's thread.
    stop : threading.Event
        Set by anyone, from any thread, to cancel the work.
    enough : threading.Event
        Set likewise, to end work that goes on by iterations with what it has by then.
    """

    listener: Callable[[Progress], None] | None = None
    stop: Event = field(default_factory=Event)
    enough: Event = field(default_factory=Event)

    def check(self) -> None:
        """Raise :class:`~tiltwright.engine.errors.Cancelled` when the work was cancelled."""
        if self.stop.is_set():
            raise Cancelled("cancelled")

    def step(self, done: int, total: int, text: str) -> None:
        """Report progress; raise ``Cancelled`` when the work was cancelled."""
        self.check()
        if self.listener is not None:
            self.listener(Progress(done, total, text))

    def part(self, index: int, n: int) -> Monitor:
        """For one of ``n`` pieces of work of one length."""
        listener = self.listener
        if listener is None:
            return self

        def listen(p: Progress) -> None:
            listener(Progress(index * p.total + p.done, n * p.total, p.text))

        return Monitor(listen, self.stop, self.enough)


SILENT = Monitor()
"""A monitor that nobody listens to and nobody cancels; the default of every numeric function."""
