"""The right side of the window: forms, viewers and tables as tabs, opened in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PyQt6.QtCore import pyqtSignal
from PyQt6.QtGui import QKeySequence, QShortcut
from PyQt6.QtWidgets import QTabWidget, QWidget

from tiltwright.widgets.styled import EmptyState


class Workspace(QTabWidget):
    """Tabs by an identity (``kind:run.more``), so that a thing opened twice is shown once.

    Signals
    -------
    pages_changed : ()
        A page was opened or closed.
    """

    pages_changed = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._pages: dict[str, QWidget] = {}
        self.setTabsClosable(True)
        self.setMovable(True)
        self.setDocumentMode(True)
        self.tabCloseRequested.connect(self._close_at)
        QShortcut(QKeySequence("Ctrl+W"), self).activated.connect(
            lambda: self._close_at(self.currentIndex())
        )
        self._show_empty()

    def page(self, ident: str) -> QWidget | None:
        """The page with this identity."""
        return self._pages.get(ident)

    def pages_of(self, number: int) -> Iterator[tuple[str, QWidget]]:
        """Identity and page of everything that belongs to a run."""
        for ident, page in list(self._pages.items()):
            if ident.partition(":")[2].partition(".")[0] == str(number):
                yield ident, page

    def pages(self) -> list[QWidget]:
        """All pages, in the order in which they were opened."""
        return list(self._pages.values())

    def show_page(self, ident: str, title: str, make: Callable[[], QWidget]) -> QWidget:
        """Show the page of this identity, made when there is none yet."""
        if ident not in self._pages:
            page = make()
            self._pages[ident] = page
            if self.count() == 1 and isinstance(self.widget(0), EmptyState):
                empty = self.widget(0)
                self.removeTab(0)
                assert empty is not None
                empty.deleteLater()
            self.addTab(page, title)
            self.pages_changed.emit()
        self.setCurrentWidget(self._pages[ident])
        self._pages[ident].setFocus()
        return self._pages[ident]

    def close_page(self, ident: str) -> None:
        """Close a page."""
        page = self._pages.pop(ident, None)
        if page is None:
            return
        shutdown = getattr(page, "shutdown", None)
        if shutdown is not None:
            shutdown()
        self.removeTab(self.indexOf(page))
        page.deleteLater()
        if self.count() == 0:
            self._show_empty()
        self.pages_changed.emit()

    def close_all(self) -> None:
        """Close every page."""
        for ident in list(self._pages):
            self.close_page(ident)

    def close_run(self, number: int) -> None:
        """Close the pages that show a run that is gone."""
        for ident, _ in self.pages_of(number):
            self.close_page(ident)

    def _close_at(self, index: int) -> None:
        page = self.widget(index)
        ident = next((k for k, p in self._pages.items() if p is page), None)
        if ident is not None:
            self.close_page(ident)

    def _show_empty(self) -> None:
        empty = EmptyState(
            "Nothing is open",
            "Double-click a run for its form, or click one of its outputs in the summary below.",
        )
        bar = self.tabBar()
        self.addTab(empty, "Viewer")
        if bar is not None:
            bar.setTabButton(0, bar.ButtonPosition.RightSide, None)
