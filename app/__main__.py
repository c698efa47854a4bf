"""``tiltwright``: the window, or with a command the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> int:
    """Open the window, or run a command; ``demo`` is shown when there is a display."""
    arguments = sys.argv[1:]
    first = Path(arguments[0]) if arguments else None
    if first is None or (first.is_dir() and (first / "project.json").exists()):
        from tiltwright.app.window import run_window

        return run_window(first)
    if arguments == ["--smoke-test"]:
        from tiltwright.app.window import smoke_test

        return smoke_test()
    if arguments[0] == "demo" and _display():
        from tiltwright.app.window import run_window

        folder = Path(arguments[2] if arguments[1:2] == ["--output"] else "tiltwright-demo")
        return run_window(folder / "project", demo=True)
    from tiltwright.app.cli import main as command_line

    return command_line()


def _display() -> bool:
    """Whether a window can be shown."""
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        return False
    names = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(os.environ.get(n) for n in names)


if __name__ == "__main__":
    sys.exit(main())
