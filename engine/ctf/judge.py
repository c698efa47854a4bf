"""Which views of a CTF table are weak or off their neighbours, and what the neighbours say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tiltwright.engine.ctf.model import Defocus
from tiltwright.engine.ctf.neighbours import smooth_walk, walk_scale

Floats = npt.NDArray[np.float64]
LEAST_SCORE, _LEAST_OF_MEDIAN = 0.3, 0.4
"""Correlation of measured and fitted rings below which a view is weak; programs whose scores are
lower altogether are judged by their median."""
_FACTOR_RESOLUTION = 1.6
_OFF_SD, _OFF_A = 5.0, 500.0
_LEAST_WALK = np.array([30.0, 10.0, 10.0, 0.5])
_USUAL_SD_A = 100.0
_PHASE_SD_DEG = 3.0


def track(p: Floats, good: npt.NDArray[np.bool_], sigma_a: Floats) -> Floats:
    """What the good views say of each view without it, ``(n_views, 4)``.

    Parameters
    ----------
    p : (n_views, 4)
        Mean defocus, astigmatism components (angstrom), phase shift (degrees), in the order of
        acquisition.
    good : (n_views,) bool
        Views that are believed.
    sigma_a : (n_views,)
        Standard error of the mean defocus; NaN where it is not known.
    """
    sigma = np.clip(np.where(np.isfinite(sigma_a), sigma_a, _USUAL_SD_A), 10.0, 3000.0)
    information = np.zeros((len(p), 4, 4))
    for k in range(3):
        information[:, k, k] = np.where(good, sigma**-2.0, 0.0)
    information[:, 3, 3] = np.where(good, _PHASE_SD_DEG**-2, 0.0)
    walk = np.array([
        walk_scale(p[:, k], information[:, k, k], _LEAST_WALK[k]) for k in range(4)
    ])  # fmt: skip
    walk[1:3] = walk[1:3].max()
    return smooth_walk(p, information, walk)[0]


def off_neighbours(
    p: Floats, good: npt.NDArray[np.bool_], sigma_a: Floats
) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Views whose defocus does not go with the others, and :func:`track` without those.

    The worst is taken away first, until none is left: it pulls its neighbours with it.
    """
    believed = good.copy()
    said = track(p, believed, sigma_a)
    while believed.sum() > 4:
        off = np.abs(p[:, 0] - said[:, 0])
        spread = 1.4826 * float(np.median(off[believed]))
        worst = int(np.argmax(np.where(believed, off, -1.0)))
        if off[worst] <= max(_OFF_SD * spread, _OFF_A):
            break
        believed[worst] = False
        said = track(p, believed, sigma_a)
    return good & ~believed, said


def weak_views(
    score: Floats, resolution_a: Floats, off: npt.NDArray[np.bool_], off_a: Floats
) -> dict[int, str]:
    """Why a view should be looked at; views without a reason are left away.

    Parameters
    ----------
    score, resolution_a : (n,)
        NaN where they are not known.
    off : (n,) bool, off_a : (n,)
        From :func:`off_neighbours`, and by how much.
    """
    known = resolution_a[np.isfinite(resolution_a)]
    limit = _FACTOR_RESOLUTION * float(np.median(known)) if len(known) > 2 else np.inf
    scores = score[np.isfinite(score)]
    least = min(LEAST_SCORE, _LEAST_OF_MEDIAN * float(np.median(scores))) if len(scores) else 0.0
    out: dict[int, str] = {}
    for i in range(len(score)):
        why = []
        if off[i]:
            why.append(f"{abs(off_a[i]) / 1e4:.2f} µm off its neighbours")
        if score[i] < least:
            why.append(f"score {score[i]:.2g}")
        if resolution_a[i] > limit:
            why.append(f"fits to {resolution_a[i]:.0f} Å only")
        if why:
            out[i] = ", ".join(why)
    return out


def components_of(defocus: Defocus) -> Floats:
    """``(4,)`` mean, astigmatism components, phase shift."""
    return np.array([*defocus.components, defocus.phase_shift_deg])


def defocus_at(p: Floats) -> Defocus:
    """The defocus of such four numbers."""
    mean, cos, sin, shift = (float(x) for x in p)
    return Defocus.of_components(mean, cos, sin, shift)
