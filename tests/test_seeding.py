"""A model made by hand from nothing: what the live alignment says after each bead."""

from __future__ import annotations

import numpy as np
import pytest
from curation_cases import simulated, simulated_spec

from tiltwright.engine.curation.live import LiveAlignment
from tiltwright.engine.errors import DataError
from tiltwright.engine.fiducials.fill import BeadCentring
from tiltwright.engine.model.edits import AddContour, Point
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag
from tiltwright.engine.simulate.series import simulate_series


def seeded():
    """``(series, models, exact)``: bead after bead, each clicked on in the views that show it."""
    series, full, exact = simulated()
    centring = BeadCentring(series.stack, series.frame, full.diameter_px)
    rng = np.random.default_rng(0)
    empty = np.full((0, series.n_views, 2), np.nan)
    models = [FiducialModel.from_tracks(empty, series.size, full.diameter_px)]
    for c in range(full.n_tracks):
        points = []
        for v in np.flatnonzero(full.measured[c]).tolist():
            click = exact[c, v] + rng.uniform(-2, 2, 2)
            found = centring.autocentre(v, (float(click[0]), float(click[1])))
            assert found is not None
            flag = int(Flag.EDITED)
            points.append(Point(c, v, found.x, found.y, flag, found.sigma_px))
        models.append(AddContour(-1, tuple(points)).apply(models[-1]).model)
    return series, models, exact


def test_a_model_from_nothing():
    """Chosen anew at 3, 8 and 16 beads, as *Choose anew* does; in between it follows."""
    series, models, exact = seeded()
    for few in models[:3]:
        with pytest.raises(DataError, match="too few"):
            LiveAlignment.choose(series, few)
    top = simulate_series(simulated_spec()).beads_xyz[:, 2] > 0
    error = {}
    for n, model in enumerate(models[3:], 3):
        if n in (3, 8, 16):
            live = LiveAlignment.choose(series, model)
            snapshot = live.first
        else:
            snapshot = live.solve(model, snapshot)
        assert snapshot.solved
        off = np.hypot(*np.moveaxis(snapshot.predicted_px - exact[:n], -1, 0))
        told = np.sqrt(np.trace(snapshot.covariance_px2, axis1=2, axis2=3))
        error[n] = float(np.sqrt(np.mean(off**2)))
        if n >= 8:
            assert 0.5 < error[n] / np.sqrt(np.mean(told**2)) < 1.5
            right = (snapshot.surface == top[:n]).mean()
            assert max(right, 1 - right) == 1
    assert error[3] < 0.5
    assert error[16] < error[8] < error[3]
    assert error[16] < 0.1
