"""Views made ready for correlation: fill masked, background taken away, edges tapered."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tiltwright.engine.stack.binning import bin_view

Image = npt.NDArray[np.float32]


def valid_mask(image: npt.NDArray[Any], b: int = 1) -> npt.NDArray[np.bool_]:
    """Where a view shows specimen and not a region of one constant density.

    Parameters
    ----------
    image : (ny, nx)
    b : int
        The mask is that of the image binned by ``b``.

    Returns
    -------
    (binned_size(ny, b), binned_size(nx, b)) bool
    """
    a = image.astype(np.float32)
    tiny = 1e-5 * max(float(a.std()), 1e-30)
    flat = np.zeros(a.shape, np.float32)
    flat[:-1, :-1] = (np.abs(np.diff(a[:-1], axis=1)) <= tiny) & (
        np.abs(np.diff(a[:, :-1], axis=0)) <= tiny
    )
    flat[-1], flat[:, -1] = flat[-2], flat[:, -2]
    constant = bin_view(flat, b, antialias=False) > 0.95
    if not constant.any():
        return ~constant
    # Opened by seven pixels: small equal patches occur in 8-bit noise.
    whole = ndimage.uniform_filter(constant.astype(np.float32), 7, mode="nearest") > 0.99
    grown = ndimage.uniform_filter(whole.astype(np.float32), 11, mode="nearest") > 0.005
    out: npt.NDArray[np.bool_] = ~grown
    return out


def prepare_view(
    image: npt.NDArray[Any], b: int, *, highpass_px: float, taper_px: int, clip_sd: float
) -> Image:
    """Bin a view, take its local mean away, and weigh fill and edges down smoothly to zero.

    Parameters
    ----------
    image : (ny, nx)
    b : int
        Binning of the result.
    highpass_px : float
        Standard deviation, binned pixels, of the local mean; 0 takes the global mean away.
    taper_px : int
        Width of the taper at the edges, binned pixels.
    clip_sd : float
        Densities are clipped at this many standard deviations.

    Returns
    -------
    (ny_b, nx_b) float32 of zero mean and unit robust spread; all zero where nothing is valid.
    """
    clean = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    small = bin_view(clean, b, antialias=False)
    valid = valid_mask(clean, b)
    if valid.sum() < 0.05 * valid.size:
        return np.zeros_like(small)
    soft = valid.astype(np.float32)
    mean = float(small[valid].mean())
    centred = (small - mean) * soft
    if highpass_px > 0:
        top = ndimage.gaussian_filter(centred, highpass_px, mode="nearest", truncate=3)
        below = ndimage.gaussian_filter(soft, highpass_px, mode="nearest", truncate=3)
        centred = (centred - top / np.maximum(below, 0.02)) * soft
    sd = 1.4826 * float(np.median(np.abs(centred[valid])))
    if sd <= 0:
        sd = float(centred[valid].std()) or 1.0
    inner = np.pad(valid, 1)
    distance = ndimage.distance_transform_cdt(inner, "chessboard")[1:-1, 1:-1]
    weight = 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / (taper_px + 1.0), 0, 1))
    out: Image = (np.clip(centred / sd, -clip_sd, clip_sd) * weight).astype(np.float32)
    return out
