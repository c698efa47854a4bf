"""The CTF viewer: spectrum and rings of each view, defocus against tilt, editing by hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt6.QtCore import QTimer, pyqtSignal
from PyQt6.QtGui import QCloseEvent
from PyQt6.QtWidgets import QLabel, QSizePolicy, QWidget

from tiltwright.widgets.ctf.ctf_actions import CtfActions
from tiltwright.widgets.ctf.ctf_columns import ctf_columns, tilt_of
from tiltwright.widgets.ctf.ctf_layout import lay_out
from tiltwright.widgets.ctf.ctf_plots import CurvePlot, DefocusPlot
from tiltwright.widgets.ctf.ctf_source import CtfSource, FitRange, HandFound, Shown
from tiltwright.widgets.ctf.edit_panel import EditPanel
from tiltwright.widgets.ctf.session import BadViews, CtfSession
from tiltwright.widgets.ctf.spectrum_view import SpectrumView
from tiltwright.widgets.ctf.words import caption, hand_words, place_words
from tiltwright.widgets.image.levels_bar import LevelsBar
from tiltwright.widgets.image.navigation import NavigationBar
from tiltwright.widgets.lane import Lane
from tiltwright.widgets.series.view_table import ViewTable

if TYPE_CHECKING:
    from tiltwright.engine.ctf.examine import Look
    from tiltwright.engine.ctf.model import Defocus
    from tiltwright.engine.model.ctf_table import CtfTable
    from tiltwright.engine.model.tilt_series import TiltSeries

_SETTLED_MS, _JUDGE_MS = 700, 200
_LEFT_OUT = "Bad", "Left out: its defocus is not believed (Space or X)"


class CtfViewer(QWidget):
    """Looks at the CTF of one tilt series, and edits it; saving is for others.

    Signals
    -------
    view_changed : (view)
        0-based.
    save_asked : ()
        A person wants the table saved.
    """

    view_changed = pyqtSignal(int)
    save_asked = pyqtSignal()

    def __init__(self, parent: QWidget | None = None, lane: Lane | None = None) -> None:
        super().__init__(parent)
        self._own_lane = lane is None
        self.lane = lane if lane is not None else Lane(self)
        self.session = CtfSession(self)
        self._source: CtfSource | None = None
        self._view, self._way, self._gesture = 0, 1, 1
        self._found: HandFound | None = None
        self.bad = BadViews(self)
        self.table = ViewTable(self.bad, self, _LEFT_OUT)
        self.spectrum, self.curve, self.plot = (
            SpectrumView(self),
            CurvePlot(self),
            DefocusPlot(self),
        )
        self.panel, self.levels = EditPanel(self), LevelsBar(self)
        self.navigation = NavigationBar(self, "view")
        self.position, self.summary, self.hand = QLabel(self), QLabel(self), QLabel(self)
        self.hand.setWordWrap(True)
        self.summary.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._settled = self._timer(_SETTLED_MS, self._next_gesture)
        self._judging = self._timer(_JUDGE_MS, self.session.judge)
        self.actions_ = CtfActions(self)
        self.head = lay_out(self)
        self._connect()
        self.set_content(None, None)
        self.destroyed.connect(self.lane.close if self._own_lane else lambda: None)

    def _timer(self, ms: int, slot: Any) -> QTimer:
        out = QTimer(self)
        out.setSingleShot(True)
        out.setInterval(ms)
        out.timeout.connect(slot)
        return out

    # -- content -----------------------------------------------------------------------------

    @property
    def current_view(self) -> int:
        """The view that is shown, 0-based."""
        return self._view

    def set_content(
        self, series: TiltSeries | None, table: CtfTable | None, fitted: FitRange | None = None
    ) -> None:
        """Show the CTF of a series from its middle; its spectra are made as ``fitted`` says."""
        self.lane.cancel(self._mine)
        self._source = None
        if series is not None and table is not None:
            self._source = CtfSource(series, table.optics, fitted or FitRange())
        self._found = None
        self._view = series.n_views // 2 if series is not None else 0
        self.session.begin(table, series)
        self.navigation.set_count(series.n_views if series is not None else 0)
        self.spectrum.show_nothing("" if series is not None else "No CTF is open.")
        self.curve.show_nothing()
        if series is not None:
            out = np.flatnonzero(~series.used)
            self.table.content.greyed = {int(v): "excluded in the tilt series" for v in out}
            self.panel.set_range(1.3e-4 * float(np.nanmax(self.session.column("defocus_u_a"))))
            self.session.judge()
            self.show_view(self._view)

    def show_view(self, view: int) -> None:
        """Go to a view, 0-based."""
        series = self.session.series
        if series is None:
            return
        self._next_gesture()
        view = min(max(0, view), series.n_views - 1)
        self._way = 1 if view >= self._view else -1
        moved, self._view = view != self._view, view
        self._mark_place()
        self._show_numbers()
        defocus = self.session.defocus(view)
        if defocus is None:
            self.lane.cancel(lambda key: key == (id(self), "view"))
            self.spectrum.show_nothing("No CTF of this view: take it from its neighbours (N).")
            self.curve.show_nothing()
        else:
            self._ask(defocus)
        if moved:
            self.view_changed.emit(view)

    def shutdown(self) -> None:
        """Stop timers and the thread; the viewer shows nothing afterwards."""
        self.navigation.player.stop()
        self.set_content(None, None)
        for timer in (self._settled, self._judging):
            timer.stop()
        if self._own_lane:
            self.lane.close()

    def _mine(self, key: Any) -> bool:
        return isinstance(key, tuple) and bool(key) and key[0] == id(self)

    # -- spectra -----------------------------------------------------------------------------

    def _ask(self, defocus: Defocus) -> None:
        """Ask for the spectrum of the current view at a defocus."""
        source, view, hand = self._source, self._view, self.session.hand
        if source is None:
            return
        smooth = self.actions_.smooth.isChecked()
        self.lane.request(
            (id(self), "view"), lambda: source.render(view, defocus, hand, smooth),
            partial(self._have, source, defocus),
        )  # fmt: skip

    def _have(self, source: CtfSource, defocus: Defocus, shown: Shown) -> None:
        table = self.session.table
        if source is not self._source or table is None:
            return
        self.session.have_look(shown.view, shown.look)
        if shown.view != self._view:
            return
        # While a ring is dragged on, the rings are ahead of what was measured.
        now = self.session.defocus(self._view) or defocus
        self.spectrum.show_spectrum(shown, now, table.optics)
        self.curve.show_look(shown.look, shown.look.model_at(now, table.optics))
        self._show_numbers()
        after = self._view + self._way
        if self.session.defocus(after) is not None and after >= 0:
            self.lane.request(
                (id(self), "ahead"), lambda: source.warm(after), lambda _: None, later=True
            )

    def _show_model(self, defocus: Defocus) -> None:
        """The fitted curve of a defocus, at once."""
        look, table = self.session.look(self._view), self.session.table
        if look is not None and table is not None:
            self.curve.show_model(look.curve.frequency, look.model_at(defocus, table.optics))

    def _failed(self, key: Any, text: str) -> None:
        if key == (id(self), "view"):
            self.spectrum.show_nothing(text.partition(": ")[2] or text)
            self.curve.show_nothing()

    # -- editing -----------------------------------------------------------------------------

    def _next_gesture(self) -> None:
        """What is turned from now on is undone by itself."""
        self._settled.stop()
        self._gesture += 1

    def _edit(self, defocus: Defocus) -> None:
        """A person turns a number or drags a ring."""
        self.session.set_defocus(self._view, defocus, "Defocus of", self._gesture)
        self._settled.start()

    def refit(self) -> None:
        """Fit the current view from where it stands."""
        source, view, defocus = self._source, self._view, self.session.defocus(self._view)
        if source is None or defocus is None:
            return
        hand = self.session.hand

        def have(look: Look) -> None:
            if source is self._source:
                self.session.set_defocus(view, look.defocus, "Refit")

        self.lane.request((id(self), "refit"), lambda: source.refit(view, defocus, hand), have)

    def smooth_view(self) -> None:
        """Give the current view what its neighbours say."""
        if not self.session.smooth(self._view):
            self.position.setText("no neighbour has a defocus")

    def toggle_bad(self) -> None:
        """Leave the selected views out, or take them back."""
        views = self.table.selected_views()
        self.bad.toggle(views if self._view in views else [self._view])

    def check_hand(self) -> None:
        """Ask the defocus gradient of all views."""
        source, session = self._source, self.session
        if source is None or session.series is None:
            return
        used = session.series.used & ~session.bad
        views = {int(v): session.defocus(int(v)) for v in np.flatnonzero(used)}
        views = {v: d for v, d in views.items() if d is not None}
        self.hand.setText("Hand: asking the defocus gradient …")

        def have(found: HandFound) -> None:
            if source is self._source:
                self._found = found
                self._show_hand()

        self.lane.request((id(self), "hand"), lambda: source.check_hand(views), have, later=True)

    def take_hand(self) -> None:
        """Put the hand that was found into the table."""
        if self._found is not None and self._found.vote.hand:
            self.session.set_hand(self._found.vote.hand, self._found.vote.agreement)

    # -- reactions ---------------------------------------------------------------------------

    def _connect(self) -> None:
        self.navigation.went.connect(self.show_view)
        for chooser in (self.table, self.plot):
            chooser.view_selected.connect(self.show_view)
        self.session.changed.connect(self._table_changed)
        self.session.judged.connect(self._show_views)
        self.session.undo_stack.indexChanged.connect(lambda _: self._show_undo())
        self.session.undo_stack.cleanChanged.connect(lambda _: self._show_undo())
        self.bad.asked.connect(self.session.mark)
        self.panel.edited.connect(self._edit)
        self.panel.released.connect(self._next_gesture)
        self.spectrum.ring_dragged.connect(self._edit)
        self.spectrum.ring_released.connect(self._next_gesture)
        self.spectrum.defocus_turned.connect(self.panel.mean.stepBy)
        self.spectrum.shown_anew.connect(self._show_levels)
        self.spectrum.hovered.connect(
            lambda x, y, _: self.position.setText(place_words(*self.spectrum.place(x, y)))
        )
        self.spectrum.left.connect(lambda: self.position.setText(""))
        self.levels.levels_dragged.connect(self.spectrum.drag_levels)
        self.levels.auto_asked.connect(self.spectrum.auto_contrast)
        self.lane.failed.connect(self._failed)

    def _table_changed(self) -> None:
        """Rings and curve follow at once, what is measured and judged a little later."""
        if self.session.series is None:
            self._show_views()
            self._show_numbers()
            return
        defocus, look = self.session.defocus(self._view), self.session.look(self._view)
        hand = self.session.hand
        seen = look is not None and look.defocus == defocus and hand in (0, look.hand)
        if defocus is not None and not seen:
            self.spectrum.show_defocus(defocus)
            self._show_model(defocus)
            self._ask(defocus)
        self._show_numbers()
        self._show_hand()
        self._judging.start()

    def _show_numbers(self) -> None:
        """Caption and panel of the current view."""
        session = self.session
        self.panel.show_defocus(session.defocus(self._view))
        for action in (self.actions_.refit, self.actions_.bad):
            action.setEnabled(session.defocus(self._view) is not None)
        self.spectrum.set_caption(*caption(session, self._view))
        self._show_undo()

    def _show_undo(self) -> None:
        stack = self.session.undo_stack
        self.actions_.undo.setEnabled(stack.canUndo())
        self.actions_.redo.setEnabled(stack.canRedo())
        self.actions_.save.setEnabled(self.session.modified)
        self.actions_.undo.setToolTip(f"Undo: {stack.undoText()} (Ctrl+Z)")

    def _show_views(self) -> None:
        """Table and plot of all views."""
        session, series = self.session, self.session.series
        # The marks first: the table asks for them at once.
        self.bad.reset(session.bad, np.zeros_like(session.bad), session.weak)
        self.table.set_content(series, ctf_columns(session))
        self._show_hand()
        if series is None or session.table is None:
            self.summary.setText("")
            return
        self.spectrum.set_caption(*caption(session, self._view))
        weak = len(session.weak)
        text = f"{series.name}: {session.table.describe()}"
        self.summary.setText(text + (f", {weak} weak" if weak else ""))
        self.summary.setToolTip(self.summary.text())
        self.plot.show_views(
            tilt_of(series), session.column("defocus_u_a") / 1e4,
            session.column("defocus_v_a") / 1e4,
            None if session.track is None else session.track / 1e4, set(session.weak), session.bad,
            ~series.used,
        )  # fmt: skip
        self._mark_place()

    def _show_hand(self) -> None:
        table, found = self.session.table, self._found
        unproven = bool(self.session.unproven.any())
        self.hand.setText(hand_words(table, found, unproven) if table is not None else "")
        self.actions_.check.setEnabled(table is not None)
        said = table.hand if table is not None else 0
        news = found is not None and found.vote.hand not in (0, said)
        self.actions_.take.setEnabled(news and not unproven)

    def _show_levels(self) -> None:
        self.levels.show_values(self.spectrum.values(), *self.spectrum.levels)

    def _mark_place(self) -> None:
        """Slider, table and plot go where the picture is."""
        series = self.session.series
        if series is None:
            return
        tilt = float(tilt_of(series)[self._view])
        self.navigation.set_current(self._view, f"{tilt:.1f}°")
        self.table.set_current(self._view)
        self.plot.set_current(tilt)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """A window of its own ends its thread."""
        self.shutdown()
        super().closeEvent(event)
