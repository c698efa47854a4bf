"""The page that makes a new project."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field
from PyQt6.QtCore import QStandardPaths, Qt, pyqtSignal
from PyQt6.QtGui import QKeySequence, QShortcut
from PyQt6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from tiltwright.widgets.form.form import ParameterForm
from tiltwright.widgets.styled import Heading, MutedLabel, follow_theme, primary_sheet


class _Where(BaseModel):
    folder: str = Field(
        "", min_length=1, title="Folder",
        description="A new folder; the project is this folder, and can be moved or copied",
        json_schema_extra={"path": "folder"},
    )  # fmt: skip


class NewProjectPage(QWidget):
    """Asks where; ``accepted(folder)`` and ``cancelled()``."""

    accepted = pyqtSignal(object)
    cancelled = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.form = ParameterForm(_Where, {"folder": str(free_folder("tiltwright-project"))})
        self.create_button = QPushButton("Create project")
        self.create_button.setToolTip("Create the folder and open the project (Ctrl+Return)")
        follow_theme(self.create_button, primary_sheet)
        self.cancel_button = QPushButton("Cancel")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 12, 14, 12)
        layout.addWidget(Heading("New project", scale=1.3))
        layout.addWidget(
            MutedLabel("A project keeps your runs, their parameters and results in one folder.")
        )
        layout.addWidget(self.form)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(self.cancel_button)
        row.addWidget(self.create_button)
        layout.addLayout(row)
        layout.addStretch()
        self.create_button.clicked.connect(self._accept)
        self.cancel_button.clicked.connect(self.cancelled)
        self.form.validity_changed.connect(self.create_button.setEnabled)
        context = Qt.ShortcutContext.WidgetWithChildrenShortcut
        QShortcut(QKeySequence("Ctrl+Return"), self, context=context).activated.connect(
            self._accept
        )
        QShortcut(QKeySequence("Esc"), self, context=context).activated.connect(self.cancelled.emit)

    def _accept(self) -> None:
        if self.form.is_valid():
            self.accepted.emit(Path(self.form.values().folder).expanduser())


def free_folder(name: str) -> Path:
    """A folder among the person's documents that does not exist yet: ``name``, ``name-2``, ..."""
    place = QStandardPaths.StandardLocation.DocumentsLocation
    base = Path(QStandardPaths.writableLocation(place) or Path.home()) / name
    path, n = base, 1
    while path.exists():
        n += 1
        path = base.with_name(f"{base.name}-{n}")
    return path
