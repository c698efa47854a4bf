"""The form of a protocol's parameters: typed by real keys and clicks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, model_validator
from PyQt6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PyQt6.QtGui import QDropEvent, QKeyEvent
from PyQt6.QtWidgets import QApplication, QFileDialog, QRadioButton

from tiltwright.engine.protocols import protocols
from tiltwright.engine.protocols.base import Parameters, parameter
from tiltwright.widgets.form.form import InvalidForm, ParameterForm
from tiltwright.widgets.form.form_fields import number_text, parse_number, specs_of


class Everything(Parameters):
    """One field of each kind."""

    count: int = parameter(3, label="Count", help="How many.", unit="px", imod="Num", ge=1, le=9)
    angle_deg: float = parameter(0.5, label="Angle", help="", unit="deg", expert=True)
    axis_deg: float | None = parameter(None, label="Axis", help="", unit="deg")
    fast: bool = parameter(True, label="Fast", help="")
    kind: Literal["none", "one", "group"] = parameter("one", label="Kind", help="")
    method: Literal["weighted_back_projection", "iterative_reconstruction", "fourier"] = parameter(
        "fourier", label="Method", help=""
    )
    group: int = parameter(5, label="Group", help="", ge=2, shown_if={"kind": ("one", "group")})
    name: str = parameter("x", label="Name", help="")
    folder: Path | None = Field(None, json_schema_extra={"path": "folder", "group": "Files"})
    size: tuple[int, int] = Field((680, 340), json_schema_extra={"group": "Files"})
    views: tuple[int, ...] = Field((), json_schema_extra={"group": "Files"})

    @model_validator(mode="after")
    def _together(self) -> Everything:
        if self.name == "bad":
            raise ValueError("Name and count do not go together")
        return self


@pytest.fixture
def form(qtbot):
    widget = ParameterForm(Everything)
    qtbot.addWidget(widget)
    widget.show()
    return widget


def _type(qtbot, edit, text):
    edit.setFocus()
    edit.selectAll()
    qtbot.keyClick(edit, Qt.Key.Key_Delete)
    qtbot.keyClicks(edit, text)


def test_defaults_come_back_unchanged(form):
    assert form.values() == Everything()
    assert form.changed() == ()


@pytest.mark.parametrize("key", list(protocols()))
def test_every_protocol_has_a_form_that_gives_its_defaults(qtbot, key):
    params = protocols()[key].Params
    widget = ParameterForm(params)
    qtbot.addWidget(widget)
    assert widget.values() == params()
    assert widget.changed() == ()


def test_every_value_goes_in_and_out(qtbot, tmp_path):
    given = Everything(
        count=7, angle_deg=-0.1, axis_deg=0.0, fast=False, kind="group", method="fourier",
        group=2, name="a b", folder=tmp_path, size=(1, 2), views=(3, 4),
    )  # fmt: skip
    widget = ParameterForm(Everything, given.model_dump())
    qtbot.addWidget(widget)
    assert widget.values() == given


def test_a_typed_zero_is_a_zero_and_empty_is_the_metadata(qtbot, form):
    edit = form.row("axis_deg").editor.edit
    assert edit.placeholderText() == "from the metadata"
    assert form.values().axis_deg is None
    _type(qtbot, edit, "0")
    assert form.values().axis_deg == 0.0
    assert form.row("axis_deg").label.font().bold()
    _type(qtbot, edit, "")
    assert form.values().axis_deg is None
    assert not form.row("axis_deg").label.font().bold()


@pytest.mark.parametrize(
    ("name", "typed", "reason"),
    [
        ("count", "0", "must be at least 1 px"),
        ("count", "10", "must be at most 9 px"),
        ("count", "2.5", "must be a whole number"),
        ("count", "", "is empty: needs a whole number"),
        ("axis_deg", "1,5", "needs a decimal point, not a comma"),
        ("axis_deg", "north", "must be a number"),
        ("views", "1, x", "must be a whole number"),
    ],
)
def test_the_reason_stands_at_the_field(qtbot, form, name, typed, reason):
    with qtbot.waitSignal(form.validity_changed, check_params_cb=lambda ok: not ok):
        _type(qtbot, form.row(name).editor.edit, typed)
    assert form.row(name).error.text() == f"⚠ {reason}"
    assert form.row(name).error.isVisible()
    with pytest.raises(InvalidForm, match=name):
        form.values()
    with qtbot.waitSignal(form.validity_changed, check_params_cb=bool):
        form.row(name).reset_button.click()
    assert not form.row(name).error.isVisible()


def test_what_concerns_several_fields_stands_at_the_top(qtbot, form):
    _type(qtbot, form.row("name").editor.edit, "bad")
    assert form.reasons() == {"": "name and count do not go together"}


def test_shown_if_follows_the_other_field(qtbot, form):
    assert form.row("group").isVisible()
    qtbot.mouseClick(form.row("kind").editor.buttons[0], Qt.MouseButton.LeftButton)
    assert form.values().kind == "none"
    assert not form.row("group").isVisible()
    qtbot.mouseClick(form.row("kind").editor.buttons[2], Qt.MouseButton.LeftButton)
    assert form.row("group").isVisible()


def test_expert_fields_show_when_asked_or_changed(qtbot, form):
    row = form.row("angle_deg")
    assert not row.isVisible()
    form.set_advanced(True)
    assert row.isVisible()
    _type(qtbot, row.editor.edit, "2")
    form.set_advanced(False)
    assert row.isVisible(), "a hidden value must not steer the result"
    row.reset_button.click()
    assert not row.isVisible()


def test_shown_if_of_a_hidden_condition_hides_too(qtbot):
    params = protocols()["fiducial-alignment"].Params
    widget = ParameterForm(params, {"automatic": True, "tilt": "group"})
    qtbot.addWidget(widget)
    widget.show()
    assert not widget.row("tilt_group").isVisible()
    qtbot.mouseClick(widget.row("automatic").editor.switch, Qt.MouseButton.LeftButton)
    assert widget.row("tilt_group").isVisible()


def test_switch_by_key(qtbot, form):
    switch = form.row("fast").editor.switch
    switch.setFocus()
    qtbot.keyClick(switch, Qt.Key.Key_Space)
    assert form.values().fast is False


def test_arrows_step_a_number_in_its_last_digit(qtbot, form):
    form.set_values({"angle_deg": 0.25})
    edit = form.row("angle_deg").editor.edit
    qtbot.keyClick(edit, Qt.Key.Key_Up)
    assert edit.text() == "0.26"
    qtbot.keyClick(form.row("count").editor.edit, Qt.Key.Key_Down)
    assert form.values().count == 2


def test_a_letter_of_any_alphabet_is_only_a_wrong_number(qtbot, form):
    edit = form.row("count").editor.edit
    edit.clear()
    # QTest types Latin-1 only; such keys have no member in Qt.Key.
    key = QKeyEvent(QKeyEvent.Type.KeyPress, 0x0416, Qt.KeyboardModifier.NoModifier, "ж")
    QApplication.sendEvent(edit, key)
    assert edit.text() == "ж"
    assert form.reasons() == {"count": "must be a whole number"}


def test_long_choices_open_and_the_wheel_is_harmless(qtbot, form):
    box = form.row("method").editor.box
    assert box.currentText() == "fourier"
    assert box.itemText(0) == "weighted back projection"
    assert form.row("kind").editor.box is None
    box.setFocus()
    qtbot.keyClick(box, Qt.Key.Key_Up)
    assert form.values().method == "iterative_reconstruction"


@pytest.mark.parametrize("key", list(protocols()))
def test_no_choice_is_cut_off(qtbot, key):
    made = ParameterForm(protocols()[key].Params)
    qtbot.addWidget(made)
    made.resize(690, 500)
    made.show()
    buttons = made.findChildren(QRadioButton)
    qtbot.waitUntil(lambda: made.width() == 690)
    assert all(b.width() >= b.sizeHint().width() for b in buttons if b.isVisible())


def test_dropped_folder(qtbot, form, tmp_path):
    editor = form.row("folder").editor
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(tmp_path))])
    editor.dropEvent(
        QDropEvent(
            QPointF(3, 3), Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
    )  # fmt: skip
    assert form.values().folder == tmp_path


def test_help_shows_the_name_in_imod_and_the_limits(qtbot, form):
    row = form.row("count")
    assert not row.help_text.isVisible()
    qtbot.mouseClick(row.help_button, Qt.MouseButton.LeftButton)
    assert row.help_text.isVisible()
    for words in ("How many.", "IMOD: Num", "from 1 to 9 px", "Default 3 px"):
        assert words in row.help_text.text()
        assert words in row.toolTip()


def test_tab_reaches_every_editor(qtbot, form):
    form.set_advanced(True)
    with qtbot.waitActive(form):
        form.activateWindow()
    seen = set()
    form.row("count").editor.edit.setFocus()
    for _ in range(60):
        widget = QApplication.focusWidget()
        for spec in specs_of(Everything):
            if form.row(spec.name).editor.isAncestorOf(widget):
                seen.add(spec.name)
        qtbot.keyClick(widget, Qt.Key.Key_Tab)
    assert seen == {spec.name for spec in specs_of(Everything)}


def test_unknown_names_are_refused(form):
    with pytest.raises(KeyError, match="nothing_like_it"):
        form.set_values({"nothing_like_it": 1})


def test_groups_have_headings(form):
    specs = {spec.name: spec for spec in specs_of(Everything)}
    assert specs["folder"].group == "Files"
    assert form.row("folder").mapTo(form, QPoint()).y() > form.row("name").mapTo(form, QPoint()).y()


@pytest.mark.parametrize("value", [0.1, 1e-7, 123456789.123, -0.5, 3.0, 1 / 3])
def test_numbers_survive_being_text(value):
    assert parse_number(number_text(value), "float") == value


def test_files_or_folders_are_browsed_for(qtbot, monkeypatch):
    class Import(Parameters):
        files: tuple[str, ...] = Field((), json_schema_extra={"path": "files"})

    form = ParameterForm(Import)
    qtbot.addWidget(form)
    editor = form.row("files").editor
    monkeypatch.setattr(
        QFileDialog, "getOpenFileNames", lambda *_: (["/data/a b.mrc", "/data/c.mrc"], "")
    )
    qtbot.mouseClick(editor.browse, Qt.MouseButton.LeftButton)
    assert form.values().files == ("/data/a b.mrc", "/data/c.mrc")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "/data")
    qtbot.mouseClick(editor.browse_folder, Qt.MouseButton.LeftButton)
    assert form.values().files == ("/data",)
