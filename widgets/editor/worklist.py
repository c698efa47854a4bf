"""One table of everything worth a look, worst first."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QAbstractTableModel, QModelIndex, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QPixmap
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.editor.numbers_panel import change_words
from tiltwright.widgets.editor.strip import grey_image
from tiltwright.widgets.styled import ElidedLabel
from tiltwright.widgets.theme import colours

if TYPE_CHECKING:
    from tiltwright.engine.curation.worklist import Effect, Item, Key
    from tiltwright.engine.model.edits import Change

THUMBNAIL_PX = 34
ALL = "All kinds"
_COLUMNS = ("", "kind", "bead", "view", "gain px", "proposal")


def _view_words(item: Item) -> str:
    views = item.views
    if not views:
        return ""
    first, last = min(views) + 1, max(views) + 1
    return f"{first}" if len(views) == 1 else f"{first}–{last} ({len(views)})"


class _Items(QAbstractTableModel):
    """The rows; thumbnails arrive later."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.items: list[Item] = []
        self.effects: dict[Hashable, Effect] = {}
        self._pictures: dict[Hashable, QPixmap] = {}

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.items)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return len(_COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return _COLUMNS[section]
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        item = self.items[index.row()]
        column = index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._words(item, column)
        if role == Qt.ItemDataRole.DecorationRole and column == 0:
            return self._pictures.get(item.key)
        if role == Qt.ItemDataRole.ToolTipRole:
            return item.reason
        if role == Qt.ItemDataRole.ForegroundRole and column == 1:
            return QColor(_kind_colour(str(item.kind)))
        if role == Qt.ItemDataRole.TextAlignmentRole and column in (2, 4):
            side = Qt.AlignmentFlag.AlignHCenter if column == 2 else Qt.AlignmentFlag.AlignRight
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        return None

    def _words(self, item: Item, column: int) -> str:
        if column == 1:
            return str(item.kind)
        if column == 2:
            return f"{item.contour + 1}"
        if column == 3:
            return _view_words(item)
        if column == 4:
            effect = self.effects.get(item.key)
            gain = item.gain_px if effect is None else effect.gain_px
            return f"{'≈ ' if effect is None else ''}{gain:.4f}" if math.isfinite(gain) else ""
        if column == 5:
            # Bead and view stand in the row already.
            return re.sub(r" of contour \d+, view \d+$", "", item.edit.label)
        return ""

    def has_picture(self, key: Hashable) -> bool:
        """Whether an item's thumbnail is there."""
        return key in self._pictures

    def set_picture(self, key: Hashable, data: npt.NDArray[np.float32]) -> None:
        """A thumbnail has been read."""
        image, _ = grey_image(data)
        pixmap = QPixmap(THUMBNAIL_PX, THUMBNAIL_PX)
        pixmap.fill(QColor("#1a1d22"))
        if image is not None:
            pixmap = QPixmap.fromImage(image).scaled(
                THUMBNAIL_PX, THUMBNAIL_PX, Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )  # fmt: skip
        self._pictures[key] = pixmap
        for row, item in enumerate(self.items):
            if item.key == key:
                cell = self.index(row, 0)
                self.dataChanged.emit(cell, cell)

    def forget_pictures(self) -> None:
        """The images under them are others now."""
        self._pictures.clear()

    def set_items(self, items: list[Item]) -> None:
        """Other rows."""
        self.beginResetModel()
        self.items = items
        self.endResetModel()


def effect_words(effect: Effect) -> str:
    """Both numbers' changes, the greater one first."""
    both = [
        (effect.mean_residual_change_px, "mean residual"),
        (effect.leave_one_out_change_px, "leave-one-out"),
    ]
    said = [
        f"{name} {change_words(change)[0]} px"
        for change, name in sorted(both, key=lambda one: -abs(one[0]))
        if math.isfinite(change)
    ]
    return ", ".join(said) or "nothing can be solved"


def _kind_colour(kind: str) -> str:
    c = colours()
    return {"gap": c.running, "big residual": c.residual}.get(kind, c.interactive)


class Worklist(QWidget):
    """The items with filters; accepts and rejects by key, row after row.

    Signals
    -------
    selected : (Item)
        A person is at this row.
    accepted : (Item)
    pictures_wanted : (items)
        Rows in sight without a thumbnail; answer with :meth:`set_picture`.
    """

    selected = pyqtSignal(object)
    accepted = pyqtSignal(object)
    pictures_wanted = pyqtSignal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._all: list[Item] = []
        self.rejected: set[Key] = set()
        self._filling = self._outdated = False
        self.model = _Items(self)
        self.table = _Table(self)
        self.table.setModel(self.model)
        self.filter = QComboBox(self)
        self.filter.addItem(ALL)
        self.filter.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.filter.setToolTip("Only items of one kind")
        self.count = ElidedLabel("", self)
        self.accept_button = self._small("✓ Accept", "Apply the proposal and go to the next", "A")
        self.reject_button = self._small("✗ Reject", "Leave it as it is, and do not ask again", "X")
        self.restore_button = self._small("Restore", "Show rejected items again", "")
        row = QHBoxLayout()
        row.setContentsMargins(4, 2, 4, 2)
        row.setSpacing(6)
        row.addWidget(self.filter)
        row.addWidget(self.count, 1)
        row.addWidget(self.restore_button)
        row.addWidget(self.accept_button)
        row.addWidget(self.reject_button)
        self.reason = QLabel("", self)
        self.reason.setWordWrap(True)
        self.reason.setMargin(3)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(row)
        column.addWidget(self.table, 1)
        column.addWidget(self.reason)
        self.filter.currentTextChanged.connect(lambda _: self._show())
        self.accept_button.clicked.connect(self.accept)
        self.reject_button.clicked.connect(self.reject)
        self.restore_button.clicked.connect(self.restore)
        selection = self.table.selectionModel()
        assert selection is not None
        selection.currentRowChanged.connect(lambda now, _: self._row_changed(now))
        bar = self.table.verticalScrollBar()
        assert bar is not None
        bar.valueChanged.connect(lambda _: self._want_pictures())
        self._show()

    def _small(self, words: str, tip: str, key: str) -> QPushButton:
        made = QPushButton(words, self)
        made.setToolTip(f"{tip} ({key})" if key else tip)
        made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        made.setStyleSheet("padding: 2px 7px;")
        return made

    # ---- content -------------------------------------------------------------------------------

    def set_items(self, items: Sequence[Item]) -> None:
        """Show other items; where one was stays, else the row that took its place."""
        self._all, self._outdated = list(items), False
        kinds = sorted({str(item.kind) for item in items})
        have = [self.filter.itemText(k) for k in range(1, self.filter.count())]
        if kinds != have:
            chosen = self.filter.currentText()
            self.filter.blockSignals(True)
            self.filter.clear()
            self.filter.addItems([ALL, *kinds])
            self.filter.setCurrentText(chosen if chosen in kinds else ALL)
            self.filter.blockSignals(False)
        self._show()

    def items(self) -> list[Item]:
        """What is shown, from above to below."""
        return self.model.items

    @property
    def current(self) -> Item | None:
        """The item that a person is at."""
        row = self.table.currentIndex().row()
        return self.model.items[row] if 0 <= row < len(self.model.items) else None

    def _show(self) -> None:
        kind = self.filter.currentText()
        shown = [
            i for i in self._all
            if i.key not in self.rejected and (kind == ALL or str(i.kind) == kind)
        ]  # fmt: skip
        before, row = self.current, self.table.currentIndex().row()
        key = before.key if before is not None else None
        self._filling = True
        self.model.set_items(shown)
        again = next((k for k, item in enumerate(shown) if item.key == key), None)
        at = again if again is not None else min(row, len(shown) - 1)
        if at >= 0 and shown and row >= 0:
            self.table.selectRow(at)
        self._filling = False
        hidden = sum(i.key in self.rejected for i in self._all)
        words = f"{len(shown)} items" if shown else "Nothing to look at"
        self.count.setText(words + (f", {hidden} rejected" if hidden else ""))
        self.restore_button.setVisible(hidden > 0)
        self._say()
        self._want_pictures()

    def _say(self) -> None:
        item = self.current
        enabled = item is not None
        self.accept_button.setEnabled(enabled and item.edit is not None if item else False)
        self.reject_button.setEnabled(enabled)
        self.reason.setVisible(item is not None)
        self._say_reason()

    def _say_reason(self) -> None:
        """Why the current row is there, and what accepting it does to both numbers."""
        item = self.current
        words = item.reason if item is not None else ""
        if item is not None and item.edit is not None:
            effect = self.model.effects.get(item.key)
            words += f"\nAccepted: {effect_words(effect) if effect is not None else '…'}"
        self.reason.setText(words)

    def set_effect(self, key: Hashable, effect: Effect) -> None:
        """What accepting an item does, by a trial solution."""
        self.model.effects[key] = effect
        self._say_reason()
        for row, item in enumerate(self.model.items):
            if item.key == key:
                cell = self.model.index(row, 4)
                self.model.dataChanged.emit(cell, cell)

    def set_picture(self, key: Hashable, data: npt.NDArray[np.float32]) -> None:
        """A thumbnail has been read."""
        self.model.set_picture(key, data)

    def model_changed(self, change: Change) -> None:
        """The effects were those of another model; contours may have other numbers."""
        self.model.effects.clear()
        self._say_reason()
        if change.renumbers:
            # Until the list is made anew its numbers are those of another model.
            self._outdated = True
            again = (key.renumbered(change) for key in self.rejected)
            self.rejected = {key for key in again if key is not None}
            self.model.forget_pictures()

    def _want_pictures(self) -> None:
        top = max(0, self.table.rowAt(0))
        rows = self.model.items[top : top + 16]
        missing = [item for item in rows if not self.model.has_picture(item.key)]
        if missing:
            self.pictures_wanted.emit(missing)

    # ---- what a person does --------------------------------------------------------------------

    def _row_changed(self, index: QModelIndex) -> None:
        self._say()
        if not self._filling and 0 <= index.row() < len(self.model.items):
            self.selected.emit(self.model.items[index.row()])

    def step(self, by: int) -> None:
        """Go to the next (+1) or previous (-1) row; from none to the first."""
        row = self.table.currentIndex().row() + by
        if self.model.items:
            self.table.selectRow(min(max(0, row), len(self.model.items) - 1))

    def accept(self) -> None:
        """Apply the proposal of the current row, and go to the one that takes its place."""
        item = self.current
        if item is None or item.edit is None or self._outdated:
            return
        self._all.remove(item)
        self._show()
        self.accepted.emit(item)
        self._go_on()

    def reject(self) -> None:
        """Leave the current row out from now on, and go to the one that takes its place."""
        item = self.current
        if item is None:
            return
        self.rejected.add(item.key)
        self._show()
        self._go_on()

    def _go_on(self) -> None:
        following = self.current
        if following is not None:
            self.selected.emit(following)

    def restore(self) -> None:
        """Show what was rejected again."""
        self.rejected.clear()
        self._show()


class _Table(QTableView):
    """Rows with thumbnails."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setIconSize(QSize(THUMBNAIL_PX, THUMBNAIL_PX))
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        down, across = self.verticalHeader(), self.horizontalHeader()
        assert down is not None
        assert across is not None
        down.setDefaultSectionSize(THUMBNAIL_PX + 4)
        down.setVisible(False)
        across.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
        across.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        across.setStretchLastSection(True)

    def setModel(self, model: Any) -> None:
        super().setModel(model)
        for column, width in enumerate((THUMBNAIL_PX + 10, 112, 48, 76, 72)):
            self.setColumnWidth(column, width)

    def keyboardSearch(self, search: str | None) -> None:
        """Letters are keys of the editor."""
