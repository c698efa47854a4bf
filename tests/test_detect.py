"""Detection and centring of beads against an analytic phantom."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.fiducials.background import (
    background_power,
    noise_model,
    stabilise,
    window_px,
)
from tiltwright.engine.fiducials.centre import localise, matched_filter, template_spectra
from tiltwright.engine.fiducials.detect import detect_all, detect_beads, refine_diameter
from tiltwright.engine.fiducials.from_stack import Centring
from tiltwright.engine.fiducials.template import ball_template, build_template


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


def white(template):
    power = np.ones((window_px(9.0), window_px(9.0) // 2 + 1), np.float32)
    power[0, 0] = np.inf
    return matched_filter(template, template_spectra(template, len(power)), power)


def measured(images, guesses, diameter=9.0):
    """The template that the beads near the guesses show, centred with a ball first."""
    ball = white(ball_template(diameter))
    fits = [localise(i, g, ball) for i, g in zip(images, guesses, strict=True)]
    return build_template(images, [f.xy for f in fits], [f.amplitude for f in fits], diameter)


def test_centres_reach_the_bound_without_bias():
    images, truths = zip(*(phantom(seed=s, n=40) for s in range(10)), strict=True)
    rng = np.random.default_rng(5)
    guesses = [t + rng.normal(0, 0.3, t.shape) for t in truths]
    images = [stabilise(i) for i in images]
    matched = white(measured(images, guesses))
    fits = [localise(i, g, matched) for i, g in zip(images, guesses, strict=True)]
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


def textured(seed, strength=0.05, scale=3.0):
    """The phantom through a specimen of smooth random density."""
    mean, xy = phantom(n=40, dose=0, seed=seed)
    rng = np.random.default_rng(seed)
    texture = gaussian_filter(rng.normal(size=mean.shape), scale, mode="wrap")
    mean = 0.365 * mean * np.exp(-strength * texture / texture.std())
    return stabilise(rng.poisson(mean).astype(np.float32)), xy


def test_a_textured_background_is_measured_and_allowed_for():
    images, truths = zip(*(textured(seed) for seed in range(6)), strict=True)
    template = measured(images, truths)
    plain, better, sigma = [], [], []
    for image, xy in zip(images, truths, strict=True):
        blind = localise(image, xy, white(template))
        power = background_power(image, blind.xy, blind.amplitude, template, window_px(9.0))
        spectra = template_spectra(template, len(power))
        fit = localise(image, xy, matched_filter(template, spectra, power))
        good = fit.ok & blind.ok
        assert good.mean() > 0.95
        plain.append((blind.xy - xy)[good])
        better.append((fit.xy - xy)[good])
        sigma.append(fit.sigma_px[good])
    before, after = (np.sqrt(np.mean(np.concatenate(e) ** 2)) for e in (plain, better))
    print(f"white {before:.4f} matched {after:.4f}")
    assert after < 0.6 * before
    assert np.sqrt(np.mean(np.concatenate(sigma) ** 2)) == pytest.approx(after, rel=0.15)


def test_centres_equal_those_of_the_slow_twin():
    """Weighted least squares in Fourier space, by a general minimiser."""
    image, xy = textured(9)
    template = measured([image], [xy])
    side = window_px(9.0)
    power = background_power(image, xy, np.zeros(len(xy)), template, side)
    fit = localise(image, xy, matched_filter(template, template_spectra(template, side), power))
    grid = np.arange(side) - side // 2
    twice = np.full(power.shape[1], 2.0)
    twice[[0, -1]] = 1
    r = np.arange(len(template.profile)) * 0.1
    alone = [k for k in range(len(xy)) if np.sort(np.hypot(*(xy - xy[k]).T))[1] > 40]
    alone = [k for k in alone if (np.abs(xy[k] - [250, 200]) < [220, 170]).all()]
    assert len(alone) >= 4
    off = []
    for k in alone:
        ix, iy = np.rint(fit.xy[k]).astype(int)
        patch = image[iy - side // 2 : iy + side // 2, ix - side // 2 : ix + side // 2]

        def misfit(q, patch=patch, ix=ix, iy=iy):
            away = np.hypot(grid[None] - (q[1] - ix), grid[:, None] - (q[2] - iy))
            model = q[0] * np.interp(away, r, template.profile, right=0)
            return np.sum(twice / power * np.abs(np.fft.rfft2(patch - model)) ** 2) / side**2

        start = [fit.amplitude[k], *fit.xy[k]]
        found = minimize(misfit, start, method="Nelder-Mead", options={"xatol": 1e-4})
        off.append(found.x[1:] - fit.xy[k])
        assert found.x[0] == pytest.approx(fit.amplitude[k], rel=0.02)
    # the filters stand on a grid of a quarter of a pixel: small against the noise
    assert np.sqrt(np.mean(np.square(off))) < 0.25 * np.median(fit.sigma_px[alone])


def test_counting_noise_is_made_even():
    rng = np.random.default_rng(3)
    level = np.linspace(80, 400, 400)[None] * np.ones((400, 1))
    image = rng.poisson(level).astype(np.int16)
    a, b = noise_model(image)
    assert b == pytest.approx(1, abs=0.1)
    even = stabilise(image) - stabilise(level, (a, b))
    np.testing.assert_allclose(even.reshape(400, 4, 100).std((0, 2)), 1, atol=0.04)
    flat = rng.normal(50, 3, (400, 400))
    assert stabilise(flat).std() == pytest.approx(1, abs=0.05)


def test_the_power_of_the_background_is_that_of_its_filter():
    rng = np.random.default_rng(4)
    side = 48
    noise = rng.normal(size=(512, 720))
    smooth = gaussian_filter(noise, (1.0, 2.0), mode="wrap")
    ball, none = ball_template(9.0), np.zeros((0, 2))
    found = background_power((3 * smooth).astype(np.float32), none, none[:, 0], ball, side)
    ky, kx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    want = 9 * np.exp(-4 * np.pi**2 * (ky**2 + 4 * kx**2))
    strong = (want > 0.5) & np.isfinite(found)
    np.testing.assert_allclose(found[strong], want[strong], rtol=0.35)
    assert np.mean(found[strong] / want[strong]) == pytest.approx(1, abs=0.05)
    # a bright edge does not stand for the whole view
    noise[:, 360:380] += 30
    steady = background_power(noise.astype(np.float32), none, none[:, 0], ball, side)
    assert np.median(steady) < 1.3
    small = background_power(np.ones((20, 20), np.float32), none, none[:, 0], ball, 48)
    assert (small.ravel()[1:] == 1).all()


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
    template = measured([image / 30], [xy])
    pair = (image + np.roll(image, (0, 8), axis=(0, 1)) - 1000) / 30
    second = xy + np.array([8, 0])
    near = second[:, 0] < 480
    fit = localise(pair, xy[near], white(template), others_xy=second[near])
    assert np.sqrt(np.mean((fit.xy - xy[near]) ** 2)) < 0.02
    alone = localise(pair, xy[near], white(template))
    assert np.sqrt(np.mean((alone.xy - xy[near]) ** 2)) > 0.05


def test_beads_at_the_rim_and_gaps():
    image, xy = phantom()
    template = measured([stabilise(image)], [xy])
    left = int(xy[:, 0].min()) - 6  # cut through the fringes of the leftmost bead
    cut, guess = stabilise(image[:, left:]), xy - [left, 0]
    rim = int(guess[:, 0].argmin())
    guess[rim - 1] = np.nan
    fit = localise(cut, guess, white(template))
    assert np.isnan(fit.xy[rim - 1]).all()
    assert not fit.ok[rim - 1]
    assert fit.ok.sum() == len(xy) - 1
    assert np.hypot(*(fit.xy[rim] - guess[rim])) < 0.2
    with pytest.raises(InputError):
        localise(cut[0], guess, white(template))
    with pytest.raises(DataError, match="stands alone"):
        build_template([cut], [guess[:0]], [guess[:0, 0]], 9.0)


def test_beads_in_a_field_too_dense_for_a_template_are_centred_all_the_same():
    image, xy = phantom(n=10, seed=3, dose=0)
    image = image * np.roll(image, (0, 13), axis=(0, 1)) / 1000
    noisy = np.random.default_rng(0).poisson(0.365 * image).astype(np.int16)
    pairs = np.concatenate([xy, xy + np.array([13, 0])])
    pairs = pairs[pairs[:, 0] < 480]
    with pytest.raises(DataError):
        build_template([stabilise(noisy)], [pairs], [np.full(len(pairs), -20.0)], 9.0)
    found = detect_beads(noisy, 9.0)
    centring = Centring(noisy[None], [found], 9.0, light=False)
    middle = (np.array(noisy.shape[::-1]) - 1) / 2
    centre, sigma, score, ok = centring(0, pairs - middle + 0.2)
    assert ok.mean() > 0.9
    error = (centre + middle - pairs)[ok]
    assert np.sqrt(np.mean(error**2)) < 0.15
    assert (score[ok] > 4).all()
    assert np.isfinite(sigma[ok]).all()


@pytest.mark.parametrize("given", [6.0, 9.0, 14.0])
def test_a_wrong_diameter_is_found_out(given):
    from tiltwright.engine.fiducials.from_stack import measured_diameter

    stack = np.stack([phantom(seed=s)[0] for s in (1, 2, 3)])
    found = measured_diameter(stack, np.array([-3.0, 0.0, 3.0]), given, light=False)
    assert found == pytest.approx(9.0, rel=0.1)
