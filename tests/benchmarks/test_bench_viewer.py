"""Speed of the viewers on a series of 41 views of 5760 x 4092, and on a large tomogram."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from PyQt6.QtCore import Qt, QTimer
from PyQt6.QtWidgets import QApplication

from tiltwright.engine.execution.memory import anonymous_mb
from tiltwright.engine.geometry.transform import rotation
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.tilt_series import load_tilt_series
from tiltwright.engine.model.tomogram import open_tomogram
from tiltwright.widgets.image.image_view import ImageView
from tiltwright.widgets.image.overlay import Circles
from tiltwright.widgets.series.tilt_series_viewer import TiltSeriesViewer
from tiltwright.widgets.tomogram.tomogram_viewer import TomogramViewer

N, NY, NX = 41, 4092, 5760


@pytest.fixture(scope="module")
def large_series(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.mrc"
    y, x = np.mgrid[:NY, :NX]
    picture = (300 * np.sin(x / 37) * np.cos(y / 51)).astype(np.int16)
    picture += np.random.default_rng(0).integers(-200, 200, (NY, NX), dtype=np.int16)
    with MrcWriter(path, (N, NY, NX), np.int16, 1.38) as writer:
        for v in range(N):
            writer.write(v, np.roll(picture, 40 * v, axis=1))
    angles = path.with_suffix(".rawtlt")
    angles.write_text("\n".join(f"{t:.2f}" for t in np.linspace(-60, 60, N)))
    series = load_tilt_series(path, tilt_angles=angles, axis_deg=-84.5)
    xf = np.concatenate([rotation(np.full(N, 84.5)), np.full((N, 2, 1), 12.5)], -1)
    yield series, Alignment(xf, series.tilt_deg)
    path.unlink()


@pytest.fixture
def viewer(qtbot):
    out = TiltSeriesViewer()
    qtbot.addWidget(out)
    out.resize(1500, 950)
    out.show()
    qtbot.waitExposed(out)
    yield out
    out.shutdown()


def wait_for(viewer, condition):
    while not condition():
        QApplication.processEvents()
    viewer.images.main_view.repaint()


def test_first_view(large_series, viewer, benchmark):
    series, _ = large_series

    def first():
        viewer.set_series(series)
        wait_for(viewer, lambda: viewer.images.main_view.tile is not None)

    benchmark.pedantic(first, setup=lambda: viewer.set_series(None), rounds=5)


@pytest.mark.parametrize("interpolated", [False, True])
def test_flip_rate(large_series, viewer, interpolated, benchmark):
    series, alignment = large_series
    viewer.set_series(replace(series, alignment=alignment))
    viewer.interpolated_action.setChecked(interpolated)
    wait_for(viewer, lambda: viewer.lane.idle)
    mb, whole = anonymous_mb(), []
    came = []
    viewer.images.view_shown.connect(came.append)
    for _ in range(2):
        begin = time.perf_counter()
        for v in range(N):
            viewer.show_view(v)
            wait_for(viewer, lambda v=v: bool(came) and came[-1] == v)
        whole.append(time.perf_counter() - begin)
    viewer.images.set_interpolated(interpolated)

    def cold():
        view = (viewer.current_view + 7) % N
        viewer.images._cache.clear()
        viewer.show_view(view)
        wait_for(viewer, lambda: came[-1] == view)

    benchmark.pedantic(cold, rounds=20)
    rates = " and ".join(f"{N / seconds:.0f}" for seconds in whole)
    print(f"\ninterpolated {interpolated}: {rates} views/s, {mb:.0f} to {anonymous_mb():.0f} MB")


@pytest.fixture(scope="module")
def large_tomogram(tmp_path_factory):
    path = tmp_path_factory.mktemp("tomogram") / "large.mrc"
    section = np.random.default_rng(1).integers(-3000, 3000, (1440, 1024)).astype(np.int16)
    with MrcWriter(path, (300, 1440, 1024), np.int16, 5.52) as writer:
        for z in range(300):
            writer.write(z, np.roll(section, 17 * z, axis=1))
    yield open_tomogram(path)
    path.unlink()


@pytest.mark.parametrize("planes", [("xy",), ("xy", "xz", "yz")])
def test_opening_a_tomogram(large_tomogram, qtbot, planes, benchmark):
    viewer = TomogramViewer()
    qtbot.addWidget(viewer)
    viewer.resize(1500, 950)
    viewer.show()
    qtbot.waitExposed(viewer)

    def opened():
        viewer.set_tomogram(large_tomogram)
        while any(viewer.first.views[plane].tile is None for plane in planes):
            QApplication.processEvents()
        viewer.repaint()

    benchmark.pedantic(opened, setup=lambda: viewer.set_tomogram(None), rounds=5)
    viewer.shutdown()


def test_longest_stall_while_playing(large_series, viewer, qtbot, benchmark):
    """Longest gap of a 10 ms timer while a series is opened, examined and played."""
    series, alignment = large_series
    gaps, before = [], [time.perf_counter()]
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)

    def tick():
        now = time.perf_counter()
        gaps.append(now - before[0])
        before[0] = now

    timer.timeout.connect(tick)

    def played():
        before[0] = time.perf_counter()
        timer.start(10)
        viewer.set_series(replace(series, alignment=alignment))
        viewer.interpolated_action.setChecked(True)
        viewer.navigation.player.start()
        qtbot.wait(6000)
        viewer.navigation.player.stop()
        timer.stop()

    benchmark.pedantic(played, rounds=1)
    print(f"\nlongest gap {1000 * max(gaps):.0f} ms")


def test_panning_with_three_hundred_beads(qtbot, benchmark):
    view = ImageView()
    qtbot.addWidget(view)
    view.resize(1000, 800)
    view.show()
    qtbot.waitExposed(view)
    view.set_image(np.random.default_rng(0).normal(0, 1, (1440, 1024)).astype(np.float32))
    xy = np.random.default_rng(1).uniform(0, 1000, (300, 2))
    view.set_layer("beads", Circles(xy, 18.0, "#35c759"), Circles(xy + 30, 18.0, "#ff4fd8"))
    view.zoom_by(1)

    def panned():
        for dx in (3, -3):
            view.pan_by(dx, 1)
            view.repaint()

    benchmark(panned)
