"""IMOD models: imodmodel agrees with us in both directions, and nothing foreign is lost."""

from __future__ import annotations

import struct
from pathlib import Path

import imodmodel
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiltwright.engine.errors import InputError
from tiltwright.engine.io import model_file
from tiltwright.engine.io.model_file import Chunk, Contour, ModelFile, ModelObject

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "formats" / "model"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data here")
MODELS = ["multiple_objects", "point_sizes", "slicer_angle", "two_contour"]


def contours_of(frame: pd.DataFrame) -> list[np.ndarray]:
    keys = frame.groupby(["object_id", "contour_id"], sort=False)
    return [part[["x", "y", "z"]].to_numpy(np.float32) for _, part in keys]


def test_imodmodel_reads_our_fiducials_as_we_wrote_them(tmp_path):
    rng = np.random.default_rng(4)
    tracks = []
    for n in (41, 1, 17):
        views = np.sort(rng.choice(41, n, replace=False))
        tracks.append(np.column_stack([rng.uniform(-0.5, 1439.5, (n, 2)), views]))
    path = tmp_path / "a.fid"
    model_file.write_fiducial_model(
        path, tracks, nx=1440, ny=1024, n_views=41, pixel_size_a=5.52, surfaces=[1, 2, 0],
        bead_diameter_px=18.0, origin=(3.0, 4.0, 5.0),
    )  # fmt: skip
    theirs = contours_of(imodmodel.read(path))
    assert len(theirs) == 3
    for ours, other in zip(tracks, theirs, strict=True):
        # Edge coordinates in the file: half a pixel more in x and y, the view as it is.
        assert np.array_equal((ours + np.array([0.5, 0.5, 0])).astype(np.float32), other)
    model = imodmodel.ImodModel.from_file(path)
    assert (model.header.xmax, model.header.ymax, model.header.zmax) == (1440, 1024, 41)
    assert model.header.pixelsize == pytest.approx(0.552)
    assert model.header.units == -9
    assert model.objects[0].header.flags.open
    assert [c.header.surf for c in model.objects[0].contours] == [1, 2, 0]
    assert (model.objects[0].header.red, model.objects[0].header.green) == (0, 1)
    back, surfaces = model_file.read_fiducial_model(path)
    assert surfaces == [1, 2, 0]
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(tracks, back, strict=True))
    assert model_file.read_model(path).size == (1440, 1024, 41)


@pytest.mark.filterwarnings("ignore:The `dict` method is deprecated")
def test_we_read_what_imodmodel_saves(tmp_path):
    rng = np.random.default_rng(5)
    rows = [
        (obj, con, *rng.uniform(0, 999, 3).astype(np.float32))
        for obj, con, n in [(0, 0, 5), (0, 1, 3), (1, 0, 2)]
        for _ in range(n)
    ]
    frame = pd.DataFrame(rows, columns=["object_id", "contour_id", "x", "y", "z"])
    path = tmp_path / "theirs.mod"
    imodmodel.write(frame.copy(), path)
    ours = model_file.read_model(path)
    assert [len(o.contours) for o in ours.objects] == [2, 1]
    points = [c.points for o in ours.objects for c in o.contours]
    for a, b in zip(points, contours_of(frame), strict=True):
        assert np.array_equal(a, b)
    index, _ = model_file.read_fiducial_model(path)
    assert np.allclose(index[0][:, :2] + 0.5, points[0][:, :2], atol=1e-4)
    assert model_file.model_bytes(ours) == path.read_bytes()


@needs_data
@pytest.mark.parametrize("name", MODELS)
def test_foreign_models_as_imodmodel_sees_them(name, tmp_path):
    path = DATA / f"{name}_example.mod"
    ours = model_file.read_model(path)
    points = [c.points for o in ours.objects for c in o.contours]
    theirs = contours_of(imodmodel.read(path))
    assert len(points) == len(theirs) > 0
    assert all(np.array_equal(a, b) for a, b in zip(points, theirs, strict=True))
    assert model_file.model_bytes(ours) == path.read_bytes()
    model = imodmodel.ImodModel.from_file(path)
    assert [o.name for o in ours.objects] == [o.header.name.strip("\0") for o in model.objects]
    for o, p in zip(ours.objects, model.objects, strict=True):
        assert o.colour == pytest.approx((p.header.red, p.header.green, p.header.blue))


def chunks(model: ModelFile) -> list[tuple[bytes, bytes]]:
    out = [(c.kind, c.data) for c in model.items if isinstance(c, Chunk)]
    for item in model.objects:
        out += [(c.kind, c.data) for c in item.items if isinstance(c, Chunk)]
        out += [(c.kind, c.data) for contour in item.contours for c in contour.extra]
    return out


@needs_data
@pytest.mark.parametrize("name", MODELS)
def test_changing_one_contour_loses_nothing_else(name, tmp_path):
    path = DATA / f"{name}_example.mod"
    model = model_file.read_model(path)
    item = next(o for o in model.objects if o.contours)
    item.contours[0].points[0] += [0.25, -1, 0]
    model_file.write_model(tmp_path / "a.mod", model)
    before, after = path.read_bytes(), (tmp_path / "a.mod").read_bytes()
    assert len(before) == len(after)
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    # Eight bytes, x and y of one point, and no other.
    assert changed
    assert changed[-1] - changed[0] < 8
    # One contour more, with a point size chunk of its own: every other chunk is still there.
    extra = Chunk(b"LABL", struct.pack(">i", 4) + b"abcd")
    item.items.append(Contour(np.ones((3, 3), np.float32), surface=2, extra=[extra]))
    model_file.write_model(tmp_path / "b.mod", model)
    again = model_file.read_model(tmp_path / "b.mod")
    kept = chunks(again)
    kept.remove((b"LABL", extra.data))
    assert kept == chunks(model_file.read_model(path))
    theirs = contours_of(imodmodel.read(tmp_path / "b.mod"))
    assert any(np.array_equal(t, np.ones((3, 3))) for t in theirs)


@needs_data
def test_slicer_angles_and_meshes_survive_for_imodmodel(tmp_path):
    for name in ("slicer_angle", "multiple_objects"):
        path, out = DATA / f"{name}_example.mod", tmp_path / f"{name}.mod"
        model = model_file.read_model(path)
        for item in model.objects:
            for contour in item.contours:
                contour.points[:, 2] += 1
        model_file.write_model(out, model)
        a, b = (imodmodel.read(p, annotation="slicer_angles") for p in (path, out))
        pd.testing.assert_frame_equal(a, b)
        old, new = (imodmodel.ImodModel.from_file(p) for p in (path, out))
        for p, q in zip(old.objects, new.objects, strict=True):
            for m, n in zip(p.meshes, q.meshes, strict=True):
                assert np.array_equal(m.vertices, n.vertices)
                assert np.array_equal(m.indices, n.indices)


def test_a_mutated_count_takes_no_memory(tmp_path):
    path = tmp_path / "a.fid"
    model_file.write_fiducial_model(
        path, [np.ones((2, 3))], nx=9, ny=9, n_views=3, pixel_size_a=1.0
    )
    good = path.read_bytes()
    at = good.index(b"CONT") + 4
    for count in (-1, 2**31 - 1, 2**28, 3):
        path.write_bytes(good[:at] + struct.pack(">i", count) + good[at + 4 :])
        with pytest.raises(InputError, match=r"a\.fid"):
            model_file.read_model(path)


def test_points_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "a.fid"
    with pytest.raises(InputError, match="finite"):
        model_file.write_fiducial_model(
            path, [np.full((2, 3), np.nan)], nx=9, ny=9, n_views=3, pixel_size_a=1.0
        )
    assert not path.exists()


POINTS = st.lists(
    st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 3), max_size=5
).map(lambda rows: np.array(rows, np.float32).reshape(-1, 3))  # fmt: skip
CHUNKS = st.builds(
    lambda kind, body: Chunk(kind, struct.pack(">i", len(body)) + body),
    st.sampled_from([b"IMAT", b"MEPA", b"XYZW", b"LABL", b"SIZE"]),
    st.binary(max_size=20),
)
CONTOURS = st.builds(
    Contour, POINTS, st.integers(0, 2**32 - 1), st.integers(-9, 9), st.integers(0, 9),
    st.lists(CHUNKS.filter(lambda c: c.kind in (b"LABL", b"SIZE")), max_size=2),
)  # fmt: skip


@given(st.lists(st.lists(CONTOURS | CHUNKS.filter(lambda c: c.kind == b"IMAT"), max_size=4)))
def test_any_model_comes_back_the_same(objects):
    header = b"IMODV1.2" + bytes(232)
    items = [ModelObject(bytes(176), list(parts)) for parts in objects]
    first = model_file.model_bytes(ModelFile(header, list(items)))
    back = model_file.parse_model(first)
    assert model_file.model_bytes(back) == first
    for a, b in zip(items, back.objects, strict=True):
        assert [len(c.points) for c in a.contours] == [len(c.points) for c in b.contours]


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_give_a_model_or_our_error(data, headed):
    try:
        model_file.parse_model(b"IMODV1.2" + bytes(232) + data if headed else data)
    except InputError as exc:
        assert "\n" not in str(exc)  # noqa: PT017
