"""A bar of two groups: beside each other, or below each other where there is no room."""

from __future__ import annotations

from PyQt6.QtCore import QSize
from PyQt6.QtGui import QResizeEvent
from PyQt6.QtWidgets import QGridLayout, QHBoxLayout, QLayout, QWidget


class TwoPartBar(QWidget):
    """Add widgets to :attr:`left` and :attr:`right`; the second group stretches."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._groups = QWidget(self), QWidget(self)
        self.left, self.right = (QHBoxLayout(group) for group in self._groups)
        for row in (self.left, self.right):
            row.setContentsMargins(0, 0, 0, 0)
            row.setSpacing(6)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(6, 3, 6, 3)
        self._grid.setSpacing(4)
        # The layout would ask for room for both beside each other.
        self._grid.setSizeConstraint(QLayout.SizeConstraint.SetNoConstraint)
        self._below = False
        self._arrange()

    def minimumSizeHint(self) -> QSize:
        """Room for the wider of the two."""
        sizes = [group.minimumSizeHint() for group in self._groups]
        return QSize(max(s.width() for s in sizes) + 12, self._grid.minimumSize().height())

    def _arrange(self) -> None:
        left, right = self._groups
        self._grid.addWidget(left, 0, 0)
        self._grid.addWidget(right, int(self._below), 0 if self._below else 1)
        self._grid.setColumnStretch(0, int(self._below))
        self._grid.setColumnStretch(1, int(not self._below))
        self.updateGeometry()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Beside or below."""
        needed = sum(group.minimumSizeHint().width() for group in self._groups) + 24
        if (self.width() < needed) != self._below:
            self._below = not self._below
            self._arrange()
        super().resizeEvent(event)
