"""A model made by hand: from no contour to one that is aligned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from editor_person import Person
from PyQt6.QtCore import QCoreApplication, QEvent, Qt

from tiltwright.engine.model.edits import AddContour, Point
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag
from tiltwright.engine.stack.binning import bin_view
from tiltwright.widgets.editor.bead_fixer import Operation
from tiltwright.widgets.editor.editor_window import EditorWindow

MIDDLE = Qt.MouseButton.MiddleButton


@pytest.fixture
def opened(qtbot):
    made = []

    def open_(series, model) -> Person:
        window = EditorWindow(series, model)
        window.resize(1280, 800)
        window.show()
        window.activateWindow()
        made.append(window)
        person = Person(qtbot, window)
        person.wait(lambda: window.zap.view_shown >= 0)
        return person

    yield open_
    for window in made:
        window.close()
        window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def empty(model: FiducialModel, diameter_px: float = 9.06) -> FiducialModel:
    xy = np.zeros((0, model.n_views, 2))
    return FiducialModel.from_tracks(xy, model.size_px, diameter_px)


def test_seeds_by_clicks_on_an_empty_model(opened, real):
    series, known = real
    person = opened(series, empty(known))
    window, session = person.window, person.session
    person.wait(lambda: "fiducials are too few" in window.numbers.state.text())
    person.wait(lambda: window.centring.tool is not None)
    # What there is to do is at hand, and what there is not cannot be pressed.
    assert "a middle click on a bead begins one" in person.log
    assert "DataError" not in person.log
    assert window.bead_fixer.operation is Operation.SEED
    assert not window.worklist.accept_button.isEnabled()
    view = session.current.view
    for bead in (3, 5, 8):
        n = person.model.n_tracks
        person.click(person.at_raw(known.xy[bead, view]), MIDDLE)
        person.wait(lambda n=n: person.model.n_tracks == n + 1)
        # Not yet learned what the beads look like, it is exact to a fifth of one.
        off = np.hypot(*(person.model.xy[n, view] - known.xy[bead, view]))
        assert off < 0.2 * known.diameter_px
    person.key(Qt.Key.Key_Space)
    assert "missing points" in person.log
    person.key(Qt.Key.Key_Apostrophe)
    assert "still being chosen" in person.log
    assert person.log.count("too few") <= 4


def test_an_alignment_is_chosen_as_soon_as_there_are_enough_beads(opened, real):
    series, known = real
    person = opened(series, empty(known))
    session = person.session
    person.wait(lambda: "too few" in person.window.numbers.state.text())
    for bead in range(8):
        points = tuple(
            Point(0, v, *known.xy[bead, v], int(Flag.EDITED))
            for v in np.flatnonzero(known.flag[bead])
        )
        session.do(AddContour(points=points))
    person.wait(lambda: session.up_to_date)
    assert session.snapshot.solved
    assert "solved in" in person.window.numbers.state.text()


def test_centring_learns_again_from_a_model_that_has_grown(opened, real):
    series, known = real
    person = opened(series, empty(known))
    centring = person.window.centring
    person.wait(lambda: centring.tool is not None)
    first = centring.tool
    points = tuple(
        Point(0, v, *known.xy[5, v], int(Flag.EDITED)) for v in np.flatnonzero(known.flag[5])
    )
    person.session.do(AddContour(points=points))
    person.wait(lambda: centring.tool is not first)
    found = centring.tool.autocentre(10, tuple(known.xy[8, 10] + 2.0))
    assert np.hypot(found.x - known.xy[8, 10, 0], found.y - known.xy[8, 10, 1]) < 0.5


def test_beads_too_small_to_be_centred(opened, real):
    series, known = real
    person = opened(series, empty(known, 2.0))
    person.wait(lambda: "too small" in person.log)
    person.window.bead_fixer.set_operation(Operation.SEED)
    person.click(person.at_raw(known.xy[3, person.session.current.view]), MIDDLE)
    assert person.log.splitlines()[-1].endswith("use images of a smaller binning")
    assert person.model.n_tracks == 0


def test_on_the_binned_stack_and_on_the_full_one(opened, real):
    """The same point at the same raw place, whichever stack is shown."""
    series, known = real
    work = np.array([bin_view(v, 2) for v in series.stack])
    binned = replace(series, work=work, binning=2)
    person = opened(binned, known)
    person.wait(lambda: person.session.live is not None)
    person.go(5, 10)
    pictures = person.window.layout_.pictures
    places = []
    for k in (0, pictures.findText("Raw, full stack")):
        pictures.setCurrentIndex(k)
        pictures.activated.emit(k)
        person.wait(lambda k=k: person.window.zap.raw_per_image == (2.0 if k == 0 else 1.0))
        person.wait(lambda: person.window.zap.images.source is not None)
        at = person.screen(5)
        person.click(at)
        assert person.session.current.contour == 5
        places.append(person.raw_at(at))
        picture = person.window.zap.view
        x, y = (round(float(v)) for v in picture.to_image(at))
        around = np.array([[picture.value_at(x + i, y + j) for i in range(-9, 10)]
                           for j in range(-9, 10)])  # fmt: skip
        assert around[8:11, 8:11].mean() < np.median(around)
    assert np.allclose(places[0], known.xy[5, 10], atol=1e-6)
    assert np.allclose(places[1], known.xy[5, 10], atol=1e-6)
