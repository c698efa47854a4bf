"""Editors of a form, one per kind of parameter; all answer ``value()`` and ``set_value()``."""

from __future__ import annotations

import os
from typing import Any

from PyQt6.QtCore import QSize, Qt, pyqtSignal
from PyQt6.QtGui import (
    QColor,
    QDragEnterEvent,
    QDropEvent,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QWheelEvent,
)
from PyQt6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QWidget,
)

from tiltwright.widgets.form.form_fields import REQUIRED, FieldSpec, number_text, parse_number
from tiltwright.widgets.theme import colours

RADIO_LETTERS = 44
"""Choices whose names, with the room of four letters for each button, are longer together get a
box that opens."""


class Editor(QWidget):
    """Base of the editors. ``value()`` raises ``ValueError`` with a plain reason."""

    value_changed = pyqtSignal()

    def __init__(self, spec: FieldSpec, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.spec = spec
        self.row = QHBoxLayout(self)
        self.row.setContentsMargins(0, 0, 0, 0)
        self.row.setSpacing(6)

    def value(self) -> Any:
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        raise NotImplementedError


class NumberEdit(QLineEdit):
    """A number; up and down step it. Empty and a typed 0 are different things."""

    def __init__(self, kind: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._kind = kind
        self.setFixedWidth(112)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        assert event is not None
        steps: dict[int, int] = {Qt.Key.Key_Up: 1, Qt.Key.Key_Down: -1}
        step = steps.get(event.key())
        if step is None or not self.isEnabled() or self.isReadOnly():
            super().keyPressEvent(event)
            return
        try:
            number = parse_number(self.text(), self._kind)
        except ValueError:
            return
        # A float steps in its last written digit, which is the precision that matters to it.
        digits = len(self.text().strip().partition(".")[2]) if self._kind == "float" else 0
        self.setText(f"{number + step * 10.0**-digits:.{digits}f}")

    def set_number(self, value: Any) -> None:
        self.setText("" if value is None or value is REQUIRED else number_text(value))
        self.setCursorPosition(0)


class NumberEditor(Editor):
    """``int`` and ``float``, with ``None`` as an empty field where that is allowed."""

    def __init__(self, spec: FieldSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        self.edit = NumberEdit(spec.kind)
        if spec.optional:
            self.edit.setPlaceholderText(spec.empty_text)
            words = self.edit.fontMetrics().horizontalAdvance(spec.empty_text)
            self.edit.setFixedWidth(max(112, words + 24))
        self.edit.textChanged.connect(lambda _: self.value_changed.emit())
        self.setFocusProxy(self.edit)
        self.row.addWidget(self.edit)
        unit = QLabel(spec.unit)
        unit.setMinimumWidth(unit.sizeHint().width())
        self.row.addWidget(unit)
        self.row.addStretch()

    def value(self) -> Any:
        if self.spec.optional and not self.edit.text().strip():
            return None
        return parse_number(self.edit.text(), self.spec.kind)

    def set_value(self, value: Any) -> None:
        self.edit.set_number(value)


class Switch(QCheckBox):
    """Yes or no as a switch, with the word beside it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.toggled.connect(self.update)

    def sizeHint(self) -> QSize:
        width = max(self.fontMetrics().horizontalAdvance(word) for word in ("yes", "no"))
        return QSize(52 + width, 24)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()

    def hitButton(self, pos: Any) -> bool:
        return self.rect().contains(pos)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        c, on, off = colours(), self.isChecked(), not self.isEnabled()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        top = (self.height() - 16) // 2
        focused = self.hasFocus()
        painter.setPen(QColor(c.text if focused else c.accent if on else c.muted))
        painter.setBrush(QColor(c.stale if off else c.accent if on else c.base))
        painter.drawRoundedRect(2, top, 32, 16, 8, 8)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor("#ffffff" if on else c.muted))
        painter.drawEllipse(20 if on else 5, top + 3, 10, 10)
        painter.setPen(QColor(c.stale if off else c.text))
        painter.drawText(
            self.rect().adjusted(42, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, "yes" if on else "no"
        )
        if focused:
            painter.setPen(QColor(c.accent))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(0, top - 2, 36, 20, 10, 10)


class BoolEditor(Editor):
    """``bool``."""

    def __init__(self, spec: FieldSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        self.switch = Switch()
        self.switch.toggled.connect(lambda _: self.value_changed.emit())
        self.setFocusProxy(self.switch)
        self.row.addWidget(self.switch)
        self.row.addStretch()

    def value(self) -> Any:
        return self.switch.isChecked()

    def set_value(self, value: Any) -> None:
        self.switch.setChecked(bool(value) and value is not REQUIRED)


class CalmComboBox(QComboBox):
    """A box that the wheel changes only when it has the focus, so that scrolling is safe."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        assert event is not None
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class ChoiceEditor(Editor):
    """``Literal`` and enumerations: radio buttons when short, else a box that opens."""

    def __init__(self, spec: FieldSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        choices: list[tuple[Any, str]] = list(spec.choices)
        if spec.kind == "bool":
            choices = [(True, "yes"), (False, "no")]
        if spec.optional:
            choices.insert(0, (None, spec.empty_text))
        self._values = [value for value, _ in choices]
        texts = [text for _, text in choices]
        self.box: CalmComboBox | None = None
        self.buttons: list[QRadioButton] = []
        if sum(len(text) + 4 for text in texts) <= RADIO_LETTERS:
            self._group = QButtonGroup(self)
            for i, text in enumerate(texts):
                button = QRadioButton(text)
                button.ensurePolished()
                button.setMinimumWidth(button.sizeHint().width())
                self._group.addButton(button, i)
                self.buttons.append(button)
                self.row.addWidget(button)
            self._group.idToggled.connect(self._toggled)
            self.setFocusProxy(self.buttons[0])
        else:
            self.box = CalmComboBox()
            self.box.addItems(texts)
            self.box.currentIndexChanged.connect(lambda _: self.value_changed.emit())
            self.setFocusProxy(self.box)
            self.row.addWidget(self.box)
        self.row.addStretch()

    def _toggled(self, index: int, on: bool) -> None:
        if on:
            self.setFocusProxy(self.buttons[index])
            self.value_changed.emit()

    def value(self) -> Any:
        index = self.box.currentIndex() if self.box is not None else self._group.checkedId()
        if index < 0:
            raise ValueError("needs a choice")
        return self._values[index]

    def set_value(self, value: Any) -> None:
        index = self._values.index(value) if value in self._values else -1
        if self.box is not None:
            self.box.setCurrentIndex(index)
        elif index >= 0:
            self.buttons[index].setChecked(True)


class TextEditor(Editor):
    """``str``, and lists of values separated by commas."""

    def __init__(self, spec: FieldSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        self.edit = QLineEdit()
        if spec.optional:
            self.edit.setPlaceholderText(spec.empty_text)
        elif spec.kind == "list":
            self.edit.setPlaceholderText("none; several are separated by commas")
        self.edit.textChanged.connect(lambda _: self.value_changed.emit())
        self.setFocusProxy(self.edit)
        self.row.addWidget(self.edit)

    def value(self) -> Any:
        text = self.edit.text()
        if self.spec.optional and not text.strip():
            return None
        if self.spec.kind != "list":
            return text
        parts = [part.strip() for part in text.split(",") if part.strip()]
        kind = self.spec.item_kinds[0]
        return [parse_number(p, kind) if kind in ("int", "float") else p for p in parts]

    def set_value(self, value: Any) -> None:
        if value is None or value is REQUIRED:
            self.edit.clear()
        elif isinstance(value, tuple | list):
            self.edit.setText(", ".join(map(number_text, value)))
        else:
            self.edit.setText(str(value))
        self.edit.setCursorPosition(0)


class PathEditor(Editor):
    """A file, a folder or several files: typed, browsed for, or dropped here."""

    def __init__(self, spec: FieldSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        self._many = spec.kind == "list"
        self.edit = QLineEdit()
        self.edit.setPlaceholderText(
            spec.empty_text if spec.optional else "type, browse or drop a " + self._noun()
        )
        self.edit.setAcceptDrops(False)
        self.edit.textChanged.connect(lambda _: self.value_changed.emit())
        self.browse = QPushButton("Browse…")
        self.browse.clicked.connect(self._browse)
        self.setAcceptDrops(True)
        self.setFocusProxy(self.edit)
        self.row.addWidget(self.edit)
        self.row.addWidget(self.browse)
        self.browse_folder: QPushButton | None = None
        if spec.path_kind == "files":
            self.browse.setText("Files…")
            self.browse_folder = QPushButton("Folder…")
            self.browse_folder.clicked.connect(self._browse_for_folder)
            self.row.addWidget(self.browse_folder)
            self.edit.setPlaceholderText("type, browse or drop files or folders")

    def _noun(self) -> str:
        return "folder" if self.spec.path_kind == "folder" else "file"

    def value(self) -> Any:
        text = self.edit.text().strip()
        if self._many:
            return [os.path.expanduser(p.strip()) for p in text.split(";") if p.strip()]
        if not text:
            if self.spec.optional:
                return None
            raise ValueError(f"needs a {self._noun()}")
        return os.path.expanduser(text)

    def set_value(self, value: Any) -> None:
        if value is None or value is REQUIRED:
            self.edit.clear()
        elif isinstance(value, tuple | list):
            self.edit.setText("; ".join(map(str, value)))
        else:
            self.edit.setText(str(value))

    def _browse(self) -> None:
        where = self.edit.text().split(";")[0]
        if self.spec.path_kind == "folder":
            found = [QFileDialog.getExistingDirectory(self, self.spec.label, where)]
        elif self._many:
            found = QFileDialog.getOpenFileNames(self, self.spec.label, where, self.spec.pattern)[0]
        else:
            found = [
                QFileDialog.getOpenFileName(self, self.spec.label, where, self.spec.pattern)[0]
            ]
        self._take(found)

    def _browse_for_folder(self) -> None:
        where = self.edit.text().split(";")[0]
        self._take([QFileDialog.getExistingDirectory(self, self.spec.label, where)])

    def _take(self, paths: list[str]) -> None:
        paths = [p for p in paths if p]
        if paths:
            self.edit.setText("; ".join(paths) if self._many else paths[0])

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        mime = event.mimeData() if event is not None else None
        if event is not None and mime is not None and mime.hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        mime = event.mimeData() if event is not None else None
        if event is not None and mime is not None:
            self._take([url.toLocalFile() for url in mime.urls()])
            event.acceptProposedAction()


class TupleEditor(Editor):
    """A fixed number of values, side by side."""

    def __init__(self, spec: FieldSpec, parent: QWidget | None = None) -> None:
        super().__init__(spec, parent)
        self.edits: list[QLineEdit] = []
        for kind in spec.item_kinds:
            edit = NumberEdit(kind) if kind in ("int", "float") else QLineEdit()
            if isinstance(edit, NumberEdit):
                edit.setFixedWidth(80)
            edit.textChanged.connect(lambda _: self.value_changed.emit())
            self.edits.append(edit)
            self.row.addWidget(edit)
        if spec.optional:
            self.edits[0].setPlaceholderText("metadata")
        self.setFocusProxy(self.edits[0])
        self.row.addWidget(QLabel(spec.unit))
        self.row.addStretch()

    def value(self) -> Any:
        texts = [edit.text() for edit in self.edits]
        if self.spec.optional and not any(t.strip() for t in texts):
            return None
        return tuple(
            parse_number(text, kind) if kind in ("int", "float") else text
            for text, kind in zip(texts, self.spec.item_kinds, strict=True)
        )

    def set_value(self, value: Any) -> None:
        blank = value is None or value is REQUIRED
        for i, edit in enumerate(self.edits):
            edit.setText("" if blank else number_text(value[i]))
            edit.setCursorPosition(0)


def editor_for(spec: FieldSpec, parent: QWidget | None = None) -> Editor:
    """The editor for the kind of ``spec``, without a value yet."""
    if spec.kind == "bool":
        return (ChoiceEditor if spec.optional else BoolEditor)(spec, parent)
    if spec.kind == "list" and (spec.item_kinds == ("path",) or spec.path_kind == "files"):
        return PathEditor(spec, parent)
    classes: dict[str, type[Editor]] = {
        "int": NumberEditor, "float": NumberEditor, "choice": ChoiceEditor,
        "path": PathEditor, "tuple": TupleEditor,
    }  # fmt: skip
    return classes.get(spec.kind, TextEditor)(spec, parent)
