"""A model made by hand: from no contour to one that is aligned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from curation_cases import simulated, simulated_spec
from editor_person import Person
from PyQt6.QtCore import QCoreApplication, QEvent, Qt

from tiltwright.engine.curation.live import LiveAlignment
from tiltwright.engine.model.edits import AddContour, Point
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag
from tiltwright.engine.simulate.series import simulate_series
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


def test_from_nothing_to_twenty_beads_by_clicks(opened):
    """What was chosen with three beads is chosen anew as the model grows.

    Frozen, it would end with a leave-one-out error of 0.15 px and half of the surfaces wrong.
    """
    series, _, exact = simulated(3, 31, 24)
    on_top = simulate_series(simulated_spec(3, 31, 24)).beads_xyz[:20, 2] > 0
    diameter = simulated(3, 31, 24)[1].diameter_px
    person = opened(series, empty(simulated(3, 31, 24)[1], diameter))
    window, session = person.window, person.session
    person.wait(lambda: window.centring.tool is not None)
    filled, n_gestures = [], 0
    window.fixer.filled.connect(filled.append)
    last = series.n_views - 1

    def click(bead: int, view: int) -> None:
        nonlocal n_gestures
        n_gestures += 1
        person.click(person.at_raw(exact[bead, view]), MIDDLE)
        person.wait(lambda: session.undo_stack.index() == n_gestures)

    def seed(bead: int) -> None:
        window.bead_fixer.set_operation(Operation.SEED)
        person.key(Qt.Key.Key_Insert)
        click(bead, session.current.view)
        window.bead_fixer.set_operation(Operation.GAPS)

    def rest() -> None:
        choosing = (id(session), "choose")
        person.wait(lambda: session.up_to_date and not session.slow_lane.waits(choosing))

    for bead in range(3):
        seed(bead)
        for key, far in ((Qt.Key.Key_PageUp, last), (Qt.Key.Key_PageDown, 0)):
            person.key(Qt.Key.Key_Insert)
            while session.current.view != far:
                person.key(key)
                click(bead, session.current.view)
    person.wait(lambda: session.up_to_date and session.idle)
    young = session.live
    # So it would stay.
    frozen = young.solve(simulated(3, 31, 24)[1])
    assert frozen.leave_one_out_px > 0.12
    assert np.mean((frozen.surface[:20] == 1) == on_top) < 0.8
    for bead in range(3, 20):
        seed(bead)
        for key in (Qt.Key.Key_Home, Qt.Key.Key_End):
            person.key(key)
            click(bead, session.current.view)
        rest()
        filled.clear()
        person.key(Qt.Key.Key_G, Qt.KeyboardModifier.ControlModifier)
        person.wait(lambda: bool(filled))
        n_gestures += filled[0].edit is not None
        rest()
        if bead == 3:
            person.wait(lambda: session.live is not young)
            assert "The model has grown: variables chosen anew at 4 beads" in person.log
    person.wait(lambda: session.up_to_date and session.idle)
    snapshot, best = session.snapshot, LiveAlignment.choose(series, session.model).first
    assert snapshot.model.n_tracks == 20
    assert snapshot.leave_one_out_px == pytest.approx(best.leave_one_out_px, rel=0.02)
    assert snapshot.leave_one_out_px < 0.1
    assert np.array_equal(snapshot.surface == 1, on_top)
    assert window.numbers.total["loo"].text().endswith(" anew")
    assert "variables chosen anew at 1" in window.numbers.state.text()
    # A choice is no edit: the history is that of the gestures, and what is chosen survives it.
    assert session.undo_stack.count() == n_gestures
    kept, model = session.live, session.model
    person.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    person.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    rest()
    assert session.snapshot.solved
    person.key(Qt.Key.Key_Y, Qt.KeyboardModifier.ControlModifier)
    person.key(Qt.Key.Key_Y, Qt.KeyboardModifier.ControlModifier)
    rest()
    assert np.array_equal(session.model.xy, model.xy, equal_nan=True)
    assert session.live is kept
    # The mean is over the points of weight > 0.1: one at that border may change sides, no more.
    trusted = (snapshot.weight > 0.1) & (session.snapshot.weight > 0.1)
    assert (trusted != (snapshot.weight > 0.1)).sum() <= 1
    again, first = (s.loo_px[trusted].mean() for s in (session.snapshot, snapshot))
    assert again == pytest.approx(first, rel=1e-3)
    assert np.nanmax(np.abs(session.snapshot.predicted_px - snapshot.predicted_px)) < 0.02


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
