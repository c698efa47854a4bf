"""How much the views of a steady microscope scatter, and how the data tell it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.solve.variables import N_KINDS, Ints

_LEAST_DEG, _MOST_DEG = 0.01, 1.0


@dataclass(frozen=True)
class Prior:
    """How much the views of a steady microscope scatter: standard deviations of one view.

    With ``learn``, these are where to start, and the data tell them.
    """

    axis_deg: float
    tilt_deg: float
    magnification: float
    distortion: float = 0.02
    learn: bool = False


def believed_widths(prior: Prior | None) -> Floats:
    """Standard deviation of the variables of each kind; infinite where nothing is believed."""
    sd = np.full(N_KINDS, np.inf)
    if prior is not None:
        sd[2:5] = np.deg2rad(prior.axis_deg), prior.magnification, np.deg2rad(prior.tilt_deg)
        sd[5:] = prior.distortion
    return sd


def learned_widths(sd: Floats, q: Floats, kinds: Ints, variance: Floats, held: Floats) -> Floats:
    """New standard deviations of rotation, magnification and tilt, from what they do.

    The evidence's fixed point (MacKay, doi:10.1162/neco.1992.4.3.415): the squares of the
    variables over the number of them that the data, and not the prior, determine. ``variance``
    is that of each variable and ``held`` its prior precision, both in units of the noise.
    """
    out = sd.copy()
    limits = np.deg2rad([_LEAST_DEG, _MOST_DEG])
    for kind in (2, 3, 4):
        own = kinds == kind
        # A few variables say nothing about a width.
        if own.sum() < 8 or not np.isfinite(sd[kind]):
            continue
        centred = q[own] - q[own].mean()
        known = float(np.sum(1 - variance[own] * held[own]))
        width = np.sqrt(float(centred @ centred) / max(known, 1e-3))
        out[kind] = np.clip(width, *(limits / 3 if kind == 3 else limits))
    return out


def told(prior: Prior | None, believed: Floats) -> Prior | None:
    """The prior with the widths that were learned."""
    if prior is None:
        return None
    axis, magnification, tilt = (float(x) for x in believed[2:5])
    return replace(
        prior,
        axis_deg=float(np.rad2deg(axis)),
        tilt_deg=float(np.rad2deg(tilt)),
        magnification=magnification,
    )
