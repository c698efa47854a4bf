"""Which contours of two models are the same bead's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_EQUAL_PX = 1e-3


def pair_contours(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], near_px: float
) -> list[tuple[int, int]]:
    """Pair contours by the points that they share, whatever their numbers.

    Parameters
    ----------
    a, b : (n, n_views, 2), (m, n_views, 2)
        NaN at gaps.
    near_px
        Points closer than that are of one bead; equal ones count twice.

    Returns
    -------
    list of (contour of a, contour of b)
        One to one, ascending; the greatest numbers of common points first, and of equals the
        nearest numbers. Contours without points go with those of the same number.
    """
    votes = []
    for i, track in enumerate(a):
        with np.errstate(invalid="ignore"):
            away = np.hypot(*np.moveaxis(b - track, -1, 0))
            common = (away < near_px).sum(1) + (away < _EQUAL_PX).sum(1)
        votes += [(int(common[j]), -abs(i - int(j)), i, int(j)) for j in np.flatnonzero(common)]
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    out = []
    for _, _, i, j in sorted(votes, reverse=True):
        if i not in taken_a and j not in taken_b:
            taken_a.add(i)
            taken_b.add(j)
            out.append((i, j))
    for i in range(min(len(a), len(b))):
        empty = not (np.isfinite(a[i]).any() or np.isfinite(b[i]).any())
        if empty and i not in taken_a and i not in taken_b:
            out.append((i, i))
    return sorted(out)
