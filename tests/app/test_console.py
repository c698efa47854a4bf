"""The console: only when it is opened, with the project at hand, and gone with the window."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from PyQt6.QtCore import Qt
from window_parts import CONTROL

pytest.importorskip("qtconsole")
Key = Qt.Key

ONLY_LOADED = """
import sys
from PyQt6.QtWidgets import QApplication
from tiltwright.app.main_window import MainWindow
app = QApplication([])
window = MainWindow()
window.show()
app.processEvents()
print([m for m in ("qtconsole", "IPython", "ipykernel", "OpenGL", "numba", "scipy")
       if m in sys.modules])
import pyqtgraph
print(pyqtgraph.getConfigOption("useOpenGL"))
window.close()
import PyQt6.sip
PyQt6.sip.delete(window)
"""


def test_nothing_of_it_is_loaded_before_and_no_opengl_at_all():
    done = subprocess.run(
        [sys.executable, "-c", ONLY_LOADED], capture_output=True, text=True, check=True,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"}, timeout=60,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["[]", "None" if "None" in done.stdout else "False"]


@pytest.mark.filterwarnings("ignore")  # the console's own packages warn of each other
def test_names_are_at_hand_and_follow_the_selection(opened, qtbot):
    window = opened.window
    before = set(threading.enumerate())
    opened.select(5)
    opened.key(Key.Key_QuoteLeft, CONTROL)
    console = window.docks.console.widget()
    shell = console.manager.kernel.shell
    assert shell.user_ns["project"] is window.project
    assert shell.user_ns["run"].id == 5
    shell.run_cell("answer = item().alignment.fit.mean_residual_px")
    assert 0 < shell.user_ns["answer"] < 0.3
    opened.select(6)
    shell.run_cell("answer = item().shape[0]; again = np.asarray(item().data[3]).shape")
    assert shell.user_ns["answer"] == 48
    # It is typed into as well.
    console.widget.execute("typed = 6 * 7")
    qtbot.waitUntil(lambda: shell.user_ns.get("typed") == 42, timeout=5000)
    opened.key(Key.Key_QuoteLeft, CONTROL)
    assert not window.docks.console.isVisible()
    opened.key(Key.Key_QuoteLeft, CONTROL)
    assert window.docks.console.isVisible()
    window.close()
    qtbot.waitUntil(lambda: set(threading.enumerate()) <= before, timeout=5000)
