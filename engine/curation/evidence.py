"""What the images say of the points that a model has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltwright.engine.fiducials.fill import BeadCentring
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.model.fiducial_model import FiducialModel

_REACH = 0.35
_WEAK_SCORE, _WEAK_SHARE = 6.0, 0.4
_TOLERANCE_SD = 6.0
_LEAST_TOLERANCE = 0.06


@dataclass(frozen=True)
class Evidence:
    """The beads that the images show at the points of a model.

    Attributes
    ----------
    score : (n_tracks, n_views)
        Height over the background in SD; 0 where no bead is seen, NaN where there is no point.
    offset_px : (n_tracks, n_views, 2)
        From the point to the bead's centre, raw pixels; NaN where none is seen.
    usual_score : (n_views,)
        Median score of a view's beads.
    tolerance_px : float
        Farther off, a point is not on its bead's centre.
    doubtful : (n_tracks, n_views) bool
        Points of low score or off the centre.
    """

    score: Floats
    offset_px: Floats
    usual_score: Floats
    tolerance_px: float
    doubtful: npt.NDArray[np.bool_]


def image_evidence(model: FiducialModel, centring: BeadCentring) -> Evidence:
    """Look at every measured point; some tenths of a second for each 10 views."""
    *_, evidence = evidence_in_pieces(model, centring)
    assert evidence is not None
    return evidence


def evidence_in_pieces(model: FiducialModel, centring: BeadCentring) -> Iterator[Evidence | None]:
    """The same for the background: ``None`` after each view, so that others may go first."""
    shape = model.flag.shape
    score, offset = np.full(shape, np.nan), np.full((*shape, 2), np.nan)
    usual, sigma = np.zeros(shape[1]), np.full(shape, np.nan)
    for v in range(shape[1]):
        here = np.flatnonzero(model.measured[:, v])
        if not len(here):
            continue
        found = centring.centre(v, model.xy[here, v], _REACH * model.diameter_px)
        score[here, v] = found.score
        offset[here, v] = found.xy - model.xy[here, v]
        sigma[here, v] = found.sigma_px
        usual[v] = np.median(found.score)
        yield None
    seen = np.isfinite(sigma)
    typical = float(np.median(sigma[seen])) if seen.any() else 0.0
    tolerance = max(_TOLERANCE_SD * typical, _LEAST_TOLERANCE * model.diameter_px)
    low = score < np.maximum(_WEAK_SCORE, _WEAK_SHARE * usual)
    off = np.nan_to_num(np.hypot(offset[..., 0], offset[..., 1])) > tolerance
    yield Evidence(score, offset, usual, tolerance, (low | off) & model.measured)
