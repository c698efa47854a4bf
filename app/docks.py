"""The docks around the runs: catalogue, workspace, summary and, when it is wanted, the console."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PyQt6.QtCore import QObject, Qt
from PyQt6.QtWidgets import QDockWidget, QMainWindow, QWidget

from tiltwright.widgets.styled import Grip

_AREA = Qt.DockWidgetArea


class Docks(QObject):
    """Makes the docks of a main window and puts them where people expect them.

    Attributes
    ----------
    catalogue, workspace, summary : QDockWidget
    console : QDockWidget or None
        Only after it was opened: its packages take a second to load.
    """

    def __init__(
        self, window: QMainWindow, catalogue: QWidget, workspace: QWidget, summary: QWidget
    ) -> None:
        super().__init__(window)
        self._window = window
        self.catalogue = self._dock("Protocols", catalogue, _AREA.LeftDockWidgetArea)
        self.workspace = self._dock("Viewer", workspace, _AREA.RightDockWidgetArea)
        self.summary = self._dock("Summary", summary, _AREA.BottomDockWidgetArea)
        self.console: QDockWidget | None = None
        corner = Qt.Corner
        window.setCorner(corner.BottomRightCorner, _AREA.RightDockWidgetArea)
        window.setCorner(corner.BottomLeftCorner, _AREA.BottomDockWidgetArea)

    def _dock(self, title: str, widget: QWidget, area: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(title, self._window)
        dock.setObjectName(title)
        dock.setWidget(widget)
        dock.setTitleBarWidget(Grip(f"{title}: drag to move it; double-click to let it float"))
        self._window.addDockWidget(area, dock)
        return dock

    def usual_sizes(self) -> None:
        """Half of the width for what is looked at."""
        window = self._window
        width, height = window.width(), window.height()
        window.resizeDocks(
            [self.catalogue, self.workspace],
            [max(190, width // 8), max(560, width // 2)], Qt.Orientation.Horizontal,
        )  # fmt: skip
        window.resizeDocks([self.summary], [max(210, height // 4)], Qt.Orientation.Vertical)

    def usual_layout(self) -> None:
        """Every dock back in its place."""
        for dock, area in (
            (self.catalogue, _AREA.LeftDockWidgetArea),
            (self.workspace, _AREA.RightDockWidgetArea),
            (self.summary, _AREA.BottomDockWidgetArea),
        ):
            dock.setFloating(False)
            self._window.addDockWidget(area, dock)
            dock.show()
        self.usual_sizes()

    # -- console -----------------------------------------------------------------------------

    def toggle_console(self, names: Callable[[], dict[str, Any]]) -> None:
        """Show or hide the console; ``names`` gives what it knows when it is first opened."""
        if self.console is not None and self.console.isVisible():
            self.console.hide()
            return
        if self.console is None:
            from tiltwright.app.console import Console

            self.console = self._dock("Console", Console(names()), _AREA.BottomDockWidgetArea)
            self._window.tabifyDockWidget(self.summary, self.console)
        self.console.show()
        self.console.raise_()

    def push(self, names: Callable[[], dict[str, Any]]) -> None:
        """Make names known in the console, if there is one."""
        if self.console is not None:
            widget: Any = self.console.widget()
            widget.push(names())

    def close_console(self) -> None:
        """End its kernel."""
        if self.console is not None:
            widget: Any = self.console.widget()
            widget.shutdown()
            self.console.deleteLater()
            self.console = None
