"""Where the pictures of the CTF viewer come from: for the background lane, no Qt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tiltwright.engine.ctf.examine import Examiner, Look
    from tiltwright.engine.ctf.judge import HandVote
    from tiltwright.engine.ctf.model import Defocus, Optics
    from tiltwright.engine.model.tilt_series import TiltSeries

_LEAST_HAND_TILT_DEG = 15.0
_MODEL = np.float32(1.2)
"""Height of the fitted rings; what is measured has a deviation of 1."""


@dataclass(frozen=True)
class FitRange:
    """With what the spectra are made: as of the estimation.

    Attributes
    ----------
    tile_px : int
    band_a : (longest, shortest) period, angstrom
    pretilt_deg : float
    astigmatism, phase_shift : bool
        What a fit refines.
    """

    tile_px: int = 512
    band_a: tuple[float, float] = (30.0, 8.0)
    pretilt_deg: float = 0.0
    astigmatism: bool = True
    phase_shift: bool = False


@dataclass(frozen=True)
class Shown:
    """A view as it is shown.

    Attributes
    ----------
    view : int
    measured : (2 reach + 1, 2 reach + 1) float32
    gain : the same
        Multiplies measured and fitted rings before they are shown.
    look : Look
    step : float
        Frequency of one pixel, 1/angstrom.
    lowest : int
        Pixels about the middle that are not shown.
    """

    view: int
    measured: npt.NDArray[np.float32]
    gain: npt.NDArray[np.float32]
    look: Look
    step: float
    lowest: int

    @property
    def reach(self) -> int:
        """Pixels from the middle to the edge."""
        return self.measured.shape[0] // 2

    def picture(
        self, defocus: Defocus, optics: Optics, with_model: bool
    ) -> npt.NDArray[np.float32]:
        """The left half measured, the right one fitted; without the model all measured."""
        from tiltwright.engine.ctf.picture import model_picture

        out = self.measured * self.gain
        if with_model:
            model = model_picture(self.reach, self.step, defocus, optics, self.lowest)
            out[:, self.reach :] = model[:, self.reach :] * _MODEL
        return out


@dataclass(frozen=True)
class HandFound:
    """What the defocus gradient says on the hand.

    Attributes
    ----------
    vote : HandVote
        Of the views.
    n_views : int
        Views that were asked.
    """

    vote: HandVote
    n_views: int


class CtfSource:
    """Spectra of one series, made when they are asked for."""

    def __init__(self, series: TiltSeries, optics: Optics, fitted: FitRange) -> None:
        self._series, self._optics, self.fitted = series, optics, fitted
        self._examiner: Examiner | None = None
        self._lock = threading.Lock()

    def _made(self) -> Examiner:
        from tiltwright.engine.protocols.ctf_geometry import examiner_of

        with self._lock:
            if self._examiner is None:
                f = self.fitted
                self._examiner = examiner_of(
                    self._series, self._optics, tile_px=f.tile_px, band_a=f.band_a,
                    pretilt_deg=f.pretilt_deg,
                )  # fmt: skip
            return self._examiner

    def render(self, view: int, defocus: Defocus, hand: int, smooth: bool) -> Shown:
        """A view at a defocus; ``hand`` 0: as fits better; errors raised: as of the examiner."""
        from tiltwright.engine.ctf.picture import even_gain

        examiner = self._made()
        look = examiner.look(view, defocus, hand)
        picture = examiner.picture(view, defocus, look.hand, smooth=smooth)
        return Shown(view, picture, even_gain(picture), look, examiner.step, examiner.lowest)

    def refit(self, view: int, start: Defocus, hand: int) -> Look:
        """The best fit near a defocus."""
        f = self.fitted
        return self._made().refit(
            view, start, hand, astigmatism=f.astigmatism, phase_shift=f.phase_shift
        )

    def warm(self, view: int) -> bool:
        """Make the spectra of a view that may be next."""
        self._made().power(view)
        return True

    def check_hand(self, views: dict[int, Defocus]) -> Iterator[Any]:
        """Ask each view at its defocus; yields the number asked so far, last a `HandFound`.

        In pieces for a lane, hence ``None`` in between.
        """
        from tiltwright.engine.ctf.judge import vote
        from tiltwright.engine.errors import DataError

        evidence = []
        for view, defocus in views.items():
            if abs(self._series.tilt_deg[view]) >= _LEAST_HAND_TILT_DEG:
                try:
                    evidence.append(self._made().hand_evidence(view, defocus))
                except DataError:
                    continue  # a blank view tells nothing
                yield None
        yield HandFound(vote(evidence), len(evidence))
