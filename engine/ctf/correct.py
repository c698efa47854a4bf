"""Correction of the CTF of tilted views, at the defocus of every place across the tilt.

The view is filtered as a whole at a few levels of defocus, and each pixel takes the levels that lie
nearest to its own. With a narrow ramp between the levels these are the strips that users know
(Xiong et al. 2009, https://doi.org/10.1016/j.jsb.2009.08.016); with a ramp as wide as the levels
are apart it is a linear interpolation in defocus, which has no seams.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import fft

from tiltwright.engine.ctf.model import Defocus, Optics, wavelength_a
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.interpolate import finite_mean
from tiltwright.engine.progress import SILENT, Monitor

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Method = Literal["flip", "multiply", "wiener"]
_METHODS: dict[str, int] = {"flip": 0, "multiply": 1, "wiener": 2}
_STEP_RAD = 1.5
_MOST_LEVELS = 200
_MOST_MARGIN_PX = 256


@dataclass(frozen=True)
class Correction:
    """How the CTF is corrected.

    Attributes
    ----------
    method : 'flip', 'multiply' or 'wiener'
        Signs of the CTF; the CTF itself; ``CTF (1 + 1/snr) / (CTF^2 + 1/snr)``. The mean of a
        view stays as it is.
    tolerance_a : float
        How far the defocus may change from one level to the next, angstrom.
    ramp_px : float, optional
        Width in pixels over which one strip goes over into the next; ``None`` interpolates
        smoothly, with levels so near that the phase at Nyquist changes by less than 1.5 rad.
    snr : float
        Signal to noise (power) of the Wiener filter.
    """

    method: Method = "flip"
    tolerance_a: float = 2000.0
    ramp_px: float | None = None
    snr: float = 4.0

    def check(self) -> None:
        """Raise :class:`InputError` naming the first impossible value."""
        if self.method not in _METHODS:
            raise InputError(f"CTF correction: method {self.method!r} is not known")
        if not self.tolerance_a > 0 or not self.snr > 0:
            raise InputError(
                f"CTF correction: defocus tolerance {self.tolerance_a:g} Å and SNR {self.snr:g} "
                "must be above 0"
            )
        if self.ramp_px is not None and not self.ramp_px >= 0:
            raise InputError(f"CTF correction: interpolation width {self.ramp_px:g} is below 0")


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _transfer(
    spectrum: Any, ky: Any, kx: Any, terms: Any, method: int, noise: Any, out: Any
) -> None:
    """``out = spectrum x filter``; ``terms``: defocus, astigmatism cos and sin, s^4, constant.

    All in units of pi per squared frequency; ``noise`` is 1/snr.
    """
    mean, cos, sin, fourth, constant = terms[0], terms[1], terms[2], terms[3], terms[4]
    half, one, two = np.float32(0.5), np.float32(1.0), np.float32(2.0)
    c1, c3, c5 = np.float32(3.14159265), np.float32(-5.16771278), np.float32(2.55016404)
    c7, c9 = np.float32(-0.59926453), np.float32(0.08214589)
    for j in range(ky.size):
        y = ky[j]
        for i in range(kx.size):
            x = kx[i]
            s2 = x * x + y * y
            p = mean * s2 + cos * (x * x - y * y) + two * sin * x * y - fourth * s2 * s2 + constant
            whole = np.floor(p + half)
            r = p - whole
            odd = whole - two * np.floor(whole * half)
            sign = one - two * odd
            if method == 0:
                # sin(pi p) is negative where the rest and the parity disagree.
                f = sign if r >= 0 else -sign
            else:
                r2 = r * r
                f = sign * r * (c1 + r2 * (c3 + r2 * (c5 + r2 * (c7 + r2 * c9))))
                if method == 2:
                    f = f * (one + noise) / (f * f + noise)
            out[j, i] = spectrum[j, i] * f


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _blend(part: Any, first: int, slope: Any, zero: Any, edges: Any, ramp: Any, out: Any) -> None:
    """Add rows ``part`` (from ``first``), weighted by how near their defocus is to the level.

    The weight is 1 between the ``edges``, and falls to 0 over ``ramp`` about each of them.
    """
    none, one, half = np.float32(0.0), np.float32(1.0), np.float32(0.5)
    inverse = one / ramp
    for j in range(part.shape[0]):
        y = first + j
        start = zero + slope[1] * np.float32(y)
        for i in range(part.shape[1]):
            d = start + slope[0] * np.float32(i)
            low = min(max((d - edges[0]) * inverse + half, none), one)
            high = min(max((edges[1] - d) * inverse + half, none), one)
            out[y, i] += (low + high - one) * part[j, i]


def _padded(image: Image, margin: int) -> Image:
    """The image continued periodically: its edges go over into each other across the margin."""
    shape = [int(fft.next_fast_len(n + margin, real=True)) for n in image.shape]
    ny, nx = image.shape
    out = np.empty(shape, np.float32)
    out[:ny, :nx] = image
    for axis, n in ((1, nx), (0, ny)):
        m = shape[axis] - n
        w = (np.arange(1, m + 1, dtype=np.float32) / np.float32(m + 1))[:, None]
        rows = out.T if axis == 1 else out
        part = rows[:, :ny] if axis == 1 else rows
        part[n:] = (1 - w) * part[n - 1] + w * part[0]
    return out


def correct_view(
    image: npt.NDArray[Any],
    pixel_size_a: float,
    defocus: Defocus,
    optics: Optics,
    slope_a: npt.ArrayLike,
    centre_xy: npt.ArrayLike,
    correction: Correction,
    monitor: Monitor = SILENT,
) -> Image:
    """Correct one view, in the calling thread.

    Parameters
    ----------
    image : (ny, nx)
        Values that are not finite count as the mean.
    pixel_size_a : float
        Angstrom.
    defocus : Defocus
        At ``centre_xy``.
    slope_a : (x, y)
        Change of defocus per pixel, angstrom (``model.defocus_slopes``, with the hand in it).
    centre_xy : (x, y)
        Index position of the specimen's origin.
    monitor : Monitor
        Asked at each level of defocus whether to stop.

    Returns
    -------
    (ny, nx) float32

    Raises
    ------
    InputError
        Impossible settings, or a defocus that is not finite.
    Cancelled
    """
    correction.check()
    slope, centre = np.array(slope_a, np.float64), np.array(centre_xy, np.float64)
    mean, cos, sin = defocus.components
    if not np.isfinite([mean, cos, sin, defocus.phase_shift_deg, *slope, *centre]).all():
        raise InputError("CTF correction: a defocus that is not a finite number")
    data = np.asarray(image, np.float32)
    # Strips along the rows need fewer rows of each level; x and y change places for that.
    turned = abs(slope[0]) > abs(slope[1])
    if turned:
        data, slope, centre, cos = data.T, slope[::-1], centre[::-1], -cos
    data = np.ascontiguousarray(data)
    level = finite_mean(data)
    if not np.isfinite(data.sum(dtype=np.float64)):
        data = np.where(np.isfinite(data), data, np.float32(level))
    out = _corrected(data - np.float32(level), pixel_size_a, (mean, cos, sin), defocus, optics,
                     slope, centre, correction, monitor)  # fmt: skip
    out += np.float32(level)
    return np.ascontiguousarray(out.T) if turned else out


def _corrected(
    data: Image,
    pixel: float,
    components: tuple[float, float, float],
    defocus: Defocus,
    optics: Optics,
    slope: Floats,
    centre: Floats,
    correction: Correction,
    monitor: Monitor,
) -> Image:
    ny, nx = data.shape
    mean, cos, sin = components
    zero = -float(slope @ centre)
    corners = [zero + slope[0] * x + slope[1] * y for x in (0, nx - 1) for y in (0, ny - 1)]
    low, high = min(corners), max(corners)
    reach = wavelength_a(optics.voltage_kv) * (abs(mean) + max(abs(low), abs(high)))
    margin = min(int(1.5 * reach / (2 * pixel**2)) + 16, _MOST_MARGIN_PX)
    padded = _padded(data, margin)
    height, width = padded.shape
    spectrum = fft.rfft2(padded)
    ky = fft.fftfreq(height, pixel).astype(np.float32)
    kx = fft.rfftfreq(width, pixel).astype(np.float32)
    buffer = np.empty_like(spectrum)
    out = np.zeros_like(data)
    step = correction.tolerance_a
    if correction.ramp_px is None:
        step = min(step, _STEP_RAD / (optics.per_defocus * (0.5 / pixel) ** 2))
    n = min(max(1, math.ceil((high - low) / step)), _MOST_LEVELS)
    step = (high - low) / n
    ramp = max(step, 1e-3)
    if correction.ramp_px is not None:
        ramp = min(max(correction.ramp_px * float(np.hypot(*slope)), 1e-3), ramp)
    unit = 1 / math.pi
    for i in range(n):
        monitor.check()
        at = low + (i + 0.5) * step
        terms = np.array([
            optics.per_defocus * (mean + at) * unit, optics.per_defocus * cos * unit,
            optics.per_defocus * sin * unit, optics.per_s4 * unit,
            optics.constant(defocus.phase_shift_deg) * unit,
        ], np.float32)  # fmt: skip
        _transfer(
            spectrum, ky, kx, terms, _METHODS[correction.method],
            np.float32(1 / correction.snr), buffer,
        )  # fmt: skip
        edges = [at - step / 2 if i else -1e9, at + step / 2 if i < n - 1 else 1e9]
        first, last = _reached(edges, ramp, slope, zero, (ny, nx))
        if first >= last:
            continue
        rows = fft.ifft(buffer, axis=0)[first:last]
        part = fft.irfft(rows, n=width, axis=1)[:, :nx]
        _blend(
            part, first, slope.astype(np.float32), np.float32(zero), np.array(edges, np.float32),
            np.float32(ramp), out,
        )  # fmt: skip
    return out


def _reached(
    edges: list[float], ramp: float, slope: Floats, zero: float, shape: tuple[int, int]
) -> tuple[int, int]:
    """First row, and the one after the last, that a level has a part in."""
    ny, nx = shape
    if slope[1] == 0:
        return 0, ny
    ends = []
    for edge, side in ((edges[0], -ramp / 2), (edges[1], ramp / 2)):
        for x in (0, nx - 1):
            ends.append((edge + side - zero - slope[0] * x) / slope[1])
    return max(0, math.floor(min(ends))), min(ny, math.ceil(max(ends)) + 1)


def correct_stack(
    stack: Any,
    pixel_size_a: float,
    defocus: dict[int, Defocus],
    optics: Optics,
    slopes_a: Floats,
    centres_xy: Floats,
    correction: Correction,
    write: Callable[[int, Image], None],
    *,
    threads: int = 2,
    monitor: Monitor = SILENT,
) -> None:
    """Correct the views of a stack ``(n_views, ny, nx)`` and hand each to ``write(view, image)``.

    Parameters
    ----------
    defocus : mapping
        View to its defocus; views without one are handed on as they are.
    slopes_a, centres_xy : (n_views, 2)
        As of :func:`correct_view`.
    write : callable
        Called in the order of the views, in the calling thread.

    Raises
    ------
    InputError
        As :func:`correct_view`.
    Cancelled
    """
    correction.check()
    n = len(stack)

    def one(v: int) -> Image:
        image = np.asarray(stack[v])
        if v not in defocus:
            return image.astype(np.float32)
        return correct_view(
            image, pixel_size_a, defocus[v], optics, slopes_a[v], centres_xy[v], correction,
            monitor,
        )  # fmt: skip

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        waiting = [pool.submit(one, v) for v in range(min(threads + 1, n))]
        try:
            for v in range(n):
                monitor.step(v, n, "correcting the CTF")
                image = waiting.pop(0).result()
                if v + threads + 1 < n:
                    waiting.append(pool.submit(one, v + threads + 1))
                write(v, image)
        finally:
            for task in waiting:
                task.cancel()
    monitor.step(n, n, "corrected")
