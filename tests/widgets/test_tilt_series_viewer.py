"""The tilt-series viewer, driven by keys and clicks."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
from PyQt6.QtCore import QCoreApplication, QEvent, QPoint, QPointF, Qt
from PyQt6.QtGui import QColor
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication
from viewer_data import make_model, make_series

from tiltwright.engine.io.patches import ErasedPatch, write_patches
from tiltwright.widgets.actions import KeyList
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.series.series_images import Comparison
from tiltwright.widgets.series.tilt_series_viewer import TiltSeriesViewer

KEY, SHIFT, CTRL = Qt.Key, Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
LEFT = Qt.MouseButton.LeftButton
SUSPECT = {1: "blank: no detail", 4: "duplicate of view 4"}


@pytest.fixture
def make_viewer(qtbot):
    viewers = []

    def make(series=None, *arguments, **more):
        viewer = TiltSeriesViewer()
        viewers.append(viewer)
        qtbot.addWidget(viewer)
        viewer.resize(1100, 700)
        viewer.show()
        qtbot.waitExposed(viewer)
        viewer.set_series(series or make_series(fit=True), *arguments, **more)
        qtbot.waitUntil(lambda: viewer.lane.idle)
        viewer.images.main_view.setFocus()
        return viewer

    yield make
    for viewer in viewers:
        viewer.shutdown()


def shown(viewer, qtbot):
    qtbot.waitUntil(lambda: viewer.lane.idle)
    return viewer.images.main_view.tile.data


def click_row(viewer, view, column=0, keys=Qt.KeyboardModifier.NoModifier):
    table = viewer.table
    index = table.model().mapFromSource(table.content.index(view, column))
    QTest.mouseClick(table.viewport(), LEFT, keys, table.visualRect(index).center())


def test_keys_flip_through_the_views(make_viewer, qtbot):
    series = make_series()
    viewer = make_viewer(series)
    view = viewer.images.main_view
    assert viewer.current_view == 3
    told = []
    viewer.view_changed.connect(told.append)
    for key, expected in (
        (KEY.Key_PageUp, 4), (KEY.Key_PageDown, 3), (KEY.Key_Home, 6), (KEY.Key_PageUp, 6),
        (KEY.Key_End, 0), (KEY.Key_PageDown, 0), (KEY.Key_Insert, 3),
    ):  # fmt: skip
        qtbot.keyClick(view, key)
        assert viewer.current_view == expected
        np.testing.assert_array_equal(shown(viewer, qtbot), series.stack[expected])
    assert told == [4, 3, 6, 0, 3]
    viewer.navigation.slider.setValue(2)
    assert viewer.current_view == 1
    assert viewer.navigation.words.text().startswith("-20.00°")


def test_play_goes_back_and_forth(make_viewer, qtbot):
    viewer = make_viewer()
    viewer.navigation.player.set_interval(5)
    seen = []
    viewer.images.view_shown.connect(seen.append)
    qtbot.keyClick(viewer.images.main_view, KEY.Key_P)
    qtbot.waitUntil(lambda: {0, 6} <= set(seen), timeout=3000)
    qtbot.keyClick(viewer.images.main_view, KEY.Key_P)
    assert not viewer.navigation.player.playing
    assert max(np.abs(np.diff(seen))) <= 2


def test_interpolated_shows_the_aligned_size_and_back(make_viewer, qtbot):
    series = make_series()
    viewer = make_viewer(series)
    view = viewer.images.main_view
    qtbot.keyClick(view, KEY.Key_I)
    assert shown(viewer, qtbot).shape == (90, 60)
    assert view.image_size == (60, 90)
    qtbot.keyClick(view, KEY.Key_I)
    np.testing.assert_array_equal(shown(viewer, qtbot), series.stack[3])
    viewer.set_series(make_series(aligned=False))
    assert not viewer.interpolated_action.isEnabled()


def test_side_by_side_keeps_the_same_place_in_both(make_viewer, qtbot):
    viewer = make_viewer()
    qtbot.keyClick(viewer.images.main_view, KEY.Key_W)
    qtbot.waitUntil(lambda: viewer.images.second_view.tile is not None)
    assert viewer.compare.currentText() == Comparison.SIDE.value
    first, second = viewer.images.main_view, viewer.images.second_view
    assert (first.image_size, second.image_size) == ((90, 60), (60, 90))
    first.set_viewport(8.0, 30.0, 20.0)
    x, y = second.viewport.x, second.viewport.y
    assert second.viewport.zoom == 8.0
    xf = viewer.series.image_transforms()[3]
    expected = xf[:, :2] @ [30 - 44.5, 20 - 29.5] + xf[:, 2] + [29.5, 44.5]
    assert (x, y) == pytest.approx(tuple(expected))
    second.centre_on(30.0, 50.0)
    assert first.viewport.x != 30.0
    assert first.value_at(first.viewport.x, first.viewport.y) == pytest.approx(
        second.value_at(30.0, 50.0), abs=3
    )


def test_blink_shows_one_after_the_other_at_the_same_place(make_viewer, qtbot):
    viewer = make_viewer()
    view = viewer.images.main_view
    view.set_viewport(8.0, 30.0, 20.0)
    viewer.compare.setCurrentText(Comparison.BLINK.value)
    sizes = []
    viewer.images.rendered.connect(lambda: sizes.append(view.image_size))
    qtbot.waitUntil(lambda: {(60, 90), (90, 60)} <= set(sizes), timeout=5000)
    viewer.compare.setCurrentText(Comparison.OFF.value)
    shown(viewer, qtbot)
    assert (view.viewport.x, view.viewport.y) == pytest.approx((30.0, 20.0), abs=1e-6)


def test_another_series_can_be_compared(make_viewer, qtbot):
    other = make_series(stack=make_series().stack * 3, name="denoised")
    viewer = make_viewer(make_series(), None, other)
    viewer.compare.setCurrentText(Comparison.SIDE.value)
    qtbot.waitUntil(lambda: viewer.images.second_view.tile is not None)
    np.testing.assert_array_equal(viewer.images.second_view.tile.data, other.stack[3])
    # Each has the contrast that fits it.
    assert viewer.images.second_view.levels == pytest.approx(
        tuple(3 * v for v in viewer.images.main_view.levels)
    )


def test_beads_lie_on_the_picture_raw_and_interpolated(make_viewer, qtbot):
    series = make_series()
    viewer = make_viewer(series, make_model(series))
    bottom, top = viewer.images.main_view.layer("beads")
    np.testing.assert_allclose(bottom.xy, [[54.5, 34.5], [44.5, 21.5]], atol=1e-4)
    assert (bottom.colour, top.colour) == ("#35c759", "#ff4fd8")
    viewer.interpolated_action.setChecked(True)
    shown(viewer, qtbot)
    xf = series.alignment.transforms[3]
    expected = np.array([10.0, 5.0]) @ xf[:, :2].T + xf[:, 2] + [29.5, 44.5]
    np.testing.assert_allclose(viewer.images.main_view.layer("beads")[0].xy[0], expected, atol=1e-4)
    qtbot.keyClick(viewer.images.main_view, KEY.Key_T)
    assert viewer.images.main_view.layer("beads") == ()


def test_erased_patches_are_marked_counted_and_hidden(make_viewer, qtbot, tmp_path):
    path = tmp_path / "erased.csv"
    write_patches(
        path, [ErasedPatch(3, 20, 30, 1.5), ErasedPatch(3, 70, 10, 4), ErasedPatch(5, 9, 9, 2)]
    )
    viewer = make_viewer(make_series(erased_path=path))
    view = viewer.images.main_view
    (squares,) = view.layer("patches")
    np.testing.assert_allclose(squares.xy, [[20, 30], [70, 10]], atol=1e-6)
    np.testing.assert_allclose(squares.side_px, [3.9, 10.4])
    assert "2 erased patches" in view._caption[0]
    orange = view.grab().toImage()
    at = view.viewport.to_screen(20 + 1.95, 30.0)
    near = [QColor(orange.pixel(round(at[0]) + k, round(at[1]))) for k in range(-6, 7)]
    assert any(c.red() > 200 and c.blue() < 120 for c in near)
    titles = [viewer.table.model().headerData(k, Qt.Orientation.Horizontal) for k in range(20)]
    column = titles.index("Erased")
    cells = [viewer.table.content.index(v, column).data() for v in range(7)]
    assert cells == ["0", "0", "0", "2", "0", "1", "0"]
    viewer.interpolated_action.setChecked(True)
    shown(viewer, qtbot)
    expected = viewer.images.source.from_raw(3, np.array([20 - 44.5, 30 - 29.5]))
    np.testing.assert_allclose(view.layer("patches")[0].xy[0], expected)
    viewer.show_view(4)
    shown(viewer, qtbot)
    assert view.layer("patches") == ()
    assert "0 erased patches" in view._caption[0]
    viewer.show_view(5)
    shown(viewer, qtbot)
    assert "1 erased patch" in view._caption[0]
    qtbot.keyClick(view, KEY.Key_P, SHIFT)
    assert view.layer("patches") == ()
    assert "erased" not in view._caption[0]
    assert viewer.patches_button.isVisible()
    viewer.set_series(make_series())
    assert not viewer.patches_action.isEnabled()
    assert not viewer.patches_button.isVisible()


def test_the_tilt_axis_stands_upright_when_interpolated(make_viewer, qtbot):
    viewer = make_viewer(make_series(aligned=False))
    ends = viewer.images.main_view.layer("axis")[0].ends[0]
    step = ends[1] - ends[0]
    # 84 degrees counter-clockwise from the vertical.
    assert np.rad2deg(np.arctan2(-step[0], step[1])) == pytest.approx(84)
    viewer.set_series(make_series())
    viewer.interpolated_action.setChecked(True)
    shown(viewer, qtbot)
    ends = viewer.images.main_view.layer("axis")[0].ends[0]
    assert ends[:, 0] == pytest.approx([29.5, 29.5])


def test_contrast_follows_each_view_or_stays(make_viewer, qtbot):
    viewer = make_viewer()
    view = viewer.images.main_view
    first = view.levels
    qtbot.keyClick(view, KEY.Key_Home)
    shown(viewer, qtbot)
    assert view.levels != first
    qtbot.keyClick(view, KEY.Key_F, SHIFT)
    held = view.levels
    qtbot.keyClick(view, KEY.Key_End)
    shown(viewer, qtbot)
    assert view.levels == held
    bar = viewer.levels
    at = QPoint(round(bar.position(bar.levels[0])), 10)
    QTest.mousePress(bar, LEFT, pos=at)
    QTest.mouseMove(bar, at + QPoint(20, 0))
    QTest.mouseRelease(bar, LEFT, pos=at + QPoint(20, 0))
    assert view.levels[0] > held[0]
    assert view.levels[1] == held[1]
    qtbot.keyClick(view, KEY.Key_A, SHIFT)
    assert view.levels == viewer.images.main_picture.levels


def test_table_and_picture_follow_each_other(make_viewer, qtbot):
    viewer = make_viewer()
    click_row(viewer, 5)
    assert viewer.current_view == 5
    qtbot.keyClick(viewer.table, KEY.Key_PageDown)
    assert viewer.current_view == 4
    assert viewer.table.selected_views() == [4]


def test_the_table_shows_what_is_known(make_viewer, qtbot):
    series = make_series(
        fit=True, order=np.array([7, 5, 3, 1, 2, 4, 6]), order_known=True, dose=np.full(7, 3.0)
    )
    viewer = make_viewer(series, defocus_um=np.linspace(2, 3, 7))
    rows = viewer.table.csv_text().splitlines()
    assert rows[0] == (
        "View,Excl,Order,Tilt °,Solved °,Dose,Rot °,ShiftX,ShiftY,Mag,Mean,SD,Corr,Resid,Defocus"
    )
    first = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert first["Order"] == "7"
    assert first["Dose"] == "21.0"
    assert first["Rot °"] == "-84.00"
    assert (first["ShiftX"], first["ShiftY"]) == ("-4.00", "3.00")
    assert first["Mag"] == "1.0000"
    assert first["Resid"] == "0.50"
    image = series.stack[0]
    assert first["Mean"] == f"{image.mean():.1f}"
    assert first["SD"] == f"{image.std():.2f}"
    assert 0 < float(first["Corr"]) <= 1
    viewer.set_series(make_series(aligned=False))
    assert viewer.table.csv_text().splitlines()[0] == "View,Excl,Tilt °,Mean,SD,Corr"


def test_rotation_and_shift_show_the_matrix(make_viewer):
    viewer = make_viewer()
    keys = [viewer.table.content.column(k) for k in range(viewer.table.content.columnCount())]
    at = next(k for k, c in enumerate(keys) if c is not None and c.key == "rot")
    hint = viewer.table.content.data(viewer.table.content.index(0, at), Qt.ItemDataRole.ToolTipRole)
    assert "0.10453    0.99452   -4.00000" in hint
    assert "0.00000    0.00000    1.00000" in hint


def test_sorting_by_a_click_and_copying_rows(make_viewer, qtbot):
    viewer = make_viewer()
    head = viewer.table.horizontalHeader()
    at = QPoint(head.sectionViewportPosition(0) + 10, head.height() // 2)
    QTest.mouseClick(head.viewport(), LEFT, pos=at)
    assert [r.split(",")[0] for r in viewer.table.csv_text().splitlines()[1:]] == list("7654321")
    click_row(viewer, 2)
    click_row(viewer, 4, keys=CTRL)
    qtbot.keyClick(viewer.table, KEY.Key_C, CTRL)
    lines = QApplication.clipboard().text().splitlines()
    assert lines[0].startswith("View\tExcl\tTilt °")
    assert [line.split("\t")[0] for line in lines[1:]] == ["5", "3"]


def test_exclusion_by_space_x_and_checkbox_with_undo(make_viewer, qtbot):
    viewer = make_viewer()
    told = []
    viewer.exclusion_changed.connect(lambda out, kept: told.append(np.flatnonzero(out).tolist()))
    qtbot.keyClick(viewer.images.main_view, KEY.Key_Space)
    assert told == [[3]]
    click_row(viewer, 0)
    click_row(viewer, 2, keys=SHIFT)
    qtbot.keyClick(viewer.table, KEY.Key_X)
    assert told[-1] == [0, 1, 2, 3]
    click_row(viewer, 5, column=1)
    assert told[-1] == [0, 1, 2, 3, 5]
    assert "2 of 7 views used" in viewer.summary.text()
    for expected in ([0, 1, 2, 3], [3], []):
        qtbot.keyClick(viewer, KEY.Key_Z, CTRL)
        assert told[-1] == expected
    qtbot.keyClick(viewer, KEY.Key_Y, CTRL)
    assert told[-1] == [3]
    brush = viewer.table.content.data(
        viewer.table.content.index(3, 0), Qt.ItemDataRole.ForegroundRole
    )
    assert brush.color().red() > 180 > brush.color().green()
    qtbot.keyClick(viewer.images.main_view, KEY.Key_PageDown)
    viewer.show_view(3)
    qtbot.keyClick(viewer.images.main_view, KEY.Key_Space)
    assert told[-1] == []


def test_suspect_views_are_kept_or_excluded(make_viewer, qtbot):
    viewer = make_viewer(dataclasses.replace(make_series(), suspect=SUSPECT))
    suspects = viewer.suspects
    assert suspects.isVisible()
    assert "5 of 7 views used" in viewer.summary.text()
    told = []
    viewer.exclusion_changed.connect(
        lambda out, kept: told.append((np.flatnonzero(out).tolist(), np.flatnonzero(kept).tolist()))
    )
    item = suspects.list.item(1)
    QTest.mouseClick(
        suspects.list.viewport(), LEFT, pos=suspects.list.visualItemRect(item).center()
    )
    assert viewer.current_view == 4
    assert "duplicate" in item.text()
    QTest.mouseClick(suspects.keep_button, LEFT)
    assert told == [([], [4])]
    assert "6 of 7 views used" in viewer.summary.text()
    QTest.mouseClick(suspects.all_button, LEFT)
    assert told[-1] == ([1], [4])
    assert not suspects.all_button.isEnabled()
    qtbot.keyClick(viewer, KEY.Key_Z, CTRL)
    qtbot.keyClick(viewer, KEY.Key_Z, CTRL)
    assert told[-1] == ([], [])
    suspects.list.setFocus()
    suspects.list.setCurrentRow(0)
    qtbot.keyClick(suspects.list, KEY.Key_Return)
    assert told[-1] == ([1], [])
    viewer.set_series(make_series())
    assert not suspects.isVisible()


def test_a_click_in_a_plot_goes_to_the_view(make_viewer, qtbot):
    viewer = make_viewer()
    plots = viewer.plots
    plots.tabs.setCurrentIndex(4)
    box = plots.plot.getPlotItem().getViewBox()
    qtbot.waitUntil(lambda: box.viewRange()[0][1] > 6.5)
    QApplication.processEvents()
    target = box.mapViewToScene(QPointF(6.2, np.mean(box.viewRange()[1])))
    at = plots.plot.mapFromScene(target)
    QTest.mouseClick(plots.plot.viewport(), LEFT, pos=at)
    assert viewer.current_view == 5
    assert plots.view_at(QPointF(-5, -5)) is None


def test_the_window_is_narrow(make_viewer, qtbot):
    viewer = make_viewer()
    assert viewer.splitter.orientation() == Qt.Orientation.Horizontal
    viewer.resize(620, 700)
    qtbot.waitUntil(lambda: viewer.splitter.orientation() == Qt.Orientation.Vertical)
    assert viewer.minimumSizeHint().width() <= 640


def test_a_view_that_cannot_be_read_says_so(make_viewer, qtbot):
    class Broken:
        shape, dtype = (7, 60, 90), np.dtype(np.float32)

        def __getitem__(self, view):
            raise OSError("Stale file handle")

    viewer = make_viewer(dataclasses.replace(make_series(), stack=Broken()))
    qtbot.waitUntil(lambda: viewer.lane.idle)
    assert viewer.images.main_view.tile is None
    assert "Stale file handle" in viewer.images.main_view.message


def test_every_action_says_its_key(make_viewer):
    viewer = make_viewer()
    for action in viewer.actions():
        if action.text() and action not in (viewer.actions()[-1],) and action.toolTip():
            key = action.shortcut().toString()
            assert key, action.text()
            assert key in action.toolTip() or action.text().startswith(("Undo", "Redo"))


def test_another_exclusion_comes_in_without_a_signal(make_viewer):
    viewer = make_viewer()
    told = []
    viewer.exclusion_changed.connect(lambda *a: told.append(a))
    out = np.zeros(7, bool)
    out[2] = True
    viewer.set_series(dataclasses.replace(viewer.series, excluded=out))
    assert "6 of 7" in viewer.summary.text()
    assert told == []
    assert not viewer.exclusion.undo_stack.canUndo()


def test_a_viewer_that_is_destroyed_ends_its_thread(qtbot, qapp):
    viewer = TiltSeriesViewer()
    viewer.set_series(make_series())
    qtbot.waitUntil(lambda: viewer.lane.idle)
    lanes = [t for t in threading.enumerate() if t.name == "viewer lane"]
    assert len(lanes) == 1
    viewer.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    qtbot.waitUntil(lambda: not lanes[0].is_alive())


def test_two_viewers_share_a_lane(qtbot):
    lane = Lane()
    viewers = [TiltSeriesViewer(lane=lane) for _ in range(2)]
    for viewer in viewers:
        qtbot.addWidget(viewer)
    viewers[0].set_series(make_series())
    viewers[1].set_series(make_series(aligned=False))
    qtbot.waitUntil(lambda: lane.idle)
    assert all(v.images.main_view.tile is not None for v in viewers)
    viewers[0].shutdown()
    viewers[1].show_view(0)
    qtbot.waitUntil(lambda: lane.idle)
    assert viewers[1].images.main_view.tile is not None
    viewers[1].shutdown()
    lane.close()


def test_the_saved_exclusion_comes_back_and_nothing_is_lost(make_viewer, qtbot):
    viewer = make_viewer()
    view = viewer.images.main_view
    qtbot.keyClick(view, KEY.Key_F, SHIFT)
    viewer.images.drag_levels(90.0, 120.0)
    qtbot.keyClick(view, KEY.Key_X)
    view.set_viewport(8.0, 30.0, 20.0)
    viewer.show_view(2)
    shown(viewer, qtbot)
    viewer.set_series(dataclasses.replace(viewer.series, excluded=viewer.exclusion.excluded))
    assert view.tile is not None, "no flicker"
    assert viewer.lane.idle, "nothing is read again"
    assert viewer.current_view == 2
    assert view.levels == (90.0, 120.0)
    assert view.viewport.zoom == 8.0
    qtbot.keyClick(view, KEY.Key_Z, CTRL)
    assert not viewer.exclusion.excluded.any()


def test_another_alignment_of_the_same_stack_is_shown(make_viewer, qtbot):
    viewer = make_viewer()
    viewer.interpolated_action.setChecked(True)
    before = shown(viewer, qtbot)
    xf = viewer.series.alignment.transforms.copy()
    xf[:, 0, 2] += 6
    moved = dataclasses.replace(viewer.series.alignment, transforms=xf)
    viewer.set_series(dataclasses.replace(viewer.series, alignment=moved))
    after = shown(viewer, qtbot)
    np.testing.assert_allclose(after[20:60, 26:40], before[20:60, 20:34], atol=1e-2)


def test_the_keys_are_listed(make_viewer, qtbot):
    viewer = make_viewer()
    qtbot.keyClick(viewer.images.main_view, KEY.Key_Question)
    (popup,) = viewer.findChildren(KeyList)
    assert "Interpolated" in popup.text()
    assert "Shift+A" in popup.text()
    popup.close()
