"""Opening, closing and leaving projects; what is damaged, locked, or was cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QApplication, QFileDialog, QPushButton
from window_parts import Person, build_chain

from tiltwright.app import preferences as preferences_module
from tiltwright.engine.errors import InputError
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.project import run as run_module
from tiltwright.engine.project.project import Project
from tiltwright.widgets.form.protocol_form import ProtocolForm
from tiltwright.widgets.theme import DARK, LIGHT, colours

Key = Qt.Key


def restart(person: Person, number: int) -> None:
    person.select(number)
    person.window.jobs.start(number, "restart")
    person.qtbot.waitUntil(lambda: person.statuses()[number] == "running", timeout=5000)


@pytest.mark.parametrize("answer", ["Stop and close", "Close when finished", "Do not close"])
def test_closing_asks_while_something_runs(opened, answer):
    window = opened.window
    restart(opened, 6)
    window.close()
    box = opened.box()
    assert window.isVisible()
    button = next(b for b in box.findChildren(QPushButton) if answer in b.text())
    opened.click(button)
    if answer == "Do not close":
        opened.wait()
        assert window.isVisible()
        assert opened.statuses()[6] == "finished"
        return
    folder = window.project.folder
    opened.qtbot.waitUntil(lambda: not window.isVisible(), timeout=20_000)
    again = Project.open(folder)
    assert again.read_only is None
    wanted = "aborted" if answer.startswith("Stop") else "finished"
    # It may have ended before it was stopped.
    assert again.runs[6].status in (wanted, "finished")
    assert set(again.runs[6].outputs["tomogram"]) == {"s1", "s2"}
    again.close()


def test_a_second_window_is_read_only_says_why_and_follows(opened, make_window, qtbot):
    first = opened.window
    second = make_window()
    second.open_folder(first.project.folder)
    assert second.project.read_only is not None
    assert "read-only" in second.windowTitle()
    assert f"process {os.getpid()}" in second.summary.project_log.all_text()
    other = Person(qtbot, second)
    other.select(5)
    assert not second.run_actions.actions["delete"].isEnabled()
    assert second.run_actions.actions["analyze"].isEnabled()
    other.key(Key.Key_E)
    form = second.workspace.currentWidget()
    assert isinstance(form, ProtocolForm)
    assert "read-only" in form.problem.text()
    assert not form.execute_button.isEnabled()
    # What the first window does is seen after F5.
    run = first.project.runs[5]
    run.label = "seen from afar"
    first.project.save(run)
    other.key(Key.Key_F5)
    assert second.project.runs[5].label == "seen from afar"
    # When the first is closed, F5 takes the project over.
    first.close()
    other.key(Key.Key_F5)
    assert second.project.read_only is None
    assert "read-only" not in second.windowTitle()


def test_a_damaged_run_is_listed_and_the_rest_works(person, finished):
    (finished / "runs" / "003_coarse-prealignment" / "run.json").write_text("{ no json")
    path = finished / "runs" / "006_reconstruction" / "run.json"
    data = json.loads(path.read_text())
    data["outputs"] = {"tomogram": {"s1": {}}}
    path.write_text(json.dumps(data))
    person.open(finished)
    log = person.window.summary.project_log.all_text()
    assert "003_coarse-prealignment" in log
    assert len(person.window.runs.graph.runs()) == 6
    person.select(6)
    outputs = person.window.summary.summary._summary.outputs
    assert "damaged" in outputs[0].text
    person.select(5)
    page = person.open_output(5, "s1")
    assert page.series.alignment.fit is not None


def test_a_project_of_an_older_version_opens(person, finished):
    for path in (finished / "runs").glob("*/run.json"):
        data = json.loads(path.read_text())
        for name in ("schema", "colour", "notes", "keys"):
            data.pop(name)
        path.write_text(json.dumps(data))
    person.open(finished)
    assert set(person.statuses().values()) == {"finished"}
    later = finished / "runs" / "002_preprocess" / "run.json"
    data = json.loads(later.read_text())
    later.write_text(json.dumps(data | {"schema": 99}))
    person.key(Key.Key_F5)
    assert "later version" in person.window.project.damaged["002_preprocess"]
    assert len(person.window.project.runs) == 6


def test_a_missing_input_file_is_said(opened):
    window = opened.window
    (window.project.output_folder(6) / "s1_rec.mrc").unlink()
    opened.select(6)
    assert window.open_output(6, "tomogram", "s1") is None
    assert "s1_rec.mrc" in opened.box().text()
    opened.box().close()
    assert window.open_output(6, "tomogram", "s2") is not None
    opened.select(7)
    opened.menu("restart")
    opened.wait()
    run = window.project.runs[7]
    assert (run.status, run.series, set(run.failed)) == ("finished", ["s2"], {"s1"})


def test_what_is_no_project_is_said(person, tmp_path):
    person.window.open_folder(tmp_path)
    assert "no Tiltwright project" in person.box().text()
    assert person.window.project is None


def test_a_folder_that_cannot_be_written_opens_read_only(person, finished, monkeypatch):
    def refuse(self):
        raise InputError(f"{self.path}: permission denied")

    monkeypatch.setattr("tiltwright.engine.project.lock.Lock.acquire", refuse)
    person.open(finished)
    assert "permission denied" in person.window.summary.project_log.all_text()
    assert "(read-only)" in person.window.windowTitle()
    person.open_output(6, "s1")


def test_a_full_disk_is_said_and_nothing_is_lost(opened, monkeypatch):
    def full(path, text):
        raise InputError(f"{path}: no space left on device")

    monkeypatch.setattr(run_module, "write_text", full)
    opened.select(5)
    came = opened.answering(opened.typing("a new name"))
    opened.key(Key.Key_F2)
    came()
    assert "no space left" in opened.box().text()
    opened.box().close()
    opened.menu("restart")
    opened.wait()
    assert "no space left" in opened.window.summary.project_log.all_text()
    monkeypatch.undo()
    opened.menu("restart")
    opened.wait()
    assert opened.statuses()[5] == "finished"


def test_recent_projects(opened, raw, tmp_path):
    window = opened.window
    other = Project.create(tmp_path / "other")
    other.close()
    opened.open(tmp_path / "other")
    window.menus.fill_recent()
    listed = window.menus.recent.actions()
    assert [a.text() for a in listed] == [str(tmp_path / "other"), str(tmp_path / "project")]
    listed[1].trigger()
    assert window.project.folder == tmp_path / "project"
    assert len(window.runs.graph.runs()) == 7
    # The one that was left can be written by others again.
    again = Project.open(tmp_path / "other")
    assert again.read_only is None
    again.close()


def test_leaving_a_project_closes_its_pages_and_forgets_its_runs(opened, tmp_path):
    window = opened.window
    opened.open_output(6, "s1")
    opened.key(Key.Key_E)
    Project.create(tmp_path / "empty").close()
    opened.open(tmp_path / "empty")
    assert window.workspace.pages() == []
    assert window.selected_run.number is None
    assert window.runs.start.isVisible()
    assert window.stale == set()


def test_a_project_with_running_work_is_not_left(opened, tmp_path):
    Project.create(tmp_path / "empty").close()
    restart(opened, 6)
    opened.window.open_folder(tmp_path / "empty")
    assert "in progress" in opened.box().text()
    assert len(opened.window.project.runs) == 7
    opened.wait()


def test_copy_project(opened, tmp_path, monkeypatch):
    target = tmp_path / "a copy"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(target), ""))
    opened.window.menus.copy.trigger()
    opened.qtbot.waitUntil(lambda: opened.window.project.folder == target, timeout=10_000)
    opened.wait()
    assert opened.window.stale == set()
    opened.open_output(6, "s1")
    opened.window.menus.copy.trigger()
    opened.qtbot.waitUntil(lambda: opened.window.background.idle, timeout=10_000)
    assert "exists already" in opened.box().text()


def test_the_layout_is_remembered(make_window, qtbot):
    first = make_window()
    first.docks.catalogue.close()
    first.resizeDocks([first.docks.workspace], [700], Qt.Orientation.Horizontal)
    first.resize(1300, 800)
    first.close()
    second = make_window()
    assert second.docks.catalogue.isVisible()
    second.restore_layout()
    assert not second.docks.catalogue.isVisible()
    second.menus.layout.trigger()
    assert second.docks.catalogue.isVisible()


def test_preferences_are_applied_and_kept(opened, make_window, monkeypatch):
    window = opened.window
    viewer = opened.open_output(1, "s1")
    opened.key(Key.Key_Comma, Qt.KeyboardModifier.ControlModifier)
    page = window.workspace.currentWidget()
    form = page.form
    form.set_values({"theme": "light", "threads": 1, "viewer_cache_mb": 64, "console": False})
    opened.click(page.apply_button)
    assert colours() is LIGHT
    app = QApplication.instance()
    assert app.palette().window().color().name() == LIGHT.window
    corner = window.grab().toImage().pixelColor(2, window.height() - 2)
    assert corner.lightness() > 180
    assert viewer.images._cache.budget_bytes == 64 << 20
    seen = []
    monkeypatch.setattr(
        "tiltwright.app.jobs.execute", lambda p, n, m, hooks: seen.append(hooks.threads)
    )
    opened.select(6)
    opened.menu("restart")
    opened.wait()
    assert seen == [1]
    assert preferences_module.Settings().preferences().threads == 1
    second = make_window()
    assert second.preferences.theme == "light"
    form.set_values({"theme": "dark"})
    opened.click(page.apply_button)
    assert colours() is DARK


def test_default_parameters_of_a_protocol(opened):
    form = opened.choose("Tomogram reconstruction")
    opened.write(form, "thickness", "123")
    opened.click(opened.button(form, "Save as default"))
    opened.qtbot.keyClick(form, Key.Key_Escape)
    form = opened.choose("Tomogram reconstruction")
    assert form.parameters.values().thickness == 123
    opened.qtbot.keyClick(form, Key.Key_Escape)
    assert opened.window.project.runs[6].params["thickness"] == 48


def test_killed_and_continued(person, raw, finished, tmp_path):
    """kill -9 of the whole program; the next window finds the run and continues it."""
    folder = tmp_path / "killed"
    project = Project.create(folder)
    build_chain(project, [str(raw / "s1.mrc"), str(raw / "s2.mrc")])
    project.close()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from PyQt6.QtWidgets import QApplication\n"
        "from tiltwright.app.main_window import MainWindow\n"
        "app = QApplication([])\n"
        "window = MainWindow()\n"
        "window.show()\n"
        f"window.open_folder(Path({str(folder)!r}))\n"
        "window.jobs.line_logged.connect(lambda k, line: print(k, line, flush=True))\n"
        "window.commands.continue_all()\n"
        "app.exec()\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    )
    assert program.stdout is not None
    for line in program.stdout:
        if line.startswith("4 ") and "s1: done" in line:
            break
    program.send_signal(signal.SIGKILL)
    program.wait()
    program.stdout.close()
    person.open(folder)
    window = person.window
    assert window.project.read_only is None
    assert person.statuses()[3] == "finished"
    assert person.statuses()[4] == "interrupted"
    person.select(4)
    assert "Continue" in window.summary.summary._summary.status_text
    assert window.run_actions.actions["continue"].isEnabled()
    person.key(Key.Key_C)
    person.wait()
    assert set(person.statuses().values()) == {"finished"}
    straight = finished / "runs" / "006_reconstruction" / "output" / "s1_rec.mrc"
    mine = window.project.output_folder(6) / "s1_rec.mrc"
    assert np.array_equal(open_stack(mine), open_stack(straight))
    assert "s1: kept from before" in (window.project.folder_of(4) / "log.txt").read_text()
