"""CTF tables: the files of other programs, their conventions, and to which views they belong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tiltwright.engine.ctf.model import Defocus, Optics
from tiltwright.engine.errors import InputError
from tiltwright.engine.io.ctf_text import read_ctf, read_ctf_star, read_ctffind, read_warp_xml
from tiltwright.engine.io.defocus import read_defocus
from tiltwright.engine.model.ctf_table import CtfTable, read_table, table_of_rows, write_table
from tiltwright.engine.model.tilt_series import TiltSeries

DATA = Path(__file__).parents[2] / "shared/data/formats/ctf"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/formats is missing")

CTFFIND = """# Output from CTFFind version 5.0
# Pixel size: 1.3 Angstroms ; acceleration voltage: 200.0 keV ; spherical aberration: 1.40 mm ; \
amplitude contrast: 0.08
# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; ...
1.0 20000.0 19000.0 30.0 0.5 0.1 6.0 10.0 20.0 1500.0
2.0 19000.0 20000.0 80.0 0.5 0.1 inf 10.0 20.0 1500.0
3.0 20500.0 19000.0 -45.0 0.5 0.1 7.0 10.0 20.0 1500.0
"""
STAR = """# version 50001
data_optics

loop_
_rlnVoltage #1
_rlnSphericalAberration #2
_rlnAmplitudeContrast #3
200.0 1.4 0.08

data_TS_01

loop_
_rlnMicrographName #1
_rlnMicrographPreExposure #2
_rlnTomoNominalStageTiltAngle #3
_rlnDefocusU #4
_rlnDefocusV #5
_rlnDefocusAngle #6
_rlnPhaseShift #7
"frames/a 1.mrc" 3.0 -3.0 21000 20000 10 0
frames/b.mrc 0.0 0.0 22000 20000 10 0
frames/c.mrc 6.0 3.0 23000 20000 10 0
"""


def series(tilts=(-3.0, 0.0, 3.0), order=(2, 1, 3), order_known=True):
    n = len(tilts)
    return TiltSeries(
        Path("x.mrc"), np.zeros((n, 64, 64), np.float32), np.array(tilts, float), -84.5, 2.0,
        np.zeros(n, bool), order=np.array(order), order_known=order_known, name="x",
    )  # fmt: skip


def real_series(path, n=None):
    tilts = np.loadtxt(path)
    tilts = tilts[:n]
    return series(tilts, np.argsort(np.argsort(np.abs(tilts + 0.01))) + 1)


@needs_data
def test_warp_xml():
    rows = read_warp_xml(DATA / "017_warp.xml")
    assert len(rows) == 60
    assert (rows.u_a[0] + rows.v_a[0]) / 2 == pytest.approx(34098.15)
    assert rows.u_a[0] - rows.v_a[0] == pytest.approx(191.4939)
    assert rows.angle_deg[0] == pytest.approx(-16)  # 164, turned into -90 to 90
    assert rows.dose[1] == pytest.approx(132.0675)
    assert rows.used.all()
    assert rows.optics["amplitude_contrast"] == 0.07
    plain = real_series(DATA / "017.tlt")
    table = table_of_rows(rows, replace(plain, order_known=False), DATA / "017_warp.xml")
    assert table.optics.cs_mm == pytest.approx(2.7)
    assert table.row_of_view(plain).tolist() == list(range(60))


@needs_data
def test_ctffind_and_gctf():
    a = read_ctf(DATA / "017_ctffind4.txt")
    assert (len(a), a.u_a[0], a.v_a[0]) == (60, 14477.870117, 13500.001953)
    assert a.resolution_a[-1] == 6.176948
    b = read_ctf(DATA / "017_gctf.star")
    # The second row has u below v: turned by 90 degrees.
    assert (b.u_a[1], b.v_a[1]) == (35647.824219, 34332.652344)
    assert b.angle_deg[1] == pytest.approx(10.495987 - 90)
    assert b.optics["voltage_kv"] == 300
    for rows, name in ((a, "017_ctffind4.txt"), (b, "017_gctf.star")):
        assert len(table_of_rows(rows, real_series(DATA / "017.tlt"), DATA / name)) == 60


@needs_data
def test_defocus_of_every_version():
    plain = read_ctf(DATA / "TS_03_plain_estimation.defocus")
    assert (len(plain), plain.u_a[0], plain.v_a[0]) == (40, 13600, 13600)
    astigmatism = read_ctf(DATA / "TS_03_only_astigmatism.defocus")
    assert (astigmatism.u_a[0], astigmatism.v_a[0]) == (16516, 12067)
    assert astigmatism.angle_deg[0] == 31.76
    assert not astigmatism.phase_shift_deg.any()
    whole = read_ctf(DATA / "TS_03_astigmatism_phase_shift_and_cutoff_freq.defocus")
    assert whole.phase_shift_deg[0] == 29.08
    assert whole.cut_on_per_nm[0] == 0.4912
    assert whole.tilt_deg[0] == -57
    assert whole.views[-1].tolist() == [39, 39]


def test_conventions_of_text(tmp_path):
    (tmp_path / "c.txt").write_text(CTFFIND)
    rows = read_ctffind(tmp_path / "c.txt")
    assert rows.u_a.tolist() == [20000, 20000, 20500]
    assert rows.angle_deg.tolist() == pytest.approx([30, -10, -45])
    assert rows.phase_shift_deg == pytest.approx(np.rad2deg(0.5))
    assert np.isnan(rows.resolution_a[1])
    assert rows.optics == {"voltage_kv": 200.0, "cs_mm": 1.4, "amplitude_contrast": 0.08}
    (tmp_path / "r.star").write_text(STAR)
    rows = read_ctf_star(tmp_path / "r.star")
    assert rows.optics["cs_mm"] == 1.4
    table = table_of_rows(rows, series(), tmp_path / "r.star")
    # Doses rank the rows: the second was acquired first.
    assert table.order.tolist() == [2, 1, 3]
    assert table.defocus_u_a[table.row_of_view(series())].tolist() == [21000, 22000, 23000]


def test_rows_find_their_views_by_the_order_of_acquisition(tmp_path):
    (tmp_path / "r.star").write_text(STAR)
    table = table_of_rows(read_ctf(tmp_path / "r.star"), series(), tmp_path / "r.star")
    shorter = series((0.0, 3.0), (1, 3))
    assert table.defocus_u_a[table.row_of_view(shorter)].tolist() == [22000, 23000]
    other = series((0.0, 3.0, 6.0), (1, 3, 7))
    assert table.row_of_view(other).tolist() == [1, 2, -1]


def test_ranges_of_views(tmp_path):
    path = tmp_path / "x.defocus"
    path.write_text("1 2 -3 0 2000 2\n2 3 0 3 2200\n")
    table = table_of_rows(read_defocus(path), series(), path)
    assert table.defocus_u_a.tolist()[::2] == [20000, 22000]
    path.write_text("0 0 -3 -3 2000\n1 1 0 0 2100\n2 2 3 3 2200\n")
    old = table_of_rows(read_defocus(path), series(), path)
    assert old.defocus_u_a.tolist() == [20000, 21000, 22000]
    path.write_text("15 0 0 0 0 3\n1 1 -3 -3 2000 1900 0.5 1.5\n")
    radians = read_defocus(path)
    assert radians.angle_deg[0] == pytest.approx(np.rad2deg(0.5))
    assert radians.phase_shift_deg[0] == pytest.approx(np.rad2deg(1.5))
    path.write_text("17 0 0 0 0 3\n1 1 3 3 2000 1900 10\n")
    assert read_defocus(path).tilt_deg[0] == -3


def table(**changes):
    n = 3
    blank = np.full(n, np.nan)
    values = {
        "order": np.array([2, 1, 3]), "tilt_deg": np.array([-3.0, 0, 3]),
        "defocus_u_a": np.array([20000.0, 21000, 22000]),
        "defocus_v_a": np.array([19000.0, 20000, 21000]), "angle_deg": np.array([10.0, 20, -30]),
        "phase_shift_deg": np.array([10.0, 20, 30]), "cut_on_per_nm": np.array([0.1, 0.2, 0.3]),
        "score": np.array([0.5, np.nan, 0.75]), "resolution_a": blank, "sigma_a": blank,
        "used": np.array([True, False, True]), "hand": -1, "hand_confidence": 0.9,
    }  # fmt: skip
    return CtfTable(**{**values, **changes})


def test_a_table_survives_its_files(tmp_path):
    made = table(optics=Optics(200, 1.4, 0.08))
    csv, defocus = write_table(tmp_path, "x", made, series())
    again = read_table(csv, made.optics, -1, 0.9)
    for name in ("order", "defocus_u_a", "angle_deg", "score", "cut_on_per_nm", "used"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    rows = read_defocus(defocus)
    assert defocus.read_text().startswith("37\t0\t0.0\t0.0\t0.0\t3\n")
    np.testing.assert_array_equal(rows.u_a, made.defocus_u_a)
    np.testing.assert_array_equal(rows.phase_shift_deg, made.phase_shift_deg)
    assert table_of_rows(rows, series(), defocus).order.tolist() == [2, 1, 3]
    edited = made.with_row(1, Defocus(30000, 29000, 5))
    assert edited.defocus_u_a.tolist() == [20000, 30000, 22000]
    assert made.defocus_u_a[1] == 21000
    assert made.describe() == "3 views, defocus 1.95 to 2.15 µm"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"defocus_u_a": np.array([2e4, np.nan, 2e4])}, "acquired as number 1"),
        ({"order": np.array([1, 1, 2])}, "two rows"),
        ({"angle_deg": np.zeros(2)}, "angle_deg for 3 views"),
        ({"hand": 2}, "hand 2"),
    ],
)
def test_a_damaged_table_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        table(**changes)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.txt", CTFFIND.replace("20500.0", "nan"), "row 3: defocus nan"),
        ("c.txt", CTFFIND.replace("20500.0", "abc"), "line 6: 'abc' is not a number"),
        ("c.txt", CTFFIND.replace("2.0 19000.0 20000.0 80.0 0.5 0.1 inf 10.0 20.0 1500.0", "2 3"),
         "line 5 has 2 columns"),
        ("c.txt", "# Output from CTFFind\n", "no defocus values"),
        ("r.star", STAR.replace(" 10 0\nframes/c", " 10\nframes/c"), "columns"),
        ("r.star", STAR.replace("22000", "nan"), "row 2: defocus nan"),
        ("r.star", STAR.replace("rlnDefocusU", "rlnOther"), "rlnDefocusU"),
        ("x.defocus", "", "no defocus values"),
        ("x.defocus", "1 1 0 0 nan 2\n", "row 1: defocus nan"),
        ("x.defocus", "1 1 0 0 2000 9\n", "version"),
        ("x.defocus", "1 0 0 0 0 3\n1 1 0 0 2000\n", "5 columns, not 7"),
        ("x.defocus", "99 0 0 0 0 3\n1 1 0 0 2000\n", "flags 99"),
        ("w.xml", "<TiltSeries><Angles>1 2</Angles></TiltSeries>", "GridCTF"),
        ("w.xml", "<TiltSeries><Angles>1 2", "damaged XML"),
        ("w.xml", "<Movie/>", "not the XML of a tilt series"),
        ("w.xml", "<TiltSeries><Angles>1 2 3</Angles><GridCTF><Node Z='0' Value='2'/>"
         "<Node Z='1' Value='2'/></GridCTF></TiltSeries>", "2 values for 3 tilts"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_ctf(path)
    assert str(path) in str(caught.value)


def test_other_views_are_refused(tmp_path):
    path = tmp_path / "r.star"
    path.write_text(STAR)
    rows = read_ctf(path)
    with pytest.raises(InputError, match="3 views, x has 2"):
        table_of_rows(rows, series((-3.0, 0.0), (2, 1)), path)
    with pytest.raises(InputError, match="these are other views"):
        table_of_rows(rows, series((-3.0, 0.0, 9.0)), path)
    (tmp_path / "c.txt").write_text(CTFFIND)
    with pytest.raises(InputError, match="view 3, x has 2 views"):
        table_of_rows(read_ctf(tmp_path / "c.txt"), series((-3.0, 0.0), (2, 1)), path)


@needs_data
@pytest.mark.parametrize("seed", range(12))
def test_broken_files_give_typed_errors(tmp_path, seed):
    rng = np.random.default_rng(seed)
    for path in sorted(DATA.iterdir()):
        data = bytearray(path.read_bytes()[: int(rng.integers(1, path.stat().st_size))])
        for at in rng.integers(0, len(data), 8):
            data[at] = rng.integers(0, 256)
        broken = tmp_path / path.name
        broken.write_bytes(bytes(data))
        try:
            rows = read_ctf(broken)
        except InputError:
            continue
        assert np.isfinite([rows.u_a, rows.v_a, rows.angle_deg, rows.phase_shift_deg]).all()
