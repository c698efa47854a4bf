"""Images resampled through an affine transform by cubic convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.transform import Floats, invert

_TILE = 64


@njit(nogil=True, cache=True, inline="always")
def _cubic(u: Any) -> Any:
    """Catmull-Rom weights of the four neighbours, ``u`` beyond the second."""
    half, one = np.float32(0.5), np.float32(1.0)
    three, five = np.float32(3.0), np.float32(5.0)
    p = one - u
    return (
        -half * u * p * p,
        one + half * u * u * (three * u - five),
        one + half * p * p * (three * p - five),
        -half * p * u * u,
    )


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _inner(image: Any, x0: float, y0: float, dx: float, dy: float, out: Any) -> None:
    """Positions ``(x0 + i dx, y0 + i dy)`` in ``image``, all with their 16 neighbours in it."""
    for i in range(out.shape[0]):
        x, y = x0 + i * dx, y0 + i * dy
        # Truncation is the floor of what is not negative.
        c, r = np.int32(x), np.int32(y)
        a0, a1, a2, a3 = _cubic(np.float32(x - c))
        b0, b1, b2, b3 = _cubic(np.float32(y - r))
        total = np.float32(0.0)
        for k, b in ((-1, b0), (0, b1), (1, b2), (2, b3)):
            total += b * (
                a0 * image[r + k, c - 1]
                + a1 * image[r + k, c]
                + a2 * image[r + k, c + 1]
                + a3 * image[r + k, c + 2]
            )
        out[i] = total


@njit(nogil=True, cache=True)
def _resample(image: Any, corner: Any, size: Any, m: Any, fill: float, out: Any) -> None:
    """``out[j, i] = image at (x, y) = m @ (i, j, 1)``, index coordinates of both.

    ``image`` is the part at ``corner`` (x, y) of a whole image of ``size`` (nx, ny).
    """
    nx, ny = size
    cx, cy = corner
    n_j, n_i = out.shape
    outside = np.float32(fill)
    for i0 in range(0, n_i, _TILE):
        i1 = min(i0 + _TILE, n_i)
        for j in range(n_j):
            x0, y0 = m[0, 0] * i0 + m[0, 1] * j + m[0, 2], m[1, 0] * i0 + m[1, 1] * j + m[1, 2]
            x1, y1 = x0 + m[0, 0] * (i1 - 1 - i0), y0 + m[1, 0] * (i1 - 1 - i0)
            # Half a pixel to spare, so that rounding cannot lead outside.
            if (
                min(x0, x1) >= 1.5 and max(x0, x1) < nx - 2.5
                and min(y0, y1) >= 1.5 and max(y0, y1) < ny - 2.5
            ):  # fmt: skip
                _inner(image, x0 - cx, y0 - cy, m[0, 0], m[1, 0], out[j, i0:i1])
                continue
            for i in range(i0, i1):
                x = m[0, 0] * i + m[0, 1] * j + m[0, 2]
                y = m[1, 0] * i + m[1, 1] * j + m[1, 2]
                if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5):
                    out[j, i] = outside
                    continue
                fx, fy = int(np.floor(x)), int(np.floor(y))
                a, b = _cubic(np.float32(x - fx)), _cubic(np.float32(y - fy))
                total = np.float32(0.0)
                for k in range(16):
                    c = min(max(fx - 1 + k % 4, 0), nx - 1) - cx
                    r = min(max(fy - 1 + k // 4, 0), ny - 1) - cy
                    total += a[k % 4] * b[k // 4] * image[r, c]
                out[j, i] = total


def finite_mean(image: npt.NDArray[Any]) -> float:
    """Mean of the finite values of an image; 0 where there are none."""
    total = float(image.sum(dtype=np.float64))
    if np.isfinite(total):
        return total / image.size
    good = np.isfinite(image)
    return float(image[good].mean(dtype=np.float64)) if good.any() else 0.0


def _inverse(xf: Floats, size: tuple[int, int], out_size: tuple[int, int]) -> Floats:
    """Output to input positions, index coordinates; sizes are (nx, ny)."""
    if not np.isfinite(xf).all() or abs(np.linalg.det(xf[:, :2])) < 1e-9:
        raise InputError("a transform that cannot be inverted")
    m = invert(np.asarray(xf, np.float64))
    m[:, 2] += (np.array(size) - 1) / 2 - m[:, :2] @ ((np.array(out_size) - 1) / 2)
    return m


def warp_view(
    image: npt.NDArray[Any],
    xf: Floats,
    out_shape: tuple[int, int],
    fill: float | None = None,
    *,
    transposed: bool = False,
) -> npt.NDArray[np.float32]:
    """Resample one image by Catmull-Rom cubic convolution (doi:10.1109/TASSP.1981.1163711).

    Runs in the calling thread and does not hold the interpreter lock.

    Parameters
    ----------
    image : (ny, nx), any real type
        Values that are not finite are replaced by the mean of the others.
    xf : (2, 3)
        Input to output positions, each about its image centre, pixels.
    out_shape : (ny, nx)
    fill : float, optional
        For what lies more than half a pixel outside the input; default: the mean of the image.
    transposed : bool
        Return the transposed result ``(nx, ny)``, contiguous.

    Returns
    -------
    (ny, nx) float32, C-contiguous (``(nx, ny)`` when ``transposed``)

    Raises
    ------
    InputError
        The image is not two-dimensional or empty, or the transform cannot be inverted.
    """
    data = np.ascontiguousarray(image, np.float32)
    if data.ndim != 2 or data.size == 0 or np.shape(xf) != (2, 3) or min(out_shape) < 1:
        raise InputError(f"cannot resample an image of shape {np.shape(image)} to {out_shape}")
    mean = finite_mean(data)
    data = _finite(data, mean)
    (ny, nx), (my, mx) = data.shape, out_shape
    m = _inverse(xf, (nx, ny), (mx, my))
    out = np.empty((mx, my) if transposed else (my, mx), np.float32)
    if transposed:
        m = np.ascontiguousarray(m[:, [1, 0, 2]])
    _resample(data, (0, 0), (nx, ny), m, mean if fill is None else float(fill), out)
    return out


def _finite(data: npt.NDArray[np.float32], mean: float) -> npt.NDArray[np.float32]:
    # A sum is finite only when all its terms are; it costs less than a mask.
    if np.isfinite(data.sum(dtype=np.float64)):
        return data
    return np.where(np.isfinite(data), data, np.float32(mean))


def warp_lines(
    image: npt.NDArray[Any],
    xf: Floats,
    out_shape: tuple[int, int],
    lines: tuple[float, float, int],
    mean: float,
) -> npt.NDArray[np.float32]:
    """Some lines of what :func:`warp_view` gives, transposed; reads only what they need.

    Parameters
    ----------
    image : (ny, nx), any real type
        Values that are not finite are replaced by ``mean``.
    xf : (2, 3)
        As for :func:`warp_view`.
    out_shape : (ny, nx)
        Of the whole output.
    lines : (first, step, count)
        Positions along y in the output; they may lie between or beyond its lines.
    mean : float
        For what lies more than half a pixel outside the input; see :func:`finite_mean`.

    Returns
    -------
    (nx, count) float32

    Raises
    ------
    InputError
        The transform cannot be inverted.
    """
    (ny, nx), (my, mx), (first, step, count) = image.shape, out_shape, lines
    m = _inverse(xf, (nx, ny), (mx, my))
    m[:, 2] += m[:, 1] * first
    m[:, 1] *= step
    corners = m @ [[0, 0, mx - 1, mx - 1], [0, count - 1, 0, count - 1], [1, 1, 1, 1]]
    limit = np.array([nx, ny]) - 1
    low = np.clip(np.floor(corners.min(axis=1)) - 2, 0, limit).astype(int)
    high = np.clip(np.ceil(corners.max(axis=1)) + 2, 0, limit).astype(int)
    part = image[low[1] : high[1] + 1, low[0] : high[0] + 1]
    data = np.ascontiguousarray(part, np.float32)
    if part.dtype.kind == "f":
        data = _finite(data, mean)
    out = np.empty((mx, count), np.float32)
    m = np.ascontiguousarray(m[:, [1, 0, 2]])
    _resample(data, (int(low[0]), int(low[1])), (nx, ny), m, mean, out)
    return out
