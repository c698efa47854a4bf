"""What a person changed in the exclusions of an output, by acquisition number.

Changes, not states: what a step further up excludes later reaches here as well. A change that
was undone leaves no trace, so that what was computed before it is up to date again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.model.tilt_series import Bools, TiltSeries

_WORDS = (("excluded", "included"), ("kept", "dropped"))


def changes(series: TiltSeries, excluded: Bools, kept: Bools) -> dict[str, list[int]]:
    """How ``excluded`` and ``kept`` differ from those of the series.

    Returns
    -------
    dict
        ``excluded, included, kept, dropped`` to acquisition numbers; without empty lists.
    """
    out: dict[str, list[int]] = {}
    for (more, less), now, before in zip(
        _WORDS, (excluded, kept), (series.excluded, series.kept), strict=True
    ):
        now = np.asarray(now, np.bool_)
        for word, where in ((more, now & ~before), (less, before & ~now)):
            if where.any():
                out[word] = sorted(int(k) for k in series.order[where])
    return out


def changed(
    mark: Mapping[str, Any], order: npt.ArrayLike, excluded: npt.ArrayLike, kept: npt.ArrayLike
) -> tuple[Bools, Bools]:
    """``excluded`` and ``kept`` of an output with the changes of a person, ``(n_views,)``."""
    out = []
    for (more, less), before in zip(_WORDS, (excluded, kept), strict=True):
        now = np.array(before, np.bool_)
        now[np.isin(order, mark.get(more, []))] = True
        now[np.isin(order, mark.get(less, []))] = False
        out.append(now)
    return out[0], out[1]
