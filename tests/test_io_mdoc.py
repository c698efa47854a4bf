"""mdocs of SerialEM and Tomo5: values looked up in the files, dose rules, order, axis."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiltwright.engine.errors import InputError
from tiltwright.engine.io import mdoc

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "formats" / "mdoc"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data here")


@needs_data
@pytest.mark.parametrize(
    ("name", "sections", "frame_sets", "axis", "pixel"),
    [
        ("tilt_series", 41, 0, 85.3, 5.4),
        ("serialem4_krios_g4", 60, 0, 82.9, 1.971),
        ("per_frame.mrc", 1, 0, 82.9, 1.971),
        # No title says the axis here: RotationAngle 178.414 less 90.
        ("frame_set_multiple", 20, 1, 88.414, 1.2827),
        ("montage_section_multiple", 90, 0, 85.5, 76.8),
    ],
)
def test_real_files(name, sections, frame_sets, axis, pixel):
    path = DATA / f"{name}.mdoc"
    read = mdoc.read_mdoc(path)
    assert (len(read.sections), len(read.frame_sets)) == (sections, frame_sets)
    assert read.tilt_axis_deg == pytest.approx(axis)
    assert read.pixel_size_a == pixel
    assert not read.is_tomo5
    # Every key of every section, taken from the text with other means.
    parts = re.split(r"^\[(\w+) = .*\]\s*$", path.read_text(), flags=re.M)[1:]
    kinds, texts = parts[::2], parts[1::2]
    blocks = [b for k, b in zip(kinds, texts, strict=True) if k in ("ZValue", "FrameSet")]
    blocks = blocks[frame_sets:]
    assert len(blocks) == sections
    for table, block in zip(read.sections, blocks, strict=True):
        said = dict(re.findall(r"^(\w+) = (.*?)\s*$", block, flags=re.M))
        assert said == {k: v for k, v in table.items() if k not in ("ZValue", "FrameSet")}
    tilt = read.tilt_deg
    assert tilt is not None
    assert tilt.tolist() == [
        float(m) for b in blocks for m in re.findall(r"^TiltAngle = (\S+)", b, flags=re.M)
    ]


@needs_data
def test_order_and_dose_of_a_dose_symmetric_series():
    read = mdoc.read_mdoc(DATA / "serialem4_krios_g4.mdoc")
    rank, tilt = read.acquisition_order, read.tilt_deg
    assert rank is not None
    assert tilt is not None
    dates = [
        datetime.strptime(s["DateTime"], "%d-%b-%y  %H:%M:%S") for s in read.sections
    ]  # fmt: skip
    assert np.array_equal(np.argsort(rank), np.argsort(dates))
    # dosym = 8.0: the series began there.
    assert tilt[rank == 0] == pytest.approx([8.0], abs=0.1)
    assert read.doses == pytest.approx(np.full(60, 2.23843))
    prior = read.prior_doses
    assert prior is not None
    assert prior[0] == 134.379
    assert np.array_equal(np.argsort(prior), np.argsort(rank))
    assert read.frame_names[:2] == ["017_01.mrc", "017_02.mrc"]


@needs_data
def test_a_series_without_dose_says_so():
    read = mdoc.read_mdoc(DATA / "tilt_series.mdoc")
    assert read.doses is None
    assert read.prior_doses is None
    assert read.acquisition_order is not None
    assert read.acquisition_order.tolist() == list(range(41))
    assert read.frame_names[0] == "TS_01_000_0.0.mrc"


def series(*sections: str, head: str = "") -> mdoc.Mdoc:
    body = "\n".join(f"[ZValue = {i}]\nTiltAngle = {3 * i}\n{s}" for i, s in enumerate(sections))
    return mdoc.parse_mdoc(f"{head}\n{body}")


@pytest.mark.parametrize(
    ("lines", "dose"),
    [
        # Each rule goes before those below it; a 0 says nothing.
        ("ExposureDose = 3.1\nFrameDosesAndNumber = 0.5 4\nDoseRate = 9\nExposureTime = 9", 3.1),
        ("ExposureDose = 0\nFrameDosesAndNumber = 0.5 4 0.25 2\nDoseRate = 9", 2.5),
        # 10 e per unbinned pixel and second, 2 s, unbinned pixels of 2 A.
        ("DoseRate = 10\nExposureTime = 2\nPixelSpacing = 4\nBinning = 2", 5.0),
        # Mean count 160 at 8 counts per electron on 2 A pixels, and halved counts.
        ("MinMaxMean = 0 9 160\nCountsPerElectron = 8\nPixelSpacing = 2", 5.0),
        ("MinMaxMean = 0 9 160\nCountsPerElectron = 8\nPixelSpacing = 2\nDividedBy2 = 1", 10.0),
        ("MinMaxMean = 0 9 160\nPixelSpacing = 2", None),
        ("ExposureDose = nan\n", None),
    ],
)
def test_dose_rules(lines, dose):
    found = series(lines).dose(0)
    assert found == (None if dose is None else pytest.approx(dose))


def test_prior_dose_is_summed_in_order_of_acquisition():
    stamps = ["10:00:02", "09:00:00", "10:00:01"]
    read = series(
        *(
            f"ExposureDose = {d}\nDateTime = 2024-Mar-05 {t}"
            for d, t in zip((1, 2, 4), stamps, strict=True)
        )
    )
    assert read.acquisition_order is not None
    assert read.acquisition_order.tolist() == [2, 0, 1]
    assert read.prior_doses is not None
    assert read.prior_doses.tolist() == [6, 0, 2]


@pytest.mark.parametrize(
    ("head", "axis"),
    [
        ("[T = SerialEM: x]\n[T =   Tilt axis angle = 85.3, binning = 1]", 85.3),
        ("[T = SerialEM: x]\n[T =   Tilt axis angle = -84.5, binning = 1]", -84.5),
        # Tomo5 states the angle from another direction: -angle - 90.
        ("[T = TOMOGRAPHY: Tomography5]\n[T =   Tilt axis angle = -5.5, binning = 1]", -84.5),
        ("[T = Tomography]\nRotationAngle = 174.5", 95.5),
        ("[T = SerialEM: x]\nRotationAngle = 175.3", 85.3),
        ("[T = SerialEM: Tomography session]\nRotationAngle = 175.3", 85.3),
        ("[T = SerialEM: x]", None),
    ],
)
def test_tilt_axis(head, axis):
    assert series("", head=head).tilt_axis_deg == (None if axis is None else pytest.approx(axis))


def test_tomo5_can_be_said():
    head = "[T =   Tilt axis angle = -5.5]"
    assert series("", head=head).axis(tomo5=True) == pytest.approx(-84.5)
    assert series("", head=head).axis(tomo5=False) == pytest.approx(-5.5)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("30-Nov-15  15:21:38", datetime(2015, 11, 30, 15, 21, 38)),
        ("06-Jun-2023  22:53:42", datetime(2023, 6, 6, 22, 53, 42)),
        ("2023-06-06T22:53:42", datetime(2023, 6, 6, 22, 53, 42)),
        ("2023-Jun-06 22:53:42", datetime(2023, 6, 6, 22, 53, 42)),
        ("31-Feb-23  22:53:42", None),
        ("yesterday", None),
    ],
)
def test_dates(text, date):
    assert mdoc.parse_date(text) == date


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "utf-8-sig"])
def test_encodings_and_line_ends(tmp_path, encoding):
    path = tmp_path / "a.mdoc"
    text = "PixelSpacing = 2\r\nOperator = Jürgen\r\n\r\n[ZValue = 0]\r\nTiltAngle = 3\r\n"
    path.write_bytes(text.encode(encoding))
    read = mdoc.read_mdoc(path)
    assert read.values["Operator"] == "Jürgen"
    assert read.tilt_deg is not None
    assert read.tilt_deg.tolist() == [3]


def test_no_sections_is_no_mdoc(tmp_path):
    path = tmp_path / "a.mdoc"
    path.write_text("PixelSpacing = 2\n")
    with pytest.raises(InputError, match=r"a\.mdoc: not an mdoc"):
        mdoc.read_mdoc(path)


LINES = st.sampled_from(
    ["[ZValue = 0]", "[FrameSet = 0]", "[T = Tilt axis angle = ", "TiltAngle = ", "DateTime = ",
     "ExposureDose = ", "PriorRecordDose = ", "PixelSpacing = ", "Binning = ", "DoseRate = ",
     "ExposureTime = ", "MinMaxMean = 0 1 ", "CountsPerElectron = ", "FrameDosesAndNumber = ",
     "RotationAngle = "]
)  # fmt: skip
VALUES = st.text(max_size=12) | st.floats().map(str) | st.sampled_from(["0", "1e308", "-1", "]"])


@given(st.lists(st.tuples(LINES, VALUES), max_size=25))
def test_any_mdoc_gives_finite_numbers_or_our_error(lines):
    try:
        read = mdoc.parse_mdoc("\n".join(a + b for a, b in lines))
    except InputError as exc:
        assert "\n" not in str(exc)  # noqa: PT017
        return
    for values in (read.tilt_deg, read.doses, read.prior_doses, read.acquisition_order):
        assert values is None or (len(values) == len(read.sections) and np.isfinite(values).all())
    for value in (read.tilt_axis_deg, read.pixel_size_a):
        assert value is None or np.isfinite(value)
