"""What a run took, made and found, ready to be shown."""

from __future__ import annotations

from dataclasses import dataclass, field

from PyQt6.QtGui import QImage


@dataclass(frozen=True)
class InputLine:
    """``Tilt series`` from ``Coarse prealignment``: ``2 items, 41 x 1440 x 1024, 5.52 Å/px +ali``.

    ``run_id`` and ``output`` say what opens when the line is clicked.
    """

    name: str
    source: str
    text: str
    run_id: str
    output: str


@dataclass(frozen=True)
class OutputLine:
    """An output with its size string and flags, and the series in it.

    ``name`` identifies it, ``title`` is what people read.
    """

    name: str
    text: str
    items: tuple[str, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class KeyNumber:
    """A number that judges quality; ``verdict`` is ``good``, ``check``, ``bad`` or empty.

    Numbers of a ``series`` stand in its row of a table, under their label; the others alone.
    """

    label: str
    text: str
    verdict: str = ""
    reason: str = ""
    series: str = ""


@dataclass(frozen=True)
class Thumbnail:
    """A picture of an item; opens that item of that output."""

    caption: str
    output: str
    item: str
    image: QImage = field(compare=False, hash=False, default_factory=QImage)


@dataclass(frozen=True)
class FailedItem:
    """A series that was left out of the outputs, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class RunSummary:
    """Everything that the tabs show of one run."""

    run_id: str
    title: str
    status: str = "new"
    stale: bool = False
    status_text: str = ""
    """What a person should know of the state: why it failed, or why it is out of date."""
    inputs: tuple[InputLine, ...] = ()
    outputs: tuple[OutputLine, ...] = ()
    numbers: tuple[KeyNumber, ...] = ()
    thumbnails: tuple[Thumbnail, ...] = ()
    failed: tuple[FailedItem, ...] = ()
    inspect: tuple[str, ...] = ()
    methods: str = ""
    citations: tuple[str, ...] = ()
    bibtex: str = ""


VERDICTS = {"good": ("✓", "done"), "check": ("▲", "running"), "bad": ("✕", "failed")}
"""Verdict to its symbol and the name of its colour in the theme."""
