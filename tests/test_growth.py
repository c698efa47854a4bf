"""When what was chosen for a model does not suit it any more."""

from __future__ import annotations

import numpy as np
import pytest

from tiltwright.engine.curation.growth import Size
from tiltwright.engine.model.edits import AddContour, DeletePoints, Point
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag


@pytest.mark.parametrize(
    ("then", "now", "outgrown"),
    [
        ((3, 90), (3, 100), False),  # A few points more of the same beads.
        ((3, 90), (4, 92), True),  # A bead more, while there are few.
        ((3, 90), (3, 135), True),  # The same beads on many more views.
        ((7, 200), (8, 202), True),
        ((8, 240), (15, 450), False),
        ((8, 240), (16, 452), True),  # Twice as many beads,
        ((20, 40), (20, 80), True),  # or points.
        ((20, 600), (39, 1190), False),
        ((20, 600), (4, 120), False),  # What shrinks stays comparable.
        ((5, 100), (4, 80), False),
        ((0, 0), (0, 0), False),
    ],
)
def test_outgrown(then, now, outgrown):
    assert Size(*then).outgrown_by(Size(*now)) is outgrown


def test_a_bead_counts_from_its_second_point_on_used_views():
    used = np.array([True, True, False, True])
    model = FiducialModel.from_tracks(np.zeros((0, 4, 2)), (64, 64), 6.0)
    assert Size.of(model, used) == Size(0, 0)
    for views in ((0, 1, 3), (0, 2), (0, 1)):
        points = tuple(Point(-1, v, 1.0, 2.0, int(Flag.EDITED)) for v in views)
        model = AddContour(-1, points).apply(model).model
    assert Size.of(model, used) == Size(2, 5)
    assert Size.of(DeletePoints(((2, 0),)).apply(model).model, used) == Size(1, 3)
