"""What the neighbours of a view say about its defocus: a path of views, and a random walk."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_JUMP = 8.0
"""Cost of a jump of any size, in log likelihood: autofocus between two views."""


def best_path(ratio: Floats, defocus_a: Floats, walk_a: float) -> npt.NDArray[np.int64]:
    """Index of the defocus of each view that together are the most likely.

    Parameters
    ----------
    ratio : (n_views, n_defocus)
        Log likelihood of each defocus, views in the order of acquisition.
    defocus_a : (n_defocus,)
    walk_a : float
        Standard deviation of the change from one view to the next.
    """
    change = (defocus_a[:, None] - defocus_a) / walk_a
    cost = np.minimum(0.5 * change**2, _JUMP)
    best, back = ratio[0], []
    for now in ratio[1:]:
        through = best - cost
        from_ = through.argmax(1)
        back.append(from_)
        best = through[np.arange(len(now)), from_] + now
    path = [int(best.argmax())]
    for from_ in reversed(back):
        path.append(int(from_[path[-1]]))
    return np.array(path[::-1], np.int64)


def walk_scale(p: Floats, information: Floats, least: float) -> float:
    """Standard deviation of the steps of one parameter beyond what its errors explain.

    Parameters
    ----------
    p, information : (n_views,)
        Values in the order of acquisition, and their inverse variances.
    """
    good = information > 0
    values, variance = p[good], 1 / information[good]
    if len(values) < 4:
        return 10 * least
    step = np.diff(values)
    noise = variance[1:] + variance[:-1]
    square = max(float(np.median(step**2 - 0.455 * noise)) / 0.455, 0.0)
    return max(float(np.sqrt(square)), least)


def smooth_walk(p: Floats, information: Floats, walk: Floats) -> tuple[Floats, Floats]:
    """Prior of each view by all others under a random walk of each parameter.

    Parameters
    ----------
    p : (n_views, 4), information : (n_views, 4, 4)
        Values in the order of acquisition and their inverse covariances (zero: unknown).
    walk : (4,)
        Standard deviation of a step; 0 for a parameter that is not refined.

    Returns
    -------
    mean : (n_views, 4)
    information : (n_views, 4, 4)
        Of the prior of each view without its own data.
    """
    n = len(p)
    live = np.flatnonzero(walk > 0)
    m = len(live)
    mean, prior = p.copy(), np.zeros((n, 4, 4))
    if m == 0 or n < 2:
        return mean, prior
    own = information[:, live[:, None], live]
    stiff = np.diag(1 / walk[live] ** 2)
    tiny = 1e-9 * stiff

    def sweep(order: range) -> tuple[Floats, Floats]:
        """Message of all earlier views to each."""
        message, weight = np.zeros((n, m)), np.zeros((n, m, m))
        info, vector = np.zeros((m, m)), np.zeros(m)
        for v in order:
            weight[v], message[v] = info, vector
            total = info + own[v] + tiny
            centre = np.linalg.solve(total, vector + own[v] @ p[v, live])
            # One more step of the walk: covariances add.
            info = np.linalg.inv(np.linalg.inv(total) + np.linalg.inv(stiff))
            vector = info @ centre
        return message, weight

    forward, back = sweep(range(n)), sweep(range(n - 1, -1, -1))
    for v in range(n):
        total = forward[1][v] + back[1][v]
        mean[v, live] = np.linalg.solve(total + tiny, forward[0][v] + back[0][v])
        prior[v, live[:, None], live] = total
    return mean, prior
