"""Where a solved alignment expects every bead in every view."""

from __future__ import annotations

from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.bundle import Solution


def predict(solution: Solution) -> Floats:
    """Positions of all beads in all views, raw pixels about the image centre.

    Returns
    -------
    (n_tracks, n_views, 2)
        NaN for beads that were not solved.
    """
    return solution.geometry.project(solution.xyz)
