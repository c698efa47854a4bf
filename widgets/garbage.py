"""Garbage collection on the GUI thread alone.

Python collects cycles in whichever thread happens to allocate; a widget that is collected in the
compute thread is destroyed there, which crashes Qt.
"""

from __future__ import annotations

import gc
from typing import ClassVar

from PyQt6.QtCore import QObject, QTimer

_INTERVAL_MS = 500


class GuiGarbage(QObject):
    """Takes collecting over for as long as it lives; make it on the GUI thread."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._limits = gc.get_threshold()
        gc.disable()
        self._timer = QTimer(self)
        self._timer.setInterval(_INTERVAL_MS)
        self._timer.timeout.connect(self.check)
        self._timer.start()

    def check(self) -> None:
        """Collect the oldest generation that is due."""
        counts = gc.get_count()
        for generation in (2, 1, 0):
            if counts[generation] > self._limits[generation]:
                gc.collect(generation)
                return

    def stop(self) -> None:
        """Hand collecting back to Python."""
        self._timer.stop()
        gc.enable()


class SetAside:
    """What is alive now is not looked at again by collections, until the last of these ends.

    With the numerical libraries loaded a collection takes 40 to 70 ms, a stall that one sees
    where an answer is due in 30. For as long as an editor is open; ending it makes everything
    collectable again. Cycles set aside that become garbage meanwhile wait until then.
    """

    _held: ClassVar[int] = 0

    def __init__(self) -> None:
        self._on = True
        SetAside._held += 1
        self.again()

    def again(self) -> None:
        """Set aside also what has been made since: loaded libraries, compiled kernels."""
        if self._on:
            gc.freeze()

    def end(self) -> None:
        """No longer; a second call does nothing."""
        if self._on:
            self._on = False
            SetAside._held -= 1
            if not SetAside._held:
                gc.unfreeze()
