"""The process's own memory: ``RssAnon``, which leaves mapped files out."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

_STATUS = Path("/proc/self/status")


def anonymous_mb() -> float:
    """``RssAnon`` of this process in MB (1e6 bytes); 0 where the system does not tell."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return float(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return 0.0


class PeakMemory:
    """Samples the process's memory while it is open; ``peak_mb`` is the largest value seen."""

    def __init__(self, interval_s: float = 0.02) -> None:
        self.peak_mb = 0.0
        self._interval = interval_s
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="peak-memory", daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self.peak_mb = max(self.peak_mb, anonymous_mb())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.peak_mb = max(self.peak_mb, anonymous_mb())
