"""Small tilt series and beads for the tests of the viewers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tiltwright.engine.geometry.transform import rotation
from tiltwright.engine.model.alignment import Alignment, Fit
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.tilt_series import TiltSeries

N, NY, NX = 7, 60, 90


def smooth_stack(n: int = N, ny: int = NY, nx: int = NX) -> np.ndarray:
    """Views without fine detail, each another one, so that interpolation is exact enough."""
    y, x = np.mgrid[:ny, :nx]
    views = [
        100 + 10 * v + 40 * np.sin(x / (7 + v)) * np.cos(y / 9 + v) + 0.2 * x for v in range(n)
    ]
    return np.array(views, np.float32)


def make_series(
    *, aligned: bool = True, axis_deg: float = 84.0, stack=None, fit: bool = False, **more
) -> TiltSeries:
    stack = smooth_stack() if stack is None else stack
    n = len(stack)
    alignment = None
    if aligned:
        matrices = rotation(-axis_deg + 0.1 * np.arange(n))
        shifts = np.stack([np.linspace(-4, 5, n), np.linspace(3, -2, n)], -1)
        residual = np.full((3, n, 2), np.nan)
        residual[:, :, 0], residual[:, :, 1] = 0.3, 0.4
        found = Fit(
            np.arange(9.0).reshape(3, 3), np.zeros(3, np.int64), residual, *(np.ones((3, n)),) * 3,
            0.5, 0.5, 0.6,
        )  # fmt: skip
        alignment = Alignment(
            np.concatenate([matrices, shifts[..., None]], -1), np.linspace(-29, 31, n), 0.0,
            "fiducial", found if fit else None,
        )  # fmt: skip
    return TiltSeries(
        Path("series.mrc"), stack, np.linspace(-30, 30, n), axis_deg, 5.0, np.zeros(n, bool),
        alignment=alignment, **more,
    )  # fmt: skip


def make_model(series: TiltSeries) -> FiducialModel:
    xy = np.zeros((3, series.n_views, 2))
    xy[0], xy[1], xy[2] = [10.0, 5.0], [-20.0, 12.0], [0.0, -8.0]
    xy[2, 0] = np.nan
    return FiducialModel.from_tracks(xy, series.size, 8.0, surface=[0, 1, 0])
