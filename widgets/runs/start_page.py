"""What an empty project says: three ways to begin, one sentence each."""

from __future__ import annotations

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from tiltwright.widgets.styled import Heading, MutedLabel, follow_theme
from tiltwright.widgets.theme import Colours


def _big(c: Colours) -> str:
    return (
        f"QPushButton {{ background: {c.raised}; color: {c.text}; border: 1px solid {c.border};"
        " border-radius: 6px; padding: 12px 18px; font-weight: bold; text-align: left; }"
        f"QPushButton:hover {{ border: 1px solid {c.accent}; }}"
        f"QPushButton:focus {{ border: 2px solid {c.accent}; padding: 11px 17px; }}"
    )


class StartPage(QWidget):
    """Import tilt series, open a project, or try the demo."""

    import_requested = pyqtSignal()
    open_requested = pyqtSignal()
    demo_requested = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        column = QVBoxLayout()
        column.setSpacing(6)
        column.addStretch()
        title = Heading("How do you want to begin?", scale=1.35)
        title.setWordWrap(True)
        column.addWidget(title)
        self.buttons: list[QPushButton] = []
        for text, signal, sentence in (
            (
                "⤓  Import tilt series", self.import_requested,
                "Choose stacks or mdoc files; they are linked, never copied or changed.",
            ),
            (
                "▤  Open project", self.open_requested,
                "Go on where you left off: a project is a folder, and may have been moved.",
            ),
            (
                "▶  Try the demo", self.demo_requested,
                "A small simulated series with gold beads, from raw views to a tomogram.",
            ),
        ):  # fmt: skip
            button = QPushButton(text)
            button.setToolTip(sentence)
            button.setMinimumWidth(260)
            button.clicked.connect(signal)
            follow_theme(button, _big)
            self.buttons.append(button)
            column.addSpacing(6)
            column.addWidget(button, alignment=Qt.AlignmentFlag.AlignLeft)
            column.addWidget(MutedLabel(sentence))
        column.addStretch()
        outer = QHBoxLayout(self)
        outer.addStretch(1)
        outer.addLayout(column, 4)
        outer.addStretch(1)
