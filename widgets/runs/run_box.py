"""A run as the graph and the list show it, and what its state looks like."""

from __future__ import annotations

from dataclasses import dataclass

from tiltwright.widgets.theme import Colours, colours

STALE = "≋ stale"


@dataclass(frozen=True)
class RunBox:
    """One run of the project; all text is ready to be shown.

    ``progress`` is 0 to 1, ``remaining_s`` seconds; both ``None`` when there is nothing to say.
    ``parents`` are the ids of the runs whose outputs go in. ``label_colour`` is the stripe that
    the user chose (``#rrggbb``), or empty.
    """

    id: str
    label: str
    protocol_title: str = ""
    status: str = "new"
    progress: float | None = None
    remaining_s: float | None = None
    n_items: int | None = None
    stale: bool = False
    key_number_text: str = ""
    label_colour: str = ""
    parents: tuple[str, ...] = ()
    comment: str = ""
    n_failed: int = 0
    noun: str = "TS"

    def items_text(self) -> str:
        """``2 TS`` or ``2 tomograms``, with what failed of them."""
        if self.n_items is None:
            return ""
        failed = f" · {self.n_failed} failed" if self.n_failed else ""
        return f"{self.n_items} {self.noun}{failed}"

    def progress_text(self) -> str:
        """``61 % · 0:04 left``."""
        if self.progress is None:
            return ""
        left = f" · {remaining_text(self.remaining_s)} left" if self.remaining_s is not None else ""
        return f"{100 * self.progress:.0f} %{left}"

    def tooltip(self) -> str:
        """All that is known of the run, a line each."""
        state = STATUSES.get(self.status, STATUSES["new"])
        lines = [
            f"{self.label}  (run {self.id})",
            self.protocol_title if self.protocol_title != self.label else "",
            f"{state.symbol} {self.status}" + (f", {STALE}" if self.stale else ""),
            "Its inputs or parameters have changed since: run it again." if self.stale else "",
            self.progress_text(), self.items_text(), self.key_number_text, self.comment,
        ]  # fmt: skip
        return "\n".join(line for line in lines if line)


@dataclass(frozen=True)
class Status:
    """Symbol of a state and the name of its colour in the theme."""

    symbol: str
    colour: str

    def of(self, c: Colours | None = None) -> str:
        """The colour in force."""
        return str(getattr(c or colours(), self.colour))


STATUSES = {
    "new": Status("○", "new"),
    "queued": Status("◔", "new"),
    "running": Status("▶", "running"),
    "finished": Status("✓", "done"),
    "failed": Status("✕", "failed"),
    "aborted": Status("■", "failed"),
    "interrupted": Status("↯", "failed"),
}
"""The words for the state of a run; each has a symbol of its own beside its colour."""


def remaining_text(seconds: float | None) -> str:
    """``0:04``, ``12:30`` or ``3 h 05``."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600} h {whole % 3600 // 60:02d}"
