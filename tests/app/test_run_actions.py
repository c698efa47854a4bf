"""Every action on runs, by keys and menus."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtGui import QDesktopServices, QGuiApplication
from PyQt6.QtWidgets import QFileDialog, QMenu
from window_parts import CONTROL, SHIFT

from tiltwright.app.tomogram_page import TomogramPage
from tiltwright.engine.io.mrc import open_stack
from tiltwright.widgets.form.protocol_form import ProtocolForm
from tiltwright.widgets.runs.quality_table import QualityTable

Key = Qt.Key


def test_a_finished_project_opens_with_its_numbers(opened):
    boxes = {box.id: box for box in opened.window.runs.graph.runs()}
    assert len(boxes) == 7
    assert all(box.status == "finished" and not box.stale for box in boxes.values())
    assert boxes["5"].key_number_text.endswith("px")
    assert boxes["6"].key_number_text == "48 voxels thick"
    assert boxes["5"].n_items == 2


def test_edit_by_key_and_by_double_click(qtbot, opened):
    opened.select(6)
    opened.key(Key.Key_E)
    form = opened.window.workspace.currentWidget()
    assert isinstance(form, ProtocolForm)
    assert form.label_edit.text() == "Tomogram reconstruction"
    opened.qtbot.keyClick(form, Key.Key_Escape)
    assert opened.window.workspace.page("form:6") is None
    graph = opened.window.runs.graph
    qtbot.mouseDClick(
        graph.viewport(), Qt.MouseButton.LeftButton, pos=graph.centre_of("6").toPoint()
    )
    assert isinstance(opened.window.workspace.page("form:6"), ProtocolForm)


def test_analyze_opens_the_table_of_both_or_the_only_one(opened):
    opened.select(6)
    opened.key(Key.Key_A)
    table = opened.window.workspace.currentWidget()
    assert isinstance(table, QualityTable)
    assert {r.name for r in table._model.rows} == {"s1", "s2"}
    run = opened.window.project.runs[6]
    del run.outputs["tomogram"]["s2"]
    opened.key(Key.Key_A)
    assert isinstance(opened.window.workspace.currentWidget(), TomogramPage)


def test_rename_comment_and_colour(opened):
    window = opened.window
    opened.select(5)
    came = opened.answering(opened.typing("All beads"))
    opened.key(Key.Key_F2)
    came()
    came = opened.answering(opened.typing("before the editor"))
    opened.menu("comment")
    came()

    def choose(dialog):
        dialog.setCurrentColor(Qt.GlobalColor.magenta)
        dialog.accept()

    came = opened.answering(choose)
    opened.key(Key.Key_L)
    came()
    box = next(b for b in window.runs.graph.runs() if b.id == "5")
    assert (box.label, box.comment, box.label_colour) == ("All beads", "before the editor",
                                                         "#ff00ff")  # fmt: skip
    stored = json.loads((window.project.folder_of(5) / "run.json").read_text())
    assert (stored["label"], stored["comment"], stored["colour"]) == (
        "All beads", "before the editor", "#ff00ff",
    )  # fmt: skip
    # None of that makes a result out of date.
    opened.wait()
    assert window.stale == set()


def test_cancelled_dialogs_change_nothing(opened):
    opened.select(5)
    for name in ("rename", "comment", "label", "delete"):
        came = opened.answering(lambda dialog: dialog.reject())
        opened.menu(name)
        came()
    run = opened.window.project.runs[5]
    assert (run.label, run.comment, run.colour) == ("Fiducial alignment", "", "")
    assert len(opened.window.project.runs) == 7


def test_duplicate_keeps_what_depends_on_each_other(opened):
    window = opened.window
    opened.select(5, 6)
    opened.key(Key.Key_D, CONTROL)
    assert sorted(window.project.runs) == list(range(1, 10))
    assert window.runs.selected() == ("8", "9")
    assert window.project.runs[9].inputs["tilt_series"].run == 8
    assert window.project.runs[8].inputs["tilt_series"].run == 4
    assert opened.statuses()[8] == "new"


def test_delete_takes_what_depends_on_it(opened):
    window = opened.window
    opened.open_output(6, "s1")
    assert window.workspace.count() == 1
    opened.select(5)
    folders = [window.project.folder_of(k) for k in (5, 6, 7)]
    seen = []

    def reply(dialog):
        seen.append(dialog.informativeText())
        opened.pressing("Delete")(dialog)

    came = opened.answering(reply)
    opened.key(Key.Key_Delete)
    came()
    assert sorted(window.project.runs) == [1, 2, 3, 4]
    assert not any(folder.exists() for folder in folders)
    assert "Tomogram reconstruction" in seen[0]
    assert window.workspace.page("tomogram:6.tomogram.s1") is None


def test_select_to_and_from_and_collapse(opened):
    window = opened.window
    opened.select(4)
    opened.key(Key.Key_T)
    assert set(window.runs.selected()) == set("1234")
    opened.select(4)
    opened.key(Key.Key_F)
    assert set(window.runs.selected()) == set("4567")
    opened.select(4)
    opened.key(Key.Key_Space)
    assert window.runs.graph.collapsed() == ("4",)
    opened.key(Key.Key_Space)
    assert window.runs.graph.collapsed() == ()
    # The same keys in the list.
    opened.click(window.runs.list_button)
    window.runs.select(["4"])
    opened.key(Key.Key_F, on=window.runs.list)
    assert set(window.runs.selected()) == set("4567")


def test_copy_paste_export_import(opened, tmp_path, monkeypatch):
    window = opened.window
    opened.select(5, 6)
    opened.key(Key.Key_C, CONTROL)
    assert json.loads(QGuiApplication.clipboard().text())
    opened.key(Key.Key_V, CONTROL)
    assert sorted(window.project.runs)[-2:] == [8, 9]
    assert window.runs.selected() == ("8", "9")
    target = tmp_path / "flow.json"
    opened.select(5, 6)
    for ask in ("getSaveFileName", "getOpenFileName"):
        monkeypatch.setattr(QFileDialog, ask, lambda *_: (str(target), ""))
    opened.menu("export")
    assert len(json.loads(target.read_text())) == 2
    opened.menu("import")
    assert sorted(window.project.runs)[-2:] == [10, 11]
    QGuiApplication.clipboard().setText("no workflow")
    opened.key(Key.Key_V, CONTROL)
    assert "holds no workflow" in opened.box().text()
    assert len(window.project.runs) == 11


def test_browse_folder(opened, monkeypatch):
    urls = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: urls.append(url) or True)
    opened.select(3)
    opened.key(Key.Key_B)
    assert urls[0].toLocalFile() == str(opened.window.project.folder_of(3))


def test_right_click_offers_everything(qtbot, opened):
    opened.select(3)
    graph = opened.window.runs.graph
    graph.context_requested.emit(graph.selected(), graph.mapToGlobal(graph.rect().center()))
    menu = next(m for m in opened.window.findChildren(QMenu) if m.isVisible())
    texts = [a.text() for a in menu.actions() if a.text()]
    assert len(texts) == len(opened.window.run_actions.actions)
    assert "Restart from here" in texts
    menu.close()


def test_restart_and_continue(opened):
    window = opened.window
    volume = window.project.output_folder(6) / "s1_rec.mrc"
    before, stamp = np.array(open_stack(volume)), volume.stat().st_mtime_ns
    opened.select(6)
    opened.key(Key.Key_C, SHIFT)
    opened.wait()
    assert volume.stat().st_mtime_ns == stamp
    assert "kept from before" in window.summary.log.all_text()
    opened.menu("restart")
    opened.wait()
    assert volume.stat().st_mtime_ns != stamp
    assert np.array_equal(open_stack(volume), before)
    assert set(opened.statuses().values()) == {"finished"}


def test_restart_from_here_runs_all_below_in_order(opened):
    began = []
    window = opened.window
    window.jobs.run_changed.connect(
        lambda run: began.append(run.id) if run.status == "running" else None
    )
    opened.select(5)
    opened.key(Key.Key_R, SHIFT)
    opened.wait()
    assert began == [5, 6, 7]
    assert set(opened.statuses().values()) == {"finished"}
    assert window.stale == set()


def test_a_changed_parameter_makes_stale_what_continue_all_mends(opened):
    window = opened.window
    opened.select(6)
    opened.key(Key.Key_E)
    form = window.workspace.currentWidget()
    opened.write(form, "thickness", "56")
    opened.click(form.save_button)
    opened.wait()
    assert window.stale == {6, 7}
    boxes = {b.id: b for b in window.runs.graph.runs()}
    assert boxes["6"].stale
    assert not boxes["5"].stale
    opened.key(Key.Key_C)
    opened.wait()
    assert window.stale == set()
    assert open_stack(window.project.output_folder(6) / "s1_rec.mrc").shape[0] == 56


def test_actions_are_offered_where_they_make_sense(opened):
    actions = opened.window.run_actions.actions
    opened.select(5)
    opened.key(Key.Key_Escape)
    assert opened.window.selected() == []
    for name in ("edit", "rename", "delete", "stop", "compare"):
        assert not actions[name].isEnabled(), name
    assert actions["paste"].isEnabled()
    opened.select(5, 6)
    assert not actions["edit"].isEnabled()
    assert actions["compare"].isEnabled()
    assert actions["delete"].isEnabled()
    assert not actions["stop"].isEnabled()


@pytest.mark.parametrize("name", ["Delete", "F2", "Ctrl+D"])
def test_keys_stand_in_the_tooltips(opened, name):
    tips = " ".join(a.toolTip() for a in opened.window.run_actions.actions.values())
    assert name.replace("Delete", "Del") in tips
