"""IMOD's text files: right values on real ones, round trips, refusals that name the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiltwright.engine.errors import InputError
from tiltwright.engine.io import text

DATA = Path(__file__).parents[1].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data here")


def test_angles_and_transforms_round_trip(tmp_path):
    rng = np.random.default_rng(1)
    angles = rng.uniform(-70, 70, 41)
    text.write_angles(tmp_path / "a.tlt", angles, decimals=4)
    assert text.read_angles(tmp_path / "a.tlt", 41) == pytest.approx(angles, abs=6e-5)
    xf = rng.normal(0, 1, (41, 2, 3)) * [1, 1, 300]
    text.write_xf(tmp_path / "a.xf", xf)
    back = text.read_xf(tmp_path / "a.xf", 41)
    assert back[..., :2] == pytest.approx(xf[..., :2], abs=6e-8)
    assert back[..., 2] == pytest.approx(xf[..., 2], abs=6e-5)


def test_columns_of_a_transform(tmp_path):
    # a11 a12 a21 a22 dx dy, as the manual page of newstack has them.
    (tmp_path / "a.xf").write_text("1 2 3 4 5 6\r\n\r\n 1.5D+0 .5 -3e-1 4. +5 6\n")
    xf = text.read_xf(tmp_path / "a.xf")
    assert xf[0].tolist() == [[1, 2, 5], [3, 4, 6]]
    assert xf[1].tolist() == [[1.5, 0.5, 5], [-0.3, 4, 6]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1\n2\n", "2 angles for 3 views"),
        ("1\nnan\n3\n", "line 2"),
        ("1\n2 3\n4\n", "line 2 has 2 fields"),
        ("1\n2\n1e999\n", "line 3"),
        ("", "no angles"),
        ("1\n2\n361\n", "360"),
        ("1\n\0\n3\n", "not a text file"),
    ],
)
def test_bad_angles_name_file_and_line(tmp_path, content, words):
    path = tmp_path / "forty.tlt"
    path.write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        text.read_angles(path, 3)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_finite_is_not_written(tmp_path):
    for write, value in [
        (text.write_angles, [0.0, np.nan]),
        (text.write_xf, np.full((2, 2, 3), np.inf)),
        (text.write_xyz, text.Positions(np.full((1, 3), np.nan))),
    ]:
        with pytest.raises(InputError):
            write(tmp_path / "a", value)
    assert not list(tmp_path.iterdir())


def test_residuals_count_is_checked(tmp_path):
    path = tmp_path / "a.resid"
    path.write_text("     2 residuals\n 1.5 2.5 0 0.1 -0.2\n")
    with pytest.raises(InputError, match="1 residuals where 2 are announced"):
        text.read_resid(path)
    path.write_text("     1 residuals\n 1.5 2.5 0.5 0.1 -0.2\n")
    with pytest.raises(InputError, match="view numbers"):
        text.read_resid(path)


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda b: b.decode("latin-1")))
def test_any_text_gives_numbers_or_our_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(content.encode("utf-8", "replace"))
    for read in (text.read_angles, text.read_xf, text.read_xyz, text.read_resid):
        try:
            read(path)
        except InputError as exc:
            assert "\n" not in str(exc)  # noqa: PT017


@needs_data
@pytest.mark.parametrize(
    ("name", "n"),
    [("imod_bb/BBa.tlt", 61), ("imod_bb/BBa_fid.tlt", 61), ("formats/imod/TS_001.tlt", 40),
     ("formats/imod/TS_001.rawtlt", 40), ("formats/imod/test.rawtlt", 3)],
)  # fmt: skip
def test_real_angles(name, n):
    expected = [float(line) for line in (DATA / name).read_text().split()]
    assert text.read_angles(DATA / name, n).tolist() == expected


@needs_data
@pytest.mark.parametrize(
    ("name", "n"),
    [("imod_bb/BBa.xf", 61), ("imod_bb/BBa.tltxf", 61), ("imod_bb/BBa_fid.xf", 61),
     ("formats/imod/TS_001.xf", 40), ("formats/imod/test.xf", 3)],
)  # fmt: skip
def test_real_transforms(tmp_path, name, n):
    table = np.loadtxt(DATA / name)
    xf = text.read_xf(DATA / name, n)
    assert np.array_equal(xf[:, :, :2].reshape(-1, 4), table[:, :4])
    assert np.array_equal(xf[:, :, 2], table[:, 4:])
    text.write_xf(tmp_path / "a.xf", xf)
    assert np.array_equal(text.read_xf(tmp_path / "a.xf"), xf)


@needs_data
def test_real_positions_and_residuals(tmp_path):
    xyz = text.read_xyz(DATA / "imod_bb" / "BBafid.xyz")
    assert (len(xyz.xyz_px), xyz.pixel_size_a, xyz.dims) == (23, 20.2, (512, 512))
    assert xyz.xyz_px[1].tolist() == [297.69, 218.46, -34.81]
    assert np.unique(xyz.contours).size == 23
    text.write_xyz(tmp_path / "a.xyz", xyz)
    assert (tmp_path / "a.xyz").read_text() == (DATA / "imod_bb" / "BBafid.xyz").read_text()
    res = text.read_resid(DATA / "imod_bb" / "BBa.resid")
    table = np.loadtxt(DATA / "imod_bb" / "BBa.resid", skiprows=1)
    assert len(table) == 1403
    assert np.array_equal(np.column_stack([res.xy_px, res.views, res.residual_px]), table)
    # The README gives the mean residual of this run, 0.313 px.
    assert np.hypot(*res.residual_px.T).mean() == pytest.approx(0.313, abs=5e-4)
    text.write_resid(tmp_path / "a.resid", res)
    again = text.read_resid(tmp_path / "a.resid")
    assert np.array_equal(again.residual_px, res.residual_px)
    assert np.array_equal(again.xy_px, res.xy_px)


@needs_data
@pytest.mark.parametrize("name", ["BBa.zfac", "BBalocal.xf"])
def test_other_kinds_are_not_taken_for_transforms(name):
    with pytest.raises(InputError, match="fields"):
        text.read_xf(DATA / "imod_bb" / name)
