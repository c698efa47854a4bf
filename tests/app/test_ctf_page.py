"""The CTF of a project by clicks: opened, edited, saved, and imported from other programs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PyQt6.QtCore import Qt

from tiltwright.app import describe
from tiltwright.app.ctf_page import CtfPage
from tiltwright.app.series_page import SeriesPage
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.io.text import read_angles, write_angles
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source

sys.path.insert(0, str(Path(__file__).parents[1]))
from ctf_phantom import Rings, RingSpec

KEY, CTRL = Qt.Key, Qt.KeyboardModifier.ControlModifier
TILTS = (-50.0, -25.0, 0.0, 25.0, 50.0)
FORMATS = Path(__file__).parents[3] / "shared/data/formats/ctf"


def of(run: int, port: str = "tilt_series") -> Source:
    return Source(run, port)


@pytest.fixture(scope="module")
def _made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ctf_page")
    twin = Rings(RingSpec(seed=12, n=512, tilts=TILTS, contrast=12))
    with MrcWriter(folder / "s1.mrc", (5, 512, 512), np.float32, 2.0) as writer:
        for v in range(5):
            writer.write(v, twin.view(v))
    write_angles(folder / "s1.rawtlt", np.array(TILTS))
    project = Project.create(folder / "project")
    project.add("import-tilt-series", {"files": [str(folder / "s1.mrc")], "axis_deg": -84.5})
    project.add("ctf-estimation", {"tile_px": 256}, {"tilt_series": of(1)})
    project.add("coarse-prealignment", {}, {"tilt_series": of(1)})
    project.add("ctf-correction", {}, {"tilt_series": of(3), "ctf_table": of(2, "ctf_table")})
    for k in sorted(project.runs):
        execute(project, k)
    project.close()
    return folder / "project"


@pytest.fixture
def folder(_made, tmp_path) -> Path:
    return Path(shutil.copytree(_made, tmp_path / "project"))


def settled(page, qtbot):
    qtbot.waitUntil(lambda: page.lane.idle, timeout=20_000)


def test_open_edit_and_save(person, qtbot, folder):
    person.open(folder)
    window = person.window
    page = person.open_output(2, "s1")
    assert isinstance(page, CtfPage)
    settled(page, qtbot)
    assert page.spectrum.shown.view == 2
    # What the estimation wrote is what is shown, and measured again it is the same.
    table = window.project.item(of(2, "ctf_table"), "s1")
    curve = page.spectrum.shown.look.curve
    assert curve.score == pytest.approx(table.score[2], abs=0.01)
    assert curve.resolution_a == pytest.approx(table.resolution_a[2], abs=0.5)
    numbers = {n.label: n for n in describe.numbers(window.project.runs[2])}
    assert numbers["Hand"].text == f"as it is, {100 * table.hand_confidence:.0f} % agreement"
    assert numbers["Hand"].verdict == "good"
    assert numbers["Defocus"].text == table.describe().partition("defocus ")[2]
    assert describe.key_number(window.project.runs[2]) == numbers["Defocus"].text
    page.panel.mean.setFocus()
    for _ in range(4):
        qtbot.keyClick(page.panel.mean, KEY.Key_Up)
    settled(page, qtbot)
    edited = page.session.defocus(2)
    assert edited.components[0] == pytest.approx(table.defocus_of(2).components[0] + 200, abs=10)
    assert window.stale == set()
    qtbot.keyClick(page.spectrum, KEY.Key_S, CTRL)
    qtbot.waitUntil(lambda: window.stale == {4}, timeout=20_000)
    saved = window.project.item(of(2, "ctf_table"), "s1")
    assert saved.defocus_of(2) == edited
    # Its score is that of the edited defocus.
    assert 0 < saved.score[2] < table.score[2]
    assert not page.session.modified
    assert page.versions.currentText().startswith("2 · ")
    # Back to what was computed, as an edit that can be undone.
    page.versions.setCurrentIndex(1)
    page.versions.picked.emit(page.versions.currentData())
    assert page.session.defocus(2) == table.defocus_of(2)
    page.actions_.undo.trigger()
    assert page.session.defocus(2) == edited


def test_edits_survive_closing_the_page(person, qtbot, folder):
    person.open(folder)
    page = person.open_output(2, "s1")
    settled(page, qtbot)
    before = page.session.defocus(2)
    page.panel.angle.setFocus()
    qtbot.keyClick(page.panel.angle, KEY.Key_Up)
    edited = page.session.defocus(2)
    assert edited != before
    person.window.workspace.close_page("ctf:2.ctf_table.s1")
    page = person.open_output(2, "s1")
    settled(page, qtbot)
    assert page.session.defocus(2) == edited
    assert page.session.modified
    page.actions_.undo.trigger()
    assert page.session.defocus(2) == before
    person.window.workspace.close_page("ctf:2.ctf_table.s1")
    page = person.open_output(2, "s1")
    assert page.session.defocus(2) == before
    assert not page.session.modified


def test_the_estimation_done_again_is_shown(person, qtbot, folder):
    person.open(folder)
    page = person.open_output(2, "s1")
    settled(page, qtbot)
    page.show_view(4)
    person.window.project.runs[2].params["astigmatism"] = False
    person.window.project.save(person.window.project.runs[2])
    person.window.runs.select(["2"])
    person.menu("restart_from")
    person.wait()
    assert page.current_view == 4
    qtbot.waitUntil(lambda: page.session.column("defocus_u_a")[4]
                    == page.session.column("defocus_v_a")[4], timeout=5000)  # fmt: skip


@pytest.mark.parametrize("number", [1, 4])
def test_a_series_shows_its_defocus_and_opens_its_ctf(person, qtbot, folder, number):
    person.open(folder)
    page = person.open_output(number, "s1")
    assert isinstance(page, SeriesPage)
    settled(page, qtbot)
    column = next(
        page.table.content.column(k)
        for k in range(page.table.content.columnCount())
        if getattr(page.table.content.column(k), "key", "") == "defocus"
    )
    table = person.window.project.item(of(2, "ctf_table"), "s1")
    np.testing.assert_allclose(column.values, (table.defocus_u_a + table.defocus_v_a) / 2e4)
    page.images.main_view.setFocus()
    qtbot.keyClick(page.images.main_view, KEY.Key_C)
    assert isinstance(person.window.workspace.currentWidget(), CtfPage)


def test_views_that_are_excluded_turn_grey(person, qtbot, folder):
    person.open(folder)
    page = person.open_output(2, "s1")
    settled(page, qtbot)
    series = person.open_output(1, "s1")
    settled(series, qtbot)
    series.show_view(4)
    settled(series, qtbot)
    series.images.main_view.setFocus()
    qtbot.keyClick(series.images.main_view, KEY.Key_X)
    assert page.table.content.greyed == {4: "excluded in the tilt series"}
    # An edit that is not saved is not thrown away for it.
    page.session.mark([1], True)
    qtbot.keyClick(series.images.main_view, KEY.Key_X)
    assert page.session.bad[1]


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Path:
    """A stack with the tilts of the tables of other programs."""
    tilts, folder = read_angles(FORMATS / "017.tlt"), tmp_path_factory.mktemp("017")
    view = np.random.default_rng(1).normal(0, 100, (256, 256)).astype(np.int16)
    with MrcWriter(folder / "017.mrc", (len(tilts), 256, 256), np.int16, 3.0) as writer:
        for v in range(len(tilts)):
            writer.write(v, np.roll(view, 31 * v, 0))
    write_angles(folder / "017.rawtlt", tilts)
    return folder / "017.mrc"


@pytest.mark.skipif(not FORMATS.is_dir(), reason="../shared/data/formats is missing")
@pytest.mark.parametrize("name", ["017_warp.xml", "017_ctffind4.txt", "017_gctf.star"])
def test_tables_of_other_programs_open_on_their_spectra(person, qtbot, noise, tmp_path, name):
    """Views, optics and pixel size of the series, the defocus of the file."""
    project = Project.create(tmp_path / "project")
    project.add("import-tilt-series", {"files": [str(noise)], "axis_deg": 85.0})
    project.add("ctf-import", {"files": [str(FORMATS / name)]}, {"tilt_series": of(1)})
    for k in (1, 2):
        execute(project, k)
    table = project.item(of(2, "ctf_table"), "017")
    project.close()
    person.open(tmp_path / "project")
    page = person.open_output(2, "017")
    settled(page, qtbot)
    view = page.current_view
    shown = page.spectrum.shown
    assert shown.view == view
    assert shown.step == pytest.approx(1 / (256 * 3.0))
    series = page.session.series
    assert page.session.defocus(view) == table.defocus_of(int(table.row_of_view(series)[view]))
    # Noise has no rings, whatever the table says.
    assert shown.look.curve.score < 0.6
    assert page.curve.measured.getData()[0][-1] < 1 / 8
