"""The later steps from the command line: each goes on from the results in a folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from tiltwright.app.cli import main
from tiltwright.engine.errors import InputError
from tiltwright.engine.execution.cost import Sizes, cost
from tiltwright.engine.execution.plan import plan
from tiltwright.engine.io.ctf_text import CtfRows
from tiltwright.engine.io.defocus import write_defocus
from tiltwright.engine.io.mrc import open_stack, read_header
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.progress import Monitor
from tiltwright.engine.protocols import KEYS, ORDER, all_protocols
from tiltwright.engine.simulate.series import SeriesSpec, simulate_series, write_series

N_VIEWS, THICKNESS, DEFOCUS_UM = 13, 48, 3.0
SPEC = SeriesSpec(
    seed=4, n_views=N_VIEWS, tilt_min_deg=-48, tilt_max_deg=48, nx=256, ny=240, pixel_size_a=6,
    n_beads=9, n_vesicles=1, thickness_nm=40, defocus_um=DEFOCUS_UM, coherent_fraction=1,
    envelope_per_px=0.7, dose_per_view=40, shift_step_sd_px=2,
)  # fmt: skip
SECOND_HALF: dict[str, list[str]] = {
    "ctf-estimation": ["--shortest-a", "13", "--longest-a", "60"],
    "ctf-correction": [],
    "erase-fiducials": [],
    "reconstruction-iterative": ["--thickness", str(THICKNESS), "--iterations", "4"],
    "denoise": ["--iterations", "2"],
    "segmentation": ["--threshold", "8", "--min-size", "50"],
    "chimerax": [],
}
"""Each step with its own parameters."""
OTHER: dict[str, list[str]] = {
    "ctf-estimation": ["--shortest-a", "13", "--longest-a", "50"],
    "ctf-correction": ["--method", "multiply"],
    "erase-fiducials": ["--threshold", "0.9"],
    "reconstruction-iterative": ["--thickness", str(THICKNESS), "--iterations", "3"],
    "denoise": ["--iterations", "3"],
    "segmentation": ["--threshold", "7", "--min-size", "50"],
    "chimerax": ["--bead-diameter-nm", "12"],
    "dose-filter": ["--dose-per-view", "2"],
    "xray-eraser": [],
    "crop": ["--z-from", "5"],
    "reconstruction": ["--thickness", "47"],
}
"""The same, to be computed again."""


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    write_series(SPEC, folder, "TS")
    return folder / "TS.mrc"


def named(series: Path, output: Path) -> list[str]:
    return [
        str(series), "--tilt-angles", str(series.with_suffix(".rawtlt")), "--tilt-axis", "-84.5",
        "--pixel-size", "6", "--output", str(output),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def done(series: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole chain was carried out, command by command."""
    out = tmp_path_factory.mktemp("done")
    assert main(["fiducial-alignment", *named(series, out)]) == 0
    for key, own in SECOND_HALF.items():
        assert main([key, "--output", str(out), *own]) == 0, key
    return out


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path / "copy")
    return tmp_path / "copy"


def contents(folder: Path) -> dict[str, bytes]:
    """Every result; nothing may lie hidden but what later commands start from."""
    assert {p.name for p in folder.glob(".*")} <= {".tiltwright"}
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def said(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_every_protocol_has_a_command():
    assert set(ORDER) == {key for key, p in all_protocols().items() if p.inputs}
    assert set(KEYS) <= set(ORDER)


def test_the_second_half_command_by_command(series, done):
    summary = json.loads((done / "summary.json").read_text())
    assert summary["steps"] == [*KEYS[:4], *SECOND_HALF]
    low, high = summary["defocus_um"]
    assert DEFOCUS_UM * 0.93 < low <= high < DEFOCUS_UM * 1.07
    truth = json.loads(series.with_suffix(".truth.json").read_text())
    # against the same series without gold: beads lie over dark and light parts of the specimen
    without = simulate_series(SPEC)
    without.beads_xy = without.beads_xy[:0]
    bare = np.asarray(without.view(N_VIEWS // 2), np.float32)
    y, x = np.mgrid[: SPEC.ny, : SPEC.nx]
    discs = [np.hypot(x - a, y - b) < 6 for a, b in np.array(truth["raw_xy"])[N_VIEWS // 2, :9]]
    dark, left = (
        np.array([(np.asarray(stack[N_VIEWS // 2]) - bare)[d].mean() for d in discs]) / bare.std()
        for stack in (open_stack(series), open_stack(done / "TS_noGold.mrc"))
    )
    assert dark.max() < -2
    assert np.abs(left).max() < 1.3
    assert abs(left.mean()) < 0.4
    shape = (THICKNESS, 256, 240)
    for name in ("TS_sirt.mrc", "TS_denoised.mrc", "TS_membranes.mrc"):
        assert open_stack(done / name).shape == shape
        assert read_header(done / name).pixel_size_a == pytest.approx(6)
    sirt, smooth = (np.asarray(open_stack(done / f"TS_{n}.mrc")[20], np.float32)
                    for n in ("sirt", "denoised"))  # fmt: skip
    assert np.abs(np.diff(smooth)).mean() < 0.8 * np.abs(np.diff(sirt)).mean()
    scene = (done / "TS.cxc").read_text()
    for part in ("TS_denoised.mrc", "TS_membranes.mrc", "TS.stl", "TS_beads.cmm"):
        assert f'open "{part}"' in scene
        assert (done / part).exists()
    contents(done)


def test_process_with_the_same_steps_gives_the_same(series, done, tmp_path, capsys):
    dotted = [
        f"--{key}.{word[2:]}" if word.startswith("--") else word
        for key, own in SECOND_HALF.items() for word in own
    ]  # fmt: skip
    words = ["process", *named(series, tmp_path), "--with", ",".join(reversed(SECOND_HALF))]
    assert main([*words, "--json", *dotted]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["outputs"]["mask"] == str(tmp_path / "TS_membranes.mrc")
    for name in ("TS_ctf.mrc", "TS_noGold.mrc", "TS_sirt.mrc", "TS_denoised.mrc", "TS.stl"):
        assert (tmp_path / name).read_bytes() == (done / name).read_bytes(), name


def test_a_step_takes_what_is_there_and_forgets_what_no_longer_follows(copy, capsys):
    (copy / "TS_mine.mrc").write_text("not ours")
    moved = copy.with_name("moved")
    copy.rename(moved)
    assert main(["crop", "--output", str(moved), "--z-from", "5", "--z-to", "40"]) == 0
    out = capsys.readouterr().out
    assert "reconstruction-iterative: taken" in out
    assert "preprocess" not in out
    assert open_stack(moved / "TS_crop.mrc").shape == (36, 256, 240)
    assert (moved / "TS_denoised.mrc").exists()  # still of the tomogram that is there
    # another alignment: the reconstruction and what was made of it are of the one before
    assert main(["fiducial-alignment", "--output", str(moved), "--automatic", "no"]) == 0
    gone = {"TS_ctf.mrc", "TS_sirt.mrc", "TS_crop.mrc", "TS_denoised.mrc", "TS.stl", "TS.cxc"}
    left = set(contents(moved))
    assert not gone & left
    assert {"TS_mine.mrc", "TS.xf", "TS.fid", "summary.json"} <= left
    # with what is known of the folder the whole chain can be made again
    assert main(["reconstruction", "--output", str(moved), "--thickness", "33"]) == 0
    assert open_stack(moved / "TS_rec.mrc").shape == (33, 256, 240)


def test_volumes_without_a_series(done, tmp_path, capsys):
    volume = tmp_path / "foreign.mrc"
    write_mrc(volume, np.array(open_stack(done / "TS_sirt.mrc")[10:30]), 6.0)
    out = tmp_path / "out"
    words = ["--tomogram", str(volume), "--output", str(out)]
    assert main(["crop", *words, "--x-to", "200"]) == 0
    assert open_stack(out / "foreign_crop.mrc").shape == (20, 256, 200)
    assert main(["denoise", *words, "--method", "gaussian"]) == 0
    assert main(["segmentation", *words, "--threshold", "6", "--min-size", "0"]) == 0
    capsys.readouterr()
    mask = ["--mask", str(out / "foreign_membranes.mrc")]
    assert main(["chimerax", *words, *mask, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == ["chimerax"]
    assert 'open "foreign_membranes.mrc"' in (out / "foreign.cxc").read_text()
    assert "summary.json" not in contents(out)


def defocus_file(path: Path, tilts: list[float], nm: float = 3000.0) -> Path:
    n = len(tilts)
    a, none = np.full(n, nm * 10), np.full(n, np.nan)
    rows = CtfRows(a, a, a * 0, a * 0, none, none, none, np.ones(n, np.bool_))
    write_defocus(path, rows, np.arange(n), np.array(tilts))
    return path


def test_a_stack_with_alignment_and_defocus_of_other_programs(series, done, tmp_path, capsys):
    tilts = [float(t) for t in series.with_suffix(".rawtlt").read_text().split()]
    table = defocus_file(tmp_path / "other.defocus", tilts)
    for ending in (".xf", ".tlt"):
        shutil.copy(done / f"TS{ending}", tmp_path / f"other{ending}")
    words = ["--alignment", str(tmp_path / "other.xf"), "--ctf-table", str(table)]
    out = tmp_path / "out"
    assert main(["ctf-correction", *named(series, out), *words]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["steps"] == ["ctf-import", "ctf-correction"]
    assert summary["defocus_um"] == [3.0, 3.0]
    ours, theirs = open_stack(done / "TS_ctf.mrc"), open_stack(out / "TS_ctf.mrc")
    assert np.corrcoef(np.ravel(ours[6]), np.ravel(theirs[6]))[0, 1] > 0.9


@pytest.fixture
def bad(series: Path, done: Path, tmp_path: Path) -> dict[str, str]:
    """Files that must be refused, by name."""
    tilts = [float(t) for t in series.with_suffix(".rawtlt").read_text().split()]
    defocus_file(tmp_path / "short.defocus", tilts[:-1])
    defocus_file(tmp_path / "long.defocus", [*tilts, 60.0])
    defocus_file(tmp_path / "others.defocus", [t * 0.5 for t in tilts])
    text = defocus_file(tmp_path / "nan.defocus", tilts).read_text()
    (tmp_path / "nan.defocus").write_text(text.replace("3000.0", "nan", 1))
    (tmp_path / "text.star").write_text("no table\n")
    write_mrc(tmp_path / "mask.mrc", np.ones((THICKNESS, 256, 200), np.int8), 6.0)
    write_mrc(tmp_path / "coarse.mrc", np.ones((20, 30, 40), np.float32), 100.0)
    (tmp_path / "cut.mrc").write_bytes((done / "TS_sirt.mrc").read_bytes()[:100_000])
    (tmp_path / "text.mrc").write_text("no image\n" * 200)
    for ending in (".xf", ".tlt"):
        shutil.copy(done / f"TS{ending}", tmp_path / f"short{ending}")
    lines = (tmp_path / "short.tlt").read_text().splitlines()
    (tmp_path / "short.tlt").write_text("\n".join(lines[:-1]))
    shutil.copy(done / "TS.xf", tmp_path / "alone.xf")
    files = ("nan.defocus", "long.defocus", "short.defocus", "others.defocus", "text.star",
             "mask.mrc", "coarse.mrc", "cut.mrc", "text.mrc", "short.xf", "alone.xf",
             "nowhere.mrc", "nowhere.defocus")  # fmt: skip
    return {name: str(tmp_path / name) for name in files}


SERIES_CASES: list[tuple[list[str], list[str]]] = [
    # CTF tables: other views, no numbers, no file
    (["ctf-correction", "--ctf-table", "@short.defocus"], ["no defocus for views 13"]),
    (["ctf-correction", "--ctf-table", "@long.defocus"], ["long.defocus", "13"]),
    (["ctf-correction", "--ctf-table", "@others.defocus"], ["others.defocus", "tilt"]),
    (["ctf-import", "--files", "@nan.defocus"], ["nan.defocus", ""]),
    (["process", "--with", "ctf-correction", "--ctf-table", "@text.star"], ["text.star"]),
    (["ctf-import", "--files", "@nowhere.defocus"], ["nowhere.defocus", "no such file"]),
    (["ctf-import"], ["no CTF file"]),
    (["ctf-estimation", "--shortest-a", "60", "--longest-a", "20"], ["fit range"]),
    (["ctf-estimation", "--min-defocus-um", "5", "--max-defocus-um", "2"], ["defocus range"]),
    (["ctf-estimation", "--tile-px", "63"], ["--tile-px 63"]),
    # reconstruction
    (["reconstruction-iterative", "--thickness", "0"], ["--thickness 0"]),
    (["reconstruction-iterative", "--iterations", "-3"], ["--iterations -3"]),
    (["process", "--thickness", "0"], ["--reconstruction.thickness 0"]),
    (["reconstruction-iterative", "--thickness", "48", "--mask", "@mask.mrc"],
     ["mask.mrc", "200 x 256 x 48", "240 x 256 x 48"]),
    (["reconstruction-iterative", "--thickness", "48", "--start", "@cut.mrc"], ["cut.mrc"]),
    (["reconstruction-iterative", "--mask", "@nowhere.mrc"], ["nowhere.mrc"]),
    (["reconstruction-iterative", "--method", "fourier", "--thickness", "48", "--width", "200",
      "--mask", "@mask.mrc"], ["fourier takes no mask"]),
    (["reconstruction", "--alignment", "@short.xf"], ["short.tlt", "12 angles for 13 views"]),
    (["reconstruction", "--alignment", "@alone.xf"], ["alone.tlt"]),
    (["reconstruction", "--alignment", "@nowhere.mrc"], ["nowhere"]),
    # tilt series
    (["dose-filter", "--mdoc", "@nowhere.mrc"], ["nowhere.mrc"]),
    (["dose-filter", "--dose-per-view", "-1"], ["--dose-per-view -1"]),
    (["erase-fiducials", "--method", "fidder"], ["fidder", "install it"]),
    (["process", "--with", "erase-fiducials", "--erase-fiducials.diameter-nm", "1"], ["1.7 px"]),
    (["erase-fiducials", "--threshold", "2"], ["--threshold 2"]),
    (["erase-fiducials", "--voltage", "0"], ["voltage"]),
    # tomograms
    (["crop", "--z-from", "90", "--reconstruction.thickness", "48"], ["z from 90 to 48"]),
    (["denoise", "--iterations", "-1"], ["--iterations -1"]),
    (["denoise", "--method", "median", "--median-size", "4"], ["odd size"]),
    (["segmentation", "--thickness-nm", "0.1"], ["0.17 voxels"]),
    (["chimerax", "--mask", "@mask.mrc", "--reconstruction.thickness", "48"], ["mask.mrc"]),
    # what belongs together
    (["process", "--with", "sharpen"], ["sharpen", "denoise"]),
    (["process", "--with", "ctf-import,ctf-estimation"], ["choose one"]),
    (["process", "--with", "denoise", "--stop-after", "reconstruction"], ["denoise"]),
    (["process", "--denoise.iterations", "3"], ["--denoise.iterations", "not among"]),
    (["denoise", "--without", "reconstruction"], ["--without reconstruction"]),
    (["denoise", "--without", "denoise"], ["--without denoise"]),
    (["reconstruction", "--threads", "-1"], ["--threads -1"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"), SERIES_CASES, ids=[" ".join(c[0]) for c in SERIES_CASES]
)
def test_bad_input_is_told_before_any_work(series, bad, tmp_path, capsys, words, told):
    words = [bad[w[1:]] if w.startswith("@") else w for w in words]
    out = tmp_path / "out"
    assert main([words[0], *named(series, out), *words[1:]]) == 2
    line = said(capsys)
    assert all(t in line for t in told), line
    assert not out.exists()


VOLUME_CASES: list[tuple[list[str], list[str]]] = [
    (["denoise", "--tomogram", "@cut.mrc"], ["cut.mrc", "truncated"]),
    (["denoise", "--tomogram", "@text.mrc"], ["text.mrc", "not an MRC file"]),
    (["crop", "--tomogram", "@nowhere.mrc"], ["nowhere.mrc"]),
    (["segmentation", "--tomogram", "@coarse.mrc"], ["100 Å", "voxels"]),
    (["segmentation", "--tomogram", "@mask.mrc", "--pixel-size", "0"], ["--pixel-size 0"]),
    (["segmentation", "--tomogram", "@mask.mrc", "--pixel-size", "nan"], ["--pixel-size nan"]),
    (["crop", "--tomogram", "@coarse.mrc", "--x-from", "41"], ["x from 41"]),
    (["chimerax", "--tomogram", "@coarse.mrc", "--mask", "@mask.mrc"], ["200 x 256 x 48"]),
    (["denoise", "--tomogram", "@mask.mrc", "--reconstruction.thickness", "3"], ["thickness"]),
    (["denoise", "--tomogram", "@mask.mrc", "--with", "crop"], ["--with crop"]),
    (["denoise"], ["no results", "SERIES.mrc"]),
    (["ctf-estimation"], ["no results", "SERIES.mrc"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"), VOLUME_CASES, ids=[" ".join(c[0]) for c in VOLUME_CASES]
)
def test_bad_volumes_are_told_before_any_work(bad, tmp_path, capsys, words, told):
    words = [bad[w[1:]] if w.startswith("@") else w for w in words]
    out = tmp_path / "out"
    assert main([*words, "--output", str(out)]) == 2
    line = said(capsys)
    assert all(t in line for t in told), line
    assert not out.exists()


def test_no_result_takes_the_place_of_an_input(series, tmp_path, capsys):
    tilts = [float(t) for t in series.with_suffix(".rawtlt").read_text().split()]
    mine = defocus_file(tmp_path / "TS.defocus", tilts)
    before = mine.read_bytes()
    assert main(["ctf-import", *named(series, tmp_path), "--files", str(mine)]) == 2
    assert "take its place" in said(capsys)
    assert mine.read_bytes() == before


@pytest.mark.parametrize("key", OTHER)
def test_ctrl_c_leaves_what_was_there(copy, capsys, monkeypatch, key):
    before = contents(copy)
    plain = Monitor.check
    calls = iter(range(100_000))
    when = 1 if key == "chimerax" else 3

    def check(self: Monitor) -> None:
        if next(calls) == when:
            os.kill(os.getpid(), signal.SIGINT)
        plain(self)

    monkeypatch.setattr(Monitor, "check", check)
    assert main([key, "--output", str(copy), *OTHER[key]]) == 130
    assert said(capsys) == "tiltwright: cancelled"
    assert contents(copy) == before
    monkeypatch.undo()
    assert main(["chimerax", "--output", str(copy)]) == 0
    assert contents(copy).keys() == before.keys()


@pytest.mark.parametrize("key", OTHER)
def test_a_disk_that_fills_leaves_nothing_partial(copy, capsys, monkeypatch, key):
    names = contents(copy).keys()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    monkeypatch.setattr("os.replace", full)
    assert main([key, "--output", str(copy), *OTHER[key]]) == 2
    line = said(capsys)
    assert "space" in line, line
    assert str(copy) in line
    monkeypatch.undo()
    assert contents(copy).keys() == names


def test_no_room_is_told_before_any_work(series, tmp_path, capsys, monkeypatch):
    real = os.statvfs(tmp_path)

    class Small:
        f_bavail, f_frsize, f_flag = (3 << 20) // real.f_frsize, real.f_frsize, 0

    monkeypatch.setattr("os.statvfs", lambda path: Small)
    out = tmp_path / "out"
    assert main(["process", *named(series, out), "--thickness", "96"]) == 2
    assert "MiB free" in said(capsys)
    assert not out.exists()


def test_what_will_be_written_is_foreseen(done):
    sizes = Sizes((N_VIEWS, 240, 256), 1, -84.5, (THICKNESS, 256, 240))
    steps = json.loads((done / ".tiltwright" / "TS" / "chain.json").read_text())["steps"]
    for key, protocol in all_protocols().items():
        volumes = [stat[1] for name, stat in steps.get(key, {"files": {}})["files"].items()
                   if name.endswith(".mrc")]  # fmt: skip
        if not volumes:
            continue
        told = cost(key, sizes, protocol.Params(**steps[key]["params"]))
        assert 0.6 * sum(volumes) < told.written_bytes < 1.5 * sum(volumes), key
        assert told.seconds > 0


@pytest.mark.parametrize("key", ORDER)
def test_costs_grow_with_the_data(key):
    params = all_protocols()[key].Params()
    if "z_from" in type(params).model_fields:
        params = params.model_copy(update={"about_x_deg": 1.0})
    small = cost(key, Sizes((41, 500, 400), 2, 0.0, (100, 500, 400)), params)
    large = cost(key, Sizes((41, 1000, 800), 2, 0.0, (200, 1000, 800)), params)
    for name in ("seconds", "written_bytes", "stored_bytes", "memory_bytes"):
        a, b = getattr(small, name), getattr(large, name)
        assert 0 <= a <= b, name
    assert large.seconds < 3600


def test_plan():
    assert plan("denoise")[-2:] == ("reconstruction", "denoise")
    assert plan("denoise", known=["reconstruction", "reconstruction-iterative"])[-2:] == (
        "reconstruction-iterative", "denoise",
    )  # fmt: skip
    assert plan("denoise", known=["reconstruction-iterative"], wanted=["reconstruction"])[-2:] == (
        "reconstruction", "denoise",
    )  # fmt: skip
    assert plan("ctf-estimation") == ("ctf-estimation",)
    assert plan("reconstruction", aligned=True) == ("preprocess", "reconstruction")
    assert plan("chimerax", known=["crop", "denoise"], without=["crop"])[-2:] == (
        "denoise", "chimerax",
    )  # fmt: skip
    with pytest.raises(InputError, match="needs an alignment"):
        plan("ctf-correction", without=KEYS[1:4])
