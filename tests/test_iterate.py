from __future__ import annotations

import threading
import time
from itertools import pairwise

import mrcfile
import numpy as np
import pytest
from test_recon import POINTS, TILT, positions, read, series

from tiltwright.engine.errors import Cancelled, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import identity
from tiltwright.engine.progress import Monitor
from tiltwright.engine.recon.filters import hamming_window, iteration_window
from tiltwright.engine.recon.fourier import reconstruct_fourier
from tiltwright.engine.recon.iterate import Iterations, Start, reconstruct_iterative, subset_order
from tiltwright.engine.recon.slabs import reconstruct_slabs, slab_sections
from tiltwright.engine.recon.strips import Request, scratch
from tiltwright.engine.recon.wbp import Weighting, reconstruct_series


def request(path, shape=(90, 100), thickness=41, **more):
    g = ViewGeometry.nominal(TILT, 0.0)
    more = {"dtype": "float32", **more}
    views = series(g, shape)
    return Request(views, g.transforms(), TILT, thickness, 0.0, path / "a.mrc", 5.0, **more)


def run(req, plan):
    done = reconstruct_iterative(req, plan)
    return read(req.path), done.residual


def slow_twin(b, tilt, n_x, n_z, subsets, number, relaxation):
    """The textbook's iteration with a dense matrix; ``b`` ``(n_views, n_rows)``, background off."""
    n_views, n_rows = b.shape
    x, z = (np.arange(n) - (n - 1) / 2 for n in (n_x, n_z))
    matrix = np.zeros((n_views, n_rows, n_z, n_x))
    for v, t in enumerate(np.deg2rad(tilt)):
        for i, j in np.ndindex(n_z, n_x):
            at = x[j] * np.cos(t) + z[i] * np.sin(t) + (n_rows - 1) / 2
            k, u = int(np.floor(at)), at - np.floor(at)
            for row, w in ((k, 1 - u), (k + 1, u)):
                # Rows beyond the views were not measured.
                if 0 <= row < n_rows:
                    matrix[v, row, i, j] += w
    volume = np.zeros((n_z, n_x))
    for _ in range(number):
        for subset in subsets:
            correction = np.zeros_like(volume)
            for v in subset:
                rest = b[v] - np.einsum("rzx,zx->r", matrix[v], volume)
                path = n_z / np.cos(np.deg2rad(tilt[v]))
                correction += np.einsum("rzx,r->zx", matrix[v], rest / path)
            volume += relaxation * correction / len(subset)
    rest = b - np.einsum("vrzx,zx->vr", matrix, volume)
    return volume, rest


@pytest.mark.parametrize(("subset", "relaxation"), [(0, 1.0), (0, 1.7), (3, 0.8)])
def test_the_iterations_are_those_of_the_textbook(tmp_path, subset, relaxation):
    rng = np.random.default_rng(4)
    tilt = np.linspace(-55, 50, 8)
    stack = rng.normal(10, 1, (8, 3, 24)).astype(np.float32)
    req = Request(stack, identity(8), tilt, 9, 0.0, tmp_path / "a.mrc", 5.0, dtype="float32")
    plan = Iterations(6, subset, relaxation, border=0)
    volume, residual = run(req, plan)
    parts = [np.arange(8)] if not subset else [np.arange(k, 8, 3) for k in range(3)]
    slack = req.shape()[2] - 24
    for y in range(3):
        b = stack[:, y].astype(float) - stack.mean(axis=(1, 2))[:, None]
        slow, _ = slow_twin(b, tilt, 24 + slack, 9, parts, 6, relaxation)
        assert np.abs(volume[:, y] - slow).max() < 2e-4 * np.abs(slow).max()
    assert len(residual) == 7
    assert residual[0] == pytest.approx(1)


def test_the_residual_is_that_of_the_result(tmp_path):
    """Over rays from face to face, against a projection by loops."""
    rng = np.random.default_rng(4)
    tilt = np.linspace(-40, 40, 7)
    stack = rng.normal(10, 1, (7, 2, 40)).astype(np.float32)
    req = Request(stack, identity(7), tilt, 5, 0.0, tmp_path / "a.mrc", 5.0, dtype="float32")
    _, residual = run(req, Iterations(4, border=0))
    total = power = 0.0
    x, z = np.arange(40) - 19.5, np.arange(5) - 2.0
    for y in range(2):
        b = stack[:, y].astype(float) - stack.mean(axis=(1, 2))[:, None]
        _, rest = slow_twin(b, tilt, 40, 5, [np.arange(7)], 4, 1.0)
        for v, t in enumerate(np.deg2rad(tilt)):
            ends = [x[k] * np.cos(t) + z * np.sin(t) + 19.5 for k in (0, -1)]
            whole = slice(int(np.ceil(ends[0].max())), int(np.floor(ends[1].min())) + 1)
            total += (rest[v, whole] ** 2).sum()
            power += (b[v, whole] ** 2).sum()
    assert residual[4] == pytest.approx(np.sqrt(total / power), rel=1e-3)


@pytest.mark.parametrize("axis", [2.0, -84.5])
@pytest.mark.parametrize("method", ["sirt", "fourier"])
def test_points_come_out_where_they_are(tmp_path, axis, method):
    rng = np.random.default_rng(3)
    g = ViewGeometry.nominal(TILT, axis).with_shifts(rng.normal(0, 3, (len(TILT), 2)))
    g = ViewGeometry(**{**vars(g), "x_tilt_deg": 2.5})
    shape = (112, 100) if axis == 2.0 else (100, 112)
    req = Request(
        series(g, shape), g.transforms(), TILT, 50, axis, tmp_path / "a.mrc", 5.0, x_tilt_deg=2.5,
        shift_x=2.5, shift_z=-1.5,
    )  # fmt: skip
    if method == "sirt":
        reconstruct_iterative(req, Iterations(20))
    else:
        reconstruct_fourier(req)
    volume = read(req.path)
    assert volume.shape == (50, 112, 100)
    assert volume.dtype == np.int16
    moved = POINTS + np.array([2.5, 0, -1.5])
    error = positions(volume, moved) - moved
    assert (np.abs(error).max(axis=0) < [0.06, 0.06, 0.15]).all()


@pytest.mark.parametrize("x_tilt", [0.0, 4.0])
@pytest.mark.parametrize("method", ["iterate", "fourier"])
def test_the_strips_do_not_show(tmp_path, monkeypatch, x_tilt, method):
    req = request(tmp_path, (150, 61), 35, width=45, x_tilt_deg=x_tilt, shift_x=1.5)

    def work():
        if method == "fourier":
            reconstruct_fourier(req)
        else:
            reconstruct_iterative(req, Iterations(4, 20))
        return read(req.path)

    whole = work()
    # The arrays of the iterations lie in a file then.
    for limit in ("iterate.MEMORY_BYTES", "fourier.STRIP_BYTES"):
        monkeypatch.setattr(f"tiltwright.engine.recon.{limit}", 1)
    part = work()
    assert whole.shape == (35, 150, 45)
    assert np.abs(whole - part).max() < 1e-4 * np.abs(whole).max()


def test_it_continues_where_it_stopped(tmp_path):
    req = request(tmp_path)
    whole, residual = run(req, Iterations(8, border=0))
    assert (np.diff(residual) < 0).all()
    half, before = run(req, Iterations(5, border=0))
    rest, after = run(req, Iterations(3, start=Start(half), border=0))
    assert np.abs(rest - whole).max() < 1e-4 * np.abs(whole).max()
    assert np.allclose(residual, [*before, *after[1:]], rtol=1e-4)
    assert after[0] == pytest.approx(before[-1], rel=1e-4)
    stored = np.rint((half - 0.25) * 300)
    start = Start(stored.astype(np.int16), 300.0, 0.25)
    again, _ = run(req, Iterations(3, start=start, border=0))
    assert np.abs(again - whole).max() < 0.01


def test_a_start_follows_an_x_axis_tilt(tmp_path):
    req = request(tmp_path, x_tilt_deg=5.0)
    whole, residual = run(req, Iterations(8))
    half, _ = run(req, Iterations(5))
    rest, after = run(req, Iterations(3, start=Start(half)))
    # Its lines are interpolated on the way in and out.
    assert np.corrcoef(rest.ravel(), whole.ravel())[0, 1] > 0.999
    assert after[0] == pytest.approx(residual[5], rel=0.05)


def test_a_mask_and_the_sign_hold(tmp_path):
    req = request(tmp_path)
    mask = np.zeros(req.shape(), np.int8)
    mask[10:30, 20:70, 15:80] = 1
    volume, _ = run(req, Iterations(5, mask=mask))
    assert not volume[mask == 0].any()
    assert volume[mask == 1].std() > 0
    dark, _ = run(req, Iterations(5, bounds=(-np.inf, 0)))
    assert dark.max() <= 0 > dark.min()
    bright, _ = run(req, Iterations(5, bounds=(0, np.inf)))
    assert bright.min() >= 0


def test_what_was_not_measured_does_not_count(tmp_path):
    """A hole in some views: nothing is fitted there, and elsewhere all is as it was."""
    req = request(tmp_path, shape=(90, 100))
    whole, _ = run(req, Iterations(15))
    req.stack[::2, :30] = np.nan
    holed, _ = run(req, Iterations(15))
    assert np.isfinite(holed).all()
    inside = np.s_[:, 34:]
    assert np.abs(holed[inside] - whole[inside]).max() < 0.06 * np.abs(whole).max()


def test_it_stops_when_nothing_is_gained(tmp_path):
    req = request(tmp_path)
    _, full = run(req, Iterations(40))
    _, short = run(req, Iterations(40, least_gain=0.05))
    assert 3 < len(short) < 40
    assert np.allclose(short, full[: len(short)])


def test_matter_beyond_the_tomogram_does_not_pile_up_at_its_edge(tmp_path):
    """Gaussian balls 8 voxels beyond the side, in the way of the tilted views only."""
    tilt = np.deg2rad(np.linspace(-60, 60, 31))
    at = np.arange(120) - 59.5
    views = np.zeros((31, 1, 120), np.float32)
    for z in (-14, -5, 5, 14):
        where = 67.5 * np.cos(tilt) + z * np.sin(tilt)
        views[:, 0] += np.exp(-((at - where[:, None]) ** 2) / 18)
    req = Request(
        views, identity(31), np.rad2deg(tilt), 40, 0.0, tmp_path / "a.mrc", 5.0, dtype="float32"
    )  # fmt: skip
    edge = [run(req, Iterations(30, border=border))[0][:, :, -6:].std() for border in (0, None)]
    assert edge[1] < 0.5 * edge[0]


def test_subsets_span_the_range_and_hold_all_views():
    order, edges = subset_order(41, 5)
    assert sorted(order) == list(range(41))
    assert (edges[0], edges[-1]) == (0, 41)
    assert max(np.diff(edges)) <= 5
    for a, b in pairwise(edges):
        assert order[a:b].max() - order[a:b].min() >= 27
    assert subset_order(7, 0)[1] == [0, 7]
    assert subset_order(3, 50)[1] == [0, 3]


def test_cancelling_is_prompt_and_leaves_no_file(tmp_path):
    rng = np.random.default_rng(0)
    stack = rng.normal(0, 1, (41, 256, 900)).astype(np.float32)
    stop, seen, when = threading.Event(), [], []

    def listen(progress):
        seen.append(progress)
        if progress.text.startswith("SIRT") and progress.done > progress.total / 3 and not when:
            when.append(time.perf_counter())
            stop.set()

    req = Request(stack, identity(41), np.linspace(-60, 60, 41), 150, 0.0, tmp_path / "a.mrc", 5.0)
    with pytest.raises(Cancelled):
        reconstruct_iterative(req, Iterations(10), Monitor(listen, stop))
    assert time.perf_counter() - when[0] < 1
    assert list(tmp_path.iterdir()) == []
    done = [p.done for p in seen]
    assert done == sorted(done)
    assert max(done) <= seen[0].total


@pytest.mark.parametrize(
    "plan",
    [
        {"number": 0},
        {"subset": -1},
        {"relaxation": 0.0},
        {"relaxation": 2.0},
        {"bounds": (1.0, 2.0)},
        {"least_gain": 1.0},
        {"border": 31},
        {"border": -32},
        {"mask": np.ones((4, 20, 20))},
        {"start": Start(np.ones((5, 20, 19)))},
    ],
)
def test_nonsense_is_refused(tmp_path, plan):
    req = Request(
        np.ones((3, 20, 20)), identity(3), [-3, 0, 3], 5, 0.0, tmp_path / "a.mrc", 5.0
    )  # fmt: skip
    with pytest.raises(InputError, match=r"iterative reconstruction"):
        reconstruct_iterative(req, Iterations(**plan))
    assert list(tmp_path.iterdir()) == []


def test_tilts_of_90_degrees_are_refused(tmp_path):
    req = Request(np.ones((2, 20, 20)), identity(2), [0, 90], 5, 0.0, tmp_path / "a.mrc", 5.0)
    with pytest.raises(InputError, match="below 90 degrees"):
        reconstruct_iterative(req, Iterations(1))


def test_constant_views_and_halves_of_the_data(tmp_path):
    flat = Request(np.full((3, 20, 20), 9), identity(3), [-3, 0, 3], 5, 0.0, tmp_path / "a.mrc", 5)
    assert reconstruct_iterative(flat, Iterations(3)).residual.tolist() == [0, 0, 0, 0]
    req = request(tmp_path, dtype="int16")
    whole = reconstruct_iterative(req, Iterations(2)).reconstruction
    half = Request(**{**vars(req), "stack": req.stack / 2, "scaling": (whole.scale, whole.offset)})
    one = read(req.path).astype(float)
    done = reconstruct_iterative(half, Iterations(2)).reconstruction
    assert (done.scale, done.offset) == (whole.scale, whole.offset)
    offset = whole.offset * whole.scale
    assert np.abs((read(req.path) + offset) * 2 - one - offset).max() < 2


def test_the_filter_resembles_the_iterations(tmp_path):
    req = request(tmp_path)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, req.stack.shape).astype(np.float32)
    req = Request(**{**vars(req), "stack": noise})
    middle = np.s_[5:-5, 5:-5, 20:-20]
    near = []
    for n in (3, 30):
        sirt, _ = run(req, Iterations(n))
        reconstruct_series(req, Weighting(0.5, equivalent_iterations=n))
        like = read(req.path)
        reconstruct_series(req, Weighting(0.5))
        wbp = read(req.path)
        near.append(np.corrcoef(sirt[middle].ravel(), like[middle].ravel())[0, 1])
        assert near[-1] > 0.9
        assert near[-1] > np.corrcoef(sirt[middle].ravel(), wbp[middle].ravel())[0, 1] + 0.02
        assert 0.7 < like[middle].std() / sirt[middle].std() < 1.4
    k = np.linspace(0, 0.5, 50)
    assert (np.diff(iteration_window(k, 10, 100.0, 0.02)) <= 0).all()
    assert np.allclose(iteration_window(k, 100000, 100.0, 0.02), 1)
    assert hamming_window(k[:-1], 0.5).min() == 1
    assert hamming_window(np.array([0.0, 0.2, 0.5]), 0.2) == pytest.approx([1, 1, 0.08])
    with pytest.raises(InputError):
        hamming_window(k, 0.6)


def test_fourier_inversion_is_exact_back_projection(tmp_path):
    req = request(tmp_path, width=81, shift_x=1.3, shift_z=-2.2)
    reconstruct_fourier(req)
    gridded = read(req.path)
    reconstruct_series(req, Weighting(super_sampling=8))
    finest = read(req.path)
    # The lowest frequencies, which back-projection has none of, are a smooth difference.
    difference = gridded - finest
    assert (difference - difference.mean()).std() < 0.015 * finest.std()
    assert abs(difference.mean()) < 0.05 * finest.std()


@pytest.mark.parametrize("more", [{}, {"x_tilt_deg": 3.0, "shift_z": 4.0, "width": 61}])
def test_slabs_without_correction_are_the_whole(tmp_path, more):
    req = request(tmp_path, **more)
    heights = []

    def same(view, z):
        heights.append(z)
        return req.stack[view]

    reconstruct_slabs(req, same, step_nm=5.0)
    slabs = read(req.path)
    reconstruct_series(req)
    assert np.abs(slabs - read(req.path)).max() < 1e-5 * np.abs(slabs).max()
    # 41 sections of 0.5 nm in slabs of 5 nm: middles in angstrom about the specimen's centre.
    edges = slab_sections(41, 5.0, 5.0)
    assert len(edges) == 4
    middles = [((a + b - 1) / 2 - 20 - more.get("shift_z", 0.0)) * 5 for a, b in edges]
    assert sorted(set(heights)) == pytest.approx(middles)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mrc"]


def test_each_slab_has_its_own_correction(tmp_path):
    """A gain that changes with height shows in the slab of that height alone."""
    req = request(tmp_path)
    reconstruct_series(req)
    plain = read(req.path)
    reconstruct_slabs(req, lambda v, z: req.stack[v] * (1 + (z > 0)), step_nm=10.0)
    slabs = read(req.path)
    (a, b), (_, c) = slab_sections(41, 5.0, 10.0)
    scale = np.abs(plain).max()
    assert np.abs(slabs[a:b] - plain[a:b]).max() < 1e-4 * scale
    assert np.abs(slabs[b:c] - 2 * plain[b:c]).max() < 1e-4 * scale
    with pytest.raises(InputError, match="defocus step"):
        reconstruct_slabs(req, lambda v, z: req.stack[v], step_nm=0.0)
    assert slab_sections(3, 5.0, 0.01) == [(0, 1), (1, 2), (2, 3)]


def test_the_file_says_what_was_done(tmp_path):
    req = request(tmp_path, dtype="int16")
    reconstruct_iterative(req, Iterations(2, 20))
    with mrcfile.open(req.path) as m:
        assert b"SART, 2 iterations" in bytes(m.header.label[0])
        assert b"int16 = (density" in bytes(m.header.label[1])


def ended_after(n):
    """A monitor that has enough while iteration ``n`` is under way."""

    def listen(progress):
        if progress.text.startswith((f"SIRT {n} of", f"SART {n} of")):
            monitor.enough.set()

    monitor = Monitor(listen)
    return monitor


@pytest.mark.parametrize("subset", [0, 5])
def test_ended_early_it_keeps_the_iterate_of_that_moment(tmp_path, subset):
    req = request(tmp_path)
    wanted, residual = run(req, Iterations(4, subset))
    monitor = ended_after(4)
    done = reconstruct_iterative(req, Iterations(500, subset), monitor)
    assert done.number == 4
    np.testing.assert_array_equal(read(req.path), wanted)
    np.testing.assert_allclose(done.residual, residual)
    with mrcfile.open(req.path) as m:
        assert b", 4 iterations," in bytes(m.header.label[0])
    # Enough before the first: one iteration is the least that makes a tomogram.
    assert reconstruct_iterative(req, Iterations(500, subset), monitor).number == 1


def test_iterations_are_counted_on(tmp_path):
    req = request(tmp_path)
    half, _ = run(req, Iterations(5))
    done = reconstruct_iterative(req, Iterations(3, start=Start(half, iterations=5)))
    assert (done.before, done.number) == (5, 3)
    with mrcfile.open(req.path) as m:
        assert b"SIRT, 8 iterations" in bytes(m.header.label[0])


def test_large_ones_lie_in_a_file_that_goes_with_them(tmp_path, monkeypatch):
    req = request(tmp_path)
    mask = (np.arange(41) > 9)[:, None, None] * np.ones(req.shape(), np.int8)
    whole, _ = run(req, Iterations(3, mask=mask))
    rooms = []

    def counted(folder, shape):
        rooms.append(shape)
        return scratch(folder, shape)

    monkeypatch.setattr("tiltwright.engine.recon.iterate.MEMORY_BYTES", 1)
    monkeypatch.setattr("tiltwright.engine.recon.iterate.scratch", counted)
    part, _ = run(req, Iterations(3, mask=mask))
    np.testing.assert_array_equal(part, whole)
    assert len(rooms) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["a.mrc"]
