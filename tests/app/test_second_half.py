"""The tutorial's second half by clicks: CTF, correction, SIRT, denoising, membranes, ChimeraX;
every result is opened and looked at."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from window_parts import CONTROL, Person, write_two_series

from tiltwright.app.ctf_page import CtfPage
from tiltwright.app.tomogram_page import TomogramPage
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.io.text import read_angles, write_angles
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.widgets.runs.quality_table import QualityTable
from tiltwright.widgets.tomogram.denoise_preview import DenoisePreview

sys.path.insert(0, str(Path(__file__).parents[1]))
from ctf_phantom import Rings, RingSpec

Key = Qt.Key
NAMES = ("position14", "small")
DEFOCUS_NM = 3000.0


def write_defocus(stack: Path) -> None:
    """A table as IMOD writes it, beside a stack."""
    rows = [
        f"{v}\t{v}\t{tilt:.2f}\t{tilt:.2f}\t{DEFOCUS_NM + 4 * v:.0f}" + ("\t2" if v == 1 else "")
        for v, tilt in enumerate(read_angles(stack.with_suffix(".rawtlt")), 1)
    ]
    stack.with_suffix(".defocus").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def first_half(tmp_path_factory) -> Path:
    """A project whose two series are aligned, as the first half of the tutorial leaves it."""
    base = tmp_path_factory.mktemp("second")
    write_two_series(base, n_vesicles=3)
    files = [str(base / f"{name}.mrc") for name in NAMES]
    for file in files:
        write_defocus(Path(file))
    project = Project.create(base / "project")
    project.add("import-tilt-series",
                {"files": files, "axis_deg": -84.5, "pixel_size_a": 11.04,
                 "voltage_kv": 300, "cs_mm": 2.7})  # fmt: skip
    project.add("preprocess", {"binning": 2}, {"tilt_series": Source(1, "tilt_series")})
    project.add("coarse-prealignment", {}, {"tilt_series": Source(2, "tilt_series")})
    project.add("fiducial-model", {}, {"tilt_series": Source(3, "tilt_series")})
    inputs = {"tilt_series": Source(4, "tilt_series"),
              "fiducial_model": Source(4, "fiducial_model")}  # fmt: skip
    project.add("fiducial-alignment", {}, inputs)
    for number in sorted(project.runs):
        execute(project, number)
    project.close()
    return base / "project"


class Walk:
    """Steps that are carried out and looked at, one after the other."""

    def __init__(self, person: Person) -> None:
        self.person, self.window, self.qtbot = person, person.window, person.qtbot

    def step(self, title: str, values: dict[str, str] | None = None) -> int:
        """The form that proposes its inputs is filled and executed."""
        form = self.person.choose(title)
        for name, text in (values or {}).items():
            self.person.write(form, name, text)
        return self.person.execute(form)

    def look(self, number: int, text: str, name: str = "small") -> Any:
        """Open an output of a run; by the table of all series when it has several."""
        page = self.person.open_output(number, text)
        if isinstance(page, QualityTable):
            page.select([name])
            self.qtbot.keyClick(page.table, Key.Key_Return)
            page = self.window.workspace.currentWidget()
        self.settle(page)
        return page

    def settle(self, page: Any) -> None:
        """Until all that was asked for is shown."""
        self.qtbot.waitUntil(lambda: page.lane.idle, timeout=20_000)

    def denoised_by_eye(self, tomogram: TomogramPage) -> int:
        """Raw and denoised side by side; what was chosen there is run on the whole."""
        self.person.key(Key.Key_N, on=tomogram.first.views["xy"])
        preview = self.window.workspace.currentWidget()
        assert isinstance(preview, DenoisePreview)
        self.person.write(preview.form, "iterations", "3")
        shown = preview.views
        self.qtbot.waitUntil(
            lambda: preview.lane.idle and shown["denoised"].tile is not None, timeout=60_000
        )
        assert np.std(shown["denoised"].tile.data) < np.std(shown["raw"].tile.data)
        self.person.click(preview.run_button)
        return self.person.execute(self.window.workspace.currentWidget())

    def corrected_mask(self, page: TomogramPage) -> None:
        """A stroke over the mask, its surface made anew, and a version saved."""
        view, editor = page.first.views["xy"], page.masks.editor
        before = np.count_nonzero(editor.mask)
        page.surface.setFocus()
        with self.qtbot.waitSignal(page.surface.drawn, timeout=60_000):
            self.person.key(Key.Key_S, on=view)
        self.qtbot.waitUntil(lambda: "triangles" in page.surface.words, timeout=60_000)
        triangles = page.surface.words
        self.person.key(Key.Key_W, on=view)
        self.person.drag(view, (30, 75), (120, 75))
        assert np.count_nonzero(editor.mask) > before + 400
        assert page.masks.words.text() == "Not saved yet"
        self.qtbot.waitUntil(
            lambda: "triangles" in page.surface.words and page.surface.words != triangles,
            timeout=60_000,
        )
        self.person.key(Key.Key_S, CONTROL, on=view)
        self.qtbot.waitUntil(
            lambda: page.masks.words.text() == "Saved as version 2", timeout=20_000
        )
        self.person.wait()


def test_the_second_half_by_clicks(qtbot, window, first_half, tmp_path):
    person = Person(qtbot, window)
    shutil.copytree(first_half, tmp_path / "project")
    person.open(tmp_path / "project")
    walk = Walk(person)
    runs = window.project.runs

    # The CTF, as another program has estimated it.
    ctf = walk.step("Import CTF")
    page = walk.look(ctf, "Imported CTF")
    assert isinstance(page, CtfPage)
    assert page.table.model().rowCount() == page.session.series.n_views == 21
    assert page.session.defocus(20).u_a == 10 * (DEFOCUS_NM + 4 * 21)
    person.key(Key.Key_PageUp, on=page.spectrum)
    walk.settle(page)
    assert page.spectrum.shown.view == page.current_view
    assert not page.session.modified

    # Corrected, and seen along the tilt axis.
    corrected = walk.step("CTF correction")
    page = walk.look(corrected, "CTF-corrected tilt series")
    assert page.series.ctf_corrected
    person.key(Key.Key_I, on=page.images.main_view)
    walk.settle(page)
    assert page.images.source.interpolated

    iterated = walk.step("SIRT, SART, Fourier", {"thickness": "40", "iterations": "3"})
    assert runs[iterated].inputs["tilt_series"] == Source(corrected, "tilt_series")
    assert "residual" in (window.project.folder_of(iterated) / "log.txt").read_text()
    rough = walk.look(iterated, "Tomogram")
    assert rough.beads_action.isEnabled()
    smooth = walk.denoised_by_eye(rough)
    assert runs[smooth].params["iterations"] == 3
    calm = walk.look(smooth, "Denoised tomogram")
    assert rough.tomogram.shape == calm.tomogram.shape == (40, 180, 150)
    assert np.std(calm.tomogram.data) < np.std(rough.tomogram.data)
    calm.compare_with.choose(Source(iterated, "tomogram"))
    walk.settle(calm)
    assert "Denoise tomogram" in calm.first.info.text()
    assert "SIRT, SART, Fourier" in calm.second.info.text()

    # Membranes, and a scene of them; then the mask is corrected, and the scene made anew.
    mask = walk.step("Segment membranes", {"threshold": "4", "min_size": "50"})
    scene = walk.step("Scene for ChimeraX")
    assert runs[scene].inputs == {
        "tomogram": Source(smooth, "tomogram"),
        "mask": Source(mask, "mask"),
        "tilt_series": Source(corrected, "tilt_series"),
    }
    assert all(runs[number].series == sorted(NAMES) for number in runs)
    folder = window.project.output_folder(scene)
    surfaces = {name: (folder / f"{name}.stl").read_bytes() for name in NAMES}
    page = walk.look(mask, "Mask of the membranes")
    assert page.tomogram.path == calm.tomogram.path
    assert 0 < np.mean(page.masks.editor.mask > 0) < 0.2
    walk.corrected_mask(page)
    assert window.stale == {scene}
    person.key(Key.Key_C)
    person.wait()
    assert window.stale == set()
    again = {name: (folder / f"{name}.stl").read_bytes() for name in NAMES}
    assert again["position14"] == surfaces["position14"]
    assert again["small"] != surfaces["small"]

    page = walk.look(scene, "Tomogram")
    assert page.scene.isVisible()
    assert page.scene.path.toolTip() == str(folder / "small.cxc")
    assert page.mask_of.value() == Source(mask, "mask")
    for name in NAMES:
        script = (folder / f"{name}.cxc").read_text()
        for part in ("_denoised.mrc", "_membranes.mrc", ".stl", "_beads.cmm"):
            assert f"{name}{part}" in script, script


def test_the_ctf_is_estimated_by_clicks(qtbot, window, tmp_path):
    """A series of fine pixels, whose defocus is known."""
    tilts = (-50.0, -25.0, 0.0, 25.0, 50.0)
    truth = Rings(RingSpec(seed=12, n=512, tilts=tilts, contrast=12))
    with MrcWriter(tmp_path / "fine.mrc", (len(tilts), 512, 512), np.float32, 2.0) as writer:
        for v in range(len(tilts)):
            writer.write(v, truth.view(v))
    write_angles(tmp_path / "fine.rawtlt", np.array(tilts))
    project = Project.create(tmp_path / "project")
    project.add("import-tilt-series", {"files": [str(tmp_path / "fine.mrc")], "axis_deg": -84.5})
    project.add("coarse-prealignment", {}, {"tilt_series": Source(1, "tilt_series")})
    for number in (1, 2):
        execute(project, number)
    project.close()
    person = Person(qtbot, window)
    person.open(tmp_path / "project")
    walk = Walk(person)

    form = person.choose("CTF estimation")
    person.click(form.advanced_button)
    person.write(form, "tile_px", "256")
    estimated = person.execute(form)
    page = walk.look(estimated, "CTF")
    columns = [page.session.column(f"defocus_{x}_a") for x in "uv"]
    assert np.max(np.abs(np.mean(columns, 0) / truth.defocus_a - 1)) < 0.02
    # One view is spoiled by hand, fitted anew from its neighbours, and saved.
    good = page.session.defocus(4)
    page.show_view(4)
    page.panel.mean.setFocus()
    for _ in range(4):
        qtbot.keyClick(page.panel.mean, Key.Key_Up)
    assert page.session.defocus(4) != good
    person.key(Key.Key_F, on=page.spectrum)
    qtbot.waitUntil(
        lambda: abs(page.session.defocus(4).components[0] - good.components[0]) < 150,
        timeout=20_000,
    )
    walk.settle(page)
    person.key(Key.Key_S, CONTROL, on=page.spectrum)
    person.wait()
    assert not page.session.modified
    corrected = walk.step("CTF correction")
    page = walk.look(corrected, "CTF-corrected tilt series", "fine")
    assert page.series.ctf_corrected
