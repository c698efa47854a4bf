"""Gold erased from simulated views: what is left, what is untouched, and the foreign network."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from gold_streaks import reconstruct, sites_in, streak_energy
from scipy import ndimage

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.fiducials.gold_sites import GoldSites, find_gold, gold_probability
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.model.alignment import Alignment, Fit
from tiltwright.engine.model.tilt_series import load_tilt_series
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.erase_fiducials import EraseFiducials
from tiltwright.engine.simulate.series import SeriesSpec, simulate_series, write_series

REAL = Path(__file__).parents[2] / "shared/data/exosome_position14/position14.mrc"
COHERENT = SeriesSpec(
    seed=4, n_views=13, tilt_min_deg=-48, tilt_max_deg=48, nx=256, ny=240, pixel_size_a=6,
    n_beads=9, n_vesicles=1, thickness_nm=40, coherent_fraction=1, envelope_per_px=0.7,
    dose_per_view=40, shift_step_sd_px=2,
)  # fmt: skip
SPEC = SeriesSpec(
    seed=5, n_views=21, nx=320, ny=256, n_beads=14, n_vesicles=3, shift_step_sd_px=2.0, carbon=False
)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    """A series with its true alignment, half of the beads in it, and where all beads are."""
    folder = tmp_path_factory.mktemp("gold")
    paths = write_series(SPEC, folder, "s")
    made = simulate_series(SPEC)
    series = load_tilt_series(paths["stack"], tilt_angles=paths["rawtlt"])
    n, half = SPEC.n_views, made.beads_xyz[:7]
    none = np.zeros((7, n))
    fit = Fit(half, np.zeros(7, int), np.zeros((7, n, 2)), none, none, none, 0, 0, 0)
    alignment = Alignment.of_geometry(made.geometry, kind="fiducial", fit=fit)
    return replace(series, alignment=alignment), made.beads_xy.transpose(1, 0, 2)


def distances(shape, xy):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.min([np.hypot(x - p[0], y - p[1]) for p in xy], axis=0)


def contrasts(image, xy, radius):
    """Mean within each bead less that around it, in SD of the pixels around it."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    out = []
    for p in xy:
        if np.all(p > 15) and np.all(p < np.array(image.shape[::-1]) - 15):
            r = np.hypot(x - p[0], y - p[1])
            ring = image[(r > radius + 3) & (r < radius + 8)]
            out.append((image[r < radius].mean() - ring.mean()) / ring.std())
    return out


def test_beads_vanish_and_nothing_else_changes(aligned, tmp_path):
    series, beads = aligned
    params = EraseFiducials.Params()
    out = EraseFiducials.run({"tilt_series": series}, params, Context(folder=tmp_path))
    erased = out["tilt_series"]
    mask = open_stack(tmp_path / "s_gold_mask.mrc")
    radius, before, after, control = 50 / 11.04, [], [], []
    rng = np.random.default_rng(1)
    for v in range(series.n_views):
        raw, clean = np.asarray(series.stack[v]), np.asarray(erased.images[v])
        away = distances(raw.shape, beads[v])
        np.testing.assert_array_equal(raw[mask[v] == 0], clean[mask[v] == 0])
        assert away[mask[v] == 1].max() < radius + 2.3  # 0.3 px for the centring
        before += contrasts(raw, beads[v], radius)
        after += contrasts(clean, beads[v], radius)
        some = rng.uniform(15, np.array(SPEC.nx) - 80, (60, 2))
        control += contrasts(clean, [p for p in some if away[int(p[1]), int(p[0])] > 20], radius)
    print(np.mean(before), np.mean(after), np.std(after), np.std(control))
    assert np.mean(before) < -3
    assert abs(np.mean(after)) < 0.2 * np.std(control) + 2 * np.std(after) / np.sqrt(len(after))
    assert np.std(after) < 1.4 * np.std(control)
    assert erased.work_path == tmp_path / "s_noGold.mrc"
    assert erased.images.dtype == np.int16


def test_half_of_the_beads_are_found_beside_the_alignment(aligned):
    series, beads = aligned
    sites = find_gold(
        series.images, 100 / 11.04, series.used, geometry=series.alignment.geometry(),
        xyz=series.alignment.fit.xyz,
    )  # fmt: skip
    for v in range(series.n_views):
        sure = sites[v].xy[sites[v].confidence == 1]
        away = np.hypot(*(beads[v][:, None] - sure[None]).transpose(2, 0, 1)).min(1)
        inside = np.all((beads[v] > 5) & (beads[v] < np.array([SPEC.nx, SPEC.ny]) - 6), 1)
        assert np.median(away[inside]) < 0.2
        assert np.mean(away[inside] < 1) > 0.9


def test_threshold_and_reach_of_the_probability():
    xy = np.array([[20.0, 20.0], [-30.0, 5.0], [39.5, 39.0]])
    sites = GoldSites(xy, np.array([1.0, 1, 0.4]), np.full(3, 10.0))
    p = gold_probability((40, 40), sites)
    away = distances((40, 40), sites.xy[[0, 2]])
    assert p.max() <= 1
    assert p.min() == 0
    assert np.all(away[p > 0] <= 7)
    assert p[20, 26] > 0.7 > 0.3 > p[20, 27] > 0.2
    assert p[20, 25] > 0.95
    assert p[39, 39] == pytest.approx(0.4, abs=0.01)
    counts = [(p >= t).sum() for t in (0.1, 0.5, 0.9)]
    assert counts == sorted(counts, reverse=True)


def test_streaks_vanish_from_the_tomogram(aligned, tmp_path):
    """The excess of their energy over that of the same series without gold."""
    series, _ = aligned
    made = simulate_series(SPEC)
    xyz, made.beads_xy = made.beads_xyz, made.beads_xy[:0]
    bare = replace(series, stack=np.stack([made.view(v) for v in range(SPEC.n_views)]))
    out = EraseFiducials.run(
        {"tilt_series": series}, EraseFiducials.Params(), Context(folder=tmp_path)
    )
    d = 100 / 11.04
    energy = []
    for one in (series, out["tilt_series"], bare):
        volume = reconstruct(one, tmp_path, 200)
        sites = sites_in(volume.shape, xyz, 3 * d + 1)
        energy.append(streak_energy(volume, sites, d / 2 + 2, 3 * d, d / 2).mean())
    raw, clean, without = energy
    print(len(sites), energy, (clean - without) / (raw - without))
    assert len(sites) >= 6
    assert raw > 1.3 * without
    assert abs(clean - without) < 0.1 * (raw - without)


def test_a_small_bead_beside_another_is_found(aligned):
    """It is no peak of its own while the large one is there; an edge of a vesicle is none."""
    series, beads = aligned
    made = simulate_series(SPEC)
    geometry, middle = series.alignment.geometry(), (np.array([SPEC.nx, SPEC.ny]) - 1) / 2
    at = geometry.project(made.beads_xyz[:2] + np.array([9.0, 3.0, 0.0])) + middle
    stack = np.array(series.stack, np.float64)
    y, x = np.mgrid[: SPEC.ny, : SPEC.nx]
    for v in range(SPEC.n_views):
        for p in at[:, v]:
            chord = 2 * np.sqrt(np.maximum(2.6**2 - (x - p[0]) ** 2 - (y - p[1]) ** 2, 0))
            stack[v] *= np.exp(-0.09 * 1.104 * chord)
    sites = find_gold(
        stack.astype(np.int16), 100 / 11.04, series.used, geometry=geometry,
        xyz=series.alignment.fit.xyz,
    )  # fmt: skip
    seen = false = 0
    inside = np.all((at > 12) & (at < [SPEC.nx - 13, SPEC.ny - 13]), 2)
    for v in range(SPEC.n_views):
        sure = sites[v].xy[sites[v].confidence == 1]
        away = np.hypot(*(at[:, v][:, None] - sure[None]).transpose(2, 0, 1))
        seen += int((away.min(1) < 1.5)[inside[:, v]].sum())
        small = sites[v].diameter_px < 9
        gold = np.concatenate([at[:, v], beads[v]])
        away = np.hypot(*(sites[v].xy[small][:, None] - gold[None]).transpose(2, 0, 1))
        false += int((away.min(1) > 3).sum())
    print(seen, inside.sum(), false)
    assert seen > 0.9 * inside.sum()
    assert false == 0


def level(image, p, radius):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return image[np.hypot(x - p[0], y - p[1]) < radius].mean()


def test_fringes_of_coherent_light_do_not_fill_the_holes(tmp_path):
    """A bead's light fringe is at its strongest where the replaced pixels end."""
    made = simulate_series(COHERENT)
    paths = write_series(COHERENT, tmp_path, "c")
    series = load_tilt_series(paths["stack"], tilt_angles=paths["rawtlt"])
    series = replace(series, alignment=Alignment.of_geometry(made.geometry, kind="fiducial"))
    out = EraseFiducials.run(
        {"tilt_series": series}, EraseFiducials.Params(), Context(folder=tmp_path)
    )
    beads, made.beads_xy = made.beads_xy.transpose(1, 0, 2), made.beads_xy[:0]
    error = []
    for v in range(COHERENT.n_views):
        bare, raw = np.asarray(made.view(v), float), np.asarray(series.stack[v], float)
        clean = np.asarray(out["tilt_series"].images[v], float)
        away = distances(raw.shape, beads[v])
        np.testing.assert_array_equal(raw[away > 50 / 6 + 2.8], clean[away > 50 / 6 + 2.8])
        inside = [p for p in beads[v] if np.all(p > 12) and np.all(p < [243, 227])]
        error += [(level(clean, p, 6) - level(bare, p, 6)) / bare.std() for p in inside]
    print(len(error), np.mean(error), np.std(error), np.min(error), np.max(error))
    # the ground itself varies by 0.7 from bead to bead
    assert len(error) > 100
    assert abs(np.mean(error)) < 0.15
    assert np.std(error) < 0.6


def test_what_was_measured_is_not_moved_by_a_detection(aligned):
    series, beads = aligned
    geometry, xyz = series.alignment.geometry(), series.alignment.fit.xyz
    residual = np.zeros((7, SPEC.n_views, 2))
    residual[0] = 0.8, -0.5
    residual[1, 3] = np.nan
    residual[2, 3] = 40, 0  # a blunder; the detection is believed
    kwargs = {"geometry": geometry, "xyz": xyz, "residual_px": residual}
    sites = find_gold(series.images, 100 / 11.04, series.used, **kwargs)[3].xy[:7]
    expected = geometry.project(xyz)[:, 3] + (np.array([SPEC.nx, SPEC.ny]) - 1) / 2 - residual[:, 3]
    np.testing.assert_allclose(sites[[0, 3, 4, 5, 6]], expected[[0, 3, 4, 5, 6]], atol=1e-9)
    assert np.hypot(*(sites[[1, 2]] - beads[3][[1, 2]]).T).max() < 0.5


def test_a_bead_of_one_view_is_gold_and_a_grain_or_an_edge_is_none(aligned):
    series, beads = aligned
    stack = np.array(series.stack, np.float64)
    y, x = np.mgrid[: SPEC.ny, : SPEC.nx]
    v, made = 10, {}
    places = [(40.0 * i + 20, 40.0 * j + 20) for i in range(8) for j in range(6)]
    free = [p for p in places if distances((1, 1), beads[v] - p)[0, 0] > 28]
    for name, p in zip(("ball", "grain", "ball", "grain"), free, strict=False):
        r2 = (x - p[0]) ** 2 + (y - p[1]) ** 2
        depth = 0.09 * 1.104 * 2 * np.sqrt(np.maximum(3.6**2 - r2, 0))
        if name == "grain":  # as dark on the whole, but without an edge
            depth = 0.5 * np.exp(-r2 / (2 * 4.0**2))
        stack[v] *= np.exp(-depth)
        made.setdefault(name, []).append(p)
    stack[v][:, 314:] *= 3.0
    sites = find_gold(
        stack.astype(np.int16), 100 / 11.04, series.used, geometry=series.alignment.geometry(),
        xyz=series.alignment.fit.xyz,
    )[v]  # fmt: skip
    likely = sites.xy[sites.confidence >= 0.5]
    for name, known in made.items():
        away = np.hypot(*(np.array(known)[:, None] - likely[None]).transpose(2, 0, 1)).min(1)
        print(name, away)
        assert (away < 1.5).all() if name == "ball" else (away > 3).all()
    rim = likely[likely[:, 0] > 303]
    print(rim)
    assert all(np.hypot(*(beads[v] - p).T).min() < 2 for p in rim)


@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data")
def test_nothing_of_the_beads_is_left_in_a_real_series(tmp_path):
    """Contrast at the alignment's beads against places without gold, views without high tilt."""
    truth = json.loads(REAL.with_suffix(".truth.json").read_text())
    flat, some = np.array(truth["xf"]), slice(9, 22)
    xf = np.concatenate([flat[:, :4].reshape(-1, 2, 2), flat[:, 4:, None]], 2)[some]
    write_mrc(tmp_path / "part.mrc", np.array(open_stack(REAL)[some]), 11.04)
    lines = REAL.with_suffix(".rawtlt").read_text().split()[some]
    (tmp_path / "part.rawtlt").write_text("\n".join(lines))
    series = load_tilt_series(
        tmp_path / "part.mrc", tilt_angles=tmp_path / "part.rawtlt", axis_deg=-84.5
    )
    series = replace(series, alignment=Alignment(xf, np.array(truth["tilt"])[some]))
    out = EraseFiducials.run(
        {"tilt_series": series}, EraseFiducials.Params(), Context(folder=tmp_path)
    )
    mask, before, after, control = open_stack(next(tmp_path.glob("*mask.mrc"))), [], [], []
    rng = np.random.default_rng(1)
    for v in range(series.n_views):
        raw, clean = np.asarray(series.stack[v]), np.asarray(out["tilt_series"].images[v])
        labels, n = ndimage.label(mask[v])
        sites = np.array(ndimage.center_of_mass(labels, labels, range(1, n + 1)))[:, ::-1]
        live = [p for p in sites if 60 < p[0] < 660 and 60 < p[1] < 450]
        before += contrasts(raw, live, 4.5)
        after += contrasts(clean, live, 4.5)
        some = [
            p for p in rng.uniform(60, [660, 450], (80, 2)) if distances((1, 1), sites - p) > 20
        ]
        control += contrasts(clean, some, 4.5)
    print(
        len(after),
        np.mean(before),
        np.mean(after),
        np.std(after),
        np.mean(control),
        np.std(control),
    )
    assert np.mean(before) < -2
    assert abs(np.mean(after) - np.mean(control)) < 0.2
    assert np.std(after) < 1.4 * np.std(control)


def test_no_gold_and_too_small_beads_are_said(aligned, tmp_path):
    series, _ = aligned
    empty = np.full(series.stack.shape, 100, np.int16)
    blank = replace(series, stack=empty, alignment=None)
    with pytest.raises(DataError, match="no gold"):
        EraseFiducials.run(
            {"tilt_series": blank}, EraseFiducials.Params(), Context(folder=tmp_path)
        )
    params = EraseFiducials.Params(diameter_nm=1.0)
    with pytest.raises(InputError, match="at least 2 px"):
        EraseFiducials.run({"tilt_series": series}, params, Context(folder=tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_network_can_tell_where_gold_is(aligned, tmp_path, monkeypatch):
    """A stand-in for fidder: a threshold on the grey value, with its call and its shapes."""
    series, _ = aligned
    monkeypatch.setitem(sys.modules, "torch", None)
    params = EraseFiducials.Params(method="fidder")
    with pytest.raises(InputError, match="fidder cannot be used"):
        EraseFiducials.run({"tilt_series": series}, params, Context(folder=tmp_path))
    torch, package, predict = ModuleType("torch"), ModuleType("fidder"), ModuleType("predict")
    torch.tensor = np.asarray
    asked = []

    def predict_fiducial_mask(
        image, pixel_spacing, probability_threshold, model_checkpoint_file=None
    ):
        asked.append((pixel_spacing, model_checkpoint_file))
        dark = ndimage.uniform_filter(image, 3) < 0.55 * np.median(image)
        probability = ndimage.binary_dilation(dark, iterations=2).astype(np.float32)
        return probability > probability_threshold, probability[None, None]

    predict.predict_fiducial_mask = predict_fiducial_mask
    model, network = ModuleType("model"), tmp_path / "network.ckpt"
    fetched = [OSError("no connection"), tmp_path / "elsewhere.ckpt", network]

    def get_latest_checkpoint():
        if isinstance(fetched[0], OSError):
            raise fetched[0]
        return fetched[0]

    model.get_latest_checkpoint = get_latest_checkpoint
    for name, module in (
        ("torch", torch), ("fidder", package), ("fidder.predict", predict), ("fidder.model", model),
    ):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    for words in ("no connection", "elsewhere.ckpt: there is no such"):
        with pytest.raises(InputError, match=words):
            EraseFiducials.run({"tilt_series": series}, params, Context(folder=tmp_path))
        del fetched[0]
    given = EraseFiducials.Params(method="fidder", network=str(tmp_path / "missing.ckpt"))
    with pytest.raises(InputError, match=r"missing.ckpt: there is no such"):
        EraseFiducials.run({"tilt_series": series}, given, Context(folder=tmp_path))
    assert not list(tmp_path.iterdir())
    network.write_bytes(b"weights")
    out = EraseFiducials.run({"tilt_series": series}, params, Context(folder=tmp_path))
    mask = open_stack(tmp_path / "s_gold_mask.mrc")[4] == 1
    assert asked == [(pytest.approx(11.04), network)] * series.n_views
    raw, clean = np.asarray(series.stack[4]), np.asarray(out["tilt_series"].images[4])
    assert 300 < mask.sum() < 5000
    assert (raw[mask] < 0.6 * np.median(raw)).mean() > 0.3
    assert (clean[mask] < 0.6 * np.median(raw)).mean() < 0.06
    np.testing.assert_array_equal(clean[~mask], raw[~mask])
