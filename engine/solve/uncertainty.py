"""How well a solved alignment knows where every bead lies in every view."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.bundle import Solution, solved_maps
from tiltwright.engine.solve.normal import residual_and_jacobian
from tiltwright.engine.solve.steadiness import believed_widths
from tiltwright.engine.solve.system import packed, prediction_blocks
from tiltwright.engine.solve.variables import N_KINDS, stacked


@njit(nogil=True, cache=True)
def _spread(p: Any, xyz: Any, cov: Any, mixed: Any, back: Any, inverse: Any, out: Any) -> None:
    """``out[i, v] = (J, M) C (J, M)'`` of point ``i`` in view ``v``.

    The blocks are those of ``prediction_blocks``.
    """
    e, j, m = np.empty(2), np.empty((2, 7)), np.empty((2, 3))
    for i in range(len(xyz)):
        for v in range(len(p)):
            residual_and_jacobian(p[v], xyz[i], e, j, m)
            for r in range(2):
                for s in range(2):
                    t = 0.0
                    for k in range(3):
                        for n in range(3):
                            t += m[r, k] * (back[i, k, n] + inverse[i, k, n]) * m[s, n]
                    for a in range(7):
                        for b in range(7):
                            t += j[r, a] * cov[v, a, b] * j[s, b]
                        for k in range(3):
                            t -= mixed[i, v, a, k] * (j[r, a] * m[s, k] + j[s, a] * m[r, k])
                    out[i, v, r, s] = t


def prediction_covariance(
    solution: Solution,
    tracks: Floats,
    tilt_deg: npt.ArrayLike,
    *,
    used_views: npt.NDArray[np.bool_],
    sigma_px: Floats | None = None,
) -> Floats:
    """Covariance of where every bead is predicted in every view, square pixels.

    Parameters
    ----------
    solution
        Of ``tracks``, ``tilt_deg``, ``used_views`` and ``sigma_px``, as given to
        :func:`~tiltwright.engine.solve.bundle.solve`.

    Returns
    -------
    (n_tracks, n_views, 2, 2)
        From the noise of all the points, for the views solved (the view's own parameters
        included); NaN for beads and views that were not.
    """
    tilt = np.asarray(tilt_deg, np.float64)
    finite = np.isfinite(tracks).all(-1) & used_views[None, :]
    rows = np.isfinite(solution.xyz).all(1) & (finite.sum(1) >= 2)
    seen = finite[rows].any(0)
    where = np.ix_(rows, seen)
    maps = solved_maps(solution.variables, tilt[seen], solution.prior)
    kinds = np.repeat(np.arange(N_KINDS), [m.shape[1] for m in maps])
    held = (solution.sigma_px / believed_widths(solution.prior)[kinds]) ** 2
    p = packed(solution.geometry)[seen]
    xyz = solution.xyz[rows]
    precision = np.ones(finite.shape)
    if sigma_px is not None:
        known = finite & np.isfinite(sigma_px)
        if known.any():
            precision[known] = (np.median(sigma_px[known]) / sigma_px[known]) ** 2
    w = np.ascontiguousarray((solution.weight * precision * finite)[where])
    xy = np.ascontiguousarray(tracks[where])
    blocks = prediction_blocks(p, xyz, xy, w, stacked(maps), held)
    spread = np.empty((*w.shape, 2, 2))
    _spread(p, xyz, *blocks, spread)
    out = np.full((*finite.shape, 2, 2), np.nan)
    out[where] = spread * solution.sigma_px**2
    return out
