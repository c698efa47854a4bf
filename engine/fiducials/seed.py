"""Points in space that the detections of several views agree upon, and a choice among them."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats

Ints = npt.NDArray[np.int64]


@numba.njit(nogil=True, cache=True)
def _depth_votes(  # pragma: no cover - compiled
    base: Floats,
    slope: Floats,
    xy: Floats,
    start: Ints,
    n_depths: int,
    limit: float,
    tolerance: float,
) -> tuple[Floats, Ints]:
    n_sources, n_views = base.shape[:2]
    best = np.zeros(n_sources)
    count = np.zeros(n_sources, np.int64)
    step = 2 * limit / (n_depths - 1)
    for i in range(n_sources):
        votes = np.zeros(n_depths, np.int64)
        last = np.full(n_depths, -1, np.int64)
        for v in range(n_views):
            bx, by = slope[v, 0], slope[v, 1]
            square = bx * bx + by * by
            for d in range(start[v], start[v + 1]):
                dx, dy = xy[d, 0] - base[i, v, 0], xy[d, 1] - base[i, v, 1]
                z = 0.0
                half = limit
                if square > 1e-12:
                    z = (dx * bx + dy * by) / square
                    rx, ry = dx - z * bx, dy - z * by
                    rest = tolerance * tolerance - rx * rx - ry * ry
                    if rest < 0:
                        continue
                    half = np.sqrt(rest / square)
                elif dx * dx + dy * dy > tolerance * tolerance:
                    continue
                low = max(0, int(np.ceil((z - half + limit) / step)))
                high = min(n_depths - 1, int(np.floor((z + half + limit) / step)))
                for k in range(low, high + 1):
                    if last[k] != v:
                        last[k] = v
                        votes[k] += 1
        top = 0
        total = 0.0
        n = 0
        for k in range(n_depths):
            if votes[k] > top:
                top, total, n = votes[k], 0.0, 0
            if votes[k] == top:
                total += k
                n += 1
        # The mean of the best bins, unless they fall apart into several groups.
        middle = int(np.round(total / n))
        if votes[middle] < top:
            for k in range(n_depths):
                if votes[k] == top:
                    middle = k
                    break
        best[i] = -limit + step * middle
        count[i] = top
    return best, count


def depth_votes(
    sources: Floats,
    source_view: int,
    detections: list[Floats],
    geometry: ViewGeometry,
    views: Ints,
    depth_limit_px: float,
    tolerance_px: float,
) -> tuple[Floats, Ints]:
    """Depth at which most views have a detection where a point seen in one view should lie.

    Parameters
    ----------
    sources : (n, 2)
        Positions in ``source_view``, about the image centre, raw pixels.
    detections : list of (n_v, 2)
        Detections of every view of the geometry.
    views
        The views that vote.

    Returns
    -------
    xyz : (n, 3)
        The points in space at their best depths.
    count : (n,)
        Number of views that agree.
    """
    matrices = geometry.matrices()
    own = matrices[source_view]
    # A point of the source view's line of sight is origin + z * direction.
    flat = np.linalg.inv(own[:, :2])
    origin = np.zeros((len(sources), 3))
    origin[:, :2] = (sources - geometry.shift_px[source_view]) @ flat.T
    direction = np.append(-flat @ own[:, 2], 1.0)
    base = np.einsum("vij,pj->pvi", matrices[views], origin) + geometry.shift_px[views]
    slope = matrices[views] @ direction
    start = np.concatenate([[0], np.cumsum([len(detections[v]) for v in views])]).astype(np.int64)
    xy = np.concatenate([detections[v] for v in views]) if len(views) else np.zeros((0, 2))
    n_depths = int(min(2001, max(3, 4 * np.ceil(depth_limit_px / tolerance_px) + 1)))
    z, count = _depth_votes(
        np.ascontiguousarray(base),
        np.ascontiguousarray(slope),
        np.ascontiguousarray(xy, dtype=np.float64),
        start,
        n_depths,
        float(depth_limit_px),
        float(tolerance_px),
    )
    return origin + z[:, None] * direction, count


def spread_choice(xyz: Floats, quality: Floats, n_wanted: int, surface: Ints | None = None) -> Ints:
    """Choose points that lie well apart, better ones first.

    Farthest-point sampling in the plane of the specimen, each distance weighted by the quality
    of the point; with surfaces, the surfaces are served in turn.

    Parameters
    ----------
    xyz : (n, 3)
    quality : (n,)
        Larger is better, positive.
    surface : (n,) int, optional
        Surface of each point; points of different surfaces do not repel each other.

    Returns
    -------
    (min(n, n_wanted),) indices, in order of choice.
    """
    n = len(xyz)
    if n == 0 or n_wanted <= 0:
        return np.zeros(0, np.int64)
    group = np.zeros(n, np.int64) if surface is None else np.asarray(surface)
    kinds = list(np.unique(group))
    extent = float(np.max(np.ptp(xyz[:, :2], axis=0))) + 1.0
    distance = np.full(n, extent)
    chosen: list[int] = []
    free = np.ones(n, bool)
    while len(chosen) < min(n, n_wanted):
        kind = kinds[len(chosen) % len(kinds)]
        candidates = free & (group == kind)
        if not candidates.any():
            kinds.remove(kind)
            continue
        pick = int(np.argmax(np.where(candidates, distance * quality, -1.0)))
        chosen.append(pick)
        free[pick] = False
        away = np.hypot(*(xyz[:, :2] - xyz[pick, :2]).T)
        same = group == group[pick]
        distance = np.where(same, np.minimum(distance, away), distance)
    return np.array(chosen, dtype=np.int64)
