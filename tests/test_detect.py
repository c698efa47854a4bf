"""Detection and centring of beads against an analytic phantom."""

from __future__ import annotations

import numpy as np
import pytest

from tiltwright.engine.errors import InputError
from tiltwright.engine.fiducials.centre import build_template, localise
from tiltwright.engine.fiducials.detect import detect_all, detect_beads, refine_diameter


def phantom(n=30, diameter=9.0, size=(400, 500), dose=365.0, seed=1, depth=0.5, over=5):
    """Ball projections integrated over each pixel, Poisson noise; noiseless if dose is 0."""
    rng = np.random.default_rng(seed)
    ny, nx = size
    xy = []
    while len(xy) < n:
        p = rng.uniform(2 * diameter, np.array([nx, ny]) - 2 * diameter)
        if all(np.hypot(*(p - q)) > 2.6 * diameter for q in xy):
            xy.append(p)
    xy = np.array(xy)
    mean = np.ones(size)
    h = int(diameter)
    sub = (np.arange(over) - (over - 1) / 2) / over
    for x, y in xy:
        ix, iy = round(x), round(y)
        gx = (np.arange(ix - h, ix + h + 1)[:, None] + sub).ravel() - x
        gy = (np.arange(iy - h, iy + h + 1)[:, None] + sub).ravel() - y
        t = np.sqrt(np.maximum(1 - 4 * (gx[None] ** 2 + gy[:, None] ** 2) / diameter**2, 0))
        t = t.reshape(2 * h + 1, over, 2 * h + 1, over).mean(axis=(1, 3))
        mean[iy - h : iy + h + 1, ix - h : ix + h + 1] *= 1 - depth * t
    image = rng.poisson(dose * mean) if dose else 1000 * mean
    return image.astype(np.float32), xy


def matched(found, truth, within=1.0):
    gap = np.hypot(*(truth[:, None] - found[None]).transpose(2, 0, 1))
    return gap.argmin(axis=1), gap.min(axis=1) < within


@pytest.mark.parametrize(("diameter", "light"), [(9.0, False), (18.0, False), (9.0, True)])
def test_finds_every_bead_and_nothing_else(diameter, light):
    image, xy = phantom(diameter=diameter, n=20)
    found = detect_beads(-image if light else image, diameter, light=light)
    which, hit = matched(found.xy, xy)
    assert hit.all()
    assert len(found.xy) == len(xy)
    assert np.sqrt(np.mean((found.xy[which] - xy) ** 2)) < 0.1


def test_constant_noise_only_and_edges():
    rng = np.random.default_rng(0)
    assert len(detect_beads(np.full((200, 200), 7, np.int16), 9).xy) == 0
    assert len(detect_beads(rng.poisson(50, (300, 300)).astype(np.int16), 9).xy) <= 1
    image, xy = phantom()
    image[:, :60] = 200
    image[350:] = 255
    found = detect_beads(image, 9)
    inside = (xy[:, 0] > 75) & (xy[:, 1] < 335)
    assert matched(found.xy, xy[inside])[1].mean() >= 0.95
    with pytest.raises(InputError):
        detect_beads(image, float("nan"))
    with pytest.raises(InputError):
        detect_beads(image[None], 9)


def test_all_views_equal_single_views():
    stack = np.stack([phantom(seed=s)[0] for s in (1, 2, 3)])
    for view, found in zip(stack, detect_all(stack, 9), strict=True):
        assert np.array_equal(found.xy, detect_beads(view, 9).xy)


@pytest.mark.parametrize("guess", [7.0, 9.0, 11.2])
def test_diameter_from_a_wrong_guess(guess):
    assert refine_diameter([phantom()[0]], guess) == pytest.approx(9.0, rel=0.06)


def test_centres_reach_the_bound_without_bias():
    images, truths = zip(*(phantom(seed=s, n=40) for s in range(10)), strict=True)
    rng = np.random.default_rng(5)
    guesses = [t + rng.normal(0, 0.3, t.shape) for t in truths]
    template = build_template(images, guesses, 9.0)
    fits = [localise(i, g, template) for i, g in zip(images, guesses, strict=True)]
    error = np.concatenate([f.xy - t for f, t in zip(fits, truths, strict=True)])
    assert all(f.ok.all() for f in fits)
    # the bound of a Poisson image of known shape: 1 / sum(mean'^2 / mean)
    bound = poisson_bound(9.0, 365.0, 0.5)
    rms = np.sqrt(np.mean(error**2))
    print(f"rms {rms:.4f} bound {bound:.4f} ratio {rms / bound:.3f}")
    assert rms / bound < 1.15
    phase = np.concatenate([t % 1 for t in truths])
    lock = np.mean(error * np.sin(2 * np.pi * phase))
    assert abs(lock) * 2 < 3 * np.sqrt(2) * rms / np.sqrt(error.size) + 0.003
    sigma = np.concatenate([f.sigma_px for f in fits])
    assert np.sqrt(np.mean(sigma**2)) == pytest.approx(rms, rel=0.15)


def poisson_bound(diameter, dose, depth):
    """Cramér-Rao bound of one coordinate, mean over sub-pixel phases."""
    bounds = []
    grid = np.arange(-10, 11)
    sub = (np.arange(9) - 4) / 9
    fine = (grid[:, None] + sub).ravel()

    def mean(cx, cy):
        r2 = (fine[None] - cx) ** 2 + (fine[:, None] - cy) ** 2
        t = np.sqrt(np.maximum(1 - 4 * r2 / diameter**2, 0))
        return dose * (1 - depth * t.reshape(21, 9, 21, 9).mean(axis=(1, 3)))

    for cx, cy in np.random.default_rng(0).uniform(-0.5, 0.5, (10, 2)):
        slope = (mean(cx + 0.05, cy) - mean(cx - 0.05, cy)) / 0.1
        bounds.append(1 / np.sum(slope**2 / mean(cx, cy)))
    return float(np.sqrt(np.mean(bounds)))


def test_neighbours_do_not_pull():
    image, xy = phantom(dose=0, n=12, seed=3)
    other, shifted = phantom(dose=0, n=12, seed=3)
    template = build_template([image], [xy], 9.0)
    pair = image + np.roll(other, (0, 12), axis=(0, 1)) - 1000
    second = shifted + np.array([12, 0])
    near = second[:, 0] < 480
    fit = localise(pair, xy[near], template, others_xy=second[near])
    assert np.sqrt(np.mean((fit.xy - xy[near]) ** 2)) < 0.02


def test_gaps_stay_gaps():
    image, xy = phantom()
    guess = xy.copy()
    guess[3] = np.nan
    fit = localise(image, guess, build_template([image], [xy], 9.0))
    assert np.isnan(fit.xy[3]).all()
    assert not fit.ok[3]
    assert fit.ok.sum() == len(xy) - 1
