"""Readers and writers: right values, round trips, and only our own errors on damaged files."""

from __future__ import annotations

import random
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from tiltwright.engine.errors import InputError
from tiltwright.engine.io import mdoc, model_file, mrc, text
from tiltwright.engine.io.atomic import atomic_path
from tiltwright.engine.io.stack import open_image_stack

DATA = Path(__file__).parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data here")


@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "u2", "f2"])
def test_mrc_round_trip(tmp_path: Path, dtype: str) -> None:
    data = np.random.default_rng(1).integers(0, 99, (3, 5, 7)).astype(dtype)
    path = tmp_path / "a.mrc"
    with mrc.MrcWriter(path, (3, 5, 7), dtype, 5.52, (1, 2, 3), ["x"]) as writer:
        writer.write(1, data[1:])
        writer.write(0, data[:1])
    assert np.array_equal(mrc.open_stack(path), data)
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


def test_nothing_partial(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "a") as name:  # noqa: PT012
        name.write_text("half")
        raise KeyboardInterrupt
    with pytest.raises(InputError), atomic_path(tmp_path / "no" / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_fiducial_model_round_trip(tmp_path: Path) -> None:
    tracks = [np.array([[10.0, 20.0, v] for v in range(4)]), np.array([[1.5, 2.25, 3]])]
    size = {"nx": 64, "ny": 48, "n_views": 4, "pixel_size_a": 5.0}
    model_file.write_fiducial_model(tmp_path / "a.fid", tracks, **size, surfaces=[1, 2])
    back, surfaces = model_file.read_fiducial_model(tmp_path / "a.fid")
    assert surfaces == [1, 2]
    assert all(np.allclose(a, b) for a, b in zip(tracks, back, strict=True))
    assert model_file.read_model(tmp_path / "a.fid").size == (64, 48, 4)


def test_wrong_count(tmp_path: Path) -> None:
    text.write_angles(tmp_path / "a.tlt", np.arange(40.0))
    with pytest.raises(InputError, match="40 angles for 41 views"):
        text.read_angles(tmp_path / "a.tlt", 41)
    (tmp_path / "b.tlt").write_text("1\nnan\n")
    with pytest.raises(InputError, match="finite"):
        text.read_angles(tmp_path / "b.tlt")


@needs_data
def test_real_files(tmp_path: Path) -> None:
    for path in (DATA / "formats" / "model").iterdir():
        assert model_file.model_bytes(model_file.read_model(path)) == path.read_bytes()
    read = mdoc.read_mdoc(DATA / "formats" / "mdoc" / "serialem4_krios_g4.mdoc")
    assert read.tilt_axis_deg == 82.9
    assert read.pixel_size_a == 1.971
    assert read.doses is not None
    assert len(read.doses) == 60
    for name in ("xf", "xyz", "resid"):
        source = {"xf": "BBa.xf", "xyz": "BBafid.xyz", "resid": "BBa.resid"}[name]
        first = getattr(text, f"read_{name}")(DATA / "imod_bb" / source)
        getattr(text, f"write_{name}")(tmp_path / name, first)
        again = getattr(text, f"read_{name}")(tmp_path / name)
        for key in getattr(first, "__dict__", {"": 0}):
            a, b = (getattr(v, key) if key else v for v in (first, again))
            assert np.allclose(a, b)


@needs_data
def test_mutated_files_give_only_our_error(tmp_path: Path) -> None:
    mrc.write_mrc(tmp_path / "s.mrc", np.zeros((2, 3, 4), "i2"), 1.0)
    kinds = [(tmp_path / "s.mrc", open_image_stack)]
    kinds += [(p, model_file.read_model) for p in (DATA / "formats/model").iterdir()]
    kinds += [(p, mdoc.read_mdoc) for p in (DATA / "formats/mdoc").iterdir()]
    for name, read in [("BBa.xf", text.read_xf), ("BBa.tlt", text.read_angles)]:
        kinds.append((DATA / "imod_bb" / name, read))
    kinds.append((DATA / "imod_bb" / "BBafid.xyz", text.read_xyz))
    kinds.append((DATA / "imod_bb" / "BBa.resid", text.read_resid))
    sources = [(p.read_bytes()[:9000], read) for p, read in kinds]
    rng, path, refused = random.Random(5), tmp_path / "m", 0
    junk = [b"nan", b"-1", b"99999999999", b"1e999", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b""]
    for i in range(10_000):
        data, read = sources[i % len(sources)]
        out = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(min(len(out), rng.choice([240, 1024, 9000])) or 1)
            kind = rng.randrange(4)
            if kind == 0 and out:
                out[min(at, len(out) - 1)] = rng.randrange(256)
            elif kind == 1 and rng.random() < 0.3:
                del out[at:]
            else:
                out[at : at + (4 if kind == 2 else 0)] = rng.choice(junk)
        path.write_bytes(out)
        try:
            result = read(path)
            if isinstance(result, mdoc.Mdoc):
                _ = result.doses, result.tilt_axis_deg, result.acquisition_order, result.tilt_deg
        except InputError as exc:
            refused += 1
            assert "\n" not in str(exc)  # noqa: PT017
    assert 1000 < refused < 10_000
