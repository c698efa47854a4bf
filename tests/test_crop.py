"""A part of a tomogram: the box exact, the turn by the convention, the origin right."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from scipy import ndimage

from tiltwright.engine.errors import Cancelled, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.io.mrc import open_stack, read_header
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.model.tomogram import Tomogram, open_tomogram
from tiltwright.engine.progress import Monitor
from tiltwright.engine.project.store import Place, load, save_outputs
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.crop import Crop
from tiltwright.engine.protocols.tomogram_making import origin_of, turn_of
from tiltwright.engine.recon.strips import Request
from tiltwright.engine.recon.wbp import reconstruct_series
from tiltwright.engine.volume import crop as module
from tiltwright.engine.volume.crop import crop_volume, turn


def slow(data, box, about_x_deg, about_y_deg):
    """What the turned volume holds at each voxel of the box, point by point."""
    (x0, x1), (y0, y1), (z0, z1) = box
    middle = np.array([x0 + x1, y0 + y1, z0 + z1]) / 2
    matrix = turn(about_x_deg, about_y_deg)
    out = np.empty((z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1))
    # The specimen's point at q comes to lie at matrix (q - middle) + middle.
    back = np.linalg.inv(matrix)
    for k, j, i in np.ndindex(out.shape):
        q = back @ (np.array([x0 + i, y0 + j, z0 + k]) - middle) + middle
        inside = (q > -1e-9).all() and (q < np.array(data.shape[::-1]) - 1 + 1e-9).all()
        out[k, j, i] = (
            ndimage.map_coordinates(data.astype(float), q[::-1, None], order=1, mode="nearest")[0]
            if inside else np.nan
        )  # fmt: skip
    return out


@pytest.mark.parametrize("kind", ["int8", "int16", "uint16", "float32", "float16"])
def test_the_box_is_exact(tmp_path, kind):
    rng = np.random.default_rng(1)
    data = rng.integers(0, 100, (21, 13, 17)).astype(kind)
    for box in (
        ((0, 16), (0, 12), (0, 20)), ((3, 9), (2, 2), (1, 19)), ((16, 16), (12, 12), (20, 20)),
        ((0, 0), (0, 12), (7, 8)),
    ):  # fmt: skip
        path = tmp_path / "out.mrc"
        shape = crop_volume(data, box, path, 5.52, labels=("one", "two"))
        (x0, x1), (y0, y1), (z0, z1) = box
        expected = data[z0 : z1 + 1, y0 : y1 + 1, x0 : x1 + 1]
        written = open_stack(path)
        assert written.shape == shape == expected.shape
        assert written.dtype == kind
        assert np.array_equal(written, expected)
        head = read_header(path)
        assert head.pixel_size_a == pytest.approx(5.52)
        assert head.labels == ["one", "two"]


@pytest.mark.parametrize("angles", [(7.0, 0.0), (0.0, -9.0), (5.0, 11.0), (-30.0, 45.0)])
@pytest.mark.parametrize("box", [((0, 13), (0, 10), (0, 15)), ((2, 12), (1, 8), (3, 14))])
def test_the_turn_agrees_with_the_slow_twin(tmp_path, angles, box):
    data = np.random.default_rng(2).normal(0, 10, (16, 11, 14)).astype(np.float32)
    crop_volume(data, box, tmp_path / "a.mrc", 1.0, about_x_deg=angles[0], about_y_deg=angles[1])
    out, twin = np.array(open_stack(tmp_path / "a.mrc")), slow(data, box, *angles)
    inside = np.isfinite(twin)
    assert inside.sum() > 0.3 * inside.size
    assert out[inside] == pytest.approx(twin[inside], abs=1e-3)
    assert np.unique(out[~inside]).size <= 1
    # Outside lies the mean of the volume, about.
    assert abs(out[~inside].mean() - data.mean()) < 0.2 if (~inside).any() else True


def test_interpreted_kernel_agrees():
    data = np.random.default_rng(5).normal(0, 10, (6, 5, 7)).astype(np.float32)
    matrix = np.ascontiguousarray(turn(4.0, -6.0).T)
    start, out, twin = np.array([0.2, 0.1, 0.3]), np.empty((3, 4, 5), np.float32), None
    module._turned(data, matrix, start, 1.5, out)
    twin = np.empty_like(out)
    module._turned.py_func(data, matrix, start, 1.5, twin)
    assert twin == pytest.approx(out, abs=1e-4)
    assert (out == 1.5).any()


def planes(shape: tuple[int, int, int], a: float, b: float) -> np.ndarray:
    """A specimen with two flat surfaces and a dot, turned by ``Ry(b) Rx(a)`` as conventions say."""
    nz, ny, nx = shape
    z, y, x = np.mgrid[:nz, :ny, :nx].astype(float)
    points = np.stack([x - (nx - 1) / 2, y - (ny - 1) / 2, z - (nz - 1) / 2], -1)
    a, b = np.deg2rad(a), np.deg2rad(b)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    flat = points @ (ry @ rx)  # the inverse, on rows
    surface = sum(np.exp(-((flat[..., 2] - height) ** 2) / 2) for height in (-9, 9))
    dot = np.exp(-(((flat - [12, 7, 9]) ** 2).sum(-1)) / 8)
    return (surface + 2 * dot).astype(np.float32)


def height_slope(data: np.ndarray) -> tuple[float, float]:
    """Slopes of the upper surface along x and y."""
    nz, ny, nx = data.shape
    top = np.arange(nz)[nz // 2 :, None, None]
    inner = (slice(None), slice(12, -12), slice(12, -12))
    part = np.maximum(data[nz // 2 :] - 0.2, 0)[inner]
    height = (part * top).sum(0) / part.sum(0)
    y, x = np.mgrid[: ny - 24, : nx - 24]
    basis = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1)
    slope = np.linalg.lstsq(basis, height.ravel(), rcond=None)[0]
    return float(slope[0]), float(slope[1])


@pytest.mark.parametrize(("a", "b"), [(8.0, 0.0), (0.0, 8.0), (-6.0, 0.0), (0.0, -5.0)])
def test_a_tilted_specimen_comes_to_lie_flat(tmp_path, a, b):
    data = planes((48, 56, 64), a, b)
    along_x, along_y = height_slope(data)
    # By the convention Rx lifts what lies at positive y, Ry lowers what lies at positive x.
    assert along_y == pytest.approx(np.tan(np.deg2rad(a)), abs=0.02)
    assert along_x == pytest.approx(-np.tan(np.deg2rad(b)), abs=0.02)
    box = ((0, 63), (0, 55), (0, 47))
    crop_volume(data, box, tmp_path / "a.mrc", 1.0, about_x_deg=-a, about_y_deg=-b)
    out = np.array(open_stack(tmp_path / "a.mrc"))
    assert height_slope(out) == pytest.approx((0, 0), abs=0.004)
    # And the dot is where the flat specimen has it.
    assert np.unravel_index(out.argmax(), out.shape) == pytest.approx(
        (47 / 2 + 9, 55 / 2 + 7, 63 / 2 + 12), abs=0.8
    )


def test_boxes_that_do_not_lie_in_the_volume(tmp_path):
    data = np.zeros((4, 5, 6), np.int16)
    good = {"x": (0, 5), "y": (0, 4), "z": (0, 3)}
    for axis, side, words in [
        ("x", (0, 6), "x from 1 to 7 does not lie within 1 to 6"),
        ("y", (-1, 4), "y from 0 to 5 does not lie within 1 to 5"),
        ("z", (3, 2), "z from 4 to 3 does not lie within 1 to 4"),
    ]:
        box = good | {axis: side}
        with pytest.raises(InputError, match=words):
            crop_volume(data, (box["x"], box["y"], box["z"]), tmp_path / "a.mrc", 1.0)
    with pytest.raises(InputError, match="one section"):
        crop_volume(data[:1], ((0, 5), (0, 4), (0, 0)), tmp_path / "a.mrc", 1.0, about_x_deg=1)
    assert list(tmp_path.iterdir()) == []


def test_cancelled_and_nothing_is_left(tmp_path):
    stop = Event()
    monitor = Monitor(lambda p: stop.set() if p.done >= 8 else None, stop)
    data = np.zeros((40, 5, 6), np.int16)
    with pytest.raises(Cancelled):
        crop_volume(data, ((0, 5), (0, 4), (0, 39)), tmp_path / "a.mrc", 1.0, monitor=monitor)
    assert list(tmp_path.iterdir()) == []


# The protocol


def tomogram_of(tmp_path: Path, data: np.ndarray) -> Tomogram:
    write_mrc(tmp_path / "t_rec.mrc", data, 5.0, labels=["recon", "int16 = (density - 3) * 7"])
    return open_tomogram(tmp_path / "t_rec.mrc", "t", (-10.0, -20.0, -30.0))


def test_counted_from_one_and_zero_is_the_edge(tmp_path):
    data = np.random.default_rng(1).integers(-99, 99, (7, 8, 9)).astype(np.int16)
    tomogram = tomogram_of(tmp_path, data)
    context = Context(folder=tmp_path)

    def cropped(**params: float) -> Tomogram:
        out: Tomogram = Crop.run({"tomogram": tomogram}, Crop.Params(**params), context)["tomogram"]
        return out

    whole = cropped()
    assert np.array_equal(whole.data, data)
    assert (whole.origin, whole.name) == (tomogram.origin, "t")
    out = cropped(x_from=2, x_to=9, y_from=1, y_to=1, z_from=7)
    assert np.array_equal(out.data, data[6:, :1, 1:])
    assert out.shape == (1, 1, 8)
    assert out.origin == (-9.0, -20.0, -24.0)
    assert out.pixel_size_a == 5.0
    # A point of the specimen stays where it is.
    assert out.data[0, 0, 3] == data[6, 0, 4]
    # How grey values are scaled is still said.
    assert read_header(out.path).labels == [
        "recon", "int16 = (density - 3) * 7", "Tiltwright: cropped tomogram"
    ]  # fmt: skip
    for params, words in [
        ({"x_from": 5, "x_to": 4}, "x from 5 to 4"), ({"z_to": 8}, "z from 1 to 8"),
        ({"y_from": 9}, "y from 9 to 8"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=words):
            cropped(**params)


@pytest.mark.parametrize(("offset", "x_tilt"), [(0.0, 0.0), (7.0, 0.0), (-6.0, 4.0)])
def test_beads_stay_right_from_the_projections_to_a_crop_of_a_crop(tmp_path, offset, x_tilt):
    """Beads are projected, reconstructed, turned twice, and found where the alignment has them."""
    beads = np.array([[14.0, 9.0, 6.0], [-12.0, 10.0, -5.0], [3.0, -13.0, 4.0]])
    tilt = np.arange(-60.0, 61.0, 3.0)
    one = replace(ViewGeometry.nominal(tilt, 0.0), x_tilt_deg=x_tilt)
    y, x = np.indices((64, 64)) - 31.5
    stack = np.zeros((len(tilt), 64, 64), np.float32)
    for track in one.project(beads):
        for v, (u, w) in enumerate(track):
            stack[v] += np.exp(-0.5 * ((x - u) ** 2 + (y - w) ** 2) / 1.5**2)
    request = Request(
        stack, one.transforms(), tilt, 48, 0.0, tmp_path / "t.mrc", 10.0, shift_x=2.0,
        shift_z=-1.5, angle_offset_deg=offset, x_tilt_deg=x_tilt, dtype="float32",
    )  # fmt: skip
    reconstruct_series(request)
    whole = open_tomogram(tmp_path / "t.mrc", "t", origin_of(request), turn=turn_of(request))
    context = Context(folder=tmp_path)
    made = [whole]
    for k, params in enumerate(
        ({"about_x_deg": 12.0, "about_y_deg": -8.0, "x_from": 5, "z_from": 4}, {"y_to": 60},
         {"about_y_deg": 15.0, "y_from": 3})
    ):  # fmt: skip
        (tmp_path / str(k)).mkdir()
        context = Context(folder=tmp_path / str(k))
        made.append(Crop.run({"tomogram": made[-1]}, Crop.Params(**params), context)["tomogram"])
    for tomogram in made:
        places = tomogram.voxels_of(beads)
        np.testing.assert_allclose(tomogram.specimen_of(places), beads, atol=1e-9)
        z, y, x = np.indices(tomogram.shape)
        for place in places:
            near = (x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2 < 36
            weight = np.where(near, np.maximum(np.asarray(tomogram.data), 0), 0) ** 2
            found = [(weight * axis).sum() / weight.sum() for axis in (x, y, z)]
            np.testing.assert_allclose(found, place, atol=0.35)
    place = Place(tmp_path, tmp_path)
    record = json.loads(json.dumps(save_outputs({"tomogram": made[-1]}, {}, place)))["tomogram"]
    assert load(record, place) == made[-1]


def test_a_tomogram_of_another_byte_order_is_turned(tmp_path):
    data = np.random.default_rng(1).integers(-99, 99, (8, 9, 10)).astype(np.int16)
    write_mrc(tmp_path / "little.mrc", data, 5.0)
    raw = bytearray((tmp_path / "little.mrc").read_bytes())
    # Words of four bytes, but for the four of text and the machine stamp.
    for at in [*range(0, 224, 4)]:
        if at not in (104, 208, 212):
            raw[at : at + 4] = raw[at : at + 4][::-1]
    raw[212:216] = b"\x11\x11\0\0"
    raw[1024:] = data.astype(">i2").tobytes()
    (tmp_path / "big.mrc").write_bytes(raw)
    assert struct.unpack(">i", raw[:4]) == (10,)
    assert np.array_equal(open_stack(tmp_path / "big.mrc"), data)
    made = []
    for name in ("little", "big"):
        tomogram = open_tomogram(tmp_path / f"{name}.mrc", name)
        params = Crop.Params(about_y_deg=10.0, z_from=2)
        context = Context(folder=tmp_path)
        made.append(np.array(Crop.run({"tomogram": tomogram}, params, context)["tomogram"].data))
    assert np.array_equal(made[0], made[1])


@pytest.mark.parametrize("kind", ["float16", "int8", "uint16"])
def test_all_types_can_be_turned(tmp_path, kind):
    data = np.random.default_rng(1).integers(0, 99, (8, 9, 10)).astype(kind)
    box = ((0, 9), (0, 8), (0, 7))
    crop_volume(data, box, tmp_path / "a.mrc", 1.0, about_x_deg=3)
    crop_volume(data.astype(np.float32), box, tmp_path / "b.mrc", 1.0, about_x_deg=3)
    a, b = np.array(open_stack(tmp_path / "a.mrc")), np.array(open_stack(tmp_path / "b.mrc"))
    assert a.dtype == kind
    assert np.abs(a - b).max() <= (0.5 if data.dtype.kind in "iu" else 0.05)
