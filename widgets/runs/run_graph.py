"""The project as a graph of runs: boxes in layers, branches side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PyQt6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt, pyqtSignal
from PyQt6.QtGui import (
    QColor,
    QContextMenuEvent,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QWheelEvent,
)
from PyQt6.QtWidgets import QFrame, QGraphicsScene, QGraphicsView, QWidget

from tiltwright.widgets.runs.run_box import RunBox
from tiltwright.widgets.runs.run_items import GAP_X, GAP_Y, HEIGHT, WIDTH, EdgeItem, RunItem
from tiltwright.widgets.runs.run_layout import (
    Layout,
    children_of,
    layered_layout,
    reachable,
    visible_runs,
)
from tiltwright.widgets.theme import colours

ZOOM_STEP, ZOOM_LEAST, ZOOM_MOST = 1.2, 0.15, 3.0
ZOOM_READABLE = 0.7
_DRAG_PX = 4


class RunGraph(QGraphicsView):
    """Boxes and edges; selection, zoom and what is collapsed survive :meth:`set_runs`.

    Keys: arrows along the edges (Shift extends), Return opens, ``T``/``F`` select to/from here,
    ``+``/``-`` expand/collapse, Ctrl with ``+ - 0`` zoom, Ctrl+A all, Esc none, Menu the context.
    Mouse: Ctrl-click several, middle click select to here, drag pans, Ctrl+wheel zooms.
    """

    run_opened = pyqtSignal(str)
    context_requested = pyqtSignal(tuple, QPoint)
    selection_changed = pyqtSignal(tuple)
    _ready = False

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = QGraphicsScene(self)
        self.setScene(self._scene)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.setTransformationAnchor(QGraphicsView.ViewportAnchor.AnchorUnderMouse)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setAccessibleName("Runs")
        self._runs: dict[str, RunBox] = {}
        self._items: dict[str, RunItem] = {}
        self._edges: dict[tuple[str, str], EdgeItem] = {}
        self._layout = Layout()
        self._shape: object = None
        self._collapsed: set[str] = set()
        self._selected: tuple[str, ...] = ()
        self._current = ""
        self._press: QPoint | None = None
        self._panned = False
        self._laid_out_once = False
        self._paint_background()
        self._ready = True

    # -- content --------------------------------------------------------------------------

    def set_runs(self, runs: Sequence[RunBox]) -> None:
        """Show these runs, in the order of their creation."""
        self._runs = {run.id: run for run in runs}
        self._collapsed &= self._runs.keys()
        self._arrange()
        for ident, item in self._items.items():
            item.show_run(self._runs[ident])
        self._set_selection(
            tuple(i for i in self._selected if i in self._items),
            self._current if self._current in self._items else "",
        )

    def runs(self) -> tuple[RunBox, ...]:
        """What :meth:`set_runs` got."""
        return tuple(self._runs.values())

    def _parents(self) -> dict[str, tuple[str, ...]]:
        return {ident: run.parents for ident, run in self._runs.items()}

    def _arrange(self) -> None:
        """Place the boxes again, if runs came or went."""
        parents = self._parents()
        visible = visible_runs(parents, self._collapsed)
        shape = (tuple((i, parents[i]) for i in visible), frozenset(self._collapsed), len(parents))
        if shape == self._shape:
            return
        self._shape = shape
        shown = {i: tuple(p for p in parents[i] if p in set(visible)) for i in visible}
        self._layout = layered_layout(shown, width=WIDTH, height=HEIGHT, gap_x=GAP_X, gap_y=GAP_Y)
        for gone in [i for i in self._items if i not in shown]:
            self._scene.removeItem(self._items.pop(gone))
        children = children_of(parents)
        for ident in visible:
            if ident not in self._items:
                self._items[ident] = RunItem(self._runs[ident])
                self._scene.addItem(self._items[ident])
            item = self._items[ident]
            item.setPos(*self._layout.centre[ident])
            below = reachable([ident], children) - set(visible) if ident in self._collapsed else ()
            if item.hidden_below != len(below):
                item.hidden_below = len(below)
                item.update()
        for pair in [p for p in self._edges if p not in self._layout.edges]:
            self._scene.removeItem(self._edges.pop(pair))
        for pair, points in self._layout.edges.items():
            if pair not in self._edges:
                self._edges[pair] = EdgeItem()
                self._scene.addItem(self._edges[pair])
            self._edges[pair].follow(points)
        margin = 24.0
        self._scene.setSceneRect(self._extent().adjusted(-margin, -margin, margin, margin))
        if not self._laid_out_once and self._items:
            self._laid_out_once = True
            self.show_top()

    def _extent(self) -> QRectF:
        if not self._layout.centre:
            return QRectF()
        xs = [x for x, _ in self._layout.centre.values()]
        ys = [y for _, y in self._layout.centre.values()]
        return QRectF(
            min(xs) - WIDTH / 2, min(ys) - HEIGHT / 2,
            max(xs) - min(xs) + WIDTH, max(ys) - min(ys) + HEIGHT,
        )  # fmt: skip

    # -- selection ------------------------------------------------------------------------

    def selected(self) -> tuple[str, ...]:
        """Ids of the selected runs, in the order in which they were selected."""
        return self._selected

    def current(self) -> str:
        """Id of the run that the keyboard is at, or empty."""
        return self._current

    def select(self, ids: Sequence[str], *, reveal: bool = True) -> None:
        """Select these runs; the last one becomes the current one and is brought into view."""
        known = tuple(dict.fromkeys(i for i in ids if i in self._items))
        self._set_selection(known, known[-1] if known else self._current)
        if reveal and known:
            self.reveal(known[-1])

    def select_to(self, ident: str) -> None:
        """Select a run and everything that it comes from."""
        above = reachable([ident], self._parents())
        self.select([*(i for i in self._items if i in above and i != ident), ident])

    def select_from(self, ident: str) -> None:
        """Select a run and everything that comes from it."""
        below = reachable([ident], children_of(self._parents()))
        self.select([*(i for i in self._items if i in below and i != ident), ident])

    def reveal(self, ident: str) -> None:
        """Scroll so far that a run is seen."""
        if ident in self._items:
            self.ensureVisible(self._items[ident], 40, 40)

    def _set_selection(self, ids: tuple[str, ...], current: str) -> None:
        changed = ids != self._selected
        self._selected, self._current = ids, current
        self._mark()
        if changed:
            self.selection_changed.emit(ids)

    def _mark(self) -> None:
        chosen = set(self._selected)
        for ident, item in self._items.items():
            item.mark(ident in chosen, ident == self._current, self.hasFocus())
        for (a, b), edge in self._edges.items():
            edge.mark(a in chosen or b in chosen)

    # -- collapsing -----------------------------------------------------------------------

    def set_collapsed(self, ids: Sequence[str], collapsed: bool = True) -> None:
        """Hide what comes only from these runs, or show it again."""
        wanted = set(ids) & self._runs.keys()
        self._collapsed = self._collapsed | wanted if collapsed else self._collapsed - wanted
        self.set_runs(tuple(self._runs.values()))

    def collapsed(self) -> tuple[str, ...]:
        """Ids of the runs whose branch is hidden."""
        return tuple(i for i in self._runs if i in self._collapsed)

    # -- zoom -----------------------------------------------------------------------------

    def zoom(self) -> float:
        """Screen pixels per unit of the scene."""
        return self.transform().m11()

    def zoom_by(self, factor: float) -> None:
        """Zoom about the mouse if it is over the graph, else about the centre."""
        target = min(max(self.zoom() * factor, ZOOM_LEAST), ZOOM_MOST)
        self.scale(target / self.zoom(), target / self.zoom())

    def zoom_in(self) -> None:
        """One step nearer."""
        self.zoom_by(ZOOM_STEP)

    def zoom_out(self) -> None:
        """One step farther."""
        self.zoom_by(1 / ZOOM_STEP)

    def fit(self) -> None:
        """Show all runs, never larger than life."""
        area = self._extent().adjusted(-24, -24, 24, 24)
        self.fitInView(area, Qt.AspectRatioMode.KeepAspectRatio)
        if self.zoom() > 1:
            self.scale(1 / self.zoom(), 1 / self.zoom())
            self.centerOn(area.center())

    def show_top(self) -> None:
        """Show the first runs, all branches beside each other as far as that is readable."""
        first = self._layout.layers[0][0] if self._layout.layers else ""
        viewport = self.viewport()
        if first not in self._items or viewport is None:
            return
        area = self._extent().adjusted(-24, -24, 24, 24)
        readable = min(max(viewport.width() / area.width(), ZOOM_READABLE), 1.0)
        self.scale(readable / self.zoom(), readable / self.zoom())
        fits = viewport.width() >= readable * area.width() - 1
        middle = area.center().x() if fits else self._items[first].x()
        self.centerOn(middle, area.top() + viewport.height() / readable / 2)

    # -- events ---------------------------------------------------------------------------

    def _run_at(self, pos: QPoint) -> str:
        for item in self.items(pos):
            if isinstance(item, RunItem):
                return item.run.id
        return ""

    def _badge_at(self, ident: str, pos: QPoint) -> bool:
        item = self._items.get(ident)
        if item is None or not item.hidden_below:
            return False
        return item.badge().contains(item.mapFromScene(self.mapToScene(pos)))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        assert event is not None
        pos, button = event.position().toPoint(), event.button()
        ident = self._run_at(pos)
        self._press, self._panned = pos, False
        if button == Qt.MouseButton.LeftButton and self._badge_at(ident, pos):
            self._press = None
            self.set_collapsed([ident], False)
        elif button == Qt.MouseButton.LeftButton and ident:
            self._press = None
            if event.modifiers() & (
                Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
            ):
                rest = tuple(i for i in self._selected if i != ident)
                self._set_selection(rest if ident in self._selected else (*rest, ident), ident)
            else:
                self._set_selection((ident,), ident)
        elif button == Qt.MouseButton.RightButton and ident and ident not in self._selected:
            self._set_selection((ident,), ident)
        event.accept()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        assert event is not None
        pos = event.position().toPoint()
        pans = event.buttons() & (Qt.MouseButton.LeftButton | Qt.MouseButton.MiddleButton)
        if self._press is None or not pans:
            super().mouseMoveEvent(event)
            return
        moved = pos - self._press
        if self._panned or moved.manhattanLength() > _DRAG_PX:
            self._panned = True
            self._press = pos
            for bar, step in (
                (self.horizontalScrollBar(), moved.x()), (self.verticalScrollBar(), moved.y()),
            ):  # fmt: skip
                if bar is not None:
                    bar.setValue(bar.value() - step)

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        assert event is not None
        pressed, self._press = self._press is not None, None
        if pressed and not self._panned:
            ident = self._run_at(event.position().toPoint())
            if event.button() == Qt.MouseButton.MiddleButton and ident:
                self.select_to(ident)
            elif event.button() == Qt.MouseButton.LeftButton and not ident:
                self._set_selection((), "")

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        assert event is not None
        ident = self._run_at(event.position().toPoint())
        if ident and event.button() == Qt.MouseButton.LeftButton:
            self.run_opened.emit(ident)

    def contextMenuEvent(self, event: QContextMenuEvent | None) -> None:
        assert event is not None
        at = event.globalPos()
        if event.reason() == QContextMenuEvent.Reason.Keyboard and self._current in self._items:
            middle = self.mapFromScene(self._items[self._current].pos())
            viewport = self.viewport()
            at = viewport.mapToGlobal(middle) if viewport is not None else at
        self.context_requested.emit(self._selected, at)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        assert event is not None
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            # The factor follows the angle, so that a touchpad zooms smoothly.
            self.zoom_by(ZOOM_STEP ** (event.angleDelta().y() / 120))
            event.accept()
        else:
            super().wheelEvent(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        assert event is not None
        if not self._key(event):
            super().keyPressEvent(event)

    def _key(self, event: QKeyEvent) -> bool:
        key, modifiers = event.key(), event.modifiers()
        control = bool(modifiers & Qt.KeyboardModifier.ControlModifier)
        shift = bool(modifiers & Qt.KeyboardModifier.ShiftModifier)
        if control:
            actions: dict[int, Callable[[], None]] = {
                Qt.Key.Key_Plus: self.zoom_in, Qt.Key.Key_Equal: self.zoom_in,
                Qt.Key.Key_Minus: self.zoom_out, Qt.Key.Key_0: self.fit,
                Qt.Key.Key_A: lambda: self.select(list(self._items), reveal=False),
            }  # fmt: skip
            action = actions.get(key)
            if action is not None:
                action()
            return action is not None
        ways: dict[int, tuple[int, int]] = {
            Qt.Key.Key_Up: (0, -1), Qt.Key.Key_Down: (0, 1),
            Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0),
        }  # fmt: skip
        if key in ways and self._items:
            self._go(*ways[key], extend=shift)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._current:
            self.run_opened.emit(self._current)
        elif key == Qt.Key.Key_T and self._current:
            self.select_to(self._current)
        elif key == Qt.Key.Key_F and self._current:
            self.select_from(self._current)
        elif key in (Qt.Key.Key_Minus, Qt.Key.Key_Plus, Qt.Key.Key_Equal) and self._selected:
            self.set_collapsed(self._selected, key == Qt.Key.Key_Minus)
        elif key == Qt.Key.Key_Escape and self._selected:
            self._set_selection((), self._current)
        else:
            return False
        return True

    def _go(self, right: int, down: int, *, extend: bool) -> None:
        """One step along an edge, or to the neighbour in the row."""
        target = self._step(right, down)
        if target:
            kept = tuple(i for i in self._selected if i != target) if extend else ()
            self._set_selection((*kept, target), target)
            self.reveal(target)

    def _step(self, right: int, down: int) -> str:
        if self._current not in self._items:
            return self._layout.layers[0][0]
        x, y = self._layout.centre[self._current]
        if down:
            ends = [
                b if down > 0 else a
                for a, b in self._layout.edges
                if (a if down > 0 else b) == self._current
            ]
            centre = self._layout.centre
            return min(
                ends, key=lambda i: (abs(centre[i][1] - y), abs(centre[i][0] - x)), default=""
            )
        row = next(layer for layer in self._layout.layers if self._current in layer)
        place = row.index(self._current) + right
        return row[place] if 0 <= place < len(row) else ""

    def focusInEvent(self, event: QFocusEvent | None) -> None:
        super().focusInEvent(event)
        self._mark()

    def focusOutEvent(self, event: QFocusEvent | None) -> None:
        super().focusOutEvent(event)
        self._mark()

    def changeEvent(self, event: QEvent | None) -> None:
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.PaletteChange and self._ready:
            self._paint_background()
            self._mark()

    def _paint_background(self) -> None:
        self._scene.setBackgroundBrush(QColor(colours().base))

    def centre_of(self, ident: str) -> QPointF:
        """Where the middle of a box is, in pixels of the viewport."""
        return QPointF(self.mapFromScene(self._items[ident].pos()))
