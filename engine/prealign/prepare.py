"""Views made ready for correlation: fill masked, background taken away, edges tapered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tiltwright.engine.errors import InputError
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.stack.binning import bin_view
from tiltwright.engine.stack.frame import BinnedFrame, binned_size, first_edge

Image = npt.NDArray[np.float32]

_PATCH = 7  # binned pixels over which the noise is judged
_SMOOTH = 0.45  # of the noise that the upper quartile of a view has: fill


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _roughness(a: Any, b: int, x0: int, y0: int, out: Any) -> None:
    """Mean absolute difference to the pixels right and below, over each binned pixel."""
    ny, nx = a.shape
    total = np.zeros(out.shape[1], np.float32)
    for j in range(out.shape[0]):
        ya, yb = max(0, y0 + j * b), min(ny, y0 + (j + 1) * b)
        total[:] = 0
        for y in range(ya, yb):
            v = min(y, ny - 2)
            for i in range(out.shape[1]):
                for x in range(max(0, x0 + i * b), min(nx, x0 + (i + 1) * b)):
                    u = min(x, nx - 2)
                    here = np.float32(a[v, u])
                    right, below = np.float32(a[v, u + 1]), np.float32(a[v + 1, u])
                    total[i] += abs(right - here) + abs(below - here)
        for i in range(out.shape[1]):
            width = min(nx, x0 + (i + 1) * b) - max(0, x0 + i * b)
            out[j, i] = total[i] / (width * (yb - ya))


def valid_mask(image: npt.NDArray[Any], b: int = 1) -> npt.NDArray[np.bool_]:
    """Where a view shows specimen and not fill: a region far smoother than its noise.

    Fill need not be constant: after compression or interpolation it has a little noise. Noise
    falls to less than half of that of the brighter parts of a view only where the view is black.

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
    rough = np.empty((binned_size(ny, b), binned_size(nx, b)), np.float32)
    _roughness(a, b, first_edge(nx, b), first_edge(ny, b), rough)
    usual = float(np.percentile(rough, 75))
    # Over seven pixels: small smooth patches occur by chance. Steep edges do not count as noise.
    np.minimum(rough, usual, out=rough)
    rough = ndimage.uniform_filter(rough, _PATCH, mode="nearest")
    tiny = 1e-5 * float(a[::3, ::3].std(dtype=np.float64))
    smooth = rough <= max(_SMOOTH * usual, tiny)
    if not smooth.any():
        return ~smooth
    grown = ndimage.uniform_filter(smooth.astype(np.float32), _PATCH + 4, mode="nearest") > 0.005
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


@dataclass(frozen=True)
class WorkingViews:
    """All views of a series, small and filtered, and how their pixels lie in those given."""

    views: list[Image]
    frame: BinnedFrame


def working_views(
    stack: npt.NDArray[Any],
    *,
    working_px: int = 400,
    trim_px: tuple[int, int] = (0, 0),
    monitor: Monitor = SILENT,
) -> WorkingViews:
    """Make the views of a series ready for correlation, two at a time.

    Parameters
    ----------
    stack : (n_views, ny, nx)
    working_px : int
        The views are binned until their longer side is about this.
    trim_px : (int, int)
        Pixels in x and y cut from either edge.

    Raises
    ------
    InputError
        When this is no stack, or too little of it is left.
    """
    if stack.ndim != 3:
        raise InputError(f"a stack has three dimensions, not {stack.ndim}")
    tx, ty = trim_px
    ny, nx = stack.shape[1] - 2 * ty, stack.shape[2] - 2 * tx
    if min(ny, nx) < 32:
        raise InputError(f"the trimmed views are {nx} x {ny} pixels: at least 32 are needed")
    b = max(1, round(max(ny, nx) / working_px))

    def one(v: int) -> Image:
        part = stack[v, ty : ty + ny, tx : tx + nx]
        # Clipped low: the steep edges of fill and ice must not outweigh the many fine features.
        return prepare_view(part, b, highpass_px=10.0, taper_px=12, clip_sd=2.5)

    views: list[Image] = []
    with ThreadPoolExecutor(2) as pool:
        # A few at a time, so that cancelling does not wait for all of them.
        for first in range(0, len(stack), 8):
            monitor.step(first, len(stack), "filtering the views")
            views += pool.map(one, range(first, min(first + 8, len(stack))))
    return WorkingViews(views, BinnedFrame(nx, ny, b))
