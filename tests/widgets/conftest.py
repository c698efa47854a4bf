"""No widget test may leave a thread or a running timer behind."""

from __future__ import annotations

import gc
import threading
import time

import pytest
from PyQt6.QtCore import QCoreApplication, QEvent, QTimer
from PyQt6.QtWidgets import QApplication


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    before = set(threading.enumerate())
    yield
    app = QApplication.instance()
    if app is None:
        return
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    app.processEvents()
    end = time.monotonic() + 2
    while (left := set(threading.enumerate()) - before) and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    assert not left, f"threads left: {left}"
    for widget in app.topLevelWidgets():
        timers = [t for t in widget.findChildren(QTimer) if t.isActive() and not t.isSingleShot()]
        assert not timers or not widget.isVisible(), f"{widget} still has a running timer"
