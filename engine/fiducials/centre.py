"""Near-optimal centres of beads: weighted least squares of a measured radial template.

The bound of the tests: Ober, Ram & Ward 2004, doi:10.1016/S0006-3495(04)74193-4
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError

Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]
STEP_PX = 0.1


@dataclass(frozen=True)
class BeadTemplate:
    """A rotationally symmetric bead, 1 at the centre and 0 from ``radius_px`` outwards.

    ``profile`` is sampled every 0.1 px from ``r = 0``; pixel integration is part of it.
    """

    profile: Floats
    diameter_px: float
    radius_px: float


@dataclass(frozen=True)
class Localised:
    """Centres ``xy`` (n, 2) index coordinates, their ``sigma_px``, ``score`` (amplitude in SD),
    ``amplitude`` (negative for dark beads) and ``ok`` (converged inside the search radius)."""

    xy: Floats
    sigma_px: Floats
    score: Floats
    amplitude: Floats
    ok: npt.NDArray[np.bool_]


def _finish(r: AnyFloats, values: AnyFloats, diameter: float, radius: float) -> BeadTemplate:
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(r, values, bc_type="clamped")
    grid = np.arange(int(np.ceil(radius / STEP_PX)) + 3) * STEP_PX
    profile = np.where(grid < radius, spline(np.minimum(grid, radius)), 0.0)
    return BeadTemplate(np.asarray(profile / profile[0], dtype=np.float64), diameter, radius)


def ball_template(diameter_px: float, *, blur_px: float = 0.6, reach: float = 1.0) -> BeadTemplate:
    """Analytic template: the projection of a ball, blurred by a Gaussian of ``blur_px``.

    ``reach`` is the radius of the fit in bead diameters.
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


@numba.njit(nogil=True, cache=True)
def _block_noise(image):  # type: ignore[no-untyped-def]
    """Mean and noise variance of blocks of 8 x 8 pixels."""
    by, bx = (image.shape[0] - 1) // 8, (image.shape[1] - 1) // 8
    mean, var = np.zeros(by * bx), np.zeros(by * bx)
    for j in range(by * 8):
        upper, lower = image[j], image[j + 1]
        for k in range(bx):
            total = square = 0.0
            for i in range(k * 8, k * 8 + 8):
                a, b = float(upper[i]), float(lower[i])
                # the mixed second difference is blind to ramps and edges along the axes
                d = float(lower[i + 1]) - b - float(upper[i + 1]) + a
                total += a
                square += d * d
            mean[j // 8 * bx + k] += total / 64
            var[j // 8 * bx + k] += square / 256
    return mean, var


def noise_model(image: npt.NDArray[np.generic]) -> tuple[float, float]:
    """Variance of a pixel as ``a + b * mean``, from local differences of ``image`` (ny, nx)."""
    if min(image.shape) < 9:
        raise InputError(f"image of {image.shape} is too small for a noise estimate")
    mean, var = _block_noise(np.asarray(image))
    keep = var > 0
    if keep.sum() < 8:
        return 1.0, 0.0
    mean, var = mean[keep], var[keep]
    keep = var < 3 * np.median(var)
    mean, var = mean[keep], var[keep]
    level = float(var.mean())
    spread = float(mean.var())
    slope = float(np.mean((mean - mean.mean()) * (var - level)) / spread) if spread > 0 else 0.0
    slope = max(slope, 0.0)
    return level - slope * float(mean.mean()), slope


@numba.njit(nogil=True, cache=True, boundscheck=False)
def _value(profile: Floats, r: float) -> tuple[float, float]:
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
def _fit(image, xy, n_fit, profile, radius, search, noise, xy_out, amp, back, info):  # type: ignore[no-untyped-def]
    """Fit every bead with its neighbours subtracted; three sweeps settle the overlaps."""
    ny, nx = image.shape
    n = xy.shape[0]
    half = int(np.ceil(radius + search)) + 1
    patch = np.zeros((2 * half + 1, 2 * half + 1))
    m = np.zeros((6, 6))
    v = np.zeros(6)
    g = np.zeros(6)
    for sweep in range(3):
        for k in range(n):
            near = False
            px, py = int(np.round(xy[k, 0])) - half, int(np.round(xy[k, 1])) - half
            for j in range(n):
                if (
                    j == k
                    or (xy[j, 0] - xy[k, 0]) ** 2 + (xy[j, 1] - xy[k, 1]) ** 2
                    >= (2 * (radius + search)) ** 2
                ):
                    continue
                if not near:
                    near = True
                    patch[:] = 0
                if amp[j] == 0.0:
                    continue
                # what this neighbour adds to the pixels that the fit may touch
                ox, oy = xy_out[j, 0] - px, xy_out[j, 1] - py
                for y in range(max(0, int(oy - radius)), min(2 * half, int(oy + radius) + 1) + 1):
                    for x in range(
                        max(0, int(ox - radius)), min(2 * half, int(ox + radius) + 1) + 1
                    ):
                        e2 = (x - ox) ** 2 + (y - oy) ** 2
                        if e2 < radius * radius:
                            tj, _ = _value(profile, np.sqrt(e2))
                            patch[y, x] += amp[j] * tj
            if sweep > 0 and not near:
                continue
            cx, cy = xy_out[k, 0], xy_out[k, 1]
            ok = False
            hx, hy = cx, cy
            moved = 1.0
            still = 0
            for it in range(16):
                # the disk stands still in the end: pixels that come and go at its rim cycle
                if it < 4 and (it < 2 or moved > 4e-4):
                    hx, hy = cx, cy
                else:
                    still += 1
                x0, x1 = max(0, int(np.ceil(hx - radius))), min(nx - 1, int(hx + radius))
                y0, y1 = max(0, int(np.ceil(hy - radius))), min(ny - 1, int(hy + radius))
                m[:] = 0
                v[:] = 0
                chi, count = 0.0, 0
                a, b0, b1, b2 = amp[k], back[k, 0], back[k, 1], back[k, 2]
                for y in range(y0, y1 + 1):
                    for x in range(x0, x1 + 1):
                        if (x - hx) ** 2 + (y - hy) ** 2 >= radius * radius:
                            continue
                        dx, dy = x - cx, y - cy
                        r = np.sqrt(dx * dx + dy * dy)
                        t, s = _value(profile, r)
                        other = patch[y - py, x - px] if near else 0.0
                        smooth = b0 + b1 * dx + b2 * dy + a * t
                        # weights from the model, not from the noisy pixel: no bias
                        w = 1.0
                        if it > 0:
                            w = 1 / max(noise[0] + noise[1] * (smooth + other), noise[2])
                        res = image[y, x] - other - smooth
                        inv = 1 / r if r > 1e-9 else 0.0
                        g[0] = t
                        g[1] = 1.0
                        g[2] = dx
                        g[3] = dy
                        g[4] = -a * s * dx * inv
                        g[5] = -a * s * dy * inv
                        chi += w * res * res
                        count += 1
                        for p in range(6):
                            v[p] += w * g[p] * res
                            for q in range(p + 1):
                                m[p, q] += w * g[p] * g[q]
                if count < 0.6 * np.pi * radius * radius:
                    break
                free = 4 if it == 0 and a == 0.0 else 6
                for p in range(6):
                    for q in range(p):
                        m[q, p] = m[p, q]
                for p in range(free):
                    m[p, p] += 1e-12 * m[p, p] + 1e-30
                step = np.linalg.solve(m[:free, :free], v[:free])
                amp[k] += step[0]
                if free == 6:
                    sx = min(max(step[4], -0.7), 0.7)
                    sy = min(max(step[5], -0.7), 0.7)
                    cx += sx
                    cy += sy
                    back[k, 0] += step[1] + b1 * sx + b2 * sy
                else:
                    sx = sy = 1.0
                    back[k, 0] += step[1]
                back[k, 1] += step[2]
                back[k, 2] += step[3]
                if (cx - xy[k, 0]) ** 2 + (cy - xy[k, 1]) ** 2 > search * search:
                    break
                moved = sx * sx + sy * sy
                if still > 0 and moved < 1e-7:
                    cov = np.linalg.inv(m)
                    scale = max(chi / max(count - 6, 1), 1e-12)
                    info[k, 0] = np.sqrt(max(0.5 * (cov[4, 4] + cov[5, 5]) * scale, 0.0))
                    info[k, 1] = abs(amp[k]) / np.sqrt(max(cov[0, 0] * scale, 1e-30))
                    ok = True
                    break
            info[k, 2] = 1.0 if ok else 0.0
            if ok:
                xy_out[k, 0], xy_out[k, 1] = cx, cy
            else:
                xy_out[k, 0], xy_out[k, 1] = xy[k, 0], xy[k, 1]
                amp[k] = 0.0
                back[k, :] = 0.0


def localise(
    image: npt.NDArray[np.generic],
    xy_guess: Floats,
    template: BeadTemplate,
    *,
    search_px: float = 3.0,
    others_xy: Floats | None = None,
    noise: tuple[float, float] | None = None,
) -> Localised:
    """Centre beads in one view by weighted least squares with ``template``.

    Parameters
    ----------
    image : (ny, nx) any real type
    xy_guess : (n, 2) index coordinates; a NaN row comes back as NaN and not ``ok``
    search_px : farthest that a centre may move from its guess
    others_xy : (m, 2) beads outside the model that are fitted and subtracted as well
    noise : ``(a, b)``, variance ``a + b * mean`` of a pixel; estimated by default

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
    img = np.ascontiguousarray(image, dtype=np.float32)
    a, b = noise_model(img) if noise is None else noise
    floor = max(1e-3 * abs(a + b * float(img[::4, ::4].mean())), 1e-12)
    out, amp, back = xy.copy(), np.zeros(len(xy)), np.zeros((len(xy), 3))
    info = np.zeros((len(xy), 3))
    model = np.array([a, b, floor])
    _fit(img, xy, n, template.profile, template.radius_px, search_px, model, out, amp, back, info)
    m = len(good)
    result = np.full((n, 2), np.nan)
    rest = np.zeros((3, n))
    ok = np.zeros(n, dtype=np.bool_)
    result[good] = out[:m]
    rest[0] = np.inf
    rest[0, good] = np.where(info[:m, 2] > 0, info[:m, 0], np.inf)
    rest[1, good] = info[:m, 1] * info[:m, 2]
    rest[2, good] = amp[:m]
    ok[good] = info[:m, 2] > 0
    return Localised(result, rest[0], rest[1], rest[2], ok)


@numba.njit(nogil=True, cache=True)
def _accumulate(image, xy, amp, sigma2, knots, spacing, radius, m, v):  # type: ignore[no-untyped-def]
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
                        value = image[y, x] - g[0] - g[1] * dx - g[2] * dy
                        i = int(r / spacing)
                        f = r / spacing - i
                        w = 1 / sigma2
                        for s in range(2):
                            fs = f if s else 1 - f
                            v[i + s] += w * a * fs * value
                            for u in range(2):
                                fu = f if u else 1 - f
                                m[i + s, i + u] += w * a * a * fs * fu
            if sweep == 0:
                g[:] = np.linalg.solve(p, q)


def build_template(
    images: Sequence[npt.NDArray[np.generic]],
    positions: Sequence[Floats],
    diameter_px: float,
    *,
    reach: float = 1.1,
    sweeps: int = 2,
    search_px: float = 2.0,
    min_score: float = 5.0,
) -> BeadTemplate:
    """Measure the radial profile of the beads, CTF fringes included.

    Parameters
    ----------
    images : views ``(ny, nx)``; one view, a tilt group or all
    positions : for each view ``(n, 2)`` index coordinates within about 1 px
    reach : radius of the template in bead diameters

    Raises
    ------
    DataError
        When no bead could be centred.
    """
    template = ball_template(diameter_px, reach=reach)
    radius = template.radius_px
    spacing = 0.5
    n_knots = int(radius / spacing) + 2
    floats = [np.ascontiguousarray(image, dtype=np.float32) for image in images]
    noises = [noise_model(image) for image in floats]
    for _ in range(sweeps):
        m, v, used = np.zeros((n_knots, n_knots)), np.zeros(n_knots), 0
        for image, xy, noise in zip(floats, positions, noises, strict=True):
            if not len(xy):
                continue
            fit = localise(image, xy, template, search_px=search_px, noise=noise)
            gap = np.hypot(*(fit.xy[:, None] - fit.xy[None]).transpose(2, 0, 1))
            np.fill_diagonal(gap, np.inf)
            near = np.nan_to_num(gap, nan=np.inf).min(axis=1) < 1.8 * radius
            keep = fit.ok & ~near & (fit.score > min_score)
            if not keep.any():
                continue
            middle = np.median(fit.amplitude[keep])
            ratio = fit.amplitude / middle
            keep &= (ratio > 0.6) & (ratio < 1.6)
            sigma2 = max(noise[0] + noise[1] * float(image.mean()), 1e-12)
            _accumulate(
                image, fit.xy[keep], fit.amplitude[keep], sigma2, n_knots, spacing, radius, m, v
            )
            used += int(keep.sum())
        if used == 0:
            raise DataError("bead template: no isolated bead could be centred; check the diameter")
        # second differences keep the few pixels at the centre from ringing
        d2 = np.diff(np.eye(n_knots), n=2, axis=0)
        m += (1e-3 * np.trace(m) / n_knots) * d2.T @ d2 + 1e-9 * np.trace(m) * np.eye(n_knots)
        values = np.linalg.solve(m, v)
        r = np.arange(n_knots) * spacing
        last = int(radius / spacing)
        taper = np.clip((radius - r) / (0.1 * radius), 0, 1)
        values = values * taper
        template = _finish(r[: last + 1], values[: last + 1], diameter_px, float(r[last]))
    return template
