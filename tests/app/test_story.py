"""The tutorial by clicks alone: from an empty window to the cropped tomogram of two series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QLineEdit
from window_parts import CONTROL, Person, write_two_series

from tiltwright.app.cli import main as command_line
from tiltwright.engine.io.mrc import open_stack
from tiltwright.widgets.form.protocol_form import ProtocolForm
from tiltwright.widgets.runs.quality_table import QualityTable
from tiltwright.widgets.series.tilt_series_viewer import TiltSeriesViewer
from tiltwright.widgets.tomogram.tomogram_viewer import TomogramViewer


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two series: a simulated one, and the real one where it is at hand."""
    base = tmp_path_factory.mktemp("series")
    write_two_series(base, n_vesicles=2)
    return base


def inspect_every_step(person, steps) -> None:
    """What the tutorial looks at after each step."""
    window, qtbot = person.window, person.qtbot

    def opened(step: str, text: str, name: str = "small"):
        page = person.open_output(steps[step], text)
        if isinstance(page, QualityTable):
            page.select([name])
            qtbot.keyClick(page.table, Qt.Key.Key_Return)
            page = window.workspace.currentWidget()
        qtbot.waitUntil(lambda: page.lane.idle, timeout=20_000)
        return page

    raw = opened("import", "Tilt series")
    assert raw.table.model().rowCount() == raw.series.n_views == 21
    assert not raw.interpolated_action.isEnabled()
    assert raw.images.main_picture is not None
    clean = opened("preprocess", "Preprocessed")
    assert np.all(np.diff(clean.series.tilt_deg) > 0)
    coarse = opened("coarse", "Coarsely aligned")
    assert coarse.interpolated_action.isEnabled()
    qtbot.keyClick(coarse, Qt.Key.Key_I)
    qtbot.waitUntil(lambda: coarse.lane.idle, timeout=20_000)
    assert coarse.images.source.interpolated
    beads = opened("model", "Fiducial model")
    assert beads.beads_action.isEnabled()
    assert beads.images._model.n_tracks >= 10
    qtbot.keyClick(beads, Qt.Key.Key_T)
    assert not beads.beads_action.isChecked()
    aligned = opened("alignment", "Aligned tilt series")
    titles = [
        aligned.table.model().headerData(k, Qt.Orientation.Horizontal)
        for k in range(aligned.table.model().columnCount())
    ]
    assert any("esid" in str(t) for t in titles), titles
    person.select(steps["alignment"])
    numbers = window.summary.summary._summary.numbers
    assert any(n.series == "small" and "px" in n.text for n in numbers)
    tomogram = opened("reconstruction", "Tomogram")
    assert tomogram.beads_action.isEnabled()
    assert tomogram.tomogram.shape[0] == 64


def throw_out_a_view_and_take_it_back(person, steps, viewer) -> None:
    """A bad view is excluded with the space bar; what depends on it is computed again."""
    window = person.window
    volume = window.project.output_folder(steps["reconstruction"]) / "small_rec.mrc"
    before = np.array(open_stack(volume))
    viewer.show_view(4)
    person.key(Qt.Key.Key_Space, on=viewer.images)
    person.wait()
    assert window.stale == {steps["reconstruction"]}
    person.key(Qt.Key.Key_C)
    person.wait()
    assert window.stale == set()
    assert not np.array_equal(open_stack(volume), before)
    log = (window.project.folder_of(steps["reconstruction"]) / "log.txt").read_text()
    assert "position14: kept from before" in log
    person.key(Qt.Key.Key_Z, CONTROL, on=viewer.images)
    person.key(Qt.Key.Key_C)
    person.wait()
    assert np.array_equal(open_stack(volume), before)


def try_another_thickness(person, steps) -> None:
    """A parameter is changed in the form, and changed back."""
    window, number = person.window, steps["reconstruction"]
    for thickness in (56, 64):
        person.select(number)
        person.key(Qt.Key.Key_E)
        form = window.workspace.currentWidget()
        person.write(form, "thickness", str(thickness))
        assert form.estimate_label.text()
        assert person.execute(form) == number
        made = open_stack(window.project.output_folder(number) / "small_rec.mrc")
        assert made.shape[0] == thickness


def test_the_tutorial_by_clicks(qtbot, window, folder, tmp_path):
    person = Person(qtbot, window)
    # An empty window offers what to do first.
    person.click(person.button(window.runs.start, "Import tilt series"))
    page = window.workspace.currentWidget()
    line = page.findChild(QLineEdit)
    line.selectAll()
    qtbot.keyClicks(line, str(tmp_path / "project"))
    person.click(person.button(page, "Create project"))
    assert window.project is not None

    form = window.workspace.currentWidget()
    assert isinstance(form, ProtocolForm)
    person.write(form, "files", str(folder))
    person.write(form, "axis_deg", "-84.5")
    person.write(form, "pixel_size_a", "11.04")
    first = person.execute(form)
    assert window.project.runs[first].series == ["position14", "small"]

    steps = {"import": first}
    for key, title, values in (
        ("preprocess", "Tilt-series preprocess", {}),
        ("coarse", "Coarse prealignment", {}),
        ("model", "Generate fiducial model", {}),
        ("alignment", "Fiducial alignment", {}),
        ("reconstruction", "Tomogram reconstruction", {"thickness": "64"}),
    ):
        form = person.choose(title)
        for name, text in values.items():
            person.write(form, name, text)
        steps[key] = person.execute(form)

    inspect_every_step(person, steps)
    # Look at the alignment: the table of both series, one of them, interpolated.
    person.open_output(steps["alignment"], "Aligned tilt series")
    table = window.workspace.currentWidget()
    assert isinstance(table, QualityTable)
    table.select(["small"])
    table.series_opened.emit("small")
    viewer = window.workspace.currentWidget()
    assert isinstance(viewer, TiltSeriesViewer)
    assert viewer.series.alignment.fit.mean_residual_px < 0.2
    viewer.interpolated_action.trigger()
    assert viewer.interpolated_action.isChecked()

    throw_out_a_view_and_take_it_back(person, steps, viewer)
    try_another_thickness(person, steps)

    # The tomogram, its box, and the crop that the box asks for.
    person.open_output(steps["reconstruction"], "small")
    tomogram = window.workspace.currentWidget()
    assert isinstance(tomogram, TomogramViewer)
    tomogram.box_action.trigger()
    for name, value in (("z0", 13), ("z1", 52)):
        spin = tomogram.panel.edges[name]
        spin.setFocus()
        spin.selectAll()
        qtbot.keyClicks(spin, str(value))
        qtbot.keyClick(spin, Qt.Key.Key_Return)
    person.click(tomogram.panel.crop_button)
    crop = window.workspace.currentWidget()
    assert isinstance(crop, ProtocolForm)
    person.write(crop, "x_to", "0")
    person.write(crop, "y_to", "0")
    number = person.execute(crop)
    whole = window.project.output_folder(steps["reconstruction"]) / "small_rec.mrc"
    part = window.project.output_folder(number) / "small_crop.mrc"
    assert np.array_equal(open_stack(part), open_stack(whole)[12:52])

    # The same arrays and text files as the command line gives.
    for name in ("small", "position14"):
        stack = folder / f"{name}.mrc"
        rc = command_line(
            ["process", str(stack), "--tilt-angles", str(stack.with_suffix(".rawtlt")),
             "--tilt-axis", "-84.5", "--pixel-size", "11.04", "--thickness", "64",
             "--output", str(tmp_path / name)]
        )  # fmt: skip
        assert rc == 0
        mine = window.project.output_folder(steps["alignment"])
        endings = (".xf", ".tlt", ".xtilt", ".xyz", ".resid", "_residuals.csv", ".fid",
                   "_nogaps.fid")  # fmt: skip
        for ending in endings:
            a, b = mine / f"{name}{ending}", tmp_path / name / f"{name}{ending}"
            assert a.read_bytes() == b.read_bytes(), ending
        volume = window.project.output_folder(steps["reconstruction"]) / f"{name}_rec.mrc"
        assert np.array_equal(open_stack(volume), open_stack(tmp_path / name / f"{name}_rec.mrc"))
