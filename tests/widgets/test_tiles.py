"""Display levels, exact warping and levels of contrast, against slow twins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from viewer_data import make_series, smooth_stack

from tiltwright.widgets.image import tiles
from tiltwright.widgets.image.tiles import Grey, Tile, auto_levels, read_tile, sample, to_grey
from tiltwright.widgets.series.series_source import PictureCache, Rendered, SeriesSource


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.float32, ">i2"])
@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_a_tile_is_the_mean_of_its_pixels(dtype, factor):
    image = np.random.default_rng(1).integers(0, 100, (41, 53)).astype(dtype)
    tile = read_tile(image, factor)
    ny, nx = 41 // factor, 53 // factor
    twin = [
        [
            image[j * factor : (j + 1) * factor, i * factor : (i + 1) * factor].astype(float).mean()
            for i in range(nx)
        ]
        for j in range(ny)
    ]
    np.testing.assert_allclose(tile.data, twin, rtol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_of_large_views_only_middle_rows_are_read_and_centres_stay_exact(monkeypatch, factor):
    monkeypatch.setattr(tiles, "SMALL_PIXELS", 10)
    y, x = np.mgrid[:60, :60]
    tile = read_tile((3.0 * x + 2.0 * y).astype(np.float32), factor)
    j, i = np.mgrid[: 60 // factor, : 60 // factor]
    centre = (factor - 1) / 2
    expected = 3.0 * (i * factor + centre) + 2.0 * (j * factor + centre)
    np.testing.assert_allclose(tile.data, expected, rtol=1e-5)


def test_a_part_is_cut_at_the_edges_of_the_image():
    image = np.arange(30 * 20, dtype=np.float32).reshape(30, 20)
    tile = read_tile(image, 1, (-5, 10, 8, 99))
    assert (tile.x0, tile.y0, tile.data.shape) == (0, 10, (20, 8))
    np.testing.assert_array_equal(tile.data, image[10:, :8])
    assert tile.value(3.4, 12) == image[12, 3]
    assert np.isnan(tile.value(8.6, 12))


def twin(series, view, x, y, margin=3):
    """Positions of the aligned picture looked up in the raw view by splines."""
    xf = series.image_transforms()[view]
    ny, nx = series.images.shape[1:]
    source = SeriesSource(series, True)
    at = np.stack([x - (source.size[0] - 1) / 2, y - (source.size[1] - 1) / 2])
    raw = np.linalg.inv(xf[:, :2]) @ (at.reshape(2, -1) - xf[:, 2:])
    rows = [raw[1] + (ny - 1) / 2, raw[0] + (nx - 1) / 2]
    inside = (rows[0] > margin) & (rows[0] < ny - 1 - margin)
    inside &= (rows[1] > margin) & (rows[1] < nx - 1 - margin)
    return map_coordinates(series.images[view], rows, order=3).reshape(x.shape), inside.reshape(
        x.shape
    )


@pytest.mark.parametrize("axis_deg", [84.0, 2.0, -37.0])
def test_the_interpolated_view_is_the_transform_applied(axis_deg):
    series = make_series(axis_deg=axis_deg)
    tile = SeriesSource(series, True).tile(2, 1)
    y, x = np.mgrid[: tile.data.shape[0], : tile.data.shape[1]].astype(float)
    expected, inside = twin(series, 2, x, y)
    assert inside.sum() > 2000
    # Cubic convolution against splines of a smooth picture of 80 grey values from end to end.
    assert np.abs(tile.data - expected)[inside].max() < 0.25


@pytest.mark.parametrize("factor", [2, 3])
def test_at_a_display_level_it_lies_at_the_same_place(factor):
    stack = np.array([np.mgrid[:600, :900].sum(0) * 0.5 + v for v in range(3)], np.float32)
    series = make_series(stack=stack)
    tile = SeriesSource(series, True).tile(1, factor)
    j, i = np.mgrid[: tile.data.shape[0], : tile.data.shape[1]]
    x, y = (tile.x0 + factor * i + (factor - 1) / 2, tile.y0 + factor * j + (factor - 1) / 2)
    expected, inside = twin(series, 1, x, y, 3 * factor)
    assert inside.sum() > 10_000
    # On a slope of 0.7 a shift of 0.1 pixel would show as 0.07.
    assert np.abs(tile.data - expected)[inside].max() < 0.02


@pytest.mark.parametrize("interpolated", [False, True])
def test_a_detail_shows_what_the_whole_view_shows(interpolated):
    series = make_series()
    source = SeriesSource(series, interpolated)
    whole, part = source.tile(3, 1), source.tile(3, 1, (12, 20, 40, 50))
    np.testing.assert_allclose(part.data, whole.data[20:50, 12:40], atol=1e-3)
    assert part.bounds == (11.5, 19.5, 39.5, 49.5)


def test_positions_go_to_the_picture_and_back():
    series = make_series(work=smooth_stack(7, 30, 46), binning=2)
    for interpolated in (False, True):
        source = SeriesSource(series, interpolated)
        raw = np.array([[3.0, -7.5], [20.0, 11.0]])
        shown = source.from_raw(4, raw)
        np.testing.assert_allclose(source.to_raw(4, shown), raw, atol=1e-9)
    assert source.size == (30, 46)


def test_levels_do_not_follow_blank_corners_and_beads():
    rng = np.random.default_rng(0)
    values = rng.normal(100, 10, 50_000)
    clean = auto_levels(values)
    values[:4000], values[4000:6000] = 255, 0
    assert np.abs(np.subtract(auto_levels(values), clean)).max() < 8
    assert auto_levels(np.full(100, 7.0)) == (6.5, 7.5)
    assert auto_levels(np.zeros(0)) == (0.0, 1.0)


def test_grey_values_run_from_black_to_white_and_top_down():
    data = np.array([[0, 50, 100], [-9, np.nan, 300]], np.float32)
    grey = to_grey(data, 0, 100)
    assert grey.shape == (2, 4)
    np.testing.assert_array_equal(grey[:, :3], [[0, 0, 255], [0, 127, 255]])
    np.testing.assert_array_equal(to_grey(data, 0, 100, inverted=True)[1, :3], [255, 127, 0])
    assert sample(data).tolist() == [0, 50, 100, -9, 300]


def test_the_cache_is_bounded_and_lets_the_oldest_go():
    grey = Grey((0, 1), np.zeros((5, 4), np.uint8))
    picture = Rendered(Tile(np.zeros((10, 9), np.float32)), (0, 1), np.zeros(5, np.float32), grey)
    cache = PictureCache(1000)
    for key in "ab":
        cache.put(key, picture)
    cache.get("a")
    cache.put("c", picture)
    assert ("a" in cache, "b" in cache, "c" in cache) == (True, False, True)
    assert cache.bytes == 800
    assert not cache.has_room(400)
