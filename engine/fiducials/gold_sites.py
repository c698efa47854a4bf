"""Where gold is in every view: the alignment's beads, those that it lacks, and lone detections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.fiducials.detect import Detections, Images, detect_all
from tiltwright.engine.fiducials.discover import discover
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import SILENT, Monitor

_EDGE_PX = 0.4
"""How quickly the probability falls at a bead's edge; it is one half 1 px outside of it."""
_BEYOND_PX = 2.0
"""Nothing farther than this outside of a bead is ever taken for gold."""
_DOUBTFUL_SCORE = 10.0
"""Score at which a detection that only one view has is as likely gold as not."""


@dataclass(frozen=True)
class GoldSites:
    """Beads of one view: ``xy`` (n, 2) index coordinates, ``confidence`` (n,) from 0 to 1."""

    xy: Floats
    confidence: Floats


def find_gold(
    stack: Images,
    diameter_px: float,
    used: npt.NDArray[np.bool_],
    *,
    geometry: ViewGeometry | None = None,
    xyz: Floats | None = None,
    depth_px: float = 0.0,
    light: bool = False,
    monitor: Monitor = SILENT,
    threads: int = 2,
) -> list[GoldSites]:
    """Find the gold in every view of ``stack`` ``(n_views, ny, nx)``.

    A bead that many views see, tracked or found here, is certain in all of them, also where it
    is too faint to be detected. What only one view has is believed by its score.

    Parameters
    ----------
    used : (n_views,) bool
        Views that are looked at; the others get no sites.
    geometry : ViewGeometry, optional
        Of the views, in pixels of ``stack``; without it there are only detections.
    xyz : (n, 3), optional
        Beads of the alignment, pixels of ``stack``; rows that are NaN are left out.
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
    nothing = Detections(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
    found = [d if u else nothing for d, u in zip(found, used, strict=True)]
    known = np.zeros((0, n, 2))
    if geometry is not None:
        known = _beads_in_space(found, geometry, used, xyz, middle, diameter_px, depth_px, monitor)
    return [_sites(known[: len(known) * bool(used[v]), v], found[v], diameter_px) for v in range(n)]


def _beads_in_space(
    found: list[Detections], geometry: ViewGeometry, used: npt.NDArray[np.bool_],
    xyz: Floats | None, middle: Floats, diameter_px: float, depth_px: float, monitor: Monitor,
) -> Floats:  # fmt: skip
    """Index positions in every view of beads that several views agree upon, (n, n_views, 2)."""
    points = np.zeros((0, 3)) if xyz is None else xyz[np.isfinite(xyz).all(1)]
    known = geometry.project(points) + middle
    free = []
    for v, detections in enumerate(found):
        away = np.hypot(*(detections.xy[:, None] - known[None, :, v]).transpose(2, 0, 1))
        far = away.min(1, initial=np.inf) > 0.5 * diameter_px
        free.append(detections.xy[far] - middle)
    views = np.flatnonzero(used)
    half = np.abs(middle) + diameter_px

    def wanted(predicted: Floats) -> float:
        inside = (np.abs(predicted) < half).all(1) & used
        return 0.4 * float(inside.sum())

    more = discover(
        free, geometry, views, max(3, min(5, len(views) // 2)), 0.35 * diameter_px,
        depth_px or middle[0] / 3, wanted, monitor,
    )  # fmt: skip
    extra = np.array([place for _, place in more]).reshape(-1, 3)
    return np.concatenate([known, geometry.project(extra) + middle])


def _sites(known: Floats, detections: Detections, diameter_px: float) -> GoldSites:
    """Beads of one view: those known in space, where they are seen, and the rest of what is."""
    xy = known.copy()
    lone = np.ones(len(detections.xy), np.bool_)
    if len(known) and len(lone):
        away = np.hypot(*(known[:, None] - detections.xy[None]).transpose(2, 0, 1))
        nearest = away.argmin(1)
        seen = away[np.arange(len(known)), nearest] < 0.35 * diameter_px
        xy[seen] = detections.xy[nearest[seen]]
        lone = away.min(0) > 0.5 * diameter_px
    score = detections.score[lone]
    confidence = np.concatenate([np.ones(len(xy)), score / (score + _DOUBTFUL_SCORE)])
    return GoldSites(np.concatenate([xy, detections.xy[lone]]), confidence)


def gold_probability(
    shape: tuple[int, int], sites: GoldSites, diameter_px: float
) -> npt.NDArray[np.float32]:
    """Probability that a pixel shows gold, ``(ny, nx)``, 0 to 1.

    At a certain bead it is one half 1 px outside of its radius and 0 from 2 px on.
    """
    ny, nx = shape
    out = np.zeros(shape, np.float32)
    radius = diameter_px / 2
    reach = radius + _BEYOND_PX
    for (x, y), sure in zip(sites.xy, sites.confidence, strict=True):
        rows = slice(max(0, int(np.ceil(y - reach))), max(0, min(ny, int(y + reach) + 1)))
        columns = slice(max(0, int(np.ceil(x - reach))), max(0, min(nx, int(x + reach) + 1)))
        part = out[rows, columns]
        r = np.hypot(*np.meshgrid(
            np.arange(rows.start, rows.stop) - y, np.arange(columns.start, columns.stop) - x,
            indexing="ij",
        ))  # fmt: skip
        if part.size:
            here = sure / (1 + np.exp((r - radius - 1) / _EDGE_PX))
            np.maximum(part, np.where(r <= reach, here, 0), out=part)
    return out
