"""The frame of the specimen: what residuals leave open, set so that the beads lie flat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tiltwright.engine.errors import DataError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.bundle import Solution
from tiltwright.engine.solve.variables import Ints

_MIN_TWO = 6
_STARTS = np.tan(np.deg2rad([-16.0, -8.0, 0.0, 8.0, 16.0]))


def _split(height: Floats) -> Ints:
    """Two classes of least variance of values on a line: 0 the lower, 1 the upper."""
    order = np.argsort(height, kind="stable")
    h = height[order]
    n, k = len(h), np.arange(1, len(h))
    low, total = np.cumsum(h)[:-1], h.sum()
    cut = int(np.argmax(low**2 / k + (total - low) ** 2 / (n - k))) + 1
    out = np.zeros(n, np.intp)
    out[order[cut:]] = 1
    return out


def _planes(xyz: Floats, surface: Ints, two: bool) -> tuple[Floats, float]:
    """Common slopes and offsets ``(a, b, z of each plane)``, and a clipped sum of squares."""
    columns = [xyz[:, 0], xyz[:, 1], surface == 0] + ([surface == 1] if two else [])
    design = np.column_stack(columns).astype(np.float64)
    keep = np.ones(len(xyz), np.bool_)
    for _ in range(3):
        fit = np.linalg.lstsq(design[keep], xyz[keep, 2], rcond=1e-9)[0]
        off = np.abs(xyz[:, 2] - design @ fit)
        keep = off <= 5 * 1.4826 * np.median(off) + 1e-9
    return fit, float(np.sum(np.minimum(off, np.percentile(off, 90)) ** 2))


def _fit(xyz: Floats, two: bool) -> tuple[Floats, Ints]:
    best: tuple[float, Floats, Ints] = (np.inf, np.zeros(4), np.zeros(len(xyz), np.intp))
    if not two:
        return _planes(xyz, best[2], False)[0], best[2]
    for slopes in np.stack(np.meshgrid(_STARTS, _STARTS), -1).reshape(-1, 2):
        surface = _split(xyz[:, 2] - xyz[:, :2] @ slopes)
        for _ in range(8):
            fit, cost = _planes(xyz, surface, True)
            if cost < best[0]:
                best = (cost, fit, surface)
            again = _split(xyz[:, 2] - xyz[:, :2] @ fit[:2])
            if np.array_equal(again, surface):
                break
            surface = again
    return best[1], best[2]


def fix_gauge(
    solution: Solution, two_surfaces: bool, z_shift_px: float = 0.0
) -> tuple[ViewGeometry, Floats, Ints]:
    """Lay the surfaces of the beads flat without moving any projection.

    A constant tilt offset and the x-axis tilt turn the specimen; its origin is put midway
    between the surfaces, projected at the image centre of the view of least tilt.

    Parameters
    ----------
    solution
    two_surfaces
        Beads on both surfaces of the specimen; fewer than six beads count as one surface.

    z_shift_px
        Height of the middle between the surfaces above the origin.

    Returns
    -------
    geometry
    xyz : (n_tracks, 3)
    surface : (n_tracks,) int
        0 bottom, 1 top; 0 for all when there is one surface, -1 for beads not solved.

    Raises
    ------
    DataError
        Fewer than three beads.
    """
    good = np.isfinite(solution.xyz).all(1)
    if good.sum() < 3:
        raise DataError("levelling: fewer than three beads; track more beads")
    old = solution.geometry
    two = bool(two_surfaces and good.sum() >= _MIN_TWO)
    fit, surface = _fit(solution.xyz[good] - solution.xyz[good].mean(0), two)
    normal = np.array([-fit[0], -fit[1], 1.0]) / np.sqrt(1 + fit[0] ** 2 + fit[1] ** 2)
    xi, dt = -np.arcsin(normal[1]), np.arctan2(normal[0], normal[2])
    c, s, cx, sx = np.cos(dt), np.sin(dt), np.cos(xi), np.sin(xi)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ [[1, 0, 0], [0, cx, -sx], [0, sx, cx]]
    xyz = solution.xyz @ turn
    flat = replace(old, tilt_deg=old.tilt_deg + np.rad2deg(dt), x_tilt_deg=float(np.rad2deg(xi)))
    height = xyz[good, 2]
    levels = [float(np.median(height[surface == k])) for k in ((0, 1) if two else (0,))]
    matrices = flat.matrices()
    least = int(np.argmin(np.abs(old.tilt_deg)))
    m = matrices[least]
    move = np.array([0.0, 0.0, z_shift_px - float(np.mean(levels))])
    move[:2] = np.linalg.solve(m[:, :2], flat.shift_px[least] - m[:, 2] * move[2])
    labels = np.full(len(xyz), -1, np.intp)
    labels[good] = surface
    return flat.with_shifts(flat.shift_px - matrices @ move), xyz + move, labels
