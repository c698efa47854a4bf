"""Summary of a run, its log, and the quality table."""

from __future__ import annotations

import csv

import pytest
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtGui import QImage
from PyQt6.QtWidgets import QApplication, QLabel

from tiltwright.widgets.runs.log_view import LogView, level_of
from tiltwright.widgets.runs.quality_table import QualityTable, SeriesQuality
from tiltwright.widgets.runs.run_summary import (
    FailedItem,
    InputLine,
    KeyNumber,
    OutputLine,
    RunSummary,
    Thumbnail,
)
from tiltwright.widgets.runs.summary_view import SummaryView
from tiltwright.widgets.wording import plain_words

LEFT = Qt.MouseButton.LeftButton
CONTROL = Qt.KeyboardModifier.ControlModifier


def _picture():
    image = QImage(40, 30, QImage.Format.Format_Grayscale8)
    image.fill(128)
    return image


SUMMARY = RunSummary(
    run_id="6", title="Fiducial alignment", status="finished",
    inputs=(InputLine("Model", "Generate fiducial model", "2 items", "5", "FiducialModel"),),
    outputs=(OutputLine("TiltSeries", "41 x 1440 x 1024, 5.52 Å/px +ali", ("P14", "P15")),),
    numbers=(KeyNumber("Mean residual", "0.213 px", "good", "below 0.5 px"),),
    thumbnails=(Thumbnail("P14, 0°", "TiltSeries", "P14", _picture()),),
    failed=(FailedItem("P20", "2 fiducials are too few"),),
    inspect=("mean residual below 1 px",),
    methods="Aligned on gold.", citations=("Kremer 1996",), bibtex="@article{kremer}",
)  # fmt: skip


@pytest.fixture
def view(qtbot):
    widget = SummaryView()
    qtbot.addWidget(widget)
    widget.resize(1000, 400)
    widget.set_summary(SUMMARY)
    widget.show()
    return widget


def _texts(widget):
    return "\n".join(label.text() for label in widget.findChildren(QLabel))


def test_summary_says_everything(view):
    text = _texts(view.summary)
    for words in (
        "✓ finished", "41 x 1440 x 1024, 5.52 Å/px +ali", "0.213 px ✓", "P20: 2 fiducials are too",
        "mean residual below 1 px", "Left out: 1 series",
    ):  # fmt: skip
        assert words in text


SERIES = RunSummary(
    run_id="6", title="Fiducial alignment", status="finished",
    inputs=(InputLine("Model", "Generate fiducial model", "2 items, " + 30 * "x ", "5", "m"),),
    outputs=(OutputLine("TiltSeries", "41 x 1440 x 1024 " + 30 * "x ", ("P14", "P15")),),
    numbers=tuple(
        KeyNumber(label, text, verdict, series=name)
        for name, text, verdict in (("P14", "0.213 px", "good"), ("P15", "1.310 px", "check"))
        for label in ("Mean residual", "Leave-one-out error", "Contours")
    ),
    inspect=("mean residual below 1 px",),
)  # fmt: skip


@pytest.mark.parametrize("width", [420, 620, 1200])
def test_the_summary_never_needs_to_be_scrolled_sideways(qtbot, width):
    widget = SummaryView()
    qtbot.addWidget(widget)
    widget.resize(width, 400)
    widget.set_summary(SERIES)
    widget.show()
    page, area = widget.summary.widget(), widget.summary
    qtbot.waitUntil(lambda: page.width() == area.viewport().width())
    labels = {label.text(): label for label in page.findChildren(QLabel)}
    right = area.viewport().width()
    for text in ("0.213 px ✓", "1.310 px ▲", "☐ mean residual below 1 px"):
        corner = labels[text].mapTo(page, labels[text].rect().topRight())
        assert corner.x() <= right
    link, hint = area.links[0], labels["☐ mean residual below 1 px"]

    def flow_is_above():
        return link.mapTo(page, QPoint()).y() < hint.mapTo(page, QPoint()).y()

    # What to inspect stands beside the numbers where there is room, else below all.
    qtbot.waitUntil(lambda: flow_is_above() == (width < 700))
    assert area.horizontalScrollBar().maximum() == 0


def test_numbers_of_a_series_stand_in_its_row(view):
    view.set_summary(SERIES)
    page = view.summary.widget()
    labels = {label.text(): label for label in page.findChildren(QLabel)}
    heads = ("Mean\nresidual", "Leave-one-out\nerror", "Contours")
    assert all(head in labels for head in heads)
    for name, text in (("P14", "0.213 px ✓"), ("P15", "1.310 px ▲")):
        row = [label for label in page.findChildren(QLabel) if label.text() == text]
        assert len(row) == 3
        assert {label.y() + label.height() // 2 for label in row} == {
            labels[name].y() + labels[name].height() // 2
        }


def test_a_reason_that_holds_for_several_series_stands_once(view):
    failed = tuple(FailedItem(name, "too few beads") for name in ("P1", "P2"))
    view.set_summary(RunSummary("7", "Model", "failed", failed=failed))
    assert _texts(view.summary).count("too few beads") == 1
    assert "P1, P2: too few beads" in _texts(view.summary)
    assert "Left out: 2 series" in _texts(view.summary)


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (
            "the tilt axis angle is not known; give --tilt-axis DEGREES",
            "the tilt axis angle is not known: fill in “Tilt axis angle”",
        ),
        (
            "fiducial-model: beads are 2.7 px at 11.04 A/px; use a smaller binning",
            "beads are 2.7 px at 11.04 Å/px; use a smaller binning",
        ),
        ("grid-1.mrc: no pixel size; give --pixel-size ANGSTROM",
         "grid-1.mrc: no pixel size: fill in “Pixel size”"),
        ("grid-a: finished", "grid-a: finished"),
        ("disk full", "disk full"),
    ],
)  # fmt: skip
def test_messages_speak_of_the_window_not_of_the_command_line(told, shown):
    assert plain_words(told) == shown


def test_links_open_what_they_name(qtbot, view):
    opened = []
    view.output_opened.connect(lambda *what: opened.append(what))
    for link in view.summary.links:
        qtbot.mouseClick(link, LEFT)
    assert opened == [
        ("5", "FiducialModel", ""), ("6", "TiltSeries", ""), ("6", "TiltSeries", "P14"),
        ("6", "TiltSeries", "P15"), ("6", "TiltSeries", "P14"),
    ]  # fmt: skip


def test_another_run_replaces_it_and_none_says_what_to_do(view):
    view.set_summary(RunSummary("7", "WBP", "failed", status_text="disk full"))
    assert "⚠ disk full" in _texts(view.summary)
    assert "0.213" not in _texts(view.summary)
    view.set_summary(None)
    assert "Select a run" in _texts(view.summary)
    assert view.summary.links == []


def test_methods_and_bibtex(qtbot, view):
    view.setCurrentWidget(view.methods)
    assert "1. Kremer 1996" in view.methods.text.toPlainText()
    qtbot.mouseClick(view.methods.copy_bibtex_button, LEFT)
    assert QApplication.clipboard().text() == "@article{kremer}"
    view.set_summary(RunSummary("7", "WBP"))
    assert not view.methods.copy_bibtex_button.isEnabled()


@pytest.fixture
def log(qtbot):
    widget = LogView()
    qtbot.addWidget(widget)
    widget.resize(700, 200)
    with qtbot.waitActive(widget):
        widget.show()
        widget.activateWindow()
    return widget


def test_follows_the_end_until_the_reader_scrolls_up(qtbot, log):
    bar = log.text.verticalScrollBar()
    for i in range(100):
        log.append(f"line {i}")
    assert bar.value() == bar.maximum() > 0
    log.text.setFocus()
    qtbot.keyClick(log.text, Qt.Key.Key_PageUp)
    assert not log.follow.isChecked()
    place = bar.value()
    log.append("more")
    assert bar.value() == place
    qtbot.mouseClick(log.follow, LEFT)
    assert bar.value() == bar.maximum()


def test_a_log_filled_while_hidden_shows_its_end(qtbot):
    log = LogView()
    qtbot.addWidget(log)
    log.resize(700, 200)
    log.set_text("\n".join(f"line {i}" for i in range(100)))
    log.show()
    bar = log.text.verticalScrollBar()
    assert bar.value() == bar.maximum() > 50


def test_levels(log):
    log.set_text("all well\nwarning: dim view\nerror: no beads")
    log.level.setCurrentIndex(1)
    assert log.text.toPlainText() == "warning: dim view\nerror: no beads"
    log.append("fine again")
    log.append("Traceback of something")
    log.level.setCurrentIndex(2)
    assert log.text.toPlainText() == "error: no beads\nTraceback of something"
    log.copy_all()
    assert QApplication.clipboard().text().count("\n") == 4
    assert level_of("view 3: 2 spikes erased") == "info"


def test_search_finds_counts_and_goes_round(qtbot, log):
    log.set_text("bead one\nnothing\nbead two")
    log.text.setFocus()
    qtbot.keyClick(log.text, Qt.Key.Key_F, CONTROL)
    assert log.search.hasFocus()
    qtbot.keyClicks(log.search, "bead")
    assert log.found.text() == "2 found"
    rows = [log.text.textCursor().blockNumber()]
    for _ in range(2):
        qtbot.keyClick(log.search, Qt.Key.Key_F3)
        rows.append(log.text.textCursor().blockNumber())
    assert rows == [0, 2, 0]
    qtbot.keyClick(log.search, Qt.Key.Key_F3, Qt.KeyboardModifier.ShiftModifier)
    assert log.text.textCursor().blockNumber() == 2
    qtbot.keyClicks(log.search, "x")
    assert log.found.text() == "not found"


ROWS = (
    SeriesQuality("P9", 40, 41, 32, 0.97, 0.213, 0.241, -84.54, 300, 166.0, "good", "fine"),
    SeriesQuality("P10", 39, 41, 9, 0.71, 1.2, 1.9, -84.1, 300, 166.0, "bad", "1.9 px in view 3"),
    SeriesQuality("P11"),
    SeriesQuality("P12", 41, 41, 25, 0.85, 0.4, 0.5, -84.2, 280, 155.0, "check", "gaps"),
)


@pytest.fixture
def table(qtbot):
    widget = QualityTable()
    qtbot.addWidget(widget)
    widget.resize(1200, 300)
    widget.set_rows(ROWS)
    widget.show()
    return widget


def _names(table):
    return [line.split("\t")[0] for line in table.as_text().splitlines()[1:]]


def test_sorts_by_number_with_the_unknown_last(table):
    for order, expected in (
        (Qt.SortOrder.AscendingOrder, ["P9", "P12", "P10", "P11"]),
        (Qt.SortOrder.DescendingOrder, ["P10", "P12", "P9", "P11"]),
    ):
        table.table.sortByColumn(5, order)
        assert _names(table) == expected
    table.table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
    assert _names(table) == ["P10", "P12", "P11", "P9"], "the worst verdict first"


def test_double_click_opens_the_series(qtbot, table):
    table.table.sortByColumn(5, Qt.SortOrder.DescendingOrder)
    index = table.table.model().index(0, 1)
    place = table.table.visualRect(index).center()
    qtbot.mouseClick(table.table.viewport(), LEFT, pos=place)
    with qtbot.waitSignal(table.series_opened) as caught:
        qtbot.mouseDClick(table.table.viewport(), LEFT, pos=place)
    assert caught.args == ["P10"]


def test_change_of_parameters_for_the_selected(qtbot, table):
    assert not table.apply_button.isEnabled()
    table.select(["P9", "P12"])
    with qtbot.waitSignal(table.parameter_change_requested) as caught:
        qtbot.mouseClick(table.apply_button, LEFT)
    assert set(caught.args[0]) == {"P9", "P12"}
    table.set_rows(ROWS[:2])
    assert table.selected() == ("P9",)
    assert "1 good" in table.text.text()


def test_copy(qtbot, table):
    table.select(["P9"])
    table.table.setFocus()
    qtbot.keyClick(table.table, Qt.Key.Key_C, CONTROL)
    lines = QApplication.clipboard().text().splitlines()
    assert len(lines) == 2
    assert lines[1].split("\t")[:3] == ["P9", "✓ fine", "40/41"]
    assert "300 (166 nm)" in lines[1]


def test_csv_quotes_what_holds_a_comma(table):
    table.set_rows([SeriesQuality("P1", verdict="bad", reason="gaps, drift")])
    rows = list(csv.reader(table.as_text(separator=",").splitlines()))
    assert rows[1][:2] == ["P1", "✕ gaps, drift"]
    assert {len(row) for row in rows} == {9}
