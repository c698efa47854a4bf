"""How large the bead at one place is: the ball that a matched filter sees best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tiltwright.engine.fiducials.centre import correlate
from tiltwright.engine.fiducials.template import STEP_PX, BeadTemplate, Floats, Image


def _sampled(bead: BeadTemplate, side: int) -> Floats:
    """The template about the middle pixel, ``side // 2``, of a square."""
    axis = np.arange(side) - side // 2
    r = np.hypot(axis[:, None], axis)
    values = np.interp(r, np.arange(len(bead.profile)) * STEP_PX, bead.profile)
    return np.where(r < bead.radius_px, values, 0.0)


def best_scores(
    image: Image,
    within: npt.NDArray[np.bool_],
    power: Image,
    templates: Sequence[BeadTemplate],
    sign: float,
) -> Floats:
    """Greatest score of each template in a part of a view, in SD of the background.

    Of templates of several sizes the right one scores best, at the bead's centre; a ball that is
    too small or too large scores less, and best *beside* the centre, where an edge fits an edge.

    Parameters
    ----------
    image : (ny, nx)
        As :func:`~tiltwright.engine.fiducials.background.stabilise` makes it; reaching half a
        side of ``power`` beyond ``within``.
    within : (ny, nx) bool
        Where the bead may lie; at least one pixel.
    power : (side, side // 2 + 1)
        Of the background.
    templates : sequence of BeadTemplate
    sign : float
        1 for beads that are brighter than their surroundings, -1 for darker ones.

    Returns
    -------
    (n_templates,) float64
    """
    from scipy import fft

    side = power.shape[0]
    level = image - np.median(image)
    scores = np.empty(len(templates))
    for k, bead in enumerate(templates):
        square = _sampled(bead, side)
        kernel = fft.irfft2(fft.rfft2(square) / power, s=(side, side))
        information = float((kernel * square).sum())
        response = sign * correlate(level, kernel)[within]
        scores[k] = float(response.max()) / np.sqrt(information)
    return scores
