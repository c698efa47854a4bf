"""Estimation of the CTF against simulated tilted views whose defocus is exactly known."""

from __future__ import annotations

import math
from threading import Event

import numpy as np
import pytest
from ctf_phantom import Rings, RingSpec, ladder, twin_ctf

from tiltwright.engine.ctf.curves import _resolution, curve_at, defocus_of
from tiltwright.engine.ctf.estimate import Settings, estimate_series
from tiltwright.engine.ctf.fit import FitData, _normal, _projections, refine, search
from tiltwright.engine.ctf.judge import HandVote, best_rival, vote
from tiltwright.engine.ctf.model import Defocus, Optics, defocus_slopes
from tiltwright.engine.ctf.neighbours import best_path, smooth_walk, walk_scale
from tiltwright.engine.ctf.spectra import ring_bins, view_spectra
from tiltwright.engine.errors import Cancelled, DataError, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.progress import Monitor

OPTICS = Optics()


def estimate(spec, settings=None, stack=None, monitor=None):
    twin = Rings(spec)
    if stack is None:
        stack = [twin.view(v) for v in range(len(spec.tilts))]
    geometry = ViewGeometry.nominal(twin.tilt, spec.axis_deg)
    n = len(twin.tilt)
    fit = estimate_series(
        np.asarray(stack), spec.pixel_a, defocus_slopes(geometry, spec.pixel_a),
        np.full((n, 2), (spec.n - 1) / 2), twin.tilt, twin.order, np.ones(n, bool), OPTICS,
        settings or Settings(), monitor=monitor or Monitor(),
    )  # fmt: skip
    return twin, fit


def errors(twin, fit):
    """Relative errors of the mean defocus."""
    return np.array([f.p[0] for f in fit.fits]) / twin.defocus_a - 1


@pytest.mark.parametrize("hand", [1, -1])
def test_a_series_within_the_acceptance(hand):
    """A quarter of the area of the acceptance's views, at its ring contrast per area."""
    tilts = (-60.0, -54.0, -45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0, 54.0, 60.0)
    spec = RingSpec(seed=4, n=1024, tilts=tilts, contrast=2.0, hand=hand, defocus_um=2.6)
    twin, fit = estimate(spec)
    off = errors(twin, fit)
    low = np.abs(twin.tilt) < 50
    assert math.sqrt((off[low] ** 2).mean()) < 0.01
    assert math.sqrt((off[~low] ** 2).mean()) < 0.02
    assert fit.hand == hand
    assert fit.hand_confidence > 0.9
    mid = [f.p[1:3] for f in fit.fits]
    truth = np.stack([twin.a1, twin.a2], 1)
    assert np.hypot(*(mid - truth).mean(0)) < 150
    # The stated errors are what the errors are.
    pull = off * twin.defocus_a / fit.sigma_a
    assert 0.3 < math.sqrt((pull**2).mean()) < 2
    assert all(0.3 < c.score <= 1 and c.resolution_a < 16 for c in fit.curves)


def test_phase_plate():
    spec = RingSpec(
        seed=2, n=1024, tilts=(-20.0, 0.0, 20.0), contrast=12, phase_deg=70, defocus_um=2.0,
        drift_um=0.02, hand=1,
    )  # fmt: skip
    twin, fit = estimate(spec, Settings(phase_shift=True, hand=1))
    assert np.abs(errors(twin, fit)).max() < 0.02
    assert [f.p[3] for f in fit.fits] == pytest.approx([70] * 3, abs=8)
    said = defocus_of(fit.fits[0])
    assert said.u_a >= said.v_a
    # The same without looking for it: the known shift does.
    _, known = estimate(spec, Settings(phase_deg=70, hand=1))
    assert np.abs(errors(twin, known)).max() < 0.01


def test_a_given_hand_that_the_data_contradict():
    spec = RingSpec(seed=5, n=1024, tilts=(-50.0, 0.0, 50.0), contrast=5, hand=-1)
    _, fit = estimate(spec, Settings(hand=1))
    assert fit.hand == 1
    assert fit.hand_confidence < 0


def test_a_weak_view_is_held_by_its_neighbours():
    spec = RingSpec(
        seed=6, n=512, tilts=(-9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0), contrast=5, drift_um=0.01
    )
    twin = Rings(spec)
    stack = np.array([twin.view(v) for v in range(7)])
    stack[5] = 8 + np.random.default_rng(0).standard_normal((512, 512)) * 3
    _, alone = estimate(spec, Settings(tile=256, neighbours=False, hand=1), stack)
    _, held = estimate(spec, Settings(tile=256, hand=1), stack)
    assert abs(errors(twin, held)[5]) < 0.05
    assert abs(errors(twin, alone)[5]) > abs(errors(twin, held)[5])
    assert held.curves[5].score < 0.5 < held.curves[3].score


def test_noise_alone_is_not_believed():
    noise = np.random.default_rng(1).standard_normal((3, 512, 512))
    spec = RingSpec(n=512, tilts=(-50.0, 0.0, 50.0))
    with pytest.raises(DataError, match="no rings"):
        estimate(spec, Settings(tile=256), noise)
    with pytest.raises(DataError, match="all views are blank"):
        estimate(spec, Settings(tile=256), np.zeros((3, 512, 512)))


def test_rings_of_particles_are_not_taken_for_those_of_a_ctf():
    """They fit well, but no better than what no CTF can be; a CTF of few rings stays proven."""
    tilts = (-50.0, -25.0, 0.0, 25.0, 50.0)
    spec = RingSpec(seed=3, n=512, tilts=tilts, contrast=3, hand=-1, defocus_um=1.5)
    _, false = estimate(spec, Settings(tile=256), ladder())
    assert np.median([f.log_ratio for f in false.fits]) > 10
    assert not false.rival.proven
    assert false.hand == 0
    assert "% as well" in false.rival.text
    twin, true = estimate(spec, Settings(tile=256))
    assert true.rival.proven
    assert np.abs(errors(twin, true)).max() < 0.03
    # Outside what is searched nothing is proven.
    _, end = estimate(spec, Settings(tile=256, defocus_a=(5000.0, 13500.0)))
    assert not end.rival.proven
    assert "end of the range" in end.rival.text


def test_one_ring_proves_nothing():
    """At coarse pixels the right defocus may be found, but many others would do."""
    tilts = (-40.0, 0.0, 40.0)
    spec = RingSpec(seed=83, n=512, pixel_a=8.0, tilts=tilts, contrast=12, defocus_um=3.0)
    _, fit = estimate(spec, Settings(band_a=(60.0, 16.5)))
    assert min(c.score for c in fit.curves) > 0.9
    assert not fit.rival.proven


def test_the_rival_is_the_best_of_the_others():
    grid = np.arange(5) * 1e4 + 1e4
    ratio = np.array([[1.0, 8, 7, 2, 0], [0, 9, 3, 2, 3]])
    reversed_ = np.zeros((2, 5))
    found = best_rival(ratio, reversed_, grid, np.array([1, 1]), 15000.0)
    assert found.share == pytest.approx(4 / 17)  # a jump to 3 would cost more than it gives
    assert found.text == "a defocus of 4.0 µm explains the spectra 24 % as well"
    reversed_[:, 3] = 7
    found = best_rival(ratio, reversed_, grid, np.array([1, 1]), 15000.0)
    assert found.share == pytest.approx(14 / 17)
    assert found.text.startswith("rings of reversed contrast")
    assert found.text.endswith("explain the spectra 82 % as well")
    assert not found.proven


def test_a_hand_needs_views_that_agree_better_than_by_chance():
    assert vote([]) == vote([0.0, 0.0]) == HandVote(0, 0.0, 0.0, 1)
    assert vote([-30.0, -40.0]).hand == -1
    assert vote([4.0, 3.0]) == HandVote(0, 1.0, 7.0, 1)
    # Four views that say this and that: half of all random signs agree as well.
    assert vote([30.0, 30.0, 30.0, -15.0]).hand == 0
    assert vote([30.0] * 16 + [-30.0] * 4).hand == 1
    rng = np.random.default_rng(1)
    believed = [vote(rng.normal(0, 20, n)).hand != 0 for n in (4, 10, 30) for _ in range(200)]
    assert np.mean(believed) < 0.12


def test_rings_are_followed_from_behind_what_is_none():
    """Long periods of particles do not hide how far the rings go; chance is not followed."""
    _, spectra = sample()
    s2 = spectra.s2.mean(0)
    phase = OPTICS.per_defocus * 3e4 * s2 - OPTICS.per_s4 * s2**2
    model = -np.cos(2 * phase)
    noise = np.random.default_rng(2).standard_normal(len(model))
    frequency = np.sqrt(s2)
    said = _resolution(frequency, np.where(frequency < 0.06, -model, model), model, phase)
    assert said == pytest.approx(1 / frequency[-1])
    said = _resolution(frequency, np.where(frequency < 0.09, model, noise), model, phase)
    assert 1 / said == pytest.approx(0.09, abs=0.015)  # a window holds two rings on either side
    assert _resolution(frequency, noise, model, phase) == pytest.approx(1 / frequency[0])


def test_a_blank_view_is_left_out():
    spec = RingSpec(seed=9, n=512, tilts=(-9.0, 0.0, 9.0), contrast=8)
    twin = Rings(spec)
    stack = np.array([twin.view(v) for v in range(3)])
    stack[1] = 7
    _, fit = estimate(spec, Settings(tile=256), stack)
    assert fit.views.tolist() == [0, 2]
    assert fit.hand == 0  # such small tilts cannot tell
    assert np.array([f.p[0] for f in fit.fits]) == pytest.approx(twin.defocus_a[[0, 2]], rel=0.03)


def sample(hand=1):
    """Spectra of one tilted view, and its truth."""
    spec = RingSpec(seed=8, n=512, tilts=(-50.0, 0.0, 50.0), contrast=8, hand=1)
    twin = Rings(spec)
    slope = defocus_slopes(ViewGeometry.nominal([50.0], spec.axis_deg), 2.0)[0]
    spectra = view_spectra(
        twin.view(2), 2.0, slope, (255.5, 255.5), tile=256, band_a=(30.0, 8.0), group_a=500.0
    )
    return twin, spectra


def test_kernels_against_slow_twins():
    _, spectra = sample()
    data = FitData.of(spectra)
    rng = np.random.default_rng(0)
    some = rng.choice(len(data.value), 300, replace=False)
    part = FitData(
        data.value[some], data.weight[some], data.s2[some], data.cos[some], data.sin[some],
        data.offset_a[some], np.ascontiguousarray(data.smooth[some]),
    )  # fmt: skip
    p, b = np.array([29000.0, 80.0, -120.0, 12.0]), 90.0
    setting = np.array([OPTICS.per_defocus, OPTICS.per_s4, OPTICS.constant(), b])

    def model(q):
        d = q[0] + part.offset_a + q[1] * part.cos + q[2] * part.sin
        phase = setting[0] * d * part.s2 - setting[1] * part.s2**2 + setting[2]
        return -np.exp(-b * part.s2) * np.cos(2 * (phase + math.radians(q[3])))

    steps = np.diag([1.0, 1.0, 1.0, 0.01])
    slopes = [(model(p + h) - model(p - h)) / (2 * h.sum()) for h in steps]
    rows = np.column_stack([part.smooth, model(p), *slopes])
    weighted = rows * part.weight[:, None]
    for kernel in (_normal, _normal.py_func):
        normal, right = np.empty((10, 10)), np.empty(10)
        total = kernel(
            part.value, part.weight, part.s2, part.cos, part.sin, part.offset_a, part.smooth,
            setting, p, 1.0, normal, right,
        )  # fmt: skip
        np.testing.assert_allclose(normal, rows.T @ weighted, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(right, weighted.T @ part.value, rtol=1e-4, atol=1e-6)
        assert total == pytest.approx((part.weight * part.value**2).sum())
    trials = np.array([[29000.0, 0.3]])
    k = setting[0] * part.s2
    offset = np.stack([k, part.offset_a * k], -1)
    for kernel in (_projections, _projections.py_func):
        out = np.empty((1, 7))
        kernel(part.value, part.weight, part.smooth, np.ones(300), trials, offset, out)
        r = -np.cos(2 * (29000 * k + part.offset_a * k + 0.3))
        twin = [(part.weight * r * x).sum() for x in (r, part.value, *part.smooth.T)]
        np.testing.assert_allclose(out[0], twin, rtol=1e-9, atol=1e-9)


def test_search_and_refinement_agree_with_a_brute_search():
    twin, spectra = sample()
    data = FitData.of(spectra)
    radial = FitData.of(spectra, sectors=False)
    grid = np.linspace(20000, 40000, 201)
    ratio = search(radial, OPTICS, grid, np.array([0.0]), 1, 80.0)[0]
    assert grid[ratio.argmax()] == pytest.approx(twin.defocus_a[2], rel=0.02)
    other = search(radial, OPTICS, grid, np.array([0.0]), -1, 80.0)[0]
    assert ratio.max() > other.max()
    start = np.array([grid[ratio.argmax()], 0, 0, 0])
    free = (True, False, False, False)
    fit = refine(data, OPTICS, start, free=free, hand=1, b_a2=80.0)
    fine = start[0] + np.arange(-400, 401, 10.0)
    tried = [
        refine(data, OPTICS, np.array([d, 0, 0, 0]), free=free, hand=1, b_a2=80.0, n_steps=0)
        for d in fine
    ]
    best = tried[int(np.argmax([t.log_ratio for t in tried]))]
    assert abs(fit.p[0] - best.p[0]) <= 15
    assert fit.log_ratio >= best.log_ratio - 1e-6
    assert fit.log_ratio - best.log_ratio < 0.5


def test_the_curve_of_a_given_defocus():
    twin, spectra = sample()
    right = Defocus.of_components(twin.defocus_a[2], twin.a1[2], twin.a2[2])
    wrong = Defocus.of_components(twin.defocus_a[2] * 1.07, twin.a1[2], twin.a2[2])
    best = curve_at(spectra, right, OPTICS, 1)
    assert best.score > 0.7
    assert best.score > curve_at(spectra, wrong, OPTICS, 1).score + 0.2
    assert best.score > curve_at(spectra, right, OPTICS, -1).score
    # Its rings are those of the model: the zeros of the CTF are minima.
    zeros = np.flatnonzero(
        (best.model[1:-1] < best.model[:-2]) & (best.model[1:-1] < best.model[2:])
    )
    chi = twin_ctf(best.frequency[zeros + 1] ** 2, 0, 0, twin.defocus_a[2], 0, 0, 0, 0.1)
    assert np.abs(chi).max() < 0.5


def test_neighbours_against_a_dense_solution():
    rng = np.random.default_rng(3)
    n = 7
    p, information = rng.normal(size=(n, 4)), np.zeros((n, 4, 4))
    for v in range(n):
        half = rng.normal(size=(3, 3))
        information[v, :3, :3] = half @ half.T
    information[4] = 0
    walk = np.array([0.7, 0.3, 0.4, 0.0])
    mean, prior = smooth_walk(p, information, walk)
    stiff = np.diag(1 / walk[:3] ** 2)
    for v in range(n):
        h, g = np.zeros((3 * n, 3 * n)), np.zeros(3 * n)
        for u in range(n):
            at = slice(3 * u, 3 * u + 3)
            if u != v:
                h[at, at] += information[u, :3, :3]
                g[at] += information[u, :3, :3] @ p[u, :3]
            if u:
                before = slice(3 * u - 3, 3 * u)
                h[at, at] += stiff
                h[before, before] += stiff
                h[at, before] -= stiff
                h[before, at] -= stiff
        at = slice(3 * v, 3 * v + 3)
        covariance = np.linalg.inv(h)
        np.testing.assert_allclose(mean[v, :3], (covariance @ g)[at], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(prior[v, :3, :3], np.linalg.inv(covariance[at, at]), rtol=1e-4)
    assert not prior[:, 3].any()


def test_the_best_path_against_all_paths():
    rng = np.random.default_rng(5)
    ratio, grid = rng.uniform(0, 6, (4, 5)), np.arange(5) * 1000.0

    def total(path):
        change = np.minimum(0.5 * (np.diff(grid[list(path)]) / 800) ** 2, 8)
        return ratio[np.arange(4), list(path)].sum() - change.sum()

    every = [(a, b, c, d) for a in range(5) for b in range(5) for c in range(5) for d in range(5)]
    assert tuple(best_path(ratio, grid, 800.0)) == max(every, key=total)


def test_walk_scale():
    rng = np.random.default_rng(6)
    walk = np.cumsum(rng.normal(0, 300, 400))
    seen = walk + rng.normal(0, 150, 400)
    assert walk_scale(seen, np.full(400, 1 / 150**2), 10) == pytest.approx(300, rel=0.2)
    assert walk_scale(np.zeros(9), np.ones(9), 10) == 10
    assert walk_scale(np.zeros(2), np.ones(2), 10) == 100


def test_rings_hold_every_pixel_once():
    bins = ring_bins(64, 2.0, 40.0, 5.0)
    k = np.hypot(np.fft.fftfreq(64, 1 / 64)[:, None], np.arange(33)[None]).ravel()
    inside = bins.index < bins.n
    first = 64 * 2 / 40
    assert k[inside].min() >= first
    assert bins.count.sum() == inside.sum()
    ring = bins.index[inside] % bins.s2.shape[1]
    assert (np.abs(k[inside] - first - ring - 0.5) <= 0.5).all()
    assert np.sqrt(bins.s2.ravel()[bins.index[inside]]) == pytest.approx(k[inside] / 128, abs=0.008)


def test_cancelled():
    stop = Event()
    seen = []

    def listen(progress):
        seen.append(progress.text)
        stop.set()

    with pytest.raises(Cancelled):
        estimate(
            RingSpec(n=512, tilts=(-50.0, 0.0, 50.0)), Settings(tile=256),
            np.eye(512)[None].repeat(3, 0), Monitor(listen, stop),
        )  # fmt: skip
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(tile=33), "tile 33"),
        (Settings(tile=1024), "tiles of 1024 pixels are larger"),
        (Settings(tile=256, band_a=(8.0, 8.0)), "fit range"),
        (Settings(tile=256, band_a=(9.0, 8.0)), "rings of a tile"),
        (Settings(defocus_a=(2e4, 1e4)), "defocus range"),
    ],
)
def test_impossible_settings(settings, message):
    noise = np.random.default_rng(1).standard_normal((3, 512, 512))
    with pytest.raises(InputError, match=message):
        estimate(RingSpec(n=512, tilts=(-50.0, 0.0, 50.0)), settings, noise)
