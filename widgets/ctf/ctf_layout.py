"""Where the parts of the CTF viewer stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QHBoxLayout, QSplitter, QVBoxLayout, QWidget

from tiltwright.widgets.actions import button

if TYPE_CHECKING:
    from tiltwright.widgets.ctf.ctf_viewer import CtfViewer


def lay_out(v: CtfViewer) -> QHBoxLayout:
    """Table and defocus on the left, spectrum, numbers and curve on the right; the row above."""
    acts = v.actions_
    head = _row()
    head.addWidget(v.summary, 1)
    for action in (acts.undo, acts.redo, acts.save):
        head.addWidget(button(action, v))

    picture = QWidget(v)
    column = _column(picture)
    top = _row()
    for action in (acts.rings, acts.model, acts.smooth):
        top.addWidget(button(action, v))
    top.addStretch(1)
    top.addWidget(v.position)
    for action in (acts.invert, acts.fit):
        top.addWidget(button(action, v))
    column.addLayout(top)
    column.addWidget(v.spectrum, 1)
    column.addWidget(v.navigation)
    contrast = _row()
    contrast.addWidget(v.levels, 1)
    contrast.addWidget(button(acts.auto, v))
    column.addLayout(contrast)

    numbers = QWidget(v)
    below = _column(numbers)
    below.addWidget(v.panel)
    tools = _row()
    for action in (acts.refit, acts.neighbours, acts.bad):
        tools.addWidget(button(action, v))
    tools.addStretch(1)
    below.addLayout(tools)
    below.addWidget(v.curve, 1)

    plot = QWidget(v)
    lines = _column(plot)
    lines.addWidget(v.plot, 1)
    said = _row()
    said.addWidget(v.hand, 1)
    lines.addLayout(said)
    hand = _row()
    hand.addWidget(button(acts.check, v))
    hand.addWidget(button(acts.take, v))
    hand.addStretch(1)
    lines.addLayout(hand)

    whole = QSplitter(v)
    whole.setChildrenCollapsible(False)
    whole.addWidget(_pair(v, v.table, plot, (520, 280)))
    whole.addWidget(_pair(v, picture, numbers, (540, 270)))
    whole.setStretchFactor(0, 2)
    whole.setStretchFactor(1, 3)
    whole.setSizes([360, 500])
    column = _column(v)
    column.addLayout(head)
    column.addWidget(whole, 1)
    return head


def _pair(v: CtfViewer, upper: QWidget, lower: QWidget, sizes: tuple[int, int]) -> QSplitter:
    out = QSplitter(Qt.Orientation.Vertical, v)
    out.setChildrenCollapsible(False)
    out.addWidget(upper)
    out.addWidget(lower)
    out.setSizes(list(sizes))
    out.setStretchFactor(0, 2)
    out.setStretchFactor(1, 1)
    return out


def _row() -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(6, 3, 6, 3)
    row.setSpacing(6)
    return row


def _column(widget: QWidget) -> QVBoxLayout:
    column = QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(0)
    return column
