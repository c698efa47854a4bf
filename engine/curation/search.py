"""What the searches of the Bead Fixer answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """Where a search leads.

    Attributes
    ----------
    contour, view : int, optional
        To attach to; ``None``: nothing was found, stay.
    message : str
        For the log, in the words that users know.
    arrow : -1, 0 or 1
        Towards lower or higher views, where points are missing.
    done : bool
        There is nothing more in this direction.
    skipped : int
        Points that were passed over because of their low weight.
    """

    contour: int | None
    view: int | None
    message: str
    arrow: int = 0
    done: bool = False
    skipped: int = 0
