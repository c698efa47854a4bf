"""Speed of the editor: 300 tracks on the screen, and from an edit to its numbers."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PyQt6.QtCore import QEvent, QEventLoop, QPointF, Qt, QTimer
from PyQt6.QtGui import QMouseEvent
from PyQt6.QtWidgets import QApplication

from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.model.edits import MovePoints
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.widgets.editor.current import Current
from tiltwright.widgets.editor.editor_window import EditorWindow

N, NY, NX = 41, 1024, 1440


def case(beads: int, ny: int = NY, nx: int = NX) -> tuple[TiltSeries, FiducialModel]:
    """Noise with dark beads in it, and where they are."""
    rng = np.random.default_rng(0)
    stack = rng.integers(80, 140, (N, ny, nx), dtype=np.uint8)
    series = TiltSeries(
        Path("bench.mrc"), stack, np.linspace(-60, 60, N), -84.5, 5.52, np.zeros(N, bool)
    )
    model = model_of(series, beads)
    half = 16
    way = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1])
    stamp = np.clip(0.55 + 0.1 * (way - model.diameter_px / 2), 0.3, 1.0)
    for v, view in enumerate(stack):
        for x, y in np.rint(model.xy[:, v] + [(nx - 1) / 2, (ny - 1) / 2]).astype(int).tolist():
            if half <= x < nx - half and half <= y < ny - half:
                part = view[y - half : y + half + 1, x - half : x + half + 1]
                part[...] = part * stamp
    return series, model


def model_of(series: TiltSeries, beads: int, noise_px: float = 0.2) -> FiducialModel:
    rng = np.random.default_rng(1)
    nx, ny = series.size
    box = np.array([0.8 * ny, 0.8 * nx, 100.0])
    xyz = rng.uniform(-0.5, 0.5, (beads, 3)) * box
    geometry = ViewGeometry.nominal(series.tilt_deg, series.axis_deg)
    geometry = geometry.with_shifts(rng.normal(0, 4, (N, 2)))
    xy = geometry.project(xyz) + rng.normal(0, noise_px, (beads, N, 2))
    surface = (xyz[:, 2] > 0).astype(int)
    return FiducialModel.from_tracks(xy, series.size, 18.0, surface=surface)


@pytest.fixture
def opened(qtbot):
    made = []

    def open_(series, model) -> EditorWindow:
        window = EditorWindow(series, model)
        made.append(window)
        qtbot.addWidget(window)
        window.resize(1600, 1000)
        window.show()
        qtbot.waitExposed(window)
        return window

    yield open_
    for window in made:
        window.shutdown()


def settled(window) -> None:
    """Solved, with pictures; what looks at all points in the background goes on."""
    session = window.session
    while not (session.up_to_date and session.live_lane.idle and window.lane.idle):
        QApplication.processEvents()
        time.sleep(0.001)


@pytest.mark.parametrize("how", ["pan", "zoom", "step"])
def test_three_hundred_contours(opened, benchmark, how):
    """Each round is one frame; at least 30 in a second are wanted."""
    series = series_of()
    window = opened(series, model_of(series, 300))
    settled(window)
    view, state = window.zap.view, [0]
    for v in range(N):
        window.session.show_view(v)
        while window.zap.view_shown != v:
            QApplication.processEvents()
    view.zoom_by(1)
    settled(window)

    def frame():
        state[0] += 1
        if how == "pan":
            view.pan_by(3 if state[0] % 40 < 20 else -3, 1)
        elif how == "zoom":
            view.zoom_by(1 if state[0] % 6 < 3 else -1)
        else:
            window.session.show_view(state[0] % N)
            while window.zap.view_shown != state[0] % N:
                QApplication.processEvents()
        view.repaint()
        QApplication.processEvents()

    benchmark.pedantic(frame, rounds=80, warmup_rounds=5)


def test_from_an_edit_to_its_numbers(opened, benchmark):
    """40 beads on 41 views, 200 edits while the mouse moves; and the longest stall meanwhile."""
    series = series_of(512, 720)
    window = opened(series, model_of(series, 40))
    settled(window)
    session, view = window.session, window.zap.view
    rng = np.random.default_rng(2)
    gaps, last = [], [time.perf_counter()]
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)

    def tick():
        now = time.perf_counter()
        gaps.append(now - last[0])
        last[0] = now
        at = QPointF(*rng.uniform(50, 400, 2))
        none = Qt.MouseButton.NoButton
        QApplication.sendEvent(
            view,
            QMouseEvent(QEvent.Type.MouseMove, at, at, none, none, Qt.KeyboardModifier.NoModifier),
        )

    timer.timeout.connect(tick)
    times, loop = [], QEventLoop()

    def edit():
        contour, v = int(rng.integers(40)), int(rng.integers(N))
        session.go(Current(v, contour, v))
        x, y = session.model.xy[contour, v] + rng.normal(0, 0.5, 2)
        begin = time.perf_counter()
        session.do(MovePoints(((contour, v, float(x), float(y)),)))
        # A loop of events, as in life: one that asks again and again holds up the solve.
        session.when_solved(loop.quit)
        loop.exec()
        times.append(time.perf_counter() - begin)
        QTimer.singleShot(80, loop.quit)
        loop.exec()

    last[0] = time.perf_counter()
    timer.start(5)
    benchmark.pedantic(edit, rounds=200)
    timer.stop()
    ms = 1000 * np.array(times)
    stall = 1000 * np.array(gaps)
    print(
        f"\nedit to numbers: median {np.median(ms):.1f} ms, 95 % {np.percentile(ms, 95):.1f}, "
        f"worst {ms.max():.1f}; stall: 99 % {np.percentile(stall, 99):.1f} ms, "
        f"worst {stall.max():.1f} ms; solve alone {1000 * session.snapshot.seconds:.1f} ms"
    )
