"""The menu bar and the toolbar of the main window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import QSize, Qt
from PyQt6.QtGui import QAction, QKeySequence
from PyQt6.QtWidgets import QMenu, QToolBar

from tiltwright.widgets.icons import drawn_icon

if TYPE_CHECKING:
    from tiltwright.app.main_window import MainWindow


class Menus:
    """Everything that can be done with projects and the window; runs have their own actions."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        projects, forms = window.projects, window.forms
        act = self._action
        self.new = act("&New project…", "Ctrl+N", projects.new_project)
        self.open = act("&Open project…", "Ctrl+O", projects.open_project)
        self.demo = act("Try the &demo", "", projects.demo)
        self.copy = act("&Copy project…", "", projects.copy_project)
        self.import_ = act(
            "&Import tilt series…", "Ctrl+I", lambda: forms.open_new("import-tilt-series")
        )
        self.wizard = act(
            "&Wizard", "Ctrl+Shift+W", forms.open_wizard, "From tilt series to tomograms"
        )
        self.quit = act("&Quit", "Ctrl+Q", window.close)
        self.preferences = act("&Preferences…", "Ctrl+,", window.open_preferences)
        self.find = act(
            "Find a protocol", "", window.catalogue.focus_search, "Search the protocols (Ctrl+F)"
        )
        self.refresh = act("&Refresh", "F5", window.reload, "Read the project's runs anew")
        self.layout = act("&Usual layout", "", window.docks.usual_layout)
        self.console = act("Python &console", "Ctrl+`", window.toggle_console)
        self.log = act("Show the &log of errors", "", window.show_crash_log)
        self.about = act("&About Tiltwright", "", window.about)
        self.recent = QMenu("Open &recent", window)
        self.recent.aboutToShow.connect(self.fill_recent)
        self._fill()

    def _action(self, text: str, keys: str, slot: Callable[[], Any], tip: str = "") -> QAction:
        action = QAction(text, self._window)
        if keys:
            action.setShortcut(QKeySequence(keys))
        action.setToolTip((tip or text.replace("&", "")) + (f" ({keys})" if keys else ""))
        action.triggered.connect(lambda: slot())
        return action

    def _fill(self) -> None:
        window = self._window
        bar = window.menuBar()
        assert bar is not None
        titles = ("&Project", "&Edit", "&View", "&Run", "&Help")
        project, edit, view, run, help_ = (QMenu(title, bar) for title in titles)
        for menu in (project, edit, view, run, help_):
            bar.addMenu(menu)
        project.addActions([self.new, self.open])
        project.addMenu(self.recent)
        project.addActions([self.demo, self.copy])
        project.addSeparator()
        project.addActions([self.import_, self.wizard])
        project.addSeparator()
        project.addAction(self.quit)
        edit.addAction(self.preferences)
        view.addActions([self.find, self.refresh, self.layout])
        view.addSeparator()
        docks = window.docks
        for dock in (docks.catalogue, docks.summary, docks.workspace):
            view.addAction(dock.toggleViewAction())
        view.addAction(self.console)
        window.run_actions.fill_menu(run)
        help_.addActions([self.log, self.about])
        tools = QToolBar("Tools", window)
        tools.setObjectName("Tools")
        tools.setMovable(False)
        tools.setIconSize(QSize(16, 16))
        tools.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        drawn = ((self.import_, "import"), (self.wizard, "wizard"), (self.find, "find"))
        for action, name in drawn:
            action.setIcon(drawn_icon(name))
        tools.addActions([self.import_, self.wizard])
        tools.addSeparator()
        window.run_actions.fill_toolbar(tools)
        tools.addSeparator()
        tools.addAction(self.find)
        window.addToolBar(tools)

    def fill_recent(self) -> None:
        """List the projects that were open last."""
        self.recent.clear()
        for path in self._window.settings.recent():
            self.recent.addAction(path, lambda p=path: self._window.open_folder(Path(p)))
        if self.recent.isEmpty():
            nothing = self.recent.addAction("no recent projects")
            assert nothing is not None
            nothing.setEnabled(False)
