"""Positions of one view matched to predictions: the common displacement, then one to one."""

from __future__ import annotations

import numpy as np

from tiltwright.engine.fiducials.motion import fit_view
from tiltwright.engine.fiducials.seed import Ints
from tiltwright.engine.geometry.transform import Floats


def vote_displacement(
    points: Floats, detections: Floats, expected: Floats, reach_px: float, bin_px: float
) -> tuple[Floats, int, int]:
    """The displacement that brings most points onto detections.

    All differences vote in a histogram; the expected displacement wins ties only, so that a
    wrong one does no harm.

    Parameters
    ----------
    points, detections : (n, 2), (m, 2)
    expected : (2,)
    reach_px
        How far from ``expected`` to look.

    Returns
    -------
    displacement : (2,)
        Zero votes: ``expected``.
    votes, second
        Votes for it, and for the best other one at least four bins away.
    """
    differences = (detections[None] - points[:, None]).reshape(-1, 2) - expected
    n = int(np.ceil(reach_px / bin_px))
    bins = np.rint(differences / bin_px).astype(np.int64) + n
    inside = ((bins >= 0) & (bins <= 2 * n)).all(-1)
    if not inside.any():
        return expected.copy(), 0, 0
    side = 2 * n + 1
    histogram = np.bincount(bins[inside] @ [side, 1], minlength=side * side).reshape(side, side)
    padded = np.pad(histogram, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    smooth = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]).astype(np.float64)
    away = np.arange(side) - n
    nearness = np.exp(-0.5 * (np.hypot(*np.meshgrid(away, away)) * bin_px / (0.3 * reach_px)) ** 2)
    peak = np.unravel_index(int(np.argmax(smooth + 0.9 * nearness)), smooth.shape)
    votes = int(smooth[peak])
    near = (np.abs(bins - np.array(peak)) <= 1).all(-1)
    displacement: Floats = (
        expected + np.median(differences[near], axis=0) if near.any() else (expected.copy())
    )
    smooth[max(0, peak[0] - 4) : peak[0] + 5, max(0, peak[1] - 4) : peak[1] + 5] = 0
    return displacement, votes, int(smooth.max())


def mutual_nearest(predicted: Floats, detections: Floats, gate_px: float) -> Ints:
    """Match one to one: each the other's nearest, no farther than the gate.

    Returns
    -------
    (n_predicted,) index of the detection, -1 for none.
    """
    out = np.full(len(predicted), -1, np.int64)
    if len(predicted) == 0 or len(detections) == 0:
        return out
    distance = np.hypot(
        predicted[:, None, 0] - detections[None, :, 0],
        predicted[:, None, 1] - detections[None, :, 1],
    )
    nearest = distance.argmin(1)
    rows = np.arange(len(predicted))
    good = (distance.argmin(0)[nearest] == rows) & (distance[rows, nearest] <= gate_px)
    out[good] = nearest[good]
    return out


def follow(predicted: Floats, detections: Floats, diameter_px: float) -> Floats | None:
    """Correct predictions by the shift and the small linear part that their matches show.

    Returns
    -------
    (n, 2) corrected predictions; None when fewer than 3 find a detection.
    """
    spread = 0.02 / (0.15 * diameter_px)
    for factor in (0.8, 0.6, 0.5):
        match = mutual_nearest(predicted, detections, factor * diameter_px)
        hit = match >= 0
        if hit.sum() < 3:
            return None
        found, centre = detections[match[hit]], predicted[hit].mean(0)
        error = np.hypot(*(found - predicted[hit]).T)
        weight = 1 / (1 + (error / (0.3 * diameter_px)) ** 2)
        linear, shift = fit_view(found, predicted[hit], weight, centre, spread)
        predicted = (predicted - centre) @ linear.T + centre + shift
    return predicted
