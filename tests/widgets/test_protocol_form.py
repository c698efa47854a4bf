"""The form of a run, the catalogue and the wizard."""

from __future__ import annotations

from pathlib import Path

import pytest
from PyQt6.QtCore import Qt

from tiltwright.engine.protocols import protocols
from tiltwright.widgets.form.form_pickers import InputChoice
from tiltwright.widgets.form.protocol_form import ProtocolForm, RunSettings
from tiltwright.widgets.form.wizard import ChainStep, Wizard, series_in
from tiltwright.widgets.form.wizard_params import WizardParams
from tiltwright.widgets.runs.catalogue import Catalogue, CatalogueEntry

CHOICE = InputChoice(
    "series", "Tilt series",
    (("4.ts", "Coarse prealignment", "2 items, +ali"), ("3.ts", "Preprocess", "2 items")),
)  # fmt: skip


def _form(qtbot, **more):
    protocol = protocols()["reconstruction"]
    form = ProtocolForm(
        protocol.Params, protocol.title, help_text=protocol.__doc__, citation=protocol.citation,
        runs=(("7", "CTF"), ("8", "Denoise")), **{"inputs": (CHOICE,), **more},
    )  # fmt: skip
    qtbot.addWidget(form)
    form.show()
    return form


def test_execute_tells_all_that_the_form_holds(qtbot):
    form = _form(qtbot, values={"thickness": 200}, estimate=lambda s: f"{s.params.thickness} MB")
    assert form.estimate_label.text() == "200 MB"
    form.label_edit.clear()
    qtbot.keyClicks(form.label_edit, "WBP 200")
    qtbot.mouseClick(form.restart_button, Qt.MouseButton.LeftButton)
    form.wait_for.actions_by_id["8"].trigger()
    form.pickers["series"].box.setFocus()
    qtbot.keyClick(form.pickers["series"].box, Qt.Key.Key_Down)
    with qtbot.waitSignal(form.executed) as caught:
        qtbot.mouseClick(form.execute_button, Qt.MouseButton.LeftButton)
    state = caught.args[0]
    assert (state.label, state.mode, state.wait_for) == ("WBP 200", "restart", ("8",))
    assert state.inputs == {"series": "3.ts"}
    assert state.params.thickness == 200


def test_settings_and_modified(qtbot):
    form = _form(
        qtbot, settings=RunSettings(label="a", comment="b", mode="restart", wait_for=("7",))
    )
    assert (form.state().label, form.state().comment) == ("a", "b")
    assert (form.state().mode, form.wait_for.text()) == ("restart", "CTF")
    assert not form.is_modified()
    qtbot.keyClicks(form.comment_edit, "c")
    assert form.is_modified()
    form.mark_saved()
    assert not form.is_modified()


def test_nothing_fits(qtbot):
    form = _form(qtbot, inputs=(InputChoice("series", "Tilt series", ()),))
    assert not form.execute_button.isEnabled()
    assert form.save_button.isEnabled()
    assert "no output of this project fits" in form.pickers["series"].error.text()
    with qtbot.assertNotEmitted(form.executed):
        qtbot.keyClick(form.label_edit, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)


def test_an_input_that_is_gone_has_to_be_chosen_again(qtbot):
    form = _form(qtbot, settings=RunSettings(inputs={"series": "99.ts"}))
    assert form.pickers["series"].ident() is None
    assert form.problem.text() == "⚠ Tilt series: choose an input"
    assert not form.is_valid()


def test_optional_input_may_stay_empty(qtbot):
    form = _form(qtbot, inputs=(CHOICE, InputChoice("ctf", "CTF", (("5", "c", ""),), False)))
    assert form.state().inputs == {"series": "4.ts", "ctf": None}
    assert form.is_valid()


def test_invalid_parameters_can_be_neither_saved_nor_executed(qtbot):
    form = _form(qtbot)
    edit = form.parameters.row("thickness").editor.edit
    edit.selectAll()
    qtbot.keyClicks(edit, "1")
    assert form.problem.text() == "⚠ Thickness: must be at least 2 voxels"
    assert not form.save_button.isEnabled()
    assert not form.execute_button.isEnabled()


def test_read_only_says_why(qtbot):
    form = _form(qtbot, read_only="open in another window")
    assert not form.execute_button.isEnabled()
    assert form.problem.text() == "⚠ open in another window"


def test_keys(qtbot):
    form = _form(qtbot)
    with qtbot.waitActive(form):
        form.activateWindow()
    form.label_edit.setFocus()
    for key, modifier, signal in (
        (Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier, form.saved),
        (Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier, form.executed),
        (Qt.Key.Key_Escape, Qt.KeyboardModifier.NoModifier, form.closed),
    ):
        with qtbot.waitSignal(signal):
            qtbot.keyClick(form.label_edit, key, modifier)


def test_level(qtbot):
    form = _form(qtbot)
    assert not form.parameters.row("radial_cutoff").isVisible()
    qtbot.mouseClick(form.advanced_button, Qt.MouseButton.LeftButton)
    assert form.parameters.row("radial_cutoff").isVisible()


ENTRIES = (
    CatalogueEntry("import", "Import tilt series", "Import", "Link stacks.", ("header",)),
    CatalogueEntry("coarse-prealignment", "Coarse prealignment", "Alignment", "", ("tiltxcorr",)),
    CatalogueEntry("fiducial-alignment", "Fiducial alignment", "Alignment", "", ("tiltalign",)),
)


@pytest.fixture
def catalogue(qtbot):
    widget = Catalogue(ENTRIES)
    qtbot.addWidget(widget)
    with qtbot.waitActive(widget):
        widget.show()
        widget.activateWindow()
    return widget


def test_a_click_on_a_section_hides_what_is_in_it(qtbot, catalogue):
    top = catalogue.tree.topLevelItem(0)
    place = catalogue.tree.visualItemRect(top).center()
    for expanded in (False, True):
        qtbot.mouseClick(catalogue.tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
        assert top.isExpanded() is expanded


def test_search_by_the_name_in_imod_and_return(qtbot, catalogue):
    catalogue.tree.setFocus()
    qtbot.keyClick(catalogue.tree, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    assert catalogue.search.hasFocus()
    qtbot.keyClicks(catalogue.search, "TiltXC")
    assert catalogue.visible_keys() == ("coarse-prealignment",)
    with qtbot.waitSignal(catalogue.protocol_chosen) as caught:
        qtbot.keyClick(catalogue.search, Qt.Key.Key_Return)
    assert caught.args == ["coarse-prealignment"]


def test_all_words_must_stand_somewhere(qtbot, catalogue):
    qtbot.keyClicks(catalogue.search, "alignment fid")
    assert catalogue.visible_keys() == ("fiducial-alignment",)
    qtbot.keyClick(catalogue.search, Qt.Key.Key_Escape)
    assert len(catalogue.visible_keys()) == 3


def test_arrow_goes_into_the_tree_and_return_opens(qtbot, catalogue):
    qtbot.keyClick(catalogue.search, Qt.Key.Key_Down)
    assert catalogue.tree.hasFocus()
    with qtbot.waitSignal(catalogue.protocol_chosen) as caught:
        qtbot.keyClick(catalogue.tree, Qt.Key.Key_Return)
    assert caught.args == ["import"]


def test_nothing_found_opens_nothing(qtbot, catalogue):
    qtbot.keyClicks(catalogue.search, "relion")
    assert catalogue.visible_keys() == ()
    with qtbot.assertNotEmitted(catalogue.protocol_chosen):
        qtbot.keyClick(catalogue.search, Qt.Key.Key_Return)


@pytest.fixture
def wizard(qtbot):
    widget = Wizard(
        WizardParams,
        lambda v: [ChainStep("Import", f"{len(v.files)} series"), ChainStep("Reconstruction")],
    )
    qtbot.addWidget(widget)
    widget.show()
    return widget


def test_wizard_needs_series_and_tells_its_values(qtbot, wizard, tmp_path):
    assert not wizard.accept_button.isEnabled()
    for name in ("a.mrc", "b.st", "a.mrc.mdoc", "c.mdoc", "notes.txt"):
        (tmp_path / name).touch()
    with qtbot.waitSignal(wizard.files_changed):
        wizard.add_files([tmp_path])
    names = [path.name for path in wizard.series.files()]
    assert names == ["a.mrc", "b.st", "c.mdoc"], "a stack comes before its own mdoc"
    edit = wizard.parameters.row("tilt_axis_deg").editor.edit
    qtbot.keyClicks(edit, "-84.5")
    with qtbot.waitSignal(wizard.accepted) as caught:
        qtbot.mouseClick(wizard.accept_button, Qt.MouseButton.LeftButton)
    values = caught.args[0]
    assert values.params.tilt_axis_deg == -84.5
    assert values.params.pixel_size_a is None
    assert [path.name for path in values.files] == names


def test_wizard_takes_a_series_once_and_lets_it_go(qtbot, wizard):
    wizard.add_files([Path("x.mrc"), Path("x.mrc"), Path("y.mrc")])
    wizard.describe_files({Path("x.mrc"): "41 views"})
    assert wizard.series.list.item(0).text() == "x.mrc\n    41 views"
    wizard.series.list.setCurrentRow(0)
    wizard.series.list.setFocus()
    qtbot.keyClick(wizard.series.list, Qt.Key.Key_Delete)
    assert wizard.series.files() == (Path("y.mrc"),)


def test_an_empty_folder_is_named(wizard, tmp_path):
    wizard.add_files([tmp_path])
    assert tmp_path.name in wizard.series.hint.text()
    assert series_in(tmp_path) == []
