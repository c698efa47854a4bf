"""The tool that centres points on the images, learned in the background."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PyQt6.QtCore import QObject, pyqtSignal

if TYPE_CHECKING:
    from tiltwright.engine.fiducials.fill import BeadCentring, Found
    from tiltwright.widgets.editor.session import Session

_FEW = 20
"""A tool that was learned from fewer points learns again when there are as many."""
FAILED = "Autocentering failed to find a point"


class Centring(QObject):
    """Holds the tool for a diameter and polarity; another one replaces it when it is ready.

    Signals
    -------
    learned : ()
        The tool knows what the beads of the model look like.
    """

    learned = pyqtSignal()

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.tool: BeadCentring | None = None
        self._why_not = "Autocentering is not ready yet; try again in a moment"
        self._settings, self._points = (session.model.diameter_px, False), 0
        session.slow_lane.failed.connect(self._failed)
        session.model_changed.connect(self._model_changed)

    def _failed(self, key: object, text: str) -> None:
        if isinstance(key, tuple) and key[1:] == ("learn",):
            self.tool = None
            self._why_not = text.partition(": ")[2]

    def _model_changed(self, change: object) -> None:
        if self._points < _FEW <= self._session.model.n_points:
            self.learn(*self._settings)

    def learn(self, diameter_px: float, light: bool) -> None:
        """Learn anew from the points of the model as it is."""
        series, model = self._session.series, self._session.model
        self._settings, self._points = (diameter_px, light), model.n_points

        def work() -> BeadCentring:
            from tiltwright.engine.fiducials.fill import BeadCentring

            tool = BeadCentring(series.images, series.frame, diameter_px, light=light)
            tool.learn(model.xy)
            return tool

        self._session.ask_slowly("learn", work, self._have)

    def _have(self, tool: BeadCentring) -> None:
        self.tool = tool
        self.learned.emit()

    def snap(
        self, view: int, at: tuple[float, float], found: Callable[[Found], None]
    ) -> bool:  # fmt: skip
        """Centre a click in the lane; ``found`` gets the bead, or the log says that none is there.

        False while nothing has been learned yet.
        """
        tool, session = self.tool, self._session
        if tool is None:
            session.failed.emit(self._why_not)
            return False

        def done(result: Found | None) -> None:
            if result is None:
                session.failed.emit(FAILED)
            else:
                found(result)

        session.ask("snap", lambda: (tool.autocentre(view, at),), lambda r: done(r[0]))
        return True
