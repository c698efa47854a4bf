"""Runs as a graph and as a list, with real clicks and keys."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PyQt6.QtCore import QPoint, QPointF, Qt
from PyQt6.QtGui import QContextMenuEvent, QWheelEvent
from PyQt6.QtWidgets import QApplication

from tiltwright.widgets import theme
from tiltwright.widgets.runs.run_box import STATUSES, RunBox, remaining_text
from tiltwright.widgets.runs.run_graph import RunGraph
from tiltwright.widgets.runs.runs_pane import RunsPane

CONTROL, NONE = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.NoModifier
LEFT = Qt.MouseButton.LeftButton
RUNS = (
    RunBox("1", "Import", status="finished", n_items=2),
    RunBox("2", "Preprocess", status="finished", parents=("1",)),
    RunBox("3", "Alignment", status="finished", parents=("2",), key_number_text="0.21 px"),
    RunBox("4", "Alignment b", status="finished", stale=True, parents=("2",)),
    RunBox("5", "WBP", status="running", progress=0.61, remaining_s=4, parents=("3",)),
    RunBox("6", "CTF correction", status="failed", n_failed=1, n_items=2, parents=("3", "1")),
)


@pytest.fixture
def graph(qtbot):
    widget = RunGraph()
    qtbot.addWidget(widget)
    widget.resize(900, 700)
    widget.set_runs(RUNS)
    with qtbot.waitActive(widget):
        widget.show()
        widget.activateWindow()
    widget.fit()
    widget.setFocus()
    return widget


def _at(graph, ident):
    return graph.centre_of(ident).toPoint()


def _click(qtbot, graph, ident, modifier=NONE, button=LEFT):
    qtbot.mouseClick(graph.viewport(), button, modifier, _at(graph, ident))


def test_click_ctrl_click_and_click_beside(qtbot, graph):
    with qtbot.waitSignal(graph.selection_changed) as caught:
        _click(qtbot, graph, "3")
    assert caught.args == [("3",)]
    _click(qtbot, graph, "4", CONTROL)
    assert graph.selected() == ("3", "4")
    _click(qtbot, graph, "3", CONTROL)
    assert graph.selected() == ("4",)
    qtbot.mouseClick(graph.viewport(), LEFT, NONE, QPoint(3, 3))
    assert graph.selected() == ()


def test_double_click_and_return_open(qtbot, graph):
    with qtbot.waitSignal(graph.run_opened) as caught:
        qtbot.mouseDClick(graph.viewport(), LEFT, NONE, _at(graph, "5"))
    assert caught.args == ["5"]
    _click(qtbot, graph, "2")
    with qtbot.waitSignal(graph.run_opened) as caught:
        qtbot.keyClick(graph, Qt.Key.Key_Return)
    assert caught.args == ["2"]


def test_select_to_and_from(qtbot, graph):
    _click(qtbot, graph, "3")
    qtbot.keyClick(graph, Qt.Key.Key_T)
    assert set(graph.selected()) == {"1", "2", "3"}
    _click(qtbot, graph, "3")
    qtbot.keyClick(graph, Qt.Key.Key_F)
    assert set(graph.selected()) == {"3", "5", "6"}
    _click(qtbot, graph, "5", button=Qt.MouseButton.MiddleButton)
    assert set(graph.selected()) == {"1", "2", "3", "5"}


def test_arrows_go_along_the_edges(qtbot, graph):
    _click(qtbot, graph, "1")
    for key, expected in (
        (Qt.Key.Key_Down, {"2"}), (Qt.Key.Key_Down, {"3", "4"}), (Qt.Key.Key_Up, {"2"}),
        (Qt.Key.Key_Up, {"1"}),
    ):  # fmt: skip
        qtbot.keyClick(graph, key)
        assert graph.current() in expected
        assert graph.selected() == (graph.current(),)
    _click(qtbot, graph, "3")
    other = Qt.Key.Key_Right if _at(graph, "4").x() > _at(graph, "3").x() else Qt.Key.Key_Left
    qtbot.keyClick(graph, other, Qt.KeyboardModifier.ShiftModifier)
    assert set(graph.selected()) == {"3", "4"}


def test_right_click_asks_for_the_context_of_what_is_under_it(qtbot, graph):
    _click(qtbot, graph, "3")
    _click(qtbot, graph, "4", CONTROL)
    for ident, expected in (("4", {"3", "4"}), ("5", {"5"})):
        pos = _at(graph, ident)
        qtbot.mousePress(graph.viewport(), Qt.MouseButton.RightButton, NONE, pos)
        with qtbot.waitSignal(graph.context_requested) as caught:
            event = QContextMenuEvent(
                QContextMenuEvent.Reason.Mouse, pos, graph.viewport().mapToGlobal(pos)
            )
            QApplication.sendEvent(graph.viewport(), event)
        assert set(caught.args[0]) == expected


def test_update_keeps_zoom_place_and_selection(qtbot, graph):
    _click(qtbot, graph, "5")
    graph.zoom_in()
    before = graph.transform(), graph.centre_of("3")
    with qtbot.assertNotEmitted(graph.selection_changed):
        graph.set_runs([replace(run, progress=0.7) for run in RUNS])
    assert (graph.transform(), graph.centre_of("3")) == before
    assert graph.selected() == ("5",)


def test_a_deleted_run_leaves_the_selection(qtbot, graph):
    _click(qtbot, graph, "6")
    with qtbot.waitSignal(graph.selection_changed) as caught:
        graph.set_runs(RUNS[:-1])
    assert caught.args == [()]


def test_collapse_by_key_and_back(qtbot, graph):
    _click(qtbot, graph, "3")
    qtbot.keyClick(graph, Qt.Key.Key_Minus)
    assert graph.collapsed() == ("3",)
    graph.select(["5"])
    assert graph.selected() == (), "what is hidden cannot be selected"
    graph.select(["6"])
    assert graph.selected() == ("6",), "it is also a child of a run that is not collapsed"
    graph.select(["3"])
    qtbot.keyClick(graph, Qt.Key.Key_Plus)
    graph.select(["5"])
    assert graph.selected() == ("5",)


def test_a_click_on_the_badge_expands(qtbot, graph):
    graph.set_collapsed(["3"])
    badge = _at(graph, "3") + QPoint(0, round(graph.zoom() * 36))
    qtbot.mouseClick(graph.viewport(), LEFT, NONE, badge)
    assert graph.collapsed() == ()


def _wheel(graph, pos, angle, modifier):
    event = QWheelEvent(
        QPointF(pos), QPointF(graph.viewport().mapToGlobal(pos)), QPoint(), QPoint(0, angle),
        Qt.MouseButton.NoButton, modifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(graph.viewport(), event)


def test_ctrl_wheel_zooms_within_limits(qtbot, graph):
    start = graph.zoom()
    _wheel(graph, _at(graph, "3"), 120, CONTROL)
    assert graph.zoom() == pytest.approx(start * 1.2)
    for _ in range(40):
        _wheel(graph, _at(graph, "3"), -120, CONTROL)
    assert graph.zoom() == pytest.approx(0.15)
    qtbot.keyClick(graph, Qt.Key.Key_0, CONTROL)
    assert 0.15 < graph.zoom() <= 1


def test_drag_pans_and_keeps_the_selection(qtbot, graph):
    _click(qtbot, graph, "3")
    for _ in range(6):
        graph.zoom_in()
    viewport, start = graph.viewport(), QPoint(890, 400)
    assert graph.itemAt(start) is None
    before = graph.centre_of("1")
    qtbot.mousePress(viewport, LEFT, NONE, start)
    for step in range(1, 6):
        # Moving the pointer by QTest tells no buttons, so the event is made here.
        _move(viewport, start + QPoint(0, -10 * step))
    qtbot.mouseRelease(viewport, LEFT, NONE, start + QPoint(0, -50))
    assert graph.centre_of("1").y() < before.y()
    assert graph.selected() == ("3",)


def _move(viewport, pos):
    from PyQt6.QtGui import QMouseEvent

    event = QMouseEvent(
        QMouseEvent.Type.MouseMove, QPointF(pos), QPointF(viewport.mapToGlobal(pos)),
        Qt.MouseButton.NoButton, LEFT, NONE,
    )  # fmt: skip
    QApplication.sendEvent(viewport, event)


@pytest.mark.parametrize("dark", [True, False])
def test_every_state_is_drawn_differently_without_colour(qtbot, qapp, dark):
    before = theme.is_dark()
    theme.apply_theme(qapp, dark)
    try:
        assert len({s.symbol for s in STATUSES.values()}) == len(STATUSES)
        pictures = set()
        for status in STATUSES:
            graph = RunGraph()
            qtbot.addWidget(graph)
            graph.resize(300, 120)
            graph.set_runs([RunBox("1", "Run", status=status)])
            grey = (
                graph.grab()
                .toImage()
                .convertToFormat(graph.grab().toImage().Format.Format_Grayscale8)
            )
            bits = grey.constBits()
            bits.setsize(grey.sizeInBytes())
            pictures.add(bytes(bits))
        assert len(pictures) == len(STATUSES)
    finally:
        theme.apply_theme(qapp, before)


def test_text_of_a_box():
    assert RUNS[4].progress_text() == "61 % · 0:04 left"
    assert RUNS[5].items_text() == "2 TS · 1 failed"
    assert "≋ stale" in RUNS[3].tooltip()
    assert [remaining_text(s) for s in (0.2, 75, 3900)] == ["0:00", "1:15", "1 h 05"]


@pytest.fixture
def pane(qtbot):
    widget = RunsPane()
    qtbot.addWidget(widget)
    widget.resize(900, 600)
    with qtbot.waitActive(widget):
        widget.show()
        widget.activateWindow()
    return widget


def test_without_runs_there_are_three_ways_to_begin(qtbot, pane):
    signals = (
        pane.start.import_requested, pane.start.open_requested, pane.start.demo_requested
    )  # fmt: skip
    for button, signal in zip(pane.start.buttons, signals, strict=True):
        with qtbot.waitSignal(signal):
            qtbot.mouseClick(button, LEFT)
    pane.set_runs(RUNS)
    assert not pane.start.isVisible()
    assert pane.graph.isVisible()


def test_tree_and_list_share_the_selection(qtbot, pane):
    pane.set_runs(RUNS)
    _click(qtbot, pane.graph, "3")
    assert pane.selected() == ("3",)
    qtbot.mouseClick(pane.list_button, LEFT)
    assert pane.list.selected() == ("3",)
    with qtbot.waitSignal(pane.selection_changed) as caught:
        pane.list.selectRow(0)
    assert caught.args == [("1",)]
    assert pane.graph.selected() == ("1",)


def test_list_sorts_numbers_as_numbers_and_keeps_the_selection(qtbot, pane):
    many = [RunBox(str(i), f"Run {i}", key_number_text=f"{30 - i} px") for i in range(1, 13)]
    pane.set_runs(many)
    pane.show_list(True)
    assert pane.list.model().index(11, 0).data() == "12"
    pane.list.sortByColumn(5, Qt.SortOrder.AscendingOrder)
    assert pane.list.model().index(0, 5).data() == "18 px"
    pane.select(["5"])
    pane.set_runs([replace(run, status="finished") for run in many])
    assert pane.list.selected() == ("5",)
    pane.set_runs(many[:8])
    assert pane.selected() == ("5",)
    pane.list.setFocus()
    with qtbot.waitSignal(pane.run_opened) as caught:
        qtbot.keyClick(pane.list, Qt.Key.Key_Return)
    assert caught.args == ["5"]


def _many(n):
    """A project of ``n`` runs: chains of eight that share their first two steps."""
    runs = [RunBox("0", "Import"), RunBox("1", "Preprocess", parents=("0",))]
    for i in range(2, n):
        parent = "1" if (i - 2) % 8 == 0 else str(i - 1)
        runs.append(RunBox(str(i), f"Run {i}", parents=(parent,), status="finished"))
    return runs


def test_a_project_of_two_hundred_runs_is_all_there(qtbot):
    graph = RunGraph()
    qtbot.addWidget(graph)
    graph.resize(1200, 800)
    runs = _many(200)
    graph.set_runs(runs)
    graph.show()
    graph.select([run.id for run in runs])
    assert len(graph.selected()) == 200
    graph.fit()
    area = graph.viewport().rect()
    assert all(area.contains(graph.centre_of(run.id).toPoint()) for run in runs)
