"""The tomogram viewer: linked planes, slab, measure, the specimen's box, two side by side, and a
mask with its surface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt6.QtCore import pyqtSignal
from PyQt6.QtGui import QAction, QCloseEvent
from PyQt6.QtWidgets import QHBoxLayout, QLabel, QSpinBox, QSplitter, QVBoxLayout, QWidget

from tiltwright.widgets.actions import POINTER_KEYS, KeyList, button, make_action
from tiltwright.widgets.image.levels_bar import LevelsBar
from tiltwright.widgets.image.measure import MeasureGesture
from tiltwright.widgets.image.navigation import NavigationBar
from tiltwright.widgets.image.overlay import Layer
from tiltwright.widgets.image.tiles import sample
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.tomogram.box_panel import BoxPanel
from tiltwright.widgets.tomogram.mask_tools import BrushGesture, MaskTools
from tiltwright.widgets.tomogram.plane_set import Beads, PlaneSet
from tiltwright.widgets.tomogram.proposal import between_beads, search
from tiltwright.widgets.tomogram.specimen_box import BoxGesture, SpecimenBox
from tiltwright.widgets.tomogram.surface_view import SurfaceView
from tiltwright.widgets.tomogram.tomogram_planes import carried, carried_place

if TYPE_CHECKING:
    from tiltwright.engine.model.tomogram import Tomogram
    from tiltwright.engine.volume.boundaries import Boundaries
    from tiltwright.engine.volume.mask_edit import MaskEditor

THICKEST = 50


class TomogramViewer(QWidget):
    """Looks at one tomogram, or at two with one cursor; it changes nothing on disk.

    Signals
    -------
    cursor_moved : (x, y, z)
        Voxel of the first tomogram, from 0.
    box_changed : (SpecimenBox or None)
        A person dragged, typed, proposed or removed the box.
    measured : (nm)
        A distance was drawn.
    crop_requested : (SpecimenBox)
        A person wants the tomogram cropped to the box.
    """

    cursor_moved = pyqtSignal(int, int, int)
    box_changed = pyqtSignal(object)
    measured = pyqtSignal(float)
    crop_requested = pyqtSignal(object)

    def __init__(self, parent: QWidget | None = None, lane: Lane | None = None) -> None:
        super().__init__(parent)
        self._own_lane = lane is None
        self.lane = lane if lane is not None else Lane(self)
        self._box: SpecimenBox | None = None
        self._beads: Beads | None = None
        self.first, self.second = (PlaneSet(self.lane, self) for _ in range(2))
        self.masks = MaskTools(self, self.first, self.lane)
        self.surface = SurfaceView(self)
        self.levels = LevelsBar(self)
        self.panel = BoxPanel(self)
        self.navigation = NavigationBar(self, "section")
        self._linking = False
        self._make_actions()
        self._lay_out()
        self._connect()
        self.set_tomogram(None)
        self.destroyed.connect(self.lane.close if self._own_lane else lambda: None)

    # ---- content -------------------------------------------------------------------------------

    @property
    def tomogram(self) -> Tomogram | None:
        """What is shown."""
        return self.first.tomogram

    @property
    def box(self) -> SpecimenBox | None:
        """The box, when there is one."""
        return self._box

    def set_tomogram(
        self,
        tomogram: Tomogram | None,
        other: Tomogram | None = None,
        beads: Beads | None = None,
    ) -> None:
        """Show a tomogram, and another beside it."""
        self._beads = beads
        self.box_action.setChecked(False)
        self.set_box(None)
        self.set_mask(None)
        self.first.set_tomogram(tomogram, "No tomogram is open.")
        self.second.set_tomogram(other)
        self.second.setVisible(other is not None)
        self._show_beads(self.beads_action.isChecked())
        self.beads_action.setEnabled(beads is not None)
        for action in (self.box_action, self.propose_action, self.measure_action):
            action.setEnabled(tomogram is not None)
        self.navigation.set_count(tomogram.shape[0] if tomogram is not None else 0)
        self._show_volume()
        self._cursor_shown()

    def set_mask(
        self, editor: MaskEditor | None, words: str = "", *, editable: bool = True
    ) -> None:
        """Lay a mask of the tomogram's size over it, to be looked at or to be painted."""
        self.masks.set_editor(editor, words, editable)
        self.surface_action.setEnabled(editor is not None)
        if editor is None:
            self.surface_action.setChecked(False)
        self._show_surface()

    def set_beads(self, beads: Beads | None) -> None:
        """Draw the beads of an alignment."""
        self._beads = beads
        self.beads_action.setEnabled(beads is not None)
        self._show_beads(self.beads_action.isChecked())
        self._show_volume()
        self._show_surface()

    def set_box(self, box: SpecimenBox | None) -> None:
        """Show a box without a signal."""
        self._box = box
        self.first.set_box(box)
        self.panel.set_box(box)
        self.panel.setVisible(box is not None)

    def set_cursor(self, x: int, y: int, z: int) -> None:
        """Go to a voxel of the first tomogram."""
        self.first.set_cursor(x, y, z)
        self._cursor_shown()

    def show_section(self, z: int) -> None:
        """Go to a section, from 0."""
        x, y, _ = self.first.cursor_voxel
        self.set_cursor(x, y, z)

    def shutdown(self) -> None:
        """Stop timers and the thread; the viewer shows nothing afterwards."""
        self.navigation.player.stop()
        self.set_tomogram(None)
        self.surface.shutdown()
        if self._own_lane:
            self.lane.close()

    # ---- actions and layout --------------------------------------------------------------------

    def _make_actions(self) -> None:
        def act(text: str, keys: list[str], slot: Any, tip: str, **more: Any) -> QAction:
            return make_action(self, text, keys, slot, tip, **more)

        self.measure_action = act(
            "Measure", ["Q"], self._tools, "Draw a line and read its length", checkable=True
        )
        self.box_action = act(
            "Box", ["B"], self._box_toggled,
            "Drag a box on XZ and YZ: thickness, middle, x-axis tilt and crop", checkable=True,
        )  # fmt: skip
        self.propose_action = act(
            "Propose", ["Shift+B"], self._propose, "Propose a box from where the structure ends"
        )
        self.surface_action = act(
            "Surface", ["S"], lambda _: self._show_surface(), "Show the mask's surface in 3-D",
            checkable=True,
        )  # fmt: skip
        self.beads_action = act(
            "Beads", ["T"], self._show_beads, "Show the beads: green bottom, magenta top",
            checkable=True, checked=True,
        )  # fmt: skip
        self.cross_action = act(
            "Crosshair", ["Shift+T"], self._show_crosshair, "Show the planes through the cursor",
            checkable=True, checked=True,
        )  # fmt: skip
        self.auto_action = act("Auto", ["Shift+A"], self._auto_contrast, "Automatic contrast")
        self.invert_action = act(
            "Invert", ["F11"], self._invert, "Exchange black and white", checkable=True
        )
        self.fit_action = act("Fit", ["Shift+R"], self.first.fit, "Fit the tomogram in the window")
        view = self.first.views["xy"]
        act("Zoom in", ["+", "="], lambda: view.zoom_by(1), "Zoom in")
        act("Zoom out", ["-"], lambda: view.zoom_by(-1), "Zoom out")
        act(
            "Keys", ["?"], lambda: KeyList(self, POINTER_KEYS).show_over(self.first),
            "List the keys",
        )  # fmt: skip
        act("Thicker", ["Ctrl+Up"], lambda: self.slab.stepUp(), "Average one section more")
        act("Thinner", ["Ctrl+Down"], lambda: self.slab.stepDown(), "Average one section less")

    def _lay_out(self) -> None:
        self.slab = QSpinBox(self)
        self.slab.setRange(1, THICKEST)
        self.slab.setKeyboardTracking(False)
        self.slab.setToolTip("Sections that are averaged (Ctrl+Up, Ctrl+Down)")
        self.position = QLabel(self)
        self.position.setMinimumWidth(
            self.fontMetrics().horizontalAdvance("x 0000  y 0000  z 0000  value 0000.0")
        )
        self.message = QLabel(self)
        top, last = QHBoxLayout(), QHBoxLayout()
        for row in (top, last):
            row.setContentsMargins(6, 3, 6, 3)
            row.setSpacing(6)
        top.addWidget(QLabel("Slab", self))
        top.addWidget(self.slab)
        for action in (
            self.measure_action, self.box_action, self.propose_action, self.surface_action,
        ):  # fmt: skip
            top.addWidget(button(action, self))
        top.addWidget(self.message, 1)
        for action in (
            self.cross_action, self.beads_action, self.invert_action, self.fit_action,
        ):  # fmt: skip
            top.addWidget(button(action, self))
        last.addWidget(self.levels, 1)
        last.addWidget(button(self.auto_action, self))
        last.addWidget(self.position)
        pair = QSplitter(self)
        pair.setChildrenCollapsible(False)
        pair.addWidget(self.first)
        pair.addWidget(self.second)
        pair.addWidget(self.surface)
        pair.setSizes([600, 600, 420])
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(top)
        column.addWidget(pair, 1)
        column.addWidget(self.panel)
        column.addWidget(self.masks)
        column.addWidget(self.navigation)
        column.addLayout(last)

    def _connect(self) -> None:
        self.navigation.went.connect(self.show_section)
        self.slab.valueChanged.connect(self._thickness_changed)
        self.levels.levels_dragged.connect(self.first.set_levels)
        self.levels.auto_asked.connect(self._auto_contrast)
        self.panel.crop_requested.connect(self.crop_requested)
        self.panel.box_edited.connect(self._box_made)
        for planes in (self.first, self.second):
            planes.hovered.connect(self.position.setText)
            planes.views["xy"].auto_contrast_asked.connect(self._auto_contrast)
        self.first.cursor_moved.connect(lambda *_: self._cursor_shown())
        self.second.cursor_moved.connect(self._second_moved)
        self.first.scrolled.connect(lambda: self._scroll(self.first, self.second))
        self.second.scrolled.connect(lambda: self._scroll(self.second, self.first))
        self.first.rendered.connect(self._show_levels)
        self.masks.tool_changed.connect(self._tools)
        self.masks.stroked.connect(lambda _: self._show_surface())
        self.surface.picked.connect(self.set_cursor)

    # ---- reactions -----------------------------------------------------------------------------

    def _cursor_shown(self) -> None:
        """Slider and the second tomogram go where the cursor is."""
        if self.tomogram is None:
            return
        x, y, z = self.first.cursor_voxel
        self.navigation.set_current(z)
        self.surface.set_section(z)
        if self.second.tomogram is not None:
            self.second.set_cursor(*carried((x, y, z), self.tomogram, self.second.tomogram))
        self.cursor_moved.emit(x, y, z)

    def _second_moved(self, x: int, y: int, z: int) -> None:
        if self.tomogram is not None and self.second.tomogram is not None:
            self.set_cursor(*carried((x, y, z), self.second.tomogram, self.tomogram))

    def _scroll(self, moved: PlaneSet, other: PlaneSet) -> None:
        a, b = moved.tomogram, other.tomogram
        if self._linking or a is None or b is None or not other.isVisible():
            return
        zoom, *middle = moved.viewport()
        ratio = a.pixel_size_a / b.pixel_size_a
        self._linking = True
        other.set_viewport(zoom / ratio, *carried_place(middle, a, b))
        self._linking = False

    def _thickness_changed(self, thickness: int) -> None:
        for planes in (self.first, self.second):
            planes.set_thickness(thickness)

    def _auto_contrast(self) -> None:
        for planes in (self.first, self.second):
            planes.auto_contrast()
        self._show_levels("xy")

    def _invert(self, inverted: bool) -> None:
        for planes in (self.first, self.second):
            planes.set_inverted(inverted)

    def _show_crosshair(self, shown: bool) -> None:
        for planes in (self.first, self.second):
            planes.set_crosshair(shown)

    def _show_beads(self, shown: bool) -> None:
        for planes in (self.first, self.second):
            planes.set_beads(self._beads if shown else None)

    def _show_volume(self) -> None:
        """The box and the beads of the 3-D view."""
        tomogram = self.tomogram
        if tomogram is None:
            self.surface.set_volume(None)
            return
        self.surface.set_volume(tomogram, self._beads)

    def _show_surface(self) -> None:
        """Make the surface anew while it is in sight."""
        shown = self.surface_action.isChecked()
        self.surface.setVisible(shown)
        editor = self.masks.editor
        if shown and editor is not None:
            self.surface.set_mask(editor.mask)

    def _show_levels(self, plane: str) -> None:
        tile = self.first.views["xy"].tile
        if plane == "xy" and tile is not None:
            self.levels.show_values(sample(tile.data, 20_000), *self.first.levels)

    # ---- tools ---------------------------------------------------------------------------------

    def _tools(self) -> None:
        """Give each plane the gesture of the tool in hand."""
        if self.sender() is self.measure_action and self.measure_action.isChecked():
            self.masks.put_away()
        elif self.masks.active:
            self.measure_action.setChecked(False)
        for planes in (self.first, self.second):
            for plane, view in planes.views.items():
                view.gesture = None
                view.set_layer("measure")
                view.unsetCursor()
                if planes is self.first and self.masks.active:
                    view.gesture = BrushGesture(plane, self.masks)
                elif self.measure_action.isChecked():
                    view.gesture = MeasureGesture(
                        lambda view=view: view.pixel_size_a,  # type: ignore[misc]
                        lambda layers, nm, view=view: self._measure(view, layers, nm),  # type: ignore[misc]
                    )
                elif planes is self.first and plane != "xy" and self._box is not None:
                    view.gesture = BoxGesture(plane, lambda: self._box, self._box_made)

    def _measure(self, view: Any, layers: list[Layer], nm: float) -> None:
        view.set_layer("measure", *layers)
        if layers:
            self.measured.emit(nm)

    def _box_toggled(self, on: bool) -> None:
        if on and self.tomogram is not None:
            if self._box is None:
                whole = SpecimenBox.whole(self.tomogram.shape, self.tomogram.pixel_size_a)
                self._box_made(whole)
        elif self._box is not None:
            self.set_box(None)
            self.box_changed.emit(None)
        self._tools()

    def _box_made(self, box: SpecimenBox) -> None:
        self.set_box(box)
        self.box_changed.emit(box)

    def _propose(self) -> None:
        tomogram = self.tomogram
        if tomogram is None:
            return
        found = between_beads(self._beads, tomogram)
        if found is not None:
            self._proposed(found, f"Proposed from {found.n_patches} beads")
            return
        self.message.setText("Looking for the specimen …")
        self.lane.request((id(self), "boundaries"), lambda: search(tomogram), self._proposed)

    def _proposed(self, found: Boundaries | str, words: str = "") -> None:
        if isinstance(found, str) or self.tomogram is None:
            self.message.setText(str(found))
            return
        whole = SpecimenBox.whole(self.tomogram.shape, self.tomogram.pixel_size_a)
        low, high = int(np.floor(found.bottom_px)), int(np.ceil(found.top_px))
        box = SpecimenBox(
            whole.shape, whole.pixel_size_a, whole.x0, whole.x1, whole.y0, whole.y1, low, high,
            found.x_tilt_deg,
        ).valid()  # fmt: skip
        self.message.setText(words or f"Proposed from {found.n_patches} places")
        self._box_made(box)
        self.box_action.setChecked(True)
        self._tools()

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """A window of its own ends its thread."""
        self.shutdown()
        super().closeEvent(event)
