"""The HTML report: well-formed, honest about what is missing, and its pictures decode."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.report.page import ReportData, render, verdict, write_report
from tiltwright.engine.report.plots import scale_bar_nm
from tiltwright.engine.report.png import encode_png, grey, write_png
from tiltwright.engine.report.svg import number, ticks

VOID = {"meta", "img", "br"}


class Checker(HTMLParser):
    """Raises when a tag is closed that was not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text.append(data)


def checked(page: str) -> str:
    """Assert that the page is well-formed and without missing numbers; return its text."""
    parser = Checker()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    plain = re.sub(r"base64,[^\"]*", "", page)
    assert not re.search(r"\b(nan|NaN|inf|None)\b", plain)
    for attribute in re.findall(r'(?<=["\s])(?:href|src)="([^"]{0,40})', page):
        assert attribute.startswith("data:image/png;base64,")
    return " ".join(parser.text)


def decode(png: bytes) -> np.ndarray:
    """Decode an 8-bit grey PNG with filter 0, checking every checksum."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, body, size = 8, b"", (0, 0)
    while at < len(png):
        (n,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + n]
        assert struct.unpack(">I", png[at + 8 + n : at + 12 + n])[0] == zlib.crc32(kind + data)
        if kind == b"IHDR":
            nx, ny, depth, colour = struct.unpack(">IIBB", data[:10])
            assert (depth, colour) == (8, 0)
            size = (ny, nx)
        body += data if kind == b"IDAT" else b""
        at += 12 + n
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(size[0], size[1] + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def example(n_views: int = 41, n_tracks: int = 60, nx: int = 1024, ny: int = 1440) -> ReportData:
    """A solved series with two views left out and gaps."""
    rng = np.random.default_rng(3)
    tilt = np.linspace(-60, 60, n_views)
    g = ViewGeometry.nominal(tilt + rng.normal(0, 0.2, n_views), -84.5)
    g = replace(
        g,
        shift_px=rng.normal(0, 15, (n_views, 2)),
        axis_deg=g.axis_deg + rng.normal(0, 0.1, n_views),
        magnification=1 + rng.normal(0, 0.002, n_views),
    )
    xyz = rng.uniform(-0.4, 0.4, (n_tracks, 3)) * [ny, nx, 0]
    surface = rng.integers(0, 2, n_tracks)
    xyz[:, 2] = np.where(surface, 100, -100)
    measured = g.project(xyz)
    residual = rng.normal(0, 0.3, measured.shape)
    gaps = rng.random(measured.shape[:2]) < 0.06
    gaps[:, [4, 30]] = True
    measured[gaps], residual[gaps] = np.nan, np.nan
    used = np.ones(n_views, bool)
    used[[4, 30]] = False
    loo = np.hypot(residual[..., 0], residual[..., 1]) * 1.2
    steps = ("preprocess", "coarse-prealignment", "fiducial-model", "fiducial-alignment")
    summary = {
        "series": "TS <1>", "n_views": n_views, "excluded_views": [5, 31],
        "suspect_views": [
            {"view": 5, "reason": "blank: no contrast"},
            {"view": 31, "reason": "lost: beads do not fit <12 px>"},
        ],
        "n_fiducials": n_tracks, "n_points": int((~gaps).sum()),
        "completeness": float((~gaps).sum() / n_tracks / used.sum()),
        "mean_residual_px": 0.38, "leave_one_out_px": 0.45, "tilt_axis_deg": -84.51,
        "seconds": {**dict.fromkeys(steps, 2.5), "reconstruction": 9.1}, "peak_memory_mb": 640,
        "version": "0.1.0", "tomogram_pixel_size_a": 11.04,
    }  # fmt: skip

    def picture(h: int, w: int) -> np.ndarray:
        return rng.normal(size=(h, w)).astype(np.float32) + np.sin(np.arange(w) / 40)

    return ReportData(
        series="TS <1>", summary=summary, tilt_nominal_deg=tilt, geometry=g, used=used,
        measured_xy=measured, residual_px=residual, loo_px=loo, surface=surface,
        image_size=(nx, ny), variables="rotation: one; magnification: each view",
        candidates=[("rotation one", 0.61, 150), ("plus magnification", 0.45, 190)],
        slices={"XY": picture(nx, ny), "XZ": picture(300, ny), "YZ": picture(nx, 300)},
        thumbnail=picture(ny, nx), notes=["A & B"],
    )  # fmt: skip


def test_whole_page(tmp_path: Path) -> None:
    data = example()
    path = tmp_path / "r.html"
    write_report(path, data)
    page = path.read_text("utf-8")
    words = checked(page)
    assert "<1>" not in page
    assert "TS <1>" in words
    assert "lost: beads do not fit <12 px>" in words
    assert "39 of 41" in words
    for head in ("Suspect views", "Variables", "Tracks", "Errors", "Completeness", "Time"):
        assert f"<h2>{head}</h2>" in page
    assert page.count("data:image/png") == 4
    assert page.count('<g class="track') == 60
    assert "200 nm" in words


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_solved_yet(n: int) -> None:
    used = np.ones(n, bool)
    data = ReportData("s", {"n_views": n}, np.zeros(n), None, used, None, None, None, None, (8, 8))
    words = checked(render(data))
    assert "not aligned yet" in words
    assert "<h2>" not in render(data)


def test_unknown_numbers_and_empty_columns() -> None:
    data = example(5 + 30, 3, 64, 96)
    assert data.measured_xy is not None
    data.measured_xy[1] = np.nan
    assert data.residual_px is not None
    data.residual_px[1] = np.nan
    summary = {**data.summary, "completeness": float("nan"), "leave_one_out_px": None}
    unknown = [("x", float("nan"), 3), ("y", 0.5, 4)]
    page = render(replace(data, summary=summary, loo_px=None, surface=None, candidates=unknown))
    words = checked(page)
    assert "Completeness" in words
    assert page.count('<g class="track') == 2


def test_verdict() -> None:
    data = example(35, 3, 64, 96)
    assert verdict(data)[0] == "good"
    worse = replace(data, summary={**data.summary, "leave_one_out_px": 3.0})
    assert verdict(worse)[0] == "look"
    assert "leave-one-out" in verdict(worse)[1]


def test_sizes_that_disagree() -> None:
    data = example(35, 3, 64, 96)
    with pytest.raises(InputError, match="34 flags for 35 views"):
        render(replace(data, used=data.used[1:]))
    with pytest.raises(InputError, match="loo_px has 34 views"):
        render(replace(data, loo_px=np.zeros((3, 34))))


def test_tracks_stand_where_the_beads_are() -> None:
    data = example(35, 1, 64, 96)
    assert data.measured_xy is not None
    data.measured_xy[:] = np.nan
    data.measured_xy[0, 17] = (10.0, 20.0)
    circle = re.search(r'<circle cx="(\d+)" cy="(\d+)" r="', render(data))
    assert circle is not None
    assert circle.groups() == ("42", "28")


def test_png_decodes_back(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 5)).astype(np.uint8)
    np.testing.assert_array_equal(decode(encode_png(image)), image)
    write_png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(decode((tmp_path / "a.png").read_bytes()), image[::-1])
    for bad in (image.astype(np.float64), image[0], image[:0]):
        with pytest.raises(InputError):
            encode_png(bad)


def test_grey() -> None:
    ramp = np.tile(np.arange(100.0), (4, 1))
    ramp[0, 50] = np.nan
    out = grey(ramp, 0, 100)
    assert (out[0, 0], out[0, 99], out[3, 50]) == (0, 255, 0)
    assert (grey(np.full((3, 3), 7.0)) == 128).all()
    assert not grey(np.full((3, 3), np.nan)).any()
    assert grey(np.zeros((1440, 1024))).shape == (720, 512)
    quarters = np.kron([[0.0, 1.0], [2.0, 3.0]], np.ones((3, 3)))
    np.testing.assert_array_equal(grey(quarters, 0, 100, 2), [[170, 255], [0, 85]])


def test_small_helpers() -> None:
    assert number(-0.0001, 2) == "0.00"
    assert number(float("nan")) == number(None) == "–"
    assert number(-1.25, 2) == "−1.25"
    np.testing.assert_allclose(ticks(-0.3, 0.9), [0.0, 0.5])
    assert scale_bar_nm(1000, 10.0) == 200
    assert scale_bar_nm(10, 0.1) == 0
    page = base64.b64decode(re.findall(r"base64,([^\"]*)", render(example(35, 2, 40, 60)))[0])
    assert decode(page).shape == (60, 40)


def test_slices_share_one_scale() -> None:
    data = example(35, 2, 40, 60)
    shapes = {"XZ": (10, 60), "XY": (40, 60), "YZ": (40, 20)}
    page = render(replace(data, slices={k: np.eye(*v) for k, v in shapes.items()}))
    widths = re.findall(r"\* ([\d.]+)\)\">.*?alt=\"central (..) slice", page)
    assert widths == [("0.7500", "XY"), ("0.2500", "YZ"), ("0.7500", "XZ")]
    page = render(replace(data, slices={"XY": np.eye(40, 60), "YZ": np.eye(20, 40)}))
    assert re.findall(r"\* ([\d.]+)\)\">", page) == ["1.0000", "0.6667"]


def test_left_out_without_a_reason_is_named() -> None:
    data = example(35, 2, 40, 60)
    page = render(replace(data, summary={**data.summary, "suspect_views": []}))
    assert "Left out: views 5, 31." in page


def test_escapes_every_text() -> None:
    bad = "<script>alert('x')</script>\"&"
    data = example(35, 2, 40, 60)
    summary = {
        **data.summary,
        "suspect_views": [{"view": 5, "reason": bad}],
        "seconds": {bad: 1.0},
        "version": bad,
    }
    page = render(
        replace(
            data,
            series=bad,
            summary=summary,
            variables=bad,
            candidates=[(bad, 1.0, 2)],
            slices={bad: np.eye(30)},
            notes=[bad],
        )
    )
    assert "<script" not in page
    assert checked(page).count(bad) >= 8
