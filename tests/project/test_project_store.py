"""Objects of the model as records and files: the same after a round, and wherever they lie."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from project_parts import of

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.frames import FrameStack
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag
from tiltwright.engine.model.tilt_series import TiltSeries, load_tilt_series
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.store import Place, load, record_hash, save_outputs


def same(a: object, b: object, *, but: tuple[str, ...] = ()) -> None:
    """All fields equal, arrays to the last bit, dataclasses within as well."""
    assert type(a) is type(b)
    for f in fields(a):  # type: ignore[arg-type]
        if f.name in but:
            continue
        x, y = getattr(a, f.name), getattr(b, f.name)
        if hasattr(x, "__dataclass_fields__"):
            same(x, y)
        elif isinstance(x, np.ndarray) or hasattr(x, "shape"):
            assert np.array_equal(np.asarray(x), np.asarray(y), equal_nan=x.dtype.kind == "f"), (
                f.name
            )
        else:
            assert x == y or (x != x and y != y), f.name


def series_of(raw: Path) -> TiltSeries:
    return load_tilt_series(raw / "s1.mrc", axis_deg=-84.5)


def test_every_kind_after_a_round(raw, tmp_path):
    place = Place(tmp_path / "own", tmp_path)
    place.own.mkdir()
    rng = np.random.default_rng(3)
    plain = series_of(raw)
    n = plain.n_views
    rich = replace(
        plain, name="rich", dose=rng.uniform(1, 3, n), order=rng.permutation(n) + 1,
        order_known=True, excluded=rng.random(n) < 0.3, kept=rng.random(n) < 0.3, binning=2,
        suspect={3: "lost: why", 7: "dark"}, voltage_kv=200.0, cs_mm=1.4, amplitude_contrast=0.07,
        work=rng.integers(-9, 9, (n, 80, 96)).astype(np.int16), origin=(1.0, 2.0, -3.0),
        alignment=Alignment(
            rng.normal(size=(n, 2, 3)), rng.uniform(-60, 60, n), 1.23456, "coarse",
            strength=np.where(rng.random(n) < 0.3, np.nan, rng.random(n)),
            valid=rng.random(n) < 0.7,
        ),
    )  # fmt: skip
    for thing in (plain, rich):
        record = save_outputs({"tilt_series": thing}, {}, place)["tilt_series"]
        same(load(record, place), thing, but=("work_path",))
    xy = rng.uniform(-50, 50, (5, n, 2))
    xy[rng.random((5, n)) < 0.2] = np.nan
    flag = rng.integers(1, 4, (5, n)).astype(np.uint8)
    model = FiducialModel.from_tracks(
        xy, plain.size, 9.06, surface=[0, 1, 1, 0, 1], flag=flag,
        sigma_px=np.where(rng.random((5, n)) < 0.3, np.nan, rng.random((5, n))),
    )  # fmt: skip
    assert {Flag.FILLED, Flag.EDITED, Flag.GAP} <= set(model.flag.ravel().tolist())
    record = save_outputs({"fiducial_model": model}, {"tilt_series": plain}, place)
    same(load(record["fiducial_model"], place), model)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i4", "f8", "f2"])
def test_working_images_of_any_type_are_kept(raw, tmp_path, kind):
    place = Place(tmp_path, tmp_path)
    plain = series_of(raw)
    work = np.random.default_rng(1).integers(0, 100, (plain.n_views, 20, 24)).astype(kind)
    record = save_outputs({"tilt_series": replace(plain, work=work)}, {}, place)["tilt_series"]
    assert np.array_equal(load(record, place).work, work)


def test_the_whole_project_may_be_moved(finished, tmp_path, stubborn):
    with_data = Project.open(finished)
    before = {
        (k, port, name): with_data.item(of(k, port), name)
        for k, run in with_data.runs.items()
        for port, items in run.outputs.items() for name in items
    }  # fmt: skip
    hashes = {key: with_data.item_hash(of(*key[:2]), key[2]) for key in before}
    assert len(before) == 2 * 9
    with_data.close()
    moved = Project.open(Path(shutil.move(finished, tmp_path / "elsewhere")))
    for (k, port, name), thing in before.items():
        paths = ("path", "work_path", "erased_path", "work", "stack")
        again = moved.item(of(k, port), name)
        same(again, thing, but=paths)
        assert moved.item_hash(of(k, port), name) == hashes[k, port, name]
        if getattr(again, "work_path", None):
            assert again.work_path.is_relative_to(tmp_path / "elsewhere")
    assert moved.stale() == set()


def test_a_fit_comes_back_as_it_was_made(opened):
    made = opened.item(of(5), "s1")
    fit = made.alignment.fit
    assert fit.mean_residual_px < 0.2
    model = opened.item(of(5, "fiducial_model"), "s1")
    assert np.array_equal(model.measured, np.isfinite(fit.residual_px[..., 0]))
    # Written once more from what was read, the files stay what they are, byte for byte.
    place = Place(opened.folder / "again", opened.folder)
    place.own.mkdir()
    record = save_outputs({"tilt_series": made, "fiducial_model": model}, {}, place)
    same(load(record["tilt_series"], place), made)
    for path in place.own.iterdir():
        assert path.read_bytes() == (opened.output_folder(5) / path.name).read_bytes(), path.name


def test_an_alignment_that_is_handed_on_leaves_its_fit_behind(opened):
    made = opened.item(of(5), "s1")
    place = Place(opened.folder / "again", opened.folder)
    place.own.mkdir()
    model = opened.item(of(4, "fiducial_model"), "s1")
    other = FiducialModel.from_tracks(model.xy[:3], model.size_px, model.diameter_px)
    out = replace(made, excluded=made.excluded.copy())
    for outputs in ({"tilt_series": out}, {"tilt_series": out, "fiducial_model": other}):
        record = save_outputs(outputs, {"tilt_series": made}, place)
        again = load(record["tilt_series"], place)
        assert again.alignment.fit is None
        same(again.alignment.beads, made.alignment.beads)
        # And through the next step that hands it on.
        once_more = save_outputs({"tilt_series": again}, {"tilt_series": again}, place)
        same(load(once_more["tilt_series"], place).alignment.beads, made.alignment.beads)
        assert np.array_equal(again.alignment.transforms, made.alignment.transforms)
        assert again.alignment.x_tilt_deg == made.alignment.x_tilt_deg


def test_identity_is_the_content(raw, tmp_path):
    shutil.copy(raw / "s1.mrc", tmp_path / "a.mrc")
    place = Place(tmp_path / "own", tmp_path)
    series = load_tilt_series(
        tmp_path / "a.mrc", tilt_angles=raw / "s1.rawtlt", axis_deg=-84.5
    )  # fmt: skip
    record = save_outputs({"tilt_series": series}, {}, place)["tilt_series"]
    first = record_hash(record, place)
    # Other metadata, another identity; a touched file, the same.
    assert record_hash(record | {"axis_deg": -84.0}, place) != first
    (tmp_path / "a.mrc").touch()
    assert record_hash(record, place) == first
    with open(tmp_path / "a.mrc", "r+b") as stream:
        stream.seek(5000)
        stream.write(b"\x01\x02\x03\x04")
    assert record_hash(record, place) != first
    (tmp_path / "a.mrc").unlink()
    with pytest.raises(InputError, match=r"a\.mrc"):
        record_hash(record, place)
    with pytest.raises(InputError, match=r"a\.mrc"):
        load(record, place)


def frames(folder: Path, n: int = 5) -> Path:
    """One image per tilt, acquired 0, 3, -3, 6, -6, and the mdoc that names them."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(7)
    lines = ["PixelSpacing = 1.38", "[T =  Tilt axis angle = -84.5, binning = 1]"]
    for i, tilt in enumerate((0, 3, -3, 6, -6)[:n]):
        image = rng.integers(0, 999, (1, 16, 18)).astype(np.int16)
        write_mrc(folder / f"TS_{i:03d}_{tilt}.0.mrc", image, 1.38)
        lines += [
            f"[ZValue = {i}]", f"TiltAngle = {tilt}.01", f"ExposureDose = {i + 1}",
            f"SubFramePath = X:\\DoseFractions\\TS_{i:03d}_{tilt}.0.eer",
            f"DateTime = 05-Mar-24  10:0{i}:00",
        ]  # fmt: skip
    (folder / "TS.mdoc").write_text("\n".join(lines))
    return folder / "TS.mdoc"


def test_series_of_single_images(tmp_path):
    mdoc = frames(tmp_path / "data")
    place = Place(tmp_path / "project" / "own", tmp_path / "project")
    series = load_tilt_series(mdoc)
    assert series.order.tolist() == [5, 3, 1, 2, 4]
    record = save_outputs({"tilt_series": series}, {}, place)["tilt_series"]
    again = load(record, place)
    same(again, series, but=("stack",))
    assert isinstance(again.stack, FrameStack)
    assert np.array_equal(np.asarray(again.stack), np.asarray(series.stack))
    first = record_hash(record, place)
    # One of the images is another one now.
    path = next(mdoc.parent.glob("TS_003*"))
    write_mrc(path, open_stack(path)[0] + np.int16(1), 1.38)
    assert record_hash(record, place) != first
    # What the mdoc says later does not change which views were imported.
    mdoc.write_text(mdoc.read_text().replace("TiltAngle = 3.01", "TiltAngle = -9.0"))
    assert load(record, place).stack.paths == series.stack.paths


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": "cat"}, {"kind": None}, {"tilt_deg": "x"}, {"suspect": [1]}, {"origin": 5},
        {"excluded": [True]}, {"alignment": {}}, {"alignment": 7}, {"order": {"a": 1}},
        {"path": None}, {"kept": [1, 2]},
    ],
)  # fmt: skip
def test_damaged_records_are_input_errors(raw, tmp_path, damage):
    place = Place(tmp_path, tmp_path)
    record = save_outputs({"tilt_series": series_of(raw)}, {}, place)["tilt_series"]
    with pytest.raises(InputError):
        load(record | damage, place)


def test_a_stack_with_other_views_now_is_named(raw, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 8, 9), np.uint16), photometric="minisblack")
    place = Place(tmp_path, tmp_path)
    record = save_outputs({"tilt_series": series_of(raw)}, {}, place)["tilt_series"]
    with pytest.raises(InputError, match="5 views now, 15 when imported"):
        load(record | {"path": "own:a.tif"}, place)
