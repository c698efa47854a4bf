"""A form made from the declaration of a protocol's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtWidgets import QGridLayout, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from tiltwright.widgets.form.form_editors import Editor, editor_for
from tiltwright.widgets.form.form_fields import REQUIRED, FieldSpec, plain_reason, shown, specs_of
from tiltwright.widgets.styled import ErrorLabel, Heading, LabelledRow, MutedLabel, Rule

if TYPE_CHECKING:
    from pydantic import BaseModel


class InvalidForm(ValueError):
    """The form does not hold valid parameters; ``reasons`` maps field to reason."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{k}: {v}" for k, v in reasons.items()))
        self.reasons = dict(reasons)


class FieldRow(LabelledRow):
    """Label, editor, reset, help and reason of one parameter."""

    value_changed = pyqtSignal()

    def __init__(self, spec: FieldSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec.label, parent)
        self.spec = spec
        self.setToolTip(spec.explanation())
        self.editor: Editor = editor_for(spec)
        self.editor.setAccessibleName(spec.label)
        self.label.setBuddy(self.editor)
        self.reset_button = _small_button("↺", f"Back to the default of {spec.label}")
        self.help_button = _small_button("?", f"Help on {spec.label}")
        self.help_button.setCheckable(True)
        self.help_text = MutedLabel(spec.explanation())
        self.help_text.hide()
        self.error = ErrorLabel()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 1, 0, 1)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(1)
        grid.addWidget(self.label, 0, 0)
        grid.addWidget(self.editor, 0, 1)
        grid.addWidget(self.reset_button, 0, 2)
        grid.addWidget(self.help_button, 0, 3)
        grid.addWidget(self.error, 1, 1, 1, 3)
        grid.addWidget(self.help_text, 2, 1, 1, 3)
        grid.setColumnStretch(1, 1)
        policy = self.reset_button.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.reset_button.setSizePolicy(policy)
        self.reset_button.clicked.connect(self.reset)
        self.help_button.toggled.connect(self.help_text.setVisible)
        self.editor.value_changed.connect(self.value_changed)

    def reset(self) -> None:
        """Set the default."""
        self.editor.set_value(self.spec.default)
        self.editor.setFocus()

    def is_changed(self) -> bool:
        """Whether the field holds something else than its default."""
        try:
            value = self.editor.value()
        except ValueError:
            return self.spec.default is not REQUIRED
        if isinstance(value, list):
            value = tuple(value)
        default = self.spec.default
        if isinstance(default, list):
            default = tuple(default)
        if self.spec.kind == "path":
            return bool((value or "") != str(default or ""))
        return bool(value != default)

    def mark(self, reason: str) -> None:
        """Show the reason why the value is refused, and whether it is the default."""
        changed = self.is_changed() and self.spec.default is not REQUIRED
        font = self.label.font()
        font.setBold(changed)
        self.label.setFont(font)
        self.reset_button.setVisible(changed)
        self.error.set_reason(reason)


def _small_button(text: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tip)
    button.setAccessibleName(tip)
    button.setAutoRaise(True)
    button.setFixedSize(24, 24)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return button


class ParameterForm(QWidget):
    """Editors for every parameter of ``params_class``, validated while typing.

    Parameters
    ----------
    params_class
        A pydantic model; what its fields carry in ``json_schema_extra`` is described in
        :mod:`tiltwright.widgets.form.form_fields` (``unit imod expert shown_if group choices empty
        path pattern``).
    values
        Values that differ from the defaults.
    """

    values_changed = pyqtSignal()
    validity_changed = pyqtSignal(bool)

    def __init__(
        self,
        params_class: type[BaseModel],
        values: Mapping[str, Any] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._class = params_class
        self._advanced = False
        self._loading = False
        self._params: BaseModel | None = None
        self._reasons: dict[str, str] = {}
        self._rows: dict[str, FieldRow] = {}
        self._groups: dict[str, list[QWidget]] = {}
        self._specs = {spec.name: spec for spec in specs_of(params_class)}
        self._general = ErrorLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._general)
        self._build(layout)
        self._nothing = MutedLabel("This step has no parameters to set at this level.")
        layout.addWidget(self._nothing)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.set_values({**{k: s.default for k, s in self._specs.items()}, **(values or {})})

    def _build(self, layout: QVBoxLayout) -> None:
        groups = dict.fromkeys(spec.group for spec in self._specs.values())
        for group in groups:
            heads: list[QWidget] = [Heading(group), Rule()] if group else []
            self._groups[group] = heads
            for widget in heads:
                layout.addWidget(widget)
            for spec in self._specs.values():
                if spec.group == group:
                    row = FieldRow(spec)
                    row.value_changed.connect(self._changed)
                    self._rows[spec.name] = row
                    layout.addWidget(row)

    # -- reading --------------------------------------------------------------------------

    def values(self) -> Any:
        """The parameters.

        Raises
        ------
        InvalidForm
            With the reason for each field that is not right.
        """
        if self._params is None:
            raise InvalidForm(self._reasons)
        return self._params

    def is_valid(self) -> bool:
        """Whether :meth:`values` gives parameters."""
        return self._params is not None

    def reasons(self) -> dict[str, str]:
        """Field to reason for what is not right; the key ``""`` is the form as a whole."""
        return dict(self._reasons)

    def has_groups(self) -> bool:
        """Whether the fields stand under headings of their own."""
        return any(self._groups)

    def changed(self) -> tuple[str, ...]:
        """Names of the fields that do not hold their default."""
        return tuple(name for name, row in self._rows.items() if row.is_changed())

    def row(self, name: str) -> FieldRow:
        """The row of a parameter."""
        return self._rows[name]

    # -- setting --------------------------------------------------------------------------

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Put values into the named fields; the others stay.

        Raises
        ------
        KeyError
            For a name that is no parameter.
        """
        unknown = [name for name in values if name not in self._rows]
        if unknown:
            raise KeyError(f"no parameter of this form: {', '.join(unknown)}")
        self._loading = True
        try:
            for name, value in values.items():
                self._rows[name].editor.set_value(value)
        finally:
            self._loading = False
        self._changed()

    def reset_all(self) -> None:
        """Set every default."""
        self.set_values({name: spec.default for name, spec in self._specs.items()})

    def set_advanced(self, advanced: bool) -> None:
        """Show the expert fields as well, or only those of them that were changed."""
        self._advanced = advanced
        self._show_rows(self._collect()[0])

    def is_advanced(self) -> bool:
        """Whether the expert fields are shown."""
        return self._advanced

    # -- validation -----------------------------------------------------------------------

    def _collect(self) -> tuple[dict[str, Any], dict[str, str]]:
        values: dict[str, Any] = {}
        reasons: dict[str, str] = {}
        for name, row in self._rows.items():
            try:
                values[name] = row.editor.value()
            except ValueError as exc:
                reasons[name] = str(exc)
        return values, reasons

    def _changed(self) -> None:
        if self._loading:
            return
        was_valid = self._params is not None
        values, reasons = self._collect()
        self._params, more = self._validate(values)
        # A field that could not be read has its own reason, better than that of a gap.
        self._reasons = {**more, **reasons}
        if self._reasons:
            self._params = None
        for name, row in self._rows.items():
            row.mark(self._reasons.get(name, ""))
        self._general.set_reason(self._reasons.get("", ""))
        self._show_rows(values)
        self.values_changed.emit()
        if was_valid != self.is_valid():
            self.validity_changed.emit(self.is_valid())

    def _validate(self, values: dict[str, Any]) -> tuple[BaseModel | None, dict[str, str]]:
        from pydantic import ValidationError

        try:
            return self._class.model_validate(values), {}
        except ValidationError as exc:
            reasons: dict[str, str] = {}
            for error in exc.errors():
                name = str(error["loc"][0]) if error["loc"] else ""
                unit = self._specs[name].unit if name in self._specs else ""
                reasons.setdefault(name if name in self._specs else "", plain_reason(error, unit))
            return None, reasons

    def _show_rows(self, values: dict[str, Any]) -> None:
        seen: set[str] = set()
        for name, row in self._rows.items():
            spec = row.spec
            matters = shown(spec, values, self._specs)
            # A hidden value must never steer a result unseen: what was changed stays in view.
            wanted = matters and (self._advanced or not spec.expert or row.is_changed())
            wanted = wanted or name in self._reasons
            row.setVisible(wanted)
            if wanted:
                seen.add(spec.group)
        for group, heads in self._groups.items():
            for widget in heads:
                widget.setVisible(group in seen)
        self._nothing.setVisible(not seen)
