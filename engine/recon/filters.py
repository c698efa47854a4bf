"""The weighting of views for back-projection: radial filter and angular weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from tiltwright.engine.errors import InputError

Float32s = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


def angular_weights(tilt_deg: npt.ArrayLike) -> Floats:
    """The tilt range that each view stands for, radians.

    Half the gap to either neighbour; the outermost views stand for as much outwards as inwards,
    and views at the same tilt share theirs. A single view has weight 1.

    Parameters
    ----------
    tilt_deg : (n_views,)
        In any order.

    Returns
    -------
    (n_views,) float64
    """
    tilt = np.deg2rad(np.asarray(tilt_deg, np.float64))
    values, which, count = np.unique(np.round(tilt, 5), return_inverse=True, return_counts=True)
    if len(values) < 2:
        return np.full(len(tilt), 1.0 / max(len(tilt), 1))
    gap = np.diff(values)
    span = (np.r_[gap[0], gap] + np.r_[gap, gap[-1]]) / 2
    weights: Floats = (span / count)[which]
    return weights


def radial_filter(n: int, cutoff: float, falloff: float) -> Floats:
    """Ramp filter at the frequencies of ``rfft`` of length ``n``.

    Parameters
    ----------
    n : int
    cutoff : float
        Up to here the ramp is unchanged, cycles/pixel.
    falloff : float
        Sigma of the Gaussian beyond, cycles/pixel; 0 cuts off sharply.

    Returns
    -------
    (n // 2 + 1,) float64
    """
    if not (cutoff > 0 and falloff >= 0):
        raise InputError(f"radial filter: cutoff {cutoff} and falloff {falloff} are impossible")
    k = np.fft.rfftfreq(n)
    beyond = np.maximum(k - cutoff, 0)
    edge = np.exp(-0.5 * (beyond / falloff) ** 2) if falloff else beyond == 0
    result: Floats = k * edge
    return result


def hamming_window(k: npt.NDArray[Any], start: float) -> Floats:
    """1 up to the frequency ``start``, then falling as a Hamming window to 0.08 at 0.5."""
    if not 0 <= start <= 0.5:
        raise InputError(f"Hamming window: start {start} is not within 0 and 0.5")
    beyond = np.clip((k - start) / max(0.5 - start, 1e-9), 0, 1)
    result: Floats = 0.54 + 0.46 * np.cos(np.pi * beyond)
    return result


def iteration_window(k: npt.NDArray[Any], n: int, reach: float, least: float) -> Floats:
    """The part of frequency ``k`` that ``n`` iterations of SIRT recover.

    Each iteration recovers the part ``h`` of what is missing, ``1 - (1 - h)^n`` after ``n``
    (Zeng 2012, doi:10.1118/1.3673956). The views that contribute at ``k`` are those within
    ``1 / (k path)`` of its direction, so that ``h = 1 / (k path range)``, at most 1 (all views)
    and at least that of a single one.

    Parameters
    ----------
    k : (n,)
        Cycles/pixel.
    n : int
    reach : float
        Path of the rays through the volume times the range of tilts, pixels x radians.
    least : float
        ``h`` of a single view, 1 / number of views.
    """
    part = np.clip(1 / np.maximum(k * reach, 1e-12), min(least, 1.0), 1.0)
    result: Floats = 1 - (1 - part) ** n
    return result


class RowFilter:
    """Filters views along their first axis and samples them finer.

    The ends are joined by a linear ramp in the padding, so that no step is filtered; finer samples
    come from zeros added in Fourier space (doi:10.1007/978-0-387-69008-7_9 for the filter).
    Linear interpolation between the samples will damp a frequency ``k`` by ``sinc(k)^2``; the gain
    makes up for it. Of white noise, which is the worst case, the error of a tomogram is then 4 %
    at two samples per pixel (8 % without), and 22 % at one (29 %).

    Parameters
    ----------
    n : int
        Samples of a view across the tilt axis.
    cutoff, falloff : float
        See :func:`radial_filter`.
    super_sampling : int
        Samples per pixel; sample ``i`` lies at pixel ``i / super_sampling``.
    hamming_start : float, optional
        Use :func:`hamming_window` from there instead of cutoff and falloff.
    iterations : (n, reach, least), optional
        Multiply by :func:`iteration_window`.
    """

    def __init__(
        self,
        n: int,
        *,
        cutoff: float = 0.35,
        falloff: float = 0.035,
        super_sampling: int,
        hamming_start: float | None = None,
        iterations: tuple[int, float, float] | None = None,
    ) -> None:
        size = int(fft.next_fast_len(n + n // 4 + 32, real=True))
        size += size % 2 and int(fft.next_fast_len(size + 1, real=True)) - size
        self.n, self.fine = n, n * super_sampling
        self._size, self._fine_size = size, size * super_sampling
        k = np.fft.rfftfreq(size)
        damping = np.sinc(k / super_sampling) ** 2
        if hamming_start is None:
            gain = radial_filter(size, cutoff, falloff)
        else:
            gain = k * hamming_window(k, hamming_start)
        if iterations is not None:
            gain *= iteration_window(k, *iterations)
        gain *= super_sampling / damping
        self._gain = gain.astype(np.float32)[:, None]
        self._join = np.linspace(0, 1, size - n + 2, dtype=np.float32)[1:-1, None]

    def __call__(self, view: Float32s, weight: float) -> Float32s:
        """Filter ``view`` ``(n, n_lines)``, multiplied by ``weight``: ``(fine, n_lines)``."""
        padded = np.empty((self._size, view.shape[1]), np.float32)
        padded[: self.n] = view
        padded[self.n :] = view[-1] + self._join * (view[0] - view[-1])
        spectrum = fft.rfft(padded, axis=0, overwrite_x=True)
        spectrum *= self._gain * np.float32(weight)
        whole = fft.irfft(spectrum, n=self._fine_size, axis=0, overwrite_x=True)
        result: Float32s = whole[: self.fine]
        return result
