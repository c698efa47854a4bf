"""Binned images whose positions agree with the raw ones at every binning."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.stack.frame import binned_size, first_edge

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _box(image: Any, b: int, x0: int, y0: int, out: Any) -> None:
    ny, nx = image.shape
    my, mx = out.shape
    row = np.zeros(mx, np.float64)
    for j in range(my):
        row[:] = 0.0
        ya, yb = max(0, y0 + j * b), min(ny, y0 + (j + 1) * b)
        for y in range(ya, yb):
            for i in range(mx):
                total = 0.0
                for x in range(max(0, x0 + i * b), min(nx, x0 + (i + 1) * b)):
                    total += image[y, x]
                row[i] += total
        for i in range(mx):
            width = min(nx, x0 + (i + 1) * b) - max(0, x0 + i * b)
            out[j, i] = row[i] / (width * (yb - ya))


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _resample(image: Any, xs: Any, wx: Any, ys: Any, wy: Any, out: Any) -> None:
    ny, nx = image.shape
    my, mx = out.shape
    line = np.empty(nx, np.float32)
    for j in range(my):
        line[:] = 0.0
        for k in range(wy.shape[1]):
            y = min(max(ys[j] + k, 0), ny - 1)
            w = wy[j, k]
            for x in range(nx):
                line[x] += w * image[y, x]
        for i in range(mx):
            total = np.float32(0.0)
            for k in range(wx.shape[1]):
                total += wx[i, k] * line[min(max(xs[i] + k, 0), nx - 1)]
            out[j, i] = total


def _lanczos(n: int, b: int) -> tuple[npt.NDArray[np.int64], Image]:
    """First tap and the weights of a Lanczos-3 kernel stretched by ``b``, for each output."""
    m, half = binned_size(n, b), 3 * b
    centre = first_edge(n, b) + (b - 1) / 2 + b * np.arange(m)
    start = np.ceil(centre - half).astype(np.int64)
    u = (start[:, None] + np.arange(2 * half + 1) - centre[:, None]) / b
    w = np.where(np.abs(u) < 3, np.sinc(u) * np.sinc(u / 3), 0.0)
    return start, (w / w.sum(axis=1, keepdims=True)).astype(np.float32)


def bin_view(image: npt.NDArray[Any], b: int, antialias: bool = True) -> Image:
    """Bin one view, with partial bins symmetric at the edges.

    Parameters
    ----------
    image : (ny, nx) of any real type
    b : int
        Raw pixels per binned pixel.
    antialias : bool
        A Lanczos-3 low-pass of the same geometry in place of the box average
        (C. E. Duchon, doi:10.1175/1520-0450(1979)018<1016:LFIOAT>2.0.CO;2).

    Returns
    -------
    (binned_size(ny, b), binned_size(nx, b)) float32

    Raises
    ------
    InputError
        When the image is not two-dimensional or ``b`` is below 1.
    """
    if image.ndim != 2:
        raise InputError(f"a view must be two-dimensional, not {image.ndim}-dimensional")
    ny, nx = image.shape
    out = np.empty((binned_size(ny, b), binned_size(nx, b)), np.float32)
    if b == 1:
        return image.astype(np.float32)
    native = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("="))
    if native.dtype == np.float16:
        native = native.astype(np.float32)
    if antialias:
        xs, wx = _lanczos(nx, b)
        ys, wy = _lanczos(ny, b)
        _resample(native, xs, wx, ys, wy, out)
    else:
        _box(native, b, first_edge(nx, b), first_edge(ny, b), out)
    return out
