"""Even and odd frames, pixel types and erased patches through the steps on a tilt series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.io.patches import ErasedPatch, read_patches, write_patches
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.project.store import Place, load, record_hash, save_outputs
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.dose_filter import DoseFilter
from tiltwright.engine.protocols.erase_fiducials import EraseFiducials
from tiltwright.engine.protocols.import_tilt_series import ImportTiltSeries
from tiltwright.engine.protocols.preprocess import Preprocess
from tiltwright.engine.protocols.reconstruction import Reconstruction
from tiltwright.engine.protocols.xray_eraser import XrayEraser
from tiltwright.engine.simulate.series import SeriesSpec, simulate_series, write_series

SPEC = SeriesSpec(
    seed=4, n_views=7, nx=200, ny=160, n_beads=6, n_vesicles=1, shift_step_sd_px=1.0,
    carbon=False, spikes_per_view=0,
)  # fmt: skip
SPIKES = [(30, 40), (90, 150), (120, 77)]


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """An imported series with its true alignment, and halves that a spike is in one of."""
    folder = tmp_path_factory.mktemp("halves")
    path = write_series(SPEC, folder, "s")["stack"]
    whole = np.array(open_stack(path))
    even = np.random.default_rng(2).binomial(whole, 0.5).astype(np.int16)
    odd = whole - even
    for y, x in SPIKES:
        whole[:, y, x] += 2000
        even[:, y, x] += 2000
    for part, stack in (("", whole), ("_even", even), ("_odd", odd)):
        write_mrc(folder / f"s{part}.mrc", stack, 11.04)
    params = ImportTiltSeries.Params(files=(str(folder),))
    assert list(ImportTiltSeries.sources(params)) == ["s"]
    made = ImportTiltSeries.run({"source": path, "name": "s"}, params, Context(folder=folder))
    geometry = simulate_series(SPEC).geometry
    return replace(made["tilt_series"], alignment=Alignment.of_geometry(geometry))


def run(protocol, series, folder, **params):
    context = Context(folder=folder)
    return protocol.run({"tilt_series": series}, protocol.Params(**params), context)["tilt_series"]


def test_halves_are_imported_only_when_they_fit(series, tmp_path):
    assert [half.shape for half in series.halves] == [series.stack.shape] * 2
    for part, n in (("", 7), ("_even", 7), ("_odd", 6)):
        write_mrc(tmp_path / f"t{part}.mrc", np.ones((n, 20, 20), np.int16), 2.0)
    (tmp_path / "t.rawtlt").write_text("\n".join(str(10 * k) for k in range(7)))
    params = ImportTiltSeries.Params(files=(str(tmp_path / "t.mrc"),), axis_deg=0.0)
    context = Context(folder=tmp_path)
    source = {"source": tmp_path / "t.mrc", "name": "t"}
    assert ImportTiltSeries.run(source, params, context)["tilt_series"].halves is None
    assert "no halves are taken over" in context.notes[0]


@pytest.mark.parametrize("eraser", [XrayEraser, Preprocess])
def test_spikes_of_the_whole_are_erased_in_both_halves(series, tmp_path, eraser):
    out = run(eraser, series, tmp_path)
    found = read_patches(out.erased_path, 7)
    assert {(p.view, p.y, p.x) for p in found} == {(v, y, x) for v in range(7) for y, x in SPIKES}
    hit = np.zeros((160, 200), bool)
    y, x = np.mgrid[:160, :200]
    for p in found[:3]:
        hit |= np.hypot(y - p.y, x - p.x) <= p.radius_px
    for before, after in zip(series.parts.values(), out.parts.values(), strict=True):
        assert after.dtype == np.int16
        np.testing.assert_array_equal(after[:, ~hit], before[:, ~hit])
        assert after[:, hit].max() < 2 * before[:, ~hit].mean()
    one = np.hypot(y - SPIKES[0][0], x - SPIKES[0][1]) <= found[0].radius_px
    even, odd = (np.asarray(h)[:, one].astype(float) for h in out.halves)
    even, odd = (h - h.mean(1, keepdims=True) for h in (even, odd))
    assert abs(np.corrcoef(even.ravel(), odd.ravel())[0, 1]) < 0.3
    again = run(eraser, replace(out, work=np.array(out.images)), tmp_path)
    assert read_patches(again.erased_path, 7) == found


def test_patches_of_binned_images_are_in_raw_pixels(series, tmp_path):
    binned = run(Preprocess, series, tmp_path, binning=2, erase_spikes=False)
    assert binned.erased_path is None
    assert [h.shape for h in binned.halves] == [binned.images.shape] * 2
    found = read_patches(run(XrayEraser, binned, tmp_path).erased_path, 7)
    for y, x in SPIKES:
        away = [np.hypot(p.y - y, p.x - x) for p in found if p.view == 3]
        assert min(away) < 1.5


def test_gold_goes_by_one_mask_and_other_noise(series, tmp_path):
    out = run(EraseFiducials, series, tmp_path)
    mask = np.asarray(open_stack(tmp_path / "s_gold_mask.mrc")) == 1
    assert mask.any(axis=(1, 2)).all()
    for before, after in zip(series.parts.values(), out.parts.values(), strict=True):
        changed = np.asarray(before) != np.asarray(after)
        assert not changed[~mask].any()
        assert changed[mask].mean() > 0.8
    even, odd = (np.asarray(h).astype(float)[mask] for h in out.halves)
    usual = [np.asarray(h)[~mask].mean() for h in series.halves]
    assert even.mean() == pytest.approx(usual[0], rel=0.1)
    assert odd.mean() == pytest.approx(usual[1], rel=0.1)
    noise = np.corrcoef(even - even.mean(), odd - odd.mean())[0, 1]
    truth = np.corrcoef(*(np.asarray(h)[~mask].astype(float) for h in series.halves))[0, 1]
    assert abs(noise - truth) < 0.15


def test_dose_filter_treats_halves_as_the_whole(series, tmp_path):
    out = run(DoseFilter, series, tmp_path)
    total = np.asarray(out.halves[0]) + np.asarray(out.halves[1])
    spiked = np.asarray(series.halves[0], np.int64) + series.halves[1] - series.stack
    assert not spiked.any()
    np.testing.assert_allclose(total, out.images, rtol=2e-4, atol=0.2)


def test_tomograms_of_the_frames_add_up_to_that_of_all(series, tmp_path):
    sum_of_frames = np.asarray(series.halves[0], np.int32) + series.halves[1]
    series = replace(series, stack=sum_of_frames.astype(np.float32))
    params = Reconstruction.Params(thickness=24, halves=True, output_type="float32")
    made = Reconstruction.run({"tilt_series": series}, params, Context(folder=tmp_path))
    whole, even, odd = (np.array(made[port].data) for port in ("tomogram", "even", "odd"))
    assert np.abs(even + odd - whole).max() < 1e-3 * np.abs(whole).max()
    assert np.abs(even - odd).std() > 0.1 * whole.std()


def test_halves_and_patches_come_back_from_a_project(series, tmp_path):
    place = Place(tmp_path, tmp_path)
    for made in (run(XrayEraser, series, tmp_path), run(Preprocess, series, tmp_path, binning=2)):
        record = save_outputs({"tilt_series": made}, {"tilt_series": series}, place)["tilt_series"]
        back = load(record, place)
        assert back.erased_path == made.erased_path
        for a, b in zip(made.parts.values(), back.parts.values(), strict=True):
            np.testing.assert_array_equal(a, b)
        before = record_hash(record, place)
        stack = np.array(back.halves[1])
        stack[0, 0, 0] += 1
        write_mrc(back.halves_paths[1], stack, 11.04)
        assert record_hash(record, place) != before


@pytest.mark.parametrize("eraser", [XrayEraser, Preprocess, EraseFiducials])
@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "uint16", "float32"])
def test_types_and_ranges_survive(series, tmp_path, eraser, kind):
    """Unsigned bytes, which MRC files do not have, become int16 of the same values."""
    raw = np.asarray(series.stack, np.float32)
    low, high = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (30000, 65535)}.get(
        kind, (-3000, 3000)
    )
    for y, x in SPIKES:
        raw[:, y, x] = raw.max()
    scaled = np.clip(low + raw / 700 * (high - low), low, high).astype(kind)
    for y, x in SPIKES:
        scaled[:, y, x] = high
    one = replace(series, stack=scaled, halves=None, halves_paths=None)
    out = run(eraser, one, tmp_path)
    place = Place(tmp_path, tmp_path)
    record = save_outputs({"tilt_series": out}, {"tilt_series": one}, place)["tilt_series"]
    file = np.asarray(open_stack(place.path(record["work"])))
    assert file.dtype == np.dtype("int16" if kind == "uint8" else kind)
    same = file == scaled
    assert same.mean() > 0.95
    assert file.min() >= low
    assert file.max() <= high
    if eraser is not EraseFiducials:
        assert all((file[:, y, x] < high).all() for y, x in SPIKES)


def test_lists_of_patches_and_their_faults(tmp_path):
    path = tmp_path / "a.csv"
    patches = [ErasedPatch(0, 3.0, 4.5, 1.5), ErasedPatch(6, 0.25, 9.0, 2.0)]
    write_patches(path, patches)
    assert path.read_text().splitlines()[1] == "1,4.50,3.00,1.50"
    assert read_patches(path, 7) == patches
    with pytest.raises(InputError, match="none of 3 views"):
        read_patches(path, 3)
    for text, words in (
        ("x\n", "first line"), ("view,y_px,x_px,radius_px\n1,2\n", "damaged"),
        ("view,y_px,x_px,radius_px\n1,2,nan,3\n", "none of"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_patches(path, 7)
