"""What a person prefers: kept by the system's settings, changed on a page of the workspace."""

from __future__ import annotations

import json
import os
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from PyQt6.QtCore import QSettings, pyqtSignal
from PyQt6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from tiltwright.widgets.form.form import ParameterForm
from tiltwright.widgets.styled import Heading, MutedLabel

_KEY = "preferences"
_DEFAULTS = "protocol defaults"
_RECENT = "recent projects"
_MOST_RECENT = 12


class Preferences(BaseModel):
    """The preferences, declared as a protocol's parameters are."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    theme: Literal["dark", "light"] = Field(
        "dark", title="Theme", description="Dark is easier on the eyes beside dark images",
        json_schema_extra={"group": "Appearance"},
    )  # fmt: skip
    threads: int = Field(
        0, ge=0, le=256, title="Threads", description="For computing; 0 is all cores",
        json_schema_extra={"group": "Computing"},
    )  # fmt: skip
    viewer_cache_mb: int = Field(
        320, ge=64, le=65536, title="Viewers' cache",
        description="Views that were shown are kept in memory, in all viewers together up to this",
        json_schema_extra={"unit": "MB", "group": "Viewers"},
    )  # fmt: skip
    console: bool = Field(
        False, title="Python console", description="Open the console with each project",
        json_schema_extra={"group": "Appearance"},
    )  # fmt: skip

    @property
    def used_threads(self) -> int:
        """Threads to compute with."""
        return self.threads or os.cpu_count() or 1


class Settings:
    """The system's settings of Tiltwright."""

    def __init__(self) -> None:
        # A file on every system: it can be read, copied and set apart for a test.
        self._store = QSettings(
            QSettings.Format.IniFormat, QSettings.Scope.UserScope, "Tiltwright", "Tiltwright"
        )

    def preferences(self) -> Preferences:
        """As they were saved; the defaults when they cannot be read."""
        try:
            return Preferences.model_validate_json(str(self._store.value(_KEY, "{}")))
        except ValidationError:
            return Preferences()

    def save_preferences(self, preferences: Preferences) -> None:
        """Keep them."""
        self._store.setValue(_KEY, preferences.model_dump_json())

    def recent(self) -> list[str]:
        """Folders of recent projects, the last first, that still exist."""
        return [p for p in self._list(_RECENT) if os.path.exists(os.path.join(p, "project.json"))]

    def add_recent(self, folder: str) -> None:
        """Put a project first."""
        rest = [p for p in self._list(_RECENT) if p != folder]
        self._store.setValue(_RECENT, json.dumps([folder, *rest][:_MOST_RECENT]))

    def _list(self, key: str) -> list[str]:
        try:
            found = json.loads(str(self._store.value(key, "[]")))
            return [str(p) for p in found] if isinstance(found, list) else []
        except ValueError:
            return []

    def defaults(self, protocol: str) -> dict[str, Any]:
        """A person's own default parameters of a protocol."""
        try:
            found = json.loads(str(self._store.value(_DEFAULTS, "{}")))
            return dict(found.get(protocol, {}))
        except (ValueError, AttributeError, TypeError):
            return {}

    def save_defaults(self, protocol: str, params: dict[str, Any]) -> None:
        """Make these the default parameters of a protocol; an empty mapping forgets them."""
        try:
            found = json.loads(str(self._store.value(_DEFAULTS, "{}")))
        except ValueError:
            found = {}
        found[protocol] = params
        self._store.setValue(_DEFAULTS, json.dumps(found))

    def keep_layout(self, geometry: Any, state: Any) -> None:
        """Remember where the window and its docks are."""
        self._store.setValue("geometry", geometry)
        self._store.setValue("state", state)

    def layout(self) -> tuple[Any, Any]:
        """What :meth:`keep_layout` kept, or None."""
        return self._store.value("geometry"), self._store.value("state")


class PreferencesPage(QWidget):
    """The preferences as a form; ``changed(Preferences)`` when they are applied."""

    changed = pyqtSignal(object)

    def __init__(self, preferences: Preferences, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.form = ParameterForm(Preferences, preferences.model_dump())
        self.form.set_advanced(True)
        self.apply_button = QPushButton("Apply")
        self.apply_button.clicked.connect(self._apply)
        self.form.validity_changed.connect(self.apply_button.setEnabled)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 12, 14, 12)
        layout.addWidget(Heading("Preferences", scale=1.3))
        layout.addWidget(
            MutedLabel("Default parameters of a protocol are kept from its form (Save as default).")
        )
        layout.addWidget(self.form)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(self.apply_button)
        layout.addLayout(row)
        layout.addStretch()

    def _apply(self) -> None:
        if self.form.is_valid():
            self.changed.emit(self.form.values())
