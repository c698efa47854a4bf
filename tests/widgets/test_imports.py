"""What stands in the window at its start must not load what computes."""

from __future__ import annotations

import subprocess
import sys

FIRST = (
    "runs.catalogue",
    "runs.runs_pane",
    "runs.summary_view",
    "runs.quality_table",
    "form.protocol_form",
    "form.wizard",
)


def test_widgets_of_the_first_screen_load_no_numerics():
    names = ", ".join(f"tiltwright.widgets.{name}" for name in FIRST)
    code = f"import sys, {names}; print(*({{'numba', 'scipy', 'pydantic'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
