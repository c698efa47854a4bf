"""The CTF steps of a project: import, estimation, correction, and what is refused before work."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from ctf_phantom import Rings, RingSpec, ladder

from tiltwright.engine.ctf.correct import Correction, correct_view
from tiltwright.engine.ctf.estimate import SeriesFit
from tiltwright.engine.ctf.judge import Rival
from tiltwright.engine.ctf.model import defocus_slopes
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.io.text import write_angles
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.ctf_table import CtfTable
from tiltwright.engine.model.tilt_series import TiltSeries, load_tilt_series
from tiltwright.engine.project.store import Place, load, record_hash, save_outputs
from tiltwright.engine.protocols import all_protocols
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.ctf_correction import CtfCorrection
from tiltwright.engine.protocols.ctf_estimation import CtfEstimation, hand_text
from tiltwright.engine.protocols.ctf_geometry import examiner_of, view_slopes
from tiltwright.engine.protocols.ctf_import import CtfImport

TILTS = (-50.0, -25.0, 0.0, 25.0, 50.0)
SPEC = RingSpec(seed=11, n=640, tilts=TILTS, contrast=6, hand=-1, defocus_um=2.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A series on disk with shifts, its truth, and its alignment."""
    folder = tmp_path_factory.mktemp("ctf")
    twin = Rings(SPEC)
    path = folder / "TS_1.mrc"
    with MrcWriter(path, (5, 640, 640), np.float32, 2.0) as writer:
        for v in range(5):
            writer.write(v, twin.view(v))
    write_angles(folder / "TS_1.rawtlt", np.array(TILTS))
    series = load_tilt_series(path, axis_deg=SPEC.axis_deg)
    series = replace(series, order=twin.order.astype(np.int64), order_known=True)
    geometry = ViewGeometry.nominal(TILTS, SPEC.axis_deg)
    return twin, replace(series, alignment=Alignment.of_geometry(geometry))


@pytest.fixture(scope="module")
def table(made):
    context = Context()
    params = CtfEstimation.Params(tile_px=256)
    out = CtfEstimation.run({"tilt_series": made[1]}, params, context)["ctf_table"]
    assert any("inverted by the defocus gradient" in line for line in context.notes)
    return out


def test_they_are_offered():
    keys = list(all_protocols())
    assert keys.index("fiducial-alignment") < keys.index("ctf-estimation")
    assert keys.index("ctf-correction") < keys.index("reconstruction")


def test_estimation_of_a_series(made, table):
    twin, series = made
    assert table.hand == -1
    assert table.order.tolist() == series.order.tolist()
    mean = (table.defocus_u_a + table.defocus_v_a) / 2
    assert mean == pytest.approx(twin.defocus_a, rel=0.02)
    assert (table.score > 0.4).all()
    assert np.isfinite(table.sigma_a).all()


def test_a_filtered_stack_is_not_what_is_estimated(made, table):
    """A dose filter, a binning and a correction change the rings: the raw views have them."""
    series = replace(made[1], work=np.zeros_like(made[1].stack))
    context = Context()
    params = CtfEstimation.Params(tile_px=256)
    again = CtfEstimation.run({"tilt_series": series}, params, context)["ctf_table"]
    np.testing.assert_array_equal(again.defocus_u_a, table.defocus_u_a)
    np.testing.assert_array_equal(again.score, table.score)
    examiner = examiner_of(series, table.optics, tile_px=256, band_a=(30.0, 8.0))
    assert examiner.look(0, table.defocus_of(0), -1).curve.score > 0.9


def fit_of(**known):
    plain = {
        "hand": 0, "hand_confidence": 1.0, "hand_evidence": 7.0, "rival": Rival(0.1, "nothing")
    }  # fmt: skip
    return SeriesFit(np.zeros(0, int), [], [], np.zeros(0), **(plain | known))


@pytest.mark.parametrize(
    ("known", "given", "said"),
    [
        ({}, 0, "undetermined, both hands fit nearly equally well (log ratio 7, at least 10"),
        ({"hand_evidence": 60.0, "hand_confidence": 0.3}, 0, "contradict each other"),
        ({"rival": Rival(0.8, "x")}, 0, "rings that are not proven do not tell it"),
        ({"rival": Rival(0.8, "x")}, 1, "cannot confirm it"),
        ({"hand": -1, "hand_evidence": 60.0}, 0, "inverted by the defocus gradient (the views "),
        ({"hand": 1, "hand_confidence": -0.9}, 1, "CONTRADICTS it (the views agree by 90 %"),
    ],
)
def test_the_hand_in_words(known, given, said):
    assert said in hand_text(fit_of(**known), given)


def test_a_defocus_that_is_not_proven_is_said_to_be_so(made, tmp_path):
    """Noise with a ladder of its own, instead of the rings of a CTF."""
    series = replace(made[1], stack=ladder(n=512, tilts=TILTS), name="x")
    context = Context()
    params = CtfEstimation.Params(tile_px=256)
    table = CtfEstimation.run({"tilt_series": series}, params, context)["ctf_table"]
    assert any("NOT PROVEN" in note and "% as well" in note for note in context.notes)
    assert not any("by the defocus gradient" in note for note in context.notes)
    assert table.hand == 0
    assert not table.proven
    place = Place(tmp_path, tmp_path.parent)
    record = save_outputs({"ctf_table": table}, {"tilt_series": series}, place)["ctf_table"]
    assert load(record, place).rival == pytest.approx(table.rival, abs=1e-4)
    del record["rival"]  # projects of earlier versions
    assert load(record, place).proven
    context = Context(folder=tmp_path)
    inputs = {"tilt_series": series, "ctf_table": table}
    CtfCorrection.run(inputs, CtfCorrection.Params(), context)
    assert any("not proven" in note for note in context.notes)


def test_a_table_in_a_project(made, table, tmp_path):
    place = Place(tmp_path, tmp_path.parent)
    record = save_outputs({"ctf_table": table}, {"tilt_series": made[1]}, place)["ctf_table"]
    assert json.loads(json.dumps(record)) == record
    again = load(record, place)
    assert again.optics == table.optics
    assert again.hand == -1
    for name in ("order", "defocus_u_a", "angle_deg", "score", "sigma_a", "used"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
    before = record_hash(record, place)
    csv = tmp_path / "TS_1_ctf.csv"
    csv.write_text(csv.read_text().replace(".", ",", 1))
    assert record_hash(record, place) != before
    with pytest.raises(InputError, match="TS_1_ctf"):
        load(record, place)
    # What estimation wrote for IMOD is imported again.
    params = CtfImport.Params(files=(tmp_path / "TS_1.defocus",))
    back = CtfImport.run({"tilt_series": made[1]}, params, Context())["ctf_table"]
    np.testing.assert_allclose(back.defocus_u_a, table.defocus_u_a, atol=0.06)


@pytest.mark.parametrize("blending", ["smooth", "strips"])
def test_correction_of_a_series(made, table, tmp_path, blending):
    series = made[1]
    excluded = np.array([False, False, False, True, False])
    series = replace(series, excluded=excluded)
    params = CtfCorrection.Params(method="multiply", blending=blending)
    out = CtfCorrection.run(
        {"tilt_series": series, "ctf_table": table}, params, Context(folder=tmp_path)
    )["tilt_series"]
    assert out.describe().endswith("+ali +ctf")
    assert out.work_path == tmp_path / "TS_1_ctf.mrc"
    np.testing.assert_array_equal(out.images[3], series.stack[3])
    slope = defocus_slopes(ViewGeometry.nominal([50.0], SPEC.axis_deg), 2.0, -1)[0]
    alone = correct_view(
        series.stack[4], 2.0, table.defocus_of(4), table.optics, slope, (319.5, 319.5),
        Correction("multiply", 2000.0, None if blending == "smooth" else 15.0),
    )  # fmt: skip
    np.testing.assert_allclose(out.images[4], alone, atol=1e-3)
    place = Place(tmp_path, tmp_path.parent)
    record = save_outputs({"tilt_series": out}, {}, place)["tilt_series"]
    assert load(record, place).ctf_corrected
    with pytest.raises(InputError, match="corrected already"):
        CtfCorrection.run({"tilt_series": out, "ctf_table": table}, params, Context())


def test_views_without_a_ctf_are_named_before_any_work(made, table, tmp_path):
    some = np.array([0, 1, 3, 4])
    names = [n for n, x in vars(table).items() if isinstance(x, np.ndarray)]
    less = CtfTable(**{n: getattr(table, n)[some] for n in names})
    inputs = {"tilt_series": made[1], "ctf_table": less}
    with pytest.raises(InputError, match="no defocus for views 3 of TS_1"):
        CtfCorrection.run(inputs, CtfCorrection.Params(), Context(folder=tmp_path))
    assert not list(tmp_path.iterdir())
    out = replace(made[1], excluded=np.array([False, False, True, False, False]))
    context = Context(folder=tmp_path)
    CtfCorrection.run({"tilt_series": out, "ctf_table": less}, CtfCorrection.Params(), context)
    assert any("hand is not determined" in note for note in context.notes)


def test_import_finds_the_file_of_each_series(made, tmp_path):
    series = made[1]
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(InputError, match="begins with TS_1"):
        CtfImport.run(
            {"tilt_series": series}, CtfImport.Params(files=(tmp_path,)), Context()
        )  # fmt: skip
    rows = "".join(f"{v + 1} {20000 + v} 20000 0 0 0.1 8\n" for v in range(5))
    (tmp_path / "TS_1_ctffind.txt").write_text("# Output from CTFFind\n" + rows)
    (tmp_path / "TS_12_ctffind.txt").write_text("# Output from CTFFind\n")
    params = CtfImport.Params(files=(tmp_path,))
    out = CtfImport.run({"tilt_series": series}, params, Context())["ctf_table"]
    assert out.defocus_u_a.tolist() == [20000, 20001, 20002, 20003, 20004]
    before = CtfImport.source_hashes(params)
    (tmp_path / "TS_1_ctffind.txt").write_text("# Output from CTFFind\n" + rows[:-4] + "0.2 8\n")
    assert CtfImport.source_hashes(params) != before
    with pytest.raises(InputError, match="no such file"):
        CtfImport.source_hashes(CtfImport.Params(files=(tmp_path / "none",)))


def test_slopes_of_a_binned_shifted_series():
    """The defocus of a place is the same at every binning, and zero at the specimen's origin."""
    geometry = replace(
        ViewGeometry.nominal([40.0, 0, -40], 12.0),
        shift_px=np.array([[30.0, -12], [0, 0], [5, 8]]),
    )
    series = TiltSeries(
        __file__, np.zeros((3, 1021, 1440), np.uint8), np.array([40.0, 0, -40]), 12.0, 3.0,
        np.zeros(3, bool), name="x", alignment=Alignment.of_geometry(geometry),
    )  # fmt: skip
    raw = view_slopes(series, 1)
    binned = view_slopes(series, 4)
    at = np.array([100.0, 200.0])
    frame = replace(series, binning=4).frame
    for v in range(3):
        here = raw[0][v] @ (frame.to_raw(at) - raw[1][v])
        assert binned[0][v] @ (at - binned[1][v]) == pytest.approx(here, abs=1e-6)
    assert raw[1][0] == pytest.approx([719.5 + 30, 510 - 12], abs=1e-3)
    assert view_slopes(series, 1, -1)[0] == pytest.approx(-raw[0])
    assert view_slopes(series, 1, pretilt_deg=10)[2] == pytest.approx([50, 10, -30])
