"""What the mouse means in the editor: a state machine that knows no window."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

DRAG_PX, DRAG_MS = 6, 250
"""A press becomes a drag after so much way or time."""


class Mode(Enum):
    """What clicks mean."""

    MODEL = "Model"
    MOVIE = "Movie"


class Button(Enum):
    """A mouse button."""

    LEFT = auto()
    MIDDLE = auto()
    RIGHT = auto()


class Does(Enum):
    """What a gesture asks for."""

    ATTACH = auto()
    """Attach to the nearest point, else detach."""
    LOOK = auto()
    """Set the current point, without the model."""
    PAN = auto()
    ADD = auto()
    HOLD = auto()
    """Show the current point here, not yet for good."""
    MOVE = auto()
    """Put the current point here."""
    RECENTRE = auto()
    DELETE_NEAR = auto()
    PLAY_FORWARD = auto()
    PLAY_BACKWARD = auto()


@dataclass(frozen=True)
class Act:
    """A request at a place on the screen; of ``PAN``, by how much."""

    does: Does
    x: float
    y: float


class Hand:
    """Turns presses, moves and releases into acts; each gesture ends in at most one edit.

    Positions are screen pixels, times milliseconds. In *Model* mode left attaches, middle adds a
    point, right moves the current one, Shift+right centres it anew and Ctrl+right deletes. In
    *Movie* mode left sets the current point, middle and right play. Left drags pan in both.
    """

    def __init__(self, mode: Mode = Mode.MODEL) -> None:
        self.mode = mode
        self._button: Button | None = None
        self._from = self._last = (0.0, 0.0)
        self._since = 0.0
        self._ctrl = self._shift = False
        self.dragging = False

    @property
    def busy(self) -> bool:
        """Whether a button is down."""
        return self._button is not None

    def press(
        self, button: Button, x: float, y: float, ms: float, *, ctrl: bool = False,
        shift: bool = False,
    ) -> Act | None:  # fmt: skip
        """A button went down; others are ignored until it is up again."""
        if self._button is not None:
            return None
        self._button, self._since = button, ms
        self._from = self._last = x, y
        self._ctrl, self._shift, self.dragging = ctrl, shift, False
        return Act(Does.HOLD, x, y) if self._moves else None

    @property
    def _moves(self) -> bool:
        plain = not (self._ctrl or self._shift)
        return self.mode is Mode.MODEL and self._button is Button.RIGHT and plain

    def move(self, x: float, y: float, ms: float) -> Act | None:
        """The pointer moved."""
        if self._button is None:
            return None
        way = abs(x - self._from[0]) + abs(y - self._from[1])
        if way >= DRAG_PX or (ms - self._since > DRAG_MS and way > 0):
            self.dragging = True
        last, self._last = self._last, (x, y)
        if self._moves:
            return Act(Does.HOLD, x, y)
        if self._button is Button.LEFT and self.dragging:
            return Act(Does.PAN, x - last[0], y - last[1])
        if not self.dragging:
            self._last = last
        return None

    def release(self, button: Button, x: float, y: float) -> Act | None:
        """The button went up again."""
        if button is not self._button:
            return None
        moves, self._button = self._moves, None
        if moves:
            return Act(Does.MOVE, x, y)
        if self.dragging:
            return None
        return Act(self._click(button), *self._from)

    def cancel(self) -> None:
        """Forget the gesture."""
        self._button, self.dragging = None, False

    def _click(self, button: Button) -> Does:
        if self.mode is Mode.MOVIE:
            return {
                Button.LEFT: Does.LOOK,
                Button.MIDDLE: Does.PLAY_FORWARD,
                Button.RIGHT: Does.PLAY_BACKWARD,
            }[button]
        if button is Button.LEFT:
            return Does.ATTACH
        if button is Button.MIDDLE:
            return Does.ADD
        return Does.DELETE_NEAR if self._ctrl else Does.RECENTRE
