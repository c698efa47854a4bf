"""MRC and TIFF: every mode and byte order, against mrcfile, tifffile and plain ``struct``."""

from __future__ import annotations

import io
import os
import struct
import time
from pathlib import Path

import mrcfile
import mrcfile.dtypes
import numpy as np
import pytest
import tifffile

from tiltwright.engine.errors import InputError
from tiltwright.engine.io import mrc
from tiltwright.engine.io.atomic import atomic_path, write_text
from tiltwright.engine.io.stack import open_image_stack

DATA = Path(__file__).parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data here")

NZ, NY, NX = 3, 4, 5
TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def raw_mrc(
    mode: int,
    data: bytes,
    *,
    order: str = "<",
    shape: tuple[int, int, int] = (NZ, NY, NX),
    pixel: float = 2.5,
    extended: bytes = b"",
    kind: bytes = b"",
    counts: tuple[int, int] = (0, 0),
    stamp: tuple[int, int] = (0, 0),
    labels: tuple[bytes, ...] = (),
) -> bytes:
    """An MRC file written word by word, knowing nothing of our writer."""
    nz, ny, nx = shape
    head = bytearray(1024)
    struct.pack_into(order + "10i", head, 0, nx, ny, nz, mode, 0, 0, 0, nx, ny, nz)
    struct.pack_into(order + "6f", head, 40, nx * pixel, ny * pixel, nz * pixel, 90, 90, 90)
    struct.pack_into(order + "3i", head, 64, 1, 2, 3)
    struct.pack_into(order + "2i", head, 88, 0, len(extended))
    head[104 : 104 + len(kind)] = kind
    struct.pack_into(order + "2h", head, 128, *counts)
    struct.pack_into(order + "2i", head, 152, *stamp)
    head[208:212] = b"MAP "
    head[212:216] = b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0"
    struct.pack_into(order + "i", head, 220, len(labels))
    for i, label in enumerate(labels):
        head[224 + 80 * i : 304 + 80 * i] = label.ljust(80)
    return bytes(head) + extended + data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", sorted(TYPES))
def test_every_mode_in_both_byte_orders(tmp_path, mode, order):
    values = np.arange(NZ * NY * NX).reshape(NZ, NY, NX).astype(TYPES[mode])
    path = tmp_path / "a.mrc"
    path.write_bytes(raw_mrc(mode, values.astype(order + TYPES[mode]).tobytes(), order=order))
    stack = mrc.open_stack(path)
    assert np.array_equal(stack, values)
    assert isinstance(stack, np.memmap)
    assert not stack.flags.writeable
    assert mrc.read_header(path).pixel_size_a == pytest.approx(2.5)
    with mrcfile.open(path, permissive=True) as other:
        assert np.array_equal(other.data, values)


def test_bytes_are_signed_or_not_by_imods_flag(tmp_path):
    path = tmp_path / "a.mrc"
    data = bytes(range(226, 256)) + bytes(30)
    for stamp, expected in [
        ((0, 0), np.int8), ((1146047817, 1), np.int8), ((1146047817, 0), np.uint8)
    ]:  # fmt: skip
        path.write_bytes(raw_mrc(0, data, stamp=stamp))
        stack = mrc.open_stack(path)
        assert stack.dtype == expected
        assert stack[0, 0, 0] == np.array([226], np.uint8).view(expected)[0]


def test_four_bit_pixels_low_half_first(tmp_path):
    # Five pixels a row take three bytes; the last half byte is padding.
    rows = np.random.default_rng(2).integers(0, 16, (NZ, NY, 6), dtype=np.uint8)
    packed = rows[..., 0::2] | rows[..., 1::2] << 4
    path = tmp_path / "a.mrc"
    path.write_bytes(raw_mrc(101, packed.tobytes()))
    stack = mrc.open_stack(path)
    expected = rows[..., :NX]
    assert stack.shape == expected.shape
    assert np.array_equal(np.asarray(stack), expected)
    assert np.array_equal(stack[1], expected[1])
    assert np.array_equal(stack[1:, 2], expected[1:, 2])
    assert np.array_equal(stack[2, 1:3, 4], expected[2, 1:3, 4])
    assert stack[-1, -1, -1] == expected[-1, -1, -1]


@pytest.mark.parametrize("order", ["<", ">"])
def test_serialem_extended_header(tmp_path, order):
    # Flags 1 (tilt x 100), 2 (piece, three shorts), 8 (magnification / 100): 2 + 6 + 2 bytes.
    tilts = [-60.0, 0.01, 59.99]
    section = [
        struct.pack(order + "h3hh", round(t * 100), 0, 0, i, 640) for i, t in enumerate(tilts)
    ]
    for kind in (b"SERI", b""):
        path = tmp_path / "a.mrc"
        data = np.zeros((NZ, NY, NX), order + "i2").tobytes()
        label = b"    Tilt axis angle = -85.3, binning = 1  spot = 8  camera = 0"
        path.write_bytes(
            raw_mrc(1, data, order=order, extended=b"".join(section).ljust(1024, b"\0"), kind=kind,
                    counts=(10, 1 | 2 | 8), labels=(b"SerialEM: x", label))
        )  # fmt: skip
        header = mrc.read_header(path)
        assert header.tilt_deg == pytest.approx(tilts)
        assert header.tilt_axis_deg == pytest.approx(-85.3)


@pytest.mark.parametrize("kind", [b"FEI1", b"FEI2"])
def test_fei_extended_header(tmp_path, kind):
    dtype = mrcfile.dtypes.get_ext_header_dtype(kind, "<")
    table = np.zeros(NZ, dtype)
    table["Metadata size"] = dtype.itemsize
    table["Alpha tilt"] = [-3.0, 0.25, 3.5]
    table["Tilt axis angle"] = -84.5
    table["Pixel size X"] = table["Pixel size Y"] = 1.38e-10
    path = tmp_path / "a.mrc"
    with mrcfile.new(path, np.zeros((NZ, NY, NX), np.int16)) as out:
        out.set_extended_header(table)
        out.header.exttyp = kind
    header = mrc.read_header(path)
    assert header.tilt_deg == pytest.approx([-3.0, 0.25, 3.5])
    assert header.tilt_axis_deg == pytest.approx(-84.5)
    assert header.pixel_size_a == pytest.approx(1.38)
    stack, pixel, info = open_image_stack(path)
    assert (stack.shape, pixel) == ((NZ, NY, NX), pytest.approx(1.38))
    assert info.tilt_deg == pytest.approx([-3.0, 0.25, 3.5])
    # A cell size that the file does state is not overruled.
    with mrcfile.open(path, "r+") as out:
        out.voxel_size = 1.4
    assert mrc.read_header(path).pixel_size_a == pytest.approx(1.4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_older_fei_extended_header(tmp_path, order):
    # 1024 records of 32 floats: tilt first, axis 11th, pixel size in metres 12th.
    table = np.zeros((1024, 32), order + "f4")
    table[:NZ, 0], table[:NZ, 10], table[:NZ, 11] = [-2, 0, 2], 12.5, 3e-10
    path = tmp_path / "a.mrc"
    data = np.zeros((NZ, NY, NX), order + "i2").tobytes()
    path.write_bytes(
        raw_mrc(1, data, order=order, extended=table.tobytes(), counts=(0, 32), pixel=1.0)
    )
    header = mrc.read_header(path)
    assert header.tilt_deg == pytest.approx([-2, 0, 2])
    assert header.tilt_axis_deg == pytest.approx(12.5)
    assert header.pixel_size_a == pytest.approx(3.0)


@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "u2", "f2"])
def test_round_trip_and_header_statistics(tmp_path, dtype):
    data = np.random.default_rng(1).integers(0, 99, (3, 5, 7)).astype(dtype)
    path = tmp_path / "a.mrc"
    with mrc.MrcWriter(path, (3, 5, 7), dtype, 5.52, (1, 2, 3), ["x"]) as writer:
        writer.write(1, data[1:])
        writer.write(0, data[:1])
    assert np.array_equal(mrc.open_stack(path), data)
    said = io.StringIO()
    # mrcfile itself overflows on half precision.
    assert dtype == "f2" or mrcfile.validate(path, print_file=said), said.getvalue()
    with mrcfile.open(path) as other:
        assert np.array_equal(other.data, data)
        assert other.voxel_size.x == pytest.approx(5.52)
        assert other.header.dmean == pytest.approx(float(data.mean(dtype=float)), rel=1e-5)
        assert other.header.rms == pytest.approx(float(data.std(dtype=float)), rel=1e-5)
    stack, pixel, info = open_image_stack(path)
    assert (stack.shape, info.origin, info.labels) == ((3, 5, 7), (1, 2, 3), ("x",))
    assert pixel == pytest.approx(5.52)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        mrc.open_stack(path)


def test_impossible_sizes_and_modes_are_named(tmp_path):
    path = tmp_path / "a.mrc"
    for mode, shape, words in [
        (1, (0, 4, 5), "0"), (3, (NZ, NY, NX), "mode 3"), (2, (2**30, 2**30, 2**30), "truncated")
    ]:  # fmt: skip
        path.write_bytes(raw_mrc(mode, bytes(400), shape=shape))
        with pytest.raises(InputError, match=words) as caught:
            mrc.open_stack(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("u1", {}),
        ("i2", {}),
        ("u2", {"compression": "zlib"}),
        ("f4", {}),
        ("u2", {"byteorder": ">"}),
    ],
)
def test_tiff_rows_run_upwards(tmp_path, dtype, options, big):
    options = dict(options)
    data = np.random.default_rng(3).integers(0, 99, (3, 4, 5)).astype(dtype)
    path = tmp_path / "a.tif"
    # 1.38 A a pixel, said in pixels per centimetre.
    order = options.pop("byteorder", "<")
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as out:
        out.write(data, photometric="minisblack", resolution=(1e8 / 1.38, 1e8 / 1.38),
                  resolutionunit="CENTIMETER", **options)  # fmt: skip
    stack, pixel, info = open_image_stack(path)
    assert info.kind == "tiff"
    assert np.array_equal(stack, data[:, ::-1])
    assert pixel == pytest.approx(1.38, rel=1e-4)


@pytest.mark.parametrize(("offset", "tags"), [(8, 1), (8, 0), (9999, 1)])
def test_a_chain_of_tiff_pages_that_does_not_end_is_refused(tmp_path, offset, tags):
    path = tmp_path / "a.tif"
    # One page of one tag whose successor is itself, that is empty, or that is not in the file.
    first = struct.pack("<2sHIH", b"II", 42, 8 if tags else offset, tags)
    path.write_bytes(first + struct.pack("<HHII", 256, 3, 1, 5) + struct.pack("<I", offset))
    with pytest.raises(InputError, match=r"a\.tif: damaged TIFF file"):
        open_image_stack(path)


def test_a_tiff_of_colours_or_of_two_sizes_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 5, 3), "u1"), photometric="rgb")
    with pytest.raises(InputError, match=r"a\.tif"):
        open_image_stack(path)
    with tifffile.TiffWriter(path) as out:
        out.write(np.zeros((4, 5), "u1"))
        out.write(np.zeros((6, 5), "u1"))
    with pytest.raises(InputError, match=r"a\.tif"):
        open_image_stack(path)


def test_nothing_partial_under_the_final_name(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "a") as name:  # noqa: PT012
        name.write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(InputError), atomic_path(tmp_path / "no" / "a"):
        pass
    with pytest.raises(InputError), mrc.MrcWriter(tmp_path / "b", (2, 3, 4), "i2", 1.0) as writer:
        writer.write(1, np.ones((2, 3, 4), "i2"))
    assert not list(tmp_path.iterdir())


def test_leftovers_of_killed_runs_go_and_those_in_use_stay(tmp_path):
    path, names = tmp_path / "a", lambda: {p.name for p in tmp_path.iterdir()}
    with atomic_path(path) as mine:
        dead = mine.with_name(mine.name.replace(".part", "x.part"))
        other = tmp_path / ".a.elsewhere.y.part"
        for file in (mine, dead, other):
            file.write_text("")
            os.utime(file, (time.time() - 60,) * 2)
        write_text(path, "second")
        assert names() == {"a", mine.name, other.name}
    os.utime(other, (time.time() - 90_000,) * 2)
    write_text(path, "third")
    assert names() == {"a"}
    assert path.read_text() == "third"


@needs_data
def test_real_series_as_mrcfile_reads_it():
    path = DATA / "exosome_position14" / "position14.mrc"
    stack, pixel, _ = open_image_stack(path)
    with mrcfile.mmap(path) as other:
        assert stack.shape == other.data.shape
        assert stack.dtype == other.data.dtype
        assert np.array_equal(stack[7], other.data[7])
        assert pixel == pytest.approx(float(other.voxel_size.x), rel=1e-6)
