"""A mask of a project is shown over its tomogram, corrected, saved, and taken by what follows."""

from __future__ import annotations

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtGui import QGuiApplication
from window_parts import CONTROL

from tiltwright.app import scene_row
from tiltwright.app.tomogram_page import TomogramPage
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.widgets.form.protocol_form import ProtocolForm
from tiltwright.widgets.tomogram.denoise_preview import DenoisePreview

Key = Qt.Key
SHAPE = (24, 60, 50)


@pytest.fixture
def folder(tmp_path):
    """Tomogram, mask, scene, and a tomogram of another size (run 4)."""
    made = Project.create(tmp_path / "masks", "masks")
    rng = np.random.default_rng(0)
    mask = np.zeros(SHAPE, np.int8)
    mask[8:16, 10:40, 10:35] = 1
    wide = rng.normal(0, 90, (24, 62, 50)).astype(np.int16)
    volume = rng.normal(0, 90, SHAPE).astype(np.int16)
    for key, port, data in (
        ("reconstruction", "tomogram", volume), ("segmentation", "mask", mask),
        ("chimerax", "", None), ("reconstruction", "tomogram", wide),
    ):  # fmt: skip
        inputs = {
            "segmentation": {"tomogram": Source(1, "tomogram")},
            "chimerax": {"tomogram": Source(1, "tomogram"), "mask": Source(2, "mask")},
        }.get(key, {})
        run = made.add(key, {}, inputs)
        if data is None:
            execute(made, run.id)
            continue
        made.output_folder(run).mkdir(parents=True)
        path = made.output_folder(run) / f"t_{run.id}.mrc"
        write_mrc(path, data, 10.0)
        if port == "mask":
            path.with_suffix(".ply").write_bytes(b"as computed")
        run.outputs = {port: {"t": {
            "kind": "tomogram", "name": "t", "path": made.place(run).name(path),
            "shape": list(data.shape), "pixel_size_a": 10.0, "origin": [-24.5, -29.5, -11.5],
        }}}  # fmt: skip
        run.status = "finished"
        made.save(run)
    made.close()
    return tmp_path / "masks"


def page_of(person, run, port) -> TomogramPage:
    page = person.window.open_output(run, port, "t")
    assert isinstance(page, TomogramPage)
    person.qtbot.waitUntil(lambda: page.lane.idle, timeout=10_000)
    return page


def painted(person, page):
    view = page.first.views["xy"]
    person.key(Key.Key_W, on=view)
    person.drag(view, (5, 50), (45, 50))
    assert page.masks.modified
    return page.masks.editor.mask.copy()


def test_a_mask_opens_over_its_tomogram_and_saving_makes_a_version(person, folder):
    person.open(folder)
    window = person.window
    page = page_of(person, 2, "mask")
    assert page.tomogram.path.name == "t_1.mrc"
    assert page.mask_of.value() == Source(2, "mask")
    after = painted(person, page)
    person.key(Key.Key_S, CONTROL, on=page.first.views["xy"])
    person.qtbot.waitUntil(lambda: "version 2" in page.masks.words.text(), timeout=20_000)
    assert not page.masks.modified
    person.wait()
    assert window.stale == {3}
    # Its mesh follows in the background.
    mesh = folder / "runs"
    person.qtbot.waitUntil(lambda: page.lane.idle, timeout=20_000)
    first, second = sorted(mesh.glob("*/edited/*/*/*.ply"))
    assert (first.parent.name, second.parent.name) == ("v001", "v002")
    assert first.read_bytes() == b"as computed" != second.read_bytes()
    assert page.message.text() == ""
    again = Project.open(folder, read_only=True)
    np.testing.assert_array_equal(again.item(Source(2, "mask"), "t").data, after)
    # Painting goes on, on top of the version.
    person.key(Key.Key_Z, CONTROL, on=page.first.views["xy"])
    assert page.masks.modified
    person.key(Key.Key_S, CONTROL, on=page.first.views["xy"])
    person.qtbot.waitUntil(lambda: "version 3" in page.masks.words.text(), timeout=20_000)
    person.wait()


def test_strokes_that_were_not_saved_come_back(person, folder):
    person.open(folder)
    page = page_of(person, 2, "mask")
    before = page.masks.editor.mask.copy()
    after = painted(person, page)
    person.window.workspace.close_all()
    page = page_of(person, 2, "mask")
    np.testing.assert_array_equal(page.masks.editor.mask, after)
    assert "1 changes from before are not saved" in page.masks.words.text()
    assert page.masks.modified
    person.key(Key.Key_Z, CONTROL, on=page.first.views["xy"])
    np.testing.assert_array_equal(page.masks.editor.mask, before)


def test_a_mask_of_another_size_is_refused_in_words(person, folder):
    person.open(folder)
    page = page_of(person, 4, "tomogram")
    assert page.masks.editor is None
    page.mask_of.choose(Source(2, "mask"))
    assert "50 x 60 x 24 voxels does not fit a tomogram of 50 x 62 x 24" in page.message.text()
    assert page.masks.editor is None
    assert page.mask_of.value() is None
    good = page_of(person, 1, "tomogram")
    good.mask_of.choose(Source(2, "mask"))
    assert good.masks.editor is not None
    # Comparing with another tomogram keeps the mask and its strokes.
    after = painted(person, good)
    good.compare_to(Source(4, "tomogram"))
    np.testing.assert_array_equal(good.masks.editor.mask, after)
    assert good.masks.modified


def test_a_read_only_project_shows_its_mask(person, folder, qtbot):
    holder = Project.open(folder)
    try:
        person.window.open_folder(folder)
        page = page_of(person, 2, "mask")
        assert not page.masks.brush_action.isEnabled()
        assert "read-only" in page.masks.words.text()
    finally:
        holder.close()


def test_the_scene_says_where_its_script_is(person, folder, monkeypatch):
    person.open(folder)
    monkeypatch.setattr(scene_row, "chimerax", lambda: None)
    page = page_of(person, 3, "tomogram")
    script = person.window.project.output_folder(3) / "t.cxc"
    assert page.scene.isVisible()
    assert page.scene.path.toolTip() == str(script)
    person.click(page.scene.copy_button)
    assert QGuiApplication.clipboard().text() == str(script)
    shown = []
    monkeypatch.setattr(
        scene_row.QDesktopServices, "openUrl", lambda url: shown.append(url.toLocalFile())
    )
    assert page.scene.open_button.text() == "Show folder"
    person.click(page.scene.open_button)
    assert shown == [str(script.parent)]
    assert page.mask_of.value() == Source(2, "mask")
    assert not page_of(person, 1, "tomogram").scene.isVisible()


def test_chimerax_is_started_with_the_script(person, folder, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "chimerax"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/started\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    person.open(folder)
    page = page_of(person, 3, "tomogram")
    assert page.scene.open_button.text() == "Open in ChimeraX"
    person.click(page.scene.open_button)
    started = tmp_path / "started"
    person.qtbot.waitUntil(lambda: started.exists() and bool(started.read_text()), timeout=5000)
    assert started.read_text().strip().endswith("t.cxc")


def test_denoising_is_chosen_by_eye_and_then_run(person, folder):
    person.open(folder)
    page = page_of(person, 1, "tomogram")
    person.key(Key.Key_N, on=page.first.views["xy"])
    preview = person.window.workspace.currentWidget()
    assert isinstance(preview, DenoisePreview)
    person.qtbot.waitUntil(lambda: preview.views["denoised"].tile is not None, timeout=60_000)
    preview.form.set_values({"method": "median", "median_size": 5})
    person.click(preview.run_button)
    form = person.window.workspace.currentWidget()
    assert isinstance(form, ProtocolForm)
    params = form.parameters.values()
    assert (params.method, params.median_size) == ("median", 5)
    assert form.pickers["tomogram"].ident() == "1.tomogram"
    number = person.execute(form)
    assert person.window.project.runs[number].params["median_size"] == 5
    # And from the form to the preview, with what the form holds.
    person.window.forms.open_run(number)
    form = person.window.workspace.currentWidget()
    person.click(person.button(form, "Preview"))
    again = person.window.workspace.currentWidget()
    assert isinstance(again, DenoisePreview)
    assert again.form.values().median_size == 5
