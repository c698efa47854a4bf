"""The simulator: truth that is true, noise of the right size, and files that others read."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from threading import Event

import mrcfile
import numpy as np
import pytest

from tiltwright.engine.errors import Cancelled, InputError
from tiltwright.engine.io.mdoc import read_mdoc
from tiltwright.engine.progress import Monitor
from tiltwright.engine.simulate.ctf import blend_defocus, phase_ctf, wavelength_a
from tiltwright.engine.simulate.phantom import draw_ball, draw_plane
from tiltwright.engine.simulate.series import SeriesSpec, simulate_series, write_series

SMALL = SeriesSpec(
    n_views=5, nx=128, ny=96, n_beads=4, n_vesicles=2, shift_step_sd_px=2.0, spikes_per_view=0
)
BARE = replace(
    SMALL,
    n_beads=1,
    thickness_nm=20.0,
    n_vesicles=0,
    carbon=False,
    ice_texture=0.0,
    shift_step_sd_px=0.7,
)


def centroid(image, start, sigma):
    """Fixed point of the Gaussian-weighted centroid of a dark blob on a flat background."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    dark = np.median(image) - image.astype(float)
    p = np.array(start, float) + 0.3
    for _ in range(60):
        w = dark * np.exp(-((x - p[0]) ** 2 + (y - p[1]) ** 2) / (2 * sigma**2))
        p += 1.5 * (np.array([(w * x).sum(), (w * y).sum()]) / w.sum() - p)
    return p


@pytest.mark.parametrize("pixel", [11.04, 5.52])
@pytest.mark.parametrize("x_tilt", [0.0, 4.0])
def test_beads_lie_where_the_truth_says(pixel, x_tilt):
    for seed in range(3):
        spec = replace(BARE, seed=seed, pixel_size_a=pixel, x_tilt_deg=x_tilt)
        series = simulate_series(spec)
        truth = np.array(series.truth()["raw_xy"])[:, 0]
        for v in range(spec.n_views):
            sigma = 50 / pixel
            plain = centroid(-series.attenuation(v), truth[v], sigma)
            assert np.hypot(*(plain - truth[v])) < 0.003
            seen = centroid(series.view(v, noise=False), truth[v], sigma)
            assert np.hypot(*(seen - truth[v])) < 0.01


def test_truth_follows_the_conventions_by_hand():
    """The projection and the transforms, written out once more without the geometry module."""
    spec = replace(SMALL, x_tilt_deg=3.0, axis_deg=71.0)
    t = simulate_series(spec).truth()
    raw, centre = np.array(t["raw_xy"]), np.array([(spec.nx - 1) / 2, (spec.ny - 1) / 2])
    xi = math.radians(t["x_tilt"])
    for v in range(spec.n_views):
        a, phi = math.radians(t["tilt"][v]), math.radians(t["rot"][v])
        a11, a12, a21, a22, dx, dy = t["xf"][v]
        for i, (x, y, z) in enumerate(t["beads"]):
            y2, z2 = y * math.cos(xi) - z * math.sin(xi), y * math.sin(xi) + z * math.cos(xi)
            p = (x * math.cos(a) + z2 * math.sin(a), y2)
            m = t["magnification"][v]
            q = (
                m * (p[0] * math.cos(phi) - p[1] * math.sin(phi)) + t["shift"][v][0],
                m * (p[0] * math.sin(phi) + p[1] * math.cos(phi)) + t["shift"][v][1],
            )
            r = raw[v, i] - centre
            np.testing.assert_allclose(r, q, atol=1e-9)
            back = (a11 * r[0] + a12 * r[1] + dx, a21 * r[0] + a22 * r[1] + dy)
            np.testing.assert_allclose(back, p, atol=1e-9)


def test_truth_has_no_residual():
    t = simulate_series(replace(SMALL, n_views=21)).truth()
    c = np.array([(t["nx"] - 1) / 2, (t["ny"] - 1) / 2])
    xf, tilt = np.array(t["xf"]), np.deg2rad(t["tilt"])
    q = np.einsum("vij,vpj->vpi", xf[:, :4].reshape(-1, 2, 2), np.array(t["raw_xy"]) - c)
    q += xf[:, None, 4:]
    m = np.stack([np.cos(tilt), np.sin(tilt)], 1)
    fit = m @ np.linalg.lstsq(m, q[:, :, 0], rcond=None)[0]
    assert np.abs(q[:, :, 0] - fit).max() < 1e-9
    assert np.abs(q[:, :, 1] - q[:, :, 1].mean(0)).max() < 1e-9


def test_beads_are_inside_the_untilted_view_and_apart():
    spec = replace(SMALL, nx=256, ny=200, n_views=3, n_beads=20, shift_step_sd_px=0.0, seed=4)
    series = simulate_series(spec)
    xy = np.array(series.truth()["raw_xy"])[1, :20]
    assert (xy > 5).all()
    assert (xy < np.array([250, 194])).all()
    far = np.linalg.norm(series.beads_xyz[:, None] - series.beads_xyz[None], axis=2)
    assert far[~np.eye(20, dtype=bool)].min() > 100 / spec.pixel_size_a
    z = series.beads_xyz[:, 2] * spec.pixel_size_a / 1500
    assert ((np.abs(z) > 0.35) & (np.abs(z) < 0.55)).all()
    assert z.min() < 0 < z.max()


def test_ball_has_the_volume_and_profile_of_a_ball():
    out = np.zeros((41, 41), np.float32)
    draw_ball(out, 20.3, 19.8, 6.0, 0.5, 8)
    assert out.sum() == pytest.approx(0.5 * 4 / 3 * math.pi * 6**3, rel=1e-3)
    assert out[20, 20] == pytest.approx(0.5 * 12 * 0.9985, rel=3e-3)
    cut = np.zeros((41, 41), np.float32)
    draw_ball(cut, -2.0, 45.0, 6.0, 0.5, 4)  # a ball across the edge
    assert 0 < cut.sum() < 0.5 * out.sum()
    twin = np.zeros((41, 41), np.float32)
    draw_ball.py_func(twin, 20.3, 19.8, 6.0, 0.5, 8)
    np.testing.assert_allclose(twin, out, rtol=1e-5, atol=1e-6)


def test_plane_compiled_equals_python():
    tile = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    inverse = np.array([[0.2, 1.1], [-0.9, 0.3]])
    carbon = np.array([0.3, 2.0, 0.01, 1.5])
    a, b = np.empty((9, 12), np.float32), np.empty((9, 12), np.float32)
    draw_plane(a, inverse, np.array([5.0, 3.0]), tile, 0.7, 0.3, 0.1, carbon)
    draw_plane.py_func(b, inverse, np.array([5.0, 3.0]), tile, 0.7, 0.3, 0.1, carbon)
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_ctf_against_values_by_hand():
    assert wavelength_a(300) == pytest.approx(0.019687, abs=1e-6)
    assert wavelength_a(200) == pytest.approx(0.025079, abs=1e-6)
    s = 0.02
    chi = math.pi * wavelength_a(300) * 3e4 * s**2
    chi -= math.pi / 2 * 2.7e7 * wavelength_a(300) ** 3 * s**4
    expected = math.sqrt(0.99) * math.sin(chi) + 0.1 * math.cos(chi)
    got = phase_ctf(np.array([s**2], np.float32), 3e4, 300, 2.7, 0.1)
    assert got[0] == pytest.approx(expected, abs=1e-5)
    assert phase_ctf(np.zeros(1, np.float32), 3e4, 300, 2.7, 0.1)[0] == pytest.approx(0.1)


def test_defocus_changes_across_the_image():
    """With a slope, each side equals the image filtered at the defocus of that side."""
    rng = np.random.default_rng(1)
    image = 1 + 0.05 * rng.standard_normal((64, 256), np.float32)
    optics = (300.0, 2.7, 0.1)

    def run(defocus, slope, levels=200):
        return blend_defocus(image, 8.0, defocus, (slope, 0.0), optics, 0.15, 0.45, levels)

    sloped = run(3e4, 100.0)
    for x in (40, 128, 215):
        here = run(3e4 + 100.0 * (x - 127.5), 0.0)[:, x]
        wrong = run(3e4 - 100.0 * (x - 127.5) + 4000, 0.0)[:, x]
        error = np.std(sloped[:, x] - here)
        assert error < 0.05 * np.std(here)
        assert error < 0.2 * np.std(sloped[:, x] - wrong)
    assert run(3e4, 0.0).mean() == pytest.approx(image.mean(), rel=1e-5)
    assert np.std(run(3e4, 100.0, 5) - sloped) < 0.2 * np.std(sloped)


def test_noise_is_poisson_and_reproducible():
    series = simulate_series(SMALL)
    mean, counts = series.view(1, noise=False), series.view(1)
    assert counts.dtype == np.int16
    assert (counts - mean).mean() == pytest.approx(0, abs=4 * math.sqrt(mean.mean() / mean.size))
    assert ((counts - mean) ** 2 / mean).mean() == pytest.approx(1, abs=0.06)
    again = simulate_series(SMALL)
    np.testing.assert_array_equal(again.view(3), series.view(3))
    np.testing.assert_array_equal(again.view(1), counts)
    assert not np.array_equal(simulate_series(replace(SMALL, seed=2)).view(1), counts)
    assert not np.array_equal(series.view(2), counts)


def test_spikes_stand_above_the_noise():
    clean, hit = simulate_series(SMALL), simulate_series(replace(SMALL, spikes_per_view=7))
    assert 1 <= (hit.view(0) != clean.view(0)).sum() <= 7
    assert (hit.view(0) >= clean.view(0)).all()


def test_dead_duplicated_and_jumping_views():
    spec = replace(SMALL, dead_views=(2,), duplicated_views=(4, 5), jumps=((5, 30.0),))
    series, calm = simulate_series(spec), simulate_series(replace(spec, jumps=((5, 0.0),)))
    assert series.view(1).mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(series.view(3), series.view(2))
    np.testing.assert_array_equal(series.view(4), series.view(2))
    assert series.truth()["bad_views"] == [2, 4, 5]
    moved = series.geometry.shift_px - calm.geometry.shift_px
    np.testing.assert_allclose(np.hypot(*moved.T), [0, 0, 0, 0, 30], atol=1e-9)


@pytest.mark.parametrize("scheme", ["dose-symmetric", "sequential"])
def test_files_are_read_by_others(tmp_path, scheme):
    spec = replace(SMALL, scheme=scheme, axis_error_deg=3.0, duplicated_views=(3,))
    seen = []
    paths = write_series(spec, tmp_path / "new", "s", Monitor(seen.append))
    assert seen[-1].done == seen[-1].total == 5
    series = simulate_series(spec)
    with mrcfile.open(paths["stack"]) as mrc:
        assert mrc.data.dtype == np.int16
        np.testing.assert_array_equal(mrc.data, np.stack([series.view(v) for v in range(5)]))
        assert float(mrc.voxel_size.x) == pytest.approx(11.04, rel=1e-6)
    np.testing.assert_allclose(np.loadtxt(paths["rawtlt"]), [-60, -30, 0, 30, 60])
    mdoc = read_mdoc(paths["mdoc"])
    np.testing.assert_allclose(mdoc.tilt_deg, [-60, -30, 0, 30, 60])
    assert mdoc.tilt_axis_deg == pytest.approx(-81.5)
    assert mdoc.pixel_size_a == pytest.approx(11.04)
    np.testing.assert_allclose(mdoc.doses, 3.0)
    order = [4, 2, 0, 1, 3] if scheme == "dose-symmetric" else [0, 1, 2, 3, 4]
    assert mdoc.acquisition_order.tolist() == order
    assert not mdoc.is_tomo5
    truth = json.loads(paths["truth"].read_text())
    assert truth == series.truth()
    assert truth["axis"] == -84.5
    assert np.array(truth["raw_xy"]).shape == (5, 64, 2)


def test_cancelled_leaves_nothing(tmp_path):
    stop = Event()
    monitor = Monitor(lambda p: stop.set() if p.done == 2 else None, stop)
    with pytest.raises(Cancelled):
        write_series(SMALL, tmp_path, "s", monitor)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"nx": 4}, "size 4"),
        ({"n_views": 0}, "n_views"),
        ({"pixel_size_a": float("nan")}, "pixel_size_a"),
        ({"dose_per_view": -1.0}, "dose_per_view"),
        ({"tilt_max_deg": 95.0}, "tilts"),
        ({"dead_views": (9,)}, "view 9"),
        ({"duplicated_views": (1,)}, "view 1"),
        ({"n_beads": 5000}, "5000 beads"),
        ({"scheme": "spiral"}, "spiral"),
        ({"amplitude_contrast": 0.0}, "amplitude_contrast"),
    ],
)
def test_impossible_specs_are_named(change, word):
    with pytest.raises(InputError, match=word):
        simulate_series(replace(SMALL, **change))


def test_no_beads_and_odd_sizes():
    series = simulate_series(replace(SMALL, n_beads=0, n_vesicles=0, nx=101, ny=77, n_views=1))
    assert series.view(0).shape == (77, 101)
    with pytest.raises(InputError, match="view 2"):
        series.view(1)
