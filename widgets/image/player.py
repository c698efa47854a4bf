"""Playing through views or sections, back and forth."""

from __future__ import annotations

from PyQt6.QtCore import QObject, QTimer, pyqtSignal


class Player(QObject):
    """Steps through ``0 .. count - 1`` and turns round at the ends.

    Signals
    -------
    stepped : (index)
        The next one is due.
    started, stopped : ()
    """

    stepped = pyqtSignal(int)
    started = pyqtSignal()
    stopped = pyqtSignal()

    def __init__(self, parent: QObject | None = None, interval_ms: int = 50) -> None:
        super().__init__(parent)
        self._count, self._at, self._way = 0, 0, 1
        self._timer = QTimer(self)
        self._timer.setInterval(interval_ms)
        self._timer.timeout.connect(self._step)

    @property
    def playing(self) -> bool:
        """Whether it runs."""
        return self._timer.isActive()

    @property
    def interval_ms(self) -> int:
        """Time between two steps."""
        return self._timer.interval()

    def set_interval(self, interval_ms: int) -> None:
        """Set the time between two steps."""
        self._timer.setInterval(interval_ms)

    def set_range(self, count: int, at: int) -> None:
        """Say how many there are and which one is shown; a running one goes on from there."""
        self._count, self._at = count, at
        if count < 2:
            self.stop()

    def start(self, way: int = 1) -> None:
        """Run forwards (1) or backwards (-1)."""
        self._way = way
        if self._count > 1 and not self._timer.isActive():
            self._timer.start()
            self.started.emit()

    def stop(self) -> None:
        """Stop where it is."""
        if self._timer.isActive():
            self._timer.stop()
            self.stopped.emit()

    def toggle(self, way: int = 1) -> None:
        """Run or stop."""
        if self.playing:
            self.stop()
        else:
            self.start(way)

    def _step(self) -> None:
        if not 0 <= self._at + self._way < self._count:
            self._way = -self._way
        self._at += self._way
        self.stepped.emit(self._at)
