"""Detection of gold beads in all views: matched filter, local noise, sub-pixel centres."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.fiducials.background import background_power, stabilise, window_px
from tiltwright.engine.fiducials.centre import localise, matched_filter, template_spectra
from tiltwright.engine.fiducials.template import ball_template
from tiltwright.engine.progress import SILENT, Monitor

Floats = npt.NDArray[np.float64]
Images = npt.NDArray[np.generic] | Sequence[npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Detections:
    """Beads of one view, best first: ``xy`` (n, 2) index coordinates of the given image,
    ``score`` (n,) filter response in SD of its surroundings, ``contrast`` (n,) bead amplitude
    (positive) in SD of the counting noise of a pixel."""

    xy: Floats
    score: Floats
    contrast: Floats

    def only(self, keep: npt.NDArray[np.bool_]) -> Detections:
        """Those that are marked."""
        return Detections(self.xy[keep], self.score[keep], self.contrast[keep])


@numba.njit(nogil=True, cache=True)
def _bin(image, factor):  # type: ignore[no-untyped-def]
    ny, nx = image.shape[0] // factor, image.shape[1] // factor
    out = np.zeros((ny, nx), np.float32)
    scale = np.float32(1 / (factor * factor))
    for y in range(ny):
        for j in range(factor):
            for i in range(factor):
                for x in range(nx):
                    out[y, x] += scale * np.float32(image[y * factor + j, x * factor + i])
    return out


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _convolve(image, kernel):  # type: ignore[no-untyped-def]
    """Correlate with a kernel that is even in y and x; the rim stays 0."""
    ny, nx = image.shape
    h = kernel.shape[0] // 2
    out = np.zeros((ny, nx), np.float32)
    pair = np.empty(nx, np.float32)
    for y in range(h, ny - h):
        row = out[y]
        for j in range(h + 1):
            up, down = image[y - j], image[y + j]
            half = np.float32(0.5 if j == 0 else 1.0)
            for x in range(nx):
                pair[x] = half * (up[x] + down[x])
            # slices from 0: the compiler need not think of negative indices and vectorises
            inner = row[h : nx - h]
            for i in range(h + 1):
                k = kernel[h + j, h + i]
                if k == 0:
                    continue
                if i == 0:
                    k *= np.float32(0.5)
                left, right = pair[h - i : nx - h - i], pair[h + i : nx - h + i]
                for x in range(inner.shape[0]):
                    inner[x] += k * (left[x] + right[x])
    return out


@numba.njit(nogil=True, cache=True)
def _peaks(response, reach, threshold, rim):  # type: ignore[no-untyped-def]
    """Pixels that are the largest within ``reach`` and above ``threshold`` of their block."""
    ny, nx = response.shape
    found = []
    r2 = reach * reach
    for y in range(rim, ny - rim):
        for x in range(rim, nx - rim):
            p = response[y, x]
            if p <= threshold:
                continue
            if response[y, x - 1] > p or response[y, x + 1] >= p:
                continue
            if response[y - 1, x] > p or response[y + 1, x] >= p:
                continue
            best = True
            for j in range(-reach, reach + 1):
                for i in range(-reach, reach + 1):
                    if j * j + i * i <= r2 and 0 <= y + j < ny and 0 <= x + i < nx:
                        q = response[y + j, x + i]
                        if q > p or (q == p and (j > 0 or (j == 0 and i > 0))):
                            best = False
                            break
                if not best:
                    break
            if best:
                found.append((y, x))
    return found


def _kernel(diameter: float) -> npt.NDArray[np.float32]:
    """Ball projection minus a ring around it: zero sum, unit norm."""
    h = int(np.ceil(0.75 * diameter))
    axis = np.arange(-h, h + 1)
    r2 = axis[:, None] ** 2 + axis[None, :] ** 2
    inside = np.sqrt(np.maximum((diameter / 2 + 0.3) ** 2 - r2, 0))
    ring = (np.sqrt(r2) <= 0.75 * diameter) & (inside == 0)
    kernel = inside - ring * (inside.sum() / ring.sum())
    return np.asarray(kernel / np.sqrt((kernel**2).sum()), dtype=np.float32)


def _local_sd(response: npt.NDArray[np.float32], block: int) -> npt.NDArray[np.float32]:
    """Robust SD of the response by blocks, not below half of that of the whole view."""
    ny, nx = response.shape
    by, bx = max(1, ny // block), max(1, nx // block)
    inner = np.abs(response[: ny // by * by, : nx // bx * bx])
    tiles = inner.reshape(by, ny // by, bx, nx // bx)[:, ::2, :, ::2].transpose(0, 2, 1, 3)
    sd = 1.4826 * np.median(tiles.reshape(by, bx, -1), axis=2)
    live = sd[sd > 0]
    if not live.size:
        return np.full((by, bx), np.inf, dtype=np.float32)
    floor = 0.5 * np.median(live)
    padded = np.pad(np.maximum(sd, floor), 1, mode="edge")
    smooth = sum(padded[j : j + by, i : i + bx] for j in range(3) for i in range(3)) / 9
    return np.asarray(smooth, dtype=np.float32)


def detect_beads(
    image: npt.NDArray[np.generic],
    diameter_px: float,
    *,
    light: bool = False,
    max_beads: int = 2000,
    min_score: float = 6.0,
    min_relative_contrast: float = 0.4,
) -> Detections:
    """Find beads of ``diameter_px`` in one view (ny, nx).

    Parameters
    ----------
    light : beads are lighter than their surroundings
    min_score : least response in SD of the response around it
    min_relative_contrast : least contrast relative to that of the ten best beads

    Raises
    ------
    InputError
        When the image is not two-dimensional or the diameter is no positive number.
    """
    if image.ndim != 2:
        raise InputError(f"a view must be (ny, nx), got {image.shape}")
    if not (np.isfinite(diameter_px) and diameter_px >= 2):
        raise InputError(f"bead diameter {diameter_px} px: want at least 2 px")
    empty = Detections(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    factor = max(1, int(diameter_px / 6))
    small = _bin(image, factor)
    kernel = _kernel(diameter_px / factor) * np.float32(1 if light else -1)
    if min(small.shape) < 2 * kernel.shape[0]:
        return empty
    response = _convolve(small, kernel)
    sd = _local_sd(response, 64)
    if not np.isfinite(sd).any():
        return empty
    rim = kernel.shape[0] // 2 + 1
    reach = max(2, round(0.5 * diameter_px / factor))
    at = np.array(_peaks(response, reach, np.float32(min_score * sd.min()), rim))
    if not len(at):
        return empty
    y, x = at[:, 0], at[:, 1]
    by = np.minimum(y * sd.shape[0] // response.shape[0], sd.shape[0] - 1)
    bx = np.minimum(x * sd.shape[1] // response.shape[1], sd.shape[1] - 1)
    score = response[y, x] / sd[by, bx]
    order = np.argsort(-score, kind="stable")
    order = order[score[order] >= min_score][: 2 * max_beads]
    y, x, score = y[order], x[order], score[order].astype(np.float64)
    if not len(order):
        return empty
    p = response[y, x]
    ends = [response[y, x - 1], response[y, x + 1], response[y - 1, x], response[y + 1, x]]
    dx, dy = (
        0.5 * (lo - hi) / np.minimum(lo - 2 * p + hi, -1e-20)
        for lo, hi in ((ends[0], ends[1]), (ends[2], ends[3]))
    )
    grid = np.stack([x + np.clip(dx, -0.5, 0.5), y + np.clip(dy, -0.5, 0.5)], axis=1)
    xy = grid * factor + (factor - 1) / 2
    fine = max(1, int(diameter_px / 8))
    ball, side = ball_template(diameter_px / fine), window_px(diameter_px / fine)
    even = stabilise(_bin(image, fine))
    # the few pixels of beads count little in a geometric mean
    power = background_power(even, xy[:0], score[:0], ball, side)
    matched = matched_filter(ball, template_spectra(ball, side), power)
    fit = localise(even, (xy - (fine - 1) / 2) / fine, matched, search_px=0.3 * diameter_px / fine)
    contrast = (1 if light else -1) / fine * fit.amplitude
    keep = fit.ok & (contrast > 0) & (fit.score > min_score)
    if not keep.any():
        return empty
    typical = float(np.median(contrast[keep][:10]))
    keep &= contrast > min_relative_contrast * typical
    index = np.flatnonzero(keep)[:max_beads]
    xy = fit.xy[index] * fine + (fine - 1) / 2
    return Detections(xy, score[index], contrast[index])


def detect_all(
    stack: Images,
    diameter_px: float,
    *,
    light: bool = False,
    max_beads: int = 2000,
    min_score: float = 6.0,
    min_relative_contrast: float = 0.4,
    monitor: Monitor = SILENT,
    threads: int = 2,
) -> list[Detections]:
    """Find beads in every view of ``stack`` (n_views, ny, nx); see :func:`detect_beads`."""

    def one(view: int) -> Detections:
        monitor.check()
        return detect_beads(
            stack[view],
            diameter_px,
            light=light,
            max_beads=max_beads,
            min_score=min_score,
            min_relative_contrast=min_relative_contrast,
        )

    found: list[Detections] = []
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for result in pool.map(one, range(len(stack))):
            found.append(result)
            monitor.step(len(found), len(stack), "detecting beads")
    return found


def refine_diameter(images: Images, diameter_px: float, *, light: bool = False) -> float:
    """Measure the bead diameter from the data; the guess may be 25 % off.

    The mean radial profile of the clearest beads is fitted by a blurred ball projection.

    Raises
    ------
    DataError
        When fewer than three clear beads are found.
    """
    sign = 1.0 if light else -1.0
    n_bins = int(2.4 * diameter_px)
    r = (np.arange(n_bins) + 0.5) * 0.5
    profiles = []
    half = int(n_bins * 0.5) + 1
    offset = np.arange(-half, half + 1)
    for image in images:
        found = detect_beads(image, diameter_px, light=light, max_beads=30, min_score=7.0)
        for x, y in found.xy:
            ix, iy = round(x), round(y)
            if min(ix, iy) < half or ix + half >= image.shape[1] or iy + half >= image.shape[0]:
                continue
            patch = image[iy - half : iy + half + 1, ix - half : ix + half + 1]
            rr = np.hypot(offset[None] + ix - x, offset[:, None] + iy - y)
            which = np.minimum((rr * 2).astype(int), n_bins).ravel()
            count = np.bincount(which, minlength=n_bins + 1)[:n_bins]
            total = np.bincount(which, patch.ravel().astype(float), minlength=n_bins + 1)
            profiles.append(sign * np.where(count > 0, total[:n_bins] / np.maximum(count, 1), 0))
    if len(profiles) < 3:
        raise DataError(f"bead diameter: fewer than three clear beads of {diameter_px:g} px found")
    mean = np.median(np.array([p - np.median(p[-6:]) for p in profiles]), axis=0)
    use = r > 0.7
    best, answer = np.inf, diameter_px
    for d in np.linspace(0.65, 1.5, 52) * diameter_px:
        for blur in (0.4, 0.8, 1.3):
            model = ball_template(float(d), blur_px=blur, reach=1.3).profile
            t = np.interp(r, np.arange(len(model)) * 0.1, model)
            basis = np.stack([t, np.ones_like(t)], axis=1) * np.sqrt(r)[:, None]
            target = mean * np.sqrt(r)
            near = use & (r < 0.85 * diameter_px)
            coefficients = np.linalg.lstsq(basis[near], target[near], rcond=None)[0]
            misfit = float(np.sum((basis[near] @ coefficients - target[near]) ** 2))
            if misfit < best:
                best, answer = misfit, float(d)
    return answer
