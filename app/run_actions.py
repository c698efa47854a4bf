"""Everything that can be done with runs: one place for menu, toolbar, keys and right click."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QAction, QKeySequence
from PyQt6.QtWidgets import QMenu, QToolBar, QToolButton, QWidget

from tiltwright.widgets.icons import drawn_icon


@dataclass(frozen=True)
class _Spec:
    name: str
    text: str
    keys: str
    tip: str
    needs: str
    """``one`` selected run, ``two``, ``some``, or ``none``."""
    toolbar: bool = False
    icon_only: bool = False
    """In the toolbar: it comes and goes, and at 1280 px there is no room for its words."""


_SPECS: tuple[_Spec | None, ...] = (
    _Spec("edit", "Edit…", "E", "Open the form of the run", "one", True),
    _Spec("analyze", "Analyze results…", "A", "Open what the run has made", "one", True),
    _Spec("edit_beads", "Edit beads…", "Shift+E",
          "Open the fiducial model of the run in its editor", "one", True),
    _Spec("compare", "Compare results…", "Shift+A",
          "Open a result of the first run with that of the second beside it", "two"),
    None,
    _Spec("continue", "Continue", "Shift+C", "Run; series that are done are kept", "some", True),
    _Spec("restart", "Restart", "", "Compute every series of the run again", "some"),
    _Spec("restart_from", "Restart from here", "Shift+R",
          "Run this and everything that depends on it again", "some", True),
    _Spec("continue_all", "Continue all", "C", "Run everything that is new or out of date", "none"),
    _Spec("stop", "Stop", "S", "Cancel the run; finished series are kept", "some", True),
    _Spec("stop_keep", "Stop and keep", "Shift+S",
          "Stop and keep: end the iterations; the tomogram as it is now is kept", "one", True,
          icon_only=True),
    _Spec("stop_from", "Stop from here", "Ctrl+Shift+S",
          "Cancel the run and everything that depends on it", "some"),
    None,
    _Spec("rename", "Rename…", "F2", "Change the label", "one", True),
    _Spec("comment", "Comment…", "", "Write a comment on the run", "one"),
    _Spec("label", "Label colour…", "L", "Mark the run with a stripe", "some"),
    _Spec("duplicate", "Duplicate", "Ctrl+D", "Copy runs without their results", "some", True),
    _Spec("delete", "Delete", "Del", "Delete runs and what depends on them", "some", True),
    None,
    _Spec("select_from", "Select from here", "F", "Select all that depends on it", "one"),
    _Spec("select_to", "Select to here", "T", "Select all that it depends on", "one"),
    _Spec("collapse", "Collapse / expand", "Space", "Hide or show what depends on it", "one"),
    None,
    _Spec("copy", "Copy workflow", "Ctrl+C", "Copy runs as JSON, without data", "some"),
    _Spec("paste", "Paste workflow", "Ctrl+V", "Add copied runs", "none"),
    _Spec("export", "Export workflow…", "", "Write runs as JSON, without data", "none"),
    _Spec("import", "Import workflow…", "", "Add runs from a JSON file", "none"),
    _Spec("folder", "Browse folder", "B", "Show the run's folder in the file manager", "one"),
)  # fmt: skip


class RunActions:
    """The actions of ``parent``, the pane of runs; ``slots`` gives what each does."""

    def __init__(self, parent: QWidget, slots: Mapping[str, Callable[[], None]]) -> None:
        self.actions: dict[str, QAction] = {}
        self._needs: dict[str, str] = {}
        for spec in _SPECS:
            if spec is None:
                continue
            action = QAction(spec.text, parent)
            keys = f" ({spec.keys})" if spec.keys else ""
            action.setToolTip(f"{spec.tip}{keys}")
            action.setStatusTip(spec.tip)
            action.setIcon(drawn_icon(spec.name))
            if spec.keys:
                action.setShortcut(QKeySequence(spec.keys))
            # The keys are those of the runs: in a viewer they mean other things.
            action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            action.triggered.connect(slots[spec.name])
            parent.addAction(action)
            self.actions[spec.name], self._needs[spec.name] = action, spec.needs

    def fill_menu(self, menu: QMenu) -> None:
        """All actions, in groups."""
        for spec in _SPECS:
            if spec is None:
                menu.addSeparator()
            else:
                menu.addAction(self.actions[spec.name])

    def fill_toolbar(self, bar: QToolBar) -> None:
        """The common ones."""
        for spec in _SPECS:
            if spec is not None and spec.toolbar:
                bar.addAction(self.actions[spec.name])
                button = bar.widgetForAction(self.actions[spec.name])
                if spec.icon_only and isinstance(button, QToolButton):
                    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)

    def update(
        self,
        selected: int,
        *,
        project: bool,
        writable: bool,
        running: bool,
        running_below: bool,
        ends_early: bool = False,
    ) -> None:
        """Enable what makes sense.

        Parameters
        ----------
        selected : int
            How many runs are selected.
        running, running_below : bool
            Whether one of them, or of those with what depends on them, runs or waits.
        ends_early : bool
            Whether the selected one runs and has something to keep at any time; only then the
            command for it is shown.
        """
        reading = {"edit", "analyze", "edit_beads", "compare", "select_from", "select_to",
                   "collapse", "copy", "export", "folder"}  # fmt: skip
        for name, action in self.actions.items():
            needs = self._needs[name]
            enough = project and (
                needs == "none"
                or selected == {"one": 1, "two": 2}.get(needs, -1)
                or (needs == "some" and selected)
            )
            allowed = writable or name in reading
            if name in ("stop", "stop_from"):
                allowed = allowed and (running if name == "stop" else running_below)
            if name == "stop_keep":
                allowed = allowed and ends_early
                action.setVisible(ends_early)
            if name in ("continue", "restart"):
                allowed = allowed and not running
            if name in ("restart_from", "delete"):
                allowed = allowed and not running_below
            action.setEnabled(bool(enough and allowed))
