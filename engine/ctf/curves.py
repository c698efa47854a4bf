"""The one-dimensional spectrum of a view with its rings brought together, and how well it fits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltwright.engine.ctf.fit import ENVELOPES_A2, Fit, FitData, refine
from tiltwright.engine.ctf.model import Defocus, Optics
from tiltwright.engine.ctf.spectra import ViewSpectra

Floats = npt.NDArray[np.float64]
_LEAST_CORRELATION = 0.5


@dataclass(frozen=True)
class RadialFit:
    """Rings of a view and of its model over the frequency.

    Attributes
    ----------
    frequency : (n_rings,) float64
        1/angstrom.
    measured : (n_rings,) float64
        Flattened power, rings of all directions and tiles shifted onto those of the mean defocus.
    model : (n_rings,) float64
    score : float
        Correlation of the two.
    resolution_a : float
        Period up to which they go together; the longest fitted one where they never do.
    """

    frequency: Floats
    measured: Floats
    model: Floats
    score: float
    resolution_a: float


def radial_fit(spectra: ViewSpectra, fit: Fit, optics: Optics, hand: int) -> RadialFit:
    """Average the spectra of a view along lines of equal phase (doi:10.1016/j.jsb.2015.08.008)."""
    frequency = spectra.frequency
    s2 = frequency**2
    mean, cos, sin, shift = fit.p
    x = 2 * (frequency - frequency[0]) / (frequency[-1] - frequency[0]) - 1
    smooth = np.polynomial.chebyshev.chebvander(x, len(fit.linear) - 2) @ fit.linear[:-1]
    k1, k4 = optics.per_defocus, optics.per_s4
    wanted = k1 * mean * s2 - k4 * s2**2
    total, weight = np.zeros(len(s2)), np.zeros(len(s2))
    ratio = spectra.ratio - smooth
    for g, offset in enumerate(spectra.offset_a):
        for a, theta in enumerate(spectra.theta):
            w = spectra.weight[g, a]
            d = mean + hand * offset + cos * math.cos(2 * theta) + sin * math.sin(2 * theta)
            if d <= 0 or not w.any():
                continue
            under = np.maximum((k1 * d) ** 2 - 4 * k4 * wanted, 0)
            there = 2 * wanted / (k1 * d + np.sqrt(under))
            inside = (there >= spectra.s2[a, 0]) & (there <= spectra.s2[a, -1])
            values = np.interp(there, spectra.s2[a], ratio[g, a])
            w = np.interp(there, spectra.s2[a], w) * inside
            total += w * values
            weight += w
    measured = total / np.maximum(weight, 1e-9)
    constant = optics.constant(shift)
    model = -fit.linear[-1] * np.exp(-fit.b_a2 * s2) * np.cos(2 * (wanted + constant))
    there = weight > 0
    score = _correlation(measured[there], model[there])
    return RadialFit(
        frequency, measured, model, score, _resolution(frequency, measured, model, wanted)
    )


def fit_at(data: FitData, defocus: Defocus, optics: Optics, hand: int) -> Fit:
    """Amplitude, envelope and smooth remainder of a view at a given defocus."""
    p = np.array([*defocus.components, defocus.phase_shift_deg])
    held = (False, False, False, False)
    fits = [refine(data, optics, p, free=held, hand=hand, b_a2=b, n_steps=0) for b in ENVELOPES_A2]
    return max(fits, key=lambda fit: fit.log_ratio)


def curve_at(spectra: ViewSpectra, defocus: Defocus, optics: Optics, hand: int) -> RadialFit:
    """How well a given defocus fits a view: for what a person sets or another program found."""
    return radial_fit(spectra, fit_at(FitData.of(spectra), defocus, optics, hand), optics, hand)


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm > 0 else 0.0


def _resolution(frequency: Floats, measured: Floats, model: Floats, phase: Floats) -> float:
    """Period up to which the correlation within two rings on either side stays above a half.

    Of the longest stretch of such rings: where particles or gold have rings of their own at long
    periods, it begins behind those. Gaps of half a window are overlooked.
    """
    best = (0, 0)
    n, end = 0, 0
    for i in range(len(frequency)):
        near = np.abs(phase - phase[i]) < 2 * math.pi
        if near.sum() < 6 or _correlation(measured[near], model[near]) < _LEAST_CORRELATION:
            continue
        gap = max(4, near.sum() // 2)
        n, end = (n + 1 if i - end <= gap else 1), i
        # A short stretch is chance, except from the longest period on.
        if end == n - 1 or n > gap:
            best = max(best, (n, end))
    return float(1 / frequency[best[1]])


def defocus_of(fit: Fit) -> Defocus:
    """The defocus of a fit."""
    mean, cos, sin, shift = (float(x) for x in fit.p)
    return Defocus.of_components(mean, cos, sin, shift)
