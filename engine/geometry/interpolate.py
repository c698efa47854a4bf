"""Images resampled through an affine transform by cubic convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.transform import Floats, invert

_TILE = 64


@njit(nogil=True, cache=True, fastmath=True)
def _resample(image: Any, m: Any, fill: float, out: Any) -> None:
    """``out[j, i] = image at (x, y) = m @ (i, j, 1)``, index coordinates of both."""
    ny, nx = image.shape
    n_j, n_i = out.shape
    one, half = np.float32(1.0), np.float32(0.5)
    outside = np.float32(fill)
    wx = np.empty(4, np.float32)
    wy = np.empty(4, np.float32)
    for i0 in range(0, n_i, _TILE):
        i1 = min(i0 + _TILE, n_i)
        for j in range(n_j):
            for i in range(i0, i1):
                x = m[0, 0] * i + m[0, 1] * j + m[0, 2]
                y = m[1, 0] * i + m[1, 1] * j + m[1, 2]
                if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5):
                    out[j, i] = outside
                    continue
                fx, fy = int(np.floor(x)), int(np.floor(y))
                u, v = np.float32(x - fx), np.float32(y - fy)
                p, q = one - u, one - v
                wx[0] = -half * u * p * p
                wx[1] = one + half * u * u * (np.float32(3.0) * u - np.float32(5.0))
                wx[2] = one + half * p * p * (np.float32(3.0) * p - np.float32(5.0))
                wx[3] = -half * p * u * u
                wy[0] = -half * v * q * q
                wy[1] = one + half * v * v * (np.float32(3.0) * v - np.float32(5.0))
                wy[2] = one + half * q * q * (np.float32(3.0) * q - np.float32(5.0))
                wy[3] = -half * q * v * v
                total = np.float32(0.0)
                if 1 <= fx < nx - 2 and 1 <= fy < ny - 2:
                    for b in range(4):
                        r = fy - 1 + b
                        total += wy[b] * (
                            wx[0] * image[r, fx - 1]
                            + wx[1] * image[r, fx]
                            + wx[2] * image[r, fx + 1]
                            + wx[3] * image[r, fx + 2]
                        )
                else:
                    for b in range(4):
                        r = min(max(fy - 1 + b, 0), ny - 1)
                        for a in range(4):
                            c = min(max(fx - 1 + a, 0), nx - 1)
                            total += wy[b] * wx[a] * image[r, c]
                out[j, i] = total


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
    total = float(data.sum(dtype=np.float64))
    mean = total / data.size
    if not np.isfinite(total):
        good = np.isfinite(data)
        mean = float(data[good].mean(dtype=np.float64)) if good.any() else 0.0
        data = np.where(good, data, np.float32(mean))
    if not np.isfinite(xf).all() or abs(np.linalg.det(xf[:, :2])) < 1e-9:
        raise InputError("a transform that cannot be inverted")
    (ny, nx), (my, mx) = data.shape, out_shape
    m = invert(np.asarray(xf, np.float64))
    m[:, 2] += np.array([(nx - 1) / 2, (ny - 1) / 2]) - m[:, :2] @ [(mx - 1) / 2, (my - 1) / 2]
    out = np.empty((mx, my) if transposed else (my, mx), np.float32)
    if transposed:
        m = np.ascontiguousarray(m[:, [1, 0, 2]])
    _resample(data, m, mean if fill is None else float(fill), out)
    return out
