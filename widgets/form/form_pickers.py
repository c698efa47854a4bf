"""Pickers of a run's form: which output goes in, and which runs to wait for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QAction
from PyQt6.QtWidgets import QGridLayout, QMenu, QToolButton, QWidget

from tiltwright.widgets.form.form_editors import CalmComboBox
from tiltwright.widgets.styled import ErrorLabel, LabelledRow, MutedLabel


@dataclass(frozen=True)
class InputChoice:
    """One input of a protocol and the outputs that fit it.

    ``options`` are ``(id, text, detail)``, the best first: ``("3.tiltseries", "Coarse
    prealignment", "2 items, 41 x 1440 x 1024, 5.52 Å/px +ali")``.
    """

    name: str
    label: str
    options: tuple[tuple[str, str, str], ...]
    required: bool = True
    help: str = ""


class InputPicker(LabelledRow):
    """A box with the outputs that fit, and what the chosen one holds."""

    chosen = pyqtSignal()

    def __init__(self, choice: InputChoice, parent: QWidget | None = None) -> None:
        super().__init__(choice.label, parent)
        self.choice = choice
        self.box = CalmComboBox()
        self.box.setMinimumContentsLength(16)
        self.box.setSizeAdjustPolicy(
            CalmComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.box.setAccessibleName(choice.label)
        self.label.setBuddy(self.box)
        if not choice.required:
            self.box.addItem("none", None)
        for ident, text, detail in choice.options:
            self.box.addItem(text, ident)
            self.box.setItemData(self.box.count() - 1, detail, Qt.ItemDataRole.ToolTipRole)
        self.detail = MutedLabel()
        self.error = ErrorLabel()
        if choice.help:
            self.setToolTip(choice.help)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 1, 0, 1)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(2)
        grid.addWidget(self.label, 0, 0)
        grid.addWidget(self.box, 0, 1)
        grid.addWidget(self.detail, 1, 1)
        grid.addWidget(self.error, 2, 1)
        grid.setColumnStretch(1, 1)
        self.box.currentIndexChanged.connect(self._changed)
        self._show()

    def ident(self) -> str | None:
        """Id of the chosen output."""
        value = self.box.currentData()
        return None if value is None else str(value)

    def choose(self, ident: str | None) -> None:
        """Choose an output; an unknown one leaves the choice open, for the user to see."""
        self.box.setCurrentIndex(self.box.findData(ident))

    def reason(self) -> str:
        """Why the choice is not enough, or nothing."""
        if not self.choice.required or self.ident() is not None:
            return ""
        if not self.choice.options:
            return "no output of this project fits yet: run the step before this one first"
        return "choose an input"

    def _changed(self) -> None:
        self._show()
        self.chosen.emit()

    def _show(self) -> None:
        self.box.setEnabled(self.box.count() > 0)
        details = {ident: detail for ident, _, detail in self.choice.options}
        text = details.get(self.ident() or "", "")
        self.detail.setText(text)
        self.detail.setVisible(bool(text))
        self.error.set_reason(self.reason())


class WaitForButton(QToolButton):
    """Runs that must have ended before this one starts, as a menu of check marks."""

    chosen = pyqtSignal()

    def __init__(self, runs: Sequence[tuple[str, str]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setMinimumWidth(130)
        self.setToolTip("Start only when these runs have ended")
        self._menu = QMenu(self)
        self.actions_by_id: dict[str, QAction] = {}
        for ident, text in runs:
            action = QAction(text, self._menu)
            action.setCheckable(True)
            action.toggled.connect(self._changed)
            self._menu.addAction(action)
            self.actions_by_id[ident] = action
        self.setMenu(self._menu)
        self.setEnabled(bool(runs))
        self._show()

    def idents(self) -> tuple[str, ...]:
        """Ids of the runs chosen."""
        return tuple(i for i, action in self.actions_by_id.items() if action.isChecked())

    def choose(self, idents: Sequence[str]) -> None:
        """Check these runs."""
        for ident, action in self.actions_by_id.items():
            action.setChecked(ident in idents)

    def _changed(self) -> None:
        self._show()
        self.chosen.emit()

    def _show(self) -> None:
        names = [a.text() for a in self.actions_by_id.values() if a.isChecked()]
        self.setText("none" if not names else names[0] if len(names) == 1 else f"{len(names)} runs")
