"""Denoising against slow twins, its invariants, and what it does to a phantom."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest
from scipy import ndimage

from tiltwright.engine.errors import Cancelled, DataError, InputError
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.progress import Monitor
from tiltwright.engine.volume import denoise
from tiltwright.engine.volume.denoise import Denoising, denoise_slab, denoise_volume


def _shift(a, axis, by):
    return np.roll(a, -by, axis)


def slow_eed(u, taps, lam, step):
    """One step with eigenvectors, in double precision, straight from the formulas."""
    pad = 8
    v = np.pad(u.astype(np.float64), pad, "edge")
    taps = taps.astype(np.float64)
    kernel = np.concatenate([taps[:0:-1], taps])
    smooth = v
    for axis in range(3):
        smooth = ndimage.correlate1d(smooth, kernel, axis)
    grad = [(_shift(smooth, a, 1) - _shift(smooth, a, -1)) / 2 for a in (2, 1, 0)]
    tensor = np.empty((*v.shape, 3, 3))
    for i in range(3):
        for j in range(3):
            product = grad[i] * grad[j]
            for axis in range(3):
                product = ndimage.correlate1d(product, [0.25, 0.5, 0.25], axis)
            tensor[..., i, j] = product
    m, e = np.linalg.eigh(tensor)
    c = m[..., 2:] - m[..., :1]
    stop = np.exp(-3.31488 / np.maximum(c / lam**2, 1e-9) ** 4)
    values = 1 - stop * ((m - m[..., :1]) / np.maximum(c, 1e-30)) ** 4
    d = np.einsum("...ik,...k,...jk->...ij", e, values, e)
    flow = np.zeros_like(v)
    axes = (2, 1, 0)
    for i in range(3):
        a = axes[i]
        half = (d[..., i, i] + _shift(d[..., i, i], a, 1)) / 2 * (_shift(v, a, 1) - v)
        flow += half - _shift(half, a, -1)
        for j in range(3):
            if i != j:
                b = axes[j]
                mixed = d[..., i, j] * (_shift(v, b, 1) - _shift(v, b, -1)) / 2
                flow += (_shift(mixed, a, 1) - _shift(mixed, a, -1)) / 2
    return (v + step * flow)[pad:-pad, pad:-pad, pad:-pad]


def slow_beltrami(u, beta, step):
    v = np.pad(u.astype(np.float64), 2, "edge")
    square = sum(((_shift(v, a, 1) - _shift(v, a, -1)) / 2) ** 2 for a in range(3))
    w = 1 / np.sqrt(1 + square / beta**2)
    flow = np.zeros_like(v)
    for a in range(3):
        half = (w + _shift(w, a, 1)) / 2 * (_shift(v, a, 1) - v)
        flow += half - _shift(half, a, -1)
    return (v + step * w * flow)[2:-2, 2:-2, 2:-2]


def _gauss(v, sigma):
    return ndimage.gaussian_filter(v, sigma, mode="nearest")


def phantom(n=64, noise=1.0, seed=3):
    """A shell, a ball and a rod of contrast 2 in noise of SD 1; truth, noisy, inner mask."""
    z, y, x = np.ogrid[:n, :n, :n]
    r = np.sqrt((z - n / 2) ** 2 + (y - n / 2) ** 2 + (x - n / 2) ** 2)
    truth = 2.0 * (np.abs(r - 0.33 * n) < 2)
    truth += 2.0 * (np.sqrt((z - n / 2) ** 2 + (y - n / 2) ** 2) < 2.5)
    rng = np.random.default_rng(seed)
    noisy = truth + noise * rng.standard_normal(truth.shape)
    return truth.astype(np.float32), noisy.astype(np.float32)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.2])
@pytest.mark.parametrize("shape", [(9, 37, 290), (2, 5, 3), (1, 40, 17)])
def test_edge_enhancing_diffusion_equals_its_slow_twin(shape, sigma):
    rng = np.random.default_rng(1)
    u = (rng.standard_normal(shape) * 3 + 100).astype(np.float32)
    u[..., shape[2] // 2 :] += 8
    taps = denoise.gradient_taps(sigma)
    expected = u
    for _ in range(2):
        expected = slow_eed(expected, taps, 1.5, 0.1)
    got = denoise_slab(u, Denoising("eed", iterations=2, step=0.1, sigma=sigma, lam=1.5), threads=2)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=3e-3)


@pytest.mark.parametrize("shape", [(9, 37, 290), (2, 5, 3)])
def test_beltrami_flow_equals_its_slow_twin(shape):
    u = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    expected = u
    for _ in range(3):
        expected = slow_beltrami(expected, 0.7, 0.15)
    got = denoise_slab(u, Denoising("beltrami", iterations=3, step=0.15, lam=0.7))
    np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize("method", ["eed", "beltrami"])
def test_diffusion_keeps_the_mean_and_the_unit(method):
    _, noisy = phantom(32)
    how = Denoising(method, iterations=4)
    one = denoise_slab(noisy, how)
    if method == "eed":  # the flow's factor 1 / w is outside of the divergence
        assert one.mean() == pytest.approx(noisy.mean(), abs=1e-5)
    thousand = denoise_slab(1000 * noisy + 50, how)
    np.testing.assert_allclose(thousand, 1000 * one + 50, atol=1.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_diffusion_knows_no_preferred_axis(axis):
    _, noisy = phantom(24)
    how = Denoising("eed", iterations=2, lam=0.6)
    turned = np.ascontiguousarray(np.swapaxes(noisy, 0, axis))
    same = np.swapaxes(denoise_slab(turned, how), 0, axis)
    np.testing.assert_allclose(same, denoise_slab(noisy, how), atol=2e-4)


def test_eed_lowers_noise_and_keeps_edges_better_than_a_gaussian():
    truth, noisy = phantom()
    inside, outside = truth > 1, ndimage.binary_dilation(truth > 1, iterations=3)
    edge = ndimage.binary_dilation(inside) & ~ndimage.binary_erosion(inside)

    def judge(v):
        noise = v[~outside].std()
        contrast = v[ndimage.binary_erosion(inside)].mean() - v[~outside].mean()
        slope = np.sqrt(sum(g**2 for g in np.gradient(ndimage.gaussian_filter(v, 0.5))))[edge]
        return contrast / noise, slope.mean() / noise, np.sqrt(((v - truth) ** 2).mean())

    before = judge(noisy)
    eed = judge(denoise_slab(noisy, Denoising("eed")))
    # 1.4 is the Gaussian that leaves as much noise
    gauss = judge(ndimage.gaussian_filter(noisy, 1.4))
    assert eed[0] > 9 * before[0]
    assert eed[0] > 1.2 * gauss[0]
    assert eed[1] > 1.6 * gauss[1]
    assert eed[2] < 0.8 * gauss[2]


@pytest.mark.parametrize(
    ("how", "reference"),
    [
        (Denoising("gaussian", sigma=1.7), lambda v: _gauss(v, 1.7)),
        (Denoising("median", size=3), lambda v: ndimage.median_filter(v, 3, mode="nearest")),
        (
            Denoising("band-pass", low=0.03, high=0.2),
            lambda v: _gauss(v, 0.937) - _gauss(v, 6.247),
        ),
    ],
)
def test_filters_by_slabs_equal_the_whole(how, reference):
    v = np.random.default_rng(4).standard_normal((71, 20, 21)).astype(np.float32)
    np.testing.assert_allclose(denoise_slab(v, how, threads=2), reference(v), atol=1e-3)


def test_band_pass_is_half_at_its_limits():
    n = 400
    z = np.arange(n)[:, None, None]
    for f, expected in ((0.02, 0.5), (0.1, 0.5), (0.001, 0.0), (0.4, 0.0)):
        wave = np.sin(2 * np.pi * f * z).astype(np.float32)
        how = Denoising("band-pass", low=0.02, high=0.1)
        got = denoise_slab(np.broadcast_to(wave, (n, 3, 3)), how)
        assert np.abs(got[100:300]).max() == pytest.approx(expected, abs=0.05)


def test_a_slab_previews_the_whole():
    _, noisy = phantom(48)
    how = Denoising("eed", iterations=2, lam=0.6)
    whole = denoise_slab(noisy, how)
    np.testing.assert_allclose(denoise_slab(noisy[8:40], how)[10:-10], whole[18:30], atol=1e-5)


def test_scratch_file_changes_nothing(tmp_path, monkeypatch):
    _, noisy = phantom(32)
    data = np.rint(1000 * noisy).astype(np.int16)
    how = Denoising("eed", iterations=3)
    denoise_volume(data, how, tmp_path / "a.mrc", 5.52, dtype=np.int16)
    monkeypatch.setattr(denoise, "MEMORY_BYTES", 1000)
    denoise_volume(data, how, tmp_path / "b.mrc", 5.52, dtype=np.int16)
    a, b = open_stack(tmp_path / "a.mrc"), open_stack(tmp_path / "b.mrc")
    assert a.dtype == np.int16
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(a, denoise_slab(data, how), atol=0.51)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mrc", "b.mrc"]


def test_cancel_leaves_nothing(tmp_path):
    stop = Event()
    monitor = Monitor(lambda progress: stop.set() if progress.done > 1 else None, stop)
    _, noisy = phantom(40)
    with pytest.raises(Cancelled):
        denoise_volume(noisy, Denoising("eed"), tmp_path / "a.mrc", 1.0, monitor=monitor)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (Denoising("eed", iterations=0), "iterations 0"),
        (Denoising("eed", step=0.2), "step 0.2"),
        (Denoising("eed", sigma=4), "sigma 4"),
        (Denoising("eed", sigma=float("nan")), "sigma nan"),
        (Denoising("median", size=4), "odd size"),
        (Denoising("band-pass"), "needs a lower or an upper"),
        (Denoising("band-pass", low=0.3, high=0.2), "enclose nothing"),
    ],
)
def test_impossible_values_are_named(how, words):
    with pytest.raises(InputError, match=words):
        denoise_slab(np.zeros((4, 4, 4), np.float32), how)


@pytest.mark.parametrize("method", ["eed", "gaussian"])
def test_bad_voxels_are_named(method):
    v = np.ones((40, 5, 6), np.float32)
    v[20, 2, 2] = np.nan
    with pytest.raises(InputError, match=r"sections .* not finite"):
        denoise_slab(v, Denoising(method))


@pytest.mark.parametrize("method", ["eed", "beltrami"])
@pytest.mark.parametrize("blank", [0.0, -37.5])
def test_a_blank_part_stays_blank_and_harms_nothing(method, blank):
    volume = np.random.default_rng(5).normal(0, 700, (20, 40, 120)).astype(np.float32)
    volume[:, :, 60:] = blank
    # The longer it goes on, the fainter the gradients that creep into the blank part.
    out = denoise_slab(volume, Denoising(method, iterations=30, step=0.15))
    assert np.abs(out).max() <= np.abs(volume).max()
    assert np.abs(out[:, :, 75:] - blank).max() < 30
    assert out[:, :, :50].std() < 0.8 * volume[:, :, :50].std()


def test_a_constant_volume_is_said():
    with pytest.raises(DataError, match="constant"):
        denoise_slab(np.ones((5, 6, 7)), Denoising("eed"))
