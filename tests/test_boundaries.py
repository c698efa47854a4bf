"""Boundaries of a specimen in volumes whose slab is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.volume.boundaries import find_boundaries, profile_edges

SHAPE = (100, 260, 300)


def slab(bottom, top, slope_x=0.0, slope_y=0.0, noise=1.0, seed=0, shape=SHAPE):
    """Blobs between two planes, in noise that is as strong outside."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)
    rise = slope_x * (x - (shape[2] - 1) / 2) + slope_y * (y - (shape[1] - 1) / 2)
    blobs = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 3)
    blobs *= 1.2 / blobs.std()
    inside = (z >= bottom + rise) & (z <= top + rise)
    return blobs * inside + noise * rng.standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("bottom", "top", "slope_x", "slope_y"),
    [(30, 69, 0, 0), (25, 60, 0.05, -0.06), (12, 80, -0.03, 0.04)],
)
def test_a_slab_is_found_where_it_lies(bottom, top, slope_x, slope_y):
    found = find_boundaries(slab(bottom, top, slope_x, slope_y))
    assert found.bottom_px == pytest.approx(bottom, abs=4)
    assert found.top_px == pytest.approx(top, abs=4)
    assert found.slope_x == pytest.approx(slope_x, abs=0.015)
    assert found.slope_y == pytest.approx(slope_y, abs=0.015)
    assert found.thickness_px == pytest.approx(top - bottom + 1, abs=6)
    assert found.centre_px == pytest.approx((top + bottom) / 2, abs=2)
    assert np.tan(np.deg2rad(found.x_tilt_deg)) == pytest.approx(found.slope_y)
    assert np.tan(np.deg2rad(found.tilt_offset_deg)) == pytest.approx(found.slope_x)


def test_beads_and_an_empty_corner_do_not_mislead():
    volume = slab(30, 69, seed=1)
    quiet = np.random.default_rng(5).standard_normal((100, 90, 100), dtype=np.float32)
    volume[:, :90, :100] = quiet
    volume[10:14, 200:204, 200:204] = -60
    volume[88:92, 60:64, 150:154] = -60
    found = find_boundaries(volume)
    assert found.bottom_px == pytest.approx(30, abs=4)
    assert found.top_px == pytest.approx(69, abs=4)
    assert abs(found.x_tilt_deg) < 1


def test_scattered_specimens_are_enclosed():
    volume = slab(20, 45, seed=4)
    volume[:, 130:] = slab(50, 80, seed=5)[:, 130:]
    found = find_boundaries(volume)
    for y, bottom, top in ((40, 20, 45), (220, 50, 80)):
        rise = found.slope_y * (y - 129.5)
        assert found.bottom_px + rise < bottom + 4
        assert found.top_px + rise > top - 4


def test_integers_and_float32_agree():
    volume = slab(30, 69, seed=2)
    a, b = find_boundaries(volume), find_boundaries(np.rint(volume * 200).astype(np.int16))
    assert a.bottom_px == pytest.approx(b.bottom_px, abs=0.5)
    assert a.top_px == pytest.approx(b.top_px, abs=0.5)


def test_noise_alone_has_no_boundaries():
    with pytest.raises(DataError, match="by hand"):
        find_boundaries(np.random.default_rng(3).standard_normal((60, 130, 130), dtype=np.float32))


def test_too_small_a_volume_is_refused():
    with pytest.raises(InputError, match="too small"):
        find_boundaries(np.zeros((8, 100, 100), np.float32))


def twin_edges(profile):
    """Every pair of edges, one after the other."""
    n, best = len(profile), (np.inf, 0, 0)
    for a in range(n):
        for b in range(a + 4, n + 1):
            if b - a > n - 4:
                continue
            inside = profile[a:b]
            outside = np.r_[profile[:a], profile[b:]]
            if inside.mean() <= outside.mean():
                continue
            error = ((inside - inside.mean()) ** 2).sum() + ((outside - outside.mean()) ** 2).sum()
            best = min(best, (error, a, b))
    return best[1], best[2] - 1, 1 - best[0] / ((profile - profile.mean()) ** 2).sum()


@pytest.mark.parametrize("seed", range(4))
def test_edges_of_a_profile_are_the_best_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    profile = rng.normal(0, 0.5, 30)
    profile[9:21] += 1
    assert profile_edges(profile) == pytest.approx(twin_edges(profile))
    assert profile_edges(np.ones(30))[2] == 0
