"""The versions of a model: what each was, and how two of them differ."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.editor.comparison import Comparison
from tiltwright.widgets.styled import MutedLabel

if TYPE_CHECKING:
    from tiltwright.engine.curation.live import Snapshot
    from tiltwright.engine.project.versions import Version

_COLUMNS = ("#", "time", "author", "note", "mean px", "leave-one-out px", "points")
_NUMBERS = ("mean_residual_px", "leave_one_out_px", "n_points")


class VersionsPanel(QWidget):
    """Every save is a version that stays.

    Signals
    -------
    save_asked : (note)
    opened : (Version)
        Take its points into the editor, as an edit that can be undone.
    compared : (Version)
        Compare it with the model as it is.
    file_chosen : (Path)
        Take the points of a model file of any program.
    """

    save_asked = pyqtSignal(str)
    opened = pyqtSignal(object)
    compared = pyqtSignal(object)
    file_chosen = pyqtSignal(Path)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._versions: list[Version] = []
        self.note = QLineEdit(self)
        self.note.setPlaceholderText("Note for the next version")
        self.note.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.save_button = self._button("Save version", "Write a new version (S)")
        self.open_button = self._button("Open", "Take its points into the editor; can be undone")
        self.compare_button = self._button("Compare", "How it differs from the model as it is")
        self.file_button = self._button(
            "Open file…", "Take the points of a .fid or .mod; what else is in it is kept on saving"
        )
        self.table = QTableWidget(0, len(_COLUMNS), self)
        self.table.setHorizontalHeaderLabels(list(_COLUMNS))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setShowGrid(False)
        down, across = self.table.verticalHeader(), self.table.horizontalHeader()
        assert down is not None
        assert across is not None
        down.setVisible(False)
        across.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.words = MutedLabel("", self)
        self.words.setWordWrap(True)
        self.comparison = Comparison(self)
        self.pages = QStackedWidget(self)
        self.back_button = self._button("All versions", "Back to the list")
        self.back_button.hide()
        top, bottom = QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.note, 1)
        top.addWidget(self.save_button)
        bottom.addWidget(self.file_button)
        bottom.addStretch(1)
        bottom.addWidget(self.back_button)
        bottom.addWidget(self.compare_button)
        bottom.addWidget(self.open_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(3)
        column.addLayout(top)
        self.pages.addWidget(self.table)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(self.comparison)
        self.pages.addWidget(scroll)
        column.addWidget(self.pages, 1)
        column.addLayout(bottom)
        column.addWidget(self.words)
        self.save_button.clicked.connect(lambda: self.save_asked.emit(self.note.text()))
        self.note.returnPressed.connect(lambda: self.save_asked.emit(self.note.text()))
        self.back_button.clicked.connect(self.show_list)
        self.file_button.clicked.connect(self._choose_file)
        self.open_button.clicked.connect(lambda: self._with_chosen(self.opened))
        self.compare_button.clicked.connect(lambda: self._with_chosen(self.compared))
        self.table.itemSelectionChanged.connect(self._choose)
        self.table.itemDoubleClicked.connect(lambda _: self._with_chosen(self.opened))
        self._choose()

    def _button(self, words: str, tip: str) -> QPushButton:
        made = QPushButton(words, self)
        made.setToolTip(tip)
        made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        return made

    @property
    def chosen(self) -> Version | None:
        """The version that is selected."""
        row = self.table.currentRow()
        return self._versions[row] if 0 <= row < len(self._versions) else None

    def set_versions(self, versions: Sequence[Version]) -> None:
        """Show versions, the newest above."""
        self._versions = sorted(versions, key=lambda v: -v.number)
        self.table.setRowCount(len(self._versions))
        for row, version in enumerate(self._versions):
            when = time.strftime("%d %b %H:%M:%S", time.localtime(version.time))
            numbers = [version.numbers.get(name) for name in _NUMBERS]
            words = [f"{n:.4f}" if n is not None else "" for n in numbers[:2]]
            words.append(f"{numbers[2]:.0f}" if numbers[2] is not None else "")
            cells = [
                str(version.number), when, version.author, version.note,
                *words,
            ]  # fmt: skip
            for column, text in enumerate(cells):
                self.table.setItem(row, column, QTableWidgetItem(text))
        self._choose()

    def _choose_file(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self, "Open a model", "", "IMOD models (*.fid *.mod);;All files (*)"
        )
        if chosen:
            self.file_chosen.emit(Path(chosen))

    def show_list(self) -> None:
        """Back from a comparison."""
        self._show(0)
        self.words.clear()

    def show_two(self, name: str, then: Snapshot, now: Snapshot) -> None:
        """A version beside the model as it is."""
        self.comparison.show_two(name, then, now)
        self._show(1)

    def _show(self, page: int) -> None:
        self.pages.setCurrentIndex(page)
        listed = page == 0
        self.back_button.setVisible(not listed)
        for made in (self.file_button, self.compare_button, self.open_button):
            made.setVisible(listed)

    def say(self, words: str) -> None:
        """What a comparison found."""
        self.words.setText(words)

    def _choose(self) -> None:
        there = self.chosen is not None
        self.open_button.setEnabled(there)
        self.compare_button.setEnabled(there)

    def _with_chosen(self, signal: object) -> None:
        if self.chosen is not None:
            signal.emit(self.chosen)  # type: ignore[attr-defined]
