"""The worklist, what Fill All Gaps leaves to be looked at, and the slab."""

from __future__ import annotations

import numpy as np
import pytest
from editor_person import displaced, spoil
from PyQt6.QtCore import Qt

from tiltwright.engine.curation.worklist import Kind
from tiltwright.engine.model.edits import SwapTracks
from tiltwright.engine.model.fiducial_model import Flag

K, LEFT, MIDDLE = Qt.Key, Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton
SHIFT, CTRL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
PAD = Qt.KeyboardModifier.KeypadModifier


def test_what_was_spoiled_stands_at_the_top_and_accepting_mends_it(person, real):
    worklist, session = person.window.worklist, person.session
    before = session.snapshot.leave_one_out_px
    displaced(person, 5, 10, (8.0, 6.0))
    displaced(person, 21, 15, (-7.0, 9.0))

    def top():
        items = worklist.items()
        return [(i.contour, i.view) for i in items[:2]]

    person.wait(lambda: sorted(top()) == [(5, 10), (21, 15)])
    person.key(K.Key_Period)
    assert (session.current.contour, session.current.view) == top()[0]
    person.wait(lambda: "≈" not in worklist.model.index(0, 4).data())
    for _ in range(2):
        count = session.undo_stack.count()
        person.key(K.Key_A)
        person.wait(lambda count=count: session.undo_stack.count() == count + 1)
        person.settle()
        person.wait(lambda: person.session.live_lane.idle)
    assert np.hypot(*(person.model.xy[5, 10] - real[1].xy[5, 10])) < 0.5
    assert np.hypot(*(person.model.xy[21, 15] - real[1].xy[21, 15])) < 0.5
    assert session.snapshot.leave_one_out_px < 1.05 * before


def test_a_click_on_a_row_goes_there_and_enter_accepts_it(person, real):
    worklist, session = person.window.worklist, person.session
    displaced(person, 5, 10, (8.0, 6.0))
    person.wait(lambda: worklist.items() and worklist.items()[0].contour == 5)
    table = worklist.table
    at = table.visualRect(worklist.model.index(0, 5)).center()
    person.qtbot.mouseClick(table.viewport(), LEFT, pos=at)
    assert (session.current.contour, session.current.view) == (5, 10)
    table.setFocus()
    person.qtbot.keyClick(table, K.Key_Return)
    person.wait(lambda: np.hypot(*(person.model.xy[5, 10] - real[1].xy[5, 10])) < 0.5)
    person.window.zap.view.setFocus()


def test_what_mending_a_gross_error_does_is_seen_in_the_mean_residual(person):
    """The leave-one-out error does not believe swapped points, and says nothing of them."""
    worklist, session = person.window.worklist, person.session
    whole = np.flatnonzero(person.model.measured.all(1))
    a, b = int(whole[0]), int(whole[-1])
    session.do(SwapTracks(a, b, tuple(range(10, 18))))
    person.settle()
    person.wait(lambda: worklist.items() and worklist.items()[0].kind is Kind.SWAPPED)
    person.key(K.Key_Period)
    cell = worklist.model.index(0, 4)
    person.wait(lambda: "≈" not in cell.data())
    shown, before = float(cell.data()), session.snapshot.mean_residual_px
    effect = worklist.model.effects[worklist.items()[0].key]
    assert abs(effect.leave_one_out_change_px) < 0.01
    # Both stand below the table, the greater first.
    said = worklist.reason.text().splitlines()[1]
    assert said.startswith(f"Accepted: mean residual ▼ {shown:.4f} px, leave-one-out ")
    person.key(K.Key_A)
    person.wait(lambda: session.undo_stack.count() == 2)
    person.settle()
    assert before - session.snapshot.mean_residual_px > 0.5
    assert before - session.snapshot.mean_residual_px == pytest.approx(shown, rel=0.02)


def test_weak_evidence_is_listed_after_filling(person):
    """Where nothing was seen, or hardly, a person is asked to look."""
    session, worklist = person.session, person.window.worklist
    reports = []
    person.window.fixer.filled.connect(reports.append)
    rng = np.random.default_rng(4)
    there = np.argwhere(person.model.measured)
    spoil(person, [(int(c), int(v)) for c, v in there[rng.random(len(there)) < 0.2]])
    person.key(K.Key_G, CTRL)
    person.wait(lambda: bool(reports))
    person.settle()
    report = reports[0]
    assert report.filled
    for contour, view in [(p.contour, p.view) for p in report.weak]:
        assert person.model.flag[contour, view] == Flag.FILLED
        assert not person.model.measured[contour, view]
    wanted = {(p.contour, p.view) for p in report.weak}
    person.wait(lambda: wanted <= {
        (i.contour, v) for i in worklist.items() for v in i.views
        if i.kind in (Kind.WEAK, Kind.GAP)})  # fmt: skip
    assert session.snapshot.solved


def test_reject_and_filters(person):
    worklist = person.window.worklist
    displaced(person, 5, 10, (8.0, 6.0))
    person.wait(lambda: worklist.items() and worklist.items()[0].contour == 5)
    n = len(worklist.items())
    person.key(K.Key_Period)
    person.key(K.Key_X)
    assert len(worklist.items()) == n - 1
    assert worklist.items()[0].contour != 5 or worklist.items()[0].view != 10
    worklist.filter.setCurrentText("gap")
    assert {str(i.kind) for i in worklist.items()} == {"gap"}
    worklist.filter.setCurrentText("All kinds")
    person.qtbot.mouseClick(worklist.restore_button, LEFT)
    assert len(worklist.items()) == n
    person.wait(lambda: worklist.model.has_picture(worklist.items()[0].key))


def test_the_slab_shows_the_bead(person):
    slab = person.window.slab
    person.go(5, 10)
    person.window.layout_.show_tab(slab)
    person.wait(lambda: slab.slices.size > 0 and person.session.slow_lane.idle)
    middle = slab.slices[len(slab.slices) // 2]
    nz, nx = middle.shape
    bead = middle[nz // 2 - 2 : nz // 2 + 3, nx // 2 - 2 : nx // 2 + 3].mean()
    assert bead < middle.mean() - 2 * middle.std()
    # It follows the alignment.
    before = slab.slices
    person.go(5, 10)
    person.key(K.Key_Right, PAD)
    person.wait(lambda: slab.slices is not before and person.session.idle)
