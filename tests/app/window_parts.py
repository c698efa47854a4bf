"""What a person does with the window: clicks, keys, and answers to dialogs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QPoint, Qt, QTimer
from PyQt6.QtWidgets import (
    QApplication,
    QDialog,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QWidget,
)

from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.engine.simulate.series import SeriesSpec, write_series
from tiltwright.widgets.form.form import ParameterForm
from tiltwright.widgets.form.protocol_form import ProtocolForm
from tiltwright.widgets.image.image_view import ImageView

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "exosome_position14"
LEFT = Qt.MouseButton.LeftButton
CONTROL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
NONE = Qt.KeyboardModifier.NoModifier
SMALL = {
    "n_views": 15, "nx": 192, "ny": 160, "n_beads": 10, "n_vesicles": 0, "shift_step_sd_px": 2.0,
    "carbon": False,
}  # fmt: skip


def write_two_series(folder: Path, n_vesicles: int) -> None:
    """``small``, simulated, and ``position14``, the real one where it is at hand."""
    usual = {"n_views": 21, "n_beads": 18, "shift_step_sd_px": 3.0}
    spec = SeriesSpec(seed=3, nx=360, ny=300, n_vesicles=n_vesicles, **usual)
    write_series(spec, folder, "small")
    if (REAL / "position14.mrc").exists():
        for ending in (".mrc", ".rawtlt"):
            shutil.copy(REAL / f"position14{ending}", folder)
    else:
        spec = SeriesSpec(seed=4, nx=300, ny=360, n_vesicles=2, **usual)
        write_series(spec, folder, "position14")


def build_chain(project: Project, files: list[str]) -> list[int]:
    """Import to crop; the ids of the runs are 1 to 7."""

    def of(run: int, port: str = "tilt_series") -> Source:
        return Source(run, port)

    project.add("import-tilt-series", {"files": files})
    project.add("preprocess", {}, {"tilt_series": of(1)})
    project.add("coarse-prealignment", {}, {"tilt_series": of(2)})
    project.add("fiducial-model", {"number": 8}, {"tilt_series": of(3)})
    inputs = {"tilt_series": of(4), "fiducial_model": of(4, "fiducial_model")}
    project.add("fiducial-alignment", {}, inputs)
    project.add("reconstruction", {"thickness": 48}, {"tilt_series": of(5)})
    project.add("crop", {"z_from": 5, "z_to": 40}, {"tomogram": of(6, "tomogram")})
    return sorted(project.runs)


class Person:
    """Works with a window as a person does."""

    def __init__(self, qtbot: Any, window: Any) -> None:
        self.qtbot, self.window = qtbot, window

    # -- clicks and keys ---------------------------------------------------------------------

    def click(self, widget: QWidget, at: QPoint | None = None, keys: Any = NONE) -> None:
        self.qtbot.mouseClick(widget, LEFT, keys, pos=at or QPoint())

    def drag(self, view: ImageView, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag from one pixel of a picture to another with the left button."""
        a, b = view.to_screen(*start).toPoint(), view.to_screen(*end).toPoint()
        self.qtbot.mousePress(view, LEFT, pos=a)
        self.qtbot.mouseMove(view, b)
        self.qtbot.mouseRelease(view, LEFT, pos=b)

    def button(self, root: QWidget, text: str) -> QPushButton:
        found = [b for b in root.findChildren(QPushButton) if text in b.text() and b.isVisible()]
        assert found, f"no button {text!r}"
        return found[0]

    def key(self, key: Any, modifiers: Any = NONE, on: QWidget | None = None) -> None:
        """Press a key where the runs are."""
        target = on or self.window.runs.graph
        self.window.activateWindow()
        self.qtbot.waitUntil(self.window.isActiveWindow, timeout=2000)
        target.setFocus()
        self.qtbot.keyClick(target, key, modifiers)

    def select(self, *numbers: int) -> None:
        """Click runs in the graph, the later ones with Ctrl held."""
        graph = self.window.runs.graph
        graph.fit()
        for k, number in enumerate(numbers):
            at = graph.centre_of(str(number)).toPoint()
            self.click(graph.viewport(), at, CONTROL if k else NONE)
        assert set(self.window.runs.selected()) == {str(n) for n in numbers}

    def menu(self, name: str) -> None:
        """Choose an entry of the menu of runs."""
        action = self.window.run_actions.actions[name]
        assert action.isEnabled(), name
        action.trigger()

    # -- dialogs -----------------------------------------------------------------------------

    def answering(self, reply: Callable[[QDialog], None]) -> Callable[[], None]:
        """``reply`` to the next modal dialog; the returned callable says whether it came."""
        timer = QTimer()
        done = []

        def look() -> None:
            dialog = QApplication.activeModalWidget()
            if isinstance(dialog, QDialog) and dialog.isVisible():
                timer.stop()
                done.append(dialog)
                try:
                    reply(dialog)
                except Exception:
                    dialog.reject()
                    raise

        timer.timeout.connect(look)
        timer.start(20)

        def check() -> None:
            self.qtbot.waitUntil(lambda: bool(done), timeout=5000)

        check.timer = timer  # type: ignore[attr-defined]
        return check

    def typing(self, text: str) -> Callable[[QDialog], None]:
        """A reply: type a text and press Return."""

        def reply(dialog: QDialog) -> None:
            line = dialog.findChild(QLineEdit)
            line.selectAll()
            self.qtbot.keyClicks(line, text)
            self.qtbot.keyClick(line, Qt.Key.Key_Return)

        return reply

    def pressing(self, text: str) -> Callable[[QDialog], None]:
        """A reply: press a button."""

        def reply(dialog: QDialog) -> None:
            buttons = dialog.findChildren(QPushButton)
            button = next(b for b in buttons if text in b.text().replace("&", ""))
            self.click(button)

        return reply

    def box(self) -> QMessageBox:
        """The message that is shown."""
        boxes = self.window.findChildren(QMessageBox)
        shown = [b for b in boxes if b.isVisible()]
        assert shown, "no message is shown"
        return shown[-1]

    # -- runs --------------------------------------------------------------------------------

    def wait(self, seconds: float = 120) -> None:
        """Until nothing runs or waits, and all is shown."""
        self.qtbot.waitUntil(lambda: self.window.background.idle, timeout=20_000)
        self.qtbot.waitUntil(lambda: not self.window.jobs.busy, timeout=int(1000 * seconds))
        self.window.refresh()
        self.qtbot.waitUntil(lambda: self.window.background.idle, timeout=20_000)

    def write(self, form: ProtocolForm | ParameterForm, name: str, text: str) -> None:
        parameters = form.parameters if isinstance(form, ProtocolForm) else form
        line = parameters.row(name).findChild(QLineEdit)
        line.setFocus()
        line.selectAll()
        self.qtbot.keyClicks(line, text)
        self.qtbot.keyClick(line, Qt.Key.Key_Tab)

    def choose(self, title: str) -> ProtocolForm:
        """Open a protocol's form from the catalogue by search and Return."""
        search = self.window.catalogue.search
        self.qtbot.keyClick(self.window, Qt.Key.Key_F, CONTROL)
        search.selectAll()
        self.qtbot.keyClicks(search, title)
        self.qtbot.keyClick(search, Qt.Key.Key_Return)
        form = self.window.workspace.currentWidget()
        assert isinstance(form, ProtocolForm)
        search.clear()
        return form

    def execute(self, form: ProtocolForm, seconds: float = 120) -> int:
        """Click Execute and wait for the end; the number of the run."""
        before = set(self.window.project.runs)
        assert form.execute_button.isEnabled(), form.problem.text()
        self.click(form.execute_button)
        self.wait(seconds)
        (number,) = set(self.window.project.runs) - before or {self.window.selected()[-1]}
        run = self.window.project.runs[number]
        assert run.status == "finished", (run.failed, run.label)
        assert not run.failed
        return number

    def open_output(self, number: int, text: str) -> QWidget:
        """Select a run in the graph and click one of its outputs in the summary."""
        self.select(number)
        links = self.window.summary.summary.links
        found = [x.text() for x in links]
        assert any(text in t for t in found), found
        self.click(next(x for x in reversed(links) if text in x.text()))
        return self.window.workspace.currentWidget()

    def statuses(self) -> dict[int, str]:
        return {k: run.status for k, run in self.window.project.runs.items()}

    def open(self, folder: Path) -> None:
        """Open a project by its folder."""
        self.window.open_folder(folder)
        assert self.window.project is not None
        assert self.window.project.folder == folder
        self.qtbot.waitUntil(lambda: self.window.background.idle, timeout=20_000)
