"""A small series of ice whose CTF is known, and its table."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np

from tiltwright.engine.ctf.model import Optics
from tiltwright.engine.model.ctf_table import CtfTable
from tiltwright.engine.model.tilt_series import TiltSeries

sys.path.insert(0, str(Path(__file__).parents[1]))
from ctf_phantom import Rings, RingSpec

TILTS = (-50.0, -30.0, -10.0, 0.0, 10.0, 30.0, 50.0)
N = len(TILTS)
SPEC = RingSpec(
    seed=29, n=512, tilts=TILTS, contrast=12, hand=-1, astigmatism_a=4000, drift_um=0.03
)


@lru_cache(1)
def make_ice() -> tuple[Rings, TiltSeries]:
    twin = Rings(SPEC)
    stack = np.array([twin.view(v) for v in range(N)])
    series = TiltSeries(
        Path("ice.mrc"), stack, np.array(TILTS), SPEC.axis_deg, 2.0, np.zeros(N, bool),
        order=twin.order.astype(np.int64), order_known=True, name="ice",
    )  # fmt: skip
    return twin, series


def true_table(twin: Rings, series: TiltSeries, hand: int = -1) -> CtfTable:
    half = np.hypot(twin.a1, twin.a2)
    angle = np.degrees(np.arctan2(twin.a2, twin.a1)) / 2
    return CtfTable(
        series.order, series.tilt_deg, twin.defocus_a + half, twin.defocus_a - half, angle,
        np.zeros(N), np.full(N, np.nan), np.full(N, 0.9), np.full(N, 8.2), np.full(N, 60.0),
        np.ones(N, bool), Optics(), hand, 0.9 if hand else 0.0,
    )  # fmt: skip
