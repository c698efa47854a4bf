"""Mean, deviation and correlation of views, and the small models beside the viewers."""

from __future__ import annotations

import numpy as np
import pytest
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtTest import QTest
from viewer_data import make_series

from tiltwright.widgets.image.contrast import Contrast
from tiltwright.widgets.image.levels_bar import LevelsBar
from tiltwright.widgets.image.player import Player
from tiltwright.widgets.series import view_statistics
from tiltwright.widgets.series.exclusion import ExclusionState
from tiltwright.widgets.series.view_statistics import correlation, examine, moments, spectrum


def texture(seed, shape=(200, 260)):
    rng = np.random.default_rng(seed)
    return np.kron(rng.normal(0, 50, (shape[0] // 10, shape[1] // 10)), np.ones((10, 10)))


def test_moments_are_those_of_the_finite_pixels(monkeypatch):
    image = texture(0)
    assert moments(image) == pytest.approx((image.mean(), image.std()), rel=1e-4)
    image[3, 4] = np.nan
    good = image[np.isfinite(image)]
    assert moments(image) == pytest.approx((good.mean(), good.std()), rel=1e-4)
    assert np.isnan(moments(np.full((4, 4), np.nan))).all()
    monkeypatch.setattr(view_statistics, "SMALL_PIXELS", 10_000)
    rows = texture(1)
    assert moments(rows) == pytest.approx((rows[2::5].mean(), rows[2::5].std()), rel=1e-4)


def test_a_picture_correlates_with_itself_moved_and_not_with_another():
    a = texture(0)
    assert correlation(spectrum(a), spectrum(a)) == pytest.approx(1)
    moved = np.roll(a, (6, -9), (0, 1))
    assert correlation(spectrum(a), spectrum(moved)) > 0.7
    assert correlation(spectrum(a), spectrum(texture(1))) < 0.4
    assert correlation(spectrum(a), spectrum(np.ones_like(a))) == 0


def test_neighbours_are_those_in_tilt():
    same, other = texture(0), texture(9)
    rng = np.random.default_rng(2)
    stack = np.array([same, other, same, same]) + rng.normal(0, 5, (4, 200, 260))
    # In order of tilt: views 1, 3, 0, 2.
    *none, found = examine(stack, np.array([10.0, -20.0, 30.0, -5.0]))
    assert none == [None] * 8
    assert found.correlation[2] > 0.9
    assert found.correlation[1] < 0.4
    assert 0.4 < found.correlation[3] < 0.8
    np.testing.assert_allclose(found.mean, stack.mean((1, 2)), rtol=1e-3)


def test_exclusion_and_keeping_exclude_each_other(qapp):
    state = ExclusionState()
    state.reset(np.zeros(4, bool), np.zeros(4, bool), {1: "dark", 2: "blank"})
    assert state.undecided == [1, 2]
    assert state.left_out.tolist() == [False, True, True, False]
    state.keep([1])
    assert state.left_out.tolist() == [False, False, True, False]
    state.set_excluded([1, 3], True)
    assert not state.kept.any()
    state.toggle([1, 3])
    assert not state.excluded.any()
    state.toggle([0, 3])
    state.toggle([0])
    assert state.excluded.tolist() == [False, False, False, True]
    state.set_excluded([3], True)
    assert state.undo_stack.count() == 5, "no change is no command"
    assert state.undo_stack.undoText() == "Include view 1"
    for _ in range(5):
        state.undo_stack.undo()
    assert state.undecided == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        state.excluded[0] = True


def test_contrast_per_view_is_relative_and_fixed_is_not():
    contrast, a, b = Contrast(), make_series(), make_series()
    contrast.drag(a, 20, 60, (0, 100))
    assert contrast.levels(a, (100, 300)) == pytest.approx((140, 220))
    contrast.set_fixed(True, a, (5, 6))
    assert contrast.levels(a, (100, 300)) == (5, 6)
    assert contrast.levels(b, (100, 300)) == (100, 300)
    assert contrast.levels(b, (0, 1)) == (100, 300)
    contrast.set_fixed(False, a, (5, 6))
    assert contrast.levels(a, (0, 100)) == pytest.approx((20, 60))
    contrast.reset()
    assert contrast.levels(a, (0, 100)) == (0, 100)


def test_the_span_between_the_handles_is_dragged_whole(qtbot):
    bar = LevelsBar()
    qtbot.addWidget(bar)
    bar.resize(300, 44)
    bar.show()
    bar.show_values(np.random.default_rng(0).normal(0, 10, 5000), -15.0, 15.0)
    start = QPoint(round(bar.position(0)), 10)
    QTest.mousePress(bar, Qt.MouseButton.LeftButton, pos=start)
    QTest.mouseMove(bar, start + QPoint(30, 0))
    QTest.mouseRelease(bar, Qt.MouseButton.LeftButton, pos=start + QPoint(30, 0))
    black, white = bar.levels
    assert white - black == pytest.approx(30)
    assert black > -14
    with qtbot.waitSignal(bar.auto_asked):
        QTest.mouseDClick(bar, Qt.MouseButton.LeftButton, pos=start)


def test_a_player_with_one_view_does_not_run(qapp):
    player = Player()
    player.set_range(1, 0)
    player.start()
    assert not player.playing
    player.set_range(3, 2)
    player.start(-1)
    assert player.playing
    player.set_range(1, 0)
    assert not player.playing
