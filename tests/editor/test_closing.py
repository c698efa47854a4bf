"""Closing the editor while its lanes work, over and over."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref

import numpy as np
from curation_cases import simulated
from PyQt6.QtCore import QCoreApplication, QEvent, QTimer

from tiltwright.engine.model.edits import MovePoints
from tiltwright.widgets.editor.editor_window import EditorWindow
from tiltwright.widgets.lane import Lane

# A person's patience; more of them look for what is seldom.
N_OPENINGS = int(os.environ.get("TILTWRIGHT_OPENINGS", "12"))


def test_closed_at_any_moment(qapp, qtbot):
    """Nothing is called that is gone, nothing raises, no thread stays, no window is kept."""
    series, model, _ = simulated()
    shared, raised, kept = Lane(), [], []
    hook, sys.excepthook = sys.excepthook, lambda *what: raised.append(what)
    before = threading.active_count()
    rng = np.random.default_rng(0)
    try:
        for k in range(N_OPENINGS):
            # With a lane of its own, or one that goes on working without it.
            window = EditorWindow(series, model, lane=shared if k % 2 else None)
            window.resize(900, 600)
            window.show()
            window.layout_.show_tab(window.slab if k % 3 else window.model_view)
            kept.append(weakref.ref(window))
            for _ in range(3):
                qtbot.wait(int(rng.integers(0, 80)))
                c, v = int(rng.integers(model.n_tracks)), int(rng.integers(model.n_views))
                window.session.attach(c, v)
                x, y = (float(a) for a in rng.uniform(-50, 50, 2))
                window.session.do(MovePoints(((c, v, x, y),)))
                window.zap.view.zoom_by(1)
            if k % 4 == 0:
                QTimer.singleShot(0, window.close)
                qtbot.wait(int(rng.integers(0, 5)))
            window.close()
            window.deleteLater()
            del window
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            QCoreApplication.processEvents()
    finally:
        shared.close()
        sys.excepthook = hook
    # Connections of what has gone go in a second round.
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    assert not raised, raised[0]
    assert threading.active_count() <= before
    assert not [window for window in kept if window() is not None]
