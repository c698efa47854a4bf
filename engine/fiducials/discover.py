"""New points in space from the detections that no track holds yet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tiltwright.engine.fiducials.seed import Ints, depth_votes
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import SILENT, Monitor


def _settle(
    xyz: Floats, free: list[Floats], used: list[Floats], geometry: ViewGeometry,
    matrices: Floats, views: Ints, least: int, gate_px: float,
) -> tuple[Floats, Ints]:  # fmt: skip
    """Match a point to the nearest free detections and triangulate it from them, thrice."""
    match = np.full(len(matrices), -1, np.int64)
    for _ in range(3):
        predicted = matrices @ xyz + geometry.shift_px
        match[:] = -1
        for w in views:
            if not len(free[w]):
                continue
            away = np.hypot(*(free[w] - predicted[w]).T) + used[w]
            nearest = int(away.argmin())
            if away[nearest] < gate_px:
                match[w] = nearest
        hit = np.flatnonzero(match >= 0)
        if len(hit) < least:
            break
        design = matrices[hit].reshape(-1, 3)
        measured = np.array([free[w][match[w]] for w in hit])
        right = (measured - geometry.shift_px[hit]).reshape(-1)
        normal = design.T @ design + np.eye(3) * 1e-4
        xyz = np.linalg.solve(normal, design.T @ right).astype(np.float64)
    return xyz, match


def discover(
    free: list[Floats],
    geometry: ViewGeometry,
    views: Ints,
    least: int,
    gate_px: float,
    depth_limit_px: float,
    wanted: Callable[[Floats], float],
    monitor: Monitor = SILENT,
) -> list[tuple[Ints, Floats]]:
    """Find points that detections of at least ``least`` views agree upon.

    Parameters
    ----------
    free : list of (n_v, 2)
        Detections of every view of the geometry that no track holds.
    views
        The views that may agree.
    depth_limit_px
        Of the points, either way.
    wanted : callable
        From a point's predictions ``(n_views, 2)``: in how many views it must be found at least.

    Returns
    -------
    list of (match (n_views,), xyz (3,))
        Index of the detection in each view, -1 for none; no detection belongs to two points.
    """
    found: list[tuple[int, int, int]] = []
    points: list[Floats] = []
    # A long track has a point in one view of three: enough to find it from.
    for v in views[:: 3 if len(views) > 12 else 1].tolist():
        if not len(free[v]):
            continue
        monitor.check()
        places, count = depth_votes(free[v], int(v), free, geometry, views, depth_limit_px, gate_px)
        for k in np.flatnonzero(count >= least):
            found.append((int(count[k]), int(v), int(k)))
            points.append(places[k])
    # infinitely far away once they belong to a point
    used = [np.zeros(len(f)) for f in free]
    added: list[tuple[Ints, Floats]] = []
    matrices = geometry.matrices()
    for which in np.argsort([-f[0] for f in found], kind="stable"):
        _, v, k = found[which]
        if used[v][k]:
            continue
        xyz, match = _settle(points[which], free, used, geometry, matrices, views, least, gate_px)
        hit = np.flatnonzero(match >= 0)
        predicted = matrices @ xyz + geometry.shift_px
        if len(hit) < max(least, wanted(predicted)):
            continue
        for w in hit:
            used[w][match[w]] = np.inf
        added.append((match.copy(), xyz))
    return added
