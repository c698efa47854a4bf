"""The table of the views of a tilt series, with their exclusion."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt6.QtCore import (
    QAbstractItemModel,
    QAbstractTableModel,
    QEvent,
    QItemSelectionModel,
    QModelIndex,
    QPointF,
    QRectF,
    QSortFilterProxyModel,
    Qt,
    pyqtSignal,
)
from PyQt6.QtGui import (
    QBrush,
    QColor,
    QFont,
    QFontMetrics,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPen,
    QShortcut,
)
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from tiltwright.widgets.series.exclusion import ExclusionState
from tiltwright.widgets.series.view_columns import Column, matrix_text
from tiltwright.widgets.theme import colours

if TYPE_CHECKING:
    from tiltwright.engine.model.tilt_series import TiltSeries

_NONE = QModelIndex()
_EXCLUDED = 1
"""Where the checkbox stands."""
_MATRIX_KEYS = ("rot", "shift_x", "shift_y")
_ALWAYS = ("view", "tilt", "mean", "sd", "correlation")
EXCLUDED_WORDS = "Excl", "Excluded: left out by everything downstream (Space or X)"


class ViewTableModel(QAbstractTableModel):
    """Rows are views, columns their numbers, and a checkbox for exclusion."""

    def __init__(
        self, state: ExclusionState, parent: QWidget | None = None,
        words: tuple[str, str] = EXCLUDED_WORDS,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._state, self._words = state, words
        self.greyed: dict[int, str] = {}
        """Views that do not count here, and why."""
        self._series: TiltSeries | None = None
        self._columns: list[Column] = []
        state.changed.connect(self._exclusion_changed)

    def set_content(self, series: TiltSeries | None, columns: list[Column]) -> None:
        """Show these columns, the first of them being the view; unknown ones are left away."""
        columns = [c for c in columns if c.known or c.key in _ALWAYS]
        if [c.key for c in columns] == [c.key for c in self._columns] and series is self._series:
            self._columns = columns
            self._changed()
            return
        self.beginResetModel()
        self._series, self._columns = series, columns
        self.endResetModel()

    def _exclusion_changed(self) -> None:
        self._changed()

    def _changed(self) -> None:
        if self.rowCount():
            last = self.index(self.rowCount() - 1, self.columnCount() - 1)
            self.dataChanged.emit(self.index(0, 0), last)

    def rowCount(self, parent: QModelIndex = _NONE) -> int:
        """Views."""
        return 0 if parent.isValid() or self._series is None else self._series.n_views

    def columnCount(self, parent: QModelIndex = _NONE) -> int:
        """Numbers and the checkbox."""
        return len(self._columns) + 1 if self._columns and not parent.isValid() else 0

    def column(self, section: int) -> Column | None:
        """The numbers of a section; ``None`` for the checkbox."""
        if section == _EXCLUDED:
            return None
        return self._columns[section - (section > _EXCLUDED)]

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        """Titles and their help."""
        if orientation != Qt.Orientation.Horizontal or not self._columns:
            return None
        column = self.column(section)
        if role == Qt.ItemDataRole.DisplayRole:
            return self._words[0] if column is None else column.title
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._words[1] if column is None else column.help
        return None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Everything can be selected, the checkbox checked."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if index.column() == _EXCLUDED:
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        return flags

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What a cell shows."""
        roles = Qt.ItemDataRole
        view, column = index.row(), self.column(index.column())
        out = bool(self._state.excluded[view])
        doubt = not out and bool(self._state.left_out[view])
        if role == roles.DisplayRole:
            return "" if column is None else column.text(view)
        if role == roles.CheckStateRole and column is None:
            return Qt.CheckState.Checked if out else Qt.CheckState.Unchecked
        if role == roles.UserRole:
            value = float(out) if column is None else float(column.values[view])
            return value if np.isfinite(value) else -1e300
        if role == roles.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column else Qt.AlignmentFlag.AlignHCenter
            return side | Qt.AlignmentFlag.AlignVCenter
        if role == roles.ForegroundRole and view in self.greyed:
            return QBrush(QColor(colours().stale))
        if role == roles.ForegroundRole and (out or doubt):
            return QBrush(QColor(colours().failed if out else colours().running))
        if role == roles.FontRole and (out or doubt):
            font = QFont(QApplication.font())
            font.setStrikeOut(out)
            font.setItalic(doubt)
            return font
        if role == roles.ToolTipRole:
            return self._hint(view, column)
        return None

    def _hint(self, view: int, column: Column | None) -> str | None:
        ali = self._series.alignment if self._series is not None else None
        if column is not None and column.key in _MATRIX_KEYS and ali is not None:
            return f"<pre>{matrix_text(ali.transforms[view])}</pre>raw to aligned, raw pixels"
        if view in self.greyed:
            return self.greyed[view]
        if view in self._state.suspect:
            verdict = "kept" if self._state.kept[view] else "suspect"
            return f"{verdict}: {self._state.suspect[view]}"
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """The checkbox was clicked."""
        if role != Qt.ItemDataRole.CheckStateRole or index.column() != _EXCLUDED:
            return False
        excluded = Qt.CheckState(value) == Qt.CheckState.Checked
        self._state.set_excluded([index.row()], excluded)
        return True


class _CrossDelegate(QStyledItemDelegate):
    """A box in the middle of its cell, with a cross when the view is excluded."""

    def paint(
        self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        assert painter is not None
        c = colours()
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        painter.save()
        if chosen:
            painter.fillRect(option.rect, option.palette.highlight())
        out = index.data(Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Checked
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(0, 0, 12, 12)
        box.moveCenter(QRectF(option.rect).center())
        rim = c.failed if out else ("#ffffff" if chosen else c.muted)
        painter.setPen(QPen(QColor(rim), 1.2))
        painter.setBrush(QColor(c.failed) if out else Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(box, 2, 2)
        if out:
            painter.setPen(QPen(QColor("#ffffff"), 1.8))
            inner = box.adjusted(3, 3, -3, -3)
            painter.drawLine(inner.topLeft(), inner.bottomRight())
            painter.drawLine(inner.topRight(), inner.bottomLeft())
        painter.restore()

    def editorEvent(
        self,
        event: QEvent | None,
        model: QAbstractItemModel | None,
        option: QStyleOptionViewItem,
        index: QModelIndex,
    ) -> bool:
        """A click in the box turns it; a drag of the selection does not."""
        assert model is not None
        if isinstance(event, QMouseEvent) and event.button() == Qt.MouseButton.LeftButton:
            way: QPointF = event.position() - QRectF(option.rect).center()
            near = max(abs(way.x()), abs(way.y())) <= 9
            if near and event.type() == QEvent.Type.MouseButtonRelease:
                out = index.data(Qt.ItemDataRole.CheckStateRole) == Qt.CheckState.Checked
                state = Qt.CheckState.Unchecked if out else Qt.CheckState.Checked
                return model.setData(index, state, Qt.ItemDataRole.CheckStateRole)
            return near
        return False


class ViewTable(QTableView):
    """The per-view table: sortable, copied with Ctrl+C, exported as CSV.

    Signals
    -------
    view_selected : (view)
        A person went to a row; 0-based.
    """

    view_selected = pyqtSignal(int)

    def __init__(
        self, state: ExclusionState, parent: QWidget | None = None,
        words: tuple[str, str] = EXCLUDED_WORDS,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self.content = ViewTableModel(state, self, words)
        self._proxy = QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self.content)
        self._proxy.setSortRole(Qt.ItemDataRole.UserRole)
        self._quiet = False
        self.setModel(self._proxy)
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setShowGrid(False)
        self.setAlternatingRowColors(True)
        self.setWordWrap(False)
        rows, head = self.verticalHeader(), self.horizontalHeader()
        assert rows is not None
        assert head is not None
        rows.hide()
        rows.setDefaultSectionSize(self.fontMetrics().height() + 6)
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        head.setMinimumSectionSize(36)
        head.setHighlightSections(False)
        # The mark of the sorting above the title, so that it takes no width.
        head.setStyleSheet(
            "QHeaderView::section { padding: 5px 5px 3px 3px; }"
            "QHeaderView::up-arrow, QHeaderView::down-arrow"
            " { subcontrol-position: top center; width: 8px; height: 6px; }"
        )
        self.setItemDelegateForColumn(_EXCLUDED, _CrossDelegate(self))
        selection = self.selectionModel()
        assert selection is not None
        selection.currentRowChanged.connect(self._row_changed)
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), self)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy)

    def set_content(self, series: TiltSeries | None, columns: list[Column]) -> None:
        """Show these columns of a series."""
        before = self.selected_views()
        self._quiet = True
        self.content.set_content(series, columns)
        self._fit_columns()
        if before and not self.selected_views() and before[0] < self.content.rowCount():
            self.set_current(before[0])
        self._quiet = False

    def _fit_columns(self) -> None:
        """Columns as narrow as their longest text allows."""
        bold, plain = QFontMetrics(self.font()), self.fontMetrics()
        for k in range(self.content.columnCount()):
            column = self.content.column(k)
            title = str(self.content.headerData(k, Qt.Orientation.Horizontal))
            texts = [column.text(v) for v in range(self.content.rowCount())] if column else []
            width = max((plain.horizontalAdvance(t) for t in texts), default=0) + 14
            self.setColumnWidth(k, max(width, bold.horizontalAdvance(title) + 16))

    def _row_changed(self, current: QModelIndex, _before: QModelIndex) -> None:
        if current.isValid() and not self._quiet:
            self.view_selected.emit(self._proxy.mapToSource(current).row())

    def selected_views(self) -> list[int]:
        """The views of the selected rows."""
        selection = self.selectionModel()
        rows = selection.selectedRows() if selection is not None else []
        return sorted(self._proxy.mapToSource(row).row() for row in rows)

    def set_current(self, view: int) -> None:
        """Go to the row of a view; a selection that contains it stays."""
        selection = self.selectionModel()
        index = self._proxy.mapFromSource(self.content.index(view, 0))
        if selection is None or not index.isValid():
            return
        if selection.currentIndex().row() == index.row():
            # A person may be at selecting several.
            return
        quiet, self._quiet = self._quiet, True
        if view in self.selected_views():
            flags = QItemSelectionModel.SelectionFlag.NoUpdate
        else:
            flags = (
                QItemSelectionModel.SelectionFlag.ClearAndSelect
                | QItemSelectionModel.SelectionFlag.Rows
            )
        selection.setCurrentIndex(index, flags)
        self.scrollTo(index)
        self._quiet = quiet

    def _rows(self, views: list[int] | None) -> list[list[str]]:
        model = self._proxy
        head = [
            str(self.content.headerData(k, Qt.Orientation.Horizontal))
            for k in range(self.content.columnCount())
        ]
        rows = [head]
        for row in range(model.rowCount()):
            view = model.mapToSource(model.index(row, 0)).row()
            if views is None or view in views:
                cells = []
                for k in range(self.content.columnCount()):
                    column = self.content.column(k)
                    if column is None:
                        box = self.content.index(view, k)
                        state = self.content.data(box, Qt.ItemDataRole.CheckStateRole)
                        cells.append("1" if state == Qt.CheckState.Checked else "0")
                    else:
                        cells.append(column.text(view).replace("–", ""))
                rows.append(cells)
        return rows

    def copy(self) -> None:
        """Copy the selected rows, tab-separated with titles."""
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            rows = self._rows(self.selected_views() or None)
            clipboard.setText("\n".join("\t".join(row) for row in rows) + "\n")

    def csv_text(self) -> str:
        """The whole table as comma-separated values, in the order shown."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self._rows(None))
        return text.getvalue()

    def export_csv(self, path: Path) -> None:
        """Write the whole table.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        from tiltwright.engine.io.atomic import write_text

        write_text(path, self.csv_text())
