"""Before any test module imports numpy: the settings of BLAS that the package makes."""

from __future__ import annotations

import gc

import pytest

import tiltwright  # noqa: F401


def pytest_collection_finish():
    """What the modules hold is never garbage: collections after each test pass it over."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _collected_on_this_thread(request):
    """As in the window: no widget may be collected, and so destroyed, in a worker's thread."""
    gc.disable()
    yield
    gc.enable()
    if "qtbot" in request.fixturenames:
        gc.collect()
