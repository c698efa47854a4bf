"""Models of known truth for the tests of the fiducial editor's engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.tilt_series import TiltSeries

SIZE = (1440, 1024)
AXIS = 84.5


def bare_series(n_views=41, size=SIZE, stack=None) -> TiltSeries:
    """A series without images, nominal angles from -60 to 60 degrees."""
    nothing = np.broadcast_to(np.float32(0), (n_views, size[1], size[0]))
    return TiltSeries(
        Path("phantom.mrc"), nothing if stack is None else stack, np.linspace(-60, 60, n_views),
        AXIS, 5.0, np.zeros(n_views, np.bool_),
    )  # fmt: skip


def phantom(n=40, n_views=41, noise=0.15, gaps=0.0, seed=0, size=SIZE):
    """``(series, model, exact positions)`` of beads on two surfaces."""
    rng = np.random.default_rng(seed)
    series = bare_series(n_views, size)
    reach = 0.4 * min(size)
    xyz = rng.uniform(-reach, reach, (n, 3))
    xyz[:, 2] = np.where(np.arange(n) % 2, 60, -60) + rng.normal(0, 2, n)
    g = ViewGeometry(
        series.tilt_deg + rng.normal(0, 0.15, n_views),
        AXIS + rng.normal(0, 0.15, n_views),
        1 + rng.normal(0, 0.0008, n_views),
        np.zeros(n_views),
        np.zeros(n_views),
        rng.normal(0, 10, (n_views, 2)),
    )
    exact = g.project(xyz)
    xy = exact + rng.normal(0, noise, exact.shape)
    xy[rng.random(exact.shape[:2]) < gaps] = np.nan
    model = FiducialModel.from_tracks(
        xy, size, 18.0, surface=np.arange(n) % 2, sigma_px=np.full((n, n_views), 0.1)
    )
    return series, model, exact
