"""Widgets of this library go when they are closed, and leave no timer behind."""

from __future__ import annotations

import gc
import weakref

import pytest
from ctf_data import make_ice, true_table
from PyQt6.QtCore import QEvent, QTimer
from PyQt6.QtWidgets import QApplication

from tiltwright.engine.protocols import protocols
from tiltwright.widgets import theme
from tiltwright.widgets.ctf.ctf_source import FitRange
from tiltwright.widgets.ctf.ctf_viewer import CtfViewer
from tiltwright.widgets.form.form_pickers import InputChoice
from tiltwright.widgets.form.protocol_form import ProtocolForm
from tiltwright.widgets.form.wizard import ChainStep, Wizard
from tiltwright.widgets.form.wizard_params import WizardParams
from tiltwright.widgets.runs.catalogue import Catalogue, CatalogueEntry
from tiltwright.widgets.runs.quality_table import QualityTable, SeriesQuality
from tiltwright.widgets.runs.run_box import RunBox
from tiltwright.widgets.runs.run_summary import KeyNumber, OutputLine, RunSummary
from tiltwright.widgets.runs.runs_pane import RunsPane
from tiltwright.widgets.runs.summary_view import SummaryView


def _form():
    protocol = protocols()["fiducial-alignment"]
    choice = InputChoice("model", "Model", (("5", "Model", "32"),))
    return ProtocolForm(protocol.Params, protocol.title, inputs=(choice,), runs=(("1", "a"),))


def _runs():
    pane = RunsPane()
    pane.set_runs([RunBox("1", "a"), RunBox("2", "b", parents=("1",))])
    pane.set_runs([RunBox("1", "a")])
    return pane


def _summary():
    view = SummaryView()
    view.log.append("error: something")
    outputs = (OutputLine("TiltSeries", "41", ("P14",)),)
    view.set_summary(RunSummary("1", "a", outputs=outputs, numbers=(KeyNumber("a", "1", "bad"),)))
    return view


def _quality():
    table = QualityTable()
    table.set_rows([SeriesQuality("P14", verdict="bad")])
    return table


def _ctf():
    viewer = CtfViewer()
    viewer.set_content(make_ice()[1], true_table(*make_ice()), FitRange(tile_px=256))
    return viewer


MAKERS = {
    "ctf": _ctf,
    "form": _form,
    "runs": _runs,
    "summary": _summary,
    "quality": _quality,
    "catalogue": lambda: Catalogue([CatalogueEntry("a", "A", "S")]),
    "wizard": lambda: Wizard(WizardParams, lambda v: [ChainStep("Import")]),
}


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_is_left(qtbot, name):
    before = set(map(id, QApplication.allWidgets()))
    widget = MAKERS[name]()
    widget.show()
    QApplication.processEvents()
    alive = weakref.ref(widget)
    widget.close()
    widget.deleteLater()
    del widget
    # Twice: what Qt holds of slots goes when control is back in the event loop.
    for _ in range(2):
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        QApplication.processEvents()
        gc.collect()
    assert alive() is None
    assert [w for w in QApplication.allWidgets() if id(w) not in before] == []
    # By type: asking a dead weak proxy for its class raises.
    timers = [t for t in gc.get_objects() if issubclass(type(t), QTimer)]
    assert not [t for t in timers if t.isActive()]


@pytest.mark.parametrize("name", MAKERS)
def test_a_change_of_theme_reaches_what_stands(qtbot, qapp, name):
    before = theme.is_dark()
    theme.apply_theme(qapp, dark=True)
    widget = MAKERS[name]()
    qtbot.addWidget(widget)
    widget.resize(900, 500)
    widget.show()
    dark = widget.grab().toImage()
    try:
        theme.apply_theme(qapp, dark=False)
        QApplication.processEvents()
        changed = widget.grab().toImage()
        fresh = MAKERS[name]()
        qtbot.addWidget(fresh)
        fresh.resize(900, 500)
        fresh.show()
        QApplication.processEvents()
        assert changed != dark
        widget.clearFocus()
        corner = changed.pixelColor(1, changed.height() - 2)
        assert corner == fresh.grab().toImage().pixelColor(1, changed.height() - 2)
        assert corner.lightness() > 200
    finally:
        theme.apply_theme(qapp, before)
