"""What can be done in the CTF viewer, with keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PyQt6.QtGui import QAction

from tiltwright.widgets.actions import KeyList, make_action

if TYPE_CHECKING:
    from tiltwright.widgets.ctf.ctf_viewer import CtfViewer

_KEYS = (
    ("Space", "Leave out"), ("Drag a ring", "Set the defocus"), ("Ctrl+Wheel", "Turn the defocus"),
    ("Wheel", "Zoom at the pointer"), ("Drag", "Pan"), ("Arrows", "Pan"),
)  # fmt: skip


class CtfActions:
    """The actions of a viewer; ``QAction`` each."""

    def __init__(self, v: CtfViewer) -> None:
        def act(text: str, keys: list[str], slot: Any, tip: str, **more: Any) -> QAction:
            return make_action(v, text, keys, slot, tip, **more)

        view, stack = v.spectrum, v.session.undo_stack
        on = {"checkable": True, "checked": True}
        self.rings = act("Rings", ["T"], view.set_rings_shown, "Zeros of the CTF", **on)
        self.model = act(
            "Fitted half", ["M"], view.set_model_shown,
            "Fitted rings in the right half; else measured all round", **on,
        )  # fmt: skip
        self.smooth = act(
            "Smooth", ["S"], lambda _: v.show_view(v.current_view),
            "Average along arcs, so that faint rings can be seen", **on,
        )  # fmt: skip
        self.auto = act("Auto", ["Shift+A"], view.auto_contrast, "Automatic contrast")
        self.invert = act(
            "Invert", ["F11"], view.set_inverted, "Exchange black and white", checkable=True
        )
        self.fit = act("Fit", ["Shift+R"], view.fit, "Fit the spectrum into the window")
        act("Zoom in", ["+", "="], lambda: view.zoom_by(1), "Zoom in")
        act("Zoom out", ["-"], lambda: view.zoom_by(-1), "Zoom out")
        self.refit = act("Refit", ["F"], v.refit, "Fit this view anew, beginning where it stands")
        self.neighbours = act(
            "From neighbours", ["N"], v.smooth_view,
            "Defocus by the views acquired before and after it",
        )  # fmt: skip
        self.bad = act(
            "Leave out", ["X"], v.toggle_bad,
            "Leave the view out of the table, or take it back; the correction then asks for "
            "another defocus, or for the view to be excluded",
        )  # fmt: skip
        # Space presses buttons elsewhere.
        make_action(v, "Leave out", ["Space"], v.toggle_bad, "", on=[v.table, v.spectrum])
        self.undo = act("Undo", ["Ctrl+Z"], stack.undo, "Undo the last edit")
        self.redo = act("Redo", ["Ctrl+Y", "Ctrl+Shift+Z"], stack.redo, "Redo it")
        self.save = act(
            "Save version", ["Ctrl+S"], v.save_asked,
            "Save as a new version; what was computed is kept, what follows is out of date",
        )  # fmt: skip
        self.check = act(
            "Check the hand", [], v.check_hand,
            "Which side of the tilt axis is nearer to focus, by the gradient of all views",
        )  # fmt: skip
        self.take = act(
            "Take it over", [], v.take_hand, "Put the hand that was found into the table"
        )
        act("Keys", ["?"], lambda: KeyList(v, _KEYS).show_over(view), "List the keys")
