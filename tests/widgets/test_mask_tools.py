"""Brush and eraser over a tomogram, with the mouse and the keys, and the surface beside it."""

from __future__ import annotations

import numpy as np
import pytest
from PyQt6.QtCore import QEvent, QPointF, Qt
from PyQt6.QtGui import QMouseEvent
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication

from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.model.tomogram import open_tomogram
from tiltwright.engine.volume.mask_edit import MaskEditor, ball
from tiltwright.widgets.tomogram.plane_set import Beads
from tiltwright.widgets.tomogram.tomogram_planes import AXES, PLANES
from tiltwright.widgets.tomogram.tomogram_viewer import TomogramViewer

KEY, LEFT, NONE = Qt.Key, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
CONTROL = Qt.KeyboardModifier.ControlModifier
NZ, NY, NX = 40, 70, 50
SHAPE = (NZ, NY, NX)


def drag(view, places, keys=NONE):
    """Press at the first place, move over the others, release; index positions of the image."""
    at = [view.to_screen(*place).toPoint() for place in places]
    QTest.mousePress(view, LEFT, keys, at[0])
    for point in at[1:]:
        QTest.mouseMove(view, point)
    QTest.mouseRelease(view, LEFT, keys, at[-1])


def sections(mask, cursor):
    x, y, z = cursor
    return {"xy": mask[z], "xz": mask[:, y], "yz": mask[:, :, x].T}


def assert_overlay_is_the_mask(viewer):
    for plane, wanted in sections(viewer.masks.editor.mask, viewer.first.cursor_voxel).items():
        picture = viewer.masks.overlay.picture(plane)
        ny, nx = wanted.shape
        shown = np.array([[picture.inside(x, y) for x in range(nx)] for y in range(ny)])
        np.testing.assert_array_equal(shown, wanted != 0, plane)


@pytest.fixture
def viewer(qtbot, tmp_path):
    rng = np.random.default_rng(0)
    write_mrc(tmp_path / "t.mrc", rng.integers(-900, 900, SHAPE).astype(np.int16), 10.0)
    out = TomogramViewer()
    qtbot.addWidget(out)
    out.resize(1100, 900)
    out.show()
    qtbot.waitExposed(out)
    out.set_tomogram(open_tomogram(tmp_path / "t.mrc"))
    mask = np.zeros(SHAPE, np.int8)
    mask[10:30, 20:50, 12:40] = 1
    out.set_mask(MaskEditor(mask))
    qtbot.waitUntil(lambda: out.lane.idle)
    yield out
    out.shutdown()


@pytest.fixture
def mask(viewer):
    return viewer.masks.editor.mask


def test_the_mask_lies_over_every_plane_and_follows_the_cursor(viewer, qtbot):
    assert_overlay_is_the_mask(viewer)
    for voxel in ((13, 22, 9), (13, 22, 10), (49, 0, 39)):
        viewer.set_cursor(*voxel)
        qtbot.waitUntil(lambda: viewer.lane.idle)
        assert_overlay_is_the_mask(viewer)
    layers = [viewer.first.views[plane].layer("mask") for plane in PLANES]
    assert all(len(found) == 1 for found in layers)
    qtbot.keyClick(viewer.first.views["xy"], KEY.Key_M)
    assert all(viewer.first.views[plane].layer("mask") == () for plane in PLANES)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("solid", [False, True])
def test_a_drag_paints_in_each_plane(viewer, mask, qtbot, plane, solid):
    viewer.set_cursor(30, 40, 25)
    qtbot.waitUntil(lambda: viewer.lane.idle)
    view, before = viewer.first.views[plane], mask.copy()
    view.setFocus()
    qtbot.keyClick(view, KEY.Key_W)
    viewer.masks.size.setValue(5)
    if solid:
        qtbot.keyClick(view, KEY.Key_D)
    right, up, axis = AXES[plane]
    size = view.image_size
    start, end = (4.0, size[1] / 2), (size[0] - 6.0, size[1] / 2 + 3)
    drag(view, [start, end])
    changed = np.argwhere(mask != before)[:, ::-1]  # x, y, z
    assert len(changed)
    assert mask[mask != before].all()
    across = changed[:, axis]
    cursor = viewer.first.cursor_voxel[axis]
    reach = 2 if solid else 0
    assert (across.min(), across.max()) == (cursor - reach, cursor + reach)
    assert changed[:, right].min() == pytest.approx(4 - 2, abs=1)
    # What is on the way is painted, within the brush and nowhere else.
    way = np.array(end) - start
    on = changed[:, [right, up]] - np.array(start)
    away = np.abs(on[:, 0] * way[1] - on[:, 1] * way[0]) / np.hypot(*way)
    assert away.max() < 4.0
    middle = [0, 0, 0]
    middle[axis], middle[right] = cursor, size[0] // 2
    middle[up] = round(size[1] / 2 + 3 * (size[0] / 2 - 4) / way[0])
    assert mask[tuple(middle[::-1])]
    assert_overlay_is_the_mask(viewer)
    after = mask.copy()
    qtbot.keyClick(view, KEY.Key_Z, CONTROL)
    np.testing.assert_array_equal(mask, before)
    assert_overlay_is_the_mask(viewer)
    qtbot.keyClick(view, KEY.Key_Y, CONTROL)
    np.testing.assert_array_equal(mask, after)
    assert_overlay_is_the_mask(viewer)


def test_the_eraser_and_ctrl(viewer, mask, qtbot):
    view = viewer.first.views["xy"]
    view.setFocus()
    qtbot.keyClick(view, KEY.Key_W)
    assert viewer.masks.brush_action.isChecked()
    qtbot.keyClick(view, KEY.Key_E)
    assert not viewer.masks.brush_action.isChecked()
    z = viewer.first.cursor_voxel[2]
    total = int(mask.sum())
    drag(view, [(20, 35), (20, 35)])
    assert mask.sum() == total - ball(9, 0).sum()
    assert not mask[z, 35, 20]
    assert mask[z + 1, 35, 20]
    drag(view, [(20, 35), (20, 35)], CONTROL)
    assert mask.sum() == total
    qtbot.keyClick(view, KEY.Key_W)
    drag(view, [(20, 35), (20, 35)], CONTROL)
    assert mask.sum() == total - ball(9, 0).sum()


def test_the_circle_shows_the_size_and_keys_change_it(viewer, qtbot):
    view = viewer.first.views["yz"]
    view.setFocus()
    assert view.layer("brush") == ()
    qtbot.keyClick(view, KEY.Key_W)
    QTest.mouseMove(view, view.to_screen(10, 30).toPoint())
    (ring,) = view.layer("brush")
    assert ring.diameter_px == 9
    np.testing.assert_allclose(ring.xy, [[10, 30]], atol=0.6)
    qtbot.keyClick(view, KEY.Key_BracketRight)
    qtbot.keyClick(view, KEY.Key_BracketRight)
    assert viewer.masks.size.value() == 11
    assert view.layer("brush")[0].diameter_px == 11
    qtbot.keyClick(view, KEY.Key_BracketLeft)
    assert viewer.masks.size.value() == 10
    QApplication.sendEvent(view, QEvent(QEvent.Type.Leave))
    assert view.layer("brush") == ()
    QTest.mouseMove(view, view.to_screen(10, 30).toPoint())
    qtbot.keyClick(view, KEY.Key_W)
    assert view.layer("brush") == ()


def test_one_tool_at_a_time(viewer, mask, qtbot):
    view, before = viewer.first.views["xy"], mask.copy()
    view.setFocus()
    qtbot.keyClick(view, KEY.Key_W)
    qtbot.keyClick(view, KEY.Key_Q)
    assert not viewer.masks.active
    drag(view, [(5, 5), (20, 9)])
    np.testing.assert_array_equal(mask, before)
    qtbot.keyClick(view, KEY.Key_W)
    assert not viewer.measure_action.isChecked()
    # Without a tool a click moves the cursor again.
    qtbot.keyClick(view, KEY.Key_W)
    QTest.mouseClick(view, LEFT, pos=view.to_screen(7, 8).toPoint())
    assert viewer.first.cursor_voxel[:2] == (7, 8)


def test_saving_is_asked_for_once_there_is_something_to_save(viewer, qtbot):
    view, asked = viewer.first.views["xy"], []
    viewer.masks.save_asked.connect(lambda: asked.append(1))
    view.setFocus()
    qtbot.keyClick(view, KEY.Key_S, CONTROL)
    assert not asked
    qtbot.keyClick(view, KEY.Key_W)
    drag(view, [(5, 5), (6, 6)])
    assert viewer.masks.modified
    qtbot.keyClick(view, KEY.Key_S, CONTROL)
    assert asked == [1]
    viewer.masks.set_saving(True)
    before = viewer.masks.editor.mask.copy()
    drag(view, [(25, 60), (30, 66)])
    np.testing.assert_array_equal(viewer.masks.editor.mask, before)
    viewer.masks.set_saving(False)
    viewer.masks.mark_saved("Saved as version 2")
    assert not viewer.masks.modified
    assert viewer.masks.words.text() == "Saved as version 2"


def test_a_mask_to_look_at_is_not_painted(viewer, mask, qtbot):
    viewer.set_mask(MaskEditor(mask), "read-only", editable=False)
    view, before = viewer.first.views["xy"], mask.copy()
    view.setFocus()
    qtbot.keyClick(view, KEY.Key_W)
    drag(view, [(5, 5), (9, 9)])
    np.testing.assert_array_equal(mask, before)
    viewer.set_mask(None)
    assert not viewer.masks.isVisible()
    assert not viewer.surface_action.isEnabled()


# ---- the surface ------------------------------------------------------------------------------


@pytest.fixture
def surface(viewer, qtbot):
    view = viewer.first.views["xy"]
    view.setFocus()
    with qtbot.waitSignal(viewer.surface.drawn, timeout=20_000):
        qtbot.keyClick(view, KEY.Key_S)
    qtbot.waitUntil(lambda: viewer.surface.lane.idle and "triangles" in viewer.surface.words,
                    timeout=20_000)  # fmt: skip
    return viewer.surface


def settle(surface, qtbot):
    qtbot.waitUntil(lambda: surface.lane.idle and not surface._rest.isActive(), timeout=20_000)
    qtbot.waitUntil(lambda: surface.lane.idle, timeout=20_000)


def test_a_click_on_the_surface_goes_there(viewer, surface, qtbot):
    settle(surface, qtbot)
    ny, nx = surface.view.depth.shape
    rows, columns = np.nonzero(np.isfinite(surface.view.depth))
    k = len(rows) // 2
    wanted = surface.view.voxel(columns[k], rows[k])
    at = QPointF(columns[k] * surface.width() / nx, rows[k] * surface.height() / ny).toPoint()
    with qtbot.waitSignal(surface.picked):
        QTest.mouseClick(surface, LEFT, pos=at)
    assert viewer.first.cursor_voxel == pytest.approx([round(v) for v in wanted], abs=2)
    x, y, z = viewer.first.cursor_voxel
    near = viewer.masks.editor.mask[
        max(z - 2, 0) : z + 3, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3
    ]
    assert near.any()
    assert not near.all()


def test_it_turns_zooms_and_comes_back(surface, qtbot):
    settle(surface, qtbot)
    turn, first = surface.rotation, surface.view.image.copy()
    middle = surface.rect().center()
    QTest.mousePress(surface, LEFT, pos=middle)
    QTest.mouseMove(surface, middle + QPointF(40, 10).toPoint())
    QTest.mouseMove(surface, middle + QPointF(70, 20).toPoint())
    QTest.mouseRelease(surface, LEFT, pos=middle + QPointF(70, 20).toPoint())
    assert not np.allclose(surface.rotation, turn)
    np.testing.assert_allclose(surface.rotation @ surface.rotation.T, np.eye(3), atol=1e-9)
    settle(surface, qtbot)
    assert not np.array_equal(surface.view.image, first)
    event = QMouseEvent(
        QEvent.Type.MouseButtonDblClick, QPointF(middle), QPointF(middle), LEFT, LEFT, NONE
    )
    QApplication.sendEvent(surface, event)
    settle(surface, qtbot)
    np.testing.assert_array_equal(surface.view.image, first)


def test_it_is_made_anew_after_a_stroke_and_says_when_there_is_none(viewer, surface, mask, qtbot):
    settle(surface, qtbot)
    before = surface.words
    view = viewer.first.views["xy"]
    view.setFocus()
    qtbot.keyClick(view, KEY.Key_E)
    drag(view, [(20, 35), (30, 40)])
    qtbot.waitUntil(lambda: surface.words not in (before, "Making the surface …"), timeout=20_000)
    assert "triangles" in surface.words
    mask[:] = 0
    viewer.masks.size.setValue(3)
    qtbot.keyClick(view, KEY.Key_W)
    qtbot.keyClick(view, KEY.Key_Z, CONTROL)
    mask[:] = 0
    surface.set_mask(mask)
    qtbot.waitUntil(lambda: surface.words == "The mask is empty.", timeout=20_000)
    qtbot.keyClick(view, KEY.Key_S)
    assert not surface.isVisible()


def test_beads_are_drawn_in_the_colours_of_their_surface(viewer, surface, qtbot):
    xyz = np.array([[-20.0, -30.0, 17.0], [20.0, 30.0, 17.0]])
    viewer.set_beads(Beads(xyz, np.array([0, 1]), 6.0))
    settle(surface, qtbot)
    image = surface.view.image
    red, green = ((image >> shift) & 255 for shift in (16, 8))
    assert (green.astype(int) > red.astype(int) + 60).any()
    assert ((red > 150) & (green < 90)).any()
