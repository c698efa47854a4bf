"""The tomogram viewer: planes, slab, cursor, measure, box, proposal, two side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtTest import QTest
from viewer_data import make_series

from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.model.tomogram import open_tomogram
from tiltwright.widgets.tomogram.plane_set import Beads
from tiltwright.widgets.tomogram.specimen_box import BoxGesture, SpecimenBox
from tiltwright.widgets.tomogram.tomogram_planes import PLANES, read_plane, slab
from tiltwright.widgets.tomogram.tomogram_viewer import TomogramViewer

KEY, LEFT, SHIFT = Qt.Key, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ShiftModifier
NZ, NY, NX = 40, 70, 50


@pytest.fixture(scope="module")
def volume():
    return np.random.default_rng(0).integers(-900, 900, (NZ, NY, NX)).astype(np.int16)


@pytest.fixture
def tomogram(tmp_path, volume):
    write_mrc(tmp_path / "small.mrc", volume, 10.0)
    return open_tomogram(tmp_path / "small.mrc")


@pytest.fixture
def viewer(qtbot):
    out = TomogramViewer()
    qtbot.addWidget(out)
    out.resize(900, 800)
    out.show()
    qtbot.waitExposed(out)
    yield out
    out.shutdown()


def settled(viewer, qtbot):
    qtbot.waitUntil(lambda: viewer.lane.idle)
    return {plane: view.tile.data for plane, view in viewer.first.views.items()}


def last(pieces):
    *before, tile = pieces
    assert all(piece is None for piece in before)
    return tile.data


@pytest.mark.parametrize("thickness", [1, 2, 5, 50])
@pytest.mark.parametrize("at", [(0, 0, 0), (25, 33, 20), (49, 69, 39)])
def test_planes_are_means_over_the_slab(volume, thickness, at, monkeypatch):
    monkeypatch.setattr("tiltwright.widgets.tomogram.tomogram_planes._PIECE_VOXELS", 4000)
    x, y, z = at
    cut = [slab(c, thickness, n) for c, n in zip(at, (NX, NY, NZ), strict=True)]
    twins = {
        "xy": volume[cut[2][0] : cut[2][1]].mean(0),
        "xz": volume[:, cut[1][0] : cut[1][1]].mean(1),
        "yz": volume[:, :, cut[0][0] : cut[0][1]].mean(2).T,
    }
    for plane in PLANES:
        np.testing.assert_allclose(
            last(read_plane(volume, plane, (x, y, z), thickness)), twins[plane], atol=1e-2
        )


@pytest.mark.parametrize(
    ("centre", "thickness", "n", "expected"),
    [(5, 1, 10, (5, 6)), (5, 3, 10, (4, 7)), (5, 4, 10, (4, 8)), (0, 5, 10, (0, 5)),
     (9, 5, 10, (5, 10)), (3, 50, 10, (0, 10))],
)  # fmt: skip
def test_a_slab_stays_inside(centre, thickness, n, expected):
    assert slab(centre, thickness, n) == expected


def test_it_opens_in_the_middle_and_keys_go_through_z(viewer, tomogram, volume, qtbot):
    viewer.set_tomogram(tomogram)
    planes = settled(viewer, qtbot)
    np.testing.assert_array_equal(planes["xy"], volume[20])
    np.testing.assert_array_equal(planes["xz"], volume[:, 35])
    np.testing.assert_array_equal(planes["yz"], volume[:, :, 25].T)
    view = viewer.first.views["xy"]
    view.setFocus()
    for key, z in (
        (KEY.Key_PageUp, 21), (KEY.Key_PageDown, 20), (KEY.Key_Home, 39), (KEY.Key_End, 0),
        (KEY.Key_Insert, 20),
    ):  # fmt: skip
        qtbot.keyClick(view, key)
        assert viewer.first.cursor_voxel == (25, 35, z)
        assert viewer.navigation.slider.value() == z + 1
        np.testing.assert_array_equal(settled(viewer, qtbot)["xy"], volume[z])
    qtbot.keyClick(view, KEY.Key_Up, Qt.KeyboardModifier.ControlModifier)
    assert viewer.slab.value() == 2
    np.testing.assert_allclose(settled(viewer, qtbot)["xy"], volume[20:22].mean(0))


def test_a_click_moves_the_other_planes(viewer, tomogram, volume, qtbot):
    viewer.set_tomogram(tomogram)
    settled(viewer, qtbot)
    told = []
    viewer.cursor_moved.connect(lambda *voxel: told.append(voxel))
    views = viewer.first.views
    QTest.mouseClick(views["xy"], LEFT, pos=views["xy"].to_screen(10, 60).toPoint())
    assert told == [(10, 60, 20)]
    planes = settled(viewer, qtbot)
    np.testing.assert_array_equal(planes["xz"], volume[:, 60])
    np.testing.assert_array_equal(planes["yz"], volume[:, :, 10].T)
    QTest.mouseClick(views["xz"], LEFT, pos=views["xz"].to_screen(10, 5).toPoint())
    assert told[-1] == (10, 60, 5)
    QTest.mouseClick(views["yz"], LEFT, pos=views["yz"].to_screen(30, 12).toPoint())
    assert told[-1] == (10, 12, 30)
    np.testing.assert_array_equal(settled(viewer, qtbot)["xy"], volume[30])


def test_planes_share_zoom_and_middle(viewer, tomogram, qtbot):
    viewer.set_tomogram(tomogram)
    settled(viewer, qtbot)
    views = viewer.first.views
    assert len({view.viewport.zoom for view in views.values()}) == 1
    views["xz"].set_viewport(12.0, 8.0, 30.0)
    assert (views["xy"].viewport.zoom, views["yz"].viewport.zoom) == (12, 12)
    assert views["xy"].viewport.x == 8
    assert views["yz"].viewport.x == 30
    views["yz"].centre_on(20.0, 50.0)
    assert views["xy"].viewport.y == 50
    assert views["xz"].viewport.y == 20
    views["xy"].setFocus()
    qtbot.keyClick(views["xy"], KEY.Key_R, SHIFT)
    assert views["xz"].viewport.zoom == views["xy"].viewport.zoom < 12


def test_play_goes_through_z(viewer, tomogram, qtbot):
    viewer.set_tomogram(tomogram)
    settled(viewer, qtbot)
    viewer.navigation.player.set_interval(2)
    seen = []
    viewer.cursor_moved.connect(lambda x, y, z: seen.append(z))
    viewer.first.views["xy"].setFocus()
    qtbot.keyClick(viewer.first.views["xy"], KEY.Key_P)
    qtbot.waitUntil(lambda: {39, 19} <= set(seen), timeout=5000)
    viewer.navigation.player.stop()


def test_a_distance_is_measured_in_nm(viewer, tomogram, qtbot):
    viewer.set_tomogram(tomogram)
    settled(viewer, qtbot)
    view = viewer.first.views["xy"]
    view.setFocus()
    qtbot.keyClick(view, KEY.Key_Q)
    told = []
    viewer.measured.connect(told.append)
    a, b = view.to_screen(10, 10).toPoint(), view.to_screen(40, 50).toPoint()
    QTest.mousePress(view, LEFT, pos=a)
    QTest.mouseMove(view, b)
    QTest.mouseRelease(view, LEFT, pos=b)
    assert told[-1] == pytest.approx(50.0, abs=0.3)
    assert view.layer("measure")[1].words == (f"{told[-1]:.1f} nm",)
    assert viewer.first.cursor_voxel == (25, 35, 20)


def drag(view, start, end):
    a, b = view.to_screen(*start).toPoint(), view.to_screen(*end).toPoint()
    QTest.mousePress(view, LEFT, pos=a)
    QTest.mouseMove(view, (a + b) / 2)
    QTest.mouseMove(view, b)
    QTest.mouseRelease(view, LEFT, pos=b)


def test_a_box_is_dragged_on_the_side_planes(viewer, tomogram, qtbot):
    viewer.set_tomogram(tomogram)
    settled(viewer, qtbot)
    views, told = viewer.first.views, []
    viewer.box_changed.connect(told.append)
    views["xy"].setFocus()
    qtbot.keyClick(views["xy"], KEY.Key_B)
    assert told[-1] == SpecimenBox.whole(tomogram.shape, 10.0)
    assert viewer.panel.isVisible()
    drag(views["xz"], (25, 39), (25, 30))
    drag(views["xz"], (25, 0), (25, 8))
    drag(views["xz"], (0, 20), (5, 20))
    assert (told[-1].z0, told[-1].z1, told[-1].x0, told[-1].x1) == (8, 30, 5, 49)
    drag(views["yz"], (20, 69), (20, 60))
    assert (told[-1].y0, told[-1].y1) == (0, 60)
    assert told[-1].thickness_px == 23
    assert told[-1].thickness_nm == pytest.approx(23)
    assert told[-1].z_shift_px == pytest.approx(-0.5)
    z, y = told[-1].tilt_handles()[0]
    drag(views["yz"], (z, y), (z - 5, y))
    assert told[-1].x_tilt_deg == pytest.approx(np.rad2deg(np.arctan(5 / (34.5 - y))), abs=0.6)
    before = told[-1]
    drag(views["yz"], (19, 34.5), (23, 34.5))
    assert (told[-1].z0 - before.z0, told[-1].z1 - before.z1) == (4, 4)
    viewer.panel.edges["z1"].setValue(30)
    assert told[-1].z1 == 29
    viewer.panel.tilt.setValue(-2.5)
    assert told[-1].x_tilt_deg == -2.5
    qtbot.keyClick(views["xy"], KEY.Key_B)
    assert told[-1] is None
    assert not viewer.panel.isVisible()
    assert views["xz"].layer("box") == ()


def test_a_box_stays_inside_and_has_a_thickness():
    box = SpecimenBox.whole((NZ, NY, NX), 10.0)
    assert replace(box, z0=-5, z1=99, x_tilt_deg=80).valid() == replace(box, x_tilt_deg=45.0)
    thin = replace(box, z0=39, z1=39).valid()
    assert (thin.z0, thin.z1) == (36, 39)
    steep = replace(box, z0=10, z1=29, x_tilt_deg=30.0)
    assert steep.thickness_px == round(20 * np.cos(np.deg2rad(30)))
    assert steep.size_nm == (50, 70, 20)
    assert steep.rise(34.5) == 0
    corners = steep.corners("yz")
    assert corners[3, 0] - corners[0, 0] == pytest.approx(70 * np.tan(np.deg2rad(30)))


def test_edges_do_not_cross_and_nothing_happens_without_a_box():
    made = []
    gesture = BoxGesture("xz", lambda: None, made.append)
    assert not gesture.press(1, 1, 2)
    box = replace(SpecimenBox.whole((NZ, NY, NX), 10.0), z0=10, z1=20)
    gesture = BoxGesture("xz", lambda: box, made.append)
    assert gesture.press(25, 10.5, 1)
    gesture.move(25, 35)
    assert (made[-1].z0, made[-1].z1) == (17, 20)
    gesture.release(25, 35)
    gesture.move(25, 5)
    assert len(made) == 1
    assert gesture.cursor(25, 10, 1) == Qt.CursorShape.SizeVerCursor
    assert gesture.cursor(25, 15, 1) == Qt.CursorShape.SizeAllCursor
    assert gesture.cursor(25, 35, 1) is None


def test_the_box_is_proposed_from_the_specimen(viewer, tmp_path, qtbot):
    rng = np.random.default_rng(1)
    volume = rng.normal(0, 30, (60, 140, 130))
    blobs = np.kron(rng.normal(0, 150, (7, 18, 17)), np.ones((8, 8, 8)))[:40, :140, :130]
    volume[10:50] += blobs
    write_mrc(tmp_path / "slab.mrc", volume.astype(np.float32), 8.0)
    viewer.set_tomogram(open_tomogram(tmp_path / "slab.mrc"))
    told = []
    viewer.box_changed.connect(told.append)
    viewer.first.views["xy"].setFocus()
    qtbot.keyClick(viewer.first.views["xy"], KEY.Key_B, SHIFT)
    qtbot.waitUntil(lambda: bool(told), timeout=10_000)
    assert told[-1].z0 == pytest.approx(10, abs=4)
    assert told[-1].z1 == pytest.approx(49, abs=4)
    assert abs(told[-1].x_tilt_deg) < 1.5
    assert viewer.box_action.isChecked()


def test_no_boundaries_are_told_in_words(viewer, tmp_path, qtbot):
    noise = np.random.default_rng(3).standard_normal((60, 130, 130), dtype=np.float32)
    write_mrc(tmp_path / "noise.mrc", noise, 8.0)
    viewer.set_tomogram(open_tomogram(tmp_path / "noise.mrc"))
    viewer.propose_action.trigger()
    qtbot.waitUntil(lambda: "by hand" in viewer.message.text())
    assert viewer.box is None


def test_beads_show_in_the_planes_that_cut_them(viewer, tomogram, qtbot):
    # Voxel (30, 40, 25) and (12, 35, 3), in nm about the centre; the third has no position.
    xyz = np.array([[30 - 24.5, 40 - 34.5, 25 - 19.5], [12 - 24.5, 0.5, 3 - 19.5], [np.nan] * 3])
    viewer.set_tomogram(tomogram, beads=Beads(xyz, np.array([0, 1, 0]), 4.0))
    settled(viewer, qtbot)
    views = viewer.first.views
    assert views["xy"].layer("beads") == ()
    (top,) = views["xz"].layer("beads")
    np.testing.assert_allclose(top.xy, [[12, 3]])
    assert top.colour == "#ff4fd8"
    viewer.set_cursor(25, 35, 24)
    (bottom,) = views["xy"].layer("beads")
    np.testing.assert_allclose(bottom.xy, [[30, 40]])
    viewer.beads_action.trigger()
    assert views["xy"].layer("beads") == ()


def test_the_beads_of_an_alignment_are_in_nm():
    series = make_series(fit=True)
    beads = Beads.of_series(series, 10.0)
    np.testing.assert_allclose(beads.xyz_nm, series.alignment.fit.xyz * 0.5)
    assert Beads.of_series(make_series(aligned=False), 10.0) is None


def test_two_tomograms_have_one_cursor_and_one_middle(viewer, tomogram, tmp_path, volume, qtbot):
    # The same specimen at twice the sampling in x and y, cut by 5 sections at the bottom.
    fine = np.kron(volume, np.ones((2, 2, 2), np.int16))[10:]
    write_mrc(tmp_path / "fine.mrc", fine, 5.0)
    other = open_tomogram(tmp_path / "fine.mrc", origin=(-49.5, -69.5, -29.5))
    viewer.set_tomogram(tomogram, other)
    settled(viewer, qtbot)
    assert viewer.second.isVisible()
    viewer.set_cursor(10, 20, 30)
    assert viewer.second.cursor_voxel == (20, 40, 50)
    second = viewer.second.views["xy"]
    qtbot.waitUntil(lambda: viewer.lane.idle)
    QTest.mouseClick(second, LEFT, pos=second.to_screen(60, 100).toPoint())
    assert viewer.first.cursor_voxel[:2] == pytest.approx((30, 50), abs=1)
    viewer.first.views["xy"].set_viewport(6.0, 20.0, 30.0)
    assert second.viewport.zoom == pytest.approx(3.0)
    assert (second.viewport.x, second.viewport.y) == pytest.approx((40.5, 60.5))
    viewer.set_tomogram(tomogram)
    assert not viewer.second.isVisible()


def test_contrast_by_hand_auto_and_inverted(viewer, tomogram, qtbot):
    viewer.set_tomogram(tomogram)
    settled(viewer, qtbot)
    view, bar = viewer.first.views["xy"], viewer.levels
    auto = view.levels
    at = QPoint(round(bar.position(bar.levels[1])), 10)
    QTest.mousePress(bar, LEFT, pos=at)
    QTest.mouseMove(bar, at - QPoint(40, 0))
    QTest.mouseRelease(bar, LEFT, pos=at - QPoint(40, 0))
    assert view.levels[1] < auto[1]
    assert {v.levels for v in viewer.first.views.values()} == {view.levels}
    view.setFocus()
    qtbot.keyClick(view, KEY.Key_A, SHIFT)
    assert view.levels == auto
    qtbot.keyClick(view, KEY.Key_F11)
    assert viewer.first.views["yz"].inverted


def test_a_missing_file_says_so(viewer, tomogram, qtbot):
    tomogram.path.unlink()
    viewer.set_tomogram(tomogram)
    assert str(tomogram.path) in viewer.first.views["xy"].message


def test_every_action_says_its_key(viewer):
    for action in viewer.actions():
        assert action.shortcut().toString() in action.toolTip()
        assert not action.shortcut().isEmpty()
