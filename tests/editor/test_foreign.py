"""Models of other programs, opened in a project's editor and saved: nothing of them is lost."""

from __future__ import annotations

import json

import imodmodel
import numpy as np
import pytest
from editor_person import Person
from foreign_case import DRAWING, all_chunks, foreign_file
from PyQt6.QtCore import QCoreApplication, QEvent, Qt
from PyQt6.QtWidgets import QFileDialog

from tiltwright.app.editor_page import EditorPage
from tiltwright.engine.conventions import image_centre
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.io.model_file import read_fiducial_model, read_model, write_model
from tiltwright.engine.model import files as ours
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.tilt_series import load_tilt_series
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.engine.project.versions import compare
from tiltwright.engine.simulate.series import SeriesSpec, write_series
from tiltwright.widgets.lane import Lane

LEFT = Qt.MouseButton.LeftButton
SOURCE = Source(1, "fiducial_model")


@pytest.fixture
def writer() -> str:
    """Who wrote the model."""
    return "another program"


@pytest.fixture
def theirs(tmp_path, writer):
    """A series with a model beside it."""
    files = write_series(
        SeriesSpec(seed=3, n_views=15, nx=220, ny=200, n_beads=14, n_vesicles=0,
                   shift_step_sd_px=1, carbon=False), tmp_path, "s1",
    )  # fmt: skip
    truth = json.loads(files["truth"].read_text())
    xy = np.moveaxis(np.array(truth["raw_xy"]), 0, 1) - image_centre(220, 200)
    inside = (np.abs(xy) < [98, 88]).all(-1)
    best = np.argsort(-inside.sum(1))[:5]
    xy = np.where(inside[..., None], xy, np.nan)[best]
    model = FiducialModel.from_tracks(xy, (220, 200), 9.06)
    if writer == "us":
        ours.write_model(tmp_path, "s1", model, load_tilt_series(files["stack"]))
    else:
        write_model(tmp_path / "s1.fid", foreign_file(model))
    return tmp_path


@pytest.fixture
def opened(qtbot, theirs):
    """Opens the editor on the model that was imported."""
    made, lane = [], Lane()
    if not (theirs / "project").exists():
        project = Project.create(theirs / "project")
        project.add("import-tilt-series", {"files": [str(theirs / "s1.mrc")]})
        execute(project, 1)

    def open_() -> Person:
        page = EditorPage(project, SOURCE, "s1", lane)
        page.resize(1280, 800)
        page.show()
        page.activateWindow()
        made.append(page)
        person = Person(qtbot, page)
        person.wait(lambda: page.zap.view_shown >= 0 and page.isActiveWindow())
        page.zap.view.setFocus()
        return person

    yield open_
    for page in made:
        page.close()
        page.deleteLater()
    lane.close()
    project.close()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def test_all_of_a_foreign_model_is_kept_by_import_and_save(opened, theirs):
    person = opened()
    before = read_model(theirs / "s1.fid")
    assert person.model.n_tracks == 5
    view = int(np.flatnonzero(person.model.flag[2])[4])
    person.window.go_to(person.session.current)
    person.session.attach(2, view)
    person.key(Qt.Key.Key_Delete)
    person.session.attach(3, view)
    person.key(Qt.Key.Key_Right, Qt.KeyboardModifier.KeypadModifier)
    person.key(Qt.Key.Key_S)
    assert "Done saving model" in person.log
    first, second = person.window.saving._files.versions()
    # As it was imported, byte for byte; then with the two edits and all the rest.
    assert first.model_path.read_bytes() == (theirs / "s1.fid").read_bytes()
    after = read_model(second.model_path)
    assert all_chunks(after) == all_chunks(before)
    assert after.header == before.header
    assert [o.name for o in after.objects] == [o.name for o in before.objects]
    assert [len(o.contours) for o in after.objects] == [2, 4]
    assert np.array_equal(after.objects[1].contours[3].points, DRAWING)
    wanted = person.model
    person.window.close()
    assert np.array_equal(opened().model.xy, wanted.xy, equal_nan=True)


@pytest.mark.parametrize("writer", ["us"])
@pytest.mark.filterwarnings("ignore:The `dict` method is deprecated")
def test_saved_by_another_program_and_opened_again(opened, theirs, monkeypatch):
    """Another reader of such files opens what the editor saved, and saves it: the same points."""
    person = opened()
    person.session.attach(3, int(np.flatnonzero(person.model.flag[3])[2]))
    person.key(Qt.Key.Key_Up, Qt.KeyboardModifier.KeypadModifier)
    person.key(Qt.Key.Key_S)
    saved = person.window.saving._files.versions()[-1]
    before, wanted = read_fiducial_model(saved.model_path)[0], person.model
    path = theirs / "through.mod"
    imodmodel.ImodModel.from_file(saved.model_path).to_file(path)
    for a, b in zip(before, read_fiducial_model(path)[0], strict=True):
        assert np.array_equal(a, b)
    person.key(Qt.Key.Key_Delete)
    assert not compare(wanted, person.model).same
    layout, versions = person.window.layout_, person.window.versions
    layout.show_tab(versions)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a: (str(path), ""))
    person.qtbot.mouseClick(versions.file_button, LEFT)
    assert "Open through.mod: 5 contours" in person.log
    assert compare(wanted, person.model).same
    assert np.array_equal(person.model.xy, wanted.xy, equal_nan=True)
    person.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not compare(wanted, person.model).same


def test_a_file_that_was_opened_keeps_its_other_contents(opened, theirs):
    person = opened()
    other = theirs / "other.mod"
    file = read_model(theirs / "s1.fid")
    file.objects[0].header = b"another name".ljust(64, b"\0") + file.objects[0].header[64:]
    write_model(other, file)
    files = person.window.saving._files
    person.window.saving.open_file(other)
    person.key(Qt.Key.Key_S)
    assert read_model(files.versions()[-1].model_path).objects[0].name == "another name"
    # Undone, it is the file that was there before.
    other.write_bytes((theirs / "s1.fid").read_bytes().replace(b"object 0", b"object X"))
    person.window.saving.open_file(other)
    person.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    person.key(Qt.Key.Key_S)
    assert read_model(files.versions()[-1].model_path).objects[0].name == "another name"


def test_a_file_of_other_images_is_refused(opened, theirs):
    person = opened()
    path = theirs / "wrong.mod"
    file = read_model(theirs / "s1.fid")
    file.header = file.header[:136] + (999).to_bytes(4, "big") + file.header[140:]
    write_model(path, file)
    before = person.model
    person.window.saving.open_file(path)
    assert "belongs to images of 999 x 200 pixels" in person.log
    person.window.saving.open_file(theirs / "nothing.mod")
    assert "no such file" in person.log
    assert person.model is before


def test_a_project_that_is_open_elsewhere_is_only_looked_at(qtbot, opened, theirs):
    first = opened()
    reader, lane = Project.open(theirs / "project", read_only=True), Lane()
    page = EditorPage(reader, SOURCE, "s1", lane)
    try:
        assert "the project is open elsewhere" in page.layout_.notice.words.text()
        page.session.attach(3, 4)
        assert not page.session.do(_nothing())
        first.session.attach(2, 6)
        first.key(Qt.Key.Key_Delete)
    finally:
        page.close()
        page.deleteLater()
        lane.close()
    first.window.close()
    assert opened().window.layout_.notice.words.text().startswith("1 edit,")


def _nothing():
    from tiltwright.engine.model.edits import Together

    return Together((), "nothing")
