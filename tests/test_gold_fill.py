"""Holes filled with noise: its level, its power, and what is around it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tiltwright.engine.errors import InputError
from tiltwright.engine.fiducials.gold_fill import fill_gold


def distances(shape, xy):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.min([np.hypot(x - p[0], y - p[1]) for p in xy], axis=0)


def test_a_fringe_is_told_from_a_slope_also_by_the_border():
    rng = np.random.default_rng(4)
    noise = ndimage.gaussian_filter(rng.standard_normal((300, 300)), 1.2, mode="wrap")
    slope = np.linspace(0, 300, 300)
    image = 500 + 40 * noise / noise.std() + slope
    away = distances(image.shape, [(x, y) for x in range(4, 300, 60) for y in range(25, 290, 60)])
    fringed = image + 250 * np.exp(-(((away - 8) / 1.5) ** 2))
    holes = away < 7
    fringed[holes] = 0
    filled = fill_gold(fringed, holes, 12.0, (1, 2))
    # an eighth of the fringe; an average of this texture over some holes varies as much
    for which in (away < 5, (away < 5) & (np.arange(300) < 10)):
        assert (filled - slope)[which].mean() == pytest.approx(500, abs=30)
        assert (filled - slope)[which].std() == pytest.approx(50, rel=0.4)


def test_levels_of_equal_pixels_and_of_clusters():
    image = np.full((120, 120), 7.0)
    image[:, 80:] = 9
    holes = np.zeros((120, 120), bool)
    holes[20:26, 20:26] = holes[50:110, 4:64] = holes[:, 118:] = True
    image[holes] = -50
    filled = fill_gold(image, holes, 8.0, (1,))
    # no noise is known to the last digit: none is made but what keeps the spectrum finite
    assert np.abs(filled[20:26, 20:26] - 7).max() < 0.5
    assert np.median(filled[50:110, 4:64]) == pytest.approx(7, abs=0.5)
    assert np.median(filled[:, 118:]) == pytest.approx(9, abs=0.5)


def test_filling_has_the_power_of_its_surroundings():
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.standard_normal((300, 300)), 1.2, mode="wrap")
    image = (500 + 40 * noise / noise.std()).astype(np.float32)
    image += np.linspace(0, 300, 300, dtype=np.float32)
    centres = [(y, x) for y in range(25, 290, 40) for x in range(25, 290, 40)]
    away = distances(image.shape, [(x, y) for y, x in centres])
    holes = away < 7
    damaged = np.where(holes, 0, image).astype(np.float32)
    filled = fill_gold(damaged, holes, 12.0, (1, 2))
    np.testing.assert_array_equal(filled[~holes], image[~holes])
    trend = np.linspace(0, 300, 300)
    inside, truth = (filled - trend)[away < 5], (image - trend)[away < 5]
    assert inside.mean() == pytest.approx(500, abs=8)
    assert inside.std() == pytest.approx(truth.std(), rel=0.2)
    step = np.diff(filled - trend, axis=1)[away[:, 1:] < 5]
    assert step.std() == pytest.approx(
        np.diff(image - trend, axis=1)[away[:, 1:] < 5].std(), rel=0.2
    )
    np.testing.assert_array_equal(filled, fill_gold(damaged, holes, 12.0, (1, 2)))
    assert (filled != fill_gold(damaged, holes, 12.0, (1, 3))).any()


def test_bad_masks_and_views_are_named():
    image, mask = np.ones((40, 40), np.float32), np.zeros((40, 40), bool)
    with pytest.raises(InputError, match="a mask of"):
        fill_gold(image, mask[:-1], 8.0, (1,))
    with pytest.raises(InputError, match="more than half"):
        fill_gold(image, ~mask, 8.0, (1,))
    image[3, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        fill_gold(image, mask, 8.0, (1,))
