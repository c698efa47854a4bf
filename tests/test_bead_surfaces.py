"""The specimen's planes from beads: made up exactly, then disturbed."""

from __future__ import annotations

import numpy as np
import pytest

from tiltwright.engine.errors import DataError
from tiltwright.engine.volume.bead_surfaces import bead_boundaries

SHAPE = (200, 400, 300)


def beads(slope=(0.02, -0.05), n=20, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 299, 2 * n), rng.uniform(0, 399, 2 * n)
    surface = np.repeat([0, 1], n)
    rise = slope[0] * (x - 149.5) + slope[1] * (y - 199.5)
    return np.c_[x, y, np.where(surface == 0, 60.0, 130.0) + rise], surface


def test_planes_are_those_that_the_beads_lie_on():
    xyz, surface = beads()
    found = bead_boundaries(xyz, surface, SHAPE, margin_px=4)
    assert found.bottom_px == pytest.approx(56, abs=1e-6)
    assert found.top_px == pytest.approx(134, abs=1e-6)
    assert (found.slope_x, found.slope_y) == pytest.approx((0.02, -0.05), abs=1e-9)
    assert found.n_patches == 40


def test_a_few_wrong_beads_do_not_tip_them():
    xyz, surface = beads()
    xyz[3, 2] += 60
    xyz[25, 2] -= 50
    xyz[30] = np.nan
    surface[8] = 1
    found = bead_boundaries(xyz, surface, SHAPE)
    assert found.bottom_px == pytest.approx(60, abs=1.5)
    assert found.top_px == pytest.approx(130, abs=1.5)
    assert found.slope_y == pytest.approx(-0.05, abs=0.003)


def test_few_beads_give_level_planes_and_too_few_none():
    xyz, surface = beads(slope=(0, 0), n=3)
    found = bead_boundaries(xyz, surface, SHAPE)
    assert (found.slope_x, found.slope_y) == (0, 0)
    assert found.thickness_px == pytest.approx(71)
    with pytest.raises(DataError, match="fewer than three"):
        bead_boundaries(xyz, np.zeros(6), SHAPE)
    with pytest.raises(DataError, match="two surfaces"):
        bead_boundaries(xyz, 1 - surface, SHAPE)


def test_planes_stay_inside_the_volume():
    xyz, surface = beads(slope=(0, 0))
    found = bead_boundaries(xyz, surface, (100, 400, 300), margin_px=90)
    assert (found.bottom_px, found.top_px) == (0, 99)
