"""A form says what would be refused, before Execute."""

from __future__ import annotations

import pytest
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtWidgets import QComboBox, QRadioButton

from tiltwright.app.foresight import foresight
from tiltwright.engine.errors import InputError
from tiltwright.engine.project.run import Source
from tiltwright.engine.protocols import all_protocols


def pick(person, box: QComboBox, text: str) -> None:
    """Go down a closed list with the arrow keys, from its top, to an entry that has ``text``."""
    box.setFocus()
    person.qtbot.keyClick(box, Qt.Key.Key_Home)
    for _ in range(box.count()):
        if text in box.currentText():
            return
        person.qtbot.keyClick(box, Qt.Key.Key_Down)
    raise AssertionError(f"no entry {text!r}")


def said(person, form) -> str:
    """What the form says when all that was asked has been answered."""
    person.qtbot.waitUntil(lambda: person.window.background.idle, timeout=20_000)
    return form.problem.text() if form.problem.isVisible() else ""


def test_a_parameter_that_does_not_fit_the_images(opened):
    form = opened.choose("erase fiducials")
    assert said(opened, form) == ""
    opened.write(form, "diameter_nm", "0.5")
    words = said(opened, form)
    assert "no series can be processed: erase fiducials: beads of 0.5 nm are" in words
    assert "at least 2 px" in words
    # It can be executed: what it is made of may have changed when its turn comes.
    assert form.execute_button.isEnabled()
    opened.write(form, "diameter_nm", "10")
    assert said(opened, form) == ""


def test_a_volume_of_another_size_and_one_that_fits(opened):
    form = opened.choose("second family")
    opened.write(form, "thickness", "48")
    pick(opened, form.pickers["start"].box, "Crop")
    words = said(opened, form)
    assert "the start" in words
    assert "does not fit the tomogram" in words
    pick(opened, form.pickers["start"].box, "Tomogram reconstruction")
    assert said(opened, form) == ""
    opened.write(form, "thickness", "50")
    assert "does not fit the tomogram" in said(opened, form)


def test_a_correction_in_3d_without_the_ctf(opened):
    form = opened.choose("Tomogram reconstruction")
    assert said(opened, form) == ""
    buttons = form.parameters.row("ctf").findChildren(QRadioButton)
    opened.qtbot.mouseClick(
        next(b for b in buttons if b.text() == "flip"), Qt.MouseButton.LeftButton, pos=QPoint(8, 8)
    )
    assert "choose it as an input, or set CTF correction in 3-D to off" in said(opened, form)


def test_what_is_refused_at_last_is_what_was_foreseen(opened):
    """The words of the form are those of the run."""
    project = opened.window.project
    protocol = all_protocols()["erase-fiducials"]
    params = protocol.Params(diameter_nm=0.5)
    words = list(foresight(project, protocol, params, {"tilt_series": Source(5, "tilt_series")}))
    with pytest.raises(InputError) as refused:
        protocol.foresee({"tilt_series": project.item(Source(5, "tilt_series"), "s1")}, params)
    assert words[:-1] == [None, None]
    assert str(refused.value) in words[-1]


def test_nothing_is_said_of_what_is_not_there_or_being_made(opened):
    project = opened.window.project
    protocol = all_protocols()["erase-fiducials"]
    params = protocol.Params(diameter_nm=0.5)

    def last(sources):
        return list(foresight(project, protocol, params, sources))[-1]

    source = Source(5, "tilt_series")
    assert last({"tilt_series": source}) != ""
    assert last({}) == last({"tilt_series": Source(99, "tilt_series")}) == ""
    project.runs[5].status = "running"
    assert last({"tilt_series": source}) == ""
    project.runs[5].status = "finished"
    # One series of two.
    one = Source(5, "tilt_series", ("s2",))
    assert last({"tilt_series": one}).startswith("erase fiducials: beads of 0.5 nm")
