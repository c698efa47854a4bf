"""Exceptions that nobody caught: into a log that a person can send, and on the screen."""

from __future__ import annotations

import faulthandler
import platform
import sys
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from PyQt6.QtCore import QObject, QStandardPaths, pyqtSignal
from PyQt6.QtWidgets import QApplication, QMessageBox

import tiltwright


class CrashHandler(QObject):
    """Catches what would otherwise abort the program; one per application."""

    caught = pyqtSignal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        place = QStandardPaths.StandardLocation.AppDataLocation
        folder = Path(QStandardPaths.writableLocation(place) or Path.home() / ".tiltwright")
        self.path = folder / "crash.log"
        self._file: Any = None
        self._shown = False
        self.caught.connect(self._show)

    def install(self) -> None:
        """Take over the hooks of Python."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
            faulthandler.enable(self._file)
        except OSError:
            faulthandler.enable()
        sys.excepthook = self._hook
        threading.excepthook = lambda args: self._hook(
            args.exc_type, args.exc_value, args.exc_traceback
        )

    def _hook(
        self, kind: type[BaseException], value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QApplication.quit()
            return
        text = "".join(traceback.format_exception(kind, value, trace))
        print(text, file=sys.stderr)
        if self._file is not None:
            self._file.write(
                f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}  Tiltwright {tiltwright.__version__}, "
                f"Python {platform.python_version()}, {platform.platform()}\n{text}\n"
            )
            self._file.flush()
        self.caught.emit(text)

    def _show(self, text: str) -> None:
        if self._shown:
            return
        self._shown = True
        box = QMessageBox(QApplication.activeWindow())
        box.setIcon(QMessageBox.Icon.Critical)
        box.setWindowTitle("Tiltwright")
        box.setText("Something went wrong in Tiltwright itself. Your project is safe on disk.")
        box.setInformativeText(f"Please send this log to the developers:\n{self.path}")
        box.setDetailedText(text)
        box.finished.connect(self._closed)
        box.open()

    def _closed(self) -> None:
        self._shown = False
