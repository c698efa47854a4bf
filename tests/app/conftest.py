"""A window with settings of its own, closed at the end with nothing left behind."""

from __future__ import annotations

import gc
import shutil
import threading
import time
from pathlib import Path

import pytest
from PyQt6.QtCore import QCoreApplication, QEvent, QSettings, Qt
from PyQt6.QtWidgets import QApplication
from window_parts import SMALL, Person, build_chain

from tiltwright.app.main_window import MainWindow
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.project.project import Project
from tiltwright.engine.simulate.series import SeriesSpec, write_series
from tiltwright.widgets.theme import apply_theme


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    QSettings.setPath(
        QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings")
    )
    for name in ("HOME", "XDG_DOCUMENTS_DIR", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))


@pytest.fixture
def make_window(qtbot):
    """Makes windows; all are closed at the end, and their threads must be gone."""
    app = QApplication.instance()
    apply_theme(app, dark=True)
    before = set(threading.enumerate())
    made: list[MainWindow] = []

    def make() -> MainWindow:
        main = MainWindow()
        main.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
        qtbot.addWidget(main)
        main.show()
        qtbot.waitExposed(main)
        made.append(main)
        return main

    yield make
    for main in made:
        main.jobs.stop_all()
        qtbot.waitUntil(lambda main=main: not main.jobs.busy, timeout=20_000)
        main.close()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    end = time.monotonic() + 3
    while (left := set(threading.enumerate()) - before) and time.monotonic() < end:
        gc.collect()
        QCoreApplication.processEvents()
        time.sleep(0.01)
    assert not left, f"threads left: {left}"


@pytest.fixture
def window(make_window):
    return make_window()


@pytest.fixture
def person(qtbot, window) -> Person:
    return Person(qtbot, window)


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    """A folder with two tiny series, ``s1.mrc`` and ``s2.mrc``."""
    folder = tmp_path_factory.mktemp("raw")
    for seed in (1, 2):
        write_series(SeriesSpec(seed=seed, **SMALL), folder, f"s{seed}")
    return folder


@pytest.fixture(scope="session")
def _finished(raw, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "project"
    project = Project.create(folder, "both")
    for k in build_chain(project, [str(raw / "s1.mrc"), str(raw / "s2.mrc")]):
        execute(project, k)
    project.close()
    return folder


@pytest.fixture
def finished(_finished, tmp_path) -> Path:
    """A fresh copy of the project in which everything has run; not open."""
    return Path(shutil.copytree(_finished, tmp_path / "project"))


@pytest.fixture
def opened(person, finished) -> Person:
    """A person before that project."""
    person.open(finished)
    return person
