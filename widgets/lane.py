"""One background lane for viewer work: requests go in, responses come back on the GUI thread.

Work is a callable without arguments, made of values that nobody changes meanwhile. A callable may
return an iterator that yields ``None`` between short pieces and last its result: more urgent
requests then go first. Kernels must run in the calling thread alone (no parallel ones) and let go
of the interpreter lock.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from PyQt6.QtCore import QObject, pyqtSignal, pyqtSlot

QUIET_S = 0.06
"""So long after an urgent request nothing else begins: the next one may follow at once."""


@dataclass(eq=False)
class _Request:
    key: Hashable
    work: Callable[[], Any]
    done: Callable[[Any], None]
    pieces: Iterator[Any] | None = None
    cancelled: bool = False


class Lane(QObject):
    """A thread of its own that serves requests one at a time; the newest of a key wins.

    A waiting request gives way to a newer one of the same key. One that has begun is finished and
    delivered, so that a stream of requests always shows something, unless it works in pieces or
    was cancelled. The thread starts with the first request.

    Signals
    -------
    failed : (key, text)
        The work of a request raised an exception; its ``done`` is not called.
    """

    failed = pyqtSignal(object, str)
    _served = pyqtSignal(object, object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._wake = threading.Condition()
        self._urgent: OrderedDict[Hashable, _Request] = OrderedDict()
        self._later: OrderedDict[Hashable, _Request] = OrderedDict()
        self._current: _Request | None = None
        self._arriving: list[_Request] = []
        self._outstanding = 0
        self._quiet_until = 0.0
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
    ) -> None:
        """Queue ``work``; ``done(result)`` follows on the GUI thread.

        Parameters
        ----------
        later : bool
            Serve it when nothing else waits, nor has for a moment.
        """
        with self._wake:
            if self._closed:
                return
            self._drop(key)
            queue = self._later if later else self._urgent
            queue[key] = _Request(key, work, done)
            self._outstanding += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="viewer lane", daemon=True)
                self._thread.start()
            self._wake.notify()

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

    def _drop(self, key: Hashable) -> None:
        for queue in (self._urgent, self._later):
            if queue.pop(key, None) is not None:
                self._outstanding -= 1
        if self._current is not None and self._current.key == key and self._current.pieces:
            self._current.cancelled = True

    def _next(self) -> tuple[_Request, bool] | None:
        with self._wake:
            while not (self._closed or self._urgent):
                pause = self._quiet_until - time.monotonic()
                if self._later and pause <= 0:
                    break
                self._wake.wait(pause if self._later else None)
            if self._closed:
                return None
            later = not self._urgent
            if not later:
                self._quiet_until = time.monotonic() + QUIET_S
            queue = self._later if later else self._urgent
            self._current = queue.popitem(last=False)[1]
            return self._current, later

    def _serve(self) -> None:
        while (taken := self._next()) is not None:
            request, later = taken
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
                if not finished and not request.cancelled:
                    if request.key not in self._urgent and request.key not in self._later:
                        (self._later if later else self._urgent)[request.key] = request
                    else:
                        self._outstanding -= 1
                    continue
                self._arriving.append(request)
            self._served.emit(request, result, error)

    @pyqtSlot(object, object, object)
    def _deliver(self, request: _Request, result: Any, error: str | None) -> None:
        with self._wake:
            self._outstanding -= 1
            self._arriving.remove(request)
            wanted = not (request.cancelled or self._closed)
        if not wanted:
            return
        if error is not None:
            self.failed.emit(request.key, error)
        else:
            request.done(result)
