"""Robust weights of points: how far each may be trusted, from the residuals of all."""

from __future__ import annotations

import numpy as np

from tiltwright.engine.geometry.transform import Floats

RAYLEIGH_MEDIAN = 1.1774100225154747
"""Median distance of a two-dimensional Gaussian of unit SD per coordinate."""
CUT = 5.5
"""Tukey's constant, in SD per coordinate, for distances in two dimensions."""
EFFICIENCY = 1.0 - 8.0 / CUT**2 + 24.0 / CUT**4
"""What the biweight leaves of the variance of a two-dimensional Gaussian."""
BLEND = 12.0
"""Points that the common scale counts for against a view's or a track's own scale."""


def scale_of(distance: Floats) -> float:
    """Robust SD per coordinate of residual distances (NaN where there is no point)."""
    good = distance[np.isfinite(distance)]
    return float(np.median(good)) / RAYLEIGH_MEDIAN if len(good) else 0.0


def robust_weights(
    distance: Floats, *, inflation: float, floor_px: float, final: bool
) -> tuple[Floats, float]:
    """Weights of points and the noise per coordinate, px.

    Parameters
    ----------
    distance : (n_tracks, n_views) float64
        Residual distances in units of each point's nominal SD; NaN at gaps.
    inflation : float
        Factor that turns residuals into errors, for the freedom that the fit has used up.
    floor_px : float
        Smallest scale believed.
    final : bool
        Tukey's biweight; the longer-tailed Cauchy weight otherwise, for a solution that is
        still far off.

    Returns
    -------
    weight : (n_tracks, n_views)
        1 for a trusted point of a typical view, 0 at gaps and beyond the cut; the scale of each
        view and track blends its own spread with the common one.
    sigma : float
        Noise per coordinate.

    Notes
    -----
    Beaton and Tukey 1974, doi:10.1080/00401706.1974.10489171; view and track scales by
    alternating robust variances shrunk to the common one.
    """
    common = max(scale_of(distance) * inflation, floor_px)
    z = distance * inflation / common
    if not final:
        cauchy = np.where(np.isfinite(z), 1.0 / (1.0 + (z / 2.5) ** 2), 0.0)
        return cauchy, common
    finite = np.isfinite(z)
    z = np.where(finite, z, 0.0)
    view = np.ones((1, z.shape[1]))
    track = np.ones((z.shape[0], 1))
    for _ in range(3):
        for axis in (0, 1):
            u = z / (view * track)
            capped = np.where(finite, np.minimum(u * u, CUT * CUT) / 2.0, 0.0)
            count = finite.sum(axis, keepdims=True)
            ratio = (capped.sum(axis, keepdims=True) + BLEND) / (count + BLEND)
            if axis == 0:
                view = np.clip(view * np.sqrt(ratio), 0.5, 10.0)
            else:
                track = np.clip(track * np.sqrt(ratio), 0.5, 10.0)
        middle = np.median(view)
        view, track = view / middle, track * middle
        track = track / np.median(track)
    scale = view * track
    u = z / scale
    inside = np.clip(1.0 - (u / CUT) ** 2, 0.0, None) ** 2
    return np.where(finite, inside / scale**2, 0.0), common
