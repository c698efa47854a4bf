"""The narrow bar above a viewer: where it stands in the project, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PyQt6.QtCore import pyqtSignal
from PyQt6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

Options = Sequence[tuple[Any, str]]


class Choice(QComboBox):
    """A list that is asked for anew whenever it opens.

    Signals
    -------
    picked : (value)
        A person picked another entry.
    """

    picked = pyqtSignal(object)

    def __init__(self, options: Callable[[], Options], tip: str) -> None:
        super().__init__()
        self._options = options
        self.setToolTip(tip)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.setMaximumWidth(320)
        self.fill()
        self.activated.connect(lambda k: self.picked.emit(self.itemData(k)))

    def fill(self) -> None:
        """Read the options; the choice stays as long as it is among them."""
        chosen = self.value()
        self.blockSignals(True)
        self.clear()
        for value, text in self._options():
            self.addItem(text, value)
            if value == chosen:
                self.setCurrentIndex(self.count() - 1)
        self.blockSignals(False)
        self.setEnabled(self.count() > 1)

    def value(self) -> Any:
        """What is chosen."""
        return self.currentData()

    def choose(self, value: Any) -> None:
        """Choose as a person does."""
        for k in range(self.count()):
            if self.itemData(k) == value:
                self.setCurrentIndex(k)
                self.picked.emit(value)

    def showPopup(self) -> None:
        """Fill it, and open."""
        self.fill()
        super().showPopup()


def put_bar(viewer: QWidget, parts: Sequence[tuple[str, QWidget]]) -> QWidget:
    """Put labelled widgets in a row above a viewer whose layout is a column."""
    bar = QWidget(viewer)
    row = QHBoxLayout(bar)
    row.setContentsMargins(6, 3, 6, 0)
    row.setSpacing(6)
    for text, widget in parts:
        label = QLabel(text)
        label.setBuddy(widget)
        row.addWidget(label)
        row.addWidget(widget)
        row.addSpacing(8)
    row.addStretch(1)
    column = viewer.layout()
    assert isinstance(column, QVBoxLayout)
    column.insertWidget(0, bar)
    return bar
