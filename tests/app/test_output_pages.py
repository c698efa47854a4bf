"""What is opened of a project: tables, series and tomograms, and what is done in them."""

from __future__ import annotations

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from window_parts import CONTROL, NONE

from tiltwright.app import lineage
from tiltwright.app.series_page import SeriesPage
from tiltwright.app.tomogram_page import TomogramPage
from tiltwright.engine.io.text import read_angles
from tiltwright.engine.project.run import Source
from tiltwright.widgets.form.protocol_form import ProtocolForm
from tiltwright.widgets.runs.quality_table import QualityTable
from tiltwright.widgets.series.series_images import Comparison

Key = Qt.Key


def shown(person, page) -> None:
    person.qtbot.waitUntil(lambda: page.lane.idle, timeout=10_000)


def table_of(person, number: int, text: str) -> QualityTable:
    table = person.open_output(number, text)
    assert isinstance(table, QualityTable)
    person.qtbot.waitUntil(lambda: person.window.background.idle, timeout=10_000)
    return table


def row_of(table: QualityTable, name: str):
    """Where a series stands in the table."""
    model = table.table.model()
    for k in range(model.rowCount()):
        if model.index(k, 0).data() == name:
            return model.index(k, 0)
    raise AssertionError(name)


def test_the_table_has_numbers_thumbnails_and_thickness(opened):
    table = table_of(opened, 5, "Aligned tilt series")
    rows = {r.name: r for r in table._model.rows}
    assert set(rows) == {"s1", "s2"}
    for row in rows.values():
        assert (row.n_views, row.thickness_voxels) == (15, 36)
        assert row.mean_residual_px < 0.3
        assert row.n_beads > 0
        assert row.completeness > 0.5
        assert row.verdict in ("good", "check")
        assert not row.thumbnail.isNull()
        assert row.thickness_nm == pytest.approx(36 * 11.04 / 10, rel=0.2)
    tomograms = table_of(opened, 6, "Tomogram")
    assert {r.thickness_voxels for r in tomograms._model.rows} == {48}


def test_double_click_opens_the_series_at_its_worst_view(opened):
    table = table_of(opened, 5, "Aligned tilt series")
    area = table.table.visualRect(row_of(table, "s2")).center()
    opened.click(table.table.viewport(), area)
    opened.qtbot.mouseDClick(table.table.viewport(), Qt.MouseButton.LeftButton, NONE, area)
    page = opened.window.workspace.currentWidget()
    assert isinstance(page, SeriesPage)
    assert page.series.name == "s2"
    residual = page.series.alignment.fit.per_view_px()
    assert page.current_view == int(np.nanargmax(np.where(page.series.used, residual, -1)))


def test_a_parameter_change_for_the_selected_series(opened):
    window = opened.window
    table = table_of(opened, 5, "Aligned tilt series")
    opened.click(table.table.viewport(), table.table.visualRect(row_of(table, "s2")).center())
    opened.click(table.apply_button)
    form = window.workspace.currentWidget()
    assert isinstance(form, ProtocolForm)
    made = window.project.runs[8]
    assert made.label == "Fiducial alignment (s2)"
    assert made.inputs["tilt_series"] == Source(4, "tilt_series", ("s2",))
    opened.write(form, "criterion", "4") if "criterion" in form.parameters.values() else None
    opened.execute(form)
    assert window.project.runs[8].series == ["s2"]
    assert window.project.runs[8].inputs["tilt_series"].series == ("s2",)
    assert window.project.runs[5].series == ["s1", "s2"]
    opened.select(8)
    assert "only s2" in window.summary.summary._summary.inputs[0].text


def test_an_import_cannot_be_changed_for_some_series(opened):
    table = table_of(opened, 1, "Tilt series")
    opened.click(table.table.viewport(), table.table.visualRect(row_of(table, "s2")).center())
    opened.click(table.apply_button)
    assert "choose one of the next steps" in opened.box().text()
    assert len(opened.window.project.runs) == 7


def test_exclusion_is_saved_at_once_and_undone(opened):
    window = opened.window
    page = opened.open_output(5, "s1")
    page.show_view(3)
    opened.key(Key.Key_Space, on=page.images)
    assert window.project.item(Source(5, "tilt_series"), "s1").excluded[3]
    opened.wait()
    assert window.stale == {6, 7}
    again = window.project.open(window.project.folder, read_only=True)
    assert again.item(Source(5, "tilt_series"), "s1").excluded[3]
    opened.key(Key.Key_Z, CONTROL, on=page.images)
    assert not window.project.item(Source(5, "tilt_series"), "s1").excluded.any()
    opened.wait()
    assert window.stale == set()


def test_exclusion_of_the_imported_series_reaches_every_branch(opened):
    window = opened.window
    page = opened.open_output(5, "s1")
    page.scope.choose(True)
    for view in (2, 7, 11):
        page.show_view(view)
        opened.key(Key.Key_X, on=page.images)
    assert np.flatnonzero(
        window.project.item(Source(1, "tilt_series"), "s1").excluded
    ).tolist() == [2, 7, 11]
    assert not window.project.item(Source(5, "tilt_series"), "s1").excluded.any()
    opened.wait()
    assert window.stale == {2, 3, 4, 5, 6, 7}
    # The other series is kept, and so is everything when it is taken back.
    page.scope.choose(False)
    assert not page.exclusion.excluded.any()
    page.scope.choose(True)
    assert np.flatnonzero(page.exclusion.excluded).tolist() == [2, 7, 11]
    opened.key(Key.Key_C)
    opened.wait()
    assert window.stale == set()
    log = (window.project.folder_of(6) / "log.txt").read_text()
    assert log.count("s2: kept from before") >= 1
    # Acceptance g: the rerun uses the others, and everything still belongs to its view.
    run = window.project.runs[5]
    series = window.project.item(Source(5, "tilt_series"), "s1")
    assert series.used.sum() == 12
    assert np.isnan(series.alignment.fit.residual_px[:, [2, 7, 11]]).all()
    assert np.isfinite(series.alignment.fit.residual_px[:, [1, 3, 8]]).any()
    out = window.project.output_folder(run)
    assert len((out / "s1.xf").read_text().splitlines()) == 15
    tilts = read_angles(out / "s1.tlt", 15)
    assert np.abs(np.array(tilts) - series.tilt_deg).max() < 3
    # The page shows the new result, at the view where it was.
    assert page.series.used.sum() == 12
    assert page.current_view == 11


def test_a_page_follows_its_run(opened):
    page = opened.open_output(6, "s1")
    assert isinstance(page, TomogramPage)
    assert page.tomogram.shape[0] == 48
    opened.select(6)
    opened.key(Key.Key_E)
    form = opened.window.workspace.currentWidget()
    opened.write(form, "thickness", "40")
    opened.execute(form)
    assert page.tomogram.shape[0] == 40


def test_two_alignments_of_a_series_are_compared(opened):
    window = opened.window
    opened.select(5)
    opened.key(Key.Key_D, CONTROL)
    window.jobs.start(8)
    opened.wait()
    page = opened.open_output(5, "s1")
    assert page.compare_with.count() >= 2
    page.compare_with.choose(Source(8, "tilt_series"))
    shown(opened, page)
    assert page.compare.currentText() == Comparison.SIDE.value
    assert page.images.second_view.isVisible()
    assert page.interpolated_action.isChecked()
    page.compare_with.choose(None)
    assert not page.images.second_view.isVisible()


def test_two_selected_runs_are_compared_by_the_menu(opened):
    window = opened.window
    opened.select(6)
    opened.key(Key.Key_D, CONTROL)
    window.jobs.start(8)
    opened.wait()
    opened.select(6, 7)
    opened.menu("compare")
    page = window.workspace.currentWidget()
    assert isinstance(page, TomogramPage)
    assert page.second.tomogram.shape[0] == 36
    assert page.second.isVisible()
    page.set_cursor(50, 60, 20)
    # The crop begins at section 5: the same place of the specimen.
    assert page.second.cursor_voxel[2] == 16
    opened.select(1, 6)
    opened.menu("compare")
    assert "no results of one series" in opened.box().text()


def test_the_box_is_proposed_from_the_beads(opened):
    opened.select(6)
    opened.key(Key.Key_E)
    form = opened.window.workspace.currentWidget()
    opened.write(form, "thickness", "180")
    opened.execute(form)
    page = opened.open_output(6, "s1")
    beads = lineage.beads(opened.window.project, Source(6, "tomogram"), "s1")
    page.propose_action.trigger()
    assert "beads" in page.message.text()
    z = beads.xyz_nm[:, 2] * 10 / page.tomogram.pixel_size_a - page.tomogram.origin[2]
    assert ((z >= page.box.z0) & (z <= page.box.z1)).all()
    assert page.box.thickness_px < np.ptp(z) + 6 * beads.diameter_nm


def test_the_viewers_share_their_cache(opened):
    window = opened.window
    window.outputs.set_cache(200 << 20)
    first = opened.open_output(1, "s1")
    assert first.images._cache.budget_bytes == 200 << 20
    second = opened.open_output(1, "s2")
    assert first.images._cache.budget_bytes == second.images._cache.budget_bytes == 100 << 20
    window.workspace.close_page("series:1.tilt_series.s2")
    assert first.images._cache.budget_bytes == 200 << 20


def test_no_result_yet_is_said(opened):
    opened.select(5)
    opened.key(Key.Key_D, CONTROL)
    opened.key(Key.Key_A)
    assert "no results yet" in opened.box().text()
