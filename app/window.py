"""Starting the window."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path


def run_window(project: Path | None = None, *, demo: bool = False) -> int:
    """Open the window, with a project if given; returns the exit status.

    ``demo``: the project is the demo's, made there and run unless it exists.
    """
    from PyQt6 import sip
    from PyQt6.QtCore import QTimer
    from PyQt6.QtWidgets import QApplication

    from tiltwright.app.crash import CrashHandler
    from tiltwright.app.main_window import MainWindow
    from tiltwright.app.preferences import Settings
    from tiltwright.widgets.garbage import GuiGarbage
    from tiltwright.widgets.lane import share_interpreter
    from tiltwright.widgets.theme import apply_theme

    app = QApplication(sys.argv[:1])
    garbage = GuiGarbage(app)
    share_interpreter()
    app.setApplicationName("Tiltwright")
    app.setOrganizationName("Tiltwright")
    crash = CrashHandler(app)
    crash.install()
    settings = Settings()
    apply_theme(app, settings.preferences().theme == "dark")
    window = MainWindow(settings)
    screen = app.primaryScreen()
    if screen is not None:
        # Never larger than the screen, whose frame takes a few pixels more.
        room = screen.availableSize()
        window.resize(min(1600, room.width() - 8), min(1000, room.height() - 36))
        window.docks.usual_sizes()
    window.restore_layout()
    window.show()
    if project is not None and demo and not (project / "project.json").exists():
        window.projects.create_demo(project)
    elif project is not None:
        window.open_folder(project)
    # When it has been painted, not while it is.
    QTimer.singleShot(
        200, lambda: threading.Thread(target=_warm, name="loading", daemon=True).start()
    )
    status = app.exec()
    garbage.stop()
    sip.delete(window)
    crash.remove()
    return status


def smoke_test() -> int:
    """Open the window, paint it once, and print the seconds since the process began."""
    from PyQt6 import sip
    from PyQt6.QtWidgets import QApplication

    from tiltwright.app.main_window import MainWindow
    from tiltwright.widgets.theme import apply_theme

    app = QApplication(sys.argv[:1])
    apply_theme(app)
    window = MainWindow()
    window.show()
    app.processEvents()
    window.repaint()
    heavy = [name for name in ("numba", "scipy") if name in sys.modules]
    print(f"{_seconds_since_start():.2f}" + (f" (imported {heavy})" if heavy else ""))
    window.close()
    # Before the application, or the program ends in a crash.
    sip.delete(window)
    return 1 if heavy else 0


def _seconds_since_start() -> float:
    """Age of this process; where the system does not tell, the time since Python began."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return uptime - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.process_time()


def _warm() -> None:
    """Load what the first run would have to wait for, and the window with it."""
    import gc
    import importlib
    import pkgutil

    from tiltwright import engine

    for module in pkgutil.walk_packages(engine.__path__, f"{engine.__name__}."):
        importlib.import_module(module.name)
    # Else a full collection looks at all of it, and the window stands still for 250 ms.
    gc.freeze()
