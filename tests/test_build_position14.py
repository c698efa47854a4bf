"""The real series of the acceptance: true residual of the tracking's own geometry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "exosome_position14"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/exosome_position14")
def test_all_views_of_the_real_series_fit():
    import mrcfile

    from tiltwright.engine.fiducials.from_stack import build_from_stack

    with mrcfile.open(DATA / "position14.mrc") as mrc:
        stack = np.array(mrc.data)
    tilt = np.loadtxt(DATA / "position14.rawtlt")
    truth = json.loads((DATA / "position14.truth.json").read_text())
    model = build_from_stack(stack, tilt, -84.5, 100 / 11.04, 25)
    assert not model.lost_views
    assert len(model.xy) == 25
    assert np.isfinite(model.xy[..., 0]).mean() > 0.85
    centre = (np.array(stack.shape[:0:-1]) - 1) / 2
    xf = model.geometry.transforms()
    q = (
        np.einsum("vij,vpj->vpi", xf[..., :2], np.array(truth["raw_xy"]) - centre)
        + xf[:, None, :, 2]
    )
    t = np.deg2rad(model.geometry.tilt_deg)
    for keep, limit in ((np.arange(31), 0.6), (np.arange(1, 30), 0.25)):
        m = np.stack([np.cos(t[keep]), np.sin(t[keep])], 1)
        x, y = q[keep, :, 0], q[keep, :, 1]
        r2 = (x - m @ np.linalg.lstsq(m, x, rcond=None)[0]) ** 2 + (y - y.mean(0)) ** 2
        assert np.sqrt(r2.mean()) < limit
