"""Exceptions that nobody caught: into a log that a person can send, and on the screen."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import platform
import sys
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from PyQt6.QtCore import QObject, QStandardPaths, Qt, pyqtSignal
from PyQt6.QtWidgets import QApplication, QMessageBox

import tiltwright

_MOST_BYTES = 2_000_000


def log_path() -> Path:
    """Where errors of the program are logged."""
    place = QStandardPaths.StandardLocation.AppDataLocation
    folder = Path(QStandardPaths.writableLocation(place) or Path.home() / ".tiltwright")
    return folder / "crash.log"


class CrashHandler(QObject):
    """Catches what would otherwise abort the program; one per application."""

    caught = pyqtSignal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.path = log_path()
        self._file: Any = None
        self._shown = False
        self._before: Any = None
        self.caught.connect(self._show)

    def install(self) -> None:
        """Take over the hooks of Python."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size > _MOST_BYTES:
                os.replace(self.path, self.path.with_suffix(".old.log"))
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
            faulthandler.enable(self._file)
        except OSError:
            faulthandler.enable()
        self._before = sys.excepthook, threading.excepthook
        sys.excepthook = self._hook
        threading.excepthook = self._thread_hook

    def remove(self) -> None:
        """Give the hooks back."""
        if self._before is not None:
            sys.excepthook, threading.excepthook = self._before
            self._before = None
        if self._file is not None:
            faulthandler.enable()
            self._file.close()
            self._file = None

    def _thread_hook(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            self._hook(args.exc_type, args.exc_value, args.exc_traceback)

    def _hook(
        self, kind: type[BaseException], value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QApplication.quit()
            return
        text = "".join(traceback.format_exception(kind, value, trace))
        print(text, file=sys.stderr)
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._file.write(
                    f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}  "
                    f"Tiltwright {tiltwright.__version__}, Python {platform.python_version()}, "
                    f"{platform.platform()}\n{text}\n"
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
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.finished.connect(self._closed)
        box.open()

    def _closed(self) -> None:
        self._shown = False
