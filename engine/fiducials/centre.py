"""Near-optimal centres of beads: a template matched against the measured background.

Maximum likelihood for a known shape in stationary noise of known spectrum: the residual is
correlated with the template and its derivatives divided by the power of the background.
The bound of the tests: Ober, Ram & Ward 2004, doi:10.1016/S0006-3495(04)74193-4
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.fiducials.template import BeadTemplate, Floats, Image, subtract, value

_PHASES = 4
"""Positions within a pixel, per axis, for which the filters are made."""


@dataclass(frozen=True)
class Localised:
    """Centres ``xy`` (n, 2) index coordinates, their ``sigma_px``, ``score`` (amplitude in SD),
    ``amplitude`` (negative for dark beads) and ``ok`` (converged inside the search radius)."""

    xy: Floats
    sigma_px: Floats
    score: Floats
    amplitude: Floats
    ok: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MatchedFilter:
    """Filters that read amplitude and displacement of a bead off a residual.

    Attributes
    ----------
    template : BeadTemplate
    bank : (phases, phases, 3, side, side) float32
        For each position within a pixel (y, x): the template, its derivative by x and by y,
        each over the power of the background; the window's middle pixel is ``side // 2``.
    information : (4,)
        Of amplitude, x, y, and x with y, for a bead of amplitude 1.
    """

    template: BeadTemplate
    bank: Image
    information: Floats


@numba.njit(nogil=True, cache=True)
def _sample(profile, radius, side, phases):  # type: ignore[no-untyped-def]
    """The template and its derivatives by x and y of the centre, sampled at all phases."""
    out = np.zeros((phases, phases, 3, side, side), np.float32)
    for j in range(phases):
        for i in range(phases):
            cx = side // 2 + (i + 0.5) / phases - 0.5
            cy = side // 2 + (j + 0.5) / phases - 0.5
            for y in range(side):
                for x in range(side):
                    dx, dy = x - cx, y - cy
                    r = np.sqrt(dx * dx + dy * dy)
                    if r < radius:
                        t, s = value(profile, r)
                        out[j, i, 0, y, x] = t
                        if r > 1e-9:
                            out[j, i, 1, y, x] = -s * dx / r
                            out[j, i, 2, y, x] = -s * dy / r
    return out


def template_spectra(template: BeadTemplate, side: int) -> npt.NDArray[np.complex64]:
    """Spectra of the template and its derivatives at all positions within a pixel.

    Made once for many views, see :func:`matched_filter`.
    """
    from scipy import fft

    sampled = _sample(template.profile, template.radius_px, side, _PHASES)
    spectra: npt.NDArray[np.complex64] = fft.rfft2(sampled)
    return spectra


def matched_filter(
    template: BeadTemplate, spectra: npt.NDArray[np.complex64], power: Image
) -> MatchedFilter:
    """Match ``template`` against a background of ``power`` ``(side, side // 2 + 1)``."""
    from scipy import fft

    side = power.shape[0]
    bank: Image = fft.irfft2(spectra / power, s=(side, side))
    twice = np.full(power.shape[1], 2.0)
    twice[0] = 1
    if side % 2 == 0:
        twice[-1] = 1
    t, x, y = spectra[0, 0].astype(np.complex128)
    known = twice / power / side**2
    pairs = ((t, t), (x, x), (y, y), (x, y))
    return MatchedFilter(
        template, bank, np.array([np.sum((a * b.conj()).real * known) for a, b in pairs])
    )


def white_filter(template: BeadTemplate, side: int) -> MatchedFilter:
    """Match ``template`` where nothing is known of the background but that its mean varies."""
    power = np.ones((side, side // 2 + 1), np.float32)
    power[0, 0] = np.inf
    return matched_filter(template, template_spectra(template, side), power)


def correlate(image: npt.NDArray[np.floating], kernel: npt.NDArray[np.floating]) -> Floats:
    """Response ``(ny, nx)`` of a filter ``(side, side)`` about each pixel, 0 beyond the image.

    The filter's middle pixel is ``side // 2``.
    """
    from scipy import fft

    (ny, nx), side = image.shape, kernel.shape[0]
    shape = tuple(fft.next_fast_len(n + side, real=True) for n in (ny, nx))
    product = fft.rfft2(image, shape) * fft.rfft2(kernel, shape).conj()
    moved = np.roll(fft.irfft2(product, s=shape), (side // 2, side // 2), (0, 1))
    response: Floats = np.asarray(moved[:ny, :nx], np.float64)
    return response


@numba.njit(nogil=True, cache=True)
def _neighbours(xy, k, reach, out):  # type: ignore[no-untyped-def]
    n = 0
    for j in range(xy.shape[0]):
        if j != k and (xy[j, 0] - xy[k, 0]) ** 2 + (xy[j, 1] - xy[k, 1]) ** 2 < reach * reach:
            out[n] = j
            n += 1
    return n


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@numba.njit(nogil=True, cache=True)
def _window(image, qx, qy, near, xy, amplitude, profile, radius, out):  # type: ignore[no-untyped-def]
    """Copy the window around pixel ``qx, qy`` without the beads ``near`` and without its mean.

    What lies beyond the image is 0; returns the borders of the image within the window.
    """
    side = out.shape[0]
    ox, oy = qx - side // 2, qy - side // 2
    x0, y0 = max(0, -ox), max(0, -oy)
    x1, y1 = min(side, image.shape[1] - ox), min(side, image.shape[0] - oy)
    out[:] = 0
    for y in range(y0, y1):
        out[y, x0:x1] = image[oy + y, ox + x0 : ox + x1]
    if near.size:
        subtract(out, xy[near], amplitude[near], profile, radius, ox, oy)
    level, count = 0.0, 0
    for y in range(y0, y1):
        for x in range(x0, x1):
            if (x - side // 2) ** 2 + (y - side // 2) ** 2 > 0.5 * radius * radius:
                level += out[y, x]
                count += 1
    mean = np.float32(level / max(count, 1))
    for y in range(y0, y1):
        for x in range(x0, x1):
            out[y, x] -= mean
    out[:y0] = 0
    out[y1:] = 0
    out[:, :x0] = 0
    out[:, x1:] = 0
    return x0, x1, y0, y1


@numba.njit(nogil=True, cache=True)
def _seen(table, profile, radius, cx, cy, x0, x1, y0, y1):  # type: ignore[no-untyped-def]
    """What the three filters of ``table`` say of a bead of amplitude 1 at ``cx, cy``."""
    s0 = s1 = s2 = 0.0
    for y in range(max(y0, int(np.ceil(cy - radius))), min(y1, int(cy + radius) + 1)):
        for x in range(max(x0, int(np.ceil(cx - radius))), min(x1, int(cx + radius) + 1)):
            r2 = (x - cx) ** 2 + (y - cy) ** 2
            if r2 < radius * radius:
                t = value(profile, np.sqrt(r2))[0]
                s0 += t * table[0, y, x]
                s1 += t * table[1, y, x]
                s2 += t * table[2, y, x]
    return s0, s1, s2


@numba.njit(nogil=True, cache=True)
def _fit(image, xy, profile, radius, search, bank, info, out, amp, ok):  # type: ignore[no-untyped-def]
    """Fit every bead with its neighbours subtracted; three sweeps settle the overlaps."""
    ny, nx = image.shape
    side, phases = bank.shape[3], bank.shape[0]
    half = side // 2
    indices = np.empty(xy.shape[0], np.int64)
    clean = np.empty((side, side), np.float32)
    flat = clean.reshape(side * side)
    det = info[1] * info[2] - info[3] * info[3]
    for sweep in range(3):
        for k in range(xy.shape[0]):
            near = indices[: _neighbours(xy, k, half + radius, indices)]
            if sweep > 0 and near.size == 0:
                continue
            cx, cy, a = out[k, 0], out[k, 1], amp[k]
            qx = qy = i = j = -(10**9)
            x0 = x1 = y0 = y1 = 0
            c0 = c1 = c2 = 0.0
            table = bank[0, 0]
            still = False
            ok[k] = False
            for it in range(16):
                # window and filter stand still in the end: at their borders they would cycle
                if not still:
                    px, py = int(np.rint(cx)), int(np.rint(cy))
                    if px < 0 or py < 0 or px >= nx or py >= ny:
                        break
                    moved = px != qx or py != qy
                    if moved:
                        qx, qy = px, py
                        x0, x1, y0, y1 = _window(
                            image, qx, qy, near, out, amp, profile, radius, clean
                        )
                    pi = min(int((cx - qx + 0.5) * phases), phases - 1)
                    pj = min(int((cy - qy + 0.5) * phases), phases - 1)
                    if moved or pi != i or pj != j:
                        i, j = pi, pj
                        table = bank[j, i]
                        c0 = _dot(flat, table[0].reshape(side * side))
                        c1 = _dot(flat, table[1].reshape(side * side))
                        c2 = _dot(flat, table[2].reshape(side * side))
                # beyond the image the model is believed: no residual there
                s0, s1, s2 = _seen(
                    table, profile, radius, cx - qx + half, cy - qy + half, x0, x1, y0, y1
                )
                a += (c0 - a * s0) / info[0]
                # nothing is left where the same bead is given twice
                if a == 0.0:
                    break
                gx, gy = c1 / a - s1, c2 / a - s2
                sx = min(max((info[2] * gx - info[3] * gy) / det, -0.7), 0.7)
                sy = min(max((info[1] * gy - info[3] * gx) / det, -0.7), 0.7)
                cx += sx
                cy += sy
                if (cx - xy[k, 0]) ** 2 + (cy - xy[k, 1]) ** 2 > search * search:
                    break
                step = sx * sx + sy * sy
                if still and step < 1e-6:
                    ok[k] = True
                    break
                still = still or step < 1e-3 or it > 5
            if ok[k]:
                out[k, 0], out[k, 1], amp[k] = cx, cy, a
            else:
                out[k, 0], out[k, 1], amp[k] = xy[k, 0], xy[k, 1], 0.0


def localise(
    image: Image,
    xy_guess: Floats,
    matched: MatchedFilter,
    *,
    search_px: float = 3.0,
    others_xy: Floats | None = None,
) -> Localised:
    """Centre beads in one view by a matched filter.

    Parameters
    ----------
    image : (ny, nx) float32
        As :func:`~tiltwright.engine.fiducials.background.stabilise` makes it.
    xy_guess : (n, 2) index coordinates; a NaN row comes back as NaN and not ``ok``
    search_px : farthest that a centre may move from its guess
    others_xy : (m, 2) beads outside the model that are fitted and subtracted as well

    Raises
    ------
    InputError
        When an array has the wrong shape.
    """
    guess = np.asarray(xy_guess, dtype=np.float64)
    if image.ndim != 2 or guess.ndim != 2 or guess.shape[1] != 2:
        raise InputError(f"image {image.shape} and positions {guess.shape}: want (ny, nx), (n, 2)")
    n = len(guess)
    good = np.flatnonzero(np.isfinite(guess).all(axis=1))
    xy = guess[good]
    if others_xy is not None and len(others_xy):
        other = np.asarray(others_xy, dtype=np.float64)
        other = other[np.isfinite(other).all(axis=1)]
        if len(xy):
            gap = np.hypot(*(other[:, None] - xy[None]).transpose(2, 0, 1)).min(axis=1)
            other = other[gap > max(search_px, 1.0)]  # the same beads given again
        xy = np.concatenate([xy, other])
    template, info = matched.template, matched.information
    out, amp, settled = xy.copy(), np.zeros(len(xy)), np.zeros(len(xy), np.bool_)
    _fit(
        np.ascontiguousarray(image, np.float32), xy, template.profile, template.radius_px,
        search_px, matched.bank, info, out, amp, settled,
    )  # fmt: skip
    m = len(good)
    ok = np.zeros(n, np.bool_)
    ok[good] = settled[:m]
    centre, amplitude = np.full((n, 2), np.nan), np.zeros(n)
    centre[good], amplitude[good] = out[:m], amp[:m]
    det = info[1] * info[2] - info[3] ** 2
    spread = np.sqrt(0.5 * (info[1] + info[2]) / det)
    with np.errstate(divide="ignore"):
        sigma = np.where(ok, spread / np.abs(amplitude), np.inf)
    return Localised(centre, sigma, np.abs(amplitude) * np.sqrt(info[0]), amplitude, ok)
