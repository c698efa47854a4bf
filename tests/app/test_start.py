"""Starting: quickly, and without what is not needed yet."""

from __future__ import annotations

import os
import subprocess
import sys


def test_smoke_test_prints_seconds_and_imports_nothing_heavy():
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, "-m", "tiltwright.app", "--smoke-test"],
        capture_output=True, text=True, timeout=60, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) < 30
