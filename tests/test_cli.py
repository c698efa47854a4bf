"""The command line as a contract: exit status, one line on standard error, files."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from tiltwright.app.cli import main
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.io.text import read_angles, read_xf
from tiltwright.engine.simulate.series import SeriesSpec, write_series


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    spec = SeriesSpec(
        seed=3, n_views=21, nx=360, ny=300, n_beads=18, n_vesicles=2, shift_step_sd_px=3
    )
    write_series(
        spec,
        folder,
        "small",
    )
    return folder / "small.mrc"


def options(series: Path, output: Path) -> list[str]:
    return [
        str(series), "--tilt-angles", str(series.with_suffix(".rawtlt")), "--tilt-axis", "-84.5",
        "--pixel-size", "11.04", "--output", str(output),
    ]  # fmt: skip


def said(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_process_writes_what_it_promises(series, tmp_path, capsys):
    rc = main(
        ["process", *options(series, tmp_path), "--thickness", "64", "--json", "--write-aligned"]
    )
    out = capsys.readouterr().out
    assert rc == 0
    summary = json.loads(out)
    endings = [".xf", ".tlt", ".xtilt", ".fid", "_nogaps.fid", ".xyz", ".resid", "_residuals.csv"]
    endings += ["_ali.mrc", "_rec.mrc", "_report.html"]
    for name in ["summary.json", *("small" + ending for ending in endings)]:
        assert (tmp_path / name).exists(), name
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert open_stack(tmp_path / "small_rec.mrc").shape == (64, 360, 300)
    truth = json.loads(series.with_suffix(".truth.json").read_text())
    xf = read_xf(tmp_path / "small.xf", 21)
    tilt = np.deg2rad(read_angles(tmp_path / "small.tlt", 21))
    # The true residual: exact projections through our transforms, one rigid set of points.
    raw = np.array(truth["raw_xy"]) - [(360 - 1) / 2, (300 - 1) / 2]
    q = np.einsum("vij,vbj->vbi", xf[..., :2], raw) + xf[:, None, :, 2]
    m = np.stack([np.cos(tilt), np.sin(tilt)], 1)
    x = q[..., 0] - m @ np.linalg.lstsq(m, q[..., 0], rcond=None)[0]
    y = q[..., 1] - q[..., 1].mean(0)
    assert np.sqrt((x**2 + y**2).mean()) < 0.1
    assert not list(tmp_path.glob("*.tmp*"))


def test_stop_after_and_own_commands_stop_there(series, tmp_path):
    assert main(["coarse-prealignment", *options(series, tmp_path), "--cumulative", "no"]) == 0
    assert (tmp_path / "summary.json").exists()
    assert not (tmp_path / "small.fid").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bogus"], ["--bogus"]),
        (["--fiducial-alignment.rotation", "two"], ["fiducial-alignment.rotation", "two"]),
        (["--thickness", "-3"], ["reconstruction.thickness", "-3"]),
        (["--exclude", "99"], ["--exclude 99"]),
        (["--stop-after", "nowhere"], ["stop-after"]),
        (["--pixel-size", "0"], ["pixel size"]),
    ],
)
def test_bad_options_say_which(series, tmp_path, capsys, arguments, words):
    assert main(["process", *options(series, tmp_path / "out"), *arguments]) == 2
    line = said(capsys)
    assert all(w in line for w in words), line
    assert not (tmp_path / "out").exists()


def test_bad_files_are_named(series, tmp_path, capsys):
    angles = tmp_path / "forty.rawtlt"
    lines = series.with_suffix(".rawtlt").read_text().split()
    angles.write_text("\n".join(lines[:-1]))
    args = options(series, tmp_path / "out")
    args[2] = str(angles)
    assert main(["process", *args]) == 2
    line = said(capsys)
    assert "20" in line
    assert "21" in line
    assert "forty.rawtlt" in line

    cut = tmp_path / "cut.mrc"
    cut.write_bytes(series.read_bytes()[:100_000])
    assert main(["process", str(cut), *options(series, tmp_path / "out")[1:]]) == 2
    assert "cut.mrc" in said(capsys)

    text = tmp_path / "text.mrc"
    text.write_text("This is no image.\n" * 200)
    assert main(["process", str(text), *options(series, tmp_path / "out")[1:]]) == 2
    assert "text.mrc" in said(capsys)

    file = tmp_path / "file"
    file.write_text("")
    assert main(["process", *options(series, file / "out")]) == 2
    assert "file" in said(capsys)
    assert not (tmp_path / "out").exists()


def test_constant_and_broken_views_are_suspects(series, tmp_path):
    stack = np.array(open_stack(series), dtype=np.float32)
    stack[4] = 7.0
    stack[15, 10:20, 10:20] = np.nan
    broken = tmp_path / "broken.mrc"
    write_mrc(broken, stack, 11.04)
    args = [str(broken), *options(series, tmp_path / "out")[1:]]
    assert main(["process", *args, "--stop-after", "fiducial-alignment"]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {s["view"] for s in summary["suspect_views"]} == {5, 16}


def test_nothing_to_track_is_a_data_error(tmp_path, series, capsys):
    rng = np.random.default_rng(0)
    noise = tmp_path / "noise.mrc"
    write_mrc(noise, rng.poisson(100, (21, 200, 200)).astype(np.int16), 11.04)
    rc = main(["process", str(noise), *options(series, tmp_path / "out")[1:]])
    assert rc == 3
    assert "fiducial-model" in capsys.readouterr().err
    assert (tmp_path / "out" / "summary.json").exists()


def test_full_disk_is_said_and_leaves_nothing(series, tmp_path, capsys, monkeypatch):
    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    rc = main(["process", *options(series, tmp_path / "out"), "--thickness", "32"])
    assert rc == 2
    assert "small_rec.mrc" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*_rec.mrc*"))


def test_a_later_command_starts_from_the_results_of_an_earlier_one(series, tmp_path, capsys):
    assert main(["fiducial-alignment", *options(series, tmp_path)]) == 0
    before = {p.name: p.read_bytes() for p in tmp_path.glob("small*") if p.suffix != ".html"}
    capsys.readouterr()
    assert main(["reconstruction", *options(series, tmp_path), "--thickness", "32"]) == 0
    said_now = capsys.readouterr().out
    assert said_now.count("taken from the results") == 3
    assert open_stack(tmp_path / "small_rec.mrc").shape[0] == 32
    for name, data in before.items():
        assert (tmp_path / name).read_bytes() == data, name
    # Other parameters of a step before, or a file of it that was touched: computed again.
    changed = ["--fiducial-alignment.automatic", "no", "--thickness", "32"]
    assert main(["reconstruction", *options(series, tmp_path), *changed]) == 0
    assert capsys.readouterr().out.count("taken from the results") == 2
    kept = tmp_path / ".tiltwright" / "small" / "coarse-prealignment" / "small.xf"
    kept.write_text(kept.read_text() + "\n")
    assert main(["reconstruction", *options(series, tmp_path), *changed]) == 0
    assert "coarse-prealignment: taken" not in capsys.readouterr().out
