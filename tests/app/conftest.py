"""A window with settings of its own, closed at the end with nothing left behind."""

from __future__ import annotations

import gc
import threading
import time

import pytest
from PyQt6.QtCore import QCoreApplication, QEvent, QSettings, Qt
from PyQt6.QtWidgets import QApplication

from tiltwright.app.main_window import MainWindow
from tiltwright.widgets.theme import apply_theme


@pytest.fixture(autouse=True)
def own_settings(tmp_path, monkeypatch):
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    QSettings.setPath(
        QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings")
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DOCUMENTS_DIR", str(tmp_path))


@pytest.fixture
def window(qtbot):
    app = QApplication.instance()
    apply_theme(app, dark=True)
    before = set(threading.enumerate())
    main = MainWindow()
    main.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(main)
    main.show()
    qtbot.waitExposed(main)
    yield main
    main.jobs.stop_all()
    qtbot.waitUntil(lambda: not main.jobs.busy, timeout=20_000)
    main.close()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    end = time.monotonic() + 3
    while (left := set(threading.enumerate()) - before) and time.monotonic() < end:
        gc.collect()
        QCoreApplication.processEvents()
        time.sleep(0.01)
    assert not left, f"threads left: {left}"
