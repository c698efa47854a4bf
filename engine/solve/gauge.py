"""The gauge of a solution: bead surfaces flat, specimen centred."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.bundle import Solution
from tiltwright.engine.solve.variables import Ints


def fit_surfaces(xyz: Floats, *, two_surfaces: bool) -> tuple[Floats, Ints]:
    """Fit one plane, or two parallel ones, to specimen points.

    Parameters
    ----------
    xyz : (n_points, 3) float64
        Finite positions, px.
    two_surfaces : bool
        Beads lie on the bottom (0) and the top (1) surface.

    Returns
    -------
    coefficients : (4,)
        Slope in x, slope in y, height of the bottom plane, height of the top plane (equal for
        one surface).
    surface : (n_points,) int64
        0 or 1.

    Notes
    -----
    Robust (iterated Cauchy weights); for two planes from starts at several slopes, the one with
    the smallest robust spread wins. With fewer than four points, or no visible separation, the
    planes coincide.
    """
    n = len(xyz)
    surface = np.zeros(n, np.int64)
    if n < 3:
        z = float(np.median(xyz[:, 2])) if n else 0.0
        return np.array([0.0, 0.0, z, z]), surface
    centre = np.median(xyz, axis=0)
    p = xyz - centre
    best_cost, best = np.inf, (np.zeros(4), surface)
    starts = [(0.0, 0.0)]
    split = two_surfaces and n >= 6
    if split:
        grid = np.tan(np.deg2rad(np.arange(-20, 21, 4)))
        starts = [(float(a), float(b)) for a in grid for b in grid]
    for slope in starts:
        fit, side, cost = _parallel(p, np.array(slope), split=split)
        if cost < best_cost:
            best_cost, best = cost, (fit, side)
    if split:
        single, zeros, cost = _parallel(p, np.zeros(2), split=False)
        if cost < 1.3 * best_cost or min(best[1].sum(), n - best[1].sum()) < 2:
            best = (single, zeros)
    coefficients, surface = best
    coefficients = coefficients.copy()
    coefficients[2:] += centre[2] - coefficients[:2] @ centre[:2]
    return coefficients, surface


def _parallel(p: Floats, slope: Floats, *, split: bool) -> tuple[Floats, Ints, float]:
    """Parallel planes from a start: coefficients, side of each point, mean absolute deviation."""
    n = len(p)
    side = np.zeros(n, np.int64)
    fit = np.array([slope[0], slope[1], 0.0, 0.0])
    weight = np.ones(n)
    if not split:
        fit[2] = fit[3] = np.median(p[:, 2] - p[:, :2] @ fit[:2])
    for iteration in range(12):
        height = p[:, 2] - p[:, :2] @ fit[:2]
        if split:
            if iteration == 0:
                fit[2:] = np.percentile(height, [20, 80])
            side = (np.abs(height - fit[3]) < np.abs(height - fit[2])).astype(np.int64)
        design = np.column_stack([p[:, 0], p[:, 1], side == 0, side == 1]).astype(np.float64)
        root = np.sqrt(weight)[:, None]
        # a weak pull towards level keeps a handful of points, or points in a row, finite
        pull = np.diag([1e-3 * np.abs(p[:, 0]).max(), 1e-3 * np.abs(p[:, 1]).max(), 0, 0])
        left = np.concatenate([design * root, pull])
        right = np.concatenate([p[:, 2] * root[:, 0], np.zeros(4)])
        fit = np.linalg.lstsq(left, right, rcond=None)[0]
        if not split:
            fit[3] = fit[2]
        elif not 0 < side.sum() < n:
            fit[2] = fit[3] = fit[2 + side[0]]
        deviation = np.abs(p[:, 2] - design @ fit)
        scale = max(1.4826 * float(np.median(deviation)), 1e-6)
        weight = 1 / (1 + (deviation / (2 * scale)) ** 2)
    if fit[2] > fit[3]:
        fit, side = fit[[0, 1, 3, 2]], 1 - side
    return fit, side, float(deviation.mean())


def fix_gauge(
    solution: Solution,
    *,
    two_surfaces: bool,
    level_x: bool = True,
    level_tilt: bool = False,
    z_shift_px: float = 0.0,
) -> tuple[ViewGeometry, Floats, Ints]:
    """Turn and centre the specimen without changing what is measured.

    Parameters
    ----------
    solution : Solution
    two_surfaces : bool
        Beads on two surfaces: two parallel planes, else one.
    level_x : bool
        Set the x-axis tilt so that the planes are level along y.
    level_tilt : bool
        Add a constant to all tilt angles so that they are level along x.
    z_shift_px : float
        Added to z after the specimen's middle was put at 0.

    Returns
    -------
    geometry : ViewGeometry
        Tilt axis vertical, bead surfaces at equal distances from z = 0, and x, y such that the
        image centres of a typical view (robust mean) stay in the centre.
    xyz : (n_tracks, 3)
    surface : (n_tracks,) int64
        0 bottom, 1 top; 0 where there is no position.

    Raises
    ------
    DataError
        No track has a position.
    """
    geometry = solution.geometry
    known = np.isfinite(solution.xyz).all(1)
    if not known.any():
        raise DataError("fix_gauge: no fiducial has a position; solve with more points")
    surface = np.zeros(len(known), np.int64)
    x_tilt = np.deg2rad(geometry.x_tilt_deg)
    plain = solution.xyz @ _rx(x_tilt).T
    coefficients, surface[known] = fit_surfaces(plain[known], two_surfaces=two_surfaces)
    tilt = geometry.tilt_deg
    if level_tilt:
        offset = float(np.arctan(coefficients[0]))
        # the points turn by -offset about y, so the views must turn by +offset more
        c, s = np.cos(offset), np.sin(offset)
        plain = plain @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
        tilt = tilt - np.rad2deg(offset)
        coefficients, surface[known] = fit_surfaces(plain[known], two_surfaces=two_surfaces)
    if level_x:
        x_tilt = float(np.arctan(coefficients[1]))
    xyz = plain @ _rx(-x_tilt).T
    level, side = fit_surfaces(xyz[known], two_surfaces=two_surfaces)
    surface[known] = side
    geometry = replace(geometry, tilt_deg=tilt, x_tilt_deg=float(np.rad2deg(x_tilt)))
    middle = np.append(np.median(xyz[known, :2], axis=0), 0.0)
    middle[2] = level[:2] @ middle[:2] + (level[2] + level[3]) / 2
    origin = _centre(geometry, solution.used_views, float(middle[2]))
    shift = geometry.shift_px + geometry.matrices() @ origin
    xyz = xyz - origin
    if z_shift_px:
        up = np.array([0.0, 0.0, z_shift_px])
        shift = shift - geometry.matrices() @ up
        xyz = xyz + up
    return geometry.with_shifts(shift), xyz, surface


def _rx(angle: float) -> Floats:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


def _centre(geometry: ViewGeometry, used: npt.NDArray[np.bool_], z: float) -> Floats:
    """Specimen point at height ``z`` that lies nearest to the image centres, robustly."""
    matrix = geometry.matrices()[used]
    target = -geometry.shift_px[used] - matrix[:, :, 2] * z
    point, weight = np.zeros(2), np.ones(len(matrix))
    for _ in range(30):
        left = np.einsum("v,vij,vik->jk", weight, matrix[:, :, :2], matrix[:, :, :2])
        right = np.einsum("v,vij,vi->j", weight, matrix[:, :, :2], target)
        point = np.linalg.solve(left, right)
        distance = np.linalg.norm(matrix[:, :, :2] @ point - target, axis=1)
        weight = 1 / np.maximum(distance, 1e-3 + np.median(distance))
    return np.append(point, z)


refine_flat = fix_gauge
