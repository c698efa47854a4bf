"""Time of the CTF: estimation of one view, and correction of one view at 60 degrees."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tiltwright.engine.ctf.correct import Correction, correct_stack, correct_view
from tiltwright.engine.ctf.estimate import Settings, estimate_series
from tiltwright.engine.ctf.model import Defocus, Optics, defocus_slopes
from tiltwright.engine.geometry.projection import ViewGeometry

sys.path.insert(0, str(Path(__file__).parents[1]))
from ctf_phantom import Rings, RingSpec

TILTS = (-60.0, -30.0, 0.0, 30.0, 60.0)


@pytest.mark.parametrize("n", [1024, 2048])
def test_estimation_of_five_views(benchmark, n):
    spec = RingSpec(n=n, tilts=TILTS)
    twin = Rings(spec)
    stack = np.array([twin.view(v) for v in range(5)])
    slopes = defocus_slopes(ViewGeometry.nominal(TILTS, spec.axis_deg), 2.0)
    centres, used = np.full((5, 2), (n - 1) / 2), np.ones(5, bool)

    def run():
        return estimate_series(
            stack, 2.0, slopes, centres, twin.tilt, twin.order, used, Optics(), Settings()
        )

    fit = benchmark(run)
    assert fit.hand == 1


@pytest.mark.parametrize("ramp", [None, 15.0], ids=["smooth", "strips"])
@pytest.mark.parametrize("tilt", [0.0, 30.0, 60.0])
def test_correction_of_a_view(benchmark, tilt, ramp):
    image = np.random.default_rng(0).standard_normal((1024, 1440), np.float32)
    slope = defocus_slopes(ViewGeometry.nominal([tilt], -84.5), 5.52)[0]
    done = benchmark(
        correct_view, image, 5.52, Defocus(31000, 30000, 20), Optics(), slope, (719.5, 511.5),
        Correction("flip", 2000.0, ramp),
    )  # fmt: skip
    assert done.shape == image.shape


@pytest.mark.parametrize("ramp", [None, 15.0], ids=["smooth", "strips"])
def test_correction_of_a_series(benchmark, ramp):
    """41 views of 1440 x 1024 by two threads, as read from a file of int16."""
    tilt = np.linspace(-60, 60, 41)
    stack = np.random.default_rng(0).poisson(300, (41, 1024, 1440)).astype(np.int16)
    slopes = defocus_slopes(ViewGeometry.nominal(tilt, -84.5), 5.52)
    defocus = dict.fromkeys(range(41), Defocus(31000, 30000, 20))
    written = []

    def run():
        correct_stack(
            stack, 5.52, defocus, Optics(), slopes, np.full((41, 2), (719.5, 511.5)),
            Correction("flip", 2000.0, ramp), lambda v, image: written.append(v), threads=2,
        )  # fmt: skip

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    assert len(written) >= 41
