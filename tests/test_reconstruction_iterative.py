"""The second reconstruction family as a protocol: files, curve, continuing, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_recon import POINTS, TILT, positions, read, series

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import open_tomogram
from tiltwright.engine.progress import Monitor
from tiltwright.engine.protocols import all_protocols
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.reconstruction import Reconstruction
from tiltwright.engine.protocols.reconstruction_iterative import ReconstructionIterative, stored


@pytest.fixture(scope="module")
def aligned():
    g = ViewGeometry.nominal(TILT, 3.0)
    views = series(g, (100, 90))
    # The first view is spoilt and was excluded.
    views[0] = 0
    excluded = np.arange(len(TILT)) == 0
    return TiltSeries(
        Path("series.mrc"), views, TILT, 3.0, 5.0, excluded, alignment=Alignment.of_geometry(g)
    )


def run(aligned, folder, more=None, **values):
    params = ReconstructionIterative.Params(thickness=50, **values)
    context = Context(folder=folder)
    inputs = {"tilt_series": aligned, **(more or {})}
    return ReconstructionIterative.run(inputs, params, context)["tomogram"], context


@pytest.mark.parametrize("method", ["sirt", "sart", "wbp", "fourier"])
def test_every_method_writes_a_tomogram(aligned, tmp_path, method):
    tomogram, context = run(
        aligned, tmp_path, method=method, shift_x=2.0, sart_iterations=3, hamming_start=0.1
    )
    assert tomogram.path == tmp_path / f"series_{method}.mrc"
    assert (tomogram.shape, tomogram.pixel_size_a) == ((50, 100, 90), 5.0)
    assert tomogram.origin == (-46.5, -49.5, -24.5)
    moved = POINTS + np.array([2.0, 0, 0])
    error = positions(read(tomogram.path), moved) - moved
    assert (np.abs(error).max(axis=0) < [0.1, 0.1, 0.25]).all()
    curve = tmp_path / f"series_{method}_residual.csv"
    assert curve.exists() == (method in ("sirt", "sart"))
    if curve.exists():
        table = np.loadtxt(curve, delimiter=",", skiprows=1)
        assert len(table) == (31 if method == "sirt" else 4)
        assert (np.diff(table[:, 1]) < 0).all()
        assert f"residual {table[0, 1]:.4g} at the start" in context.notes[0]


def test_it_continues_from_its_own_file(aligned, tmp_path):
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    whole, _ = run(aligned, folders[0], iterations=8, output_type="float32")
    half, _ = run(aligned, folders[1], iterations=5)
    assert half.data.dtype == np.int16
    assert stored(half).scale != 1
    rest, _ = run(aligned, folders[2], {"start": half}, iterations=3, output_type="float32")
    a, b = read(whole.path), read(rest.path)
    # What lay in the border is not in the file.
    assert np.abs(a - b).max() < 1e-2 * np.abs(a).max()
    assert stored(rest).scale == 1


def test_a_mask_of_another_size_is_refused_before_any_work(aligned, tmp_path):
    path = tmp_path / "mask.mrc"
    write_mrc(path, np.ones((50, 100, 80), np.int8), 5.0)
    with pytest.raises(InputError, match=r"the mask is \(80, 100, 50\) voxels .* \(90, 100, 50\)"):
        run(aligned, tmp_path, {"mask": open_tomogram(path)})
    write_mrc(path, np.zeros((50, 100, 90), np.int8), 5.0)
    tomogram, _ = run(aligned, tmp_path, {"mask": open_tomogram(path)}, iterations=1)
    assert not np.ptp(tomogram.data)
    with pytest.raises(InputError, match="fourier takes no mask and no start"):
        run(aligned, tmp_path, {"mask": open_tomogram(path)}, method="fourier")


def test_what_is_not_aligned_is_refused(aligned, tmp_path):
    plain = TiltSeries(
        Path("s.mrc"), aligned.stack, TILT, 3.0, 5.0, np.zeros(len(TILT), bool)
    )  # fmt: skip
    with pytest.raises(InputError, match="not aligned"):
        run(plain, tmp_path)
    assert all_protocols()["reconstruction-iterative"] is ReconstructionIterative


def test_continuing_counts_on_and_asks_for_the_same_place(aligned, tmp_path):
    half, _ = run(aligned, tmp_path, iterations=5)
    again = tmp_path / "more"
    again.mkdir()
    rest, context = run(aligned, again, {"start": half}, iterations=3)
    assert stored(rest).iterations == 8
    assert "3 SIRT iterations after 5 before" in context.notes[0]
    table = np.loadtxt(again / "series_sirt_residual.csv", delimiter=",", skiprows=1)
    assert table[:, 0].tolist() == [5, 6, 7, 8]
    with pytest.raises(InputError, match=r"series_sirt\.mrc, to continue .* same shifts"):
        run(aligned, again, {"start": half}, shift_z=2.0)
    with pytest.raises(InputError, match="halves cannot continue"):
        run(aligned, again, {"start": half}, halves=True)


@pytest.mark.parametrize("method", ["sirt", "wbp", "fourier"])
def test_halves_are_of_every_other_view_on_the_scale_of_the_whole(aligned, tmp_path, method):
    seen = []
    context = Context(Monitor(seen.append), folder=tmp_path)
    params = ReconstructionIterative.Params(
        thickness=50, method=method, halves=True, iterations=4, hamming_start=0.1
    )
    out = ReconstructionIterative.run({"tilt_series": aligned}, params, context)
    assert list(out) == ["tomogram", "even", "odd"]
    assert out["even"].path.name == f"series_{method}_even.mrc"
    assert len({stored(t).scale for t in out.values()}) == 1
    assert {t.origin for t in out.values()} == {out["tomogram"].origin}
    done = [p.done / p.total for p in seen]
    assert done == sorted(done)
    # The first view is left out: the odd half has views 2, 4, 6...
    for port, first in (("odd", 1), ("even", 2)):
        views = np.zeros(len(TILT), bool)
        views[first::2] = True
        part = replace(aligned, excluded=~views)
        alone = tmp_path / port
        alone.mkdir()
        one, _ = run(
            part, alone, method=method, iterations=4, hamming_start=0.1, output_type="float32"
        )
        density = stored(out[port])
        mine = read(out[port].path) / density.scale + density.offset
        assert np.abs(mine - read(one.path)).max() < 0.6 / density.scale


def test_ended_early_the_halves_have_as_many_iterations(aligned, tmp_path):
    def listen(progress):
        if progress.text.startswith("SIRT 2 of"):
            context.monitor.enough.set()

    context = Context(Monitor(listen), folder=tmp_path)
    params = ReconstructionIterative.Params(thickness=50, halves=True)
    assert ReconstructionIterative.ends_early(params)
    assert not ReconstructionIterative.ends_early(ReconstructionIterative.Params(method="wbp"))
    out = ReconstructionIterative.run({"tilt_series": aligned}, params, context)
    assert "2 of 30 SIRT iterations" in context.notes[0]
    assert [stored(t).iterations for t in out.values()] == [2, 2, 2]


def test_an_odd_thickness_is_as_good(aligned, tmp_path):
    for method in ("sirt", "wbp", "fourier"):
        params = ReconstructionIterative.Params(
            thickness=51, method=method, iterations=10, hamming_start=0.1
        )
        context = Context(folder=tmp_path)
        out = ReconstructionIterative.run({"tilt_series": aligned}, params, context)["tomogram"]
        assert (out.shape[0], out.origin[2]) == (51, -25.0)
        error = positions(read(out.path), POINTS) - POINTS
        assert (np.abs(error).max(axis=0) < [0.1, 0.1, 0.25]).all()


def test_halves_are_declared_where_they_are_wanted():
    for protocol in (Reconstruction, ReconstructionIterative):
        assert list(protocol.makes(protocol.Params())) == ["tomogram"]
        assert list(protocol.makes(protocol.Params(halves=True))) == ["tomogram", "even", "odd"]


def test_the_shared_parameters_keep_their_place_in_the_form():
    direct, family = (
        list(p.Params.model_fields) for p in (Reconstruction, ReconstructionIterative)
    )
    assert direct[:2] == ["thickness", "width"]
    assert family[0] == "method"
    assert [f for f in family if f in direct] == direct[: direct.index("radial_cutoff")]
