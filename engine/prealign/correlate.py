"""Coarse alignment of a tilt series by cross-correlation, from the least tilted view outwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.prealign.maps import Correlator, Image, find_peaks, height
from tiltwright.engine.prealign.prepare import WorkingViews
from tiltwright.engine.progress import SILENT, Monitor

Floats = npt.NDArray[np.float64]

_NEAR = 3  # predecessors that a view is correlated with
_FAR = 8  # and when these disagree in the way of features at another height
_AGREE_PX = 5.0  # working pixels within which a peak supports a shift
_READ_PX = 0.4  # standard deviation of a peak's position between tilts
_SURE = 4.0  # deviations of a height that is believed
_APART_PX = 3.0  # median misfit to its neighbours beyond which a view is not trusted


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


@dataclass(frozen=True)
class _Pair:
    """A measured ``shift[i] - matrix @ shift[j] = offset``, and its peak's height."""

    i: int
    j: int
    matrix: Floats
    offset: Floats
    weight: float

    def miss(self, shift: Floats) -> Floats:
        out: Floats = self.offset + self.matrix @ shift[self.j] - shift[self.i]
        return out


def _solve(n: int, start: int, pairs: list[_Pair], guess: Floats) -> Floats:
    """Shifts that fit all pairs best, with Huber's weights; the start stays at the origin."""
    rows = np.zeros((2 * len(pairs) + 2, 2 * n))
    rhs = np.zeros(2 * len(pairs) + 2)
    weight = np.ones(2 * len(pairs) + 2)
    for k, pair in enumerate(pairs):
        own = slice(2 * k, 2 * k + 2)
        rows[own, 2 * pair.i : 2 * pair.i + 2] = np.eye(2)
        rows[own, 2 * pair.j : 2 * pair.j + 2] = -pair.matrix
        rhs[own], weight[own] = pair.offset, pair.weight
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


class _Chain:
    """The views aligned so far, and the pairs that say so."""

    def __init__(self, c: Correlator, start: int, cosine: bool, pool: ThreadPoolExecutor) -> None:
        n = len(c.tilt)
        self.c, self.cosine, self.pool = c, cosine, pool
        self.shift, self.done = np.zeros((n, 2)), [start]
        self.pairs: list[_Pair] = []
        self.across = c.r[:, 0]

    def maps(self, v: int, near: list[int]) -> list[tuple[Any, Image, Floats]]:
        """Of each predecessor: stretched spectrum, correlation map, and where its origin lies."""
        self.c.spectrum(v)

        def against(j: int) -> tuple[Any, Image, Floats]:
            m = self.c.matrix(v, j, self.cosine)
            spectrum = self.c.stretched(j, m)
            moved: Floats = m @ self.shift[j]
            return spectrum, self.c.map_of(v, spectrum), moved

        return list(self.pool.map(against, near))

    def add(self, v: int, cumulative: bool) -> tuple[Floats, float]:
        """The shift at which view v fits its predecessors, and the height of its peak."""
        c = self.c
        by_distance = sorted(self.done, key=lambda j: abs(c.tilt[j] - c.tilt[v]))
        near = by_distance[:_NEAR]
        found = self.maps(v, near)
        maps = [(corr, moved) for _, corr, moved in found]
        peaks = [find_peaks(corr, 4) for corr, _ in maps]
        candidates = [
            np.array([x, y]) + moved
            for some, (_, moved) in zip(peaks, maps, strict=True)
            for x, y, _ in some
        ]
        if cumulative and len(near) > 1:
            # Aligned predecessors: their content moved back to the origin.
            total = sum(
                spectrum
                * np.exp(2j * np.pi * c.fy * moved[1]).astype(np.complex64)
                * np.exp(2j * np.pi * c.fx * moved[0]).astype(np.complex64)
                for spectrum, _, moved in found
            )
            summed = c.map_of(v, total)
            maps.append((summed, np.zeros(2)))
            candidates += [np.array([x, y]) for x, y, _ in find_peaks(summed, 4)]
        scores = [
            sum(min(height(corr, s - moved, 3), 20.0) for corr, moved in maps) for s in candidates
        ]
        best: Floats = candidates[int(np.argmax(scores))]
        strength = max(height(corr, best - moved, 3) for corr, moved in maps)
        pairs = self._supports(v, near, peaks, best)
        best, pairs = self._parallax(v, by_distance, best, pairs)
        self.pairs += pairs
        return best, strength

    def _supports(self, v: int, near: list[int], peaks: Any, best: Floats) -> list[_Pair]:
        """The peaks of each map that lie where ``best`` expects them."""
        out = []
        for j, some in zip(near, peaks, strict=True):
            m = self.c.matrix(v, j, self.cosine)
            for x, y, z in some:
                offset = np.array([x, y])
                if np.hypot(*(offset + m @ self.shift[j] - best)) < _AGREE_PX:
                    out.append(_Pair(v, j, m, offset, z))
                    break
        return out

    def _lean(self, pairs: list[_Pair], best: Floats) -> tuple[Floats, float, float]:
        """Parallax of a unit of height in each pair; the height that they show, its deviation."""
        if len(pairs) < 3:
            return np.zeros(len(pairs)), 0.0, np.inf
        t = np.deg2rad(self.c.tilt)
        k = np.array([np.sin(t[p.i] - t[p.j]) / np.cos(t[p.j]) for p in pairs])
        along = np.array([(p.offset + p.matrix @ self.shift[p.j] - best) @ self.across
                          for p in pairs])  # fmt: skip
        centred = k - k.mean()
        power = float(centred @ centred) + 1e-12
        return k, float(centred @ along) / power, _READ_PX / np.sqrt(power)

    def _parallax(
        self, v: int, by_distance: list[int], best: Floats, pairs: list[_Pair]
    ) -> tuple[Floats, list[_Pair]]:
        """Take out the parallax of a view that is matched by features at another height.

        After a gap, or a change of contrast, a view can correlate by features far above or below
        those that aligned its predecessors. Its pairs then disagree in proportion to the
        parallax between the tilts.
        """
        k, high, deviation = self._lean(pairs, best)
        if not self.cosine or abs(high) < _SURE * deviation:
            return best, pairs
        seen = [p.j for p in pairs]
        more = [j for j in by_distance[:_FAR] if j not in seen]
        t = np.deg2rad(self.c.tilt)
        base = best - high * float(np.mean(k)) * self.across
        for j, (_, corr, _moved) in zip(more, self.maps(v, more), strict=True):
            parallax = high * np.sin(t[v] - t[j]) / np.cos(t[j]) * self.across
            pairs = pairs + self._supports(v, [j], [find_peaks(corr, 6)], base + parallax)
        k, high, deviation = self._lean(pairs, best)
        if abs(high) < _SURE * deviation:
            return best, pairs
        level = [
            _Pair(p.i, p.j, p.matrix, p.offset - high * part * self.across, p.weight)
            for p, part in zip(pairs, k, strict=True)
        ]
        shifts = np.array([p.offset + p.matrix @ self.shift[p.j] for p in level])
        return np.median(shifts, axis=0), level


def prealign(
    working: WorkingViews,
    tilt_deg: npt.ArrayLike,
    axis_deg: float,
    *,
    cumulative: bool = True,
    radius1: float = 0.0,
    sigma1: float = 0.03,
    radius2: float = 0.25,
    sigma2: float = 0.05,
    cosine_stretch: bool = True,
    skip: npt.ArrayLike | None = None,
    trusted_sd: float = 6.0,
    monitor: Monitor = SILENT,
) -> PrealignResult:
    """Find the shift of every view by correlation with its neighbours.

    Views are taken from the least tilted one outwards, each against its three nearest trusted
    predecessors stretched to its tilt. Every peak of each pair is a candidate, judged by all the
    pairs; then all pairs are solved together, robustly. A view that most of its pairs still
    contradict is not trusted.

    Parameters
    ----------
    working : WorkingViews
        Of :func:`tiltwright.engine.prealign.prepare.working_views`.
    tilt_deg : (n_views,)
    axis_deg : float
        Tilt axis, degrees counter-clockwise from the vertical.
    cumulative : bool
        Add the correlation with the sum of the aligned predecessors to the candidates.
    radius1, sigma1, radius2, sigma2 : float
        Band-pass, cycles per pixel of the working image.
    cosine_stretch : bool
        Stretch by the ratio of the cosines across the axis before correlating.
    skip : (n_views,) bool, optional
        Views to leave out; their shifts are interpolated.
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
    tilt, views = np.asarray(tilt_deg, dtype=np.float64), working.views
    n = len(views)
    if tilt.shape != (n,):
        raise InputError(f"{tilt.size} tilt angles do not fit {n} views")
    left_out = np.zeros(n, bool) if skip is None else np.array(skip, dtype=bool)
    if left_out.shape != (n,):
        raise InputError(f"the mask of skipped views has {left_out.size} entries for {n} views")
    reasons = ["left out" if bad else "" for bad in left_out]
    for v in range(n):
        if not reasons[v] and not views[v].any():
            reasons[v] = "no contrast"
    usable = [v for v in range(n) if not reasons[v]]
    if len(usable) < 2:
        raise DataError("coarse alignment: fewer than two views show any contrast")
    start = min(usable, key=lambda v: abs(tilt[v]))
    c = Correlator(views, tilt, axis_deg, (radius1, sigma1, radius2, sigma2))
    strength = np.zeros(n)
    strength[start] = np.inf
    order = sorted((v for v in usable if v != start), key=lambda v: abs(tilt[v] - tilt[start]))
    with ThreadPoolExecutor(2) as pool:
        chain = _Chain(c, start, cosine_stretch, pool)
        for k, v in enumerate(order):
            monitor.step(k, len(order), f"correlating view {v + 1}")
            best, strength[v] = chain.add(v, cumulative)
            if strength[v] < trusted_sd:
                reasons[v] = f"its correlation peak is weak ({strength[v]:.1f} SD)"
                continue
            chain.shift[v] = best
            chain.done.append(v)
    shift = chain.shift
    pairs = [p for p in chain.pairs if not reasons[p.i] and not reasons[p.j]]
    if pairs:
        solved = _solve(n, start, pairs, shift)
        for v in chain.done[1:]:
            own = [p for p in pairs if v in (p.i, p.j)]
            apart = float(np.median([np.hypot(*p.miss(solved)) for p in own])) if own else np.inf
            if apart > _APART_PX:
                reasons[v] = "its neighbours contradict its shift"
        shift = solved
    good = np.array([not r for r in reasons])
    by_tilt = np.argsort(tilt, kind="stable")
    known = by_tilt[good[by_tilt]]
    for axis in range(2):
        shift[~good, axis] = np.interp(tilt[~good], tilt[known], shift[known, axis])
    return PrealignResult(shift * working.frame.scale, strength, ~good, tuple(reasons))
