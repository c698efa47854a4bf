"""The fit of a CTF to the spectra of one view: a search, and a least-squares refinement.

The flattened spectrum is modelled as a smooth remainder (Chebyshev polynomials of the frequency)
minus ``amplitude x exp(-B s^2) x cos 2 phase``, since ``CTF^2 = (1 - cos 2 phase) / 2``; each group
of tiles has its own defocus by the known tilt. The linear coefficients are solved for each trial
(variable projection), and no amplitude below zero is believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tiltwright.engine.ctf.model import Optics
from tiltwright.engine.ctf.spectra import ViewSpectra

Floats = npt.NDArray[np.float64]
N_SMOOTH = 5
ENVELOPES_A2 = (0.0, 80.0, 200.0, 450.0)
N_PARAMETERS = 4  # mean defocus, astigmatism times cos and sin, phase shift
_N_LINEAR = N_SMOOTH + 1
_INDEPENDENT = 0.4
"""Part of the values that is independent: neighbouring rings share the window's leakage."""


@dataclass(frozen=True)
class FitData:
    """Spectra of one view as flat lists of samples, for the kernels.

    Attributes
    ----------
    value, weight, s2, cos, sin, offset_a : (n,) float64
        Flattened power, weight, squared frequency, cosine and sine of twice the direction,
        defocus offset (``hand = 1``).
    smooth : (n, N_SMOOTH) float64
    """

    value: Floats
    weight: Floats
    s2: Floats
    cos: Floats
    sin: Floats
    offset_a: Floats
    smooth: Floats

    @classmethod
    def of(cls, spectra: ViewSpectra, sectors: bool = True) -> FitData:
        """Samples of a view; without ``sectors`` averaged over the directions."""
        ratio, weight = spectra.ratio, spectra.weight
        s2 = np.broadcast_to(spectra.s2, ratio.shape)
        theta = np.broadcast_to(spectra.theta[:, None], ratio.shape)
        if not sectors:
            total = np.maximum(weight.sum(1, keepdims=True), 1e-9)
            ratio = (ratio * weight).sum(1, keepdims=True) / total
            s2 = (s2 * weight).sum(1, keepdims=True) / total
            weight, theta = total, np.zeros_like(ratio)
        offset = np.broadcast_to(spectra.offset_a[:, None, None], ratio.shape)
        there = weight > 1e-6
        s = np.sqrt(s2[there])
        low, high = spectra.frequency[0], spectra.frequency[-1]
        x = 2 * (s - low) / (high - low) - 1
        flat = weight[there]
        cos = np.cos(2 * theta[there]) if sectors else np.zeros(len(s))
        sin = np.sin(2 * theta[there]) if sectors else np.zeros(len(s))
        return cls(
            ratio[there], flat / flat.mean(), s2[there].copy(), cos, sin, offset[there].copy(),
            np.ascontiguousarray(np.polynomial.chebyshev.chebvander(x, N_SMOOTH - 1)),
        )  # fmt: skip

    @property
    def n_independent(self) -> float:
        """Number of independent samples."""
        return len(self.value) * _INDEPENDENT


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _projections(
    value: Any, weight: Any, smooth: Any, envelope: Any, argument: Any, offset_phase: Any, out: Any
) -> None:
    """``out[i] = (r.r, r.value, r.smooth_k)`` for ``r = -envelope cos 2 phase`` of trial ``i``.

    ``argument`` ``(n_trials, 2)``: factor of ``offset_phase[:, 0]``, and constant phase; the
    phase is ``factor offset_phase[:, 0] + offset_phase[:, 1] + constant``.
    """
    n, m = value.size, smooth.shape[1]
    for i in range(argument.shape[0]):
        factor, constant = 2 * argument[i, 0], 2 * argument[i, 1]
        rr = 0.0
        rv = 0.0
        sums = np.zeros(m)
        for j in range(n):
            phase = factor * offset_phase[j, 0] + 2 * offset_phase[j, 1] + constant
            r = -envelope[j] * np.cos(phase)
            wr = weight[j] * r
            rr += wr * r
            rv += wr * value[j]
            for k in range(m):
                sums[k] += wr * smooth[j, k]
        out[i, 0], out[i, 1] = rr, rv
        out[i, 2:] = sums


def search(
    data: FitData, optics: Optics, defocus_a: Floats, phases_deg: Floats, hand: int, b_a2: float
) -> Floats:
    """Log likelihood ratio of each trial against no rings, ``(n_phases, n_defocus)``.

    Negative where the best amplitude is: minus that of rings of reversed contrast.
    """
    trials = np.array([
        [d, optics.constant(p)] for p in phases_deg for d in defocus_a
    ])  # fmt: skip
    k = optics.per_defocus
    offset = np.stack(
        [k * data.s2, hand * data.offset_a * k * data.s2 - optics.per_s4 * data.s2**2], -1
    )
    envelope = np.exp(-b_a2 * data.s2)
    out = np.empty((len(trials), 2 + N_SMOOTH))
    _projections(data.value, data.weight, data.smooth, envelope, trials, offset, out)
    weighted = data.smooth * data.weight[:, None]
    inverse = np.linalg.inv(data.smooth.T @ weighted)
    plain = weighted.T @ data.value
    rss0 = float((data.weight * data.value**2).sum() - plain @ inverse @ plain)
    sums = out[:, 2:]
    rr = out[:, 0] - np.einsum("ij,jk,ik->i", sums, inverse, sums)
    rv = out[:, 1] - sums @ inverse @ plain
    gain = rv**2 / np.maximum(rr, 1e-12)
    ratio = -0.5 * data.n_independent * np.log1p(-np.minimum(gain / rss0, 1 - 1e-9)) * np.sign(rv)
    return np.asarray(ratio.reshape(len(phases_deg), len(defocus_a)))


@dataclass(frozen=True)
class Fit:
    """A refined fit of one view.

    Attributes
    ----------
    p : (4,) float64
        Mean defocus, astigmatism components (``Defocus.components``), angstrom; phase, degrees.
    information : (4, 4) float64
        Inverse covariance of ``p``; zero rows for what was held fixed.
    log_ratio : float
        Log likelihood against no rings.
    linear : (N_SMOOTH + 1,) float64
        Smooth remainder and amplitude.
    b_a2 : float
        Envelope.
    """

    p: Floats
    information: Floats
    log_ratio: float
    linear: Floats
    b_a2: float


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _normal(
    value: Any, weight: Any, s2: Any, cos: Any, sin: Any, offset: Any, smooth: Any, setting: Any,
    p: Any, amplitude: float, normal: Any, right: Any,
) -> float:  # fmt: skip
    """Normal equations of linear and non-linear parameters about ``p``; the sum of squares.

    ``setting``: pi lambda, s^4 factor, amplitude contrast's phase, B.
    """
    k1, k4, constant, b = setting[0], setting[1], setting[2], setting[3]
    m = smooth.shape[1]
    size = m + 5
    row = np.empty(size)
    normal[:] = 0
    right[:] = 0
    degree = np.pi / 180
    total = 0.0
    for j in range(value.size):
        t = k1 * s2[j]
        d = p[0] + offset[j] + p[1] * cos[j] + p[2] * sin[j]
        phase = 2 * (t * d - k4 * s2[j] * s2[j] + constant + p[3] * degree)
        e = np.exp(-b * s2[j])
        slope = 2 * amplitude * e * np.sin(phase)
        for k in range(m):
            row[k] = smooth[j, k]
        row[m] = -e * np.cos(phase)
        row[m + 1] = slope * t
        row[m + 2] = slope * t * cos[j]
        row[m + 3] = slope * t * sin[j]
        row[m + 4] = slope * degree
        w, y = weight[j], value[j]
        total += w * y * y
        for a in range(size):
            wa = w * row[a]
            right[a] += wa * y
            for c in range(a + 1):
                normal[a, c] += wa * row[c]
    for a in range(size):
        for c in range(a):
            normal[c, a] = normal[a, c]
    return total


def refine(
    data: FitData,
    optics: Optics,
    start: Floats,
    *,
    free: tuple[bool, bool, bool, bool],
    hand: int,
    b_a2: float,
    prior: tuple[Floats, Floats] | None = None,
    n_steps: int = 12,
) -> Fit:
    """Refine a fit by Levenberg-Marquardt steps on the variable projection.

    Parameters
    ----------
    start : (4,)
        As ``Fit.p``.
    free : which of the four are refined
    prior : (mean (4,), information (4, 4)), optional
    """
    setting = np.array([optics.per_defocus, optics.per_s4, optics.constant(), b_a2])
    loose = np.flatnonzero(np.array(free))
    scale = np.array([100.0, 100.0, 100.0, 5.0])[loose]
    m = N_SMOOTH
    normal, right = np.empty((m + 5, m + 5)), np.empty(m + 5)
    offset = hand * data.offset_a

    def normals(p: Floats, amplitude: float) -> float:
        return float(
            _normal(
                data.value, data.weight, data.s2, data.cos, data.sin, offset, data.smooth, setting,
                p, amplitude, normal, right,
            )
        )  # fmt: skip

    def evaluate(p: Floats) -> tuple[float, float, Floats, Floats, Floats]:
        """Misfit, log ratio, linear coefficients, gradient and curvature of the misfit."""
        total = normals(p, 1.0)
        a = normal[: m + 1, : m + 1] + 1e-9 * np.eye(m + 1)
        linear = np.asarray(np.linalg.solve(a, right[: m + 1]), np.float64)
        plain = np.linalg.solve(a[:m, :m], right[:m])
        rss0 = total - float(plain @ right[:m])
        if linear[m] <= 0:
            linear = np.append(plain, 1e-6)
        amplitude = linear[m]
        # The derivatives are proportional to the amplitude.
        stretch = np.ones(m + 5)
        stretch[m + 1 :] = amplitude
        n_full, r_full = normal * np.outer(stretch, stretch), right * stretch
        rss = max(total - float(linear @ r_full[: m + 1]), 1e-12 * total)
        n_eff = data.n_independent
        sigma2 = rss / n_eff
        gradient: Floats = (r_full[m + 1 :] - n_full[m + 1 :, : m + 1] @ linear) / sigma2
        coupling: Floats = n_full[: m + 1, m + 1 :]
        marginal: Floats = n_full[m + 1 :, m + 1 :] - coupling.T @ np.linalg.solve(
            n_full[: m + 1, : m + 1] + 1e-9 * np.eye(m + 1), coupling
        )
        log_ratio = 0.5 * n_eff * math.log(rss0 / rss)
        misfit = -log_ratio
        curvature: Floats = marginal / sigma2
        if prior is not None:
            off = p - prior[0]
            misfit += 0.5 * float(off @ prior[1] @ off)
            gradient = np.asarray(gradient - prior[1] @ off)
            curvature = curvature + prior[1]
        return misfit, log_ratio, linear, gradient, curvature

    p = np.array(start, np.float64)
    misfit, log_ratio, linear, gradient, curvature = evaluate(p)
    damping = 1e-3
    for _ in range(n_steps):
        h = curvature[np.ix_(loose, loose)] + np.diag(1e-9 / scale**2)
        step = np.linalg.solve(h + damping * np.diag(np.diag(h)), gradient[loose])
        trial = p.copy()
        trial[loose] += np.clip(step, -5 * scale, 5 * scale)
        new = evaluate(trial)
        if new[0] < misfit:
            small = float(np.abs(step / scale).max()) < 1e-3
            p, (misfit, log_ratio, linear, gradient, curvature) = trial, new
            damping = max(damping / 5, 1e-6)
            if small:
                break
        else:
            damping *= 8
            if damping > 1e6:
                break
    information = np.zeros((4, 4))
    data_only = curvature if prior is None else curvature - prior[1]
    information[np.ix_(loose, loose)] = data_only[np.ix_(loose, loose)]
    return Fit(p, information, log_ratio, linear, b_a2)
