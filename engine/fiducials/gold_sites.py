"""Where gold is in every view: the alignment's beads, those that it lacks, and lone detections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.fiducials.detect import Detections, Images, detect_all, detect_beads
from tiltwright.engine.fiducials.discover import discover
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import SILENT, Monitor

_EDGE_PX = 0.4
"""How quickly the probability falls outside of a bead."""
_HALF_PX = 1.5
"""So far outside of a bead the probability is one half: its bright Fresnel fringe streaks too."""
_BEYOND_PX = 2.0
"""Nothing farther than this outside of a bead is ever taken for gold."""
_DOUBTFUL_SCORE = 10.0
"""Score at which a detection that only one view has is as likely gold as not."""
_SHARP_SCORE = 2.0
"""The same for one that has the sharp edge of a ball of metal."""
_EDGE_SCORE = 200.0
"""The same for one that is not dark all round, but a piece of an edge."""
_SHARP = 0.8
"""A smaller ball in its middle must be so dark against the whole as it is in gold."""
_DARK = 0.43
"""A bead that only one view has must be so dark against the first ten to be believed."""
_SAME = 0.25
"""So near to each other, as a part of the diameter, the smaller ball is the middle of a bead."""
_NEAR = 0.35
"""A detection so near to where a bead is expected, as a part of the diameter, is that bead."""
_SMALL = 0.5
"""Beads of so much of the diameter are looked for when the others are out of the way."""
_GOLDEN = 0.65
"""These must be so dark, as a part of the first ten of the view, or they are grains of carbon."""
_ROUND, _LOPSIDED = 0.5, 5.0
"""The least and the most depth in any direction as parts of the usual, or it is an edge."""


@dataclass(frozen=True)
class GoldSites:
    """Beads of one view.

    Attributes
    ----------
    xy : (n, 2)
        Index coordinates.
    confidence : (n,)
        From 0 to 1.
    diameter_px : (n,)
    """

    xy: Floats
    confidence: Floats
    diameter_px: Floats

    @classmethod
    def certain(cls, xy: Floats, diameter_px: float) -> GoldSites:
        """Beads of which there is no doubt."""
        return cls(xy, np.ones(len(xy)), np.full(len(xy), diameter_px))

    def joined(self, other: GoldSites) -> GoldSites:
        """These and others."""
        return GoldSites(
            np.concatenate([self.xy, other.xy]),
            np.concatenate([self.confidence, other.confidence]),
            np.concatenate([self.diameter_px, other.diameter_px]),
        )

    def with_lone(
        self, found: Detections, diameter_px: float, doubtful: Floats | float = _DOUBTFUL_SCORE
    ) -> GoldSites:
        """These and detections that only one view has; ``doubtful`` ones are as likely as not."""
        odds = found.score / doubtful
        size = np.full(len(found.xy), diameter_px)
        return self.joined(GoldSites(found.xy, odds / (1 + odds), size))


_NOTHING = Detections(np.zeros((0, 2)), np.zeros(0), np.zeros(0))


def find_gold(
    stack: Images,
    diameter_px: float,
    used: npt.NDArray[np.bool_],
    *,
    geometry: ViewGeometry | None = None,
    xyz: Floats | None = None,
    residual_px: Floats | None = None,
    depth_px: float = 0.0,
    light: bool = False,
    monitor: Monitor = SILENT,
    threads: int = 2,
) -> list[GoldSites]:
    """Find the gold in every view of ``stack`` ``(n_views, ny, nx)``.

    A bead that many views see, tracked or found here, is certain in all of them, also where it
    is too faint to be detected. Where many views still see one when those are taken out, it is a
    smaller one or the lesser of a pair. What only one view has is believed by its score.

    Parameters
    ----------
    used : (n_views,) bool
        Views that are looked at; the others get no sites.
    geometry : ViewGeometry, optional
        Of the views, in pixels of ``stack``; without it there are only detections.
    xyz : (n, 3), optional
        Beads of the alignment, pixels of ``stack``; rows that are NaN are left out.
    residual_px : (n, n_views, 2), optional
        Predicted minus measured places of these, pixels of ``stack``, NaN where not measured.
        A detection does not move what was measured: the contrast transfer may have been corrected
        since, and rings mislead it.
    depth_px : float
        Beads lie within this height; 0 is a sixth of the image's width.

    Raises
    ------
    InputError
        The number of views differs, or the diameter is below 2 px.
    """
    n = len(stack)
    ny, nx = stack[0].shape
    if len(used) != n or (geometry is not None and geometry.n_views != n):
        raise InputError(f"erase fiducials: {len(used)} marks or another geometry for {n} views")
    middle = np.array([(nx - 1) / 2, (ny - 1) / 2])
    found = detect_all(stack, diameter_px, light=light, monitor=monitor, threads=threads)
    found = [d if u else _NOTHING for d, u in zip(found, used, strict=True)]
    if geometry is None:
        none = GoldSites.certain(np.zeros((0, 2)), diameter_px)
        return [none.with_lone(d, diameter_px) for d in found]

    views = np.flatnonzero(used)
    half = np.abs(middle) + diameter_px

    def agreed(known: Floats, found: list[Detections], depth_px: float) -> Floats:
        """Points in space that detections beside the ``known`` of several views agree upon."""
        at = geometry.project(known) + middle
        free = []
        for v, d in enumerate(found):
            far = _apart(d.xy, at[:, v]).min(1, initial=np.inf) > 0.5 * diameter_px
            free.append(d.xy[far] - middle)

        def wanted(predicted: Floats) -> float:
            return 0.4 * float(((np.abs(predicted) < half).all(1) & used).sum())

        more = discover(
            free, geometry, views, max(3, min(5, len(views) // 2)), _NEAR * diameter_px,
            depth_px, wanted, monitor,
        )  # fmt: skip
        return np.array([place for _, place in more]).reshape(-1, 3)

    solved = np.zeros(0, np.bool_) if xyz is None else np.isfinite(xyz).all(1)
    beads = np.zeros((0, 3)) if xyz is None else xyz[solved]
    beads = np.concatenate([beads, agreed(beads, found, depth_px or middle[0] / 3)])
    known = geometry.project(beads) + middle
    fixed = np.zeros(known.shape[:2], np.bool_)
    if residual_px is not None:
        off = residual_px[solved]
        fixed[: len(off)] = np.hypot(off[..., 0], off[..., 1]) < _NEAR * diameter_px
        known[: len(off)] -= np.where(fixed[: len(off), :, None], off, 0)
    sites, lone = [], []
    for v in range(n):
        here = len(known) if used[v] else 0
        xy, mask = _centred(known[:here, v], fixed[:here, v], found[v], diameter_px)
        sites.append(GoldSites.certain(xy, diameter_px))
        lone.append(found[v].only(mask))

    small_px = _SMALL * diameter_px
    some = [v for v in views if len(found[v].xy)]
    if small_px < 2 or not some:
        return [s.with_lone(d, diameter_px) for s, d in zip(sites, lone, strict=True)]

    def small_gold(v: int) -> float:
        monitor.check()
        gold = detect_beads(np.asarray(stack[v]), small_px, light=light)
        return _darkness(gold) / _darkness(found[v])

    def look_again(v: int) -> tuple[Detections, Floats]:
        """Small dark dots beside the beads, and at which score lone detections are doubtful."""
        monitor.check()
        if not len(found[v].xy):
            return _NOTHING, np.zeros(0)
        covered = _covered(np.asarray(stack[v]), sites[v])
        dots = detect_beads(covered, small_px, light=light)
        apart = _apart(lone[v].xy, dots.xy)
        dark = np.where(apart < _SAME * diameter_px, dots.contrast, 0).max(1, initial=0) / ratio
        gold = _darkness(found[v])
        sharp = (dark > _SHARP * lone[v].contrast) & (lone[v].contrast > _DARK * gold)
        ball = _round(covered, lone[v].xy, diameter_px)
        doubtful = np.where(sharp, _SHARP_SCORE, _DOUBTFUL_SCORE)
        keep = dots.contrast > _GOLDEN * ratio * gold
        keep &= apart.min(0, initial=np.inf) > 0.5 * diameter_px
        keep &= _round(covered, dots.xy, small_px)
        return dots.only(keep), np.where(ball, doubtful, _EDGE_SCORE)

    small: list[Detections] = []
    some = [some[k] for k in np.unique(np.linspace(0, len(some) - 1, 5).astype(int))]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        # how dark gold is for a smaller bead than it is
        ratio = float(np.median(list(pool.map(small_gold, some))))
        for k, (dots, doubtful) in enumerate(pool.map(look_again, range(n))):
            sites[k] = sites[k].with_lone(lone[k], diameter_px, doubtful)
            small.append(dots)
            monitor.step(len(small), n, "detecting beads beside others")
    depth = float(np.abs(beads[:, 2]).max(initial=0)) + diameter_px
    hidden = geometry.project(agreed(np.zeros((0, 3)), small, depth)) + middle
    free = np.zeros(len(hidden), np.bool_)
    for view in views:
        at = _centred(hidden[:, view], free, small[view], diameter_px)[0]
        sites[view] = sites[view].joined(GoldSites.certain(at, small_px))
    return sites


def _darkness(found: Detections) -> float:
    return float(np.median(found.contrast[:10])) if len(found.xy) else np.inf


def _apart(a: Floats, b: Floats) -> Floats:
    distance: Floats = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    return distance


def _centred(
    known: Floats, fixed: npt.NDArray[np.bool_], detections: Detections, diameter_px: float
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Where the ``known`` beads of a view are seen, and which detections are none of them.

    Those that are ``fixed`` stay.
    """
    xy, lone = known.copy(), np.ones(len(detections.xy), np.bool_)
    if len(known) and len(lone):
        away = _apart(known, detections.xy)
        nearest = away.argmin(1)
        seen = ~fixed & (away[np.arange(len(known)), nearest] < _NEAR * diameter_px)
        xy[seen] = detections.xy[nearest[seen]]
        lone = away.min(0) > 0.5 * diameter_px
    return xy, lone


def _covered(view: npt.NDArray[np.generic], sites: GoldSites) -> npt.NDArray[np.float32]:
    """A copy of a view whose beads are hidden by the mean around each."""
    out = np.array(view, np.float32)
    mask = gold_probability(out.shape, sites) > 0
    for (x, y), diameter in zip(sites.xy, sites.diameter_px, strict=True):
        half = int(diameter) + 2
        rows, columns = (slice(max(0, int(c) - half), max(0, int(c) + half + 1)) for c in (y, x))
        part, hidden = out[rows, columns], mask[rows, columns]
        if hidden.any() and not hidden.all():
            part[hidden] = part[~hidden].mean()
    return out


def _round(view: npt.NDArray[np.float32], xy: Floats, reach_px: float) -> npt.NDArray[np.bool_]:
    """Whether the grey value changes from ``xy`` (n, 2) to ``reach_px`` away all round."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(view, 1.0)
    turn = np.arange(8) * np.pi / 4
    ring = xy[:, None] + reach_px * np.stack([np.cos(turn), np.sin(turn)], 1)
    both = [ndimage.map_coordinates(smooth, p.T[::-1], order=1, mode="nearest") for p in (xy, ring)]
    depth = both[1].T - both[0][:, None]
    usual = np.median(depth, axis=1, keepdims=True)
    depth, usual = depth * np.sign(usual), np.abs(usual)
    allround: npt.NDArray[np.bool_] = (depth > _ROUND * usual).all(1)
    allround &= (depth < _LOPSIDED * usual).all(1)
    return allround


def gold_probability(shape: tuple[int, ...], sites: GoldSites) -> npt.NDArray[np.float32]:
    """Probability that a pixel shows gold, ``(ny, nx)``, 0 to 1.

    At a certain bead it is one half 1.5 px outside of its radius and 0 from 2 px on.
    """
    ny, nx = shape
    out = np.zeros(shape, np.float32)
    for (x, y), sure, diameter in zip(sites.xy, sites.confidence, sites.diameter_px, strict=True):
        reach = diameter / 2 + _BEYOND_PX
        rows = slice(max(0, int(np.ceil(y - reach))), max(0, min(ny, int(y + reach) + 1)))
        columns = slice(max(0, int(np.ceil(x - reach))), max(0, min(nx, int(x + reach) + 1)))
        part = out[rows, columns]
        r = np.hypot(*np.meshgrid(
            np.arange(rows.start, rows.stop) - y, np.arange(columns.start, columns.stop) - x,
            indexing="ij",
        ))  # fmt: skip
        if part.size:
            here = sure / (1 + np.exp((r - diameter / 2 - _HALF_PX) / _EDGE_PX))
            np.maximum(part, np.where(r <= reach, here, 0), out=part)
    return out
