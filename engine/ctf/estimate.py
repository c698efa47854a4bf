"""Estimation of the CTF of a whole tilt series from its tilted power spectra.

The idea that the defocus gradient of a known tilt is used rather than averaged over stands in
Xiong et al. 2009 (https://doi.org/10.1016/j.jsb.2009.08.016); here tiles of equal defocus are
fitted together, each group at its own defocus, and views are bound to their neighbours in the order
of acquisition as far as they scatter.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.ctf.curves import RadialFit, radial_fit
from tiltwright.engine.ctf.fit import ENVELOPES_A2, Fit, FitData, refine, search
from tiltwright.engine.ctf.judge import Rival, best_rival, vote
from tiltwright.engine.ctf.model import Optics
from tiltwright.engine.ctf.neighbours import best_path, smooth_walk, walk_scale
from tiltwright.engine.ctf.spectra import ViewSpectra, view_spectra
from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.progress import SILENT, Monitor

Floats = npt.NDArray[np.float64]
GROUP_RAD = 0.5
_SEARCH_RAD = 0.4
_WALK_A = 1500.0
_LEAST_WALK = np.array([30.0, 10.0, 10.0, 0.5])
_HIGH_TILT_DEG = 15.0
_FIXED_PHASES = np.arange(0.0, 180.0, 15.0)
_LEAST_LOG_RATIO = 2.0
"""Per view; fits to noise alone reach 1.8 on average (512 and 1024 pixels, 8 series)."""


@dataclass(frozen=True)
class Settings:
    """What is searched, and where.

    Attributes
    ----------
    tile : int
        Side of the tiles, pixels.
    band_a : (longest, shortest) period that is fitted, angstrom
    defocus_a : (least, most), angstrom
    astigmatism, phase_shift : bool
        Whether they are fitted; without them they are 0 and ``phase_deg``.
    phase_deg : float
    hand : int
        1 or -1 when it is known, 0 to find it out.
    neighbours : bool
        Whether views are held to what their neighbours say.
    """

    tile: int = 512
    band_a: tuple[float, float] = (30.0, 8.0)
    defocus_a: tuple[float, float] = (5000.0, 80000.0)
    astigmatism: bool = True
    phase_shift: bool = False
    phase_deg: float = 0.0
    hand: int = 0
    neighbours: bool = True

    def check(self) -> None:
        """Raise :class:`InputError` naming the first impossible value."""
        if not 32 <= self.tile <= 4096 or self.tile % 2:
            raise InputError(f"CTF: tile {self.tile} must be even and within 32 to 4096")
        if not 0 < self.band_a[1] < self.band_a[0]:
            raise InputError(f"CTF: fit range {self.band_a[0]:g} to {self.band_a[1]:g} Å is empty")
        if not 0 < self.defocus_a[0] < self.defocus_a[1]:
            raise InputError(
                f"CTF: defocus range {self.defocus_a[0] / 1e4:g} to {self.defocus_a[1] / 1e4:g} "
                "µm is empty"
            )


@dataclass(frozen=True)
class SeriesFit:
    """The CTF of the views that were fitted.

    Attributes
    ----------
    views : (n,) int64
        Which they are: the used ones, less the blank ones.
    fits : list of Fit
    curves : list of RadialFit
    sigma_a : (n,) float64
        Standard error of the mean defocus.
    hand : int
        1, -1, or 0 when the gradient does not tell.
    hand_confidence : float
        Agreement of the views, 0 to 1, weighted by what each can tell.
    hand_evidence : float
        Log likelihood of ``hand`` over the other one.
    rival : Rival
        The best of the other explanations.
    """

    views: npt.NDArray[np.int64]
    fits: list[Fit]
    curves: list[RadialFit]
    sigma_a: Floats
    hand: int
    hand_confidence: float
    hand_evidence: float
    rival: Rival


def estimate_series(
    stack: Any,
    pixel_size_a: float,
    slopes_a: Floats,
    centres_xy: Floats,
    tilt_deg: Floats,
    order: npt.ArrayLike,
    used: npt.NDArray[np.bool_],
    optics: Optics,
    settings: Settings,
    *,
    threads: int = 2,
    monitor: Monitor = SILENT,
) -> SeriesFit:
    """Fit the CTF of every used view.

    Parameters
    ----------
    stack : (n_views, ny, nx)
    pixel_size_a : float
        Of ``stack``, angstrom.
    slopes_a : (n_views, 2)
        Change of defocus per pixel of ``stack`` for ``hand = 1``.
    centres_xy : (n_views, 2)
        Index position of the specimen's origin in each view of ``stack``.
    tilt_deg : (n_views,)
    order : (n_views,)
        Rank of acquisition.
    used : (n_views,) bool
    threads : int

    Raises
    ------
    InputError
        Settings that do not fit the stack.
    DataError
        The views show no rings, or are blank.
    Cancelled
    """
    settings.check()
    views = np.flatnonzero(used)
    views = views[np.argsort(np.asarray(order)[views], kind="stable")]
    if len(views) == 0:
        raise InputError("CTF estimation: no view is used")
    top = min(1 / settings.band_a[1], 0.49 / pixel_size_a) ** 2 * optics.per_defocus

    def spectra_of(v: int) -> ViewSpectra | None:
        try:
            return view_spectra(
                np.asarray(stack[v]), pixel_size_a, slopes_a[v], centres_xy[v],
                tile=settings.tile, band_a=settings.band_a, group_a=GROUP_RAD / top,
            )  # fmt: skip
        except DataError:
            return None

    with ThreadPoolExecutor(max(threads, 1)) as pool:

        def run(task: Callable[[int], Any], n: int, text: str, begin: int, end: int) -> list[Any]:
            out: list[Any] = []
            for first in range(0, n, threads):
                monitor.step(begin + (end - begin) * first // max(n, 1), 100, text)
                out += pool.map(task, range(first, min(first + threads, n)))
            return out

        made = run(lambda i: spectra_of(int(views[i])), len(views), "power spectra", 0, 60)
        views = views[[s is not None for s in made]]
        spectra = [s for s in made if s is not None]
        n = len(views)
        if n == 0:
            raise DataError("CTF estimation: all views are blank")
        work = _Series(spectra, np.asarray(tilt_deg)[views], optics, settings, top)
        found = run(work.searched, n, "searching defocus", 60, 80)
        work.choose(found)
        work.fits = run(work.refined, n, "fitting rings", 80, 90)
        work.judge_hand(run(work.other_hand, n, "handedness", 90, 95))
        if settings.neighbours and n > 2:
            work.bind()
            work.fits = run(work.bound, n, "fitting with neighbours", 95, 100)
        work.check()
        curves = run(work.curve, n, "scores", 100, 100)
        monitor.step(100, 100, "fitted")
    return work.result(views, curves)


class _Series:
    """The views of a series, in the order of acquisition, while they are fitted."""

    def __init__(
        self, spectra: list[ViewSpectra], tilt_deg: Floats, optics: Optics, settings: Settings,
        top: float,
    ) -> None:  # fmt: skip
        self.spectra, self.tilt_deg = spectra, tilt_deg
        self.optics, self.settings, self.top = optics, settings, top
        self.data = [FitData.of(s) for s in spectra]
        self.radial = [FitData.of(s, sectors=False) for s in spectra]
        low, high = settings.defocus_a
        self.grid = np.linspace(low, high, max(8, round((high - low) * top / _SEARCH_RAD)))
        self.phases = _FIXED_PHASES if settings.phase_shift else np.array([settings.phase_deg])
        self.free = (True, settings.astigmatism, settings.astigmatism, settings.phase_shift)
        self.hand = settings.hand or 1
        self.hand_said, self.confidence, self.evidence = settings.hand, 0.0, 0.0
        self.start: list[Floats] = []
        self.b_a2: list[float] = []
        self.fits: list[Fit] = []
        self.prior: list[tuple[Floats, Floats] | None] = [None] * len(spectra)
        self.rival = Rival(0.0, "")

    def searched(self, i: int) -> tuple[Floats, Floats, Floats]:
        """Log ratios of one view.

        ``(2 hands, n_phases, n_defocus)``; for each hand the best envelope; ``(n_defocus,)`` of
        rings of reversed contrast, which a phase shift of 90 degrees has too.
        """
        out, best, reversed_ = [], [], np.zeros(len(self.grid))
        for hand in (1, -1):
            ratios = [
                search(self.radial[i], self.optics, self.grid, self.phases, hand, b)
                for b in ENVELOPES_A2
            ]
            k = int(np.argmax([r.max() for r in ratios]))
            out.append(np.maximum(ratios[k], 0))
            best.append(ENVELOPES_A2[k])
            if not self.settings.phase_shift:
                reversed_ = np.maximum(reversed_, -np.min(ratios, (0, 1)))
        return np.array(out), np.array(best), reversed_

    def choose(self, found: list[tuple[Floats, Floats, Floats]]) -> None:
        """The hand, a starting value for each view, and what else it could be."""
        ratio = np.array([f[0] for f in found])  # views, hands, phases, defocus
        plain = ratio.max(2)
        views = np.arange(len(plain))
        paths, totals = [], []
        for h in (0, 1):
            path = best_path(plain[:, h], self.grid, _WALK_A)
            paths.append(path)
            totals.append(float(plain[views, h, path].sum()))
        if self.settings.hand == 0:
            self.hand = 1 if totals[0] >= totals[1] else -1
        h = 0 if self.hand == 1 else 1
        for i, at in enumerate(paths[h]):
            phase = self.phases[int(ratio[i, h, :, at].argmax())]
            self.start.append(np.array([self.grid[at], 0.0, 0.0, phase]))
            self.b_a2.append(float(found[i][1][h]))
        # Where the phase turns by half a ring more, or less, over the band.
        width = np.pi / (self.top - self.optics.per_defocus / self.settings.band_a[0] ** 2)
        reversed_ = np.array([f[2] for f in found])
        self.rival = best_rival(plain[:, h], reversed_, self.grid, paths[h], width)

    def _refine(self, i: int, start: Floats, hand: int, bound: bool = False) -> Fit:
        return refine(
            self.data[i], self.optics, start, free=self.free, hand=hand, b_a2=self.b_a2[i],
            prior=self.prior[i] if bound else None,
        )  # fmt: skip

    def refined(self, i: int) -> Fit:
        """The fit of one view by itself: from its start, and without astigmatism first."""
        plain = refine(
            self.data[i], self.optics, self.start[i], free=(True, False, False, self.free[3]),
            hand=self.hand, b_a2=self.b_a2[i],
        )  # fmt: skip
        return self._refine(i, plain.p, self.hand)

    def other_hand(self, i: int) -> float:
        """Log likelihood of the hand over the other one; 0 where the tilt is too small to tell."""
        if abs(self.tilt_deg[i]) < _HIGH_TILT_DEG:
            return 0.0
        other = self._refine(i, self.fits[i].p, -self.hand)
        return self.fits[i].log_ratio - other.log_ratio

    def judge_hand(self, evidence: list[float]) -> None:
        """Whether the gradient tells the hand."""
        found = vote(evidence)
        self.confidence, self.evidence = found.agreement, found.evidence
        if self.settings.hand != 0:
            self.confidence *= found.better
            return
        if found.better < 0:
            self.hand = -self.hand
            self.fits = [self.refined(i) for i in range(len(self.fits))]
        # Rings that may be none of the CTF tell nothing of its gradient.
        self.hand_said = self.hand if found.hand and self.rival.proven else 0

    def bind(self) -> None:
        """Give each view a prior by the others."""
        p = np.array([f.p for f in self.fits])
        information = np.array([f.information for f in self.fits])
        # What is nearly free of rings must not be believed to its formal error.
        information *= np.array([min(1.0, f.log_ratio / 20) for f in self.fits])[:, None, None]
        walk = np.zeros(4)
        for k in np.flatnonzero(self.free):
            walk[k] = walk_scale(p[:, k], information[:, k, k], _LEAST_WALK[k])
        if self.settings.astigmatism:
            walk[1:3] = walk[1:3].max()
        mean, prior = smooth_walk(p, information, walk)
        self.prior = [(mean[i], prior[i]) for i in range(len(p))]

    def bound(self, i: int) -> Fit:
        """The fit of one view with its neighbours as a prior."""
        prior = self.prior[i]
        assert prior is not None

        def cost(fit: Fit) -> float:
            off = fit.p - prior[0]
            return 0.5 * float(off @ prior[1] @ off) - fit.log_ratio

        starts = [self.fits[i].p]
        deviation = float((self.fits[i].p - prior[0]) @ prior[1] @ (self.fits[i].p - prior[0]))
        if deviation > 9:
            starts.append(prior[0])
        return min((self._refine(i, s, self.hand, True) for s in starts), key=cost)

    def check(self) -> None:
        """Refuse fits that noise alone would give as well."""
        if sum(f.log_ratio for f in self.fits) < _LEAST_LOG_RATIO * len(self.fits):
            raise DataError(
                "CTF estimation: the views show no rings; widen the defocus or the fit range, or "
                "take a stack that is binned less"
            )

    def curve(self, i: int) -> RadialFit:
        """The radial spectrum of one view."""
        return radial_fit(self.spectra[i], self.fits[i], self.optics, self.hand)

    def result(self, views: npt.NDArray[np.int64], curves: list[RadialFit]) -> SeriesFit:
        """In the order of the views."""
        back = np.argsort(views)
        sigma = []
        for i, fit in enumerate(self.fits):
            prior = self.prior[i]
            total = fit.information + (0 if prior is None else prior[1])
            free = np.flatnonzero(np.diag(total) > 0)
            part = total[np.ix_(free, free)]
            known = len(free) and np.linalg.cond(part) < 1e15
            sigma.append(float(np.sqrt(np.linalg.inv(part)[0, 0])) if known else np.nan)
        return SeriesFit(
            views[back], [self.fits[i] for i in back], [curves[i] for i in back],
            np.array(sigma)[back], self.hand_said, self.confidence, self.evidence,
            self.rival,
        )  # fmt: skip
