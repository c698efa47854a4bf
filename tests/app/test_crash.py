"""Errors of the program: in a slot, in a thread, in a background lane; the window lives."""

from __future__ import annotations

import sys
import threading

import pytest
from PyQt6.QtCore import QTimer
from PyQt6.QtWidgets import QApplication, QMessageBox

from tiltwright.app import jobs as jobs_module
from tiltwright.app.crash import CrashHandler, log_path


@pytest.fixture
def crash(window, qtbot):
    before = sys.excepthook, threading.excepthook
    handler = CrashHandler(window)
    handler.install()
    yield handler
    handler.remove()
    assert (sys.excepthook, threading.excepthook) == before


def dialog() -> QMessageBox:
    boxes = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox)]
    return next(b for b in boxes if b.isVisible())


def shown() -> bool:
    return any(isinstance(w, QMessageBox) and w.isVisible() for w in QApplication.topLevelWidgets())


def test_an_exception_in_a_slot_is_shown_and_logged(window, crash, qtbot):
    def slot() -> None:
        raise ZeroDivisionError("in a slot")

    QTimer.singleShot(0, slot)
    qtbot.waitUntil(shown, timeout=3000)
    box = dialog()
    assert "in a slot" in box.detailedText()
    assert str(log_path()) in box.informativeText()
    text = log_path().read_text()
    assert "ZeroDivisionError: in a slot" in text
    assert "Tiltwright" in text
    box.accept()
    window.menus.preferences.trigger()
    assert window.workspace.page("page:preferences") is not None


def test_an_exception_in_a_thread_is_shown_and_logged(window, crash, qtbot):
    def work() -> None:
        raise KeyError("in a thread")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    qtbot.waitUntil(shown, timeout=3000)
    assert "in a thread" in dialog().detailedText()
    assert "in a thread" in log_path().read_text()
    dialog().accept()
    assert window.isVisible()


def test_many_errors_are_one_dialog(window, crash, qtbot):
    def slot() -> None:
        raise ValueError("again")

    for _ in range(5):
        QTimer.singleShot(0, slot)
    qtbot.waitUntil(lambda: log_path().read_text().count("ValueError: again") == 5, timeout=3000)
    boxes = [w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox)]
    assert len([b for b in boxes if b.isVisible()]) == 1
    dialog().accept()


def test_a_long_log_is_set_aside(window, qtbot):
    path = log_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x" * 2_100_000)
    handler = CrashHandler(window)
    handler.install()
    handler.remove()
    assert path.stat().st_size == 0
    assert path.with_suffix(".old.log").stat().st_size == 2_100_000


def test_an_error_of_the_program_in_a_run_fails_that_run(opened, monkeypatch):
    def broken(project, number, mode, hooks):
        raise RuntimeError("a bug in a step")

    monkeypatch.setattr(jobs_module, "execute", broken)
    opened.select(6)
    opened.menu("restart")
    opened.wait()
    assert "a bug in a step" in opened.window.summary.project_log.all_text()
    assert opened.statuses()[6] == "finished"
    assert opened.window.isVisible()


def test_what_fails_in_the_background_is_said(window, qtbot):
    def work() -> None:
        raise OSError("the disk is gone")

    window.background.request("x", work, lambda _: None)
    qtbot.waitUntil(
        lambda: "the disk is gone" in window.summary.project_log.all_text(), timeout=3000
    )
