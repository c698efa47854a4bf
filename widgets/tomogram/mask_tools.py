"""Brush and eraser for the mask of a tomogram."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QAction, QGuiApplication
from PyQt6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSpinBox, QWidget

from tiltwright.widgets.actions import button, make_action
from tiltwright.widgets.image.image_view import ImageView
from tiltwright.widgets.image.overlay import Circles
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.styled import MutedLabel
from tiltwright.widgets.tomogram.mask_overlay import MaskOverlay
from tiltwright.widgets.tomogram.plane_set import PlaneSet
from tiltwright.widgets.tomogram.tomogram_planes import AXES, Plane

if TYPE_CHECKING:
    from tiltwright.engine.volume.mask_edit import MaskEditor, Region, Stroke

LARGEST = 101
_PAINT, _ERASE = "#7df0fb", "#ff7a6b"


class BrushGesture:
    """Paints or erases in one plane; with Ctrl the other of the two."""

    def __init__(self, plane: Plane, tools: MaskTools) -> None:
        self._plane, self._tools = plane, tools

    def press(self, x: float, y: float, reach_px: float) -> bool:
        """Begin a stroke."""
        return self._tools.begin(self._plane, x, y)

    def move(self, x: float, y: float) -> None:
        """Carry the brush on."""
        self._tools.drag(self._plane, x, y)

    def release(self, x: float, y: float) -> None:
        """The stroke is done."""
        self._tools.end()

    def cursor(self, x: float, y: float, reach_px: float) -> Qt.CursorShape | None:
        """A cross in the circle that shows the size."""
        return Qt.CursorShape.CrossCursor


class MaskTools(QWidget):
    """A row of tools for the mask that lies over a tomogram.

    Signals
    -------
    tool_changed : ()
        Brush or eraser was taken in hand or put away.
    stroked : (Stroke)
        The mask was changed, also by undoing.
    save_asked : ()
        The mask shall be saved as a new version.
    """

    tool_changed = pyqtSignal()
    stroked = pyqtSignal(object)
    save_asked = pyqtSignal()

    def __init__(self, owner: QWidget, planes: PlaneSet, lane: Lane) -> None:
        super().__init__(owner)
        self._planes, self._owner = planes, owner
        self.overlay = MaskOverlay(planes, lane, self)
        self.editor: MaskEditor | None = None
        self._editable = self._saving = False
        self._brush: dict[Any, Any] = {}
        self._make_actions()
        self._lay_out()
        for plane, view in planes.views.items():
            view.hovered.connect(partial(self._hover, plane, view))
            view.left.connect(partial(view.set_layer, "brush"))
        self.set_editor(None)

    def _make_actions(self) -> None:
        def act(text: str, keys: list[str], slot: Callable[..., Any], tip: str, **more: Any) -> Any:
            return make_action(self._owner, text, keys, slot, tip, **more)

        self.shown_action: QAction = act(
            "Mask", ["M"], self.overlay.set_shown, "Show the mask", checkable=True, checked=True
        )
        self.brush_action: QAction = act(
            "Brush", ["W"], lambda on: self._take(self.brush_action, on),
            "Paint the mask; with Ctrl erase", checkable=True,
        )  # fmt: skip
        self.eraser_action: QAction = act(
            "Eraser", ["E"], lambda on: self._take(self.eraser_action, on),
            "Erase the mask; with Ctrl paint", checkable=True,
        )  # fmt: skip
        self.undo_action: QAction = act("Undo", ["Ctrl+Z"], self._undo, "Take a stroke back")
        self.redo_action: QAction = act(
            "Redo", ["Ctrl+Y", "Ctrl+Shift+Z"], self._redo, "Do it again"
        )
        self.save_action: QAction = act(
            "Save version", ["Ctrl+S"], self.save_asked, "Save the mask as a new version"
        )
        self.larger_action: QAction = act(
            "Larger brush", ["]"], lambda: self.size.setValue(self._next(1)), "A larger brush"
        )
        self.smaller_action: QAction = act(
            "Smaller brush", ["["], lambda: self.size.setValue(self._next(-1)), "A smaller brush"
        )
        self.shape_action: QAction = act(
            "Disc or ball", ["D"],
            lambda: self.form.setCurrentIndex(1 - self.form.currentIndex()),
            "Paint in this section only, or in 3-D",
        )  # fmt: skip

    def _lay_out(self) -> None:
        self.size = QSpinBox(self)
        self.size.setRange(1, LARGEST)
        self.size.setValue(9)
        self.size.setSuffix(" voxels")
        self.size.setKeyboardTracking(False)
        self.size.setToolTip("Diameter of the brush ([ and ])")
        self.form = QComboBox(self)
        self.form.addItems(["Disc, this section", "Ball, in 3-D"])
        self.form.setToolTip("Paint in this section only, or in 3-D (D)")
        self.words = MutedLabel("", self)
        self.words.setWordWrap(False)
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 3, 6, 3)
        row.setSpacing(6)
        for action in (self.shown_action, self.brush_action, self.eraser_action):
            row.addWidget(button(action, self))
        row.addWidget(QLabel("Size", self))
        row.addWidget(self.size)
        row.addWidget(self.form)
        for action in (self.undo_action, self.redo_action):
            row.addWidget(button(action, self))
        row.addWidget(self.words, 1)
        row.addWidget(button(self.save_action, self))
        self.size.valueChanged.connect(lambda _: self._size_changed())
        self.form.currentIndexChanged.connect(lambda _: self._size_changed())

    # ---- content -------------------------------------------------------------------------------

    def set_editor(self, editor: MaskEditor | None, words: str = "", editable: bool = True) -> None:
        """Work on another mask, or none."""
        self.editor, self._editable = editor, editable
        self.overlay.set_editor(editor)
        if editor is None or not editable:
            self.put_away()
        self.words.setText(words)
        self.setVisible(editor is not None)
        self._update()

    @property
    def active(self) -> bool:
        """Whether brush or eraser is in hand."""
        return self.editor is not None and (
            self.brush_action.isChecked() or self.eraser_action.isChecked()
        )

    @property
    def modified(self) -> bool:
        """Whether there are strokes that are not saved."""
        return self.editor is not None and self.editor.modified

    def mark_saved(self, words: str) -> None:
        """The mask is on disk as it is."""
        if self.editor is not None:
            self.editor.mark_saved()
        self.words.setText(words)
        self._update()

    def set_saving(self, saving: bool) -> None:
        """While it is written nothing is painted."""
        self._saving = saving
        self._update()

    def _update(self) -> None:
        editor = self.editor
        free = editor is not None and self._editable and not self._saving
        self.shown_action.setEnabled(editor is not None)
        for action in (
            self.brush_action, self.eraser_action, self.larger_action, self.smaller_action,
            self.shape_action,
        ):  # fmt: skip
            action.setEnabled(free)
        self.undo_action.setEnabled(free and editor is not None and editor.can_undo)
        self.redo_action.setEnabled(free and editor is not None and editor.can_redo)
        self.save_action.setEnabled(free and self.modified)

    # ---- tools ---------------------------------------------------------------------------------

    def _take(self, action: QAction, on: bool) -> None:
        if on:
            other = self.eraser_action if action is self.brush_action else self.brush_action
            other.setChecked(False)
            self.shown_action.setChecked(True)
        if not self.active:
            for view in self._planes.views.values():
                view.set_layer("brush")
        self.tool_changed.emit()

    def put_away(self) -> None:
        """Neither brush nor eraser is in hand."""
        self.brush_action.setChecked(False)
        self.eraser_action.setChecked(False)

    def _next(self, step: int) -> int:
        """The next size: by one up to 10, then by a tenth."""
        size = self.size.value()
        return size + step * max(1, size // 10)

    def _size_changed(self) -> None:
        for view in self._planes.views.values():
            for layer in view.layer("brush"):
                if isinstance(layer, Circles):
                    self._circle(view, *layer.xy[0])

    def _hover(self, plane: Plane, view: ImageView, x: float, y: float, _value: float) -> None:
        if self.active and view.tile is not None:
            self._circle(view, x, y)

    def _circle(self, view: ImageView, x: float, y: float) -> None:
        colour = _PAINT if self._value() else _ERASE
        ring = Circles(np.array([[x, y]]), self.size.value(), colour, least_screen_px=3.0)
        view.set_layer("brush", ring)

    def _value(self) -> int:
        """1 to paint, 0 to erase."""
        ctrl = QGuiApplication.keyboardModifiers() & Qt.KeyboardModifier.ControlModifier
        return int(self.brush_action.isChecked() != bool(ctrl))

    # ---- strokes -------------------------------------------------------------------------------

    def _zyx(self, plane: Plane, x: float, y: float) -> tuple[float, float, float]:
        right, up, _ = AXES[plane]
        at = [float(v) for v in self._planes.cursor_voxel]
        at[right], at[up] = x, y
        return at[2], at[1], at[0]

    def begin(self, plane: Plane, x: float, y: float) -> bool:
        """Begin a stroke on a plane."""
        if self.editor is None or not self.active or self._saving:
            return False
        self.editor.begin(self._value())
        self.drag(plane, x, y)
        return True

    def drag(self, plane: Plane, x: float, y: float) -> None:
        """Carry the brush on."""
        from tiltwright.engine.volume.mask_edit import ball

        if self.editor is None:
            return
        flat = 2 - AXES[plane][2] if self.form.currentIndex() == 0 else None
        key = self.size.value(), flat
        if key not in self._brush:
            self._brush = {key: ball(*key)}
        self.overlay.show_change(self.editor.drag(self._zyx(plane, x, y), self._brush[key]))

    def end(self) -> None:
        """The stroke is done."""
        if self.editor is not None:
            self._done(self.editor.end(), [])

    def _undo(self) -> None:
        if self.editor is not None:
            stroke = self.editor.undo()
            self._done(stroke, stroke.regions if stroke is not None else [])

    def _redo(self) -> None:
        if self.editor is not None:
            stroke = self.editor.redo()
            self._done(stroke, stroke.regions if stroke is not None else [])

    def _done(self, stroke: Stroke | None, regions: list[Region]) -> None:
        if stroke is None:
            return
        self.overlay.show_change(regions)
        self._update()
        self.words.setText("Not saved yet" if self.modified else "As saved")
        self.stroked.emit(stroke)
