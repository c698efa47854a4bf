"""Where the specimen ends, from the gold beads on its two surfaces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError
from tiltwright.engine.volume.boundaries import Boundaries

Floats = npt.NDArray[np.float64]
_LEAST = 3
"""Beads on each surface."""
_FLAT = 4
"""With fewer beads than this times the three numbers of a plane, the planes stay level."""


def bead_boundaries(
    xyz_px: npt.ArrayLike, surface: npt.ArrayLike, shape: Sequence[int], margin_px: float = 0.0
) -> Boundaries:
    """Two parallel planes that hold the beads of both surfaces between them.

    Parameters
    ----------
    xyz_px : (n, 3)
        Index coordinates x, y, z in the volume; NaN for a bead without a position.
    surface : (n,)
        0 bottom, 1 top; others do not count.
    shape : (nz, ny, nx)
        Of the volume.
    margin_px : float
        How far beyond the beads' centres the specimen may reach.

    Raises
    ------
    DataError
        A surface has fewer than three beads, or the top lies below the bottom.
    """
    xyz, side = np.asarray(xyz_px, np.float64), np.asarray(surface)
    good = np.isfinite(xyz).all(1) & ((side == 0) | (side == 1))
    xyz, side = xyz[good], side[good].astype(np.float64)
    if min((side == 0).sum(), (side == 1).sum()) < _LEAST:
        raise DataError("fewer than three beads on one of the surfaces")
    at = xyz[:, :2] - [(shape[2] - 1) / 2, (shape[1] - 1) / 2]
    inclined = len(xyz) >= 3 * _FLAT
    design = np.c_[1 - side, side, at * inclined]
    solution = np.zeros(4)
    weight = np.ones(len(xyz))
    # Cauchy weights: a bead within the specimen, or on the wrong side, must not tip the planes.
    for _ in range(30):
        root = np.sqrt(weight)
        solution = np.linalg.lstsq(design * root[:, None], xyz[:, 2] * root, rcond=None)[0]
        off = xyz[:, 2] - design @ solution
        scale = 1.4826 * float(np.median(np.abs(off))) + 0.5
        weight = 1 / (1 + (off / scale) ** 2)
    off = xyz[:, 2] - design @ solution
    scatter = float(np.median(np.abs(off)))
    near = np.abs(off) <= max(6.0, 4.5 * scatter)
    low, high = near & (side == 0), near & (side == 1)
    if not (low.any() and high.any()) or solution[1] <= solution[0]:
        raise DataError("the beads do not lie on two surfaces, one above the other")
    bottom = solution[0] + float(off[low].min()) - margin_px
    top = solution[1] + float(off[high].max()) + margin_px
    return Boundaries(
        max(0.0, bottom), min(shape[0] - 1.0, top), float(solution[2]), float(solution[3]),
        int(near.sum()), scatter,
    )  # fmt: skip
