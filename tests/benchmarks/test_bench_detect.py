"""Speed of detection and centring."""

from __future__ import annotations

import numpy as np
import pytest

from tiltwright.engine.fiducials.background import background_power, stabilise, window_px
from tiltwright.engine.fiducials.centre import localise, matched_filter, template_spectra
from tiltwright.engine.fiducials.detect import detect_all
from tiltwright.engine.fiducials.template import ball_template


@pytest.fixture(scope="module")
def stack():
    rng = np.random.default_rng(0)
    views = rng.poisson(365, (41, 1024, 1440)).astype(np.int16)
    axis = np.arange(-12, 13)
    r2 = axis[:, None] ** 2 + axis[None, :] ** 2
    beads = rng.integers(30, (990, 1400), (60, 2))
    for diameter, part in ((18, slice(None)),):
        ball = 1 - 0.5 * np.sqrt(np.maximum(1 - 4 * r2 / diameter**2, 0))
        for y, x in beads:
            window = views[part, y - 12 : y + 13, x - 12 : x + 13]
            window[:] = (window * ball).astype(np.int16)
    return views, beads[:, ::-1].astype(float)


@pytest.mark.parametrize("diameter", [18.0, 9.0])
def test_detection_of_41_views(benchmark, stack, diameter):
    detect_all(stack[0][:1], diameter)
    found = benchmark.pedantic(detect_all, (stack[0], diameter), rounds=3)
    assert len(found) == 41


def test_centring_of_60_beads_in_41_views(benchmark, stack):
    views, xy = stack
    template, side = ball_template(18.0), window_px(18.0)
    spectra = template_spectra(template, side)

    def centre(view):
        image = stabilise(view)
        power = background_power(image, xy[:0], xy[:0, 0], template, side)
        return localise(image, xy, matched_filter(template, spectra, power))

    assert centre(views[0]).ok.mean() > 0.9
    benchmark.pedantic(lambda: [centre(view) for view in views], rounds=3)
