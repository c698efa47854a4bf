"""One view at a time: its spectrum as picture and curve at any defocus, and a fit from there."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.ctf.curves import RadialFit, defocus_of, fit_at, radial_fit
from tiltwright.engine.ctf.estimate import GROUP_RAD
from tiltwright.engine.ctf.fit import ENVELOPES_A2, Fit, FitData, refine
from tiltwright.engine.ctf.judge import components_of
from tiltwright.engine.ctf.model import Defocus, Optics
from tiltwright.engine.ctf.picture import Picture, Planes, along_arcs, tilt_corrected
from tiltwright.engine.ctf.spectra import ViewSpectra, grouped_spectra, ring_bins, tile_spectra

Floats = npt.NDArray[np.float64]
_SHOWN = 1.25
"""Frequencies are shown up to so many times the highest that is fitted."""
_CACHE_BYTES = 96 << 20
_FOUND = 0.3
"""Score from which on the height of the fitted rings is believed."""


@dataclass(frozen=True)
class ViewPower:
    """Spectra of one view in the forms that curve, fit and picture need."""

    spectra: ViewSpectra
    data: FitData
    planes: Planes

    @property
    def n_bytes(self) -> int:
        """Memory that it holds."""
        arrays = (*vars(self.spectra).values(), *vars(self.data).values(), self.planes.power)
        return int(sum(a.nbytes for a in arrays))


@dataclass(frozen=True)
class Look:
    """A view at one defocus.

    Attributes
    ----------
    defocus : Defocus
    curve : RadialFit
    amplitude, b_a2 : float
        Of the fitted rings, and their envelope.
    hand : int
        With which its tiles were brought together.
    """

    defocus: Defocus
    curve: RadialFit
    amplitude: float
    b_a2: float
    hand: int

    @classmethod
    def of(cls, defocus: Defocus, power: ViewPower, fit: Fit, optics: Optics, hand: int) -> Look:
        """From a fit of a view."""
        curve = radial_fit(power.spectra, fit, optics, hand)
        return cls(defocus, curve, float(fit.linear[-1]), fit.b_a2, hand)

    @property
    def envelope(self) -> Floats:
        """Height of the rings to compare with, ``(n_rings,)``.

        Of the fit; where that found nothing, as high as what is measured, so that a person sees
        where the rings of a defocus would lie.
        """
        s, measured = self.curve.frequency, self.curve.measured
        if self.curve.score >= _FOUND:
            return np.asarray(self.amplitude * np.exp(-self.b_a2 * s**2))
        width = max(len(s) // 6, 3)
        inside = np.convolve(np.ones(len(s)), np.ones(width), "same")
        square = np.convolve(measured**2, np.ones(width), "same") / inside
        return np.asarray(np.sqrt(2 * square))

    def model_at(self, defocus: Defocus, optics: Optics) -> Floats:
        """The rings of another defocus on the frequencies of ``curve``, ``(n_rings,)``."""
        s2 = self.curve.frequency**2
        phase = optics.per_defocus * defocus.components[0] * s2 - optics.per_s4 * s2**2
        phase += optics.constant(defocus.phase_shift_deg)
        return np.asarray(-self.envelope * np.cos(2 * phase))


class Examiner:
    """Looks at single views of a stack; keeps the spectra of the views looked at last.

    May be used from several threads. No kernel is parallel.

    Parameters
    ----------
    stack : (n_views, ny, nx)
    pixel_size_a : float
        Of ``stack``.
    slopes_a, centres_xy : (n_views, 2)
        As of ``estimate_series``.
    optics : Optics
    tile : int
    band_a : (longest, shortest) period that is fitted, angstrom

    Raises
    ------
    InputError
        The band has too few rings, or tiles are larger than the images.
    """

    def __init__(
        self, stack: Any, pixel_size_a: float, slopes_a: Floats, centres_xy: Floats,
        optics: Optics, *, tile: int, band_a: tuple[float, float], threads: int = 2,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:  # fmt: skip
        self.optics, self.band_a = optics, band_a
        self._stack, self._pixel_size_a, self._tile = stack, pixel_size_a, tile
        self._slopes, self._centres = np.array(slopes_a), np.array(centres_xy)
        self._threads, self._budget = threads, cache_bytes
        self._bins = ring_bins(tile, pixel_size_a, *band_a)
        self.step = 1 / (tile * pixel_size_a)
        top = float(np.sqrt(self._bins.s2.max()))
        self._group_a = GROUP_RAD / (optics.per_defocus * top**2)
        self.reach = min(math.ceil(_SHOWN * top / self.step), tile // 2 - 1)
        self.lowest = max(2, round(0.7 / band_a[0] / self.step))
        self._cache: OrderedDict[int, ViewPower] = OrderedDict()
        self._lock = threading.Lock()

    def power(self, view: int) -> ViewPower:
        """The spectra of a view.

        Raises
        ------
        DataError
            The view is blank.
        """
        with self._lock:
            if view in self._cache:
                self._cache.move_to_end(view)
                return self._cache[view]
        tiles = tile_spectra(
            self._stack[view], self._bins, self._slopes[view], self._centres[view],
            tile=self._tile, reach=self.reach, threads=self._threads,
        )  # fmt: skip
        spectra = grouped_spectra(tiles, self._bins, self._group_a)
        planes = Planes.of(tiles, self._group_a, self.step, self.lowest)
        made = ViewPower(spectra, FitData.of(spectra), planes)
        with self._lock:
            self._cache[view] = made
            while len(self._cache) > 1 and self.held_bytes > self._budget:
                self._cache.popitem(last=False)
        return made

    @property
    def held_bytes(self) -> int:
        """Bytes of spectra that are kept."""
        return sum(power.n_bytes for power in self._cache.values())

    def look(self, view: int, defocus: Defocus, hand: int) -> Look:
        """Radial curve, score and fit resolution of a view at a defocus.

        Parameters
        ----------
        hand : int
            1, -1, or 0 for the one that fits better in this view.
        """
        power = self.power(view)
        fits = [
            (fit_at(power.data, defocus, self.optics, h), h) for h in ((hand,) if hand else (1, -1))
        ]
        # Not by the score: with the wrong hand rings are blurred, but where they were.
        fit, h = max(fits, key=lambda pair: pair[0].log_ratio)
        return Look.of(defocus, power, fit, self.optics, h)

    def picture(self, view: int, defocus: Defocus, hand: int, *, smooth: bool = True) -> Picture:
        """The spectrum as ``picture.tilt_corrected`` makes it, averaged along arcs or not."""
        plain = tilt_corrected(self.power(view).planes, defocus, self.optics, hand)
        return along_arcs(plain) if smooth else plain

    def refit(
        self, view: int, start: Defocus, hand: int, *, astigmatism: bool = True,
        phase_shift: bool = False,
    ) -> Look:  # fmt: skip
        """The best fit of a view near a defocus, without its neighbours; ``hand`` as above.

        Raises
        ------
        DataError
            The view is blank.
        """
        power = self.power(view)
        p = components_of(start)
        fits = []
        for h in (hand,) if hand else (1, -1):
            for b in ENVELOPES_A2:
                # The mean first: with the wrong one, astigmatism chases the rings of others.
                plain = refine(
                    power.data, self.optics, p, free=(True, False, False, phase_shift), hand=h,
                    b_a2=b,
                )  # fmt: skip
                free = (True, astigmatism, astigmatism, phase_shift)
                fit = refine(power.data, self.optics, plain.p, free=free, hand=h, b_a2=b)
                fits.append((fit, h))
        best, h = max(fits, key=lambda pair: pair[0].log_ratio)
        return Look.of(_tidy(best), power, best, self.optics, h)

    def hand_evidence(self, view: int, start: Defocus) -> float:
        """Log likelihood of hand 1 over hand -1 in one view, each at its own best defocus."""
        data = self.power(view).data
        p = components_of(start)
        held = fit_at(data, start, self.optics, 1), fit_at(data, start, self.optics, -1)
        b = max(held, key=lambda fit: fit.log_ratio).b_a2
        free = (True, True, True, False)
        ratio = [
            refine(data, self.optics, p, free=free, hand=hand, b_a2=b).log_ratio
            for hand in (1, -1)
        ]  # fmt: skip
        return ratio[0] - ratio[1]


def _tidy(fit: Fit) -> Defocus:
    """The defocus of a fit with its phase shift within 0 to 180 degrees."""
    found = defocus_of(fit)
    return replace(found, phase_shift_deg=found.phase_shift_deg % 180.0)
