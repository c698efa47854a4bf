"""The project as a table of runs, for those who sort and scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PyQt6.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPoint,
    QSortFilterProxyModel,
    Qt,
    pyqtSignal,
)
from PyQt6.QtGui import QBrush, QColor, QContextMenuEvent, QKeyEvent
from PyQt6.QtWidgets import QAbstractItemView, QFrame, QHeaderView, QTableView, QWidget

from tiltwright.widgets.runs.run_box import STALE, STATUSES, RunBox
from tiltwright.widgets.styled import mix
from tiltwright.widgets.theme import colours

_SORT = Qt.ItemDataRole.UserRole
_ORDER = list(STATUSES)


def _natural(ident: str) -> tuple[int, str]:
    digits = "".join(ch for ch in ident if ch.isdigit())
    return (int(digits) if digits else 0, ident)


def _state_text(run: RunBox) -> str:
    status = STATUSES.get(run.status, STATUSES["new"])
    return f"{status.symbol} {run.status}" + (f"  {STALE}" if run.stale else "")


def _number(text: str) -> tuple[float, str]:
    try:
        return (float(text.split()[0]), text)
    except (ValueError, IndexError):
        return (float("inf"), text)


_COLUMNS: tuple[tuple[str, Callable[[RunBox], str], Callable[[RunBox], Any]], ...] = (
    ("Run", lambda r: r.id, lambda r: _natural(r.id)),
    ("State", _state_text, lambda r: (_ORDER.index(r.status), r.stale)),
    ("Name", lambda r: r.label, lambda r: r.label.lower()),
    ("Protocol", lambda r: r.protocol_title, lambda r: r.protocol_title.lower()),
    ("Items", lambda r: r.items_text(), lambda r: r.n_items or 0),
    ("Result", lambda r: r.key_number_text, lambda r: _number(r.key_number_text)),
    ("Progress", lambda r: r.progress_text(), lambda r: r.progress or 0.0),
    ("Comment", lambda r: r.comment, lambda r: r.comment.lower()),
)


class _Model(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.runs: tuple[RunBox, ...] = ()

    def set_runs(self, runs: tuple[RunBox, ...]) -> None:
        same = [r.id for r in runs] == [r.id for r in self.runs]
        if same:
            # In place: selection, sorting and scrolling stay.
            before, self.runs = self.runs, runs
            for i, (old, new) in enumerate(zip(before, runs, strict=True)):
                if old != new:
                    self.dataChanged.emit(self.index(i, 0), self.index(i, len(_COLUMNS) - 1))
        else:
            self.beginResetModel()
            self.runs = runs
            self.endResetModel()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.runs)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return _COLUMNS[section][0]
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        run = self.runs[index.row()]
        title, text, key = _COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return text(run)
        if role == _SORT:
            return key(run)
        if role == Qt.ItemDataRole.ToolTipRole:
            return run.tooltip()
        if role == Qt.ItemDataRole.ForegroundRole and title == "State":
            colour = STATUSES.get(run.status, STATUSES["new"]).of()
            return QBrush(mix(colour, colours().text, 0.35))
        if role == Qt.ItemDataRole.DecorationRole and title == "Name" and run.label_colour:
            return QColor(run.label_colour)
        return None


class _Sorted(QSortFilterProxyModel):
    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        model = self.sourceModel()
        return bool(model is not None and model.data(left, _SORT) < model.data(right, _SORT))


class RunList(QTableView):
    """Sortable table with the signals of the graph (:mod:`~tiltwright.widgets.runs.run_graph`)."""

    run_opened = pyqtSignal(str)
    context_requested = pyqtSignal(tuple, QPoint)
    selection_changed = pyqtSignal(tuple)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = _Model(self)
        self._sorted = _Sorted(self)
        self._sorted.setSourceModel(self._model)
        self.setModel(self._sorted)
        self.setAccessibleName("Runs")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        rows, header = self.verticalHeader(), self.horizontalHeader()
        assert rows is not None
        assert header is not None
        rows.hide()
        rows.setDefaultSectionSize(24)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)
        for column, width in enumerate((48, 144, 190, 164, 104, 90, 112)):
            self.setColumnWidth(column, width)
        self.doubleClicked.connect(self._open)

    def set_runs(self, runs: Sequence[RunBox]) -> None:
        """Show these runs; what is selected stays selected."""
        before = self.selected()
        self._model.set_runs(tuple(runs))
        if self.selected() != before:
            self.select(before)

    def selected(self) -> tuple[str, ...]:
        """Ids of the selected runs, in the order of the table."""
        selection = self.selectionModel()
        rows = selection.selectedRows() if selection is not None else []
        return tuple(self._id(index) for index in sorted(rows, key=lambda i: i.row()))

    def select(self, ids: Sequence[str]) -> None:
        """Select these runs."""
        chosen, mode = QItemSelection(), QItemSelectionModel.SelectionFlag
        last = None
        for row in range(self._sorted.rowCount()):
            index = self._sorted.index(row, 0)
            if self._id(index) in ids:
                chosen.select(index, index)
                last = index
        selection = self.selectionModel()
        if selection is not None:
            if last is not None:
                selection.setCurrentIndex(last, mode.NoUpdate)
            selection.select(chosen, mode.ClearAndSelect | mode.Rows)

    def _open(self, index: QModelIndex) -> None:
        self.run_opened.emit(self._id(index))

    def _id(self, index: QModelIndex) -> str:
        return self._model.runs[self._sorted.mapToSource(index).row()].id

    def selectionChanged(self, selected: QItemSelection, deselected: QItemSelection) -> None:
        super().selectionChanged(selected, deselected)
        self.selection_changed.emit(self.selected())

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        assert event is not None
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self._open(self.currentIndex())
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent | None) -> None:
        assert event is not None
        self.context_requested.emit(self.selected(), event.globalPos())
