"""All series of a set in one sortable table, with a traffic light and its reason."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PyQt6.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QModelIndex,
    QSize,
    QSortFilterProxyModel,
    Qt,
    pyqtSignal,
)
from PyQt6.QtGui import QBrush, QGuiApplication, QImage, QKeyEvent, QKeySequence, QPixmap
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.runs.run_summary import VERDICTS
from tiltwright.widgets.styled import MutedLabel, mix
from tiltwright.widgets.theme import colours

_SORT = Qt.ItemDataRole.UserRole
_WORST_FIRST = {"bad": 0, "check": 1, "": 2, "good": 3}
THUMBNAIL = QSize(64, 46)


@dataclass(frozen=True)
class SeriesQuality:
    """One series; ``None`` where a number is not known (yet).

    ``verdict`` is ``good``, ``check``, ``bad`` or empty, ``reason`` the sentence that explains it.
    """

    name: str
    views_used: int | None = None
    n_views: int | None = None
    n_beads: int | None = None
    completeness: float | None = None
    mean_residual_px: float | None = None
    leave_one_out_px: float | None = None
    axis_deg: float | None = None
    thickness_voxels: int | None = None
    thickness_nm: float | None = None
    verdict: str = ""
    reason: str = ""
    thumbnail: QImage = field(compare=False, hash=False, default_factory=QImage)


def _fixed(value: float | None, digits: int, unit: str = "", factor: float = 1.0) -> str:
    return "–" if value is None else f"{value * factor:.{digits}f}{unit}"


def _views(row: SeriesQuality) -> str:
    if row.views_used is None:
        return "–"
    return f"{row.views_used}/{row.n_views}" if row.n_views is not None else str(row.views_used)


def _thickness(row: SeriesQuality) -> str:
    voxels = "–" if row.thickness_voxels is None else str(row.thickness_voxels)
    return voxels if row.thickness_nm is None else f"{voxels} ({row.thickness_nm:.0f} nm)"


def _verdict(row: SeriesQuality) -> str:
    symbol = VERDICTS.get(row.verdict, ("–", ""))[0]
    return f"{symbol} {row.reason or row.verdict or 'not judged yet'}"


def _short_verdict(row: SeriesQuality) -> str:
    """What is good needs no reason in the narrow column."""
    return f"{VERDICTS['good'][0]} good" if row.verdict == "good" else _verdict(row)


_COLUMNS: tuple[
    tuple[str, str, Callable[[SeriesQuality], str], Callable[[SeriesQuality], Any]], ...
]
_COLUMNS = (
    ("Series", "Name of the tilt series", lambda r: r.name, lambda r: r.name.lower()),
    ("Verdict", "Traffic light and its reason", _verdict, lambda r: _WORST_FIRST[r.verdict]),
    ("Views", "Views used / views of the series", _views, lambda r: r.views_used),
    ("Beads", "Fiducials in the model", lambda r: _fixed(r.n_beads, 0), lambda r: r.n_beads),
    (
        "Complete", "Measured points / (contours x used views)",
        lambda r: _fixed(r.completeness, 0, " %", 100), lambda r: r.completeness,
    ),
    (
        "Residual\npx", "Mean residual, in raw pixels",
        lambda r: _fixed(r.mean_residual_px, 3), lambda r: r.mean_residual_px,
    ),
    (
        "Leave-one-\nout px", "Each point predicted by a solution made without it",
        lambda r: _fixed(r.leave_one_out_px, 3), lambda r: r.leave_one_out_px,
    ),
    ("Axis °", "Solved tilt axis angle", lambda r: _fixed(r.axis_deg, 2), lambda r: r.axis_deg),
    ("Thickness", "Voxels of the tomogram (nm)", _thickness, lambda r: r.thickness_voxels),
)  # fmt: skip


def _alignment(column: int) -> int:
    side = Qt.AlignmentFlag.AlignRight if column > 1 else Qt.AlignmentFlag.AlignLeft
    return int(side | Qt.AlignmentFlag.AlignVCenter)


class _Model(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.rows: tuple[SeriesQuality, ...] = ()
        self._pixmaps: dict[int, QPixmap] = {}

    def set_rows(self, rows: tuple[SeriesQuality, ...]) -> None:
        self.beginResetModel()
        self.rows = rows
        self._pixmaps.clear()
        self.endResetModel()

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(_COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return _COLUMNS[section][0]
            if role == Qt.ItemDataRole.ToolTipRole:
                return _COLUMNS[section][1]
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(section)
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return _short_verdict(row) if column == 1 else _COLUMNS[column][2](row)
        if role == _SORT:
            value = _COLUMNS[column][3](row)
            return (value is None, value)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{row.name}\n{_verdict(row)}"
        if role == Qt.ItemDataRole.ForegroundRole and column == 1 and row.verdict in VERDICTS:
            c = colours()
            return QBrush(mix(getattr(c, VERDICTS[row.verdict][1]), c.text, 0.35))
        if role == Qt.ItemDataRole.DecorationRole and column == 0 and not row.thumbnail.isNull():
            return self._pixmap(index.row())
        return None

    def _pixmap(self, row: int) -> QPixmap:
        if row not in self._pixmaps:
            self._pixmaps[row] = QPixmap.fromImage(self.rows[row].thumbnail).scaled(
                THUMBNAIL, Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )  # fmt: skip
        return self._pixmaps[row]


class _Sorted(QSortFilterProxyModel):
    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        model = self.sourceModel()
        assert model is not None
        (a_unknown, a), (b_unknown, b) = model.data(left, _SORT), model.data(right, _SORT)
        if a_unknown or b_unknown:
            # What is not known stands last, whichever way the column is sorted.
            ascending = self.sortOrder() == Qt.SortOrder.AscendingOrder
            return (
                bool(b_unknown and not a_unknown)
                if ascending
                else bool(a_unknown and not b_unknown)
            )
        return bool(a < b)


class _Table(QTableView):
    rows_selected = pyqtSignal()
    copy_requested = pyqtSignal()
    activated_by_key = pyqtSignal()

    def selectionChanged(self, selected: QItemSelection, deselected: QItemSelection) -> None:
        super().selectionChanged(selected, deselected)
        self.rows_selected.emit()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        assert event is not None
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy_requested.emit()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.activated_by_key.emit()
        else:
            super().keyPressEvent(event)


class QualityTable(QWidget):
    """Sortable table of series.

    Double click or Return opens a series; Ctrl+C copies the selected rows with their header.
    """

    series_opened = pyqtSignal(str)
    selection_changed = pyqtSignal(tuple)
    parameter_change_requested = pyqtSignal(tuple)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = _Model(self)
        self._sorted = _Sorted(self)
        self._sorted.setSourceModel(self._model)
        self.table = _Table()
        self.table.setModel(self._sorted)
        self.table.setAccessibleName("Quality of the series")
        self.table.setFrameShape(QFrame.Shape.NoFrame)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setAlternatingRowColors(True)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setTabKeyNavigation(False)
        self.table.setIconSize(THUMBNAIL)
        self.table.setSortingEnabled(True)
        self.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        rows, header = self.table.verticalHeader(), self.table.horizontalHeader()
        assert rows is not None
        assert header is not None
        rows.hide()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        for column, width in enumerate((56, 56, 76, 72, 94, 66, 112), 2):
            self.table.setColumnWidth(column, width)
        self.text = MutedLabel()
        self.apply_button = QPushButton("Apply parameter change to selected…")
        self.apply_button.setToolTip("Run a step again for these series, with other parameters")
        foot = QHBoxLayout()
        foot.setContentsMargins(8, 4, 8, 6)
        foot.addWidget(self.text, 1)
        foot.addWidget(self.apply_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.table, 1)
        layout.addLayout(foot)
        self.table.doubleClicked.connect(self._open)
        self.table.activated_by_key.connect(self._open_current)
        self.table.copy_requested.connect(self.copy_selected)
        self.table.rows_selected.connect(self._selection_changed)
        self.apply_button.clicked.connect(self._ask_change)
        self.set_rows(())

    def set_rows(self, rows: Sequence[SeriesQuality]) -> None:
        """Show these series; what is selected stays selected."""
        before = self.selected()
        self._model.set_rows(tuple(rows))
        header = self.table.verticalHeader()
        if header is not None:
            pictures = any(not row.thumbnail.isNull() for row in rows)
            header.setDefaultSectionSize(THUMBNAIL.height() + 6 if pictures else 26)
        # A column of which nothing is known takes the room of those that say something.
        self.table.setColumnHidden(1, bool(rows) and not any(row.verdict for row in rows))
        for column, (*_, key) in enumerate(_COLUMNS[2:], 2):
            self.table.setColumnHidden(column, all(key(row) is None for row in rows))
        self.select(before)
        self._selection_changed()

    def selected(self) -> tuple[str, ...]:
        """Names of the selected series, in the order of the table."""
        selection = self.table.selectionModel()
        chosen = selection.selectedRows() if selection is not None else []
        return tuple(self._name(i) for i in sorted(chosen, key=lambda i: i.row()))

    def select(self, names: Sequence[str]) -> None:
        """Select these series."""
        chosen, first = QItemSelection(), QModelIndex()
        for row in range(self._sorted.rowCount()):
            index = self._sorted.index(row, 0)
            if self._name(index) in names:
                chosen.select(index, index)
                first = first if first.isValid() else index
        selection = self.table.selectionModel()
        if selection is not None:
            flags = selection.SelectionFlag
            selection.setCurrentIndex(first, flags.NoUpdate)
            selection.select(chosen, flags.ClearAndSelect | flags.Rows)

    def as_text(self, names: Sequence[str] | None = None, separator: str = "\t") -> str:
        """Header and rows as CSV, in the order of the table (all rows by default)."""
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
        writer.writerow(title.replace("-\n", "-").replace("\n", " ") for title, *_ in _COLUMNS)
        for row in range(self._sorted.rowCount()):
            source = self._model.rows[self._sorted.mapToSource(self._sorted.index(row, 0)).row()]
            if names is None or source.name in names:
                writer.writerow(text(source) for _, _, text, _ in _COLUMNS)
        return stream.getvalue()

    def copy_selected(self) -> None:
        """Copy the selected rows as tab-separated text, or all when none is."""
        board = QGuiApplication.clipboard()
        if board is not None:
            board.setText(self.as_text(self.selected() or None))

    def _name(self, index: QModelIndex) -> str:
        return self._model.rows[self._sorted.mapToSource(index).row()].name

    def _open(self, index: QModelIndex) -> None:
        self.series_opened.emit(self._name(index))

    def _open_current(self) -> None:
        if self.table.currentIndex().isValid():
            self._open(self.table.currentIndex())

    def _ask_change(self) -> None:
        self.parameter_change_requested.emit(self.selected())

    def _selection_changed(self) -> None:
        names, rows = self.selected(), self._model.rows
        judged = {v: sum(row.verdict == v for row in rows) for v in VERDICTS}
        counts = " · ".join(f"{VERDICTS[v][0]} {n} {v}" for v, n in judged.items() if n)
        text = f"{len(rows)} series" + (f" · {counts}" if counts else "")
        self.text.setText(text + (f" · {len(names)} selected" if names else ""))
        self.apply_button.setEnabled(bool(names))
        self.selection_changed.emit(names)
