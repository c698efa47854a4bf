"""Foreign alignments (AreTomo, Etomo) and series of single images."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.io import aretomo, etomo, frames
from tiltwright.engine.io.model_file import write_fiducial_model
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.io.text import read_xf, write_angles, write_xf
from tiltwright.engine.stack.frame import BinnedFrame

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "formats"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data here")

# AreTomo


@needs_data
def test_real_aln():
    read = aretomo.read_aln(DATA / "aretomo" / "test.aln")
    assert read.raw_size == (2032, 2032, 90)
    assert read.section.tolist() == [1, 2, 3, 4]
    assert read.rot_deg.tolist() == [-12.6611] * 4
    assert read.tilt_deg.tolist() == [-61.5, -60, -58.5, -57]
    assert read.shift_px[1].tolist() == [34.451, -8.599]
    assert [tuple(d) for d in read.dark] == [
        (1, 0, -66), (2, 0, -64.5), (88, 0, 66), (89, 0, 67.5)
    ]  # fmt: skip
    assert (read.n_patches, read.local.shape) == (16, (6, 7))
    assert read.local[2].tolist() == [0, 2, 19.88, -701.35, 29.18, -5.75, 1]
    # The file's sections are those of another count: the tilt angles put it right.
    nominal = -66 + 1.5 * np.arange(90)
    placed = aretomo.place(read, 90, nominal)
    assert placed.views.tolist() == [3, 4, 5, 6]
    assert placed.excluded.sum() == 86
    with pytest.raises(InputError, match="90 views"):
        aretomo.place(read, 41)


def alignment(**changes):
    values = {
        "section": np.array([2, 3, 5]), "rot_deg": np.array([-84.5, -84.0, -85.0]),
        "shift_px": np.array([[10.0, -4.0], [0.0, 0.0], [-3.5, 7.25]]),
        "tilt_deg": np.array([-3.0, 0.0, 6.0]), "raw_size": (1440, 1024, 5),
        "dark": (aretomo.DarkFrame(0, 1, -6.0), aretomo.DarkFrame(3, 4, 3.0)),
    }  # fmt: skip
    return aretomo.AreTomoAlignment(**(values | changes))


def test_signs_agree_with_our_projection():
    # The specimen's centre is seen at TX, TY; the axis at ROT. That is our geometry's s and phi.
    aln = alignment()
    assert aln.transforms.shape == (3, 2, 3)
    for i, xf in enumerate(aln.transforms):
        single = ViewGeometry.nominal(aln.tilt_deg[i : i + 1], float(aln.rot_deg[i]))
        expected = single.with_shifts(aln.shift_px[i : i + 1]).transforms()[0]
        assert xf == pytest.approx(expected)
        # The raw position of the centre goes to the aligned centre.
        assert xf[:, :2] @ aln.shift_px[i] + xf[:, 2] == pytest.approx([0, 0], abs=1e-9)
        # A step along the tilt axis in the raw image becomes one along y.
        phi = np.deg2rad(aln.rot_deg[i])
        assert xf[:, :2] @ [-np.sin(phi), np.cos(phi)] == pytest.approx([0, 1])


def test_views_are_placed_whatever_the_count_starts_from():
    nominal = np.array([-6.0, -3, 0, 3, 6])
    expected = [1, 2, 4]
    for aln in (
        alignment(),
        alignment(section=np.array([1, 2, 4])),
        # Angles with AreTomo's offset added.
        alignment(tilt_deg=np.array([-1.0, 2, 8]), alpha_offset_deg=2.0),
    ):
        placed = aretomo.place(aln, 5, nominal)
        assert placed.views.tolist() == expected
        assert placed.excluded.tolist() == [True, False, False, True, False]
        assert placed.tilt_deg[[0, 3]].tolist() == [-6, 3]
        assert placed.transforms[[0, 3]] == pytest.approx(np.tile(np.eye(2, 3), (2, 1, 1)))
        assert placed.axis_deg[expected].tolist() == aln.rot_deg.tolist()
    # A stack in order of acquisition, where sections say nothing that fits.
    shuffled = np.array([0.0, 3, -3, -6, 6])
    assert aretomo.place(alignment(), 5, shuffled).views.tolist() == [2, 0, 4]
    # Without angles: from 0 where a 0 occurs.
    zero = alignment(section=np.array([0, 1, 3]), dark=())
    assert aretomo.place(zero, 5).views.tolist() == [0, 1, 3]
    assert aretomo.place(alignment(), 5).views.tolist() == expected


@pytest.mark.parametrize("section", [[2, 3, 6], [2, 2, 5]])
def test_sections_that_do_not_fit_are_refused(section):
    with pytest.raises(InputError, match="does not fit"):
        aretomo.place(alignment(section=np.array(section)), 5)
    with pytest.raises(InputError, match="does not fit"):
        aretomo.place(alignment(section=np.array(section)), 5, [10, 20, 30, 40, 50])


def test_aln_round_trip_and_export(tmp_path):
    local = np.array([[0, 0, -558.42, -802, -100.07, 24.43, 1]])
    aln = alignment(local=local, n_patches=1, thickness_px=300, alpha_offset_deg=2.5)
    aretomo.write_aln(tmp_path / "a.aln", aln)
    back = aretomo.read_aln(tmp_path / "a.aln")
    for name in ("section", "rot_deg", "shift_px", "tilt_deg", "local"):
        assert getattr(back, name) == pytest.approx(getattr(aln, name))
    assert (back.raw_size, back.dark, back.thickness_px) == (aln.raw_size, aln.dark, 300)
    assert back.alpha_offset_deg == 2.5
    nominal = np.array([-6.0, -3, 0, 3, 6])
    placed = aretomo.place(aln, 5, nominal)
    again = aretomo.aln_from_transforms(
        placed.transforms, placed.tilt_deg, (1440, 1024), placed.excluded
    )
    assert again.dark == aln.dark
    assert again.section.tolist() == [2, 3, 5]
    assert again.transforms == pytest.approx(aln.transforms)
    assert again.rot_deg == pytest.approx(aln.rot_deg)
    assert again.shift_px == pytest.approx(aln.shift_px)
    stretched = placed.transforms.copy()
    stretched[1, :, :2] *= 1.01
    with pytest.raises(InputError, match="distortion"):
        aretomo.aln_from_transforms(stretched, placed.tilt_deg, (9, 9), placed.excluded)


# Etomo


@needs_data
def test_real_etomo_folder(tmp_path):
    project = etomo.read_etomo(DATA / "imod")
    assert (project.name, project.stack, project.fiducials) == ("TS_001", None, None)
    assert (project.axis_deg, project.bead_diameter_nm) == (83.9, 6.0)
    assert project.pixel_size_a == pytest.approx(6.192)
    assert project.excluded == (39,)
    assert project.transforms == pytest.approx(read_xf(DATA / "imod" / "TS_001.xf", 40))
    assert project.tilt_deg is not None
    assert project.nominal_deg is not None
    assert (project.tilt_deg[0], project.nominal_deg[0]) == (-57.12, -60.0)
    # The axis angle and the transforms agree: rot is minus the axis.
    xf = project.transforms
    assert xf is not None
    rot = np.rad2deg(np.arctan2(xf[:, 1, 0], xf[:, 0, 0]))
    assert rot == pytest.approx(np.full(40, -83.9), abs=0.5)
    assert (project.aligned_binning, project.thickness) == (2, 900)
    assert project.prealigned_binning == 8
    assert (project.mean_residual, project.residual_unit) == (0.360, "nm")
    assert project.options["align.log"]["rotationangle"] == "85.0"
    assert project.options["align.log"]["modelfile"] == "220728_TS_01.fid"
    assert project.options["tilt"]["radial"] == "0.35 0.035"
    assert project.options["newst"]["offsetsinxandy"] == "0.0,0.0"
    shutil.copy(DATA / "imod" / "TS_001.edf", tmp_path)
    write_angles(tmp_path / "TS_001.tlt", np.zeros(41))
    write_xf(tmp_path / "TS_001.xf", np.zeros((40, 2, 3)))
    with pytest.raises(InputError, match=r"\.xf 40, \.tlt 41"):
        etomo.read_etomo(tmp_path)


@pytest.mark.parametrize(("size", "binning"), [((1440, 1024), 4), ((1023, 1440), 4), ((90, 81), 1)])
def test_fiducials_go_back_through_the_prealignment(tmp_path, size, binning):
    rng = np.random.default_rng(6)
    (tmp_path / "s.edf").write_text("#x\nSetup.DatasetName=s\nSetup.PixelSize=0.138\n")
    (tmp_path / "prenewst.com").write_text(f"$newstack -StandardInput\nBinByFactor\t{binning}\n")
    pre = np.tile(np.eye(2, 3), (5, 1, 1))
    pre[:, :, 2] = rng.uniform(-40, 40, (5, 2))
    write_xf(tmp_path / "s.prexg", pre)
    frame = BinnedFrame(*size, binning)
    raw = rng.uniform(10, 80, (5, 2))
    centre = (np.array(size) - 1) / 2
    # What newstack does: bin, then transform about the centre with shifts / binning.
    binned = frame.centred_from_raw(raw - centre) + pre[:, :, 2] / binning
    shape = frame.nx_binned, frame.ny_binned
    points = np.column_stack([binned + (np.array(shape) - 1) / 2, np.arange(5)])
    write_fiducial_model(
        tmp_path / "s.fid", [points], nx=shape[0], ny=shape[1], n_views=5,
        pixel_size_a=1.38 * binning, surfaces=[2],
    )  # fmt: skip
    project = etomo.read_etomo(tmp_path)
    assert project.prealigned_binning == binning
    assert project.pixel_size_a == pytest.approx(1.38)
    contours, surfaces = etomo.raw_fiducials(project, size)
    assert surfaces == [2]
    assert contours[0][:, :2] == pytest.approx(raw, abs=1e-3)
    assert contours[0][:, 2].tolist() == [0, 1, 2, 3, 4]


def test_folders_that_are_no_etomo_project(tmp_path):
    with pytest.raises(InputError, match="0 Etomo data files"):
        etomo.read_etomo(tmp_path)
    with pytest.raises(InputError, match="nowhere"):
        etomo.read_etomo(tmp_path / "nowhere")
    (tmp_path / "a.edf").write_text("Setup.DatasetName=../../elsewhere\n")
    with pytest.raises(InputError, match="not the name"):
        etomo.read_etomo(tmp_path)


@pytest.mark.parametrize(
    ("text", "views"),
    [("40", (39,)), ("1,3-5,40", (0, 2, 3, 4, 39)), ("", ()), ("x", ()), ("1-2-3", ()), ("0", ())],
)
def test_view_lists(text, views):
    assert etomo.view_list(text) == views


# One image per tilt


def frame_folder(tmp_path: Path, *, endings: tuple[str, ...] = (".mrc",)) -> np.ndarray:
    """Five views, acquired 0, 3, -3, 6, -6; the mdoc lists them by tilt."""
    rng = np.random.default_rng(7)
    data = rng.integers(0, 999, (5, 6, 8)).astype(np.int16)
    tilts = [-6, -3, 0, 3, 6]
    rank = [4, 2, 0, 1, 3]
    lines = ["PixelSpacing = 1.38", "[T =  Tilt axis angle = -84.5, binning = 1]"]
    for i, tilt in enumerate(tilts):
        ending = endings[i % len(endings)]
        path = tmp_path / f"TS_{rank[i]:03d}_{tilt}.0{ending}"
        if ending == ".mrc":
            write_mrc(path, data[i], 1.38)
        else:
            tifffile.imwrite(path, data[i, ::-1])
        lines += [
            f"[ZValue = {i}]", f"TiltAngle = {tilt}.01", f"ExposureDose = {i + 1}",
            f"SubFramePath = X:\\DoseFractions\\grid 2\\{path.stem}.eer",
            f"DateTime = 05-Mar-24  10:0{rank[i]}:00",
        ]  # fmt: skip
    (tmp_path / "TS.mdoc").write_text("\n".join(lines))
    return data[np.argsort(rank)]


@pytest.mark.parametrize("endings", [(".mrc",), (".tif",), (".mrc", ".tif")])
def test_single_images_make_a_stack(tmp_path, endings):
    data = frame_folder(tmp_path, endings=endings)
    read = frames.load_frames_mdoc(tmp_path / "TS.mdoc")
    stack = read.stack
    assert (stack.shape, stack.dtype, len(stack), stack.ndim) == ((5, 6, 8), np.int16, 5, 3)
    assert np.array_equal(np.asarray(stack), data)
    for key in (
        0, -1, np.int64(3), (2, slice(1, 4)), (1, slice(None), 3), slice(1, 4), [3, 1],
        np.array([True, False, True, False, True]), (slice(None, None, 2), slice(2), slice(1, 5)),
        ..., (..., 0), (1, 2, 3), slice(3, 3),
    ):  # fmt: skip
        assert np.array_equal(stack[key], data[key]), key
        assert np.shape(stack[key]) == data[key].shape, key
    with pytest.raises(IndexError):
        stack[5]
    assert np.round(read.tilt_deg).tolist() == [0, 3, -3, 6, -6]
    assert read.acquisition_order.tolist() == [0, 1, 2, 3, 4]
    assert read.sections.tolist() == [2, 3, 1, 4, 0]
    assert read.dose is not None
    assert read.prior_dose is not None
    assert read.dose.tolist() == [3, 4, 2, 5, 1]
    assert read.prior_dose.tolist() == [0, 3, 7, 9, 14]
    assert (read.axis_deg, read.pixel_size_a) == (-84.5, pytest.approx(1.38))
    by_tilt = frames.load_frames_mdoc(tmp_path / "TS.mdoc", order="tilt")
    assert by_tilt.acquisition_order.tolist() == [4, 2, 0, 1, 3]
    assert np.array_equal(by_tilt.stack[0], data[4])


def test_images_elsewhere_and_beside_their_movies(tmp_path):
    folder = tmp_path / "averages"
    folder.mkdir()
    data = frame_folder(folder)
    (folder / "TS.mdoc").rename(tmp_path / "TS.mdoc")
    text = (tmp_path / "TS.mdoc").read_text().replace(".eer", ".tif")
    (tmp_path / "TS.mdoc").write_text(text)
    # A movie under the very name that the mdoc gives.
    tifffile.imwrite(folder / "TS_000_0.0.tif", np.zeros((4, 6, 8), "u1"), photometric="minisblack")
    read = frames.load_frames_mdoc(tmp_path / "TS.mdoc", folder)
    assert np.array_equal(read.stack[0], data[0])
    (folder / "TS_000_0.0.mrc").unlink()
    with pytest.raises(InputError, match="movie of 4 frames"):
        frames.load_frames_mdoc(tmp_path / "TS.mdoc", folder)
    (folder / "TS_000_0.0.tif").unlink()
    with pytest.raises(InputError, match=r"TS_000_0\.0\.tif of section 2 is not in"):
        frames.load_frames_mdoc(tmp_path / "TS.mdoc", folder)


def test_images_that_do_not_fit_are_named(tmp_path):
    frame_folder(tmp_path)
    write_mrc(tmp_path / "TS_003_6.0.mrc", np.zeros((6, 9), np.int16), 1.38)
    with pytest.raises(InputError, match=r"TS_003_6\.0\.mrc: 9 x 6 pixels, other views have 8 x 6"):
        frames.load_frames_mdoc(tmp_path / "TS.mdoc")
    (tmp_path / "TS_003_6.0.mrc").write_bytes(struct.pack("<i", 3) * 300)
    with pytest.raises(InputError, match=r"TS_003_6\.0\.mrc"):
        frames.load_frames_mdoc(tmp_path / "TS.mdoc")
    text = (tmp_path / "TS.mdoc").read_text()
    for line, words in [("SubFramePath", "names no image"), ("DateTime", "order"),
                        ("TiltAngle", "TiltAngle")]:  # fmt: skip
        kept = [row for row in text.splitlines() if not row.startswith(line)]
        (tmp_path / "TS.mdoc").write_text("\n".join(kept))
        with pytest.raises(InputError, match=words):
            frames.load_frames_mdoc(tmp_path / "TS.mdoc")
    escaping = text.replace("TS_000_0.0.eer", "..")
    (tmp_path / "TS.mdoc").write_text(escaping)
    with pytest.raises(InputError, match="names no image"):
        frames.load_frames_mdoc(tmp_path / "TS.mdoc")
