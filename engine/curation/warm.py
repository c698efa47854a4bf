"""Kernels of the editor loaded, and compiled where they are not yet, before a click needs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def warm_up() -> None:
    """Run everything that a click calls on a tiny series; to be called in the background."""
    from tiltwright.engine.curation.filling import fill_gaps
    from tiltwright.engine.curation.live import LiveAlignment
    from tiltwright.engine.curation.slab import LiveSlab
    from tiltwright.engine.curation.worklist import find
    from tiltwright.engine.fiducials.fill import BeadCentring
    from tiltwright.engine.geometry.projection import ViewGeometry
    from tiltwright.engine.model.edits import DeletePoints, SwapTracks
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.engine.model.tilt_series import TiltSeries

    n_views, n_beads, side = 9, 8, 64
    rng = np.random.default_rng(0)
    tilt = np.linspace(-40.0, 40.0, n_views)
    xyz = rng.uniform(-24, 24, (n_beads, 3))
    xy = ViewGeometry.nominal(tilt, 0.0).project(xyz) + rng.normal(0, 0.1, (n_beads, n_views, 2))
    stack = rng.poisson(100, (n_views, side, side)).astype(np.int16)
    none = np.zeros(n_views, np.bool_)
    series = TiltSeries(Path("warm"), stack, tilt, 0.0, 1.0, none)
    model = FiducialModel.from_tracks(xy, series.size, 6.0)
    live = LiveAlignment.choose(series, model)
    swapped = SwapTracks(0, 1, (0, 1, 2)).apply(model).model
    snapshot = live.solve(DeletePoints(((2, 2),)).apply(swapped).model, live.first)
    find(snapshot)
    centring = BeadCentring(stack, series.frame, model.diameter_px)
    centring.learn(model.xy)
    fill_gaps(snapshot.model, snapshot, centring)
    LiveSlab(stack, series.frame).slices(snapshot.alignment(), np.zeros(3), width=32, height=32)
