"""Which views of a CTF table are weak or off their neighbours, and what the neighbours say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltwright.engine.ctf.model import Defocus
from tiltwright.engine.ctf.neighbours import best_path, smooth_walk, walk_scale

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LEAST_SCORE, _LEAST_OF_MEDIAN = 0.3, 0.4
"""Correlation of measured and fitted rings below which a view is weak; programs whose scores are
lower altogether are judged by their median."""
_FACTOR_RESOLUTION = 1.6
_OFF_SD, _OFF_A = 5.0, 500.0
_LEAST_WALK = np.array([30.0, 10.0, 10.0, 0.5])
_WALK_A = 1500.0
LEAST_EVIDENCE, _LEAST_AGREEMENT, _AGREED = 10.0, 0.5, 0.9
_USUAL_SD_A = 100.0
_PHASE_SD_DEG = 3.0


MOST_RIVAL = 0.5
"""Evidence of the best other explanation, in parts of that for the defocus that was found, up to
which this is proven. The ten series of the acceptance have 0.05 to 0.1, weaker ones up to 0.3;
structure without rings, and one ring at coarse pixels, 0.8 to 1.8."""


@dataclass(frozen=True)
class Rival:
    """The best of all other explanations of the spectra of a series.

    Attributes
    ----------
    share : float
        Its log likelihood, of all views together, over that of the defocus that was found; where
        more views than that lie at an end of the range that was searched, their share.
    text : str
        What it is.
    """

    share: float
    text: str

    @property
    def proven(self) -> bool:
        """Whether it is weak enough for the defocus to be believed."""
        return self.share <= MOST_RIVAL


def best_rival(
    ratio: Floats, reversed_: Floats, defocus_a: Floats, path: Ints, width_a: float
) -> Rival:
    """What else could explain the spectra: another defocus, or rings that no CTF can have.

    The power of a specimen is not smooth: particles, membranes and gold have rings of their own,
    which some defocus always fits somewhat. They are as well, or as badly, fitted by
    another defocus and by rings whose maxima and minima are exchanged; rings of the CTF are not.

    Parameters
    ----------
    ratio : (n_views, n_defocus)
        Log likelihood of each defocus over no rings, views in the order of acquisition.
    reversed_ : (n_views, n_defocus)
        The same for rings of reversed contrast; zero where these are possible.
    defocus_a : (n_defocus,)
    path : (n_views,) int64
        Index of the defocus that was found.
    width_a : float
        Defocus nearer to what was found than this is not another one.
    """
    views = np.arange(len(path))
    total = max(float(ratio[views, path].sum()), 1e-9)
    far = np.abs(defocus_a - defocus_a[path][:, None]) >= width_a
    ends = (path == 0) | (path == len(defocus_a) - 1)
    out = [Rival(float(ends.mean()), "it lies at an end of the range that was searched")]
    reverse = "rings of reversed contrast, which no CTF has, explain"
    for table, text in ((ratio * far, "a defocus of {:.1f} µm explains"), (reversed_, reverse)):
        other = best_path(table, defocus_a, _WALK_A)
        um = float(np.median(defocus_a[other])) / 1e4
        share = float(table[views, other].sum()) / total
        out.append(Rival(share, f"{text.format(um)} the spectra {100 * share:.0f} % as well"))
    return max(out, key=lambda rival: rival.share)


@dataclass(frozen=True)
class HandVote:
    """What the defocus gradients of tilted views say on the hand.

    Attributes
    ----------
    hand : int
        1, -1, or 0 when they do not tell.
    agreement : float
        0 to 1: how far the views say the same, weighted by what each can tell.
    evidence : float
        Log likelihood of the better hand over the other one.
    better : int
        1 or -1, however weak.
    """

    hand: int
    agreement: float
    evidence: float
    better: int


def vote(evidence: npt.ArrayLike) -> HandVote:
    """Judge ``(n_views,)`` log likelihoods of hand 1 over hand -1.

    The views have to agree better than twice what votes of random sign would.
    """
    each = np.asarray(evidence, np.float64)
    total, size = float(each.sum()), float(np.abs(each).sum())
    if size == 0:
        return HandVote(0, 0.0, 0.0, 1)
    agreement, chance = abs(total) / size, float(np.sqrt((each**2).sum())) / size
    better = 1 if total >= 0 else -1
    needed = min(max(_LEAST_AGREEMENT, 2 * chance), _AGREED)
    clear = abs(total) > LEAST_EVIDENCE and agreement > needed
    return HandVote(better if clear else 0, agreement, abs(total), better)


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
