"""The protocols by section, found by what people call them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PyQt6.QtCore import QEvent, QObject, Qt, pyqtSignal
from PyQt6.QtGui import QKeyEvent, QKeySequence, QShortcut
from PyQt6.QtWidgets import QLineEdit, QTreeWidget, QTreeWidgetItem, QVBoxLayout, QWidget

from tiltwright.widgets.styled import MutedLabel, follow_theme

_KEY = Qt.ItemDataRole.UserRole


@dataclass(frozen=True)
class CatalogueEntry:
    """A protocol as the catalogue shows it; ``words`` are names in IMOD and other search terms."""

    key: str
    title: str
    section: str
    help: str = ""
    words: tuple[str, ...] = ()

    def matches(self, query: str) -> bool:
        """Whether every word of ``query`` stands somewhere in this entry."""
        text = " ".join((self.title, self.key, self.section, self.help, *self.words)).lower()
        return all(word in text for word in query.lower().split())

    def fit(self, query: str) -> int:
        """How well the title answers ``query``: all of it, its beginning, its words, or none."""
        title, wanted = self.title.lower(), query.lower().strip()
        words = wanted.split()
        return (
            (title == wanted) + title.startswith(wanted) + (wanted in title)
            + all(word in title for word in words)
        )  # fmt: skip


class Catalogue(QWidget):
    """Tree of protocols with a search line (Ctrl+F; Return opens the best that is left)."""

    protocol_chosen = pyqtSignal(str)

    def __init__(
        self, entries: Sequence[CatalogueEntry] = (), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.search = QLineEdit()
        self.search.setPlaceholderText("⌕ find a protocol (Ctrl+F)")
        self.search.setToolTip("Title, key, words of the help, or the program's name in IMOD")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.search.returnPressed.connect(self._open_first)
        self.search.installEventFilter(self)
        self.tree = QTreeWidget()
        self.tree.setHeaderHidden(True)
        self.tree.setIndentation(9)
        self.tree.setRootIsDecorated(False)
        self.tree.setExpandsOnDoubleClick(False)
        self.tree.setAccessibleName("Protocols")
        self.tree.itemActivated.connect(self._open)
        self.tree.itemClicked.connect(self._turn)
        self._nothing = MutedLabel()
        self._nothing.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.search)
        layout.addWidget(self.tree, 1)
        layout.addWidget(self._nothing)
        QShortcut(QKeySequence.StandardKey.Find, self).activated.connect(self.focus_search)
        follow_theme(self, lambda c: "QTreeView::item { padding: 3px 0; }")
        self.set_entries(entries)

    def set_entries(self, entries: Sequence[CatalogueEntry]) -> None:
        """Show these protocols, sections in the order of their first entry."""
        self._entries = {entry.key: entry for entry in entries}
        self.tree.clear()
        for section in dict.fromkeys(entry.section for entry in entries):
            top = QTreeWidgetItem([section])
            top.setFlags(top.flags() & ~Qt.ItemFlag.ItemIsSelectable)
            font = top.font(0)
            font.setBold(True)
            top.setFont(0, font)
            self.tree.addTopLevelItem(top)
            for entry in entries:
                if entry.section == section:
                    item = QTreeWidgetItem([entry.title])
                    item.setData(0, _KEY, entry.key)
                    item.setToolTip(0, _tip(entry))
                    top.addChild(item)
        self._filter(self.search.text())

    def focus_search(self) -> None:
        """Put the cursor into the search line."""
        self.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.search.selectAll()

    def visible_keys(self) -> tuple[str, ...]:
        """Keys of the protocols that the search leaves, in order."""
        return tuple(str(item.data(0, _KEY)) for item in self._items() if not item.isHidden())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if watched is self.search and isinstance(event, QKeyEvent):
            if event.type() == QEvent.Type.KeyPress and event.key() == Qt.Key.Key_Down:
                left = [item for item in self._items() if not item.isHidden()]
                if left:
                    self.tree.setCurrentItem(left[0])
                    self.tree.setFocus()
                return True
            if (
                event.type() == QEvent.Type.KeyPress
                and event.key() == Qt.Key.Key_Escape
                and self.search.text()
            ):
                self.search.clear()
                return True
        return False

    def _items(self) -> list[QTreeWidgetItem]:
        found = []
        for i in range(self.tree.topLevelItemCount()):
            top = self.tree.topLevelItem(i)
            for j in range(top.childCount() if top is not None else 0):
                item = top.child(j) if top is not None else None
                if item is not None:
                    found.append(item)
        return found

    def _filter(self, query: str) -> None:
        for item in self._items():
            item.setHidden(not self._entries[item.data(0, _KEY)].matches(query))
        for i in range(self.tree.topLevelItemCount()):
            top = self.tree.topLevelItem(i)
            if top is not None:
                children = [top.child(j) for j in range(top.childCount())]
                top.setHidden(all(child is None or child.isHidden() for child in children))
                top.setExpanded(True)
        none = not self.visible_keys()
        self._nothing.setText(f"No protocol has “{query}” in its name or help." if none else "")
        self._nothing.setVisible(none and bool(query))

    def _turn(self, item: QTreeWidgetItem) -> None:
        """A click on a section shows or hides what is in it."""
        if not item.data(0, _KEY):
            item.setExpanded(not item.isExpanded())

    def _open(self, item: QTreeWidgetItem) -> None:
        if item.data(0, _KEY):
            self.protocol_chosen.emit(item.data(0, _KEY))

    def _open_first(self) -> None:
        keys, query = self.visible_keys(), self.search.text()
        if keys and query.strip():
            # The first of those whose own name is meant most.
            self.protocol_chosen.emit(max(keys, key=lambda k: self._entries[k].fit(query)))


def _tip(entry: CatalogueEntry) -> str:
    lines = [entry.title, " ".join(entry.help.split())]
    if entry.words:
        lines.append("Also known as: " + ", ".join(entry.words))
    return "\n".join(line for line in lines if line)
