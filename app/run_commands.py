"""What the menu, the toolbar and the keys do with runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PyQt6.QtCore import QObject, QUrl
from PyQt6.QtGui import QColor, QDesktopServices, QGuiApplication
from PyQt6.QtWidgets import QColorDialog, QFileDialog, QInputDialog, QMessageBox

from tiltwright.app import lineage
from tiltwright.engine.errors import InputError, TiltwrightError
from tiltwright.engine.execution.runner import Mode
from tiltwright.engine.io.atomic import read_bytes, write_text
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source

if TYPE_CHECKING:
    from tiltwright.app.main_window import MainWindow

_NAMED = 3
"""So many series are named in a label, more are counted."""


class RunCommands(QObject):
    """Slots of :class:`~tiltwright.app.run_actions.RunActions`."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window

    def slots(self) -> dict[str, Callable[[], None]]:
        """Name of each action to what it does."""
        names = (
            "edit", "analyze", "edit_beads", "restart_from", "continue_all", "stop", "stop_keep",
            "stop_from", "rename", "comment", "label", "compare", "duplicate", "delete",
            "select_from", "select_to", "collapse", "copy", "paste", "export", "folder",
        )  # fmt: skip
        slots = {name: self._guarded(getattr(self, name)) for name in names}
        slots["continue"] = self._guarded(self.go_on)
        slots["restart"] = self._guarded(lambda: self._start(self._chosen(), "restart"))
        slots["import"] = self._guarded(self.import_workflow)
        return slots

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        def slot() -> None:
            try:
                work()
            except TiltwrightError as exc:
                self._window.complain(str(exc))
            self._window.refresh()

        return slot

    @property
    def _project(self) -> Project:
        project = self._window.project
        if project is None:
            raise InputError("no project is open")
        return project

    def _chosen(self) -> list[int]:
        return self._window.selected()

    def _one(self) -> int:
        chosen = self._chosen()
        if not chosen:
            raise InputError("select a run first")
        return chosen[-1]

    # -- runs --------------------------------------------------------------------------------

    def edit(self) -> None:
        """The form of the selected run."""
        self._window.forms.open_run(self._one())

    def analyze(self) -> None:
        """What the selected run has made: its main output."""
        number = self._one()
        run = self._project.runs[number]
        if not run.outputs:
            raise InputError(f"{run.label}: has no results yet")
        order = ("tomogram", "fiducial_model", "tilt_series")
        port = next((p for p in order if p in run.outputs), next(iter(run.outputs)))
        self._window.open_output(number, port)

    def edit_beads(self) -> None:
        """The editor of the fiducial model that the selected run made or stands on."""
        self._window.docks.workspace.show()
        self._window.outputs.edit_beads(self._one())

    def align_again(self, number: int) -> None:
        """Run all that depends on a run, as far as it is out of date."""
        below = self._project.descendants([number]) - {number}
        if not below:
            self._window.say("Nothing depends on this model yet: add a Fiducial alignment")
        self._start(list(below), "continue")

    def compare(self) -> None:
        """Two results of the same series: the first selected run, with the second beside it."""
        chosen = self._chosen()
        if len(chosen) != 2:
            raise InputError("select two runs to compare (click the second with Ctrl held)")
        project = self._project
        a, b = (project.runs[k] for k in chosen)
        for port, items in a.outputs.items():
            for name in sorted(items):
                for source, _ in lineage.alternatives(project, Source(a.id, port), name):
                    if source.run == b.id:
                        self._window.docks.workspace.show()
                        self._window.outputs.compare(Source(a.id, port), source, name)
                        return
        raise InputError(f"{a.label} and {b.label} have no results of one series to compare")

    def change_for(self, number: int, names: Sequence[str]) -> None:
        """A copy of a run for some of its series only, with its form open to change it."""
        window, project = self._window, self._project
        try:
            run = project.runs[number]
            if not run.inputs:
                raise InputError(
                    f"{run.label}: brings series into the project; choose one of the next steps"
                )
            (made,) = project.duplicate([number])
            made.inputs = {
                port: replace(source, series=tuple(names)) for port, source in made.inputs.items()
            }
            shown = ", ".join(names) if len(names) <= _NAMED else f"{len(names)} series"
            made.label = f"{run.label} ({shown})"
            project.save(made)
        except TiltwrightError as exc:
            window.complain(str(exc))
            return
        window.refresh()
        window.runs.select([str(made.id)])
        window.forms.open_run(made.id)

    def go_on(self) -> None:
        """Run the selected runs; for one that was ended early, offer what is left of it."""
        chosen = self._chosen()
        if len(chosen) != 1 or not self._offer_rest(chosen[0]):
            self._start(chosen, "continue")

    def _offer_rest(self, number: int) -> bool:
        """A run that goes on from a finished one, with its form open; False if nothing is left."""
        window, project = self._window, self._project
        run = project.runs[number]
        if run.status != "finished" or number in window.stale:
            return False
        protocol, params = project.protocol(run), project.params(run)
        left = {}
        for name in run.outputs.get("tomogram", {}) if protocol.ends_early(params) else ():
            inputs = {port: project.item(source, name) for port, source in run.inputs.items()}
            made = {"tomogram": project.item(Source(number, "tomogram"), name)}
            if values := protocol.going_on(inputs, made, params):
                left[name] = values
        if not left:
            return False
        (more,) = project.duplicate([number])
        sources = run.inputs | {"start": Source(number, "tomogram")}
        more.inputs = {p: replace(source, series=tuple(left)) for p, source in sources.items()}
        more.params |= max(left.values(), key=lambda values: tuple(values.values()))
        more.label = f"{run.label}, going on"
        project.save(more)
        window.refresh()
        window.runs.select([str(more.id)])
        window.forms.open_run(more.id)
        window.say(f"{run.label} was ended early: execute this to go on from its tomogram")
        return True

    def _start(self, numbers: list[int], mode: Mode) -> None:
        for number in self._in_order(numbers):
            if self._project.runs[number].status not in ("running", "queued"):
                self._window.jobs.start(number, mode)

    def _in_order(self, numbers: list[int] | set[int]) -> list[int]:
        """Runs before those that depend on them."""
        left, out = set(numbers), []
        while left:
            free = sorted(k for k in left if not left & (self._project.ancestors([k]) - {k}))
            out += free or sorted(left)
            left -= set(out)
        return out

    def restart_from(self) -> None:
        """Run the selected runs and everything below again."""
        self._start(list(self._project.descendants(self._chosen())), "restart")

    def continue_all(self) -> None:
        """Run everything that is new, cut off or out of date."""
        project = self._project
        project.check_writable()

        def start(stale: set[int]) -> None:
            if self._window.project is project:
                wanted = [
                    k for k, run in project.runs.items()
                    if run.status in ("new", "failed", "aborted", "interrupted") or k in stale
                ]  # fmt: skip
                self._guarded(lambda: self._start(wanted, "continue"))()

        # Whatever was changed a moment ago counts, and files are hashed in the background.
        self._window.background.request("continue all", project.snapshot().stale, start)

    def stop(self) -> None:
        """Cancel the selected runs."""
        for number in self._chosen():
            self._window.jobs.stop(number)

    def stop_keep(self) -> None:
        """End the selected run with what it has."""
        self._window.jobs.end_early(self._one())

    def stop_from(self) -> None:
        """Cancel the selected runs and everything below."""
        for number in self._project.descendants(self._chosen()):
            self._window.jobs.stop(number)

    def _ask(self, title: str, words: str, text: str) -> str | None:
        answer, ok = QInputDialog.getText(self._window, title, words, text=text)
        return answer.strip() if ok else None

    def rename(self) -> None:
        """Change the label of a run."""
        run = self._project.runs[self._one()]
        text = self._ask("Rename", "Label of the run", run.label)
        if text:
            run.label = text
            self._project.save(run)

    def comment(self) -> None:
        """Write a comment on a run."""
        run = self._project.runs[self._one()]
        text = self._ask("Comment", "Comment on the run", run.comment)
        if text is not None:
            run.comment = text
            self._project.save(run)

    def label(self) -> None:
        """Mark runs with a coloured stripe."""
        runs = [self._project.runs[k] for k in self._chosen()]
        first = QColor(runs[0].colour or "#4c9df0")
        colour = QColorDialog.getColor(first, self._window, "Label colour")
        if colour.isValid():
            for run in runs:
                run.colour = colour.name()
                self._project.save(run)

    def duplicate(self) -> None:
        """Copy runs without their results."""
        made = self._project.duplicate(self._chosen())
        self._window.refresh()
        self._window.runs.select([str(run.id) for run in made])

    def delete(self) -> None:
        """Delete runs and what depends on them, after asking."""
        project, chosen = self._project, self._chosen()
        doomed = project.descendants(chosen)
        labels = "\n".join(f"{k}  {project.runs[k].label}" for k in sorted(doomed))
        words = f"Delete {len(doomed)} run{'s' if len(doomed) != 1 else ''} with all results?"
        if not self._confirm(words, labels, "Delete"):
            return
        project.delete(chosen)
        for number in doomed:
            self._window.workspace.close_run(number)
        self._window.refresh()

    def _confirm(self, words: str, more: str, do: str) -> bool:
        box = QMessageBox(self._window)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Tiltwright")
        box.setText(words)
        box.setInformativeText(more)
        button = box.addButton(do, QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        box.deleteLater()
        return box.clickedButton() is button

    def select_from(self) -> None:
        """Select a run and all that depends on it."""
        self._window.runs.select([str(k) for k in sorted(self._project.descendants([self._one()]))])

    def select_to(self) -> None:
        """Select a run and all that it depends on."""
        self._window.runs.select([str(k) for k in sorted(self._project.ancestors([self._one()]))])

    def collapse(self) -> None:
        """Hide or show what depends on a run."""
        graph, ident = self._window.runs.graph, str(self._one())
        graph.set_collapsed([ident], ident not in graph.collapsed())

    def _workflow_text(self) -> str:
        return json.dumps(self._project.workflow(self._chosen() or None), indent=1)

    def copy(self) -> None:
        """Runs as JSON to the clipboard."""
        board = QGuiApplication.clipboard()
        if board is not None:
            board.setText(self._workflow_text())
            self._window.say(f"{len(self._chosen())} runs copied")

    def paste(self) -> None:
        """Add the runs on the clipboard."""
        board = QGuiApplication.clipboard()
        self._add_workflow(board.text() if board is not None else "", "clipboard")

    def export(self) -> None:
        """Runs as JSON to a file: the selected ones, or all."""
        name, _ = QFileDialog.getSaveFileName(
            self._window, "Export workflow", "workflow.json", "Workflow (*.json)"
        )
        if name:
            write_text(Path(name), self._workflow_text())

    def import_workflow(self) -> None:
        """Add the runs of a JSON file."""
        name, _ = QFileDialog.getOpenFileName(
            self._window, "Import workflow", "", "Workflow (*.json)"
        )
        if name:
            text = read_bytes(Path(name), 1 << 26).decode("utf-8", "replace")
            self._add_workflow(text, name)

    def _add_workflow(self, text: str, where: str) -> None:
        try:
            workflow = json.loads(text)
        except ValueError as exc:
            raise InputError(f"{where}: holds no workflow (copy or export one first)") from exc
        made = self._project.add_workflow(workflow)
        self._window.refresh()
        self._window.runs.select([str(run.id) for run in made])

    def folder(self) -> None:
        """Show the folder of a run in the file manager."""
        path = self._project.folder_of(self._one())
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
