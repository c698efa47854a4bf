"""What the preview of denoising shows is what the run on the whole volume gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.volume.denoise import Denoising, denoise_slab, mean_gradient
from tiltwright.engine.volume.preview import denoise_box, limits, margin_of


def phantom(shape=(60, 150, 170), seed=0, blank=False):
    rng = np.random.default_rng(seed)
    clean = 900 * ndimage.gaussian_filter(rng.standard_normal(shape), 4) / 0.05
    volume = (clean + rng.normal(0, 900, shape)).astype(np.float32)
    if blank:
        volume[:, :, :40] = 0
    return volume


def last(pieces):
    *before, found = pieces
    assert all(piece is None for piece in before)
    return found


METHODS = [
    Denoising("eed"), Denoising("eed", iterations=25, sigma=1.0, step=0.15),
    Denoising("eed", lam=500.0), Denoising("beltrami", iterations=40, step=0.15),
    Denoising("gaussian", sigma=2.0), Denoising("median", size=5),
    Denoising("band-pass", low=0.02, high=0.2),
]  # fmt: skip


@pytest.mark.parametrize("how", METHODS, ids=lambda how: f"{how.method}-{how.iterations}")
@pytest.mark.parametrize("blank", [False, True])
def test_a_part_is_what_the_whole_run_gives_there(how, blank):
    volume = phantom(blank=blank)
    whole = denoise_slab(volume, how, threads=2)
    lams = last(limits(volume, how))
    box = (30, 31), (40, 110), (20, 120)
    part = last(denoise_box(volume, how, box, lams, threads=2))
    twin = whole[30:31, 40:110, 20:120]
    assert part.shape == twin.shape
    noise = volume[30].std()
    # Two hundredths of the noise make one grey level of the screen: this is a quarter of that.
    assert np.abs(part - twin).max() < 5e-3 * noise
    assert np.abs(whole[30] - volume[30]).max() > 0.3 * noise


@pytest.mark.parametrize("corner", [((0, 3), (0, 50), (0, 60)), ((57, 60), (120, 150), (90, 170))])
@pytest.mark.parametrize("how", [METHODS[0], METHODS[3], METHODS[6]], ids=lambda how: how.method)
def test_at_the_edges_of_the_volume_too(how, corner):
    volume = phantom()
    whole = denoise_slab(volume, how, threads=2)
    part = last(denoise_box(volume, how, corner, last(limits(volume, how))))
    twin = whole[tuple(slice(a, b) for a, b in corner)]
    assert np.abs(part - twin).max() < 5e-3 * volume.std()


def test_the_limits_are_those_of_the_whole_run():
    volume, how = phantom(seed=3), Denoising(iterations=6)
    found = last(limits(volume, how))
    now = volume
    for lam in found:
        # Most cubes of so small a volume touch its edge, which is mirrored for them: 0.14 %.
        assert lam == pytest.approx(mean_gradient(now, 0.5), rel=2e-3)
        now = denoise_slab(now, Denoising(iterations=1))


def test_a_thin_volume_and_one_smaller_than_a_cube():
    for shape in ((5, 60, 70), (12, 13, 14), (1, 40, 50)):
        volume, how = phantom(shape), Denoising(iterations=4)
        whole = denoise_slab(volume, how)
        box = tuple((0, n) for n in shape)
        part = last(denoise_box(volume, how, box, last(limits(volume, how))))
        assert np.abs(part - whole).max() < 5e-3 * volume.std()


def test_it_is_done_in_pieces_and_with_a_small_margin():
    volume, how = phantom(), Denoising()
    assert sum(piece is None for piece in limits(volume, how)) >= how.iterations
    pieces = denoise_box(volume, how, ((9, 10), (0, 20), (0, 20)), [500.0] * 10)
    assert sum(piece is None for piece in pieces) >= how.iterations
    assert margin_of(how) < 16


def test_what_is_wrong_is_said():
    volume = phantom((20, 30, 40))
    with pytest.raises(InputError, match="no voxels 21 to 22 of 20"):
        last(denoise_box(volume, Denoising(), ((20, 22), (0, 5), (0, 5)), [1.0]))
    with pytest.raises(InputError, match="odd size"):
        last(limits(volume, Denoising("median", size=4)))
    with pytest.raises(DataError, match="constant"):
        last(limits(np.zeros((20, 30, 40), np.float32), Denoising()))
    volume[3, 4, 5] = np.nan
    with pytest.raises(InputError, match="not finite"):
        last(denoise_box(volume, Denoising(), ((3, 4), (0, 9), (0, 9)), [1.0] * 10))
