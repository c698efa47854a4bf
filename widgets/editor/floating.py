"""A panel that can be taken out of its window, as a small window of its own."""

from __future__ import annotations

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QCloseEvent
from PyQt6.QtWidgets import QVBoxLayout, QWidget


class Floating(QWidget):
    """Holds ``panel`` while it is out of ``column``; closing puts it back in its place.

    The keys of ``window`` work in it too.
    """

    def __init__(self, panel: QWidget, column: QVBoxLayout, window: QWidget, title: str) -> None:
        super().__init__(window, Qt.WindowType.Tool)
        self._panel, self._column, self._window = panel, column, window
        self._place = column.indexOf(panel)
        self.setWindowTitle(title)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._inside = QVBoxLayout(self)
        self._inside.setContentsMargins(0, 4, 0, 4)

    @property
    def out(self) -> bool:
        """Whether the panel is in this window."""
        return self._inside.indexOf(self._panel) >= 0

    def toggle(self) -> None:
        """Take the panel out, or put it back."""
        if self.out:
            self.close()
            return
        for action in self._window.actions():
            if action not in self.actions():
                self.addAction(action)
        corner = self._panel.mapToGlobal(self._panel.rect().topLeft())
        size = self._panel.size()
        self._column.removeWidget(self._panel)
        self._inside.addWidget(self._panel)
        self._panel.show()
        self.resize(size.width(), size.height() + 8)
        self.move(corner.x() - size.width() // 3, corner.y())
        self.show()
        # Keys go to whoever has the focus, and the panel's buttons never take it.
        self.setFocus()

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Back where it was."""
        if self.out:
            self._inside.removeWidget(self._panel)
            self._column.insertWidget(self._place, self._panel)
            self._panel.show()
        super().closeEvent(event)
