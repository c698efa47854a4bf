"""The order of the views by tilt, and what is wrong with a list of tilt angles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError


def order_by_tilt(tilt_deg: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Indices ``(n_views,)`` that sort the views by tilt angle; equal angles keep their order.

    Raises
    ------
    InputError
        When an angle is missing or outside -90 to 90 degrees.
    """
    t = np.asarray(tilt_deg, dtype=np.float64)
    if t.ndim != 1 or not len(t):
        raise InputError("tilt angles must be one list with one angle per view")
    bad = np.flatnonzero(~(np.abs(t) <= 90))
    if len(bad):
        raise InputError(f"the tilt angle of view {bad[0] + 1} is {t[bad[0]]:g}: not in -90 to 90")
    return np.argsort(t, kind="stable")


def check_order(tilt_deg: npt.ArrayLike, same_deg: float = 0.05) -> list[str]:
    """Sentences on angles that repeat or run out of order (views 1-based); empty when fine.

    Raises
    ------
    InputError
        As :func:`order_by_tilt`.
    """
    order = order_by_tilt(tilt_deg)
    t = np.asarray(tilt_deg, dtype=np.float64)
    said = [
        f"views {a + 1} and {b + 1} have the same tilt angle {t[a]:g}"
        for a, b in pairwise(order)
        if t[b] - t[a] < same_deg
    ]
    steps = np.diff(t)
    if np.any(steps > 0) and np.any(steps < 0):
        sign = 1 if np.sum(steps > 0) >= np.sum(steps < 0) else -1
        out = np.flatnonzero(sign * steps < 0) + 2
        said.append(f"the tilt angles are not in order at views {', '.join(map(str, out))}")
    return said
