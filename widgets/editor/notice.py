"""A bar above the editor: what it offers, or why nothing can be edited."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PyQt6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QWidget

from tiltwright.widgets.editor.session import Session
from tiltwright.widgets.styled import follow_theme

if TYPE_CHECKING:
    from tiltwright.engine.curation.journal import Recovery


class Notice(QFrame):
    """Hidden unless there is something to say."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        follow_theme(
            self, lambda c: f"QFrame {{ background: {c.running}; }} QLabel {{ color: #101010; }}"
        )
        self.words = QLabel(self)
        self.restore_button = QPushButton("Restore them", self)
        self.restore_button.setToolTip("Bring them back; each can be undone")
        self.leave_button = QPushButton("Leave them", self)
        self.leave_button.setToolTip(
            "Go on from the saved model; they are set aside in a file beside the journal"
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 3, 8, 3)
        row.addWidget(self.words, 1)
        row.addWidget(self.restore_button)
        row.addWidget(self.leave_button)
        self.restore_button.clicked.connect(self._restore)
        self.leave_button.clicked.connect(self._leave)
        self.hide()

    def offer(self, found: Recovery) -> None:
        """Offer edits of a session that ended without saving."""
        when = time.strftime("%d %b %H:%M:%S", time.localtime(found.time))
        edits = "1 edit" if found.n_edits == 1 else f"{found.n_edits} edits"
        self._show(f"{edits}, the last on {when}, had not been saved.", True)

    def tell(self, words: str) -> None:
        """Say something that stays."""
        self._show(words, False)

    def _show(self, words: str, asks: bool) -> None:
        self.words.setText(words)
        self.restore_button.setVisible(asks)
        self.leave_button.setVisible(asks)
        self.show()

    def _restore(self) -> None:
        found = self._session.unsaved.offered
        self._session.restore()
        self.hide()
        if found is not None:
            self._session.said.emit(f"Restored {found.n_edits} edits that had not been saved")

    def _leave(self) -> None:
        self._session.leave()
        self.hide()
        self._session.said.emit("The unsaved edits were left; they are kept beside the journal")
