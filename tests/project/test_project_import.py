"""Every way into a project: stacks, single images, and what other programs left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from project_parts import of
from test_project_store import frames

from tiltwright.engine.errors import InputError
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import identity
from tiltwright.engine.io.aretomo import aln_from_transforms, write_aln
from tiltwright.engine.io.model_file import write_fiducial_model
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.io.text import write_angles, write_xf
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.files import write_alignment, write_model
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.project.project import Project
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.import_tilt_series import ImportTiltSeries

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "formats"
N, NX, NY = 5, 18, 16
TILT = np.array([-20.0, -10, 0, 10, 20])


def stack(path: Path, seed: int = 1, n: int = N, labels: tuple[str, ...] = ()) -> Path:
    path.parent.mkdir(exist_ok=True)
    data = np.random.default_rng(seed).integers(0, 99, (n, NY, NX)).astype(np.int16)
    write_mrc(path, data, 4.5, labels=labels)
    return path


def angles(path: Path, tilt: np.ndarray = TILT) -> Path:
    write_angles(path, tilt)
    return path


def imported(*files: Path, **params: Any) -> dict[str, dict[str, Any]]:
    """Name of each series to its outputs, without a project."""
    given = ImportTiltSeries.Params(
        **{"files": [str(f) for f in files], "axis_deg": -84.5} | params  # type: ignore[arg-type]
    )
    out = {}
    for name, source in ImportTiltSeries.sources(given).items():
        context = Context()
        out[name] = ImportTiltSeries.run({"source": source, "name": name}, given, context)
        out[name]["notes"] = context.notes
    return out


def one(*files: Path, **params: Any) -> TiltSeries:
    made = imported(*files, **params)
    assert len(made) == 1
    series: TiltSeries = next(iter(made.values()))["tilt_series"]
    return series


# Tilt angles and other metadata


def test_angles_from_a_file_beside(tmp_path):
    path = stack(tmp_path / "grid.1_ts.mrc")
    for mode in ("automatic", "metadata", "file"):
        with pytest.raises(InputError, match=r"grid\.1_ts"):
            one(path, tilt_angles=mode)
    angles(tmp_path / "grid.rawtlt", TILT + 1)  # of another series
    with pytest.raises(InputError, match=r"no grid\.1_ts\.rawtlt or grid\.1_ts\.tlt beside"):
        one(path, tilt_angles="file")
    angles(tmp_path / "grid.1_ts.tlt", TILT + 2)
    assert one(path).tilt_deg.tolist() == (TILT + 2).tolist()
    angles(tmp_path / "grid.1_ts.rawtlt")
    series = one(path)
    assert series.tilt_deg.tolist() == TILT.tolist()
    assert (series.name, series.pixel_size_a, series.order_known) == ("grid.1_ts", 4.5, False)
    angles(tmp_path / "grid.1_ts.rawtlt", TILT[1:])
    with pytest.raises(InputError, match=r"grid\.1_ts\.rawtlt: 4 angles for 5 views"):
        one(path)


def test_angles_by_range_and_typed_zeros(tmp_path):
    path = stack(tmp_path / "a.mrc")
    series = one(
        path, tilt_angles="range", first_deg=0.0, step_deg=-3.0, axis_deg=0.0, dose_per_view=0.0,
        pixel_size_a=2.0, voltage_kv=200.0, cs_mm=0.0, amplitude_contrast=0.0,
    )  # fmt: skip
    assert series.tilt_deg.tolist() == [0, -3, -6, -9, -12]
    assert series.axis_deg == 0
    assert series.dose is not None
    assert series.dose.tolist() == [0] * N
    assert (series.pixel_size_a, series.voltage_kv) == (2.0, 200.0)
    assert (series.cs_mm, series.amplitude_contrast) == (0.0, 0.0)
    with pytest.raises(InputError, match=r"a\.mrc: the tilt angles span only"):
        one(path, tilt_angles="range", step_deg=0.0)
    with pytest.raises(InputError, match="beyond 90"):
        one(path, tilt_angles="range", first_deg=-60, step_deg=-30)
    with pytest.raises(InputError, match=r"a\.mrc: the tilt axis"):
        one(path, tilt_angles="range", axis_deg=None)


def mdoc(path: Path, tilt: np.ndarray = TILT, order: tuple[int, ...] = (4, 2, 0, 1, 3)) -> Path:
    lines = ["PixelSpacing = 4.5", "[T =  Tilt axis angle = 85.3, binning = 1]"]
    for i, angle in enumerate(tilt):
        lines += [
            f"[ZValue = {i}]", f"TiltAngle = {angle}", f"ExposureDose = {i + 1}.5",
            f"DateTime = 05-Mar-24  10:0{order[i]}:00",
        ]  # fmt: skip
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("name", ["a.mrc.mdoc", "a.mdoc"])
@pytest.mark.parametrize("chosen", ["stack", "mdoc", "both", "folder"])
def test_a_stack_and_its_mdoc_are_one_series(tmp_path, name, chosen):
    path, notes = stack(tmp_path / "a.mrc"), mdoc(tmp_path / name, TILT + 0.5)
    files = {"stack": [path], "mdoc": [notes], "both": [notes, path], "folder": [tmp_path]}
    series = one(*files[chosen], axis_deg=None)
    assert series.path == path
    assert series.axis_deg == 85.3
    assert series.tilt_deg.tolist() == (TILT + 0.5).tolist()
    assert series.order.tolist() == [5, 3, 1, 2, 4]
    assert series.dose.tolist() == [1.5, 2.5, 3.5, 4.5, 5.5]
    # Angles that lie beside come first; what is typed comes before all.
    angles(tmp_path / "a.rawtlt")
    assert one(path).tilt_deg.tolist() == TILT.tolist()
    assert one(path, tilt_angles="metadata").tilt_deg.tolist() == (TILT + 0.5).tolist()
    assert one(path, dose_per_view=3.0).dose.tolist() == [3.0] * N
    assert one(path, axis_deg=12.0).axis_deg == 12.0
    assert one(path, axis_deg=None, tomo5="yes").axis_deg == pytest.approx(-175.3)


def test_angles_from_the_header(tmp_path):
    path = stack(tmp_path / "a.mrc", labels=("Tilt axis angle = 12.5, binning = 1",))
    raw = bytearray(path.read_bytes())
    # An extended header as SerialEM writes it: two bytes of the tilt times 100 per section.
    raw[92:96] = (2 * N).to_bytes(4, "little")
    raw[104:108] = b"SERI"
    raw[128:132] = (2).to_bytes(2, "little") + (1).to_bytes(2, "little")
    extra = (TILT * 100).astype("<i2").tobytes()
    path.write_bytes(bytes(raw[:1024]) + extra + bytes(raw[1024:]))
    series = one(path, axis_deg=None)
    assert series.tilt_deg.tolist() == TILT.tolist()
    assert series.axis_deg == 12.5


def test_tiff_stacks(tmp_path):
    data = np.random.default_rng(1).integers(0, 99, (N, NY, NX)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "t.tif", data, photometric="minisblack")
    angles(tmp_path / "t.rawtlt")
    with pytest.raises(InputError, match=r"t\.tif: its header has no pixel size"):
        one(tmp_path)
    series = one(tmp_path, pixel_size_a=3.0)
    assert np.array_equal(np.asarray(series.stack)[:, ::-1], data)


# What is found


def test_one_image_per_tilt(tmp_path):
    notes = frames(tmp_path / "data")
    # A file of angles beside it may be in the order of acquisition: the mdoc counts.
    angles(tmp_path / "data" / "TS.rawtlt", np.array([0.0, 3, -3, 6, -6]))
    for chosen in (notes, tmp_path / "data"):
        series = one(chosen, axis_deg=None)
        assert series.name == "TS"
        assert series.tilt_deg.tolist() == [-6.01, -3.01, 0.01, 3.01, 6.01]
        assert series.order.tolist() == [5, 3, 1, 2, 4]
        assert series.dose.tolist() == [5, 3, 1, 2, 4]
        assert series.axis_deg == -84.5
    # A stack of its own in that folder is a series still.
    angles(stack(tmp_path / "data" / "other.mrc").with_suffix(".rawtlt"))
    assert sorted(imported(tmp_path / "data", pixel_size_a=1.0)) == ["TS", "other"]


def test_folders_and_patterns(tmp_path):
    for name in ("a.mrc", "b.st", "a_rec.mrc", "b_ali.mrc", "c.mrcs", "d.tiff", "e.txt"):
        if name != "d.tiff":
            stack(tmp_path / name)
    data = np.zeros((N, NY, NX), np.int16)
    tifffile.imwrite(tmp_path / "d.tiff", data, photometric="minisblack")
    (tmp_path / "deep").mkdir()
    stack(tmp_path / "deep" / "f.mrc")

    def names(**params: Any) -> list[str]:
        given = ImportTiltSeries.Params(files=[str(tmp_path)], **params)
        return sorted(ImportTiltSeries.sources(given))

    assert names() == ["a", "b", "c", "d"]
    assert names(leave_out="") == ["a", "a_rec", "b", "b_ali", "c", "d"]
    assert names(pattern="*.mrc", leave_out="a*") == ["b_ali"]
    assert names(pattern="**/*.mrc") == ["a", "f"]
    for pattern, words in [("*.dm4", "no tilt series found"), ("/etc/*", "not understood")]:
        with pytest.raises(InputError, match=words):
            names(pattern=pattern)
    with pytest.raises(InputError, match="no tilt series found"):
        ImportTiltSeries.sources(ImportTiltSeries.Params())
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        ImportTiltSeries.sources(ImportTiltSeries.Params(files=[str(tmp_path / "nowhere")]))


def test_duplicates_and_equal_names(tmp_path, monkeypatch):
    for folder in ("p/a", "q/a", "r/a", "r/b"):
        (tmp_path / folder).mkdir(parents=True)
        stack(tmp_path / folder / "x.mrc")
    stack(tmp_path / "p" / "a" / "x.st")
    monkeypatch.chdir(tmp_path)
    given = ImportTiltSeries.Params(
        files=[
            "p/a/x.mrc", str(tmp_path / "p" / "a" / "x.mrc"), "p/../p/a/x.mrc", "p/a", "q/a/x.mrc",
            "r/a", "r/b/x.mrc",
        ]
    )  # fmt: skip
    sources = ImportTiltSeries.sources(given)
    assert {name: str(path.relative_to(tmp_path)) for name, path in sources.items()} == {
        "x": "p/a/x.mrc", "a_x": "p/a/x.st", "a_x_2": "q/a/x.mrc", "a_x_3": "r/a/x.mrc",
        "b_x": "r/b/x.mrc",
    }  # fmt: skip


def test_in_a_project_with_bad_ones_among_them(tmp_path):
    data = tmp_path / "data"
    for name in ("good", "short", "text", "noangles"):
        stack(data / f"{name}.mrc", n=2 if name == "short" else N)
        if name != "noangles":
            angles(data / f"{name}.rawtlt", TILT[: 2 if name == "short" else N])
    (data / "text.mrc").write_text("This is no image.\n" * 200)
    project = Project.create(tmp_path / "project")
    project.add("import-tilt-series", {"files": [str(data)], "axis_deg": 3})
    run = execute(project, 1)
    assert (run.status, project.names(of(1))) == ("finished", ["good"])
    assert {k: v.split(": ", 1)[1][:12] for k, v in run.failed.items()} == {
        "short": "2 views are ", "text": "not an MRC f", "noangles": "no tilt angl",
    }  # fmt: skip
    # Metadata that is not in the files is in the project.
    project.runs[1].params |= {"voltage_kv": 120.0, "cs_mm": 1.2, "amplitude_contrast": 0.3}
    execute(project, 1)
    series = project.item(of(1), "good")
    assert (series.voltage_kv, series.cs_mm, series.amplitude_contrast) == (120.0, 1.2, 0.3)


# What other programs left


def alignment(seed: int = 1, turned_only: bool = False) -> Alignment:
    rng = np.random.default_rng(seed)
    geometry = ViewGeometry.nominal(TILT + rng.normal(0, 0.2, N), -84.5)
    geometry = geometry.with_shifts(rng.normal(0, 3, (N, 2)))
    xf = geometry.transforms()
    if not turned_only:
        xf[..., :2] *= 1.02
    return Alignment(xf, geometry.tilt_deg, 0.0 if turned_only else 2.25)


def test_transforms_and_a_model_beside(tmp_path):
    path = stack(tmp_path / "a.b.mrc")
    angles(tmp_path / "a.b.rawtlt")
    plain = one(path)
    assert plain.alignment is None
    made = alignment()
    series = TiltSeries(
        path, plain.stack, TILT, -84.5, 4.5, np.zeros(N, bool), name="a.b", alignment=made
    )
    write_alignment(tmp_path, series)
    xy = np.random.default_rng(2).uniform(-6, 6, (3, N, 2))
    flag = np.full((3, N), 3, np.uint8)
    model = FiducialModel.from_tracks(xy, (NX, NY), 22.0, surface=[0, 1, 0], flag=flag)
    write_model(tmp_path, "a.b", model, series)
    out = imported(path)["a.b"]
    taken = out["tilt_series"]
    assert taken.tilt_deg.tolist() == TILT.tolist()
    assert np.array_equal(taken.alignment.transforms, made.transforms)
    assert np.array_equal(taken.alignment.tilt_deg, made.tilt_deg)
    assert taken.alignment.x_tilt_deg == 2.25
    assert np.array_equal(out["fiducial_model"].xy, model.xy)
    assert np.array_equal(out["fiducial_model"].flag, flag)
    assert taken.describe().endswith("+ali")
    assert set(imported(path, alignment="none")["a.b"]) == {"tilt_series", "notes"}
    # All of it comes back out of a project.
    project = Project.create(tmp_path / "project")
    project.add("import-tilt-series", {"files": [str(path)], "axis_deg": -84.5})
    execute(project, 1)
    again = project.item(of(1), "a.b").alignment
    assert np.array_equal(again.transforms, made.transforms)
    assert again.x_tilt_deg == 2.25
    assert np.array_equal(project.item(of(1, "fiducial_model"), "a.b").flag, flag)
    # Another alignment beside it now: out of date.
    assert project.stale() == set()
    write_xf(tmp_path / "a.b.xf", alignment(7).transforms)
    assert project.stale() == {1}


def test_what_does_not_fit_is_said_and_left(tmp_path):
    path = stack(tmp_path / "a.mrc")
    angles(tmp_path / "a.rawtlt")
    write_xf(tmp_path / "a.xf", identity(N - 1))
    angles(tmp_path / "a.tlt")
    write_fiducial_model(
        tmp_path / "a.fid", [np.array([[1.0, 2, 0]])], nx=99, ny=NY, n_views=N, pixel_size_a=4.5
    )
    out = imported(path)["a"]
    assert set(out) == {"tilt_series", "notes"}
    assert out["tilt_series"].alignment is None
    assert "a.xf: 4 transforms for 5 views" in out["notes"][0]
    assert "99 x 16 pixels, the series has 18 x 16" in out["notes"][1]
    write_xf(tmp_path / "a.xf", identity(N))
    (tmp_path / "a.fid").write_bytes(b"nothing at all")
    out = imported(path)["a"]
    assert out["tilt_series"].alignment is not None
    assert "a.fid" in out["notes"][0]


def test_aretomo(tmp_path):
    path = stack(tmp_path / "a.mrc")
    angles(tmp_path / "a.rawtlt")
    made = alignment(turned_only=True)
    left_out = np.arange(N) == 1
    write_aln(
        tmp_path / "a.aln", aln_from_transforms(made.transforms, made.tilt_deg, (NX, NY), left_out)
    )
    series = one(path)
    assert series.excluded.tolist() == left_out.tolist()
    assert series.alignment.valid.tolist() == (~left_out).tolist()
    assert series.alignment.transforms[~left_out] == pytest.approx(
        made.transforms[~left_out], abs=2e-3
    )
    assert series.alignment.tilt_deg[~left_out] == pytest.approx(made.tilt_deg[~left_out], abs=6e-3)
    assert series.alignment.tilt_deg[1] == TILT[1]
    (tmp_path / "a.aln").write_text("nothing")
    out = imported(path)["a"]
    assert out["tilt_series"].alignment is None
    assert not out["tilt_series"].excluded.any()
    assert "a.aln" in out["notes"][0]


def etomo_folder(folder: Path, name: str = "ts", stack_name: str = "ts") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.edf").write_text(
        f"Setup.DatasetName={name}\nSetup.PixelSize=0.45\nSetup.ImageRotationA=-84.5\n"
        "Setup.FiducialDiameter=9.0\nSetup.AxisA.ExcludeProjections=2\n"
    )
    made = alignment(3)
    stack(folder / f"{stack_name}.st")
    stack(folder / f"{stack_name}_orig.st")
    write_xf(folder / f"{stack_name}.xf", made.transforms)
    angles(folder / f"{stack_name}.tlt", made.tilt_deg)
    angles(folder / f"{stack_name}.rawtlt")
    shifted = identity(N)
    shifted[..., 2] = 3.0
    write_xf(folder / f"{stack_name}.prexg", shifted)
    points = np.column_stack([np.full(N, 9.0), np.full(N, 8.0), np.arange(N)])
    write_fiducial_model(
        folder / f"{stack_name}.fid", [points], nx=NX, ny=NY, n_views=N, pixel_size_a=4.5,
        surfaces=[2],
    )  # fmt: skip
    return folder


def test_an_etomo_folder(tmp_path):
    folder = etomo_folder(tmp_path / "etomo")
    made = alignment(3)
    for chosen in (folder, folder / "ts.st"):
        out = imported(chosen, axis_deg=None)
        assert list(out) == ["ts"]
        series = out["ts"]["tilt_series"]
        assert series.path == folder / "ts.st"
        assert series.axis_deg == -84.5
        assert series.tilt_deg.tolist() == TILT.tolist()
        assert series.excluded.tolist() == [False, True, False, False, False]
        used = ~series.excluded
        assert np.array_equal(series.alignment.transforms[used], made.transforms[used])
        model = out["ts"]["fiducial_model"]
        # Its points stand on the prealigned stack, which was moved by 3 pixels.
        raw = [9.0 - (NX - 1) / 2 - 3, 8.0 - (NY - 1) / 2 - 3]
        assert model.xy[0, 0] == pytest.approx(raw, abs=1e-4)
        assert model.diameter_px == pytest.approx(20)
        assert model.surface.tolist() == [1]
        assert out["ts"]["notes"] == []
    # The series beside it is not that of the project.
    other = one(folder / "ts_orig.st", tilt_angles="range", step_deg=5.0)
    assert other.alignment is None
    # Another one fits no longer: said, and the series is imported all the same.
    write_xf(folder / "ts.xf", made.transforms[:3])
    out = imported(folder / "ts.st")["ts"]
    assert set(out) == {"tilt_series", "notes"}
    assert out["tilt_series"].alignment is None
    assert "differ in length" in out["notes"][0]


def test_a_folder_with_two_etomo_projects_is_searched(tmp_path):
    folder = etomo_folder(tmp_path / "etomo")
    etomo_folder(folder, "tz", "tz")
    given = ImportTiltSeries.Params(files=[str(folder)])
    assert sorted(ImportTiltSeries.sources(given)) == ["ts", "ts_orig", "tz", "tz_orig"]
    # Which of them a model belongs to is not guessed: its points are not on the raw stack.
    for name in ("ts", "tz"):
        out = imported(folder / f"{name}.st")[name]
        assert set(out) == {"tilt_series", "notes"}
        assert "2 Etomo data files" in out["notes"][0]


def test_an_axis_of_a_dual_axis_set(tmp_path):
    folder = etomo_folder(tmp_path / "etomo", "bb", "bba")
    out = imported(folder / "bba.st", axis_deg=None)["bba"]
    used = ~out["tilt_series"].excluded
    assert out["tilt_series"].alignment is not None
    assert used.sum() == N - 1
    assert out["fiducial_model"].n_tracks == 1


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data here")
def test_a_real_etomo_folder(tmp_path):
    for path in (DATA / "imod").iterdir():
        if path.name != "test.rawtlt" and path.name != "test.xf":
            shutil.copy(path, tmp_path / path.name)
            os.chmod(tmp_path / path.name, 0o644)
    n = len((tmp_path / "TS_001.xf").read_text().split()) // 6
    data = np.random.default_rng(1).integers(0, 99, (n, NY, NX)).astype(np.int16)
    write_mrc(tmp_path / "TS_001.st", data, 3.0)
    out = imported(tmp_path, axis_deg=None)["TS_001"]
    series = out["tilt_series"]
    first = (tmp_path / "TS_001.xf").read_text().split()[:6]
    used = np.flatnonzero(series.alignment.valid)
    assert len(used) >= n - 3
    if used[0] == 0:
        xf = series.alignment.transforms[0]
        assert [*xf[0, :2], *xf[1, :2], *xf[:, 2]] == pytest.approx([float(w) for w in first])
    assert np.ptp(series.alignment.tilt_deg) > 90
    project = Project.create(tmp_path / "project")
    project.add("import-tilt-series", {"files": [str(tmp_path)]})
    assert execute(project, 1).failed == {}
    again = project.item(of(1), "TS_001")
    assert np.array_equal(again.alignment.transforms, series.alignment.transforms)
    assert again.axis_deg == series.axis_deg
