"""The editor on the real series, or on a simulated one where that is not at hand."""

from __future__ import annotations

import numpy as np
import pytest
from editor_person import Person, automatic_model, open_series, stack
from PyQt6.QtCore import QCoreApplication, QEvent, QModelIndex

from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.widgets.editor.bead_fixer import Operation
from tiltwright.widgets.editor.current import Current
from tiltwright.widgets.editor.editor_window import EditorWindow
from tiltwright.widgets.editor.hand import Mode
from tiltwright.widgets.theme import apply_theme


@pytest.fixture(scope="session")
def real() -> tuple[TiltSeries, FiducialModel]:
    """The series position14 and what the automatic steps made of it, or simulated ones."""
    return open_series(stack()), automatic_model()


@pytest.fixture(scope="module")
def window(qapp, real):
    """One window for all tests of a file: choosing the alignment takes a second."""
    apply_theme(qapp, dark=True)
    made = EditorWindow(*real)
    made.resize(1500, 950)
    made.show()
    yield made
    made.close()
    made.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def person(qtbot, window, real):
    """Somebody before a window in which nothing has been done yet."""
    made = Person(qtbot, window)
    session = window.session
    made.wait(lambda: session.live is not None and window.centring.tool is not None)
    session.undo_stack.setIndex(0)
    session.undo_stack.clear()
    window.set_mode(Mode.MODEL)
    window.bead_fixer.set_operation(Operation.GAPS)
    window.bead_fixer.autocentre.setChecked(True)
    window.zap.view.fit()
    window.activateWindow()
    window.zap.view.setFocus()
    made.wait(window.isActiveWindow)
    window.layout_.messages.clear()
    window.layout_.show_tab(window.worklist)
    window.worklist.table.setCurrentIndex(QModelIndex())
    session.go(Current(real[0].n_views // 2))
    made.settle()
    assert np.array_equal(session.model.flag, real[1].flag)
    return made
