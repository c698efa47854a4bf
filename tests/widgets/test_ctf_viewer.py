"""The CTF viewer, driven by keys, clicks and drags on a series whose CTF is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from ctf_data import SPEC, TILTS, N, make_ice, true_table
from PyQt6.QtCore import QPoint, QPointF, Qt
from PyQt6.QtGui import QWheelEvent
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication

from tiltwright.engine.ctf.model import Defocus, Optics, ctf
from tiltwright.widgets.ctf.ctf_source import FitRange
from tiltwright.widgets.ctf.ctf_viewer import CtfViewer

KEY, LEFT = Qt.Key, Qt.MouseButton.LeftButton
CTRL = Qt.KeyboardModifier.ControlModifier
FITTED = FitRange(tile_px=256)


@pytest.fixture(scope="module")
def ice():
    return make_ice()


@pytest.fixture
def make_viewer(qtbot, ice):
    viewers = []

    def make(table=None, series=None):
        viewer = CtfViewer()
        viewers.append(viewer)
        qtbot.addWidget(viewer)
        viewer.resize(1000, 800)
        viewer.show()
        qtbot.waitExposed(viewer)
        viewer.set_content(series or ice[1], table or true_table(*ice), FITTED)
        settled(viewer, qtbot)
        viewer.spectrum.setFocus()
        return viewer

    yield make
    for viewer in viewers:
        viewer.shutdown()


def settled(viewer, qtbot):
    qtbot.waitUntil(lambda: viewer.lane.idle, timeout=20_000)


def turned(viewer, view, by_a):
    d = viewer.session.defocus(view)
    return Defocus(d.u_a + by_a, d.v_a + by_a, d.angle_deg)


def test_keys_go_through_the_views_as_in_the_series_viewer(make_viewer, qtbot):
    viewer = make_viewer()
    assert viewer.current_view == 3
    told = []
    viewer.view_changed.connect(told.append)
    for key, expected in (
        (KEY.Key_PageUp, 4), (KEY.Key_PageDown, 3), (KEY.Key_Home, N - 1), (KEY.Key_PageUp, N - 1),
        (KEY.Key_End, 0), (KEY.Key_PageDown, 0), (KEY.Key_Insert, 3),
    ):  # fmt: skip
        qtbot.keyClick(viewer.spectrum, key)
        settled(viewer, qtbot)
        assert viewer.current_view == viewer.spectrum.shown.view == expected
        assert viewer.table.selected_views() == [expected]
        assert viewer.plot.current.value() == TILTS[expected]
    assert told == [4, 3, N - 1, 0, 3]
    viewer.navigation.player.set_interval(5)
    qtbot.keyClick(viewer.spectrum, KEY.Key_P)
    qtbot.waitUntil(lambda: {0, N - 1} <= set(told), timeout=5000)
    qtbot.keyClick(viewer.spectrum, KEY.Key_P)
    assert not viewer.navigation.player.playing


@pytest.mark.parametrize("view", [0, 3])
def test_rings_on_the_screen_lie_on_the_zeros_of_the_truth(make_viewer, qtbot, ice, view):
    """What is drawn, in angstrom and up and down, against the phantom's own CTF."""
    viewer = make_viewer()
    viewer.show_view(view)
    settled(viewer, qtbot)
    spectrum, twin = viewer.spectrum, ice[0]
    points = spectrum.ring_points()
    x, y = np.moveaxis(points - spectrum.shown.reach, -1, 0)
    s, theta = np.hypot(x, y) * spectrum.shown.step, np.arctan2(y, x)
    true = Defocus.of_components(
        float(twin.defocus_a[view]), float(twin.a1[view]), float(twin.a2[view])
    )
    good = np.isfinite(s)
    assert np.abs(ctf(s[good], theta[good], true, Optics())).max() < 2e-3
    # Along U the rings lie closer together: it is the direction of more defocus.
    along = spectrum._radii(math.radians(true.angle_deg))[4]
    across = spectrum._radii(math.radians(true.angle_deg + 90))[4]
    assert along < across * 0.97
    # On the screen, y is up: a point at 60 degrees stands above the middle.
    c = spectrum.shown.reach
    assert spectrum.to_screen(c + 5, c + 8).y() < spectrum.to_screen(c, c).y()
    # The measured half is darker on the rings than a quarter of a period beside them.
    measured = np.nan_to_num(spectrum.shown.measured * spectrum.shown.gain)

    angles = np.linspace(math.pi / 2, 3 * math.pi / 2, 60)
    values = []
    for turn in (0.0, 0.5):
        zeros = spectrum._zeros(angles)[1:7].T / spectrum.shown.step
        between = np.sqrt(zeros[:, :-1] ** 2 + turn * (zeros[:, 1:] ** 2 - zeros[:, :-1] ** 2))
        at = np.stack([np.cos(angles), np.sin(angles)], -1)[:, None] * between[..., None] + c
        i, j = np.rint(at[..., 0]).astype(int), np.rint(at[..., 1]).astype(int)
        values.append(float(measured[j, i].mean()))
    assert values[0] < -0.5
    assert values[1] > 0.5


def test_the_fitted_half_and_the_rings_can_be_hidden(make_viewer, qtbot):
    viewer = make_viewer()
    view = viewer.spectrum
    reach = view.shown.reach
    both = view.tile.data.copy()
    measured = view.shown.measured * view.shown.gain
    left = np.isfinite(measured[:, :reach])
    np.testing.assert_array_equal(both[:, :reach][left], measured[:, :reach][left])
    assert set(np.unique(np.abs(both[:, reach:]) <= 1.2001)) == {True, False}
    assert len(view.layer("rings")) == 2
    qtbot.keyClick(view, KEY.Key_M)
    right = np.isfinite(measured[:, reach:])
    np.testing.assert_array_equal(view.tile.data[:, reach:][right], measured[:, reach:][right])
    assert not view.layer("cut")
    qtbot.keyClick(view, KEY.Key_T)
    assert not view.layer("rings")
    smooth = view.shown.measured
    qtbot.keyClick(view, KEY.Key_S)
    settled(viewer, qtbot)
    assert np.nanstd(view.shown.measured) > 1.5 * np.nanstd(smooth)


def test_turning_the_defocus_moves_rings_and_curve_at_once(make_viewer, qtbot):
    viewer = make_viewer()
    view, session = viewer.spectrum, viewer.session
    before, curve = view.ring_points(), viewer.curve.model.getData()[1].copy()
    start = session.defocus(3)
    viewer.panel.mean.setFocus()
    viewer.panel.mean.stepUp()
    viewer.panel.mean.stepUp()
    # Nothing has come back from the lane yet.
    assert np.nanmean(view.ring_points() - view.shown.reach) != pytest.approx(
        np.nanmean(before - view.shown.reach), abs=1e-6
    )
    assert np.abs(viewer.curve.model.getData()[1] - curve).max() > 1e-3
    assert session.defocus(3).components[0] == pytest.approx(start.components[0] + 100, abs=10)
    settled(viewer, qtbot)
    assert view.shown.look.defocus == session.defocus(3)
    # Both steps are one edit.
    assert session.undo_stack.count() == 1
    qtbot.keyClick(view, KEY.Key_Z, CTRL)
    assert session.defocus(3) == start
    settled(viewer, qtbot)
    np.testing.assert_allclose(view.ring_points(), before)
    qtbot.keyClick(view, KEY.Key_Y, CTRL)
    assert session.defocus(3) != start


def test_the_numbers_of_the_panel_are_those_of_the_table(make_viewer, qtbot):
    viewer = make_viewer()
    panel, session = viewer.panel, viewer.session
    d = session.defocus(3)
    assert panel.mean.value() == pytest.approx(d.components[0] / 1e4, abs=1e-3)
    assert panel.astigmatism.value() == pytest.approx(0.4, abs=0.02)
    assert panel.angle.value() == pytest.approx(d.angle_deg, abs=0.05)
    for spin, value in ((panel.astigmatism, 0.2), (panel.angle, -35.0), (panel.phase, 12.0)):
        spin.setFocus()
        spin.selectAll()
        qtbot.keyClicks(spin, f"{value:g}")
        qtbot.keyClick(spin, KEY.Key_Return)
    now = session.defocus(3)
    assert (now.u_a - now.v_a, now.angle_deg, now.phase_shift_deg) == (
        pytest.approx(2000, abs=0.1), -35.0, 12.0,
    )  # fmt: skip
    # The slider is coarser, and must not round what was typed.
    panel.mean.setFocus()
    panel.mean.selectAll()
    qtbot.keyClicks(panel.mean, "2.987")
    qtbot.keyClick(panel.mean, KEY.Key_Return)
    assert session.defocus(3).components[0] == pytest.approx(29870, abs=0.1)
    assert panel.mean.value() == 2.987
    panel.slider.setFocus()
    qtbot.keyClick(panel.slider, KEY.Key_Right)
    assert session.defocus(3).components[0] == pytest.approx(29900, abs=0.1)


def test_a_ring_is_dragged(make_viewer, qtbot):
    viewer = make_viewer()
    view, session = viewer.spectrum, viewer.session
    start, theta = session.defocus(3), math.pi
    zeros = view._radii(theta) / view.shown.step
    c, number = view.shown.reach, 2
    press = view.to_screen(c - zeros[number], c).toPoint()
    aim = view.to_screen(c - zeros[number] - 2, c).toPoint()
    QTest.mousePress(view, LEFT, pos=press)
    QTest.mouseMove(view, (press + aim) / 2)
    QTest.mouseMove(view, aim)
    QTest.mouseRelease(view, LEFT, pos=aim)
    s, direction = view.place(*view.to_image(QPointF(aim)))
    assert view._radii(direction)[number] == pytest.approx(s, rel=1e-5)
    assert session.defocus(3).components[0] < start.components[0]
    assert session.defocus(3).angle_deg == pytest.approx(start.angle_deg, abs=1e-2)
    assert session.undo_stack.count() == 1
    # A drag far from any ring moves the picture.
    x = view.viewport.x
    far = view.to_screen(c, c).toPoint()
    QTest.mousePress(view, LEFT, pos=far)
    QTest.mouseMove(view, far + QPoint(20, 0))
    QTest.mouseMove(view, far + QPoint(40, 0))
    QTest.mouseRelease(view, LEFT, pos=far + QPoint(40, 0))
    assert view.viewport.x != x
    assert session.undo_stack.count() == 1


def test_the_wheel_turns_the_defocus_with_ctrl_and_zooms_without(make_viewer, qtbot):
    viewer = make_viewer()
    view, session = viewer.spectrum, viewer.session
    before, zoom = session.defocus(3).components[0], view.viewport.zoom

    def wheel(keys):
        at = QPointF(view.rect().center())
        event = QWheelEvent(
            at, view.mapToGlobal(at), QPoint(), QPoint(0, 240), Qt.MouseButton.NoButton, keys,
            Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(view, event)

    wheel(CTRL)
    assert session.defocus(3).components[0] == pytest.approx(before + 100, abs=6)
    assert view.viewport.zoom == zoom
    wheel(Qt.KeyboardModifier.NoModifier)
    assert view.viewport.zoom > zoom


def test_a_view_is_fitted_again_from_where_it_stands(make_viewer, qtbot):
    viewer = make_viewer()
    session, true = viewer.session, viewer.session.defocus(3)
    session.set_defocus(3, turned(viewer, 3, 1000), "Set")
    settled(viewer, qtbot)
    assert session.column("score")[3] < 0.9
    qtbot.keyClick(viewer.spectrum, KEY.Key_F)
    settled(viewer, qtbot)
    settled(viewer, qtbot)
    found = session.defocus(3)
    assert found.components[0] == pytest.approx(true.components[0], rel=0.01)
    assert session.column("score")[3] > 0.9
    assert session.undo_stack.undoText() == "Refit view 4"


def test_an_outlier_is_marked_and_taken_from_its_neighbours(make_viewer, qtbot, ice):
    table = true_table(*ice)
    table = table.with_row(4, Defocus(55000, 54000, 10.0), score=0.8, resolution_a=9.0)
    viewer = make_viewer(table)
    session = viewer.session
    assert list(session.weak) == [4]
    assert "off its neighbours" in session.weak[4]
    assert len(viewer.plot.weak.data) == 1
    index = viewer.table.model().mapFromSource(viewer.table.content.index(4, 0))
    QTest.mouseClick(viewer.table.viewport(), LEFT, pos=viewer.table.visualRect(index).center())
    assert viewer.current_view == 4
    qtbot.keyClick(viewer.spectrum, KEY.Key_N)
    assert session.defocus(4).components[0] / 1e4 == pytest.approx(3.0, abs=0.1)
    qtbot.waitUntil(lambda: not session.weak, timeout=3000)
    assert not len(viewer.plot.weak.data)


def test_a_view_is_left_out_and_taken_back(make_viewer, qtbot):
    viewer = make_viewer()
    session = viewer.session
    qtbot.keyClick(viewer.spectrum, KEY.Key_Space)
    assert np.flatnonzero(session.bad).tolist() == [3]
    assert not session.table.used[3]
    qtbot.waitUntil(lambda: len(viewer.plot.bad.data) == 1, timeout=3000)
    assert viewer.table.content.index(3, 1).data(Qt.ItemDataRole.CheckStateRole) == (
        Qt.CheckState.Checked
    )
    index = viewer.table.model().mapFromSource(viewer.table.content.index(3, 1))
    QTest.mouseClick(viewer.table.viewport(), LEFT, pos=viewer.table.visualRect(index).center())
    assert not session.bad.any()
    viewer.actions_.undo.trigger()
    viewer.actions_.undo.trigger()
    assert session.table.used.all()
    assert not session.modified


def test_excluded_views_are_grey_and_views_without_a_row_say_so(make_viewer, qtbot, ice):
    twin, series = ice
    table = true_table(twin, series)
    keep = np.arange(N) != 2
    names = (
        "order", "tilt_deg", "defocus_u_a", "defocus_v_a", "angle_deg", "phase_shift_deg",
        "cut_on_per_nm", "score", "resolution_a", "sigma_a", "used",
    )  # fmt: skip
    lacking = replace(table, **{name: getattr(table, name)[keep] for name in names})
    out = np.zeros(N, bool)
    out[6] = True
    viewer = make_viewer(lacking, replace(series, excluded=out))
    assert viewer.session.weak == {2: "no CTF"}
    assert len(viewer.plot.absent.data) == 1
    assert viewer.table.content.greyed == {6: "excluded in the tilt series"}
    viewer.show_view(2)
    assert "No CTF of this view" in viewer.spectrum.message
    assert not viewer.panel.isEnabled()
    qtbot.keyClick(viewer.spectrum, KEY.Key_N)
    settled(viewer, qtbot)
    assert viewer.session.defocus(2).components[0] == pytest.approx(twin.defocus_a[2], rel=0.05)
    assert viewer.spectrum.shown.view == 2
    viewer.actions_.undo.trigger()
    assert viewer.session.defocus(2) is None


def test_the_hand_is_found_and_taken_over(make_viewer, qtbot, ice):
    viewer = make_viewer(true_table(*ice, hand=0))
    assert "undetermined" in viewer.hand.text()
    viewer.show_view(0)
    settled(viewer, qtbot)
    # As long as nobody knows, each view is shown as it fits better.
    assert viewer.spectrum.shown.look.hand == SPEC.hand
    viewer.actions_.check.trigger()
    qtbot.waitUntil(lambda: "says inverted" in viewer.hand.text(), timeout=20_000)
    viewer.actions_.take.trigger()
    assert viewer.session.table.hand == SPEC.hand
    assert viewer.session.table.hand_confidence > 0.9
    assert not viewer.actions_.take.isEnabled()
    assert viewer.session.modified


def test_an_estimate_that_is_not_proven_is_amber_until_a_person_sets_it(make_viewer, qtbot, ice):
    viewer = make_viewer(replace(true_table(*ice, hand=0), rival=1.3))
    session = viewer.session
    assert sorted(session.weak) == list(range(N))
    assert all("not proven" in why for why in session.weak.values())
    assert viewer.hand.text().startswith(
        "Defocus NOT PROVEN: other rings explain the spectra 130 %"
    )
    assert "7 weak" in viewer.summary.text()
    session.set_defocus(3, turned(viewer, 3, 100), "Set")
    qtbot.waitUntil(lambda: 3 not in session.weak, timeout=3000)
    assert len(session.weak) == N - 1
    # What its gradient says cannot be taken over.
    viewer.actions_.check.trigger()
    settled(viewer, qtbot)
    assert "NOT PROVEN" in viewer.hand.text()
    assert not viewer.actions_.take.isEnabled()


def test_a_click_in_the_plot_goes_to_the_view(make_viewer, qtbot):
    viewer = make_viewer()
    plot = viewer.plot
    box = plot.plot.getPlotItem().getViewBox()
    qtbot.waitUntil(lambda: box.viewRange()[0][1] > 40)
    at = box.mapViewToScene(QPointF(TILTS[5], float(plot._um[5])))
    QTest.mouseClick(plot.plot.viewport(), LEFT, pos=plot.plot.mapFromScene(at))
    assert viewer.current_view == 5


def test_contrast_is_dragged_and_automatic_again(make_viewer, qtbot):
    viewer = make_viewer()
    black, white = viewer.spectrum.levels
    viewer.spectrum.drag_levels(black / 2, white / 2)
    viewer.show_view(4)
    settled(viewer, qtbot)
    assert np.ptp(viewer.spectrum.levels) == pytest.approx((white - black) / 2, rel=0.2)
    qtbot.keyClick(viewer.spectrum, KEY.Key_A, Qt.KeyboardModifier.ShiftModifier)
    assert np.ptp(viewer.spectrum.levels) == pytest.approx(white - black, rel=0.2)


def test_pixels_that_are_too_coarse_say_so(make_viewer, qtbot, ice):
    viewer = make_viewer(series=replace(ice[1], pixel_size_a=20.0))
    assert "rings of a tile" in viewer.spectrum.message
    # The table and the plot are there all the same.
    assert viewer.table.model().rowCount() == N


def test_nothing_is_shown_after_the_end(make_viewer, qtbot):
    viewer = make_viewer()
    viewer.set_content(None, None)
    assert viewer.spectrum.message == "No CTF is open."
    assert viewer.table.model().rowCount() == 0
    assert viewer.session.table is None
