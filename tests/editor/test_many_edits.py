"""Hundreds of edits through the window: undone and redone to the bit, in bounded memory."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from curation_cases import bare_series, phantom
from editor_person import Folder, Person
from PyQt6.QtCore import QCoreApplication, QEvent, Qt

from tiltwright.engine.model.edits import (
    AddContour,
    AddPoint,
    DeleteContour,
    DeletePoints,
    FillPoints,
    MovePoints,
    Point,
    SetSurface,
    SwapTracks,
    Together,
)
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag
from tiltwright.widgets.editor.current import Current
from tiltwright.widgets.editor.editor_window import EditorWindow

N_EDITS = 500
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def person(qtbot, tmp_path):
    """Before 40 beads on 41 views, the journal kept."""
    _, model, _ = phantom(n=40, n_views=41, gaps=0.1)
    nx, ny = model.size_px
    noise = np.random.default_rng(0).integers(80, 140, (41, ny // 4, nx // 4), dtype=np.uint8)
    series = bare_series(41, model.size_px, np.kron(noise, np.ones((1, 4, 4), np.uint8)))
    window = EditorWindow(series, model, files=Folder(tmp_path, series))
    window.resize(1000, 700)
    window.show()
    window.activateWindow()
    made = Person(qtbot, window)
    made.wait(lambda: window.session.live is not None and window.isActiveWindow())
    made.settle()
    window.zap.view.setFocus()
    yield made
    window.close()
    window.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def bits(model: FiducialModel) -> tuple:
    arrays = model.xy, model.flag, model.surface, model.sigma_px
    return tuple((a.shape, a.tobytes()) for a in arrays), model.size_px, model.diameter_px


def any_edit(model: FiducialModel, rng: np.random.Generator):
    """One of every kind, at random, that fits."""
    c, v = int(rng.integers(model.n_tracks)), int(rng.integers(model.n_views))
    d = int((c + 1 + rng.integers(model.n_tracks - 1)) % model.n_tracks)
    x, y = rng.uniform(-0.4, 0.4, 2) * model.size_px
    x, y = float(x), float(y)
    has = model.flag[c, v] > 0
    moved = MovePoints(((c, v, x, y),)) if has else AddPoint(c, v, x, y)
    away = DeletePoints(((c, v),)) if has else FillPoints((Point(c, v, x, y, int(Flag.FILLED)),))
    kinds = [
        moved, moved, away, AddPoint(d, v, y, x, 0.3), SwapTracks(c, d, (v, (v + 5) % 41)),
        SetSurface((c, d), (1, 0)), Together((moved, SetSurface((d,), (1,))), "Two at once"),
    ]  # fmt: skip
    if model.n_tracks > 35:
        kinds.append(DeleteContour(c))
    if model.n_tracks < 45:
        kinds.append(AddContour(-1, (Point(-1, v, x, y, int(Flag.EDITED)),), 1))
    return kinds[int(rng.integers(len(kinds)))]


def memory_mib() -> float:
    """Memory of this process that no file backs."""
    text = Path("/proc/self/status").read_text()
    return float(text.split("RssAnon:")[1].split()[0]) / 1024


def test_500_edits_undone_and_redone_are_the_same_to_the_bit(person):
    """Acceptance C, line h."""
    session, view = person.session, person.window.zap.view
    rng = np.random.default_rng(5)

    def settled() -> tuple:
        person.settle()
        return bits(session.model)

    def by_hand(n: int) -> None:
        """A few keys of each kind, on a point."""
        places = np.argwhere(session.model.flag > 0)
        c, v = (int(k) for k in places[rng.integers(len(places))])
        session.go(Current(v, c, v))
        person.settle()
        press = person.qtbot.keyClick
        if n % 3 == 0:
            press(view, Qt.Key.Key_Delete)
        elif n % 3 == 1:
            press(view, Qt.Key.Key_Left, Qt.KeyboardModifier.KeypadModifier)
        else:
            press(view, Qt.Key.Key_D, SHIFT)

    def edit_all() -> None:
        while session.undo_stack.index() < N_EDITS:
            k = session.undo_stack.index()
            if k % 25 == 0:
                by_hand(k // 25)
                assert session.undo_stack.index() == k + 1
            else:
                assert session.do(any_edit(session.model, rng)), person.log
            if k % 5 == 0:
                QCoreApplication.processEvents()

    def press_all(key) -> None:
        for k in range(N_EDITS):
            person.qtbot.keyClick(view, key, CTRL)
            if k % 10 == 0:
                QCoreApplication.processEvents()

    opened = settled()
    # Caches fill once: pictures, kernels, the lists.
    for _ in range(20):
        session.do(any_edit(session.model, rng))
    person.settle()
    session.undo_stack.setIndex(0)
    session.undo_stack.clear()
    assert settled() == opened
    person.wait(lambda: session.idle)
    gc.collect()
    before = memory_mib()

    edit_all()
    edited = settled()
    assert edited != opened
    press_all(Qt.Key.Key_Z)
    assert not session.undo_stack.canUndo()
    assert settled() == opened
    press_all(Qt.Key.Key_Y)
    assert not session.undo_stack.canRedo()
    assert settled() == edited
    person.wait(lambda: session.idle)
    gc.collect()
    grown = memory_mib() - before
    print(f"\n{N_EDITS} edits, undone, redone: {grown:+.1f} MiB")
    assert grown <= 50
