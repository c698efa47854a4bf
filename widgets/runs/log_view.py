"""An append-only log: follow its end, search it, show only what went wrong, copy it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from PyQt6.QtCore import QEvent, QObject, Qt
from PyQt6.QtGui import (
    QColor,
    QFontDatabase,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QWheelEvent,
)
from PyQt6.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tiltwright.widgets.styled import MutedLabel
from tiltwright.widgets.theme import colours

LEVELS = ("info", "warning", "error")
MOST_LINES = 50_000


def level_of(line: str) -> str:
    """Level that a line of text speaks of."""
    text = line.lower()
    if text.startswith(("error", "failed", "traceback")) or "error:" in text:
        return "error"
    if text.startswith(("warning", "suspect", "caution")) or "warning:" in text:
        return "warning"
    return "info"


class LogView(QWidget):
    """Lines with a level; the oldest go when there are more than 50 000."""

    _ready = False

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lines: deque[tuple[str, str]] = deque(maxlen=MOST_LINES)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setFrameShape(QFrame.Shape.NoFrame)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setMaximumBlockCount(MOST_LINES)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.text.setPlaceholderText("Nothing has been logged yet.")
        self.search = QLineEdit()
        self.search.setPlaceholderText("search")
        self.search.setToolTip("Search the log (Ctrl+F; F3 is the next match)")
        self.search.setClearButtonEnabled(True)
        self.search.setMaximumWidth(260)
        self.found = MutedLabel()
        self.found.setWordWrap(False)
        self.previous_button, self.next_button = QToolButton(), QToolButton()
        for button, text, tip in (
            (self.previous_button, "↑", "Previous match (Shift+F3)"),
            (self.next_button, "↓", "Next match (F3)"),
        ):
            button.setText(text)
            button.setToolTip(tip)
            button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.level = QComboBox()
        self.level.addItems(["All lines", "Warnings and errors", "Errors only"])
        self.level.setToolTip("Which lines to show")
        self.follow = QToolButton()
        self.follow.setText("☑ Follow")
        self.follow.setCheckable(True)
        self.follow.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.follow.setToolTip("Keep the last line in view")
        self.follow.setChecked(True)
        self.copy_button = QPushButton("Copy all")
        self.copy_button.setToolTip("Copy every line to the clipboard, whatever is shown")
        bar = QHBoxLayout()
        bar.setContentsMargins(6, 4, 6, 4)
        for widget in (self.search, self.previous_button, self.next_button, self.found):
            bar.addWidget(widget)
        bar.addStretch()
        for last in (self.level, self.follow, self.copy_button):
            bar.addWidget(last)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(bar)
        layout.addWidget(self.text, 1)
        self.search.textChanged.connect(self._search_changed)
        self.search.returnPressed.connect(self.find_next)
        self.next_button.clicked.connect(self.find_next)
        self.previous_button.clicked.connect(self.find_previous)
        self.level.currentIndexChanged.connect(self._show_all)
        self.follow.toggled.connect(self._follow_end)
        self.copy_button.clicked.connect(self.copy_all)
        bar_v = self.text.verticalScrollBar()
        if bar_v is not None:
            # Scrolling up by hand means reading; the end is followed again from the end.
            bar_v.actionTriggered.connect(self._scrolled)
            # A log that was filled while hidden knows its height only once it is shown.
            bar_v.rangeChanged.connect(self._follow_end)
        for watched in (self.text, self.search):
            watched.installEventFilter(self)
        viewport = self.text.viewport()
        if viewport is not None:
            viewport.installEventFilter(self)
        self._ready = True

    # -- content --------------------------------------------------------------------------

    def append(self, line: str, level: str = "") -> None:
        """Add a line; without a level it is told from the words."""
        self.append_lines([(line, level or level_of(line))])

    def append_lines(self, lines: Iterable[tuple[str, str]]) -> None:
        """Add many ``(line, level)`` at once."""
        new = list(lines)
        self._lines.extend(new)
        self._write(new)

    def set_text(self, text: str) -> None:
        """Replace everything by the lines of a file."""
        self.clear()
        self.append_lines((line, level_of(line)) for line in text.splitlines())

    def clear(self) -> None:
        """Forget everything."""
        self._lines.clear()
        self.text.clear()
        self._count()

    def all_text(self) -> str:
        """Every line, whatever is shown."""
        return "\n".join(line for line, _ in self._lines)

    def copy_all(self) -> None:
        """Copy every line."""
        board = QGuiApplication.clipboard()
        if board is not None:
            board.setText(self.all_text())

    def _write(self, lines: list[tuple[str, str]]) -> None:
        c, least = colours(), self.level.currentIndex()
        colour = {"warning": c.running, "error": c.failed}
        shown = [(line, level) for line, level in lines if LEVELS.index(level) >= least]
        if not shown:
            return
        document = self.text.document()
        assert document is not None
        cursor = QTextCursor(document)
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.beginEditBlock()
        empty = document.isEmpty()
        for line, level in shown:
            if not empty:
                cursor.insertBlock()
            empty = False
            style = QTextCharFormat()
            style.setForeground(QColor(colour.get(level, c.text)))
            cursor.insertText(line, style)
        cursor.endEditBlock()
        if self.search.text():
            self._count()
        self._follow_end()

    def _show_all(self) -> None:
        self.text.clear()
        self._write(list(self._lines))
        self._count()

    # -- following ------------------------------------------------------------------------

    def _follow_end(self) -> None:
        self.follow.setText("☑ Follow" if self.follow.isChecked() else "☐ Follow")
        bar = self.text.verticalScrollBar()
        if self.follow.isChecked() and bar is not None:
            bar.setValue(bar.maximum())

    def _scrolled(self) -> None:
        bar = self.text.verticalScrollBar()
        if bar is not None:
            self.follow.setChecked(bar.sliderPosition() >= bar.maximum())

    # -- searching ------------------------------------------------------------------------

    def find_next(self) -> None:
        """Go to the next match, from the top after the last one."""
        self._find(QTextDocument.FindFlag(0), QTextCursor.MoveOperation.Start)

    def find_previous(self) -> None:
        """Go to the match before, from the end before the first one."""
        self._find(QTextDocument.FindFlag.FindBackward, QTextCursor.MoveOperation.End)

    def _find(self, flags: QTextDocument.FindFlag, restart: QTextCursor.MoveOperation) -> None:
        if not self.search.text():
            return
        self.follow.setChecked(False)
        if not self.text.find(self.search.text(), flags):
            self.text.moveCursor(restart)
            self.text.find(self.search.text(), flags)

    def _search_changed(self) -> None:
        self.text.moveCursor(QTextCursor.MoveOperation.Start)
        self.find_next()
        self._count()

    def _count(self) -> None:
        query = self.search.text().lower()
        n = self.text.toPlainText().lower().count(query) if query else 0
        self.found.setText("" if not query else f"{n} found" if n else "not found")

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is None:
            return False
        if event.type() == QEvent.Type.Wheel:
            if isinstance(event, QWheelEvent) and event.angleDelta().y() > 0:
                self.follow.setChecked(False)
            return False
        if not isinstance(event, QKeyEvent):
            return False
        is_find = event.matches(QKeySequence.StandardKey.Find)
        if event.type() == QEvent.Type.ShortcutOverride and is_find:
            # Here Ctrl+F is the log's, not the window's.
            event.accept()
            return True
        if event.type() == QEvent.Type.KeyPress:
            if is_find:
                self.search.setFocus()
                self.search.selectAll()
                return True
            if event.key() in (Qt.Key.Key_Up, Qt.Key.Key_PageUp, Qt.Key.Key_Home):
                self.follow.setChecked(False)
            if event.key() == Qt.Key.Key_F3:
                back = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
                (self.find_previous if back else self.find_next)()
                return True
        return False

    def changeEvent(self, event: QEvent | None) -> None:
        super().changeEvent(event)
        if (
            event is not None
            and event.type() == QEvent.Type.PaletteChange
            and hasattr(self, "_lines")
        ):
            self._show_all()
