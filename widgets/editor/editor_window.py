"""The fiducial editor: one window in which every click shows whether it helped."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt6.QtCore import Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QCloseEvent, QKeyEvent
from PyQt6.QtWidgets import QAbstractSpinBox, QLineEdit, QWidget

from tiltwright.engine.conventions import image_centre
from tiltwright.widgets.editor.bead_fixer import BeadFixer, Operation
from tiltwright.widgets.editor.centring import Centring
from tiltwright.widgets.editor.current import Current, order_of, to_order, to_point, views_of
from tiltwright.widgets.editor.editor_keys import EditorKeys
from tiltwright.widgets.editor.editor_layout import EditorLayout
from tiltwright.widgets.editor.files import ModelFiles
from tiltwright.widgets.editor.fixer import Fixer
from tiltwright.widgets.editor.followers import Followers
from tiltwright.widgets.editor.hand import Mode
from tiltwright.widgets.editor.info_panel import InfoPanel
from tiltwright.widgets.editor.model_view import ModelView
from tiltwright.widgets.editor.numbers_panel import NumbersPanel
from tiltwright.widgets.editor.pen import Pen
from tiltwright.widgets.editor.saving import Saving
from tiltwright.widgets.editor.session import Session
from tiltwright.widgets.editor.slab_view import SlabView
from tiltwright.widgets.editor.strip import StripView
from tiltwright.widgets.editor.versions_panel import VersionsPanel
from tiltwright.widgets.editor.worklist import Worklist
from tiltwright.widgets.editor.zap_pane import ZapPane
from tiltwright.widgets.lane import Lane

if TYPE_CHECKING:
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.engine.model.tilt_series import TiltSeries
    from tiltwright.engine.project.versions import Version

_NUDGES = {
    Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0), Qt.Key.Key_Up: (0, 1),
    Qt.Key.Key_Down: (0, -1), Qt.Key.Key_4: (-1, 0), Qt.Key.Key_6: (1, 0), Qt.Key.Key_8: (0, 1),
    Qt.Key.Key_2: (0, -1),
}  # fmt: skip


class EditorWindow(QWidget):
    """Edits the fiducial model of a tilt series.

    Parameters
    ----------
    series, model
        The series at any binning, coarsely aligned or not, and its model.
    files : ModelFiles, optional
        Where the model is saved and journalled; without, nothing is kept.
    params : FiducialAlignment.Params, optional
        Of the alignment that the model is for.
    lane : Lane, optional
        For the pictures; solves have a lane of their own.

    Signals
    -------
    model_saved : (Version)
    realign_requested : ()
        Run the alignment, and what follows, with the saved model.
    """

    model_saved = pyqtSignal(object)
    realign_requested = pyqtSignal()

    def __init__(
        self,
        series: TiltSeries,
        model: FiducialModel,
        *,
        files: ModelFiles | None = None,
        params: Any = None,
        lane: Lane | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._own_lane = lane is None
        self.lane = lane if lane is not None else Lane(self)
        self._problem = ""
        self.mode = Mode.MODEL
        self.session = session = Session(
            series, model, files.journal if files else None, params, self,
            closed=files.closed if files else "",
        )  # fmt: skip
        self.bead_fixer = BeadFixer(model.diameter_px, model.n_views, self)
        self.centring = Centring(session, self)
        self.pen = Pen(session, self.bead_fixer, self.centring)
        self.zap = ZapPane(session, self.lane, self.pen, self)
        self.info = InfoPanel(self)
        self.numbers = NumbersPanel(self)
        self.strip, self.slab = StripView(self), SlabView(self)
        self.model_view, self.worklist = ModelView(self), Worklist(self)
        self.versions = VersionsPanel(self)
        self.fixer = Fixer(session, self.bead_fixer, self.centring, self)
        self.followers = Followers(
            session, self.centring, self.strip, self.slab, self.worklist, self.go_to
        )
        self.keys = EditorKeys(self)
        self.saving = Saving(session, files, self.versions, self)
        self.layout_ = EditorLayout(self)
        self._model_timer = QTimer(self)
        self._model_timer.setSingleShot(True)
        self._model_timer.setInterval(100)
        self._model_timer.timeout.connect(self._refresh_model_view)
        self._connect()
        self._start(series, model)

    def _start(self, series: TiltSeries, model: FiducialModel) -> None:
        self.say(f"Image size {series.size[0]} x {series.size[1]}, {series.n_views} views.")
        self.zap.set_series(series, False)
        self.session.choose()
        self.centring.learn(self.bead_fixer.diameter.value(), self.bead_fixer.light.isChecked())
        self.saving.refresh()
        unsaved = self.session.unsaved
        unsaved.open(model)
        if unsaved.offered is not None:
            self.layout_.notice.offer(unsaved.offered)
        elif unsaved.closed:
            self.layout_.notice.tell(unsaved.refuses)
            self.say(unsaved.refuses)
        if not model.n_tracks:
            self.bead_fixer.set_operation(Operation.SEED)
            self.say("No contours yet: a middle click on a bead begins one")
        self._model_changed(None)
        self._show_place()

    def _connect(self) -> None:
        session, info, zap = self.session, self.info, self.zap
        session.said.connect(self.say)
        session.failed.connect(self._failed)
        session.slow_lane.failed.connect(self._lane_failed)
        session.model_changed.connect(self._model_changed)
        session.current_changed.connect(self._show_place)
        session.solved.connect(self._show_numbers)
        session.undo_stack.cleanChanged.connect(lambda _: self.layout_.show_modified())
        zap.moved.connect(self._show_place)
        zap.images.rendered.connect(self._show_levels)
        zap.images.hovered.connect(self.layout_.position.setText)
        info.contour_chosen.connect(self._choose_contour)
        info.point_chosen.connect(
            lambda k: session.go(to_order(session.current, session.model, max(0, k)))
        )
        info.view_chosen.connect(lambda v: session.show_view(v) if v >= 0 else None)
        info.mode_chosen.connect(self.set_mode)
        info.float_toggled.connect(lambda on: zap.images.set_fixed_contrast(not on))
        info.auto_asked.connect(zap.images.auto_contrast)
        info.levels_dragged.connect(zap.images.drag_levels)
        self.fixer.went.connect(zap.bring_into_sight)
        self.bead_fixer.centring_changed.connect(self._learn)
        self.bead_fixer.overlay_changed.connect(self._overlay)
        self.numbers.view_picked.connect(session.show_view)
        self.numbers.bead_picked.connect(self._choose_contour)
        self.numbers.choice_asked.connect(self._choose_anew)
        self.strip.view_picked.connect(lambda v: self.go_to(self._on(v)))
        self.model_view.picked.connect(
            lambda c, v: self.go_to(to_point(session.current, session.model, c, v))
        )
        self.saving.saved.connect(self._saved)

    # ---- where one is --------------------------------------------------------------------------

    def go_to(self, current: Current) -> None:
        """Be somewhere else, with it in sight."""
        self.session.go(current)
        self.zap.bring_into_sight()

    def _on(self, view: int) -> Current:
        session = self.session
        now = to_point(session.current, session.model, session.current.contour, view)
        return replace(now, view=view)

    def _choose_contour(self, contour: int) -> None:
        session = self.session
        now = session.current
        if contour < 0:
            session.go(Current(now.view))
            return
        views = views_of(session.model, contour)
        near = int(min(views, key=lambda v: abs(v - now.view))) if len(views) else now.view
        self.go_to(to_point(now, session.model, contour, near))

    def set_mode(self, mode: Mode) -> None:
        """Model or Movie."""
        self.mode = mode
        self.zap.set_mode(mode)
        self.info.set_mode(mode)
        self.layout_.show_mode(mode)

    def _show_place(self) -> None:
        session, now = self.session, self.session.current
        model = session.model
        n_points = len(views_of(model, now.contour))
        self.info.set_place(
            now.contour, model.n_tracks, order_of(model, now), n_points, now.view, model.n_views
        )
        at, where = (float("nan"), float("nan")), "No current point"
        if self.zap.looked is not None:
            at, where = self.zap.looked, "The point set in Movie mode; raw pixels"
        elif now.attached:
            x, y = model.xy[now.contour, now.at]
            at, where = (float(x), float(y)), f"Of the point on view {now.at + 1}; raw pixels"
        centre = image_centre(*model.size_px)
        self.info.set_position(at[0] + centre[0], at[1] + centre[1], model.size_px, where)
        self.numbers.set_place(now.view, now.contour)
        self.model_view.set_current(now.contour)

    # ---- what changed --------------------------------------------------------------------------

    def _model_changed(self, change: Any) -> None:
        self._model_timer.start()
        self.layout_.show_modified()

    def _failed(self, text: str) -> None:
        words = _without_kind(text)
        if words != self._problem:
            self.say(words)

    def _lane_failed(self, key: object, text: str) -> None:
        first = self.session.live is None
        if first and isinstance(key, tuple) and key[1:] == ("choose",):
            self._problem = _without_kind(text)
            self.numbers.show_problem(self._problem)

    def _refresh_model_view(self) -> None:
        session = self.session
        aligned = None
        if session.snapshot is not None and session.fits:
            xf = session.snapshot.alignment().transforms
            aligned = np.einsum("vij,tvj->tvi", xf[..., :2], session.model.xy) + xf[None, ..., 2]
        self.model_view.set_model(session.model, session.series.tilt_deg, aligned)

    def _show_numbers(self) -> None:
        session = self.session
        if session.snapshot is not None:
            self.numbers.show_snapshot(
                session.snapshot, session.before_edit, session.opening, session.first,
                anew=session.chosen_anew,
            )  # fmt: skip
            now, before = session.snapshot, session.before_edit
            self.layout_.show_change(
                now.mean_residual_px - before.mean_px,
                now.leave_one_out_px - before.leave_one_out_px,
            )
            self._model_timer.start()
        self._show_place()

    def _show_levels(self) -> None:
        picture = self.zap.images.main_picture
        if picture is not None:
            levels = self.zap.images.main_view.levels
            self.info.levels.show_values(picture.values, *levels)

    def _choose_anew(self) -> None:
        self.say("Choosing the variables of the alignment anew…")
        self.session.choose()

    def _learn(self) -> None:
        panel = self.bead_fixer
        self.centring.learn(panel.diameter.value(), panel.light.isChecked())

    def _overlay(self) -> None:
        panel = self.bead_fixer
        step = panel.overlay_step.value() if panel.overlay.isChecked() else 0
        self.zap.set_overlay(step, panel.reverse.isChecked())

    def show_pictures(self, series: TiltSeries, interpolated: bool) -> None:
        """Show other pictures of the same views: binned or not, moved or not."""
        self.zap.set_series(series, interpolated)

    def show_model_view(self) -> None:
        """Bring the 3-D model view to the front."""
        self.layout_.show_tab(self.model_view)

    def say(self, words: str) -> None:
        """A line in the message log."""
        self.layout_.log(words)

    def save(self, note: str = "") -> bool:
        """Write a new version; whether that could be done."""
        return self.saving.save(note)

    def _saved(self, version: Version) -> None:
        self.layout_.show_modified()
        self.model_saved.emit(version)

    def realign(self) -> None:
        """Save what is not saved, and ask for the alignment and what follows."""
        if not self.session.modified or self.save():
            self.realign_requested.emit()

    # ---- Qt ------------------------------------------------------------------------------------

    def accept_key(self) -> None:
        """Enter: what is typed, the row of the worklist, or the prediction on this view."""
        focus = self.focusWidget()
        if isinstance(focus, QAbstractSpinBox):
            focus.interpretText()
            self.zap.view.setFocus()
        elif focus is self.versions.note:
            self.save()
        elif isinstance(focus, QLineEdit):
            self.zap.view.setFocus()
        elif focus is self.worklist.table:
            self.worklist.accept()
        else:
            self.fixer.accept_prediction()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Keypad arrows nudge the current point."""
        assert event is not None
        keypad = bool(event.modifiers() & Qt.KeyboardModifier.KeypadModifier)
        way = _NUDGES.get(Qt.Key(event.key())) if keypad else None
        if way is None:
            super().keyPressEvent(event)
            return
        step = self.zap.raw_per_image
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            step /= 10
        self.pen.nudge(way[0] * step, way[1] * step)

    def shutdown(self) -> None:
        """Stop timers and threads; unsaved edits stay in the journal."""
        self.zap.navigation.player.stop()
        self._model_timer.stop()
        self.followers.stop()
        self.session.close()
        self.zap.images.set_series(None)
        if self._own_lane:
            self.lane.close()

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """A window of its own ends its threads."""
        self.shutdown()
        super().closeEvent(event)


def _without_kind(text: str) -> str:
    """The words of an error without the name of its class."""
    return re.sub(r"^\w+Error: ", "", text)
