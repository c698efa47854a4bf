"""All keys of the editor, as actions of its window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PyQt6.QtGui import QAction, QKeySequence

from tiltwright.widgets.actions import KeyList, make_action
from tiltwright.widgets.editor.bead_fixer import Command, Operation
from tiltwright.widgets.editor.current import to_contour, to_neighbour, to_order
from tiltwright.widgets.editor.hand import Mode

if TYPE_CHECKING:
    from tiltwright.widgets.editor.editor_window import EditorWindow

_SHIFTED = {'"': 'Shift+"', "{": "Shift+{", "}": "Shift+}", "?": "Shift+?", "+": "Shift++"}
"""Where a key needs Shift, some keyboards say so and others do not."""
MOUSE_KEYS = (
    ("Left", "Attach to the nearest point; drag pans"),
    ("Middle", "Add a point"),
    ("Right", "Move the current point"),
    ("Shift+right", "Centre the current point on its bead"),
    ("Ctrl+right", "Delete the point of the current contour"),
    ("Left (movie)", "Set the current point"),
    ("Middle, right (movie)", "Play forward, backward; stop"),
    ("Wheel", "Zoom at the pointer"),
    ("Arrows", "Pan"),
    ("Keypad arrows", "Nudge the current point (Ctrl: by a tenth)"),
)


class EditorKeys:
    """Makes the actions; those with buttons elsewhere are attributes."""

    def __init__(self, window: EditorWindow) -> None:
        self._window = window
        w, session, pen = window, window.session, window.pen
        zap, view = window.zap, window.zap.view

        def go(step: Callable[..., Any], by: int) -> Callable[[], None]:
            return lambda: session.go(step(session.current, session.model, by))

        act = self._act
        act("Next contour", ["Shift+C"], go(to_contour, 1), "Next contour")
        act("Previous contour", ["C"], go(to_contour, -1), "Previous contour")
        act("Previous point", ["["], go(to_neighbour, -1), "Previous point of the contour")
        act("Next point", ["]"], go(to_neighbour, 1), "Next point of the contour")
        act("First point", ["{"], go(to_order, 0), "First point of the contour")
        act("Last point", ["}"], go(to_order, -1), "Last point of the contour")
        act("New contour", ["N"], pen.new_contour, "Begin a new contour")
        act("Delete contour", ["Shift+D"], w.fixer.delete_contour, "Delete the current contour")
        act("Delete point", ["Del"], pen.delete_current, "Delete the current point")
        act("Zoom in", ["+", "="], lambda: view.zoom_by(1), "Zoom in")
        act("Zoom out", ["-"], lambda: view.zoom_by(-1), "Zoom out")
        act("Fit the window", ["Shift+R"], view.fit, "Fit the view into the window")
        act("Automatic contrast", ["Shift+A"], zap.images.auto_contrast, "Automatic contrast")
        self.invert = act(
            "Invert", ["F11"], zap.images.set_inverted, "Exchange black and white", checkable=True
        )
        self.model = act(
            "Show model", ["T"], lambda on: zap.set_shown(model=on), "Show the model",
            checkable=True, checked=True,
        )  # fmt: skip
        self.ghosts = act(
            "Ghosts", ["G"], lambda on: zap.set_shown(ghosts=on),
            "Show the points of the neighbouring views", checkable=True,
        )  # fmt: skip
        self.mode = act("Mode", ["M"], self._toggle_mode, "Model or Movie")
        self.save = act("Save version", ["S"], lambda: w.save(), "Save a new version of the model")
        act("Rerun alignment", ["Ctrl+R"], w.realign,
            "Save, then run the alignment and what follows")  # fmt: skip
        act("Bead Fixer", ["B"], lambda: w.layout_.floating.toggle(),
            "The Bead Fixer as a window of its own, or back")  # fmt: skip
        self.three_d = act("Model view", ["V"], w.show_model_view, "Open the 3-D model view")
        act("Overlay", ["/"], w.bead_fixer.overlay.toggle, "Overlay of another view")
        act("Next gap", ["Space"], lambda: w.fixer.gap_key(True), "Go to the next gap")
        act("Previous gap", ["Shift+Space"], lambda: w.fixer.gap_key(False), "The gap before")
        act("Accept prediction", ["Return", "Enter"], w.accept_key,
            "Add the point where the geometry expects the bead")  # fmt: skip
        self.fill = act(
            "Fill all gaps", ["Ctrl+G"], lambda: w.fixer.ask(Command.FILL_ALL),
            Command.FILL_ALL.value[2],
        )  # fmt: skip
        act("Next big residual or contour", ["'"], lambda: w.fixer.key(True), "Next in the list")
        act("Back up", ['"'], lambda: w.fixer.key(False), "Back up in the list")
        act("Move point by residual", [";"], lambda: w.fixer.ask(Command.MOVE_POINT),
            Command.MOVE_POINT.value[2])  # fmt: skip
        act("Undo move", ["U"], lambda: w.fixer.ask(Command.UNDO_MOVE), "Put the point back")
        act("Worklist: next", ["."], lambda: w.worklist.step(1), "Next row")
        act("Worklist: previous", [","], lambda: w.worklist.step(-1), "Previous row")
        act("Worklist: accept", ["A"], w.worklist.accept, "Apply the proposal")
        act("Worklist: reject", ["X"], w.worklist.reject, "Leave it as it is")
        for k, operation in enumerate(Operation):
            act(operation.value, [f"F{k + 1}"], self._chooser(operation), operation.value)
        stack = session.undo_stack
        self.undo = act("Undo", ["Ctrl+Z"], stack.undo, "Undo")
        self.redo = act("Redo", ["Ctrl+Y", "Ctrl+Shift+Z"], stack.redo, "Redo")
        self._follow_history()
        act("Keys", ["?"], self.show_keys, "List the keys")

    def _act(
        self, text: str, keys: Sequence[str], slot: Callable[..., Any], tip: str, **more: Any
    ) -> QAction:
        made = make_action(self._window, text, keys, slot, tip, **more)
        also = [_SHIFTED[k] for k in keys if k in _SHIFTED]
        if also:
            made.setShortcuts([QKeySequence(k) for k in [*keys, *also]])
        return made

    def _follow_history(self) -> None:
        """Undo and redo say in their tooltips what they do; their buttons stay narrow."""
        stack = self._window.session.undo_stack
        for action, can, text, name in (
            (self.undo, stack.canUndoChanged, stack.undoTextChanged, "Undo"),
            (self.redo, stack.canRedoChanged, stack.redoTextChanged, "Redo"),
        ):
            action.setEnabled(False)
            can.connect(action.setEnabled)
            key = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
            text.connect(
                lambda words, action=action, name=name, key=key: action.setToolTip(
                    f"{name} {words[:1].lower()}{words[1:]} ({key})"
                )
            )

    def _chooser(self, operation: Operation) -> Callable[[], None]:
        return lambda: self._window.bead_fixer.set_operation(operation)

    def _toggle_mode(self) -> None:
        window = self._window
        other = Mode.MOVIE if window.mode is Mode.MODEL else Mode.MODEL
        window.set_mode(other)

    def show_keys(self) -> None:
        """List all keys and what the mouse does."""
        KeyList(self._window, MOUSE_KEYS).show_over(self._window.zap)
