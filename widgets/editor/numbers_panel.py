"""Live numbers: mean residual and leave-one-out error, what the last edit did, and the bars."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PyQt6.QtCore import pyqtSignal
from PyQt6.QtWidgets import QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from tiltwright.widgets.editor.bars import Bars
from tiltwright.widgets.styled import ElidedLabel, follow_theme
from tiltwright.widgets.theme import colours

if TYPE_CHECKING:
    from tiltwright.engine.curation.live import Snapshot
    from tiltwright.widgets.editor.session import Numbers

_STILL = 5e-5
"""Changes below are no change."""


class NumbersPanel(QWidget):
    """Two numbers that judge the model, each with its change, and bars that lead somewhere.

    Signals
    -------
    view_picked, bead_picked : (index)
    choice_asked : ()
        Choose the variables anew.
    """

    view_picked = pyqtSignal(int)
    bead_picked = pyqtSignal(int)
    choice_asked = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(0)
        self.values: dict[str, QLabel] = {}
        self.last: dict[str, QLabel] = {}
        self.total: dict[str, QLabel] = {}
        for k, (name, words) in enumerate(
            (("mean", "mean residual"), ("loo", "leave-one-out"))
        ):  # fmt: skip
            value = QLabel("–", self)
            follow_theme(value, lambda c: f"font-size: 15pt; font-weight: 600; color: {c.text};")
            last, total = QLabel("", self), QLabel("", self)
            last.setToolTip("Change by the last edit")
            grid.addWidget(QLabel(words, self), 0, 2 * k)
            grid.addWidget(value, 1, 2 * k)
            grid.addWidget(last, 0, 2 * k + 1)
            grid.addWidget(total, 1, 2 * k + 1)
            self.values[name], self.last[name], self.total[name] = value, last, total
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        self.views = Bars("residual per view", "view", self)
        self.beads = Bars("residual per bead", "bead", self)
        self.state = ElidedLabel("Solving…", self)
        follow_theme(self.state, lambda c: f"color: {c.muted};")
        self.choose = QPushButton("Choose anew", self)
        self.choose.setToolTip(
            "Choose the variables and groups for the model as it is; "
            "until then they stay, so that numbers can be compared"
        )
        bottom = QGridLayout()
        bottom.addWidget(self.state, 0, 0)
        bottom.addWidget(self.choose, 0, 1)
        bottom.setColumnStretch(0, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 4)
        column.setSpacing(3)
        column.addLayout(grid)
        column.addWidget(self.views)
        column.addWidget(self.beads)
        column.addLayout(bottom)
        self.views.picked.connect(self.view_picked)
        self.beads.picked.connect(self.bead_picked)
        self.choose.clicked.connect(lambda: self.choice_asked.emit())

    def show_snapshot(
        self,
        snapshot: Snapshot,
        before: Numbers,
        opening: Numbers,
        first: Snapshot | None,
        *,
        anew: str = "",
    ) -> None:
        """Show a solution.

        ``before`` is that before the last edit, ``opening`` and ``first`` are what changes are
        counted from: the model as it was opened, or when the variables were chosen ``anew``,
        which says when that was.
        """
        words = " anew" if anew else " in all"
        tip = "the variables were chosen anew" if anew else "the editor was opened"
        for name, value, last, total in (
            ("mean", snapshot.mean_residual_px, before.mean_px, opening.mean_px),
            ("loo", snapshot.leave_one_out_px, before.leave_one_out_px, opening.leave_one_out_px),
        ):
            self.values[name].setText(f"{value:.3f} px" if math.isfinite(value) else "–")
            _show_change(self.last[name], value - last, "")
            _show_change(self.total[name], value - total, words)
            self.total[name].setToolTip(f"Change since {tip} {anew}".rstrip())
        same = first is not None and len(first.per_bead_px) == len(snapshot.per_bead_px)
        self.views.set_values(
            np.asarray(snapshot.per_view_px), first.per_view_px if first is not None else None
        )
        self.beads.set_values(
            np.asarray(snapshot.per_bead_px), first.per_bead_px if same and first else None
        )
        state = f"solved in {1000 * snapshot.seconds:.0f} ms" if snapshot.solved else (
            f"not solved: {snapshot.problem}"
        )  # fmt: skip
        self.state.setText(state + (f"; variables chosen anew {anew}" if anew else ""))

    def show_problem(self, words: str) -> None:
        """Why there are no numbers."""
        self.state.setText(f"not solved: {words}")

    def set_place(self, view: int, contour: int) -> None:
        """Mark where one is."""
        self.views.set_marked(view)
        self.beads.set_marked(contour)


def change_words(change: float) -> tuple[str, str]:
    """A change of a number of which less is better: words and colour; none when not known."""
    c = colours()
    if not math.isfinite(change):
        return "", c.muted
    if abs(change) < _STILL:
        return "= 0.000", c.muted
    return (f"▼ {-change:.4f}", c.done) if change < 0 else (f"▲ {change:.4f}", c.failed)


def _show_change(label: QLabel, change: float, words: str) -> None:
    text, colour = change_words(change)
    label.setText(f"{text}{words}" if text else "")
    label.setStyleSheet(f"color: {colour};")
