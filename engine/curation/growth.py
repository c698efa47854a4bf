"""When a model has become another one: what was chosen for it must be chosen anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltwright.engine.model.fiducial_model import FiducialModel

YOUNG = 8
"""With fewer beads each one more says something new of what can be solved."""
_LEAST_VIEWS = 2


@dataclass(frozen=True)
class Size:
    """How much there is to align by.

    Attributes
    ----------
    beads : int
        With points on two views at least.
    points : int
        Of those beads.
    """

    beads: int
    points: int

    @classmethod
    def of(cls, model: FiducialModel, used: npt.NDArray[np.bool_]) -> Size:
        """That of a model, on the views that are ``used`` ``(n_views,)``."""
        points = (model.measured & used).sum(1)
        there = points >= _LEAST_VIEWS
        return cls(int(there.sum()), int(points[there].sum()))

    def outgrown_by(self, now: Size) -> bool:
        """Whether what was chosen at this size does not suit a model of size ``now``.

        A young model counts as grown with each bead and with half as many points again, one
        with more beads when beads or points have doubled. One that shrinks keeps what it has,
        so that numbers before and after a deletion can be compared.
        """
        if self.beads < YOUNG and (now.beads > self.beads or now.points >= 1.5 * self.points > 0):
            return True
        return now.beads >= 2 * self.beads > 0 or now.points >= 2 * self.points > 0
