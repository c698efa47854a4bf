"""The form of a run: its name, inputs, parameters, and what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QKeySequence, QShortcut
from PyQt6.QtWidgets import (
    QButtonGroup,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.form.form import ParameterForm
from tiltwright.widgets.form.form_pickers import InputChoice, InputPicker, WaitForButton
from tiltwright.widgets.styled import (
    ErrorLabel,
    Heading,
    MutedLabel,
    Rule,
    VerticalArea,
    follow_theme,
    primary_sheet,
)

if TYPE_CHECKING:
    from pydantic import BaseModel


FORM_WIDTH = 860
"""Wider than this, help and reset would be too far from their field."""


@dataclass(frozen=True)
class FormState:
    """All that a form holds, as it stood when it was saved or executed."""

    label: str
    comment: str
    mode: str
    """``continue`` or ``restart``."""
    params: Any
    inputs: dict[str, str | None]
    wait_for: tuple[str, ...]


@dataclass(frozen=True)
class RunSettings:
    """What surrounds the parameters of a run when its form opens."""

    label: str = ""
    comment: str = ""
    mode: str = "continue"
    inputs: Mapping[str, str | None] = field(default_factory=dict)
    wait_for: tuple[str, ...] = ()


class ProtocolForm(QWidget):
    """The form of one run: not modal, it stands beside the other things of the window.

    ``estimate`` gets the :class:`FormState` of valid parameters and answers with one line
    (``about 40 s, 1.7 GB``); it runs while the user types, so it must be quick.
    """

    saved = pyqtSignal(object)
    executed = pyqtSignal(object)
    closed = pyqtSignal()
    state_changed = pyqtSignal()

    def __init__(
        self,
        params_class: type[BaseModel],
        title: str,
        *,
        help_text: str = "",
        citation: str = "",
        values: Mapping[str, Any] | None = None,
        settings: RunSettings | None = None,
        inputs: Sequence[InputChoice] = (),
        runs: Sequence[tuple[str, str]] = (),
        estimate: Callable[[FormState], str] | None = None,
        advanced: bool = False,
        read_only: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        settings = settings or RunSettings()
        self._estimate = estimate
        self._read_only, self._foreseen = read_only, ""
        self.parameters = ParameterForm(params_class, values)
        self.pickers = {choice.name: InputPicker(choice) for choice in inputs}
        self.wait_for = WaitForButton(runs)
        self.label_edit = QLineEdit(settings.label or title)
        self.comment_edit = QLineEdit(settings.comment)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 10, 12, 10)
        layout.setSpacing(8)
        layout.addWidget(self._header(title, help_text, citation))
        layout.addLayout(self._run_part())
        layout.addWidget(self._scrolled(), 1)
        layout.addLayout(self._foot())
        self._set_state(settings, advanced)
        for signal in (
            self.parameters.values_changed, self.wait_for.chosen, self.label_edit.textChanged,
            self.comment_edit.textChanged, self.continue_button.toggled,
            *(picker.chosen for picker in self.pickers.values()),
        ):  # fmt: skip
            signal.connect(self._changed)
        self.advanced_button.toggled.connect(self.parameters.set_advanced)
        self._shortcuts()
        self._opened_as = self._fingerprint()
        self._changed()

    # -- making ---------------------------------------------------------------------------

    def _header(self, title: str, help_text: str, citation: str) -> QWidget:
        box = QWidget()
        rows = QVBoxLayout(box)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(2)
        rows.addWidget(Heading(title, scale=1.3))
        if help_text:
            rows.addWidget(MutedLabel(" ".join(help_text.split())))
        if citation:
            cite = MutedLabel(f"Cite: {citation}")
            cite.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            rows.addWidget(cite)
        return box

    def _run_part(self) -> QGridLayout:
        self.continue_button = QRadioButton("Continue")
        self.continue_button.setToolTip("Keep the series that are done and compute the others")
        self.restart_button = QRadioButton("Restart")
        self.restart_button.setToolTip("Compute every series again; the old results go")
        self.normal_button = QRadioButton("Normal")
        self.advanced_button = QRadioButton("Advanced")
        self.advanced_button.setToolTip("Show the expert parameters as well")
        self._mode_group, self._level_group = QButtonGroup(self), QButtonGroup(self)
        mode, level = QHBoxLayout(), QHBoxLayout()
        for row, group, buttons in (
            (mode, self._mode_group, (self.continue_button, self.restart_button)),
            (level, self._level_group, (self.normal_button, self.advanced_button)),
        ):
            row.setSpacing(10)
            for button in buttons:
                group.addButton(button)
                row.addWidget(button)
            row.addStretch()
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        grid.addWidget(Rule(), 0, 0, 1, 4)
        parts: tuple[tuple[str, QWidget | QLayout], ...] = (
            ("Run &name", self.label_edit), ("&Comment", self.comment_edit),
            ("Run mode", mode), ("&Wait for", self.wait_for), ("Level", level),
        )  # fmt: skip
        for place, (text, item) in enumerate(parts):
            label = QLabel(text)
            label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            at = (1 + place // 2, 2 * (place % 2))
            grid.addWidget(label, *at)
            if isinstance(item, QWidget):
                label.setBuddy(item)
                grid.addWidget(item, at[0], at[1] + 1)
            else:
                grid.addLayout(item, at[0], at[1] + 1)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        return grid

    def _scrolled(self) -> VerticalArea:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(2)
        if self.pickers:
            column.addWidget(Heading("Input"))
            column.addWidget(Rule())
            for picker in self.pickers.values():
                column.addWidget(picker)
        column.addSpacing(4)
        if not self.parameters.has_groups():
            column.addWidget(Heading("Parameters"))
            column.addWidget(Rule())
        column.addWidget(self.parameters)
        column.addStretch()
        content.setMaximumWidth(FORM_WIDTH)
        return VerticalArea(content)

    def _foot(self) -> QVBoxLayout:
        self.estimate_label = MutedLabel()
        self.problem = ErrorLabel()
        self.close_button = QPushButton("Close")
        self.close_button.setToolTip("Close the form (Esc)")
        self.save_button = QPushButton("Save")
        self.save_button.setToolTip("Keep the parameters, run later (Ctrl+S)")
        self.execute_button = QPushButton("▶ Execute")
        self.execute_button.setToolTip("Save and run (Ctrl+Return)")
        follow_theme(self.execute_button, primary_sheet)
        self.close_button.clicked.connect(self.closed)
        self.save_button.clicked.connect(self._save)
        self.execute_button.clicked.connect(self._execute)
        buttons = self._buttons = QHBoxLayout()
        buttons.addWidget(self.estimate_label, 1)
        for button in (self.close_button, self.save_button, self.execute_button):
            button.setMinimumWidth(90)
            buttons.addWidget(button)
        foot = QVBoxLayout()
        foot.addWidget(Rule())
        foot.addWidget(self.problem)
        foot.addLayout(buttons)
        return foot

    def _shortcuts(self) -> None:
        context = Qt.ShortcutContext.WidgetWithChildrenShortcut
        for keys, slot in (
            ("Ctrl+Return", self._execute), ("Ctrl+Enter", self._execute),
            ("Ctrl+S", self._save), ("Esc", self.closed.emit),
        ):  # fmt: skip
            QShortcut(QKeySequence(keys), self, context=context).activated.connect(slot)

    def _set_state(self, settings: RunSettings, advanced: bool) -> None:
        (self.restart_button if settings.mode == "restart" else self.continue_button).setChecked(
            True
        )
        (self.advanced_button if advanced else self.normal_button).setChecked(True)
        self.parameters.set_advanced(advanced)
        self.wait_for.choose(settings.wait_for)
        for name, ident in settings.inputs.items():
            if name in self.pickers:
                self.pickers[name].choose(ident)

    # -- reading --------------------------------------------------------------------------

    def state(self) -> FormState:
        """What the form holds; raises :class:`~tiltwright.widgets.form.form.InvalidForm`."""
        return FormState(
            label=self.label_edit.text().strip(), comment=self.comment_edit.text().strip(),
            mode="continue" if self.continue_button.isChecked() else "restart",
            params=self.parameters.values(),
            inputs={name: picker.ident() for name, picker in self.pickers.items()},
            wait_for=self.wait_for.idents(),
        )  # fmt: skip

    def is_valid(self) -> bool:
        """Whether the run can be executed as the form stands."""
        return not self._problem()

    def is_modified(self) -> bool:
        """Whether anything differs from what the form opened with."""
        return self._fingerprint() != self._opened_as

    def show_foreseen(self, reason: str) -> None:
        """Say why the run would fail; it can still be executed, for its inputs may change."""
        self._foreseen = reason
        self.problem.set_reason(self._read_only or self._problem() or reason)

    def add_button(self, button: QPushButton) -> None:
        """Put another button before those at the foot."""
        self._buttons.insertWidget(1, button)

    def mark_saved(self) -> None:
        """Take what the form holds as what it opened with."""
        self._opened_as = self._fingerprint()

    def _fingerprint(self) -> tuple[Any, ...]:
        params = self.parameters.values() if self.parameters.is_valid() else object()
        return (
            self.label_edit.text(), self.comment_edit.text(), self.continue_button.isChecked(),
            params, tuple(p.ident() for p in self.pickers.values()), self.wait_for.idents(),
        )  # fmt: skip

    def _problem(self) -> str:
        for picker in self.pickers.values():
            if picker.reason():
                return f"{picker.choice.label}: {picker.reason()}"
        for name, reason in self.parameters.reasons().items():
            label = self.parameters.row(name).spec.label if name else "Parameters"
            return f"{label}: {reason}"
        return ""

    # -- reacting -------------------------------------------------------------------------

    def _changed(self) -> None:
        problem = self._read_only or self._problem()
        valid = self.parameters.is_valid()
        self.problem.set_reason(problem or self._foreseen)
        self.save_button.setEnabled(valid and not self._read_only)
        self.execute_button.setEnabled(not problem)
        text = self._estimate(self.state()) if self._estimate and valid and not problem else ""
        self.estimate_label.setText(text)
        self.state_changed.emit()

    def _save(self) -> None:
        if self.save_button.isEnabled():
            self.saved.emit(self.state())

    def _execute(self) -> None:
        if self.execute_button.isEnabled():
            self.executed.emit(self.state())
