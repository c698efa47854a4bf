"""Views made ready for correlation: fill masked, background taken away, edges tapered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tiltwright.engine.stack.binning import bin_view, binned_size, first_edge

Image = npt.NDArray[np.float32]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _flat_part(a: Any, tiny: float, b: int, x0: int, y0: int, out: Any) -> None:
    """Part of each binned pixel whose raw pixels equal their neighbours right and below."""
    ny, nx = a.shape
    count = np.zeros(out.shape[1], np.float32)
    for j in range(out.shape[0]):
        ya, yb = max(0, y0 + j * b), min(ny, y0 + (j + 1) * b)
        count[:] = 0
        for y in range(ya, yb):
            v = min(y, ny - 2)
            for i in range(out.shape[1]):
                for x in range(max(0, x0 + i * b), min(nx, x0 + (i + 1) * b)):
                    u = min(x, nx - 2)
                    here = np.float32(a[v, u])
                    right, below = np.float32(a[v, u + 1]), np.float32(a[v + 1, u])
                    count[i] += (abs(right - here) <= tiny) and (abs(below - here) <= tiny)
        for i in range(out.shape[1]):
            width = min(nx, x0 + (i + 1) * b) - max(0, x0 + i * b)
            out[j, i] = count[i] / (width * (yb - ya))


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
    a = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("="))
    if a.dtype == np.float16:
        a = a.astype(np.float32)
    ny, nx = a.shape
    tiny = 1e-5 * max(float(a[::3, ::3].std(dtype=np.float64)), 1e-30)
    part = np.empty((binned_size(ny, b), binned_size(nx, b)), np.float32)
    _flat_part(a, tiny, b, first_edge(nx, b), first_edge(ny, b), part)
    constant = part > 0.95
    if not constant.any():
        return ~constant
    # Opened by seven pixels: small equal patches occur in 8-bit noise.
    whole = ndimage.uniform_filter(constant.astype(np.float32), 7, mode="nearest") > 0.99
    grown = ndimage.uniform_filter(whole.astype(np.float32), 11, mode="nearest") > 0.005
    out: npt.NDArray[np.bool_] = ~grown
    return out


def _blur(image: Image, sigma: float) -> Image:
    """Gaussian by three running means (Wells, doi:10.1109/TPAMI.1986.4767776)."""
    size = 2 * round((np.sqrt(4 * sigma**2 + 1) - 1) / 2) + 1
    for _ in range(3):
        image = ndimage.uniform_filter(image, size, mode="nearest")
    return image


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
    clean = np.asarray(image)
    if clean.dtype.kind not in "iu":
        clean = clean.astype(np.float32, copy=False)
        if not np.isfinite(clean).all():
            clean = np.nan_to_num(clean, posinf=0.0, neginf=0.0)
    small = bin_view(clean, b, antialias=False)
    valid = valid_mask(clean, b)
    if valid.sum() < 0.05 * valid.size:
        return np.zeros_like(small)
    soft = valid.astype(np.float32)
    mean = float(small[valid].mean())
    centred: Image = (small - np.float32(mean)) * soft
    if highpass_px > 0:
        top: npt.NDArray[Any] = _blur(centred, highpass_px)
        if not valid.all():
            top = top / np.maximum(_blur(soft, highpass_px), np.float32(0.02))
        centred = (centred - top) * soft
    sd = 1.4826 * float(np.median(np.abs(centred[valid])))
    if sd <= 0:
        sd = float(centred[valid].std()) or 1.0
    inner = np.pad(valid, 1)
    distance = ndimage.distance_transform_cdt(inner, "chessboard")[1:-1, 1:-1]
    weight = 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / (taper_px + 1.0), 0, 1))
    out: Image = (np.clip(centred / sd, -clip_sd, clip_sd) * weight).astype(np.float32)
    return out


def prepare_stack(
    stack: npt.NDArray[Any], b: int, *, highpass_px: float, taper_px: int, clip_sd: float
) -> list[Image]:
    """:func:`prepare_view` of every view of ``(n_views, ny, nx)``, two at a time."""

    def one(v: int) -> Image:
        return prepare_view(
            stack[v], b, highpass_px=highpass_px, taper_px=taper_px, clip_sd=clip_sd
        )

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(len(stack))))
