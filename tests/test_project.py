"""The projector: its slow twin, the adjoint of the back-projector, and an independent program."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from tiltwright.engine.errors import InputError
from tiltwright.engine.recon import vectors
from tiltwright.engine.recon.backproject import (
    backproject,
    empty_rows,
    empty_volume,
    fixed_point,
    take_sections,
)
from tiltwright.engine.recon.project import Rays, project, sweep
from tiltwright.engine.recon.vectors import BLOCK

CASES = [
    (5, 37, 3, 70.0), (1, 1, 1, 0.0), (9, 16, 17, 60.0), (17, 33, 18, 89.0), (3, 70, 9, 0.0),
    (41, 64, 40, 60.0),
]  # fmt: skip


def positions(n_views, n_x, n_z, most):
    t = np.deg2rad(np.linspace(-most, most, n_views) if n_views > 1 else [most])
    x, z = (np.arange(n) - (n - 1) / 2 for n in (n_x, n_z))
    n_rows = int(np.hypot(n_x, n_z)) + 4
    return x[:, None] * np.cos(t) + (n_rows - 1) / 2, z[:, None] * np.sin(t), n_rows


def slow_twin(volume, along_x, along_z, n_rows):
    """Loops over voxels, float64: each adds to the two rows between which it lies."""
    rows = np.zeros((along_x.shape[1], n_rows, volume.shape[2]))
    for z, x, v in np.ndindex(len(along_z), len(along_x), along_x.shape[1]):
        at = along_x[x, v] + along_z[z, v]
        k, u = int(np.floor(at)), at - np.floor(at)
        rows[v, k] += (1 - u) * volume[z, x]
        rows[v, k + 1] += u * volume[z, x]
    return rows


@pytest.mark.parametrize("case", CASES)
def test_the_projector_equals_its_slow_twin(case):
    along_x, along_z, n_rows = positions(*case)
    n_views, n_x, n_z, _ = case
    rng = np.random.default_rng(n_x)
    volume = empty_volume(1, n_z, n_x)[0]
    volume[:, :n_x] = rng.standard_normal((n_z, n_x, BLOCK))
    rows = empty_rows(BLOCK, n_views, n_rows)[0]
    rows[:] = 1
    project(volume, rows, Rays.of(fixed_point(along_x), fixed_point(along_z)))
    assert np.abs(rows - 1 - slow_twin(volume, along_x, along_z, n_rows)).max() < 2e-3


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_adjoint_of_the_back_projector(case):
    along_x, along_z, n_rows = positions(*case)
    n_views, n_x, n_z, _ = case
    rng = np.random.default_rng(n_z)
    at_x, at_z = fixed_point(along_x), fixed_point(along_z)
    volume = empty_volume(1, n_z, n_x)
    volume[0, :, :n_x] = rng.standard_normal((n_z, n_x, BLOCK))
    projected, rows = (empty_rows(BLOCK, n_views, n_rows) for _ in range(2))
    projected[:] = 0
    rows[:] = rng.standard_normal(rows.shape)
    project(volume[0], projected[0], Rays.of(at_x, at_z))
    back = np.empty((n_z, BLOCK, n_x), np.float32)
    backproject(rows, at_x, at_z, back)
    one = np.vdot(projected.astype(float), rows)
    two = np.vdot(volume[0, :, :n_x].transpose(0, 2, 1).astype(float), back)
    size = np.linalg.norm(projected.astype(float)) * np.linalg.norm(rows.astype(float))
    assert abs(one - two) < 1e-6 * size
    # In the same pass: corrected by the rows, then projected.
    before = volume.copy()
    again = np.zeros_like(projected)
    for first in range(0, n_z, 8):
        rays = Rays.of(at_x, at_z)
        sweep(volume[0], (rows[0], rays), (again[0], rays), (first, min(first + 8, n_z)))
    change = (volume - before)[0, :, :n_x].transpose(0, 2, 1)
    assert np.abs(change - back).max() < 1e-4 * np.abs(back).max() + 1e-5
    assert np.all(volume[0, :, n_x:] == 0)
    projected[:] = 0
    project(volume[0], projected[0], Rays.of(at_x, at_z))
    assert np.abs(projected - again).max() < 1e-5 * np.abs(again).max()


def test_the_vector_step_equals_its_plain_form():
    rng = np.random.default_rng(1)
    rows, voxels = rng.random(12 * BLOCK, np.float32), rng.random(9 * BLOCK, np.float32)
    at_x = fixed_point(np.r_[9.0, 0.5 + 0.77 * np.arange(7)])
    plain, fast = rows.copy(), rows.copy()
    where = (voxels, BLOCK, at_x, 1, int(fixed_point(np.array(1.3))), 7)
    vectors.spread_line(plain, 2 * BLOCK, *where)
    njit(lambda r, w: vectors.spread_line(r, 2 * BLOCK, *w))(fast, where)
    assert np.abs(plain - fast).max() < 1e-5
    assert np.array_equal(fast[: 3 * BLOCK], rows[: 3 * BLOCK])
    assert not np.array_equal(fast[3 * BLOCK : 4 * BLOCK], rows[3 * BLOCK : 4 * BLOCK])


def test_limits_hold_after_the_correction_and_before_the_projection():
    along_x, along_z, n_rows = positions(5, 20, 9, 60.0)
    rays = Rays.of(fixed_point(along_x), fixed_point(along_z))
    rng = np.random.default_rng(0)
    back, forth = rng.standard_normal((2, 5, n_rows, BLOCK)).astype(np.float32)
    free, volume = empty_volume(1, 9, 20)[0], empty_volume(1, 9, 20)[0]
    mask = empty_volume(1, 9, 20)[0]
    mask[2:7, 3:15] = 0.5
    forth[:] = 0
    sweep(free, (back, rays), None, (0, 9))
    sweep(volume, (back, rays), (forth, rays), (0, 9), (-1.0, 0.25), mask)
    assert np.array_equal(volume, np.clip(free, -1, 0.25) * mask)
    again = np.zeros_like(forth)
    project(volume, again, rays)
    assert np.abs(again - forth).max() < 1e-5


def smooth_slice(n):
    """Gaussian balls in a disc, so that interpolation matters little."""
    rng = np.random.default_rng(2)
    z, x = np.mgrid[:n, :n] - (n - 1) / 2
    image = np.zeros((n, n))
    for cz, cx in rng.uniform(-0.3 * n, 0.3 * n, (12, 2)) * 0.9:
        image += rng.uniform(0.5, 1.5) * np.exp(-((z - cz) ** 2 + (x - cx) ** 2) / (2 * 3.0**2))
    image[np.hypot(z, x) > n // 2 - 1] = 0
    return image.astype(np.float32)


def test_slices_agree_with_scikit_image():
    transform = pytest.importorskip("skimage.transform", reason="scikit-image is not installed")
    n = 129
    image, tilt = smooth_slice(n), np.arange(-60.0, 61.0, 10.0)
    t = np.deg2rad(tilt)
    centred = np.arange(n) - (n - 1) / 2
    n_rows = 193
    at_x = fixed_point(centred[:, None] * np.cos(t) + (n_rows - 1) / 2)
    at_z = fixed_point(centred[:, None] * np.sin(t))
    volume = empty_volume(1, n, n)
    volume[0, :, :n] = image[:, :, None]
    rows = empty_rows(BLOCK, len(t), n_rows)
    rows[:] = 0
    project(volume[0], rows[0], Rays.of(at_x, at_z))
    ours = rows[0, :, (n_rows - n) // 2 : (n_rows + n) // 2, 5]
    theirs = transform.radon(image, theta=-tilt, circle=True).T
    # Its rows run downwards, so that its angles have the other sign; and it interpolates the image
    # where we interpolate the rows.
    assert np.abs(ours - theirs).max() < 0.006 * theirs.max()
    assert np.linalg.norm(ours - theirs) < 0.004 * np.linalg.norm(theirs)
    back = np.empty((n, BLOCK, n), np.float32)
    rows[:] = 0
    rows[0, :, (n_rows - n) // 2 : (n_rows + n) // 2] = theirs[:, :, None]
    backproject(rows, at_x, at_z, back)
    unfiltered = transform.iradon(theirs.T, theta=-tilt, filter_name=None, circle=True)
    disc = np.hypot(centred[:, None], centred) < 0.45 * n
    plain = unfiltered * 2 * len(tilt) / np.pi
    assert np.abs(back[:, 5] - plain)[disc].max() < 1e-5 * plain.max()


def test_sections_of_a_volume_in_blocks():
    rng = np.random.default_rng(0)
    volume = empty_volume(2, 3, 40)
    volume[:, :, :40] = rng.standard_normal((2, 3, 40, BLOCK))
    plain = volume[:, :, :40].transpose(1, 0, 3, 2).reshape(3, 64, 40)
    out = np.empty((2, 50, 40), np.float32)
    take_sections(volume, np.array([2, 0]), out, np.array([7.0, 3.0]))
    assert np.array_equal(out[0], plain[2, 7:57])
    assert np.array_equal(out[1], plain[0, 3:53])
    whole = np.empty((1, 64, 40), np.int16)
    take_sections(volume, np.array([1]), whole, scaling=(1000.0, 0.5))
    assert np.abs(whole[0] - (plain[1] - 0.5) * 1000).max() < 0.51
    for sections, shape, line in (
        ([3], (1, 5, 40), None), ([-1], (1, 5, 40), None), ([0, 1], (1, 5, 40), None),
        ([0], (1, 5, 70), None), ([0], (1, 65, 40), None), ([0], (1, 60, 40), [5.0]),
    ):  # fmt: skip
        with pytest.raises(InputError):
            take_sections(
                volume, np.array(sections), np.empty(shape, np.float32),
                None if line is None else np.array(line),
            )  # fmt: skip


def test_what_does_not_fit_is_refused():
    along_x, along_z, n_rows = positions(5, 20, 9, 60.0)
    at_x, at_z = fixed_point(along_x), fixed_point(along_z)
    rays = Rays.of(at_x, at_z)
    volume = empty_volume(1, 9, 20)[0]
    rows = np.zeros((5, n_rows, BLOCK), np.float32)
    with pytest.raises(InputError, match="within 90 degrees"):
        Rays.of(at_x[::-1], at_z)
    with pytest.raises(InputError, match="super-sampling"):
        Rays.of(2 * at_x, at_z)
    with pytest.raises(InputError, match="of 5 and of 4"):
        Rays.of(at_x, at_z[:, :4])
    with pytest.raises(InputError, match="outside the rows"):
        project(volume, rows[:, :15].copy(), rays)
    with pytest.raises(InputError, match="do not fit"):
        project(volume[:8], rows, rays)
    with pytest.raises(InputError, match="contiguous"):
        project(volume[:, :10], rows, rays)
    with pytest.raises(InputError, match="sections"):
        sweep(volume, (rows, rays), None, (0, 10))
    with pytest.raises(InputError, match="mask"):
        sweep(volume, (rows, rays), None, (0, 9), mask=volume[:5])
    with pytest.raises(InputError, match="one length"):
        sweep(volume, (rows, rays), (np.zeros((5, 50, BLOCK), np.float32), rays), (0, 9))
