"""Which part of a tomogram there is data for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_PAIRS = 16
_QUIET = 0.75
"""Part of the usual noise below which a side is not covered by all views."""
_DEEPEST = 1 / 8
"""Part of the size that a side's rim may take."""
_SMOOTH = 5


EMPTY, RIM_Y, RIM_X = 1, 2, 4


def coverage(data: Any, margin: int) -> npt.NDArray[np.uint8]:
    """What columns along z of a volume ``(nz, ny, nx)`` lack, ``(ny, nx)``: 0 is nothing.

    ``EMPTY`` are those that are constant, as beyond what was reconstructed; ``RIM_Y`` and
    ``RIM_X`` the sides along y and x where views end: fewer views average to less noise from
    section to section, and the border of each is a straight sheet along the side. What is within
    ``margin`` of them counts as such.
    """
    nz = data.shape[0]
    noise = np.zeros(data.shape[1:], np.float32)
    for z in np.unique(np.linspace(0, nz - 2, _PAIRS).astype(int)):
        pair = np.asarray(data[z : z + 2], np.float32)
        noise += np.abs(pair[1] - pair[0])
    out = np.where(_widened(noise == 0, margin), EMPTY, 0).astype(np.uint8)
    alive = noise[noise > 0]
    if len(alive) < 2:
        return out
    least = _QUIET * float(np.median(alive))
    for axis in (0, 1):
        line = np.median(noise, 1 - axis)
        n = len(line)
        for side in (line, line[::-1]):
            usual = np.convolve(np.pad(side, _SMOOTH // 2, "edge"), np.ones(_SMOOTH), "valid")
            enough = np.flatnonzero(usual >= least * _SMOOTH)
            depth = int(enough[0]) if len(enough) else 0
            if not 0 < depth <= n * _DEEPEST:
                continue
            rim = slice(0, depth + margin) if side is line else slice(n - depth - margin, n)
            if axis == 0:
                out[rim] |= RIM_Y
            else:
                out[:, rim] |= RIM_X
    return out


def _widened(where: npt.NDArray[np.bool_], margin: int) -> npt.NDArray[np.bool_]:
    """What is at most ``margin`` away along y, x or both; single pixels are not widened."""
    from scipy.ndimage import binary_opening, maximum_filter

    areas = binary_opening(where, np.ones((3, 3), bool), border_value=0)
    out: npt.NDArray[np.bool_] = maximum_filter(areas, 2 * margin + 1)
    return out
