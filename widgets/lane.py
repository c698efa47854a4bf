"""One background lane for viewer work: requests go in, responses come back on the GUI thread.

Work is a callable without arguments, made of values that nobody changes meanwhile. A callable may
return an iterator that yields ``None`` between short pieces and last its result: more urgent
requests then go first. Kernels must run in the calling thread alone (no parallel ones) and let go
of the interpreter lock.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PyQt6.QtCore import QObject, pyqtSignal, pyqtSlot

QUIET_S = 0.06
"""So long after an urgent request nothing else begins: the next one may follow at once."""
_POLL_S = 0.005
"""How often a lane looks whether those it gives way to are at rest."""
_SHARE_S = 0.001


def share_interpreter() -> None:
    """Hand the interpreter over often: a window in which threads compute calls this once.

    With Python's 5 ms every call of numpy by which the GUI thread lets go of it costs 5 ms until
    it comes back, and painting a picture makes several.
    """
    sys.setswitchinterval(_SHARE_S)


@dataclass(eq=False)
class _Request:
    key: Hashable
    work: Callable[[], Any]
    later: bool
    rest_s: float
    pieces: Iterator[Any] | None = None
    cancelled: bool = False


class Lane(QObject):
    """A thread of its own that serves requests one at a time; the newest of a key wins.

    A waiting request gives way to a newer one of the same key. One that has begun is finished and
    delivered, so that a stream of requests always shows something, unless it works in pieces or
    was cancelled. The thread starts with the first request.

    Parameters
    ----------
    behind : sequence of Lane
        While one of these has something urgent, and for a moment afterwards, nothing begins
        here that was asked for ``later``, and its pieces wait.

    Signals
    -------
    failed : (key, text)
        The work of a request raised an exception; its ``done`` is not called.
    """

    failed = pyqtSignal(object, str)
    _served = pyqtSignal(object, object, object)

    def __init__(self, parent: QObject | None = None, behind: Sequence[Lane] = ()) -> None:
        super().__init__(parent)
        self._behind = list(behind)
        # Apart from the requests and touched by this thread alone: whoever drops the last
        # reference to a closure may destroy the widget in it, which only this thread may do.
        self._done: dict[_Request, Callable[[Any], None]] = {}
        self._wake = threading.Condition()
        self._urgent: OrderedDict[Hashable, _Request] = OrderedDict()
        self._later: OrderedDict[Hashable, _Request] = OrderedDict()
        self._current: _Request | None = None
        self._arriving: list[_Request] = []
        self._outstanding, self._rush = 0, 0
        self._urgent_at = float("-inf")
        self._closed = False
        self._thread: threading.Thread | None = None
        self._served.connect(self._deliver)

    def request(
        self,
        key: Hashable,
        work: Callable[[], Any],
        done: Callable[[Any], None],
        *,
        later: bool = False,
        rest_s: float = QUIET_S,
    ) -> None:
        """Queue ``work``; ``done(result)`` follows on the GUI thread.

        Parameters
        ----------
        later : bool
            Serve it, and each piece of it, when nothing urgent waits here or in a lane that this
            one is behind, nor has for ``rest_s``.
        """
        with self._wake:
            if self._closed:
                return
            self._drop(key)
            queue = self._later if later else self._urgent
            queue[key] = request = _Request(key, work, later, rest_s)
            self._done[request] = done
            self._outstanding += 1
            self._rush += not later
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="viewer lane", daemon=True)
                self._thread.start()
            self._wake.notify()

    def give_way_to(self, lane: Lane) -> None:
        """Be behind another lane too."""
        self._behind.append(lane)

    def cancel(self, match: Callable[[Hashable], bool]) -> None:
        """Forget every request whose key matches, also one that has begun or is on its way back."""
        with self._wake:
            for key in [k for q in (self._urgent, self._later) for k in q if match(k)]:
                self._drop(key)
            if self._current is not None and match(self._current.key):
                self._current.cancelled = True
            for request in self._arriving:
                if match(request.key):
                    request.cancelled = True

    def waits(self, key: Hashable) -> bool:
        """Whether a request of this key waits or is being served."""
        with self._wake:
            if self._current is not None and self._current.key == key:
                return not self._current.cancelled
            return key in self._urgent or key in self._later

    @property
    def rested_s(self) -> float:
        """Seconds since something urgent last waited, worked or was on its way back."""
        with self._wake:
            return 0.0 if self._rush else time.monotonic() - self._urgent_at

    @property
    def idle(self) -> bool:
        """Whether every request has been served and delivered."""
        with self._wake:
            return self._outstanding == 0

    def close(self) -> None:
        """Drop what waits, finish the piece in hand, and end the thread."""
        with self._wake:
            self._closed = True
            for key in [*self._urgent, *self._later]:
                self._drop(key)
            if self._current is not None:
                self._current.cancelled = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._done.clear()

    def _drop(self, key: Hashable) -> None:
        for queue in (self._urgent, self._later):
            request = queue.pop(key, None)
            if request is not None:
                self._gone(request)
        if self._current is not None and self._current.key == key and self._current.pieces:
            self._current.cancelled = True

    def _gone(self, request: _Request) -> Callable[[Any], None] | None:
        self._outstanding -= 1
        self._rush -= not request.later
        return self._done.pop(request, None)

    def _due(self) -> _Request | None:
        """The first that was asked for later and need not wait any more."""
        if not self._later:
            return None
        here = time.monotonic() - self._urgent_at
        rested = min([here, *(lane.rested_s for lane in self._behind)])
        return next((r for r in self._later.values() if rested >= r.rest_s), None)

    def _next(self) -> _Request | None:
        with self._wake:
            due = None
            while not (self._closed or self._urgent or (due := self._due())):
                self._wake.wait(_POLL_S if self._later else None)
            if self._closed:
                return None
            if self._urgent:
                self._urgent_at = time.monotonic()
                due = self._urgent.popitem(last=False)[1]
            else:
                assert due is not None
                del self._later[due.key]
            self._current = due
            return due

    def _serve(self) -> None:
        while (request := self._next()) is not None:
            result, error, finished = None, None, True
            try:
                if request.pieces is None:
                    result = request.work()
                    if isinstance(result, Iterator):
                        request.pieces = result
                if request.pieces is not None:
                    try:
                        result = next(request.pieces)
                        finished = result is not None
                    except StopIteration:
                        pass
            except Exception as exc:
                error = f"{type(exc).__name__}: {exc}"
            with self._wake:
                self._current = None
                if self._closed:
                    return
                queue = self._later if request.later else self._urgent
                if request.key in self._urgent or request.key in self._later:
                    request.cancelled |= not finished
                elif not (finished or request.cancelled):
                    queue[request.key] = request
                    continue
                self._arriving.append(request)
            self._served.emit(request, result, error)
            # Not held while the thread waits: nothing of it may be the last of a widget.
            del request, result

    @pyqtSlot(object, object, object)
    def _deliver(self, request: _Request, result: Any, error: str | None) -> None:
        with self._wake:
            done = self._gone(request)
            if not request.later:
                self._urgent_at = time.monotonic()
            self._arriving.remove(request)
            wanted = not (request.cancelled or self._closed)
        if not wanted or done is None:
            return
        if error is not None:
            self.failed.emit(request.key, error)
        else:
            done(result)
