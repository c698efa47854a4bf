from __future__ import annotations

import numpy as np
import pytest

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.interpolate import warp_view
from tiltwright.engine.geometry.transform import apply, identity, rotation


def bumps(shape, xy, sigma=4.0):
    ny, nx = shape
    y, x = np.mgrid[:ny, :nx]
    return sum(
        np.exp(-((x - px - (nx - 1) / 2) ** 2 + (y - py - (ny - 1) / 2) ** 2) / (2 * sigma**2))
        for px, py in xy
    )


@pytest.mark.parametrize("angle", [0.0, 3.0, 84.5, -84.5, 180.0])
def test_a_rotated_and_shifted_image_has_its_bumps_where_the_transform_says(angle):
    xy = np.array([[-20.3, 11.7], [14.1, -17.6]])
    xf = np.c_[rotation(angle), [2.3, -1.4]]
    image = bumps((90, 101), xy)
    moved = warp_view(image, xf, (104, 110), fill=0.0)
    truth = bumps((104, 110), apply(xf, xy))
    assert moved.dtype == np.float32
    assert np.abs(moved - truth)[8:-8, 8:-8].max() < 2e-3


def test_identity_and_whole_shifts_copy_pixels_exactly():
    image = np.random.default_rng(0).integers(-900, 900, (70, 131)).astype(np.int16)
    assert np.array_equal(warp_view(image, identity(1)[0], image.shape), image)
    xf = identity(1)[0]
    xf[:, 2] = 3, -2
    moved = warp_view(image, xf, image.shape, fill=7.0)
    assert np.array_equal(moved[:-2, 3:], image[2:, :-3])
    assert (moved[-2:] == 7).all()
    assert (moved[:, :3] == 7).all()


def test_a_quadratic_is_reproduced():
    y, x = np.mgrid[:40, :40].astype(float)
    image = 0.1 * x**2 - 0.2 * x * y + 3 * y
    xf = identity(1)[0]
    xf[:, 2] = 0.3, -0.45
    truth = 0.1 * (x - 0.3) ** 2 - 0.2 * (x - 0.3) * (y + 0.45) + 3 * (y + 0.45)
    moved = warp_view(image, xf, (40, 40))
    assert np.abs(moved - truth)[3:-3, 3:-3].max() < 2e-3


def test_the_transposed_result_is_the_same_and_the_mean_fills():
    image = np.random.default_rng(1).normal(100, 5, (60, 80))
    image[4, 5] = np.nan
    xf = np.c_[rotation(77.0), [30.0, 1.0]]
    plain = warp_view(image, xf, (85, 66))
    turned = warp_view(image, xf, (85, 66), transposed=True)
    assert turned.shape == (66, 85)
    assert np.allclose(plain, turned.T, atol=1e-2)
    assert np.isfinite(plain).all()
    assert plain[0, 0] == pytest.approx(np.nanmean(image), rel=1e-6)


@pytest.mark.parametrize(
    ("image", "xf"),
    [(np.zeros(5), identity(1)[0]), (np.zeros((5, 5)), np.zeros((2, 3))), (np.zeros((0, 5)), None)],
)
def test_nonsense_is_refused(image, xf):
    with pytest.raises(InputError):
        warp_view(image, identity(1)[0] if xf is None else xf, (5, 5))
