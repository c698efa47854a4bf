"""What follows the model in the background: strip, slab, worklist and its thumbnails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PyQt6.QtCore import QObject, QTimer

from tiltwright.widgets.editor.centring import Centring
from tiltwright.widgets.editor.current import Current, to_point
from tiltwright.widgets.editor.session import Session
from tiltwright.widgets.editor.slab_view import SlabView, slab_images
from tiltwright.widgets.editor.strip import StripView, crop_at, crops_in_pieces
from tiltwright.widgets.editor.worklist import Worklist
from tiltwright.widgets.theme import colours

if TYPE_CHECKING:
    from tiltwright.engine.curation.evidence import Evidence
    from tiltwright.engine.curation.worklist import Item
    from tiltwright.engine.model.edits import Edit

_REST_S = 1.0
"""Looking at all points takes up to a second for each large view: once nobody edits for so long."""
_SETTLE_MS = 120
"""Pictures wait so long for the next edit or step."""
_THUMB_DIAMETERS = 2.0
_SLAB = 192, 96
"""Width and height of a slice in voxels."""


class Followers(QObject):
    """Asks the lanes for pictures and lists, and gives them to the widgets.

    What costs more than a solve waits until a person pauses, so that edits never wait for it.
    """

    def __init__(
        self, session: Session, centring: Centring, strip: StripView, slab: SlabView,
        worklist: Worklist, go: Callable[[Current], None],
    ) -> None:  # fmt: skip
        super().__init__(session)
        self._session, self._centring, self._go = session, centring, go
        self.strip, self.slab, self.worklist = strip, slab, worklist
        self._slab_tool: Any = None
        self._evidence: Evidence | None = None
        self._bead = -1
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(self._settled)
        session.model_changed.connect(self._model_changed)
        session.current_changed.connect(self._place_changed)
        session.solved.connect(self._timer.start)
        centring.learned.connect(self._ask_evidence)
        worklist.selected.connect(self._selected)
        worklist.accepted.connect(self._accepted)
        worklist.pictures_wanted.connect(self._ask_pictures)

    def stop(self) -> None:
        """Ask for nothing more."""
        self._timer.stop()

    def _model_changed(self, change: Any) -> None:
        self.worklist.model_changed(change)
        if change.renumbers:
            self._evidence = None
        self._timer.start()

    def _place_changed(self) -> None:
        now = self._session.current
        self.strip.set_view(now.view)
        if now.contour != self._bead:
            self._bead = now.contour
            self._timer.start()

    def _settled(self) -> None:
        self.refresh_strip()
        self.refresh_slab()
        self.refresh_worklist()

    # ---- strip and slab ------------------------------------------------------------------------

    def refresh_strip(self) -> None:
        """Read the small pictures of the current bead."""
        session = self._session
        series, model, contour = session.series, session.model, session.current.contour
        if not 0 <= contour < model.n_tracks:
            self.strip.set_crops([], (), 1.0)
            return
        snapshot = session.snapshot if session.fits else None
        predicted = snapshot.predicted_px if snapshot is not None else None
        c = colours()
        colour = c.surface_top if model.surface[contour] == 1 else c.surface_bottom
        session.slow_lane.request(
            (id(self), "strip"), lambda: crops_in_pieces(series, model, contour, predicted),
            lambda crops: self.strip.set_crops(
                crops, series.tilt_deg.tolist(), model.diameter_px, colour
            ), later=True,
        )  # fmt: skip

    def refresh_slab(self) -> None:
        """Reconstruct slices through the current bead, while somebody looks at them."""
        session, snapshot, now = self._session, self._session.snapshot, self._session.current
        if not self.slab.isVisible() or snapshot is None or not session.up_to_date:
            return
        if not 0 <= now.contour < len(snapshot.xyz):
            self.slab.clear()
            return
        xyz = snapshot.xyz[now.contour]
        if not np.isfinite(xyz).all():
            self.slab.clear("This bead has too few points to be placed.")
            return
        series = session.series

        def work() -> Any:
            from tiltwright.engine.curation.slab import LiveSlab

            if self._slab_tool is None:
                self._slab_tool = LiveSlab(series.images, series.frame)
            slices = self._slab_tool.slices(
                snapshot.alignment(), xyz, width=_SLAB[0], height=_SLAB[1], used=series.used
            )
            return slices, slab_images(slices)

        session.ask_slowly("slab", work, self.slab.set_images, later=True)

    # ---- worklist ------------------------------------------------------------------------------

    def _ask_evidence(self) -> None:
        """How well the image supports each point; when nothing else is to be done."""
        session, tool = self._session, self._centring.tool
        model = session.model
        if tool is None:
            return

        def work() -> Any:
            from tiltwright.engine.curation.evidence import evidence_in_pieces

            return evidence_in_pieces(model, tool)

        def done(evidence: Any) -> None:
            if session.model.n_tracks == model.n_tracks:
                self._evidence = evidence
                self.refresh_worklist()

        key = (id(self), "evidence")
        session.slow_lane.request(key, work, done, later=True, rest_s=_REST_S)

    def refresh_worklist(self) -> None:
        """Find what is worth a look in the model as it is."""
        session, snapshot = self._session, self._session.snapshot
        if snapshot is None or not session.up_to_date:
            return
        evidence = self._evidence
        if evidence is not None and evidence.score.shape != snapshot.sd.shape:
            evidence = None

        def work() -> Any:
            from tiltwright.engine.curation.worklist import find_in_pieces

            return find_in_pieces(snapshot, evidence=evidence)

        def done(items: Sequence[Item]) -> None:
            if session.model is snapshot.model:
                self.worklist.set_items(items)

        session.slow_lane.request((id(self), "worklist"), work, done, later=True)

    def _selected(self, item: Item) -> None:
        session = self._session
        self._go(to_point(session.current, session.model, item.contour, item.view))
        live, snapshot = session.live, session.snapshot
        if item.edit is None or live is None or snapshot is None or not session.up_to_date:
            return
        edit = item.edit

        def work() -> Any:
            from tiltwright.engine.curation.worklist import predicted_effect

            return predicted_effect(edit, live, snapshot)

        def done(effect: Any) -> None:
            if session.model is snapshot.model:
                self.worklist.set_effect(item.key, effect)

        session.slow_lane.request((id(self), "effect"), work, done, later=True)

    def _accepted(self, item: Item) -> None:
        session, snapshot, tool = self._session, self._session.snapshot, self._centring.tool
        if snapshot is None or not session.up_to_date:
            session.when_solved(lambda: self._accepted(item))
            return

        def work() -> Any:
            from tiltwright.engine.curation.proposals import proposal

            return (proposal(item, snapshot, tool),)

        def done(result: tuple[Edit | None]) -> None:
            edit = result[0]
            if edit is None:
                session.failed.emit(f"Nothing to accept: {item.reason}")
            elif session.model is not snapshot.model:
                session.failed.emit("The model has changed meanwhile; accept again")
            elif session.do(edit):
                session.said.emit(f"Accepted: {edit.label}")

        session.ask("proposal", work, done)

    def _ask_pictures(self, items: Sequence[Item]) -> None:
        session = self._session
        series, model = session.series, session.model
        snapshot = session.snapshot if session.fits else None
        places = []
        for item in items:
            if not 0 <= item.contour < model.n_tracks:
                continue
            at = model.xy[item.contour, item.view]
            if not np.isfinite(at).all() and snapshot is not None:
                at = snapshot.predicted_px[item.contour, item.view]
            places.append((item.key, item.view, at))
        half = _THUMB_DIAMETERS / 2 * model.diameter_px

        def work() -> list[Any]:
            return [(key, crop_at(series, view, at, half)[0]) for key, view, at in places]

        def done(found: list[Any]) -> None:
            for key, data in found:
                self.worklist.set_picture(key, data)

        session.slow_lane.request((id(self), "thumbnails"), work, done, later=True)
