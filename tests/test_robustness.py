"""Bad input, full disks, Ctrl-C and ``kill -9`` through the real command line."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from test_io_mrc import raw_mrc

from tiltwright.app.cli import main
from tiltwright.engine.errors import InputError
from tiltwright.engine.io.model_file import read_model
from tiltwright.engine.io.mrc import MrcWriter, open_stack
from tiltwright.engine.io.text import read_angles, read_resid, read_xf, read_xyz
from tiltwright.engine.simulate.series import SeriesSpec, write_series

N_VIEWS = 21
# A tomogram of 15 MB takes long enough to be caught at.
THICKNESS = 160


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    spec = SeriesSpec(
        seed=3, n_views=N_VIEWS, nx=240, ny=200, n_beads=14, n_vesicles=1, shift_step_sd_px=2
    )
    write_series(spec, folder, "small")
    (folder / "small.mdoc").unlink(missing_ok=True)
    (folder / "small.mrc.mdoc").unlink(missing_ok=True)
    return folder / "small.mrc"


def command(series: Path, output: Path, *more: object, angles: Path | None = None) -> list[str]:
    tilt = angles or series.with_suffix(".rawtlt")
    return [
        sys.executable, "-m", "tiltwright.app.cli", "process", str(series),
        "--tilt-angles", str(tilt), "--tilt-axis", "-84.5", "--output", str(output),
        "--thickness", str(THICKNESS), "--threads", "2", *map(str, more),
    ]  # fmt: skip


def run(words: list[str]) -> tuple[int, list[str]]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=200)
    return done.returncode, done.stderr.strip().splitlines()


def refused(words: list[str], *said: str, here: pytest.CaptureFixture[str] | None = None) -> None:
    """Status 2 and one line on standard error that holds every one of ``said``.

    ``here`` spares the start of a process where many cases differ by their input only.
    """
    if here is None:
        status, lines = run(words)
    else:
        status = main(words[3:])
        lines = here.readouterr().err.strip().splitlines()
    assert status == 2, lines
    assert len(lines) == 1, lines
    assert all(s in lines[0] for s in said), lines[0]


def complete(folder: Path) -> set[str]:
    """Names of the files under a final name, each read whole; and nothing hidden is left."""
    reading: dict[str, Callable[[Path], object]] = {
        ".xf": lambda p: read_xf(p, N_VIEWS), ".prexg": lambda p: read_xf(p, N_VIEWS),
        "_points.csv": lambda p: p.read_text(), ".tlt": lambda p: read_angles(p, N_VIEWS),
        ".xtilt": lambda p: read_angles(p, N_VIEWS), ".fid": read_model, ".xyz": read_xyz,
        ".resid": read_resid, ".json": lambda p: json.loads(p.read_text()),
        ".mrc": lambda p: np.asarray(open_stack(p)[-1]).std() > 0 or pytest.fail("empty"),
        ".html": lambda p: p.read_text().rstrip().endswith("</html>") or pytest.fail("cut"),
        ".csv": lambda p: p.read_text().endswith("\n") or pytest.fail("cut"),
    }  # fmt: skip
    names = set()
    for path in folder.iterdir() if folder.exists() else ():
        if path.name == ".tiltwright":  # what a later command starts from
            continue
        reading[path.suffix](path)
        names.add(path.name)
    return names


@pytest.fixture(scope="module")
def whole(series: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[float, set[str]]:
    """Seconds of an undisturbed run with warm caches, and what it writes."""
    out = tmp_path_factory.mktemp("whole")
    for _ in range(2):
        begin = time.perf_counter()
        status, lines = run(command(series, out))
        seconds = time.perf_counter() - begin
        assert status == 0, lines
    return seconds, complete(out)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a real tmpfs of a given size."""
    mounted = []

    def mount(options: str) -> Path:
        at = tmp_path / f"disk{len(mounted)}"
        at.mkdir()
        if os.geteuid() != 0:
            pytest.skip("only root may mount a small disk")
        words = ["mount", "-t", "tmpfs", "-o", options, "tiltwright-test", str(at)]
        if subprocess.run(words, capture_output=True).returncode != 0:
            pytest.skip("no tmpfs can be mounted here")
        mounted.append(at)
        return at

    yield mount
    for at in mounted:
        subprocess.run(["umount", str(at)], check=True)


def test_truncated_and_foreign_files(series, tmp_path, capsys):
    out = tmp_path / "out"
    whole_file = series.read_bytes()
    for name, content, said in [
        ("cut.mrc", whole_file[:100_000], "truncated"),
        ("head.mrc", whole_file[:700], "not an MRC file"),
        ("text.mrc", b"This is no image.\n" * 200, "not an MRC file"),
        ("empty.mrc", b"", "not an MRC file"),
        ("mode3.mrc", raw_mrc(3, bytes(240)), "mode 3"),
    ]:
        (tmp_path / name).write_bytes(content)
        here = None if name in ("cut.mrc", "text.mrc") else capsys
        angles = series.with_suffix(".rawtlt")
        refused(command(tmp_path / name, out, angles=angles), name, said, here=here)
    refused(command(tmp_path / "nowhere.mrc", out), "nowhere.mrc", "no such file", here=capsys)
    refused(command(tmp_path, out), str(tmp_path), here=capsys)
    assert not out.exists()


def test_angles_that_do_not_fit(series, tmp_path, capsys):
    out, angles = tmp_path / "out", tmp_path / "odd.rawtlt"
    lines = series.with_suffix(".rawtlt").read_text().split()
    for text, said in [
        ("\n".join(lines[:-1]), "20 angles for 21 views"),
        ("\n".join([*lines[:-1], "nan"]), "line 21"),
        ("\n".join([*lines[:-1], "sixty"]), "line 21"),
        ("", "no angles"),
        ("0\n" * N_VIEWS, "span"),
    ]:
        angles.write_text(text)
        # Angles that fit their file but not a tilt series are said of the stack.
        named = "odd.rawtlt" if said != "span" else "small.mrc"
        here = None if "20 angles" in said else capsys
        refused(command(series, out, angles=angles), named, said, here=here)
    refused(command(series, out, angles=tmp_path / "none"), str(tmp_path / "none"), here=capsys)
    assert not out.exists()


def test_pixel_sizes_that_are_none(series, tmp_path, capsys):
    out = tmp_path / "out"
    data = np.array(open_stack(series))
    flat = tmp_path / "flat.mrc"
    flat.write_bytes(
        raw_mrc(1, data.astype("<i2").tobytes(), shape=data.shape, pixel=0.0)
    )  # fmt: skip
    refused(command(flat, out, angles=series.with_suffix(".rawtlt")), "flat.mrc", "--pixel-size")
    for value in ("0", "-1", "nan", "inf", "many"):
        refused(command(series, out, "--pixel-size", value), "pixel", here=capsys)
    assert not out.exists()


def test_nan_inf_and_constant_views_are_named(series, tmp_path):
    stack = np.array(open_stack(series), dtype=np.float32)
    stack[4] = 7.0
    stack[7, 0, 0] = np.inf
    stack[15, 10:20, 10:20] = np.nan
    broken = tmp_path / "broken.mrc"
    broken.write_bytes(raw_mrc(2, stack.tobytes(), shape=stack.shape, pixel=11.04))
    angles, out = series.with_suffix(".rawtlt"), tmp_path / "out"
    status, lines = run(
        command(broken, out, "--stop-after", "fiducial-alignment", angles=angles)
    )  # fmt: skip
    assert status == 0, lines
    summary = json.loads((out / "summary.json").read_text())
    assert {s["view"] for s in summary["suspect_views"]} == {5, 8, 16}
    complete(out)
    for value in (7.0, np.nan):
        stack[:] = value
        broken.write_bytes(raw_mrc(2, stack.tobytes(), shape=stack.shape, pixel=11.04))
        status, lines = run(command(broken, tmp_path / f"out{value}", angles=angles))
        assert status == 3, lines
        assert "preprocess" in lines[-1]
        assert "Traceback" not in "".join(lines)
        complete(tmp_path / f"out{value}")


def test_output_that_cannot_be_written(series, tmp_path, small_disk):
    file = tmp_path / "file"
    file.write_text("mine")
    refused(command(series, file), str(file))
    refused(command(series, file / "below"), str(file / "below"))
    assert file.read_text() == "mine"
    refused(command(series, small_disk("size=1m,ro") / "out"), "Read-only file system", "--output")


def test_a_full_disk_is_said_and_leaves_nothing_partial(series, tmp_path, small_disk, whole):
    disk = small_disk("size=8m")
    # Told before any work; the same folder works once there is room.
    refused(command(series, disk / "out"), str(disk / "out"), "MiB free")
    assert not (disk / "out").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    status, lines = run(command(series, disk / "out"))
    assert status == 0, lines
    assert complete(disk / "out") == whole[1]
    # So small that not even the text files fit.
    tiny = small_disk("size=16k")
    short = ("--stop-after", "fiducial-alignment")
    refused(command(series, tiny / "out", *short), "no space left on device")
    complete(tiny / "out")


def test_a_disk_that_fills_while_a_tomogram_is_written(small_disk):
    disk = small_disk("size=8m")
    block = np.ones((1, 512, 1024), np.int16)

    def fill() -> None:
        with MrcWriter(disk / "a_rec.mrc", (6, 512, 1024), "i2", 1.0) as writer:
            for z in range(6):
                if z == 3:
                    (disk / "somebody else").write_bytes(bytes(4 << 20))
                writer.write(z, block)

    with pytest.raises(InputError, match=r"a_rec\.mrc: no space left on device"):
        fill()
    assert [p.name for p in disk.iterdir()] == ["somebody else"]


def interrupt(words: list[str], when: float | Path, sign: signal.Signals) -> tuple[int, str]:
    """Send ``sign`` after some seconds, or as soon as a file of that name is being written."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    begin = time.perf_counter()
    try:
        while process.poll() is None and time.perf_counter() - begin < 100:
            if isinstance(when, Path):
                if list(when.parent.glob(f".{when.name}.*")):
                    break
            elif time.perf_counter() - begin >= when:
                break
            time.sleep(0.002)
        process.send_signal(sign)
        _, said = process.communicate(timeout=100)
    finally:
        process.kill()
    return process.returncode, said


def test_ctrl_c_at_random_moments(series, tmp_path, whole):
    seconds, everything = whole
    rng = random.Random(2026)
    tomogram = tmp_path / "written" / "small_rec.mrc"
    # One while it still imports, one in the tomogram, others anywhere.
    moments = [tomogram, 0.2, *(seconds * rng.uniform(0.15, 0.9) for _ in range(4))]
    cancelled = 0
    for number, when in enumerate(moments):
        out = tomogram.parent if when is tomogram else tmp_path / f"out{number}"
        status, said = interrupt(command(series, out), when, signal.SIGINT)
        assert "Traceback" not in said
        if status == 0:
            # It was done before the signal came.
            assert complete(out) == everything
            continue
        assert status == 130, said
        assert said.strip().splitlines()[-1] == "tiltwright: cancelled"
        assert len(said.strip().splitlines()) == 1
        cancelled += 1
        assert "small_rec.mrc" not in complete(out)
    assert cancelled >= 3
    # While it takes itself down, when all is written: done is done.
    written = tmp_path / "late"
    process = subprocess.Popen(command(series, written), stderr=subprocess.DEVNULL)
    while process.poll() is None and not (written / "summary.json").exists():
        time.sleep(0.002)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(100) == 0
    assert complete(written) == everything
    status, lines = run(command(series, tomogram.parent))
    assert status == 0, lines
    assert complete(tomogram.parent) == everything


def test_kill_9_and_again(series, tmp_path, whole):
    seconds, everything = whole
    rng = random.Random(9)
    out = tmp_path / "out"
    tomogram, halves = out / "small_rec.mrc", 0
    for when in (tomogram, seconds * rng.uniform(0.3, 0.9), tomogram):
        status, _ = interrupt(command(series, out), when, signal.SIGKILL)
        assert status in (-signal.SIGKILL, 0)
        left = [p for p in out.iterdir() if p.name.startswith(".")] if out.exists() else []
        for path in left:
            os.utime(path, (time.time() - 10,) * 2)
        if when is tomogram and status != 0:
            # Half a tomogram, under no final name.
            assert any("small_rec.mrc" in p.name for p in left)
            halves += 1
    assert halves
    # Three killed runs, and one that ends: all there, nothing else.
    status, lines = run(command(series, out))
    assert status == 0, lines
    assert complete(out) == everything
