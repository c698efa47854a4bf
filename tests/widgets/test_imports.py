"""What stands in the window at its start must not load what computes."""

from __future__ import annotations

import subprocess
import sys

FIRST = ("catalogue", "runs_pane", "summary_view", "protocol_form", "quality_table", "wizard")


def test_widgets_of_the_first_screen_load_no_numerics():
    names = ", ".join(f"tiltwright.widgets.{name}" for name in FIRST)
    code = f"import sys, {names}; print(*({{'numba', 'scipy', 'pydantic'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
