"""A tool that works with drags on an image."""

from __future__ import annotations

from typing import Protocol

from PyQt6.QtCore import Qt


class Gesture(Protocol):
    """A tool that may take a press of the left button, in index coordinates."""

    def press(self, x: float, y: float, reach_px: float) -> bool:
        """Whether the gesture takes the drag that begins here; ``reach_px`` image pixels."""

    def move(self, x: float, y: float) -> None:
        """The pointer moved."""

    def release(self, x: float, y: float) -> None:
        """The button was released."""

    def cursor(self, x: float, y: float, reach_px: float) -> Qt.CursorShape | None:
        """What the pointer looks like here when nothing is pressed."""
