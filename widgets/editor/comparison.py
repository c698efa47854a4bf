"""Two alignments side by side: a saved version, and the model as it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from tiltwright.widgets.editor.bars import Bars
from tiltwright.widgets.styled import follow_theme

if TYPE_CHECKING:
    from tiltwright.engine.curation.live import Snapshot

_ROWS = (
    "contours, points", "mean residual", "leave-one-out", "largest residual of a view",
    "tilt axis", "X-axis tilt",
)  # fmt: skip


class Comparison(QWidget):
    """Numbers in two columns, the better one of each row in bold, and a bar for each view."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cells: dict[str, tuple[QLabel, QLabel]] = {}
        self._heads = QLabel(self), QLabel("Now", self)
        grid = QGridLayout()
        grid.setContentsMargins(4, 0, 4, 0)
        grid.setHorizontalSpacing(14)
        grid.setVerticalSpacing(1)
        right = Qt.AlignmentFlag.AlignRight
        for column, head in enumerate(self._heads, 1):
            follow_theme(head, lambda c: f"color: {c.muted};")
            grid.addWidget(head, 0, column, right)
        for row, name in enumerate(_ROWS, 1):
            pair = QLabel(self), QLabel(self)
            grid.addWidget(QLabel(name, self), row, 0)
            for column, cell in enumerate(pair, 1):
                grid.addWidget(cell, row, column, right)
            self.cells[name] = pair
        grid.setColumnStretch(0, 1)
        self.views = Bars("residual per view: bars now, ticks then", "view", self)
        column_ = QVBoxLayout(self)
        column_.setContentsMargins(0, 0, 0, 0)
        column_.setSpacing(3)
        column_.addLayout(grid)
        column_.addWidget(self.views)
        column_.addStretch(1)

    def show_two(self, name: str, then: Snapshot, now: Snapshot) -> None:
        """Show two solutions of the same series."""
        self._heads[0].setText(name)
        both = then, now
        self._words("contours, points", [f"{s.model.n_tracks}, {s.model.n_points}" for s in both])
        self._judge("mean residual", [s.mean_residual_px for s in both])
        self._judge("leave-one-out", [s.leave_one_out_px for s in both])
        worst = [float(np.nanmax(s.per_view_px, initial=-math.inf)) for s in both]
        self._judge("largest residual of a view", worst)
        axes = [float(np.median(s.geometry.axis_deg)) for s in both]
        self._words("tilt axis", [f"{a:.2f}°" for a in axes])
        self._words("X-axis tilt", [f"{s.geometry.x_tilt_deg:.2f}°" for s in both])
        self.views.set_values(np.asarray(now.per_view_px), np.asarray(then.per_view_px))

    def _words(self, name: str, words: list[str]) -> None:
        for cell, text in zip(self.cells[name], words, strict=True):
            cell.setText(text)

    def _judge(self, name: str, values: list[float]) -> None:
        words = [f"{v:.4f} px" if math.isfinite(v) else "–" for v in values]
        if words[0] != words[1] and all(map(math.isfinite, values)):
            better = int(values[1] < values[0])
            words[better] = f"<b>{words[better]}</b>"
        self._words(name, words)
