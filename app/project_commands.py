"""Making, opening, copying and leaving projects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import QObject
from PyQt6.QtWidgets import QFileDialog, QMessageBox, QWidget

from tiltwright.app import demo
from tiltwright.app.new_project import NewProjectPage, free_folder
from tiltwright.engine.errors import TiltwrightError
from tiltwright.engine.project.project import Project

if TYPE_CHECKING:
    from tiltwright.app.main_window import MainWindow


class ProjectCommands(QObject):
    """What the project menu does."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window

    def leave(self) -> bool:
        """Whether the open project can be left: nothing is running in it."""
        if self._window.jobs.busy:
            self._window.complain("Runs are in progress: stop them or wait before you leave.")
            return False
        return True

    def with_project(self, then: Callable[[], None]) -> None:
        """Do something in a project; a page asks for a new one first when none is open."""
        if self._window.project is not None:
            then()
        else:
            self._ask_new(then)

    def new_project(self) -> None:
        """Ask for a place, and create a project there."""
        if self.leave():
            self._ask_new(lambda: None)

    def _ask_new(self, then: Callable[[], None]) -> None:
        workspace = self._window.workspace
        workspace.close_page("page:new")

        def make() -> QWidget:
            page = NewProjectPage()
            page.cancelled.connect(lambda: workspace.close_page("page:new"))
            page.accepted.connect(accepted)
            return page

        def accepted(folder: Path) -> None:
            if self.create(folder):
                workspace.close_page("page:new")
                then()

        self._window.docks.workspace.show()
        workspace.show_page("page:new", "New project", make)

    def create(self, folder: Path) -> bool:
        """Create a project in a folder and show it; False when that cannot be."""
        try:
            self._window.show_project(Project.create(folder))
        except TiltwrightError as exc:
            self._window.complain(str(exc))
            return False
        return True

    def open_project(self) -> None:
        """Ask for the folder of a project and open it."""
        name = QFileDialog.getExistingDirectory(self._window, "Open project")
        if name:
            self._window.open_folder(Path(name))

    def copy_project(self) -> None:
        """Copy the project with its results and open the copy."""
        window = self._window
        if not self.leave() or window.project is None:
            return
        source = window.project
        name, _ = QFileDialog.getSaveFileName(
            window, "Copy project to", str(source.folder) + "-copy", "",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )  # fmt: skip
        if not name:
            return
        twin = source.snapshot()

        def copy() -> Project | str:
            try:
                return twin.copy_to(Path(name))
            except TiltwrightError as exc:
                return str(exc)

        def copied(made: Project | str) -> None:
            if isinstance(made, str):
                window.complain(made)
            elif window.project is source and not window.jobs.busy:
                window.show_project(made)
                window.say(f"Copied to {name}")
            else:
                made.close()
                window.say(f"Copied to {name}")

        window.say(f"Copying to {name} …")
        window.background.request("copy project", copy, copied, later=True)

    def demo(self) -> None:
        """A simulated series and its chain, in a project of their own."""
        if self.leave():
            self.create_demo(free_folder("tiltwright-demo"))

    def create_demo(self, folder: Path) -> None:
        """Create the demo project in a folder and start it."""
        window = self._window
        try:
            project = Project.create(folder)
            window.show_project(project)
            for run in demo.create(project):
                window.jobs.start(run.id)
        except TiltwrightError as exc:
            window.complain(str(exc))
            return
        window.refresh()
        window.say(f"The demo runs in {folder}")

    def ask_before_closing(self) -> None:
        """Running work is finished or cleanly interrupted, as the person decides."""
        window = self._window
        box = QMessageBox(window)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Tiltwright")
        box.setText("Runs are in progress.")
        box.setInformativeText(
            "Stopped runs keep the series that are done and can be continued later."
        )
        stop: Any = box.addButton("Stop and close", QMessageBox.ButtonRole.DestructiveRole)
        finish: Any = box.addButton("Close when finished", QMessageBox.ButtonRole.AcceptRole)
        box.addButton("Do not close", QMessageBox.ButtonRole.RejectRole)

        def decided() -> None:
            if box.clickedButton() is stop:
                window.jobs.stop_all()
                window.finish_then_close()
            elif box.clickedButton() is finish:
                window.finish_then_close()
            box.deleteLater()

        box.finished.connect(lambda _: decided())
        box.open()
