"""Where a ChimeraX script lies, and how to open it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from PyQt6.QtCore import QProcess, QUrl, pyqtSignal
from PyQt6.QtGui import QDesktopServices, QGuiApplication
from PyQt6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from tiltwright.widgets.styled import ElidedLabel


class SceneRow(QWidget):
    """The path of a script, to be copied, and a button that opens it in ChimeraX or shows it.

    Signals
    -------
    said : (text)
        What was done, or why it was not.
    """

    said = pyqtSignal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._script: Path | None = None
        self.path = ElidedLabel("")
        self.copy_button = QPushButton("Copy path", self)
        self.copy_button.setToolTip("Copy the path of the script")
        self.open_button = QPushButton(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 3, 6, 5)
        row.setSpacing(6)
        row.addWidget(QLabel("ChimeraX script", self))
        row.addWidget(self.path, 1)
        row.addWidget(self.copy_button)
        row.addWidget(self.open_button)
        self.copy_button.clicked.connect(self._copy)
        self.open_button.clicked.connect(self._open)
        self.set_script(None)

    def set_script(self, script: Path | None) -> None:
        """Show a script, or nothing."""
        self._script = script
        self.setVisible(script is not None)
        if script is None:
            return
        self.path.setText(str(script))
        self.path.setToolTip(str(script))
        found = chimerax()
        self.open_button.setText("Open in ChimeraX" if found else "Show folder")
        self.open_button.setToolTip(
            f"With {found}" if found
            else "ChimeraX was not found on this computer: open the script there, or here with "
            "File, Open"
        )  # fmt: skip

    def _copy(self) -> None:
        board = QGuiApplication.clipboard()
        if board is not None and self._script is not None:
            board.setText(str(self._script))
            self.said.emit("The path of the script was copied")

    def _open(self) -> None:
        script, program = self._script, chimerax()
        if script is None:
            return
        if not script.exists():
            self.said.emit(f"{script}: no such file; run the step again")
        elif program is None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(script.parent)))
        elif QProcess.startDetached(str(program), [str(script)], str(script.parent))[0]:
            self.said.emit(f"{script.name} is opened in ChimeraX")
        else:
            self.said.emit(f"{program} could not be started; open {script} in ChimeraX by hand")


def chimerax() -> Path | None:
    """The program ChimeraX: on the path, else where its installers put it; ``None`` without."""
    for name in ("chimerax", "ChimeraX", "chimerax-daily"):
        found = shutil.which(name)
        if found:
            return Path(found)
    return next((path for path in _usual_places() if path.is_file()), None)


def _usual_places() -> Iterator[Path]:
    if sys.platform == "darwin":
        for app in sorted(Path("/Applications").glob("ChimeraX*.app"), reverse=True):
            yield app / "Contents" / "MacOS" / "ChimeraX"
    elif sys.platform == "win32":
        for folder in sorted(Path("C:/Program Files").glob("ChimeraX*"), reverse=True):
            yield folder / "bin" / "ChimeraX.exe"
    else:
        yield Path("/usr/lib/ucsf-chimerax/bin/ChimeraX")
        yield Path("/usr/libexec/UCSF-ChimeraX/bin/ChimeraX")
        for root in (Path("/opt"), Path.home(), Path.home() / ".local"):
            for folder in sorted(root.glob("chimerax*"), reverse=True):
                yield folder / "bin" / "ChimeraX"
