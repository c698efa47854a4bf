"""Views that a step would leave out, with its reasons; a person accepts or keeps them."""

from __future__ import annotations

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QColor
from PyQt6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.actions import make_action
from tiltwright.widgets.series.exclusion import ExclusionState
from tiltwright.widgets.theme import colours


class SuspectList(QWidget):
    """Lists suspect views; hidden when there are none.

    Signals
    -------
    view_selected : (view)
        A person went to an entry; 0-based.
    """

    view_selected = pyqtSignal(int)

    def __init__(self, state: ExclusionState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._title = QLabel(self)
        self.list = QListWidget(self)
        self.list.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self.list.setWordWrap(True)
        self.list.setMinimumHeight(48)
        self.list.currentItemChanged.connect(self._went)
        exclude = make_action(
            self, "Exclude", ["Return"], self._exclude,
            "Accept the suggestion: exclude the selected views", on=[self.list],
        )  # fmt: skip
        keep = make_action(
            self, "Keep", ["K"], self._keep,
            "Keep the selected views: the steps will use them", on=[self.list],
        )  # fmt: skip
        every = make_action(
            self, "Exclude all", ["Shift+Return"], self._exclude_all,
            "Accept all suggestions that are still open", on=[self.list],
        )  # fmt: skip
        self.exclude_button, self.keep_button, self.all_button = (QPushButton(self) for _ in "123")
        row = QHBoxLayout()
        row.setSpacing(4)
        for push, action in (
            (self.exclude_button, exclude), (self.keep_button, keep), (self.all_button, every),
        ):  # fmt: skip
            push.setText(action.text())
            push.setToolTip(action.toolTip())
            push.clicked.connect(action.trigger)
            row.addWidget(push)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(4)
        column.addWidget(self._title)
        column.addWidget(self.list, 1)
        column.addLayout(row)
        state.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the suspect views as they are now."""
        suspect = self._state.suspect
        chosen = self._selected() or self._state.undecided[:1]
        self.list.blockSignals(True)
        self.list.clear()
        for view, reason in suspect.items():
            if self._state.excluded[view]:
                mark, colour = "✕ excluded", colours().failed
            elif self._state.kept[view]:
                mark, colour = "✓ kept", colours().done
            else:
                mark, colour = "? open", colours().running
            item = QListWidgetItem(f"View {view + 1}   {mark}\n{reason}")
            item.setData(Qt.ItemDataRole.UserRole, view)
            item.setForeground(QColor(colour))
            item.setToolTip(reason)
            self.list.addItem(item)
            item.setSelected(view in chosen)
        self.list.blockSignals(False)
        n, open_ = len(suspect), len(self._state.undecided)
        self._title.setText(f"{n} suspect view{'s' if n != 1 else ''}, {open_} to decide")
        self.all_button.setEnabled(open_ > 0)
        self.setVisible(n > 0)

    def _selected(self) -> list[int]:
        return [item.data(Qt.ItemDataRole.UserRole) for item in self.list.selectedItems()]

    def _exclude(self) -> None:
        if views := self._selected():
            self._state.set_excluded(views, True)

    def _keep(self) -> None:
        if views := self._selected():
            self._state.keep(views)

    def _exclude_all(self) -> None:
        if views := self._state.undecided:
            self._state.set_excluded(views, True)

    def _went(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self.view_selected.emit(int(item.data(Qt.ItemDataRole.UserRole)))
