"""The tracker of patches: outwards from the least tilted view, then with the solved geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiltwright.engine.fiducials.motion import Bools, Priors, bundle
from tiltwright.engine.fiducials.patch_images import PatchImages, Spectra
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import Monitor

LEAST_COVER = 0.7
"""Part of a patch that must lie on valid specimen in a view, else there is a gap."""
_NEAR = 8  # views averaged on one side
_WEAK_SD = 4.0  # height of a peak below which it is chance
_WEAK_VIEW_SD = 6.0  # the same of the peak that all patches of a view make together
_RIDGE = 0.01  # belief in the predictions, relative to that in one correlation
_LEAST_PATCHES = 0.25  # part of the patches on a view that must be found in it
_POOR = 3.0  # residual of a patch, relative to the better ones, at which its content is unfit
_LEAST_KEPT = 0.3  # part of the patches that is kept, however unequal they are


def join_displacements(
    shift: Floats, ok: Bools, share: Floats, ridge: float
) -> tuple[Floats, Bools]:
    """Displacements of a patch in all views from those against averages of other views.

    Solves ``e[v] - sum_u share[v, u] e[u] = shift[v]`` for every patch, weighted least squares
    with Tukey's biweight, and a ridge that pulls to zero and settles the constant.

    Parameters
    ----------
    shift : (n_sides, n_patches, n_views, 2)
    ok : (n_sides, n_patches, n_views)
    share : (n_sides, n_patches, n_views, n_views)
        Share of each view in the average.

    Returns
    -------
    e : (n_patches, n_views, 2)
    kept : (n_sides, n_patches, n_views)
        Measurements that agree with the others.
    """
    n_views = shift.shape[2]
    design = np.eye(n_views) - share
    target = np.where(ok[..., None], shift, 0.0)
    weight = ok.astype(np.float64)
    e = np.zeros(shift.shape[1:])
    for n_round in range(6):
        heavy = design * weight[..., None]
        normal = np.einsum("spvi,spvj->pij", heavy, design) + ridge * np.eye(n_views)
        e = np.linalg.solve(normal, np.einsum("spvi,spvk->pik", heavy, target))
        miss = np.hypot(*np.moveaxis(np.einsum("spvi,pik->spvk", design, e) - target, -1, 0))
        if not ok.any():
            break
        scale = max(float(np.median(miss[ok])), 0.02)
        if n_round < 3:
            weight = ok / (1 + (miss / (2 * scale)) ** 2)
        else:
            weight = ok * np.clip(1 - (miss / (6 * scale)) ** 2, 0, None) ** 2
    kept: Bools = np.asarray(weight > 0.1, np.bool_)
    return e, kept


def _map(work: Callable[[int], Any], views: Iterable[int], threads: int) -> Iterator[Any]:
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        yield from pool.map(work, views)
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass
class _Cut:
    """Patches of one view: spectra, where they were cut and which show enough specimen."""

    spectra: Spectra
    xy: Floats
    on: Bools


@dataclass
class _Placed:
    """A view found among the others: its patches, where they are (NaN: not found), its shift."""

    cut: _Cut
    xy: Floats
    shift_px: Floats


class PatchTracker:
    """The state of patch tracking, pixels of the images in which the patches are drawn."""

    def __init__(
        self,
        images: PatchImages,
        nominal: ViewGeometry,
        usable: Bools,
        size_px: tuple[int, int],
        grid: Floats,
        monitor: Monitor,
        threads: int,
    ) -> None:
        self.images, self.nominal, self.usable = images, nominal, usable
        self.monitor, self.threads = monitor, threads
        self.priors = Priors(0.3, 0.3, 0.003, 3.0, 0.3 * max(size_px))
        views = np.flatnonzero(usable)
        self.start = int(views[np.argmin(np.abs(nominal.tilt_deg[views]))])
        n, n_views = len(grid), nominal.n_views
        self.geometry = nominal
        self.xyz = np.zeros((n, 3))
        flat = np.linalg.inv(nominal.matrices()[self.start][:, :2])
        self.xyz[:, :2] = (grid - nominal.shift_px[self.start]) @ flat.T
        self.xy = np.full((n, n_views, 2), np.nan)
        self.sigma = np.full((n, n_views), np.nan)
        self.height = np.full((n, n_views), np.nan)
        self.in_model = np.zeros(n_views, bool)
        self.lost: dict[int, str] = {}
        self.noise_px = 0.5
        self.log: list[str] = []

    def solve(self, rounds: int = 2, n_iterations: int = 3) -> None:
        """Fit views and patches to the present positions, outliers weighted down."""
        for _ in range(rounds):
            off = self.distances()
            weight = np.where(np.isfinite(off), 1 / (1 + (off / (3 * self.noise_px)) ** 2), 0.0)
            # The others stay where they are: the bundle would draw them to the origin.
            rows = np.isfinite(off).any(1)
            self.geometry, self.xyz[rows] = bundle(
                self.xy[rows], weight[rows], self.geometry, self.xyz[rows], self.nominal,
                self.priors, self.noise_px, n_iterations,
            )  # fmt: skip
            off = self.distances()
            off = off[np.isfinite(off)]
            if len(off) > 8:
                self.noise_px = float(np.clip(np.median(off) / 1.1774, 0.02, 3.0))

    def distances(self) -> Floats:
        """Of the positions from where the geometry projects the patches, ``(n, n_views)``."""
        off: Floats = np.hypot(*np.moveaxis(self.geometry.project(self.xyz) - self.xy, -1, 0))
        return off

    def cut(self, v: int, geometry: ViewGeometry, extra: Floats | None = None) -> _Cut:
        """The patches of view ``v`` where the geometry projects them (and ``extra``)."""
        xy = geometry.project(self.xyz)[:, v]
        if extra is not None:
            xy = xy + extra
        spectra, cover = self.images.cut(v, xy, geometry.matrices()[v][:, :2])
        return _Cut(spectra, xy, np.asarray(cover >= LEAST_COVER, np.bool_))

    # -- outwards ------------------------------------------------------------------------------

    def grow(self) -> None:
        """Place the views from the least tilted one outwards, one on either side at a time."""
        tilt = self.nominal.tilt_deg
        self.in_model[self.start] = True
        first = self.cut(self.start, self.geometry)
        self.xy[first.on, self.start] = first.xy[first.on]
        done = {self.start: first}
        away = tilt - tilt[self.start]
        others = [v for v in np.flatnonzero(self.usable) if v != self.start]
        sides = [
            sorted((int(v) for v in others if up == (away[v] > 0)), key=lambda v: abs(away[v]))
            for up in (False, True)
        ]
        for k in range(max(map(len, sides), default=0)):
            pair = [side[k] for side in sides if k < len(side)]
            self.monitor.step(len(done), 1 + len(others), "patches: tracking outwards")
            found = list(_map(lambda v: self.place(v, done), pair, self.threads))
            for v, placed in zip(pair, found, strict=True):
                self.accept(v, placed)
                if isinstance(placed, _Placed):
                    done[v] = placed.cut
            self.solve(1, 2)
        self.solve(3)

    def accept(self, v: int, placed: _Placed | str) -> None:
        """Take a view into the model, or note why it is lost."""
        if isinstance(placed, str):
            self.lost[v] = placed
            return
        self.xy[:, v] = placed.xy
        self.in_model[v] = True
        self.lost.pop(v, None)
        shift = self.geometry.shift_px.copy()
        shift[v] = placed.shift_px
        self.geometry = self.geometry.with_shifts(shift)

    def place(self, v: int, done: dict[int, _Cut]) -> _Placed | str:
        """Find view ``v`` and its patches against views already placed, or say why not."""
        tilt = self.nominal.tilt_deg
        near = sorted(done, key=lambda u: abs(tilt[u] - tilt[v]))[:_NEAR]
        matrices, projected = self.geometry.matrices(), self.geometry.project(self.xyz)
        reference: Any = 0
        referred = np.zeros(len(self.xyz), bool)
        for u in near:
            by = (projected[:, u] - done[u].xy) @ np.linalg.inv(matrices[u][:, :2]).T
            reference = (
                reference + self.images.moved(done[u].spectra, by) * done[u].on[:, None, None]
            )
            referred |= done[u].on
        drift = self.geometry.shift_px[near[0]] - self.nominal.shift_px[near[0]]
        start = self.nominal.shift_px[v] + drift - self.geometry.shift_px[v]
        cut = self.cut(v, self.geometry, start)
        both = cut.on & referred
        if both.sum() < 3:
            return f"only {int(both.sum())} patches lie on its image"
        # All patches together say where the view is, however weak each of them.
        total = self.images.correlate(cut.spectra[both], reference[both]).sum(0, keepdims=True)
        total /= total.std()
        side = self.images.side
        common, height = self.images.peaks(total, np.zeros(2), int(0.4 * side))
        if not height[0] >= _WEAK_VIEW_SD:
            return "no shift makes its patches agree with those of its neighbours"
        matrix = matrices[v][:, :2]
        cut = self.cut(v, self.geometry, start + matrix @ common[0])
        maps = self.images.correlate(cut.spectra, reference)
        by, height = self.images.peaks(maps, np.zeros(2), max(3, side // 8))
        good = cut.on & referred & (height >= _WEAK_SD)
        expected = int((cut.on & referred).sum())
        if good.sum() < max(3, _LEAST_PATCHES * expected):
            return f"only {int(good.sum())} of its {expected} patches were found"
        xy = np.where(good[:, None], cut.xy + by @ matrix.T, np.nan)
        return _Placed(cut, xy, self.geometry.shift_px[v] + start + matrix @ common[0])

    # -- with the geometry ---------------------------------------------------------------------

    def refine(self, n_round: int) -> None:
        """Draw every patch where the geometry has it; measure all views against both sides."""
        for v in [v for v in self.lost if self.usable[v]]:
            near = np.flatnonzero(self.in_model)
            tilt = self.nominal.tilt_deg
            near = near[np.argsort(np.abs(tilt[near] - tilt[v]), kind="stable")][:_NEAR]
            self.accept(v, self.place(v, {int(u): self.cut(int(u), self.geometry) for u in near}))
        views = [int(v) for v in np.flatnonzero(self.in_model)]
        order = sorted(views, key=lambda v: self.nominal.tilt_deg[v])
        cuts: dict[int, _Cut] = {}
        work = _map(lambda v: self.cut(v, self.geometry), views, self.threads)
        for k, (v, cut) in enumerate(zip(views, work, strict=True)):
            self.monitor.step(k, len(views), f"patches: drawing, round {n_round + 1}")
            cuts[v] = cut
        n, n_views = len(self.xyz), self.nominal.n_views
        on = np.zeros((n, n_views), bool)
        for v, cut in cuts.items():
            on[:, v] = cut.on
        shift, height = np.full((2, n, n_views, 2), np.nan), np.full((2, n, n_views), np.nan)
        share = np.zeros((2, n, n_views, n_views))
        radius = max(3, self.images.side // (8 if n_round == 0 else 12))

        def against(v: int) -> list[tuple[list[int], Floats, Floats]]:
            place = order.index(v)
            out = []
            for near in (order[max(0, place - _NEAR) : place], order[place + 1 :][:_NEAR]):
                if near:
                    reference: Any = sum(cuts[u].spectra * cuts[u].on[:, None, None] for u in near)
                    maps = self.images.correlate(cuts[v].spectra, reference)
                    out.append((near, *self.images.peaks(maps, np.zeros(2), radius)))
                else:
                    out.append((near, np.full((n, 2), np.nan), np.full(n, np.nan)))
            return out

        for k, (v, sides) in enumerate(zip(views, _map(against, views, self.threads), strict=True)):
            self.monitor.step(k, len(views), f"patches: correlating, round {n_round + 1}")
            for s, (near, by, high) in enumerate(sides):
                total = on[:, near].sum(1)
                share[s][:, v, near] = on[:, near] / np.maximum(total, 1)[:, None]
                good = on[:, v] & (total > 0) & (high >= _WEAK_SD)
                shift[s, good, v], height[s, good, v] = by[good], high[good]
        ok = np.isfinite(height)
        e, kept = join_displacements(shift, ok, share, _RIDGE)
        matrices, projected = self.geometry.matrices(), self.geometry.project(self.xyz)
        self.xy = projected + np.einsum("vij,pvj->pvi", matrices[:, :, :2], e)
        self.xy[~kept.any(0)] = np.nan
        strength = np.fmax(height[0], height[1])
        self.solve(3)
        off = self.distances()
        self.xy[off > max(4 * self.noise_px, 0.2)] = np.nan
        gone = ~np.isfinite(self.xy[..., 0])
        self.height = np.where(gone, np.nan, strength)
        self.drop_patches()

    def drop_patches(self) -> None:
        """Drop patches that move like no point: things of several depths lie in them."""
        off = self.distances()
        count = np.isfinite(off).sum(1)
        rms = np.sqrt(np.nansum(off**2, axis=1) / np.maximum(count, 1))
        rms[count < 3] = np.inf
        ranked = np.sort(rms[np.isfinite(rms)])
        if len(ranked) < 8:
            return
        limit = max(_POOR * ranked[len(ranked) // 4], ranked[int(_LEAST_KEPT * len(ranked))])
        poor = rms > limit
        self.xy[poor], self.height[poor] = np.nan, np.nan
        self.noise_px = float(np.clip(np.nanmedian(self.distances()) / 1.1774, 0.02, 3.0))
        self.solve(2)

    def lose_views(self) -> None:
        """Views that no longer have enough patches, or fit another tilt, are lost."""
        seen = np.isfinite(self.xy[..., 0])
        expected = max(1.0, float(np.median(seen[:, self.in_model].sum(0))))
        drift = self.geometry.tilt_deg - self.nominal.tilt_deg
        drift = np.abs(drift - np.median(drift[self.in_model]))
        for v in np.flatnonzero(self.in_model).tolist():
            if seen[:, v].sum() < max(3, 0.15 * expected):
                self.lost[v] = f"only {int(seen[:, v].sum())} of its patches agree with the others"
            elif drift[v] > 1.5:
                self.lost[v] = f"its patches fit a tilt of {self.geometry.tilt_deg[v]:.1f} degrees"
            else:
                continue
            self.in_model[v] = False
            self.xy[:, v], self.height[:, v] = np.nan, np.nan
