"""The tool that centres points on the images, learned in the background."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PyQt6.QtCore import QObject, pyqtSignal

if TYPE_CHECKING:
    from tiltwright.engine.fiducials.fill import BeadCentring, Found
    from tiltwright.widgets.editor.session import Session

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

    def learn(self, diameter_px: float, light: bool) -> None:
        """Learn anew from the points of the model as it is."""
        series, model = self._session.series, self._session.model

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
            session.failed.emit("Autocentering is not ready yet; try again in a moment")
            return False

        def done(result: Found | None) -> None:
            if result is None:
                session.failed.emit(FAILED)
            else:
                found(result)

        session.ask("snap", lambda: (tool.autocentre(view, at),), lambda r: done(r[0]))
        return True
