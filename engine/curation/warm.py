"""Kernels of the editor loaded, and compiled where they are not yet, before a click needs them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


def warm_up(images: Any = None) -> None:
    """Run everything that a click calls on a tiny series; in the background.

    Once in a process for each type of ``images`` ``(n_views, ny, nx)``: kernels are made for
    each. Loading a kernel takes up to 0.2 s, in which whoever needs another one waits, and with the
    interpreter held: before a person edits, not while.
    """
    if images is None:
        _warm_up(np.dtype(np.int16), True)
    else:
        _warm_up(np.dtype(images.dtype), bool(images.flags.writeable))


@cache
def _warm_up(kind: np.dtype[Any], writeable: bool) -> None:
    from tiltwright.engine.curation.evidence import image_evidence
    from tiltwright.engine.curation.filling import fill_gaps
    from tiltwright.engine.curation.live import LiveAlignment
    from tiltwright.engine.curation.slab import LiveSlab
    from tiltwright.engine.curation.worklist import find, predicted_effect
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
    stack = rng.poisson(100, (n_views, side, side)).astype(kind)
    stack.setflags(write=writeable)
    none = np.zeros(n_views, np.bool_)
    series = TiltSeries(Path("warm"), stack, tilt, 0.0, 1.0, none)
    model = FiducialModel.from_tracks(xy, series.size, 6.0)
    live = LiveAlignment.choose(series, model)
    swap = SwapTracks(0, 1, (0, 1, 2))
    swapped = swap.apply(model).model
    snapshot = live.solve(DeletePoints(((2, 2),)).apply(swapped).model, live.first)
    centring = BeadCentring(stack, series.frame, model.diameter_px)
    centring.learn(model.xy)
    centring.autocentre(1, (float(xy[0, 1, 0]), float(xy[0, 1, 1])))
    fill_gaps(snapshot.model, snapshot, centring)
    find(snapshot, evidence=image_evidence(snapshot.model, centring))
    predicted_effect(swap, live, snapshot)
    LiveSlab(stack, series.frame).slices(snapshot.alignment(), np.zeros(3), width=32, height=32)
