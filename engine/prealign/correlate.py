"""Coarse alignment of a tilt series by cross-correlation, from the least tilted view outwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.geometry.transform import rotation
from tiltwright.engine.prealign.prepare import prepare_stack
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.stack.binning import BinnedFrame

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PrealignResult:
    """What the coarse alignment found; pixels of the stack that was given.

    Attributes
    ----------
    shift_px : (n_views, 2) float64
        Where the specimen's origin lands in each view, about the centre (``ViewGeometry``).
    peak_strength : (n_views,) float64
        Height of the correlation peak, standard deviations of its map; infinite for the start.
    distrusted : (n_views,) bool
        Views whose shift is only interpolated from their neighbours.
    reasons : tuple of str
        One per view, empty for trusted ones.
    """

    shift_px: Floats
    peak_strength: Floats
    distrusted: npt.NDArray[np.bool_]
    reasons: tuple[str, ...]

    def transforms(self) -> Floats:
        """``(n_views, 2, 3)``: the pure shifts that undo ``shift_px``."""
        xf = np.zeros((len(self.shift_px), 2, 3))
        xf[:, 0, 0] = xf[:, 1, 1] = 1
        xf[:, :, 2] = -self.shift_px
        return xf


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _affine(image: Any, m: Any, t: Any, out: Any) -> None:
    """Bilinear ``out[y, x] = image[m @ (y, x) + t]``; zero outside."""
    ny, nx = image.shape
    for y in range(ny):
        for x in range(nx):
            v, u = m[0, 0] * y + m[0, 1] * x + t[0], m[1, 0] * y + m[1, 1] * x + t[1]
            if v < 0 or u < 0 or v >= ny - 1 or u >= nx - 1:
                continue
            j, i = int(v), int(u)
            fv, fu = v - j, u - i
            upper = image[j, i] * (1 - fu) + image[j, i + 1] * fu
            lower = image[j + 1, i] * (1 - fu) + image[j + 1, i + 1] * fu
            out[y, x] = upper * (1 - fv) + lower * fv


class Correlator:
    """Spectra of views, stretched to one another's tilt, and the maps of their correlation."""

    def __init__(self, views: list[Image], tilt: Floats, axis: float, band: Any) -> None:
        self.views, self.tilt = views, tilt
        self.ny, self.nx = views[0].shape
        self.shape = (
            fft.next_fast_len(int(1.5 * self.ny), real=True),
            fft.next_fast_len(int(1.5 * self.nx), real=True),
        )
        self.r = rotation(axis)
        fy, fx = np.fft.fftfreq(self.shape[0])[:, None], np.fft.rfftfreq(self.shape[1])
        self.fy, self.fx = fy, fx
        radius1, sigma1, radius2, sigma2 = band
        f = np.hypot(fy, fx)
        low = np.exp(-(np.clip(f - radius2, 0, None) ** 2) / (2 * sigma2**2 + 1e-12))
        high = 1 - np.exp(-(np.clip(f - radius1, 0, None) ** 2) / (2 * sigma1**2 + 1e-12))
        self.filter = np.asarray(low * (high if sigma1 > 0 else 1), dtype=np.float32)
        oy, ox = (np.abs(np.fft.fftfreq(n, 1 / n)) for n in self.shape)
        overlap = np.clip(1 - oy / self.ny, 0, 1)[:, None] * np.clip(1 - ox / self.nx, 0, 1)
        # Noise in the map grows as the square root of the overlap: make it even.
        self.even = np.where(overlap > 0.2, overlap, np.inf).astype(np.float32) ** -0.5
        self.spectra: dict[int, Any] = {}

    def matrix(self, i: int, j: int, cosine: bool) -> Floats:
        """Stretch that takes view j to the tilt of view i."""
        ratio = np.cos(np.deg2rad(self.tilt[i])) / np.cos(np.deg2rad(self.tilt[j]))
        d = np.diag([np.clip(ratio, 0.2, 5.0) if cosine else 1.0, 1.0])
        out: Floats = self.r @ d @ self.r.T
        return out

    def _transform(self, image: Image) -> Any:
        spectrum = fft.rfft2(image, self.shape) * self.filter
        # Half-whitened: between plain correlation (slow gradients win) and phase correlation.
        return spectrum / np.sqrt(np.abs(spectrum) + 1e-6)

    def spectrum(self, i: int) -> Any:
        if i not in self.spectra:
            self.spectra[i] = self._transform(self.views[i])
        return self.spectra[i]

    def stretched(self, j: int, matrix: Floats) -> Any:
        if np.allclose(matrix, np.eye(2), atol=2e-3):
            return self.spectrum(j)
        back = np.linalg.inv(matrix)[::-1, ::-1]
        centre = (np.array([self.ny, self.nx]) - 1) / 2
        image = np.zeros((self.ny, self.nx), np.float32)
        _affine(self.views[j], back, centre - back @ centre, image)
        return self._transform(image)

    def map_of(self, i: int, other: Any) -> Image:
        """Correlation of view i with a spectrum, in its own deviations."""
        cross = self.spectrum(i) * np.conj(other)
        corr = fft.irfft2(cross, self.shape) * self.even
        out: Image = ((corr - corr.mean()) / (corr.std() + 1e-12)).astype(np.float32)
        return out


def _peaks(corr: Image, n: int, radius: int = 5) -> list[tuple[float, float, float]]:
    """The ``n`` highest separate peaks, as (x, y, height), sub-pixel by parabolas."""
    work, found = corr.copy(), []
    ny, nx = corr.shape
    for _ in range(n):
        y, x = (int(k) for k in np.unravel_index(int(np.argmax(work)), work.shape))
        at = float(work[y, x])
        sub = []
        for before, after in (
            (corr[y, x - 1], corr[y, (x + 1) % nx]),
            (corr[y - 1, x], corr[(y + 1) % ny, x]),
        ):
            bend = float(before) - 2 * at + float(after)
            sub.append(0.5 * float(before - after) / bend if bend < 0 else 0.0)
        px, py = x + float(np.clip(sub[0], -0.5, 0.5)), y + float(np.clip(sub[1], -0.5, 0.5))
        found.append((px - nx * (px > nx / 2), py - ny * (py > ny / 2), at))
        rows = np.arange(y - radius, y + radius + 1) % ny
        cols = np.arange(x - radius, x + radius + 1) % nx
        work[np.ix_(rows, cols)] = -np.inf
    return found


def _height(corr: Image, at: Floats, radius: int) -> float:
    ny, nx = corr.shape
    rows = np.arange(round(at[1]) - radius, round(at[1]) + radius + 1) % ny
    cols = np.arange(round(at[0]) - radius, round(at[0]) + radius + 1) % nx
    return float(corr[np.ix_(rows, cols)].max())


def _solve(
    n: int, start: int, pairs: list[tuple[int, int, Floats, Floats, float]], guess: Floats
) -> Floats:
    """Shifts that fit all pair measurements ``s_i - M s_j = d``, with Huber's weights."""
    rows = np.zeros((2 * len(pairs) + 2, 2 * n))
    rhs = np.zeros(2 * len(pairs) + 2)
    weight = np.ones(2 * len(pairs) + 2)
    for k, (i, j, m, d, w) in enumerate(pairs):
        rows[2 * k : 2 * k + 2, 2 * i : 2 * i + 2] = np.eye(2)
        rows[2 * k : 2 * k + 2, 2 * j : 2 * j + 2] = -m
        rhs[2 * k : 2 * k + 2], weight[2 * k : 2 * k + 2] = d, w
    rows[-2:, 2 * start : 2 * start + 2] = np.eye(2) * 10
    s: Floats = guess.ravel().copy()
    for _ in range(5):
        miss = np.abs(rows @ s - rhs)
        root = np.sqrt(weight / np.maximum(miss, 1.0))
        a = rows * root[:, None]
        s = np.asarray(
            np.linalg.solve(a.T @ a + 1e-9 * np.eye(2 * n), a.T @ (rhs * root)), dtype=np.float64
        )
    return s.reshape(n, 2)


def prealign(
    stack_small: npt.NDArray[Any],
    tilt_deg: npt.ArrayLike,
    axis_deg: float,
    *,
    cumulative: bool = True,
    radius1: float = 0.0,
    sigma1: float = 0.03,
    radius2: float = 0.25,
    sigma2: float = 0.05,
    cosine_stretch: bool = True,
    trim_px: tuple[int, int] = (0, 0),
    skip: npt.ArrayLike | None = None,
    working_px: int = 400,
    trusted_sd: float = 6.0,
    monitor: Monitor = SILENT,
) -> PrealignResult:
    """Find the shift of every view by correlation with its neighbours.

    Views are taken from the least tilted one outwards, each against its three nearest trusted
    predecessors stretched to its tilt. Every peak of each pair is a candidate, judged by all the
    pairs; then all pairs are solved together, robustly.

    Parameters
    ----------
    stack_small : (n_views, ny, nx)
    tilt_deg : (n_views,)
    axis_deg : float
        Tilt axis, degrees counter-clockwise from the vertical.
    cumulative : bool
        Add the correlation with the sum of the aligned predecessors to the candidates.
    radius1, sigma1, radius2, sigma2 : float
        Band-pass, cycles per pixel of the working image.
    cosine_stretch : bool
        Stretch by the ratio of the cosines across the axis before correlating.
    trim_px : (int, int)
        Pixels in x and y cut from either edge.
    skip : (n_views,) bool, optional
        Views to leave out; their shifts are interpolated.
    working_px : int
        The views are binned until their longer side is about this.
    trusted_sd : float
        Lowest trusted peak, standard deviations of its map.

    Raises
    ------
    InputError
        When shapes disagree.
    DataError
        When fewer than two views have any contrast.

    Notes
    -----
    Cosine stretching: Guckenberger, doi:10.1016/0304-3991(82)90209-5. Huber's weights:
    doi:10.1214/aoms/1177703732.
    """
    tilt = np.asarray(tilt_deg, dtype=np.float64)
    if stack_small.ndim != 3 or tilt.shape != (len(stack_small),):
        raise InputError(f"{len(tilt)} tilt angles do not fit a stack of {stack_small.shape}")
    n, (tx, ty) = len(tilt), trim_px
    ny, nx = stack_small.shape[1] - 2 * ty, stack_small.shape[2] - 2 * tx
    if min(ny, nx) < 32:
        raise InputError(f"the trimmed views are {nx} x {ny} pixels: at least 32 are needed")
    left_out = np.zeros(n, bool) if skip is None else np.array(skip, dtype=bool)
    if left_out.shape != (n,):
        raise InputError(f"the mask of skipped views has {left_out.size} entries for {n} views")
    b = max(1, round(max(ny, nx) / working_px))
    frame = BinnedFrame(nx, ny, b)
    monitor.step(0, 2 * n, "filtering the views")
    trimmed = stack_small[:, ty : ty + ny, tx : tx + nx]
    views = prepare_stack(trimmed, b, highpass_px=10.0, taper_px=12, clip_sd=8.0)
    reasons = ["left out" if bad else "" for bad in left_out]
    for v in range(n):
        if not reasons[v] and not views[v].any():
            reasons[v] = "no contrast"
    usable = [v for v in range(n) if not reasons[v]]
    if len(usable) < 2:
        raise DataError("coarse alignment: fewer than two views show any contrast")
    start = min(usable, key=lambda v: abs(tilt[v]))
    c = Correlator(views, tilt, axis_deg, (radius1, sigma1, radius2, sigma2))
    shift, strength = np.zeros((n, 2)), np.zeros(n)
    strength[start] = np.inf
    pairs: list[tuple[int, int, Floats, Floats, float]] = []
    done = [start]
    order = sorted((v for v in usable if v != start), key=lambda v: abs(tilt[v] - tilt[start]))
    with ThreadPoolExecutor(2) as pool:
        for k, v in enumerate(order):
            monitor.step(n + k, 2 * n, f"correlating view {v + 1}")
            near = sorted(done, key=lambda j: abs(tilt[j] - tilt[v]))[:3]
            maps: list[tuple[Image, Floats]] = []
            total: Any = 0
            c.spectrum(v)

            def against(j: int, v: int = v) -> tuple[Any, Image, Floats]:
                m = c.matrix(v, j, cosine_stretch)
                spectrum = c.stretched(j, m)
                moved: Floats = m @ shift[j]
                return spectrum, c.map_of(v, spectrum), moved

            for spectrum, corr, moved in pool.map(against, near):
                maps.append((corr, moved))
                if cumulative:
                    # Aligned predecessors: their content moved back to the origin.
                    py, px = (
                        np.exp(2j * np.pi * c.fy * moved[1]),
                        np.exp(2j * np.pi * c.fx * moved[0]),
                    )
                    total = total + spectrum * py.astype(np.complex64) * px.astype(np.complex64)
            peaks = [_peaks(corr, 4) for corr, _ in maps]
            candidates = [
                np.array([x, y]) + moved
                for found, (_, moved) in zip(peaks, maps, strict=True)
                for x, y, _ in found
            ]
            if cumulative and len(near) > 1:
                summed = c.map_of(v, total)
                maps_all = [*maps, (summed, np.zeros(2))]
                candidates += [np.array([x, y]) for x, y, _ in _peaks(summed, 4)]
            else:
                maps_all = maps
            scores = [
                sum(min(_height(corr, s - moved, 3), 20.0) for corr, moved in maps_all)
                for s in candidates
            ]
            best = candidates[int(np.argmax(scores))]
            strength[v] = max(_height(corr, best - moved, 3) for corr, moved in maps_all)
            if strength[v] < trusted_sd:
                reasons[v] = f"its correlation peak is weak ({strength[v]:.1f} SD)"
                continue
            shift[v] = best
            for j, (_, moved), found in zip(near, maps, peaks, strict=True):
                for x, y, z in found:
                    d = np.array([x, y])
                    if np.hypot(*(d + moved - best)) < 5:
                        pairs.append((v, j, c.matrix(v, j, cosine_stretch), d, z))
                        break
            done.append(v)
    good = np.array([not r for r in reasons])
    if pairs:
        solved = _solve(n, start, pairs, shift)
        shift[good] = solved[good]
    by_tilt = np.argsort(tilt, kind="stable")
    known = by_tilt[good[by_tilt]]
    for axis in range(2):
        shift[~good, axis] = np.interp(tilt[~good], tilt[known], shift[known, axis])
    return PrealignResult(shift * frame.scale, strength, ~good, tuple(reasons))
