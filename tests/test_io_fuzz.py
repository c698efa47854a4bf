"""Damaged files of every kind: our own typed error, in no time and no memory, or a result.

Ten thousand mutated copies a run, from one seed; ``TILTWRIGHT_FUZZ=10000`` makes as many of each
kind, with another seed per value.
"""

from __future__ import annotations

import os
import random
import resource
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mrcfile
import mrcfile.dtypes
import numpy as np
import pytest
import tifffile
from test_io_mrc import raw_mrc

from tiltwright.engine.errors import InputError
from tiltwright.engine.io import aretomo, etomo, frames, mdoc, model_file, text
from tiltwright.engine.io.stack import open_image_stack

DATA = Path(__file__).parents[1].parent / "shared" / "data"
FORMATS = DATA / "formats"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data here")

EACH = int(os.environ.get("TILTWRIGHT_FUZZ", "0"))
TOTAL = 10_000
SLOWEST_S = 3.0
ROOM = 1 << 30
JUNK = [
    b"nan", b"-1", b"99999999999", b"1e999", b"", b"\n", b" ", b"\0", b"=", b"[", b"-", b"1e30",
    b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\xff\xfe",
]  # fmt: skip
WORDS = [0, 1, -1, 2, 255, 2**31 - 1, -(2**31), 2**30, 65536, 1024, 2**24]


def stack(path: Path) -> None:
    data, _, info = open_image_stack(path)
    assert data.ndim == 3
    np.asarray(data[0]).sum()
    np.asarray(data[-1, -1]).sum()
    assert info.tilt_deg is None or np.isfinite(info.tilt_deg).all()


def model(path: Path) -> None:
    # Reading what was written: counts in the headers follow the contents.
    model_file.parse_model(model_file.model_bytes(model_file.read_model(path)))
    model_file.read_fiducial_model(path)


def notes(path: Path) -> None:
    read = mdoc.read_mdoc(path)
    for values in (read.doses, read.prior_doses, read.tilt_deg, read.acquisition_order):
        assert values is None or np.isfinite(values).all()
    _ = read.tilt_axis_deg, read.pixel_size_a, read.frame_names
    with pytest.raises(InputError):
        frames.load_frames_mdoc(read, path.parent / "nothing here")


def aln(path: Path) -> None:
    read = aretomo.read_aln(path)
    assert np.isfinite(read.transforms).all()
    aretomo.place(read, 90, -66 + 1.5 * np.arange(90))


def log(path: Path) -> None:
    etomo.read_log_options(path)


def folder(path: Path) -> None:
    (path.parent / "x.edf").write_bytes(path.read_bytes())
    etomo.read_etomo(path.parent)


def text_of(read: Callable[[Path], Any]) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        values = read(path)
        for array in getattr(values, "__dict__", {"": values}).values():
            assert not isinstance(array, np.ndarray) or np.isfinite(array).all()

    return check


def fei(kind: bytes, path: Path) -> bytes:
    table = np.zeros(3, mrcfile.dtypes.get_ext_header_dtype(kind, "<"))
    table["Metadata size"] = table.dtype.itemsize
    with mrcfile.new(path, np.zeros((3, 4, 5), np.int16), overwrite=True) as out:
        out.set_extended_header(table)
        out.header.exttyp = kind
    return path.read_bytes()


def tiff(path: Path, **options: Any) -> bytes:
    tifffile.imwrite(path, np.zeros((3, 4, 5), "u2"), photometric="minisblack", **options)
    return path.read_bytes()


def sources(kind: str, tmp: Path) -> tuple[list[bytes], Callable[[Path], None]]:
    """Undamaged files of a kind and the function that reads one."""
    pixels = np.arange(60, dtype=np.int16)
    path = tmp / "source"
    seri = b"".join(struct.pack("<h3hh", i, 0, 0, i, 640) for i in range(3)).ljust(1024, b"\0")
    lines = (DATA / "imod_bb" / "BBa.resid").read_text().splitlines(keepends=True)
    xyz = (DATA / "imod_bb" / "BBafid.xyz").read_bytes()
    found: dict[str, tuple[list[bytes], Callable[[Path], None]]] = {
        "mrc": (
            [raw_mrc(1, pixels.tobytes()), raw_mrc(1, pixels.byteswap().tobytes(), order=">"),
             raw_mrc(101, bytes(36)), raw_mrc(2, bytes(240)), raw_mrc(0, bytes(60))], stack
        ),
        "mrc extended": (
            [raw_mrc(1, pixels.tobytes(), extended=seri, kind=b"SERI", counts=(10, 11)),
             raw_mrc(1, pixels.tobytes(), extended=bytes(4096), counts=(0, 32)),
             fei(b"FEI1", path), fei(b"FEI2", path)], stack
        ),
        "tiff": (
            [tiff(path), tiff(path, bigtiff=True), tiff(path, compression="zlib"),
             tiff(path, imagej=True)], stack
        ),
        "model": ([p.read_bytes() for p in sorted((FORMATS / "model").iterdir())], model),
        "mdoc": ([p.read_bytes()[:9000] for p in sorted((FORMATS / "mdoc").iterdir())], notes),
        "angles": (
            [(DATA / "imod_bb" / "BBa.tlt").read_bytes(),
             (FORMATS / "imod" / "TS_001.rawtlt").read_bytes()], text_of(text.read_angles)
        ),
        "transforms": (
            [(DATA / "imod_bb" / "BBa.xf").read_bytes(),
             (FORMATS / "imod" / "TS_001.xf").read_bytes()], text_of(text.read_xf)
        ),
        "positions": ([xyz], text_of(text.read_xyz)),
        # Short enough for a mutation to be no certain refusal; the count fits.
        "residuals": (
            [("".join([f"{n:6d} residuals\n", *lines[1 : n + 1]])).encode() for n in (3, 20, 60)],
            text_of(text.read_resid),
        ),
        "aln": ([(FORMATS / "aretomo" / "test.aln").read_bytes()], aln),
        "edf": ([(FORMATS / "imod" / "TS_001.edf").read_bytes()], folder),
        "com": (
            [(FORMATS / "imod" / n).read_bytes() for n in ("newst.com", "tilt.com")], etomo.read_com
        ),
        "align.log": ([(FORMATS / "imod" / "align.log").read_bytes()[:4000]], log),
    }  # fmt: skip
    return found[kind]


KINDS = {
    "mrc": 1300, "mrc extended": 1300, "tiff": 600, "model": 1800, "mdoc": 1000, "angles": 700,
    "transforms": 700, "positions": 700, "residuals": 700, "aln": 500, "edf": 300, "com": 200,
    "align.log": 200,
}  # fmt: skip


def mutate(data: bytes, rng: random.Random, binary: bool) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not out:
            break
        # Half of the hits go to the front, where headers and counts are.
        at = rng.randrange(min(len(out), rng.choice([240, 1100, len(out), len(out)])))
        kind = rng.randrange(8)
        if kind == 0:
            out[at] = rng.randrange(256)
        elif kind == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2 and rng.random() < 0.3:
            del out[at:]
        elif kind == 3 and binary and len(out) > 4:
            at = min(at & ~3, len(out) - 4)
            out[at : at + 4] = struct.pack(rng.choice("<>") + "i", rng.choice(WORDS))
        elif kind == 3:
            rows = out.split(b"\n")
            row = rng.randrange(len(rows))
            rows[row : row + 1] = rng.choice([[], [rows[row]] * 2, [rows[row], b"x 1"]])
            out = bytearray(b"\n".join(rows))
        elif kind == 4:
            end = min(len(out), at + rng.randrange(1, 64))
            to = rng.randrange(len(out))
            out[to:to] = out[at:end]
        elif kind == 5:
            del out[at : at + rng.randrange(1, 16)]
        else:
            out[at : at + rng.choice([0, 1, 4])] = rng.choice(JUNK)
    return bytes(out)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A gigabyte on top of what is in use: an allocation from a mutated count must fail."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_ten_thousand_in_all() -> None:
    assert sum(KINDS.values()) == TOTAL


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited by /proc")
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_give_only_our_error(kind: str, tmp_path: Path) -> None:
    files, read = sources(kind, tmp_path)
    rng = random.Random(f"{kind} {EACH}")
    work = tmp_path / "work"
    work.mkdir()
    path, n, refused, longest = work / "m", EACH or KINDS[kind], 0, 0.0
    for data in files:
        path.write_bytes(data)
        read(path)
    for i in range(n):
        data = mutate(files[i % len(files)], rng, kind in ("mrc", "mrc extended", "tiff", "model"))
        path.write_bytes(data)
        begin = time.perf_counter()
        try:
            read(path)
        except InputError as exc:
            refused += 1
            assert "\n" not in str(exc), repr(exc)  # noqa: PT017
        except Exception as exc:
            raise AssertionError(f"{kind}, copy {i}: {type(exc).__name__}: {exc}") from exc
        longest = max(longest, time.perf_counter() - begin)
    print(f"{kind}: {n} copies, {refused} refused, slowest {longest * 1e3:.0f} ms")
    # Neither everything nor nothing: the mutations reach into the readers. Settings of other
    # programs are read with tolerance.
    assert refused > (0 if kind in ("edf", "com") else 0.02 * n) - 1
    assert refused < 0.995 * n
    assert longest < SLOWEST_S
