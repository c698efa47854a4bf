"""The CTF model against a twin, its signs, and the defocus across a tilted specimen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ctf_phantom import twin_ctf

from tiltwright.engine.ctf.model import Defocus, Optics, ctf, defocus_slopes, phase, wavelength_a
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.simulate.ctf import phase_ctf

OPTICS = Optics(300, 2.7, 0.1)


def test_the_signs():
    near = 1e-4
    df = Defocus(30000, 30000)
    assert ctf(0, 0, df, OPTICS) == pytest.approx(0.1)
    assert ctf(near, 0, df, OPTICS) > 0.1  # underfocus adds to the amplitude contrast
    assert ctf(near, 0, Defocus(-30000, -30000), OPTICS) < 0.1
    first_zero = 1 / math.sqrt(wavelength_a(300) * 30000)
    assert ctf(0.8 * first_zero, 0, df, OPTICS) > 0
    assert ctf(1.1 * first_zero, 0, df, OPTICS) < 0
    # A phase plate moves the first zero inwards, as more defocus does.
    assert phase(0, 0, Defocus(3e4, 3e4, 0, 90), OPTICS) == pytest.approx(
        math.pi / 2 + math.asin(0.1)
    )
    # The defocus along the angle is u.
    wide = Defocus(31000, 29000, 20)
    for theta, d in ((20, 31000), (110, 29000), (65, 30000)):
        along = phase(0.05, math.radians(theta), wide, OPTICS)
        assert along == pytest.approx(phase(0.05, 0, Defocus(d, d), OPTICS))


def test_against_the_twin_and_the_simulator():
    rng = np.random.default_rng(0)
    s, theta = rng.uniform(0, 0.2, 500), rng.uniform(-math.pi, math.pi, 500)
    df = Defocus.of_components(32000, 150, -260, 40)
    assert df.components == pytest.approx((32000, 150, -260))
    twin = twin_ctf(s**2, np.cos(2 * theta), np.sin(2 * theta), 32000, 150, -260, 40, 0.1)
    np.testing.assert_allclose(ctf(s, theta, df, OPTICS), twin, atol=2e-3)
    other = phase_ctf((s**2).astype(np.float32), 3e4, 300, 2.7, 0.1)
    np.testing.assert_allclose(ctf(s, 0, Defocus(3e4, 3e4), OPTICS), other, atol=1e-4)


def test_defocus_slope_is_the_height_of_the_projected_plane():
    """Points of the plane specimen, projected: slope times offset is their height."""
    tilt = np.array([-55.0, 0.0, 40.0])
    geometry = ViewGeometry(
        tilt, np.array([-84.0, -85.0, 10.0]), np.array([1.0, 1.01, 0.99]), np.full(3, 0.01),
        np.full(3, -0.02), np.array([[3.0, 5], [0, 0], [-7, 2]]), 4.0,
    )  # fmt: skip
    plane = np.array([[100.0, -40, 0], [-300, 250, 0], [20, 500, 0]])
    landed = geometry.project(plane)
    xi, t = math.radians(4.0), np.deg2rad(tilt)
    raised = plane[:, 1, None] * math.sin(xi)  # z after the x-axis tilt
    height = -plane[:, :1] * np.sin(t) + raised * np.cos(t)
    for hand in (1, -1):
        slopes = defocus_slopes(geometry, 2.0, hand)
        offset = np.einsum("pvi,vi->pv", landed - geometry.shift_px, slopes)
        np.testing.assert_allclose(offset, hand * 2.0 * height, atol=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 2.7, 0.1), "voltage"),
        ((300, -1, 0.1), "aberration"),
        ((300, 2.7, math.nan), "contrast"),
    ],
)
def test_impossible_optics(values, message):
    with pytest.raises(InputError, match=message):
        Optics(*values)
