"""One page from a folder of tilt series to a chain of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QDragEnterEvent, QDropEvent, QKeyEvent, QKeySequence, QShortcut
from PyQt6.QtWidgets import (
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.form.form import ParameterForm
from tiltwright.widgets.styled import (
    ErrorLabel,
    Heading,
    MutedLabel,
    Reflow,
    Rule,
    VerticalArea,
    follow_theme,
    primary_sheet,
)
from tiltwright.widgets.wording import plain_words

if TYPE_CHECKING:
    from pydantic import BaseModel

PATTERN = "Tilt series (*.mrc *.st *.mrcs *.mdoc *.tif *.tiff);;All files (*)"
WIDE = 900
"""Width from which series, values and what will be created stand beside each other."""
_PATH = Qt.ItemDataRole.UserRole


@dataclass(frozen=True)
class ChainStep:
    """A run that the wizard is going to create."""

    title: str
    detail: str = ""


@dataclass(frozen=True)
class WizardValues:
    """What was chosen: the files, and the parameters of the form."""

    files: tuple[Path, ...]
    params: Any


class SeriesList(QWidget):
    """The chosen series: added by files, by folder or by dropping them here."""

    files_changed = pyqtSignal(tuple)

    def __init__(
        self, find_series: Callable[[Path], Sequence[Path]], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._find = find_series
        self._described: dict[Path, str] = {}
        self.list = QListWidget()
        self.list.setSelectionMode(QListWidget.SelectionMode.ExtendedSelection)
        self.list.setAccessibleName("Tilt series")
        self.list.setWordWrap(True)
        self.list.setMinimumHeight(110)
        self.files_button = QPushButton("Add files…")
        self.folder_button = QPushButton("Add folder…")
        self.remove_button = QPushButton("Remove")
        self.remove_button.setToolTip("Take the selected series from the list (Delete)")
        self.hint = MutedLabel("Add stacks or mdoc files, or drop them or their folder here.")
        buttons = QHBoxLayout()
        for button in (self.files_button, self.folder_button, self.remove_button):
            buttons.addWidget(button)
        buttons.addStretch()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.hint)
        self.setAcceptDrops(True)
        self.files_button.clicked.connect(self._browse_files)
        self.folder_button.clicked.connect(self._browse_folder)
        self.remove_button.clicked.connect(self.remove_selected)
        self.list.itemSelectionChanged.connect(self._buttons)
        self._buttons()

    def files(self) -> tuple[Path, ...]:
        """The series, in the order in which they were added."""
        items = (self.list.item(i) for i in range(self.list.count()))
        return tuple(item.data(_PATH) for item in items if item is not None)

    def add(self, paths: Sequence[Path]) -> None:
        """Add files, and the series inside folders; each only once."""
        known = set(self.files())
        empty = []
        for path in paths:
            found = list(self._find(path)) if path.is_dir() else [path]
            if not found:
                empty.append(path.name)
            for series in found:
                if series not in known:
                    known.add(series)
                    item = QListWidgetItem()
                    item.setData(_PATH, series)
                    item.setToolTip(str(series))
                    self.list.addItem(item)
        self._write()
        if empty:
            self.hint.setText(f"No tilt series found in {', '.join(empty)}.")
        self.files_changed.emit(self.files())

    def remove_selected(self) -> None:
        """Take the selected series from the list."""
        for item in self.list.selectedItems():
            self.list.takeItem(self.list.row(item))
        self._write()
        self.files_changed.emit(self.files())

    def describe(self, texts: Mapping[Path, str]) -> None:
        """Say what is in the files: ``41 views, 1440 x 1024, 5.52 Å/px, axis -84.5°``."""
        self._described.update({path: plain_words(text) for path, text in texts.items()})
        self._write()

    def _write(self) -> None:
        for i in range(self.list.count()):
            item = self.list.item(i)
            if item is not None:
                path = item.data(_PATH)
                about = self._described.get(path, "")
                item.setText(f"{path.name}\n    {about}" if about else path.name)
        n = self.list.count()
        self.hint.setText(
            f"{n} series, linked and never changed." if n
            else "Add stacks or mdoc files, or drop them or their folder here."
        )  # fmt: skip
        self._buttons()

    def _buttons(self) -> None:
        self.remove_button.setEnabled(bool(self.list.selectedItems()))

    def _browse_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Add tilt series", "", PATTERN)
        if names:
            self.add([Path(name) for name in names])

    def _browse_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Add a folder of tilt series")
        if name:
            self.add([Path(name)])

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        assert event is not None
        if event.key() == Qt.Key.Key_Delete and self.list.hasFocus():
            self.remove_selected()
        else:
            super().keyPressEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        mime = event.mimeData() if event is not None else None
        if event is not None and mime is not None and mime.hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        mime = event.mimeData() if event is not None else None
        if event is not None and mime is not None:
            self.add([Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()])
            event.acceptProposedAction()


def series_in(folder: Path) -> list[Path]:
    """Stacks of a folder; its mdoc files where it has no stack of that name."""
    stacks = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".mrc", ".st", ".mrcs"))
    names = {p.name for p in stacks} | {p.stem for p in stacks}
    mdocs = sorted(p for p in folder.glob("*.mdoc") if p.stem not in names)
    return stacks + mdocs


class Wizard(QWidget):
    """Series on the left, parameters in the middle, the chain that will be created on the right.

    Parameters
    ----------
    params_class
        A pydantic model of the few values that matter (pixel size, tilt axis, bead diameter,
        number, thickness, binning), declared as those of a protocol are.
    chain
        From files and parameters to the runs that will be created; called while typing.
    find_series
        The series in a folder.
    """

    accepted = pyqtSignal(object)
    cancelled = pyqtSignal()
    files_changed = pyqtSignal(tuple)

    def __init__(
        self,
        params_class: type[BaseModel],
        chain: Callable[[WizardValues], Sequence[ChainStep]],
        *,
        find_series: Callable[[Path], Sequence[Path]] = series_in,
        values: Mapping[str, Any] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._chain = chain
        self.series = SeriesList(find_series)
        self.parameters = ParameterForm(params_class, values)
        self.steps = QVBoxLayout()
        self.steps.setSpacing(2)
        self.problem = ErrorLabel()
        self.cancel_button = QPushButton("Cancel")
        self.accept_button = QPushButton("▶ Create and run")
        self.accept_button.setToolTip("Create these runs and start them (Ctrl+Return)")
        follow_theme(self.accept_button, primary_sheet)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(14, 12, 14, 12)
        layout.setSpacing(8)
        layout.addWidget(Heading("From tilt series to tomograms", scale=1.35))
        layout.addWidget(
            MutedLabel(
                "The whole chain is created with these values and run; "
                "every step can be opened and changed afterwards."
            )
        )
        preview = QWidget()
        preview.setLayout(self.steps)
        self.steps.setContentsMargins(0, 0, 0, 0)
        given = _column("1  Tilt series", self.series)
        chosen = _column("2  Values", self.parameters)
        made = _column("3  What will be created", preview)
        self.columns = Reflow(
            WIDE, {given: (0, 0, 1, 1), chosen: (0, 1, 1, 1), made: (0, 2, 1, 1)},
            {given: (0, 0, 1, 1), chosen: (1, 0, 1, 1), made: (2, 0, 1, 1)}, (4, 5, 3),
        )  # fmt: skip
        layout.addWidget(VerticalArea(self.columns), 1)
        layout.addWidget(Rule())
        foot = QHBoxLayout()
        foot.addWidget(self.problem, 1)
        foot.addStretch()
        foot.addWidget(self.cancel_button)
        foot.addWidget(self.accept_button)
        layout.addLayout(foot)
        self.series.files_changed.connect(self.files_changed)
        self.series.files_changed.connect(self._changed)
        self.parameters.values_changed.connect(self._changed)
        self.cancel_button.clicked.connect(self.cancelled)
        self.accept_button.clicked.connect(self._accept)
        context = Qt.ShortcutContext.WidgetWithChildrenShortcut
        QShortcut(QKeySequence("Ctrl+Return"), self, context=context).activated.connect(
            self._accept
        )
        QShortcut(QKeySequence("Esc"), self, context=context).activated.connect(self.cancelled.emit)
        self._changed()

    def add_files(self, paths: Sequence[Path]) -> None:
        """Add series, or folders of them."""
        self.series.add(paths)

    def describe_files(self, texts: Mapping[Path, str]) -> None:
        """Say what is in the files, once that is known."""
        self.series.describe(texts)

    def values(self) -> WizardValues:
        """What is chosen; raises :class:`~tiltwright.widgets.form.form.InvalidForm`."""
        return WizardValues(self.series.files(), self.parameters.values())

    def _problem(self) -> str:
        if not self.series.files():
            return "choose at least one tilt series"
        for name, reason in self.parameters.reasons().items():
            label = self.parameters.row(name).spec.label if name else "values"
            return f"{label}: {reason}"
        return ""

    def _changed(self) -> None:
        problem = self._problem()
        self.problem.set_reason(problem)
        self.accept_button.setEnabled(not problem)
        if self.parameters.is_valid():
            self._show_chain(self._chain(self.values()))

    def _show_chain(self, steps: Sequence[ChainStep]) -> None:
        while (item := self.steps.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.setParent(None)
                widget.deleteLater()
        for i, step in enumerate(steps):
            if i:
                arrow = MutedLabel("     ↓")
                self.steps.addWidget(arrow)
            self.steps.addWidget(_StepBox(step))
        self.steps.addStretch()

    def _accept(self) -> None:
        if self.accept_button.isEnabled():
            self.accepted.emit(self.values())


class _StepBox(QFrame):
    def __init__(self, step: ChainStep) -> None:
        super().__init__()
        title = QLabel(step.title)
        title.setWordWrap(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 5, 10, 5)
        column.setSpacing(1)
        column.addWidget(title)
        if step.detail:
            column.addWidget(MutedLabel(step.detail))
        self.setObjectName("step")
        follow_theme(
            self,
            lambda c: (
                f"#step {{ background: {c.raised}; border: 1px solid {c.border};"
                f" border-left: 4px solid {c.new}; border-radius: 4px; }}"
            ),
        )


def _column(title: str, content: QWidget) -> QWidget:
    block = QWidget()
    column = QVBoxLayout(block)
    column.setContentsMargins(0, 0, 0, 6)
    column.setSpacing(4)
    column.addWidget(Heading(title))
    column.addWidget(Rule())
    column.addWidget(content, 1 if isinstance(content, SeriesList) else 0)
    if not isinstance(content, SeriesList):
        column.addStretch()
    return block
