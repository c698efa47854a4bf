"""The main window: catalogue, runs, summary and workspace around one project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PyQt6.QtCore import Qt, QTimer, QUrl
from PyQt6.QtGui import QCloseEvent, QDesktopServices
from PyQt6.QtWidgets import QApplication, QLabel, QMainWindow, QMenu, QMessageBox, QWidget

import tiltwright
from tiltwright.app import describe
from tiltwright.app.crash import log_path
from tiltwright.app.docks import Docks
from tiltwright.app.form_pages import FormPages
from tiltwright.app.jobs import Jobs
from tiltwright.app.menus import Menus
from tiltwright.app.output_pages import OutputPages
from tiltwright.app.preferences import Preferences, PreferencesPage, Settings
from tiltwright.app.project_commands import ProjectCommands
from tiltwright.app.run_actions import RunActions
from tiltwright.app.run_commands import RunCommands
from tiltwright.app.selected_run import SelectedRun
from tiltwright.app.workspace import Workspace
from tiltwright.engine.errors import TiltwrightError
from tiltwright.engine.execution.memory import anonymous_mb
from tiltwright.engine.execution.runner import RunProgress
from tiltwright.engine.project.lock import RENEW_S
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run, Source
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.runs.catalogue import Catalogue
from tiltwright.widgets.runs.run_box import remaining_text
from tiltwright.widgets.runs.runs_pane import RunsPane
from tiltwright.widgets.runs.summary_view import SummaryView
from tiltwright.widgets.theme import apply_theme
from tiltwright.widgets.wording import plain_words

TITLE = "Tiltwright"
_SOON_MS = 30
_PROGRESS_MS = 150


class MainWindow(QMainWindow):
    """One window, one project; docks can be moved, and stay where they were put."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self.settings = settings or Settings()
        self.preferences = self.settings.preferences()
        self.project: Project | None = None
        self.stale: set[int] = set()
        """Runs that are out of date, as far as is known."""
        self.lane, self.background = Lane(self), Lane(self)
        # The first for what is looked at, the second for hashes, thumbnails and copies.
        self.jobs = Jobs(lambda: self.preferences.used_threads, self)
        self._closing = False
        self.catalogue = Catalogue(describe.catalogue())
        self.runs = RunsPane()
        self.summary = SummaryView()
        self.workspace = Workspace()
        self.outputs = OutputPages(self.workspace, self.lane, self.background, self)
        self.selected_run = SelectedRun(self.summary, self.background, self)
        self.forms = FormPages(self)
        self.projects = ProjectCommands(self)
        self.commands = RunCommands(self)
        self.run_actions = RunActions(self.runs, self.commands.slots())
        self.setCentralWidget(self.runs)
        self.docks = Docks(self, self.catalogue, self.workspace, self.summary)
        self.resize(1600, 1000)
        self.docks.usual_sizes()
        bar = self.statusBar()
        assert bar is not None
        self.status_progress, self.status_machine = QLabel(), QLabel()
        bar.addPermanentWidget(self.status_progress)
        bar.addPermanentWidget(self.status_machine)
        self.menus = Menus(self)
        self._timers()
        self._connect()
        self._use_preferences()
        self.show_project(None)

    def _connect(self) -> None:
        self.catalogue.protocol_chosen.connect(self.forms.open_new)
        self.runs.run_opened.connect(lambda k: self.forms.open_run(int(k)))
        self.runs.selection_changed.connect(lambda _: self._selection_changed())
        self.runs.context_requested.connect(self._context_menu)
        self.runs.start.import_requested.connect(lambda: self.forms.open_new("import-tilt-series"))
        self.runs.start.open_requested.connect(self.projects.open_project)
        self.runs.start.demo_requested.connect(self.projects.demo)
        self.summary.output_opened.connect(
            lambda run, port, name: self.open_output(int(run), port, name)
        )
        self.outputs.views_excluded.connect(lambda *_: self.refresh_soon())
        self.outputs.model_saved.connect(lambda: self.refresh_soon())
        self.outputs.alignment_asked.connect(self.commands.align_again)
        self.outputs.message.connect(self.say)
        self.outputs.crop_requested.connect(self.forms.open_crop)
        self.outputs.denoise_requested.connect(self.forms.open_denoise)
        self.outputs.change_requested.connect(
            lambda source, names: self.commands.change_for(source.run, names)
        )
        self.jobs.run_changed.connect(self._run_changed)
        self.jobs.progress_changed.connect(self._progress_changed)
        self.jobs.line_logged.connect(self._log)
        self.jobs.run_ended.connect(self._run_ended)
        self.jobs.became_idle.connect(self._idle)
        for lane in (self.lane, self.background):
            lane.failed.connect(lambda _, text: self.say(text))

    def _timers(self) -> None:
        def timer(ms: int, slot: Any, *, once: bool = False) -> QTimer:
            made = QTimer(self)
            made.setInterval(ms)
            made.setSingleShot(once)
            made.timeout.connect(slot)
            return made

        self._renew = timer(int(RENEW_S * 1000), self._keep_lock)
        self._machine = timer(2000, self._show_machine)
        # Many changes at once, and many lines of progress, are shown once.
        self._soon = timer(_SOON_MS, self.refresh, once=True)
        self._progress = timer(_PROGRESS_MS, self._show_progress, once=True)
        self._renew.start()
        self._machine.start()

    # -- the project -------------------------------------------------------------------------

    def show_project(self, project: Project | None) -> None:
        """Show a project, or none."""
        self.workspace.close_all()
        self.jobs.set_project(project)
        self.outputs.set_project(project)
        if self.project is not None and self.project is not project:
            self.project.close()
        self.project, self.stale = project, set()
        self.selected_run.set_project(project)
        if project is not None:
            self.settings.add_recent(str(project.folder.absolute()))
            for folder, why in project.damaged.items():
                self.summary.project_log.append(f"{folder}: cannot be read: {why}", "error")
            if project.damaged:
                self.say(f"{len(project.damaged)} runs cannot be read: see the project log")
            if project.read_only is not None:
                self.say(f"Read-only: {project.read_only}")
        self.refresh()
        if self.preferences.console and project is not None and self.docks.console is None:
            self.toggle_console()

    def open_folder(self, folder: Path) -> None:
        """Open a project; a dialog says why when it cannot."""
        if not self.projects.leave():
            return
        try:
            if self.project is not None and folder.absolute() == self.project.folder.absolute():
                self.reload()
                return
            self.show_project(Project.open(folder))
        except TiltwrightError as exc:
            self.complain(str(exc))

    def reload(self) -> None:
        """Read the runs from disk anew; a read-only project is taken over when it is free now."""
        project = self.project
        if project is None or self.jobs.busy:
            return
        try:
            if project.read_only is not None:
                again = Project.open(project.folder)
                if again.read_only is None:
                    self.show_project(again)
                    self.say("The project can be written now")
                    return
            project.refresh()
        except TiltwrightError as exc:
            self.complain(str(exc))
        self.refresh()

    def refresh_soon(self) -> None:
        """:meth:`refresh`, once for all that changes in this moment."""
        if not self._soon.isActive():
            self._soon.start()

    def refresh(self) -> None:
        """Show the runs as they are; what is out of date is found in the background."""
        self._soon.stop()
        self._show_runs()
        self._selection_changed()
        if self.project is not None:
            twin = self.project.snapshot()
            self.background.request("stale", lambda: (twin.folder, twin.stale()), self._have_stale)

    def _have_stale(self, found: tuple[Path, set[int]]) -> None:
        folder, stale = found
        if self.project is not None and folder == self.project.folder and stale != self.stale:
            self.stale = stale
            self._show_runs()
            self._selection_changed()

    def _show_runs(self) -> None:
        project = self.project
        words = ""
        if project is not None:
            words = f" — {project.name}" + (" (read-only)" if project.read_only else "")
        part = next(iter(self.jobs.progress.values()), None)
        ahead = f"{100 * part.part:.0f} % · " if part is not None else ""
        self.setWindowTitle(f"{ahead}{TITLE}{words}")
        boxes = describe.boxes(project, self.stale, self.jobs.progress) if project else []
        self.runs.set_runs(boxes)

    def selected(self) -> list[int]:
        """The selected runs."""
        known = self.project.runs if self.project is not None else {}
        return [int(k) for k in self.runs.selected() if int(k) in known]

    def _selection_changed(self) -> None:
        project, chosen = self.project, self.selected()
        statuses = [project.runs[k].status for k in chosen] if project is not None else []
        below = project.descendants(chosen) if project is not None else set()
        self.run_actions.update(
            len(chosen), project=project is not None,
            writable=project is not None and project.read_only is None,
            running=any(s in ("running", "queued") for s in statuses),
            running_below=any(
                project is not None and project.runs[k].status in ("running", "queued")
                for k in below
            ),
            ends_early=len(chosen) == 1 and self.jobs.can_end_early(chosen[0]),
        )  # fmt: skip
        number = chosen[-1] if chosen else None
        if self.selected_run.show(number, number in self.stale):
            self.docks.push(self._console_names)

    def _context_menu(self, ids: tuple[str, ...], at: Any) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.run_actions.fill_menu(menu)
        menu.popup(at)

    def open_output(self, run: int, port: str, name: str = "") -> QWidget | None:
        """Open an output in the workspace; a dialog says why when it cannot be read."""
        try:
            self.docks.workspace.show()
            return self.outputs.open(Source(run, port), name)
        except TiltwrightError as exc:
            self.complain(str(exc))
            return None

    # -- runs --------------------------------------------------------------------------------

    def _run_changed(self, run: Run) -> None:
        if run.status == "finished":
            self.selected_run.forget_pictures(run.id)
            self.outputs.renew(run.id)
        self.refresh_soon()

    def _progress_changed(self, progress: RunProgress) -> None:
        if not self._progress.isActive():
            self._progress.start()

    def _show_progress(self) -> None:
        now = next(iter(self.jobs.progress.values()), None)
        self._show_runs()
        if now is None:
            self.status_progress.setText("")
            return
        left = remaining_text(now.remaining_s) if now.remaining_s is not None else ""
        of = f" ({now.index + 1} of {now.n_series})" if now.n_series > 1 else ""
        self.status_progress.setText(
            f"{now.series}{of}: {now.text}  {100 * now.part:.0f} %"
            + (f", {left} left" if left else "")
        )

    def _log(self, number: int, line: str) -> None:
        self.selected_run.log(number, line)
        if ": " in line and "  " in line[:21]:
            self.summary.project_log.append(f"[{number}] {line}")

    def _run_ended(self, number: int, error: str) -> None:
        self._show_progress()
        self.refresh_soon()
        if self.project is None or number not in self.project.runs:
            return
        label = self.project.runs[number].label
        self.say(f"{label}: {error}" if error else f"{label}: finished")
        self.forms.run_ended(number)

    def _idle(self) -> None:
        self._show_progress()
        if self._closing:
            self.close()

    # -- words -------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A line in the status bar, kept in the project log."""
        bar = self.statusBar()
        assert bar is not None
        text = plain_words(text)
        bar.showMessage(text, 15_000)
        self.summary.project_log.append(text)

    def complain(self, text: str) -> None:
        """An error that a person must see; the window stays usable."""
        self.say(text)
        box = QMessageBox(self)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setWindowTitle(TITLE)
        box.setText(plain_words(text))
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.open()

    def about(self) -> None:
        """What this is."""
        QMessageBox.about(
            self, TITLE,
            f"Tiltwright {tiltwright.__version__}\nCryo-electron tomography from a raw tilt series "
            "to a tomogram.\nBSD-3-Clause; PyQt6 is under the GPL.",
        )  # fmt: skip

    def show_crash_log(self) -> None:
        """Open the log of errors of the program, if there were any."""
        if log_path().exists():
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(log_path())))
        else:
            self.say(f"No error was ever logged in {log_path()}")

    def _show_machine(self) -> None:
        self.status_machine.setText(
            f"{self.preferences.used_threads} threads · {anonymous_mb() / 1000:.1f} GB"
        )

    def _keep_lock(self) -> None:
        project = self.project
        if project is None or project.lock is None:
            return
        project.lock.renew()
        if project.lock.lost and project.read_only is None:
            try:
                project.check_writable()
            except TiltwrightError as exc:
                self.complain(str(exc))
            self.refresh()

    # -- preferences and console -------------------------------------------------------------

    def open_preferences(self) -> None:
        """The preferences, as a tab."""

        def make() -> QWidget:
            page = PreferencesPage(self.preferences)
            page.changed.connect(self._apply_preferences)
            return page

        self.docks.workspace.show()
        self.workspace.show_page("page:preferences", "Preferences", make)

    def _apply_preferences(self, preferences: Preferences) -> None:
        self.preferences = preferences
        self.settings.save_preferences(preferences)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        apply_theme(app, preferences.theme == "dark")
        self._use_preferences()
        self.say("Preferences saved")

    def _use_preferences(self) -> None:
        self.outputs.set_cache(self.preferences.viewer_cache_mb << 20)
        self._show_machine()

    def toggle_console(self) -> None:
        """Show or hide the Python console."""
        self.docks.toggle_console(self._console_names)

    def _console_names(self) -> dict[str, Any]:
        from tiltwright.app.console import names

        return names(self.project, self.selected_run.number)

    # -- closing -----------------------------------------------------------------------------

    def restore_layout(self) -> None:
        """Docks and size as they were when the window was closed last."""
        geometry, state = self.settings.layout()
        if geometry is not None and state is not None:
            self.restoreGeometry(geometry)
            self.restoreState(state)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Ask while something runs; else let everything go."""
        assert event is not None
        if self.jobs.busy:
            event.ignore()
            if not self._closing:
                self.projects.ask_before_closing()
            return
        self.settings.keep_layout(self.saveGeometry(), self.saveState())
        self.workspace.close_all()
        self.docks.close_console()
        for timer in (self._renew, self._machine, self._soon, self._progress):
            timer.stop()
        self.lane.close()
        self.background.close()
        if self.project is not None:
            self.project.close()
            self.project = None
        event.accept()

    def finish_then_close(self) -> None:
        """Close when the running work has ended."""
        self._closing = True
        if not self.jobs.busy:
            self.close()
