"""The main window: catalogue, runs, summary and workspace around one project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PyQt6.QtCore import Qt, QTimer
from PyQt6.QtGui import QAction, QCloseEvent, QKeySequence
from PyQt6.QtWidgets import (
    QApplication,
    QDockWidget,
    QFileDialog,
    QLabel,
    QMainWindow,
    QMenu,
    QMessageBox,
    QToolBar,
    QWidget,
)

import tiltwright
from tiltwright.app import describe
from tiltwright.app.form_pages import FormPages
from tiltwright.app.jobs import Jobs
from tiltwright.app.preferences import Preferences, PreferencesPage, Settings
from tiltwright.app.run_actions import RunActions
from tiltwright.app.run_commands import RunCommands
from tiltwright.app.workspace import Workspace
from tiltwright.engine.errors import TiltwrightError
from tiltwright.engine.execution.memory import anonymous_mb
from tiltwright.engine.execution.runner import LOG, RunProgress
from tiltwright.engine.project.lock import RENEW_S
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run
from tiltwright.widgets.catalogue import Catalogue
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.run_box import remaining_text
from tiltwright.widgets.runs_pane import RunsPane
from tiltwright.widgets.summary_view import SummaryView
from tiltwright.widgets.theme import apply_theme

TITLE = "Tiltwright"


class MainWindow(QMainWindow):
    """One window, one project; docks can be moved, and stay where they were put."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self.settings = settings or Settings()
        self.preferences = self.settings.preferences()
        self.project: Project | None = None
        self.lane = Lane(self)
        self.jobs = Jobs(lambda: self.preferences.used_threads, self)
        self._stale: set[int] = set()
        self._thumbnails: dict[int, tuple[Any, ...]] = {}
        self._summary_of: int | None = None
        self._console: QDockWidget | None = None
        self._closing = False
        self.catalogue = Catalogue(describe.catalogue())
        self.runs = RunsPane()
        self.summary = SummaryView()
        self.workspace = Workspace(self.lane)
        self.forms = FormPages(self)
        self.commands = RunCommands(self)
        self.run_actions = RunActions(self.runs, self.commands.slots())
        self._lay_out()
        self._make_menus()
        self._connect()
        self._timers()
        self.show_project(None)

    # -- making ------------------------------------------------------------------------------

    def _dock(self, title: str, widget: QWidget, area: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(title, self)
        dock.setObjectName(title)
        dock.setWidget(widget)
        self.addDockWidget(area, dock)
        return dock

    def _lay_out(self) -> None:
        self.setCentralWidget(self.runs)
        area = Qt.DockWidgetArea
        self.catalogue_dock = self._dock("Protocols", self.catalogue, area.LeftDockWidgetArea)
        self.workspace_dock = self._dock("Viewer", self.workspace, area.RightDockWidgetArea)
        self.summary_dock = self._dock("Summary", self.summary, area.BottomDockWidgetArea)
        corner = Qt.Corner
        self.setCorner(corner.BottomRightCorner, area.RightDockWidgetArea)
        self.setCorner(corner.BottomLeftCorner, area.BottomDockWidgetArea)
        self.resize(1600, 1000)
        self._usual_sizes()
        bar = self.statusBar()
        assert bar is not None
        self.status_progress, self.status_machine = QLabel(), QLabel()
        bar.addPermanentWidget(self.status_progress)
        bar.addPermanentWidget(self.status_machine)

    def _usual_sizes(self) -> None:
        width, height = self.width(), self.height()
        across = Qt.Orientation.Horizontal
        self.resizeDocks(
            [self.catalogue_dock, self.workspace_dock],
            [max(190, width // 8), max(560, width // 2)], across,
        )  # fmt: skip
        self.resizeDocks([self.summary_dock], [max(210, height // 4)], Qt.Orientation.Vertical)

    def _action(self, text: str, keys: str, slot: Any, tip: str = "") -> QAction:
        action = QAction(text, self)
        if keys:
            action.setShortcut(QKeySequence(keys))
        action.setToolTip((tip or text.replace("&", "")) + (f" ({keys})" if keys else ""))
        action.triggered.connect(lambda: slot())
        return action

    def _make_menus(self) -> None:
        bar = self.menuBar()
        assert bar is not None
        titles = ("&Project", "&Edit", "&View", "&Run", "&Help")
        project, edit, view, run, help_ = (QMenu(title, bar) for title in titles)
        for menu in (project, edit, view, run, help_):
            bar.addMenu(menu)
        c = self.commands
        self.new_action = self._action("&New project…", "Ctrl+N", c.new_project)
        self.open_action = self._action("&Open project…", "Ctrl+O", c.open_project)
        self.demo_action = self._action("Try the &demo", "", c.demo)
        self.copy_action = self._action("&Copy project…", "", c.copy_project)
        self.wizard_action = self._action(
            "▶ &Wizard", "Ctrl+Shift+W", self.forms.open_wizard, "From tilt series to tomograms"
        )
        self.import_action = self._action(
            "&Import tilt series…", "Ctrl+I", lambda: self.forms.open_new("import-tilt-series")
        )
        self.quit_action = self._action("&Quit", "Ctrl+Q", self.close)
        self.preferences_action = self._action("&Preferences…", "Ctrl+,", self.open_preferences)
        self.find_action = self._action(
            "⌕ Find a protocol", "", self.catalogue.focus_search, "Search the protocols (Ctrl+F)"
        )
        self.refresh_action = self._action("&Refresh", "F5", self.reload)
        self.console_action = self._action("Python &console", "Ctrl+`", self.toggle_console)
        self.layout_action = self._action("&Usual layout", "", self._usual_layout)
        self.about_action = self._action("&About Tiltwright", "", self._about)
        self.recent_menu = project.addMenu("Open &recent")
        assert self.recent_menu is not None
        self.recent_menu.aboutToShow.connect(self._fill_recent)
        project.insertActions(self.recent_menu.menuAction(), [self.new_action, self.open_action])
        project.addActions([self.demo_action, self.copy_action])
        project.addSeparator()
        project.addActions([self.import_action, self.wizard_action])
        project.addSeparator()
        project.addAction(self.quit_action)
        edit.addAction(self.preferences_action)
        view.addActions([self.find_action, self.refresh_action, self.layout_action])
        view.addSeparator()
        for dock in (self.catalogue_dock, self.summary_dock, self.workspace_dock):
            view.addAction(dock.toggleViewAction())
        view.addAction(self.console_action)
        self.run_actions.fill_menu(run)
        help_.addAction(self.about_action)
        tools = QToolBar("Tools", self)
        tools.setObjectName("Tools")
        tools.setMovable(False)
        tools.addActions([self.import_action, self.wizard_action])
        tools.addSeparator()
        self.run_actions.fill_toolbar(tools)
        tools.addSeparator()
        tools.addAction(self.find_action)
        self.addToolBar(tools)

    def _connect(self) -> None:
        self.catalogue.protocol_chosen.connect(self.forms.open_new)
        self.runs.run_opened.connect(lambda k: self.forms.open_run(int(k)))
        self.runs.selection_changed.connect(lambda _: self._selection_changed())
        self.runs.context_requested.connect(self._context_menu)
        self.runs.start.import_requested.connect(lambda: self.forms.open_new("import-tilt-series"))
        self.runs.start.open_requested.connect(self.commands.open_project)
        self.runs.start.demo_requested.connect(self.commands.demo)
        self.summary.output_opened.connect(
            lambda run, port, name: self.open_output(int(run), port, name)
        )
        self.workspace.views_excluded.connect(lambda *_: self.refresh())
        self.workspace.message.connect(self.say)
        self.workspace.crop_requested.connect(self.forms.open_crop)
        self.jobs.run_changed.connect(self._run_changed)
        self.jobs.progress_changed.connect(self._show_progress)
        self.jobs.line_logged.connect(self._log)
        self.jobs.run_ended.connect(self._run_ended)
        self.jobs.became_idle.connect(self._idle)
        self.lane.failed.connect(lambda _, text: self.say(text))

    def _timers(self) -> None:
        self._renew = QTimer(self)
        self._renew.setInterval(int(RENEW_S * 1000))
        self._renew.timeout.connect(self._keep_lock)
        self._renew.start()
        self._machine = QTimer(self)
        self._machine.setInterval(2000)
        self._machine.timeout.connect(self._show_machine)
        self._machine.start()
        self._show_machine()

    # -- the project -------------------------------------------------------------------------

    def show_project(self, project: Project | None) -> None:
        """Show a project, or none."""
        self.workspace.set_project(project)
        self.jobs.set_project(project)
        if self.project is not None and self.project is not project:
            self.project.close()
        self.project = project
        self._stale, self._thumbnails, self._summary_of = set(), {}, None
        self.summary.project_log.clear()
        if project is not None:
            self.settings.add_recent(str(project.folder.absolute()))
            for folder, why in project.damaged.items():
                self.summary.project_log.append(f"{folder}: cannot be read: {why}", "error")
            if project.damaged:
                self.say(f"{len(project.damaged)} runs cannot be read: see the project log")
            if project.read_only is not None:
                self.say(f"Read-only: {project.read_only}")
        self.refresh()
        if self.preferences.console and project is not None and self._console is None:
            self.toggle_console()

    def open_folder(self, folder: Path) -> None:
        """Open a project; a dialog says why when it cannot."""
        if not self.commands.leave_project():
            return
        try:
            self.show_project(Project.open(folder))
        except TiltwrightError as exc:
            self.complain(str(exc))

    def reload(self) -> None:
        """Read the runs from disk anew (for a read-only window beside a writing one)."""
        if self.project is not None and not self.jobs.busy:
            self.project.refresh()
            self.refresh()

    def refresh(self) -> None:
        """Show the runs as they are; what is out of date is found in the background."""
        self._show_runs()
        self._selection_changed()
        if self.project is not None:
            twin = self.project.snapshot()
            self.lane.request("stale", twin.stale, self._have_stale)

    def _have_stale(self, stale: set[int]) -> None:
        self._stale = stale
        self._show_runs()
        self._show_summary()

    def _show_runs(self) -> None:
        project = self.project
        words = ""
        if project is not None:
            words = f" — {project.name}" + (" (read-only)" if project.read_only else "")
        part = next(iter(self.jobs.progress.values()), None)
        ahead = f"{100 * part.part:.0f} % · " if part is not None else ""
        self.setWindowTitle(f"{ahead}{TITLE}{words}")
        boxes = describe.boxes(project, self._stale, self.jobs.progress) if project else []
        self.runs.set_runs(boxes)

    def selected(self) -> list[int]:
        """The selected runs."""
        known = self.project.runs if self.project is not None else {}
        return [int(k) for k in self.runs.selected() if int(k) in known]

    def _selection_changed(self) -> None:
        project, chosen = self.project, self.selected()
        running = any(
            project.runs[k].status in ("running", "queued") for k in chosen
        ) if project else False  # fmt: skip
        self.run_actions.update(
            len(chosen), project=project is not None,
            writable=project is not None and project.read_only is None, running=running,
        )  # fmt: skip
        self._show_summary()

    def _show_summary(self) -> None:
        project, chosen = self.project, self.selected()
        if project is None or not chosen:
            self._summary_of = None
            self.summary.set_summary(None)
            self.summary.log.clear()
            return
        number = chosen[-1]
        run = project.runs[number]
        pictures = self._thumbnails.get(number)
        self.summary.set_summary(
            describe.summary(project, run, number in self._stale, pictures or ())
        )
        if number != self._summary_of:
            self._summary_of = number
            path = project.folder_of(number) / LOG
            try:
                self.summary.log.set_text(path.read_text(encoding="utf-8", errors="replace"))
            except OSError:
                self.summary.log.clear()
            self._push_console()
        if pictures is None and run.outputs:
            self._thumbnails[number] = ()
            twin = project.snapshot()
            self.lane.request(
                ("thumbnails", number), lambda: _thumbnails(twin, number),
                lambda found: self._have_thumbnails(number, found), later=True,
            )  # fmt: skip

    def _have_thumbnails(self, number: int, found: tuple[Any, ...]) -> None:
        self._thumbnails[number] = found
        if number == self._summary_of:
            self._show_summary()

    def _context_menu(self, ids: tuple[str, ...], at: Any) -> None:
        menu = QMenu(self)
        self.run_actions.fill_menu(menu)
        menu.popup(at)

    def open_output(self, run: int, port: str, name: str = "") -> None:
        """Open an output in the workspace."""
        from tiltwright.engine.project.run import Source

        try:
            self.workspace_dock.show()
            self.workspace.open_output(Source(run, port), name)
        except TiltwrightError as exc:
            self.complain(str(exc))

    # -- runs --------------------------------------------------------------------------------

    def _run_changed(self, run: Run) -> None:
        self._thumbnails.pop(run.id, None)
        self.refresh()

    def _show_progress(self, progress: RunProgress) -> None:
        self._show_runs()
        left = remaining_text(progress.remaining_s) if progress.remaining_s is not None else ""
        self.status_progress.setText(
            f"{progress.series}: {progress.text}  {100 * progress.part:.0f} %"
            + (f", {left} left" if left else "")
        )

    def _log(self, number: int, line: str) -> None:
        if number == self._summary_of:
            self.summary.log.append(line)
        if self.project is not None and ": " in line and "  " in line[:21]:
            self.summary.project_log.append(f"[{number}] {line}")

    def _run_ended(self, number: int, error: str) -> None:
        self.status_progress.setText("")
        self.refresh()
        if self.project is None or number not in self.project.runs:
            return
        label = self.project.runs[number].label
        self.say(f"{label}: {error}" if error else f"{label}: finished")
        self.forms.run_ended(number)

    def _idle(self) -> None:
        self.status_progress.setText("")
        self._show_runs()
        if self._closing:
            self.close()

    # -- words -------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A line in the status bar, kept in the project log."""
        bar = self.statusBar()
        assert bar is not None
        bar.showMessage(text, 15_000)
        self.summary.project_log.append(text)

    def complain(self, text: str) -> None:
        """An error that a person must see; the window stays usable."""
        self.say(text)
        box = QMessageBox(self)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setWindowTitle(TITLE)
        box.setText(text)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.open()

    def _show_machine(self) -> None:
        self.status_machine.setText(
            f"{self.preferences.used_threads} threads · {anonymous_mb() / 1000:.1f} GB"
        )

    def _keep_lock(self) -> None:
        if self.project is not None and self.project.lock is not None:
            self.project.lock.renew()

    # -- pages and docks ---------------------------------------------------------------------

    def open_preferences(self) -> None:
        """The preferences, as a tab."""

        def make() -> QWidget:
            page = PreferencesPage(self.preferences)
            page.changed.connect(self._apply_preferences)
            return page

        self.workspace.show_page("page:preferences", "Preferences", make)

    def _apply_preferences(self, preferences: Preferences) -> None:
        self.preferences = preferences
        self.settings.save_preferences(preferences)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        apply_theme(app, preferences.theme == "dark")
        self._show_machine()
        self.say("Preferences saved")

    def toggle_console(self) -> None:
        """Show or hide the Python console."""
        if self._console is not None:
            self._console.setVisible(not self._console.isVisible())
            return
        from tiltwright.app.console import Console

        self._console = self._dock("Console", Console({}), Qt.DockWidgetArea.BottomDockWidgetArea)
        self.tabifyDockWidget(self.summary_dock, self._console)
        self._console.raise_()
        self._push_console()

    def _push_console(self) -> None:
        if self._console is None or self.project is None:
            return
        import numpy as np

        from tiltwright import engine
        from tiltwright.app.console import Console
        from tiltwright.engine.project.run import Source

        project, number = self.project, self._summary_of
        names: dict[str, Any] = {
            "project": project, "engine": engine, "np": np, "Source": Source,
            "run": project.runs.get(number) if number is not None else None,
            "item": lambda port="tilt_series", name="": project.item(
                Source(number or 0, port), name or project.names(Source(number or 0, port))[0]
            ),
        }  # fmt: skip
        widget = self._console.widget()
        assert isinstance(widget, Console)
        widget.push(names)

    def _usual_layout(self) -> None:
        for dock, area in (
            (self.catalogue_dock, Qt.DockWidgetArea.LeftDockWidgetArea),
            (self.workspace_dock, Qt.DockWidgetArea.RightDockWidgetArea),
            (self.summary_dock, Qt.DockWidgetArea.BottomDockWidgetArea),
        ):
            dock.setFloating(False)
            self.addDockWidget(area, dock)
            dock.show()
        self._usual_sizes()

    def _fill_recent(self) -> None:
        assert self.recent_menu is not None
        self.recent_menu.clear()
        for path in self.settings.recent():
            self.recent_menu.addAction(path, lambda p=path: self.open_folder(Path(p)))
        if self.recent_menu.isEmpty():
            nothing = self.recent_menu.addAction("no recent projects")
            assert nothing is not None
            nothing.setEnabled(False)

    def _about(self) -> None:
        QMessageBox.about(
            self, TITLE,
            f"Tiltwright {tiltwright.__version__}\nCryo-electron tomography from a raw tilt series "
            "to a tomogram.\nBSD-3-Clause; PyQt6 is under the GPL.",
        )  # fmt: skip

    def ask_folder(self, title: str) -> Path | None:
        """Ask for a folder."""
        name = QFileDialog.getExistingDirectory(self, title)
        return Path(name) if name else None

    # -- closing -----------------------------------------------------------------------------

    def restore_layout(self) -> None:
        """Docks and size as they were when the window was closed last."""
        geometry, state = self.settings.layout()
        if geometry is not None and state is not None:
            self.restoreGeometry(geometry)
            self.restoreState(state)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        assert event is not None
        if self.jobs.busy and not self._closing:
            event.ignore()
            self.commands.ask_before_closing()
            return
        if self.jobs.busy:
            event.ignore()
            return
        self.settings.keep_layout(self.saveGeometry(), self.saveState())
        self.workspace.close_all()
        if self._console is not None:
            from tiltwright.app.console import Console

            widget = self._console.widget()
            if isinstance(widget, Console):
                widget.shutdown()
            self._console = None
        self._renew.stop()
        self._machine.stop()
        self.lane.close()
        if self.project is not None:
            self.project.close()
            self.project = None
        event.accept()

    def finish_then_close(self) -> None:
        """Close when the running work has ended."""
        self._closing = True
        if not self.jobs.busy:
            self.close()


def _thumbnails(project: Project, number: int) -> tuple[Any, ...]:
    """Pictures of the first series of each output."""
    run = project.runs[number]
    found = []
    for port, items in run.outputs.items():
        for name in sorted(items)[:3]:
            picture = describe.thumbnail_of(project, run, port, name)
            if picture is not None:
                found.append(picture)
    return tuple(found[:4])
