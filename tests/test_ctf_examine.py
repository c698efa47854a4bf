"""One view at a time: pictures, rings and fits against a phantom, kernels against slow twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ctf_phantom import Rings, RingSpec
from scipy import ndimage

from tiltwright.engine.ctf import picture as pictures
from tiltwright.engine.ctf.curves import curve_at
from tiltwright.engine.ctf.examine import Examiner
from tiltwright.engine.ctf.judge import off_neighbours, weak_views
from tiltwright.engine.ctf.model import Defocus, Optics, ctf, defocus_slopes
from tiltwright.engine.ctf.picture import (
    Planes,
    along_arcs,
    defocus_through,
    even_gain,
    model_picture,
    tilt_corrected,
    zero_lines,
)
from tiltwright.engine.ctf.spectra import view_spectra
from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.geometry.projection import ViewGeometry

OPTICS = Optics()
TILTS = (-60.0, 0.0, 60.0)
SPEC = RingSpec(seed=29, n=1024, tilts=TILTS, contrast=9, hand=-1, astigmatism_a=5000)
BAND = (30.0, 8.0)


@pytest.fixture(scope="module")
def made():
    """Truth of a series with 0.5 um of astigmatism, and its examiner."""
    twin = Rings(SPEC)
    stack = np.array([twin.view(v) for v in range(3)])
    slopes = defocus_slopes(ViewGeometry.nominal(TILTS, SPEC.axis_deg), 2.0)
    centres = np.full((3, 2), (SPEC.n - 1) / 2)
    return twin, Examiner(stack, 2.0, slopes, centres, OPTICS, tile=256, band_a=BAND)


def truth(twin, v):
    return Defocus.of_components(*(float(x) for x in (twin.defocus_a[v], twin.a1[v], twin.a2[v])))


def alike(picture, defocus, examiner):
    """Correlation of a measured picture with the rings of a defocus, within the band."""
    reach = examiner.reach
    model = model_picture(reach, examiner.step, defocus, OPTICS)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    s = np.hypot(y, x) * examiner.step
    there = (s > 1 / BAND[0]) & (s < 1 / BAND[1]) & np.isfinite(picture)
    return float(np.corrcoef(picture[there], model[there])[0, 1])


# ---- rings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [32000.0, 8000.0, -15000.0])
@pytest.mark.parametrize("shift", [0.0, 70.0])
def test_lines_lie_on_every_zero_of_the_ctf(mean, shift):
    defocus = Defocus(mean + 900, mean - 900, 33.0, shift)
    theta = np.linspace(-3, 3, 40)
    top = 0.25
    lines = zero_lines(theta, defocus, OPTICS, top)
    good = np.isfinite(lines)
    broad = np.broadcast_to(theta, lines.shape)
    assert np.abs(ctf(lines[good], broad[good], defocus, OPTICS)).max() < 1e-8
    for k, angle in enumerate(theta):
        s = np.linspace(0.001, top, 20000)
        signs = np.sign(ctf(s, angle, defocus, OPTICS))
        # The phase of an underfocus turns back far out, where no line is asked for.
        turn = math.sqrt(max(OPTICS.per_defocus * mean / (2 * OPTICS.per_s4), 0))
        counted = s < turn if 0 < turn < top else np.ones(len(s), bool)
        assert good[:, k].sum() == (np.diff(signs[counted]) != 0).sum()
    assert (np.diff(lines, axis=0)[good[1:]] > 0).all()


def test_a_dragged_ring_lands_where_it_was_put():
    before = Defocus(31000.0, 28000.0, 50.0, 20.0)
    for number, s, theta in ((0, 0.04, 0.3), (3, 0.07, -2.0), (7, 0.1, 1.6)):
        after = defocus_through(s, theta, number, before, OPTICS)
        line = zero_lines(np.array([theta]), after, OPTICS, 0.2)[number, 0]
        assert line == pytest.approx(s, rel=1e-9)
        assert after.u_a - after.v_a == pytest.approx(3000)
        assert after.angle_deg == pytest.approx(50)


def test_the_model_is_dark_on_the_lines_and_bright_between():
    defocus, step, reach = Defocus(30000.0, 27000.0, 40.0), 1 / 512, 80
    model = model_picture(reach, step, defocus, OPTICS)
    assert model.shape == (161, 161)
    np.testing.assert_array_equal(model, model[::-1, ::-1])
    theta = np.linspace(0, 2 * math.pi, 50)
    radius = zero_lines(theta, defocus, OPTICS, reach * step) / step
    middle = (radius[1:] ** 2 + radius[:-1] ** 2) ** 0.5 / math.sqrt(2)

    def values(r):
        at = np.array([reach + r * np.sin(theta), reach + r * np.cos(theta)])
        good = np.isfinite(r) & (r < 40)
        return ndimage.map_coordinates(np.nan_to_num(model), at[:, good], order=3)

    assert values(radius).max() < -0.8
    assert values(middle).min() > 0.8


# ---- pictures ------------------------------------------------------------------------------


def test_the_picture_has_the_rings_of_the_truth_and_not_their_mirror(made):
    twin, examiner = made
    for v in range(3):
        true = truth(twin, v)
        picture = examiner.picture(v, true, SPEC.hand)
        right = alike(picture, true, examiner)
        mirrored = Defocus(true.u_a, true.v_a, -true.angle_deg)
        crossed = Defocus(true.u_a, true.v_a, true.angle_deg + 90)
        round_ = Defocus(*(2 * [(true.u_a + true.v_a) / 2]))
        assert right > 0.7
        for wrong in (mirrored, crossed, round_):
            assert alike(picture, wrong, examiner) < right - 0.2


def test_groups_are_brought_together_by_the_right_hand_only(made):
    twin, examiner = made
    for v in (0, 2):
        true = truth(twin, v)
        planes = examiner.power(v).planes
        assert len(planes.offset_a) > 4
        right, as_it_is, wrong = (
            alike(along_arcs(tilt_corrected(planes, true, OPTICS, h)), true, examiner)
            for h in (SPEC.hand, 0, -SPEC.hand)
        )
        assert right > as_it_is + 0.05
        assert as_it_is > wrong


def test_stretching_agrees_with_a_slow_twin():
    rng = np.random.default_rng(3)
    reach, step = 20, 1 / 400
    power = rng.random((3, 2 * reach + 1, reach + 1)).astype(np.float32)
    number, offset = np.array([2.0, 5.0, 1.0]), np.array([-3000.0, 200.0, 2500.0])
    components = np.array([25000.0, 700.0, -400.0])
    out = np.empty(power.shape[1:], np.float32)
    arguments = (power, number, offset, components, OPTICS.per_defocus, OPTICS.per_s4, step)
    pictures._together(*arguments, out)
    plain = np.empty_like(out)
    pictures._together.py_func(*arguments, plain)
    np.testing.assert_allclose(out, plain, rtol=1e-5)
    for ky, kx in ((5, 3), (-7, 9), (0, 14), (12, 0), (-15, 2)):
        s2 = (ky**2 + kx**2) * step**2
        theta = math.atan2(ky, kx)
        d = 25000 + 700 * math.cos(2 * theta) - 400 * math.sin(2 * theta)
        wanted = OPTICS.per_defocus * d * s2 - OPTICS.per_s4 * s2**2
        total = weight = 0.0
        for g in range(3):
            roots = np.roots([-OPTICS.per_s4, OPTICS.per_defocus * (d + offset[g]), -wanted])
            stretch = math.sqrt(min(r for r in roots.real if r > 0) / s2)
            at = [[reach + ky * stretch], [kx * stretch]]
            if at[1][0] <= reach and 0 <= at[0][0] <= 2 * reach:
                value = ndimage.map_coordinates(power[g].astype(float), at, order=1)[0]
                total, weight = total + number[g] * value, weight + number[g]
        assert out[reach + ky, kx] == pytest.approx(total / weight, rel=1e-4)
    assert np.isnan(out[reach, 0])
    assert np.isnan(out[0, reach])


def test_arcs_keep_rings_and_take_noise_away():
    reach = 40
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    radius = np.hypot(y, x)
    rings = np.where(radius <= reach, np.cos(radius / 3), np.nan).astype(np.float32)
    kept = along_arcs(rings)
    inner = (radius > 8) & (radius < reach - 2)
    assert np.abs(kept - rings)[inner].max() < 0.1
    np.testing.assert_array_equal(np.isnan(kept), np.isnan(rings))
    noise = np.random.default_rng(1).standard_normal(rings.shape).astype(np.float32)
    half = noise[:, reach:]
    noise = np.concatenate([half[::-1, :0:-1], half], 1)
    assert along_arcs(noise)[inner].std() < 0.45
    plain = np.empty((2 * reach + 1, reach + 1), np.float32)
    pictures._arcs.py_func(
        np.ascontiguousarray(rings[:, reach:]), pictures._ARC_RAD, pictures._ARC_PX,
        pictures._ARC_MOST_RAD, plain,
    )  # fmt: skip
    np.testing.assert_allclose(plain, kept[:, reach:], atol=1e-5)


def test_an_even_picture_has_the_same_contrast_everywhere():
    reach = 60
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    radius = np.hypot(y, x)
    noise = np.random.default_rng(2).standard_normal(radius.shape) * np.exp(-radius / 20)
    picture = np.where((radius > 4) & (radius < reach), noise, np.nan).astype(np.float32)
    even = picture * even_gain(picture)
    inside = [np.nanstd(even[(radius > r) & (radius < r + 6)]) for r in range(10, 50, 8)]
    np.testing.assert_allclose(inside, 1, atol=0.25)


# ---- fits ----------------------------------------------------------------------------------


def test_a_look_is_what_the_estimation_sees(made):
    twin, examiner = made
    true = truth(twin, 2)
    look = examiner.look(2, true, SPEC.hand)
    slopes, centres = examiner._slopes[2], examiner._centres[2]
    spectra = view_spectra(
        examiner._stack[2], 2.0, slopes, centres, tile=256, band_a=BAND, group_a=examiner._group_a
    )
    same = curve_at(spectra, true, OPTICS, SPEC.hand)
    np.testing.assert_array_equal(look.curve.measured, same.measured)
    assert look.curve.score == same.score > 0.8
    # The wrong hand blurs the rings, but leaves them where they were.
    wrong = examiner.look(2, true, -SPEC.hand)
    far = wrong.curve.frequency > 0.08
    assert wrong.curve.measured[far].std() < 0.8 * look.curve.measured[far].std()
    assert examiner.look(2, true, 0).hand == SPEC.hand
    # The model of the same defocus is the fitted one; of another one it lies elsewhere.
    np.testing.assert_allclose(look.model_at(true, OPTICS), look.curve.model, rtol=1e-6)
    far = Defocus(true.u_a + 4000, true.v_a + 4000, true.angle_deg)
    assert np.corrcoef(look.model_at(far, OPTICS), look.curve.measured)[0, 1] < 0.3


def test_rings_that_do_not_fit_are_drawn_as_high_as_what_is_measured(made):
    twin, examiner = made
    true = truth(twin, 1)
    wrong = Defocus(true.u_a + 9000, true.v_a + 9000, true.angle_deg + 90)
    look = examiner.look(1, wrong, SPEC.hand)
    assert look.curve.score < 0.3
    height = np.abs(look.model_at(wrong, OPTICS)).max()
    assert height > 0.5 * np.abs(look.curve.measured).max()


@pytest.mark.parametrize("view", [0, 1, 2])
def test_a_refit_finds_the_truth_from_nearby(made, view):
    twin, examiner = made
    true = truth(twin, view)
    start = Defocus(true.u_a + 500, true.u_a + 500)
    for hand in (SPEC.hand, 0):
        found = examiner.refit(view, start, hand)
        assert sum(found.defocus.components[:1]) == pytest.approx(true.components[0], rel=0.01)
        assert found.defocus.u_a - found.defocus.v_a == pytest.approx(5000, abs=800)
        away = (found.defocus.angle_deg - true.angle_deg + 90) % 180 - 90
        assert abs(away) < 6
    kept = examiner.refit(view, true, SPEC.hand, astigmatism=False)
    assert kept.defocus.angle_deg == pytest.approx(true.angle_deg)


def test_tilted_views_tell_the_hand_and_untilted_ones_do_not(made):
    twin, examiner = made
    for v in (0, 2):
        assert SPEC.hand * examiner.hand_evidence(v, truth(twin, v)) > 20
    assert abs(examiner.hand_evidence(1, truth(twin, 1))) < 1


def test_spectra_are_kept_within_a_budget(made):
    _, whole = made
    small = Examiner(
        whole._stack, 2.0, whole._slopes, whole._centres, OPTICS, tile=256, band_a=BAND,
        cache_bytes=1,
    )  # fmt: skip
    first = small.power(0)
    assert small.power(0) is first
    small.power(1)
    assert list(small._cache) == [1]
    assert small.power(0) is not first


def test_what_cannot_be_looked_at_is_said(made):
    _, examiner = made
    blank = Examiner(
        np.zeros((1, 300, 300)), 2.0, np.zeros((1, 2)), np.zeros((1, 2)), OPTICS, tile=256,
        band_a=BAND,
    )  # fmt: skip
    with pytest.raises(DataError, match="blank"):
        blank.power(0)
    with pytest.raises(InputError, match="rings of a tile"):
        Examiner(
            examiner._stack, 20.0, examiner._slopes, examiner._centres, OPTICS, tile=256,
            band_a=BAND,
        )  # fmt: skip


# ---- judging -------------------------------------------------------------------------------


def test_views_off_their_neighbours_are_found_one_by_one():
    rng = np.random.default_rng(4)
    n = 30
    p = np.zeros((n, 4))
    p[:, 0] = 30000 + np.cumsum(rng.normal(0, 80, n))
    clean = p.copy()
    p[7, 0] += 4000
    p[8, 0] -= 2500
    good = np.ones(n, bool)
    good[20] = False
    p[20, 0] = 90000
    off, said = off_neighbours(p, good, np.full(n, 40.0))
    assert np.flatnonzero(off).tolist() == [7, 8]
    assert np.abs(said[:, 0] - clean[:, 0]).max() < 400
    none, _ = off_neighbours(clean, np.ones(n, bool), np.full(n, np.nan))
    assert not none.any()


def test_weak_views_are_named_with_reasons():
    score = np.array([0.9, 0.1, np.nan, 0.8, 0.9])
    to = np.array([8.0, 8.0, np.nan, 20.0, 8.2])
    off = np.array([False, False, True, False, False])
    said = weak_views(score, to, off, np.array([0, 0, -6000.0, 0, 0]))
    assert said == {
        1: "score 0.1", 2: "0.60 µm off its neighbours", 3: "fits to 20 Å only",
    }  # fmt: skip
    # Scores of other programs are lower altogether.
    assert weak_views(np.full(5, 0.06), to, off & False, np.zeros(5)) == {3: "fits to 20 Å only"}


def test_planes_are_means_of_their_tiles():
    from tiltwright.engine.ctf.spectra import Tiles

    planes = [np.full((5, 3), k, np.float32) for k in (1, 3, 10)]
    made = Planes.of(Tiles(np.zeros((3, 1)), np.array([0.0, 10.0, 5000.0]), planes), 100.0, 0.1, 0)
    assert made.n_tiles.tolist() == [2, 1]
    assert made.power[:, 0, 0].tolist() == [2, 10]
    assert made.offset_a.tolist() == [5, 5000]
    assert (made.reach, made.lowest) == (2, 1)
