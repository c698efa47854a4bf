"""The runs of the project: graph or list with one selection, or how to begin."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtCore import QPoint, Qt, pyqtSignal
from PyQt6.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.runs.run_box import RunBox
from tiltwright.widgets.runs.run_graph import RunGraph
from tiltwright.widgets.runs.run_list import RunList
from tiltwright.widgets.runs.start_page import StartPage
from tiltwright.widgets.styled import Heading, MutedLabel


class RunsPane(QWidget):
    """Header (tree, list, zoom) above the graph or the list; a start page without runs."""

    run_opened = pyqtSignal(str)
    context_requested = pyqtSignal(tuple, QPoint)
    selection_changed = pyqtSignal(tuple)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.graph, self.list, self.start = RunGraph(), RunList(), StartPage()
        self._stack = QStackedWidget()
        for page in (self.start, self.graph, self.list):
            self._stack.addWidget(page)
        self._selected: tuple[str, ...] = ()
        self._any = False
        self.tree_button = self._button("Tree", "The runs as a graph")
        self.list_button = self._button("List", "The runs as a table")
        choice = QButtonGroup(self)
        for button in (self.tree_button, self.list_button):
            button.setCheckable(True)
            choice.addButton(button)
        self.tree_button.setChecked(True)
        self.out_button = self._button("−", "Zoom out (Ctrl+−, Ctrl+wheel)")
        self.in_button = self._button("+", "Zoom in (Ctrl++, Ctrl+wheel)")
        self.fit_button = self._button("Fit", "Show all runs (Ctrl+0)")
        self.count = MutedLabel()
        self.count.setWordWrap(False)
        head = QHBoxLayout()
        head.setContentsMargins(8, 4, 8, 2)
        head.setSpacing(4)
        head.addWidget(Heading("Runs"))
        head.addSpacing(8)
        head.addWidget(self.count, 1)
        for button in (self.tree_button, self.list_button):
            head.addWidget(button)
        head.addSpacing(10)
        for button in (self.out_button, self.in_button, self.fit_button):
            head.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(head)
        layout.addWidget(self._stack, 1)
        self.tree_button.toggled.connect(self._turn)
        self.out_button.clicked.connect(self.graph.zoom_out)
        self.in_button.clicked.connect(self.graph.zoom_in)
        self.fit_button.clicked.connect(self.graph.fit)
        for view in (self.graph, self.list):
            view.run_opened.connect(self.run_opened)
            view.context_requested.connect(self.context_requested)
            view.selection_changed.connect(self._take_selection)
        self.set_runs(())

    @staticmethod
    def _button(text: str, tip: str) -> QToolButton:
        button = QToolButton()
        button.setText(text)
        button.setToolTip(tip)
        button.setAutoRaise(True)
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        return button

    def set_runs(self, runs: Sequence[RunBox]) -> None:
        """Show these runs, or the start page when there are none."""
        self._any = bool(runs)
        self.graph.set_runs(runs)
        self.list.set_runs(runs)
        running = sum(run.status == "running" for run in runs)
        stale = sum(run.stale for run in runs)
        words = [f"{len(runs)} runs" if len(runs) != 1 else "1 run"] if runs else []
        words += [f"{running} running"] if running else []
        words += [f"{stale} stale"] if stale else []
        self.count.setText(" · ".join(words))
        for button in (
            self.tree_button, self.list_button, self.out_button, self.in_button, self.fit_button,
        ):  # fmt: skip
            button.setEnabled(self._any)
        self._turn()

    def selected(self) -> tuple[str, ...]:
        """Ids of the selected runs."""
        return self._selected

    def select(self, ids: Sequence[str]) -> None:
        """Select these runs in both views."""
        self.graph.select(ids)
        self.list.select(ids)

    def show_list(self, as_list: bool) -> None:
        """Table or graph."""
        (self.list_button if as_list else self.tree_button).setChecked(True)

    def _turn(self) -> None:
        tree = self.tree_button.isChecked()
        self._stack.setCurrentWidget(
            self.start if not self._any else self.graph if tree else self.list
        )
        for button in (self.out_button, self.in_button, self.fit_button):
            button.setVisible(tree)

    def _take_selection(self, ids: tuple[str, ...]) -> None:
        if set(ids) == set(self._selected):
            return
        self._selected = ids
        other = self.list if self.sender() is self.graph else self.graph
        if isinstance(other, RunGraph):
            other.select(ids, reveal=other.isVisible())
        else:
            other.select(ids)
        self.selection_changed.emit(ids)
