"""What a bead looks like: a radial profile, analytic or measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError

Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]
Image = npt.NDArray[np.float32]
STEP_PX = 0.1


@dataclass(frozen=True)
class BeadTemplate:
    """A rotationally symmetric bead, 1 at the centre and 0 from ``radius_px`` outwards.

    ``profile`` is sampled every 0.1 px from ``r = 0``; pixel integration is part of it.
    """

    profile: Floats
    diameter_px: float
    radius_px: float


def _finish(r: AnyFloats, values: AnyFloats, diameter: float, radius: float) -> BeadTemplate:
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(r, values, bc_type="clamped")
    grid = np.arange(int(np.ceil(radius / STEP_PX)) + 3) * STEP_PX
    profile = np.where(grid < radius, spline(np.minimum(grid, radius)), 0.0)
    return BeadTemplate(np.asarray(profile / profile[0], dtype=np.float64), diameter, radius)


def ball_template(diameter_px: float, *, blur_px: float = 0.6, reach: float = 1.0) -> BeadTemplate:
    """Analytic template: the projection of a ball, blurred by a Gaussian of ``blur_px``.

    ``reach`` is the radius of the template in bead diameters.

    Raises
    ------
    InputError
        When the diameter is not above 1 px.
    """
    if not diameter_px > 1:
        raise InputError(f"bead diameter {diameter_px} px is too small, give more than 1 px")
    radius = max(reach * diameter_px, diameter_px / 2 + 2.5)
    half, step = int(np.ceil(radius + 4)), 0.25
    from scipy.ndimage import gaussian_filter

    axis = np.arange(-half / step, half / step + 1) * step
    square = (diameter_px / 2) ** 2 - axis[:, None] ** 2 - axis[None, :] ** 2
    image = gaussian_filter(np.sqrt(np.maximum(square, 0)), blur_px / step)
    middle = len(axis) // 2
    line = image[middle, middle:]
    n = int(radius / step)
    r = np.arange(n + 1) * step
    values = line[: n + 1] - line[n]
    return _finish(r, values, diameter_px, r[-1])


@numba.njit(nogil=True, cache=True, boundscheck=False)
def value(profile: Floats, r: float) -> tuple[float, float]:
    """Value and slope of the profile at ``r`` by a Catmull-Rom cubic."""
    t = r / STEP_PX
    i = int(t)
    if i >= profile.shape[0] - 2:
        return 0.0, 0.0
    t -= i
    p0 = profile[abs(i - 1)]
    p1, p2, p3 = profile[i], profile[i + 1], profile[i + 2]
    c1 = 0.5 * (p2 - p0)
    c2 = p0 - 2.5 * p1 + 2 * p2 - 0.5 * p3
    c3 = 0.5 * (p3 - p0) + 1.5 * (p1 - p2)
    return p1 + t * (c1 + t * (c2 + t * c3)), (c1 + t * (2 * c2 + 3 * t * c3)) / STEP_PX


@numba.njit(nogil=True, cache=True)
def subtract(out, xy, amplitude, profile, radius, ox, oy):  # type: ignore[no-untyped-def]
    """Take beads at ``xy`` out of ``out``, whose first pixel is at ``ox, oy``."""
    ny, nx = out.shape
    for k in range(xy.shape[0]):
        a = amplitude[k]
        if a == 0.0:
            continue
        cx, cy = xy[k, 0] - ox, xy[k, 1] - oy
        for y in range(max(0, int(np.ceil(cy - radius))), min(ny - 1, int(cy + radius)) + 1):
            for x in range(max(0, int(np.ceil(cx - radius))), min(nx - 1, int(cx + radius)) + 1):
                r2 = (x - cx) ** 2 + (y - cy) ** 2
                if r2 < radius * radius:
                    out[y, x] -= a * value(profile, np.sqrt(r2))[0]


@numba.njit(nogil=True, cache=True)
def _accumulate(image, xy, amp, knots, spacing, radius, m, v):  # type: ignore[no-untyped-def]
    """Add one view's isolated beads to the normal equations of the radial profile."""
    ny, nx = image.shape
    for k in range(xy.shape[0]):
        cx, cy, a = xy[k, 0], xy[k, 1], amp[k]
        if cx < radius or cy < radius or cx > nx - 1 - radius or cy > ny - 1 - radius:
            continue
        # plane of the background from the outer ring
        p = np.zeros((3, 3))
        q = np.zeros(3)
        g = np.zeros(3)
        for sweep in range(2):
            for y in range(int(np.ceil(cy - radius)), int(cy + radius) + 1):
                for x in range(int(np.ceil(cx - radius)), int(cx + radius) + 1):
                    dx, dy = x - cx, y - cy
                    r = np.sqrt(dx * dx + dy * dy)
                    if r >= radius:
                        continue
                    if sweep == 0:
                        if r < 0.8 * radius:
                            continue
                        g[0], g[1], g[2] = 1.0, dx, dy
                        for i in range(3):
                            q[i] += g[i] * image[y, x]
                            for j in range(3):
                                p[i, j] += g[i] * g[j]
                    else:
                        rest = image[y, x] - g[0] - g[1] * dx - g[2] * dy
                        i = int(r / spacing)
                        f = r / spacing - i
                        for s in range(2):
                            fs = f if s else 1 - f
                            v[i + s] += a * fs * rest
                            for u in range(2):
                                fu = f if u else 1 - f
                                m[i + s, i + u] += a * a * fs * fu
            if sweep == 0:
                g[:] = np.linalg.solve(p, q)


def build_template(
    images: Sequence[Image],
    positions: Sequence[Floats],
    amplitudes: Sequence[Floats],
    diameter_px: float,
    *,
    reach: float = 1.3,
) -> BeadTemplate:
    """Measure the radial profile of centred beads, CTF fringes included.

    Parameters
    ----------
    images : views ``(ny, nx)`` float32 of like noise; one view, a tilt group or all
    positions, amplitudes : for each view ``(n, 2)`` index coordinates and ``(n,)``
    reach : radius of the template in bead diameters

    Raises
    ------
    DataError
        When no bead stands alone.
    """
    radius = max(reach * diameter_px, diameter_px / 2 + 2.5)
    spacing = 0.5
    n_knots = int(radius / spacing) + 2
    m, v, used = np.zeros((n_knots, n_knots)), np.zeros(n_knots), 0
    for image, xy, amplitude in zip(images, positions, amplitudes, strict=True):
        if not len(xy):
            continue
        gap = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
        np.fill_diagonal(gap, np.inf)
        ratio = amplitude / np.median(amplitude)
        keep = (gap.min(axis=1) > 1.6 * radius) & (ratio > 0.6) & (ratio < 1.6)
        _accumulate(image, xy[keep], amplitude[keep], n_knots, spacing, radius, m, v)
        used += int(keep.sum())
    if used == 0 or m[0, 0] == 0:
        raise DataError("bead template: no bead stands alone; check the diameter")
    # second differences keep the few pixels at the centre from ringing
    d2 = np.diff(np.eye(n_knots), n=2, axis=0)
    m += (1e-3 * np.trace(m) / n_knots) * d2.T @ d2 + 1e-9 * np.trace(m) * np.eye(n_knots)
    values = np.linalg.solve(m, v)
    r = np.arange(n_knots) * spacing
    last = int(radius / spacing)
    values *= np.clip((radius - r) / (0.1 * radius), 0, 1)
    return _finish(r[: last + 1], values[: last + 1], diameter_px, float(r[last]))
