"""The row below a picture that goes through views or sections."""

from __future__ import annotations

from typing import Any

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtWidgets import QHBoxLayout, QLabel, QSlider, QSpinBox, QWidget

from tiltwright.widgets.actions import button, icon, make_action
from tiltwright.widgets.image.player import Player


class NavigationBar(QWidget):
    """Back, play, forward, slider and number; the keys work in all of ``owner``.

    Parameters
    ----------
    owner : QWidget
        Gets the actions.
    what : str
        'view' or 'section'.

    Signals
    -------
    went : (index)
        A person, or the player, goes to an index from 0, held inside the range; whoever shows it
        answers with :meth:`set_current`.
    """

    went = pyqtSignal(int)

    def __init__(self, owner: QWidget, what: str) -> None:
        super().__init__(owner)
        self._count, self._at = 0, 0
        self.player = Player(self)

        def act(text: str, key: str, slot: Any, tip: str) -> Any:
            return make_action(owner, text, [key], slot, tip)

        back = act(f"Previous {what}", "PgDown", lambda: self._go(self._at - 1), f"Previous {what}")
        on = act(f"Next {what}", "PgUp", lambda: self._go(self._at + 1), f"Next {what}")
        act(f"First {what}", "End", lambda: self._go(0), f"First {what}")
        act(f"Last {what}", "Home", lambda: self._go(self._count - 1), f"Last {what}")
        act(f"Middle {what}", "Insert", lambda: self._go(self._count // 2), f"Middle {what}")
        self.play_action = act(
            "Play", "P", lambda: self.player.toggle(), "Play back and forth, or stop"
        )
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setMinimumWidth(80)
        self.slider.setToolTip(f"{what.capitalize()} (Page Up, Page Down, Home, End)")
        self.spin = QSpinBox(self)
        self.spin.setToolTip(f"{what.capitalize()}, from 1")
        self.spin.setKeyboardTracking(False)
        self.spin.setMinimumWidth(self.fontMetrics().horizontalAdvance("0000 / 0000") + 34)
        self.words = QLabel(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 3, 6, 3)
        row.setSpacing(6)
        row.addWidget(button(back, self, "previous"))
        row.addWidget(button(self.play_action, self, "play"))
        row.addWidget(button(on, self, "next"))
        row.addWidget(self.slider, 1)
        row.addWidget(self.spin)
        row.addWidget(self.words)
        self.slider.valueChanged.connect(lambda value: self._go(value - 1))
        self.spin.valueChanged.connect(lambda value: self._go(value - 1))
        self.player.stepped.connect(self._go)
        self.player.started.connect(lambda: self.play_action.setIcon(icon("pause")))
        self.player.stopped.connect(lambda: self.play_action.setIcon(icon("play")))

    def set_count(self, count: int) -> None:
        """Say how many there are; a running player stops."""
        self.player.stop()
        self._count, self._at = count, 0
        self.player.set_range(count, 0)
        for widget in (self.slider, self.spin):
            widget.blockSignals(True)
            widget.setRange(1, max(1, count))
            widget.setEnabled(count > 0)
            widget.blockSignals(False)
        self.spin.setSuffix(f" / {count}" if count else "")
        self.words.setText("")

    def set_current(self, index: int, words: str = "") -> bool:
        """Show where one is, and words about it; whether that is somewhere else."""
        changed = self.slider.value() != index + 1
        self._at = index
        for widget in (self.slider, self.spin):
            widget.blockSignals(True)
            widget.setValue(index + 1)
            widget.blockSignals(False)
        self.words.setText(words)
        self.player.set_range(self._count, index)
        return changed

    def _go(self, index: int) -> None:
        if self._count:
            self.went.emit(min(max(0, index), self._count - 1))
