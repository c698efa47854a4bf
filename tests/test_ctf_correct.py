"""Correction of tilted views against phantoms whose ideal correction is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ctf_phantom import Rings, RingSpec, twin_ctf
from scipy import fft
from scipy.ndimage import gaussian_filter

from tiltwright.engine.ctf.correct import Correction, correct_stack, correct_view
from tiltwright.engine.ctf.model import Defocus, Optics, ctf, defocus_slopes
from tiltwright.engine.errors import Cancelled, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.progress import Monitor

N, PIXEL = 1024, 5.52
OPTICS = Optics()
MEAN, COS, SIN = 30000.0, 300.0, -200.0
DEFOCUS = Defocus.of_components(MEAN, COS, SIN)
CENTRE = ((N - 1) / 2, (N - 1) / 2)
FILTERS = {
    "flip": np.abs,
    "multiply": lambda c: c * c,
    "wiener": lambda c: c * c * 1.25 / (c * c + 0.25),
}


def seen(specimen, twin, transfer, step_a=200.0):
    """Every point of the specimen through ``transfer`` of the CTF at its own defocus."""
    offset = twin.offset(2)
    reach = float(np.abs(offset).max())
    n = math.ceil(2 * reach / step_a) + 1
    step = 2 * reach / (n - 1)
    out = np.zeros_like(specimen)
    for i in range(n):
        level = -reach + i * step
        part = specimen * np.maximum(1 - np.abs(offset - level) / step, 0)
        filter_ = transfer(twin_ctf(twin.s2, twin.cos2, twin.sin2, MEAN + level, COS, SIN, 0, 0.1))
        out += fft.irfft2(fft.rfft2(part) * filter_.astype(np.float32), s=out.shape)
    return out


def scene(axis_deg, seed=0):
    """A specimen of grains, its twin geometry, and the slope by the engine, at 60 degrees."""
    twin = Rings(RingSpec(n=N, pixel_a=PIXEL, axis_deg=axis_deg, tilts=(-60.0, 0.0, 60.0)))
    rng = np.random.default_rng(seed)
    grains = (rng.random((N, N)) < 0.02) * rng.random((N, N))
    specimen = gaussian_filter(grains.astype(np.float32), 0.7)
    slope = defocus_slopes(ViewGeometry.nominal([60.0], axis_deg), PIXEL)[0]
    return specimen - specimen.mean(), twin, slope


def correlation(a, b):
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize(
    ("axis_deg", "method"), [(-84.5, "flip"), (3.0, "multiply"), (-40.0, "wiener")]
)
def test_edges_at_60_degrees_are_as_ideal(axis_deg, method):
    specimen, twin, slope = scene(axis_deg)
    image = seen(specimen, twin, lambda c: c)
    ideal = seen(specimen, twin, FILTERS[method])
    offset = np.abs(twin.offset(2))
    inner = np.zeros((N, N), bool)
    inner[20:-20, 20:-20] = True
    edge = inner & (offset > 0.8 * offset[inner].max())

    def score(correction):
        done = correct_view(image, PIXEL, DEFOCUS, OPTICS, slope, CENTRE, correction)
        assert done.dtype == np.float32
        return correlation(done[edge], ideal[edge])

    smooth = score(Correction(method))
    strips = score(Correction(method, 2000, 15))
    single = score(Correction(method, 1e6, 0))
    none = correlation(image[edge], ideal[edge])
    print(
        f"\n{axis_deg:g} degrees, {method}: correlation with the ideal at the edges at 60 degrees: "
        f"smooth {smooth:.4f}, strips {strips:.4f}, untilted {single:.4f}, none {none:.4f}"
    )
    assert smooth > 0.995
    assert strips > 0.99
    assert single < 0.97 < smooth
    assert none < 0.6


def test_no_seam_where_strips_meet():
    """Steps of the error over the borders of strips, in noise of which the specimen is a third."""
    specimen, twin, slope = scene(0.0, seed=3)
    specimen = gaussian_filter(specimen, 1.5)
    image = seen(specimen, twin, lambda c: c)
    ideal = seen(specimen, twin, np.abs)
    noise = 3 * image.std()
    offset = twin.offset(2)[0]
    low, high = offset.min(), offset.max()
    n = math.ceil((high - low) / 2000)
    borders = np.abs(offset - (low + (high - low) / n * np.arange(1, n))[:, None]).argmin(1)

    def seam(ramp_px):
        correction = Correction("flip", 2000, ramp_px)
        done = correct_view(image, PIXEL, DEFOCUS, OPTICS, slope, CENTRE, correction)
        step = np.abs(np.diff(done - ideal, axis=1)).mean(0) / noise
        at = [step[max(b - 2, 0) : b + 2].max() for b in borders]
        return max(at) - np.median(step)

    found = {ramp: seam(ramp) for ramp in (None, 15, 0)}
    print(f"\nseams above their surroundings, in noise: {found}")
    assert found[None] < 0.005
    assert found[15] < 0.02
    assert found[0] > 3 * found[15]


@pytest.mark.parametrize("method", ["flip", "multiply", "wiener"])
def test_untilted_it_is_a_plain_filter(method):
    """Against the obvious filter on an image that is continued with its own mean."""
    rng = np.random.default_rng(1)
    image = np.zeros((300, 260), np.float32)
    image[80:220, 80:180] = rng.standard_normal((140, 100))
    image -= image.mean()
    done = correct_view(image, PIXEL, DEFOCUS, OPTICS, (0, 0), (0, 0), Correction(method))
    big = np.zeros((600, 520))
    big[:300, :260] = image
    ky, kx = np.fft.fftfreq(600, PIXEL)[:, None], np.fft.fftfreq(520, PIXEL)[None]
    c = ctf(np.hypot(kx, ky), np.arctan2(ky, kx), DEFOCUS, OPTICS)
    f = {"flip": np.sign(c), "multiply": c, "wiener": c * 1.25 / (c * c + 0.25)}[method]
    plain = np.fft.ifft2(np.fft.fft2(big) * f).real[:300, :260]
    inner = (slice(40, 260), slice(40, 220))
    error = np.sqrt(((done - plain)[inner] ** 2).mean()) / plain.std()
    # The sharper the filter, the more it depends on how far its transform is padded.
    assert error < {"flip": 0.15, "multiply": 0.01, "wiener": 0.03}[method]


def test_mean_and_what_is_not_finite():
    rng = np.random.default_rng(2)
    image = 100 + rng.standard_normal((128, 96)).astype(np.float32)
    image[5, 7] = np.nan
    for method in ("flip", "multiply", "wiener"):
        done = correct_view(image, PIXEL, DEFOCUS, OPTICS, (5, 9), (40, 60), Correction(method))
        assert np.isfinite(done).all()
        assert done.mean() == pytest.approx(100, abs=0.1)


def test_a_stack_in_order_and_cancelled():
    rng = np.random.default_rng(3)
    stack = rng.integers(0, 50, (5, 64, 80)).astype(np.int16)
    slopes, centres = np.tile([[0.0, 30.0]], (5, 1)), np.full((5, 2), 30.0)
    got = {}

    known = dict.fromkeys((0, 1, 3, 4), DEFOCUS)

    def task(monitor):
        correct_stack(
            stack, PIXEL, known, OPTICS, slopes, centres, Correction(),
            got.__setitem__, monitor=monitor,
        )  # fmt: skip

    task(Monitor())
    assert list(got) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(got[2], stack[2])
    one = correct_view(stack[3], PIXEL, DEFOCUS, OPTICS, slopes[3], centres[3], Correction())
    np.testing.assert_array_equal(got[3], one)
    stopped = Monitor()
    stopped.stop.set()
    with pytest.raises(Cancelled):
        task(stopped)


@pytest.mark.parametrize(
    ("correction", "message"),
    [
        (Correction("other"), "method"),
        (Correction(tolerance_a=0), "tolerance"),
        (Correction("wiener", snr=math.nan), "SNR"),
        (Correction(ramp_px=-1), "width"),
    ],
)
def test_impossible_corrections(correction, message):
    with pytest.raises(InputError, match=message):
        correct_view(np.zeros((64, 64)), PIXEL, DEFOCUS, OPTICS, (0, 0), (0, 0), correction)


def test_defocus_that_is_no_number():
    bad = Defocus(math.nan, 1e4)
    with pytest.raises(InputError, match="finite"):
        correct_view(np.zeros((64, 64)), PIXEL, bad, OPTICS, (0, 0), (0, 0), Correction())
