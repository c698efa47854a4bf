"""The power spectrum of a tilted view as a picture, its model, and the lines of its rings.

A picture is ``(2 reach + 1, 2 reach + 1)`` with zero frequency in the middle, row 0 at the bottom
like that of the image; a pixel is one Fourier pixel of a tile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tiltwright.engine.ctf.model import Defocus, Optics, phase
from tiltwright.engine.ctf.spectra import Tiles, defocus_groups, smooth_background

Floats = npt.NDArray[np.float64]
Picture = npt.NDArray[np.float32]
_ARC_RAD, _ARC_PX, _ARC_MOST_RAD = math.radians(12.0), 10.0, 0.8
"""Half width of the arcs that are averaged to make faint rings visible; longer near the middle."""
_GAIN_PX = 8
_ROOT_OF_NORMAL = 0.676
"""Square of the mean root of the size of a normal deviate."""
_BACKGROUND_RINGS = 12


@dataclass(frozen=True)
class Planes:
    """Mean half transforms of the tiles of nearly equal defocus.

    Attributes
    ----------
    power : (n_groups, 2 reach + 1, reach + 1) float32
        ``[group, reach + ky, kx]``.
    n_tiles, offset_a : (n_groups,) float64
        Defocus minus that of the specimen's origin for ``hand = 1``.
    step : float
        Frequency of one pixel, 1/angstrom.
    lowest : int
        Fourier pixels about zero frequency that are not shown.
    """

    power: npt.NDArray[np.float32]
    n_tiles: Floats
    offset_a: Floats
    step: float
    lowest: int

    @property
    def reach(self) -> int:
        """Fourier pixels from the middle to the edge."""
        return int(self.power.shape[2]) - 1

    @classmethod
    def of(cls, tiles: Tiles, group_a: float, step: float, lowest: int) -> Planes:
        """Average the planes of tiles whose defocus differs by less than ``group_a``."""
        group, mean = defocus_groups(tiles.offset_a, group_a)
        shape = tiles.planes[0].shape
        power = np.zeros((len(mean), *shape), np.float32)
        for g, plane in zip(group, tiles.planes, strict=True):
            power[g] += plane
        number = np.bincount(group).astype(np.float64)
        power /= number[:, None, None].astype(np.float32)
        return cls(power, number, mean, step, max(lowest, 1))


@njit(nogil=True, cache=True)
def _sample(plane: Any, y: float, x: float) -> float:
    """Bilinear; the caller keeps inside."""
    j, i = int(y), int(x)
    j, i = min(j, plane.shape[0] - 2), min(i, plane.shape[1] - 2)
    b, a = y - j, x - i
    low = plane[j, i] * (1 - a) + plane[j, i + 1] * a
    high = plane[j + 1, i] * (1 - a) + plane[j + 1, i + 1] * a
    return float(low * (1 - b) + high * b)


@njit(nogil=True, cache=True)
def _together(
    power: Any, number: Any, offset: Any, components: Any, k1: float, k4: float, step: float,
    out: Any,
) -> None:  # fmt: skip
    """Stretch the planes so that their rings fall onto those of the mean defocus; average."""
    reach = out.shape[1] - 1
    for j in range(out.shape[0]):
        ky = j - reach
        for i in range(out.shape[1]):
            k2 = ky * ky + i * i
            if k2 == 0 or k2 > reach * reach:
                out[j, i] = np.nan
                continue
            s2 = k2 * step * step
            cos, sin = (i * i - ky * ky) / k2, 2.0 * i * ky / k2
            d = components[0] + components[1] * cos + components[2] * sin
            wanted = k1 * d * s2 - k4 * s2 * s2
            total, weight = 0.0, 0.0
            for g in range(power.shape[0]):
                there = k1 * (d + offset[g])
                root = there * there - 4 * k4 * wanted
                below = there + math.sqrt(max(root, 0.0))
                if there <= 0 or wanted <= 0 or root < 0:
                    stretch = 1.0
                else:
                    stretch = math.sqrt(2 * wanted / below / s2)
                y, x = reach + ky * stretch, i * stretch
                if 0 <= y <= 2 * reach and x <= reach:
                    total += number[g] * _sample(power[g], y, x)
                    weight += number[g]
            out[j, i] = total / weight if weight > 0 else np.nan


@njit(nogil=True, cache=True)
def _arcs(plane: Any, arc: float, arc_px: float, arc_most: float, out: Any) -> None:
    """Average along arcs about zero frequency, with raised cosine weights; NaN stays."""
    reach = out.shape[1] - 1
    for j in range(out.shape[0]):
        ky = j - reach
        for i in range(out.shape[1]):
            if np.isnan(plane[j, i]):
                out[j, i] = np.nan
                continue
            r = math.hypot(ky, i)
            angle = math.atan2(ky, i)
            half_rad = max(arc, min(arc_most, arc_px / max(r, 1.0)))
            n = math.ceil(half_rad * r)
            total, weight = 0.0, 0.0
            for k in range(-n, n + 1):
                a = angle + k * half_rad / (n + 1)
                y, x = r * math.sin(a), r * math.cos(a)
                if x < 0:
                    y, x = -y, -x
                value = _sample(plane, reach + y, x)
                if not np.isnan(value):
                    w = 1 + math.cos(math.pi * k / (n + 1))
                    total += w * value
                    weight += w
            out[j, i] = total / weight if weight > 0 else plane[j, i]


def tilt_corrected(planes: Planes, defocus: Defocus, optics: Optics, hand: int) -> Picture:
    """The spectrum of a view, its groups stretched onto the mean defocus, without background.

    Parameters
    ----------
    hand : int
        1 or -1; 0 leaves the groups as they are, as if the view were not tilted.

    Returns
    -------
    (2 reach + 1, 2 reach + 1) float32
        Power over its smooth background, minus 1; NaN outside the circle and about the middle.
    """
    reach = planes.reach
    half = np.empty(planes.power.shape[1:], np.float32)
    _together(
        planes.power, planes.n_tiles, hand * planes.offset_a, np.array(defocus.components),
        optics.per_defocus, optics.per_s4, planes.step, half,
    )  # fmt: skip
    ky, kx = np.mgrid[-reach : reach + 1, 0 : reach + 1]
    radius = np.hypot(ky, kx)
    half[radius < planes.lowest] = np.nan
    there = np.isfinite(half)
    ring = np.rint(radius[there]).astype(np.int64)
    count = np.bincount(ring, minlength=reach + 1)
    mean = np.bincount(ring, half[there], reach + 1) / np.maximum(count, 1)
    known = np.flatnonzero(count)
    if len(known) > _BACKGROUND_RINGS:
        smooth = smooth_background(
            known.astype(np.float64), mean[known], count[known].astype(np.float64)
        )
        # Between the rings' integer radii, so that no steps are seen.
        half = (half / np.interp(radius, known, smooth) - 1).astype(np.float32)
    return _whole(half)


def along_arcs(picture: Picture) -> Picture:
    """A picture averaged along arcs of 24 degrees or more: noise goes, rings stay."""
    half = np.ascontiguousarray(picture[:, picture.shape[1] // 2 :])
    out = np.empty_like(half)
    _arcs(half, _ARC_RAD, _ARC_PX, _ARC_MOST_RAD, out)
    return _whole(out)


def even_gain(picture: Picture) -> Picture:
    """What to multiply a picture by so that its contrast is the same at all frequencies.

    Rings fade outwards; what is shown of measured and fitted ones must be multiplied alike.
    """
    reach = picture.shape[0] // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    radius = np.hypot(y, x)
    there = np.isfinite(picture)
    ring = np.rint(radius[there]).astype(np.int64)
    kernel = np.ones(2 * _GAIN_PX + 1)
    # Roots, so that single bright spots do not darken their surroundings.
    root = np.bincount(ring, np.sqrt(np.abs(picture[there].astype(np.float64))), reach + 1)
    count = np.bincount(ring, minlength=reach + 1).astype(np.float64)
    # Means over the same width in radius, each ring counted once.
    known = (count > 0).astype(np.float64)
    each = np.convolve(root / np.maximum(count, 1), kernel, "same")
    mean = each / np.maximum(np.convolve(known, kernel, "same"), 1)
    level = np.maximum(mean, 1e-6 * max(float(mean.max()), 1e-30)) ** 2 / _ROOT_OF_NORMAL
    out: Picture = (1 / np.interp(radius, np.arange(reach + 1), level)).astype(np.float32)
    return out


def _whole(half: Picture) -> Picture:
    """Both halves of a transform whose power is the same at opposite frequencies."""
    out: Picture = np.concatenate([half[::-1, :0:-1], half], 1)
    return out


def model_picture(
    reach: int, step: float, defocus: Defocus, optics: Optics, lowest: int = 1
) -> Picture:
    """The rings of a defocus, -1 at the zeros of the CTF and 1 between them, undamped.

    As :func:`tilt_corrected`: NaN outside the circle and about the middle.
    """
    ky, kx = np.mgrid[-reach : reach + 1, 0 : reach + 1]
    radius2 = ky * ky + kx * kx
    s = np.sqrt(radius2) * step
    values = -np.cos(2 * phase(s, np.arctan2(ky, kx), defocus, optics))
    values[(radius2 > reach * reach) | (radius2 < lowest * lowest)] = np.nan
    return _whole(values.astype(np.float32))


def zero_lines(
    theta: npt.ArrayLike, defocus: Defocus, optics: Optics, top: float, most: int = 60
) -> Floats:
    """Frequencies of the zeros of the CTF by direction.

    Parameters
    ----------
    theta : (n_theta,)
        Radians counter-clockwise from x.
    top : float
        Highest frequency, 1/angstrom.
    most : int
        More zeros than so many are not given.

    Returns
    -------
    (n_zeros, n_theta) float64
        1/angstrom, from the innermost; NaN above ``top``.
    """
    angle = np.asarray(theta, np.float64)
    mean, cos, sin = defocus.components
    k1d = optics.per_defocus * (mean + cos * np.cos(2 * angle) + sin * np.sin(2 * angle))
    constant = optics.constant(defocus.phase_shift_deg)
    first, step = _first_zero(mean, constant)
    way = ((first + step * np.arange(most)) * math.pi - constant)[:, None]
    root = k1d**2 - 4 * optics.per_s4 * way
    below = k1d + np.copysign(np.sqrt(np.maximum(root, 0)), k1d)
    with np.errstate(divide="ignore", invalid="ignore"):
        s2 = np.where((root >= 0) & (below != 0), 2 * way / below, np.nan)
        s = np.sqrt(np.where(s2 > 0, s2, np.nan))
    s = np.where(s <= top, s, np.nan)
    return np.asarray(s[np.isfinite(s).any(1)], np.float64)


def defocus_through(
    s: float, theta: float, number: int, defocus: Defocus, optics: Optics
) -> Defocus:
    """The defocus whose zero ``number`` (from 0, as in `zero_lines`) lies at a frequency.

    Astigmatism and phase shift stay.

    Parameters
    ----------
    s, theta : float
        Frequency, 1/angstrom and above 0, and its direction, radians.
    """
    mean, cos, sin = defocus.components
    constant = optics.constant(defocus.phase_shift_deg)
    first, way = _first_zero(mean, constant)
    wanted = (first + way * number) * math.pi - constant
    along = (wanted + optics.per_s4 * s**4) / (optics.per_defocus * s * s)
    new = along - cos * math.cos(2 * theta) - sin * math.sin(2 * theta)
    return Defocus.of_components(new, cos, sin, defocus.phase_shift_deg)


def _first_zero(mean_a: float, constant: float) -> tuple[int, int]:
    """Order of the innermost zero of an under- or overfocus, and which way they go on."""
    if mean_a > 0:
        return math.floor(constant / math.pi) + 1, 1
    return math.ceil(constant / math.pi) - 1, -1
