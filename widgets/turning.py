"""Turning what is seen in three dimensions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def about(axis: int, angle: float) -> npt.NDArray[np.float64]:
    """Rotation ``(3, 3)`` about an axis of the screen, 0 to 2: right, up, towards the eye; rad."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out: npt.NDArray[np.float64] = np.eye(3)
    out[a, a] = out[b, b] = np.cos(angle)
    out[a, b], out[b, a] = -np.sin(angle), np.sin(angle)
    return out
