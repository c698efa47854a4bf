"""A part of a tomogram, laid flat if asked, as a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, prange

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.progress import SILENT, Monitor

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
_SLAB = 8


def turn(about_x_deg: float, about_y_deg: float) -> npt.NDArray[np.float64]:
    """``Ry(b) Rx(a)`` of ``engine/conventions.py``, (3, 3), on (x, y, z)."""
    a, b = np.deg2rad(about_x_deg), np.deg2rad(about_y_deg)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    matrix: npt.NDArray[np.float64] = ry @ rx
    return matrix


@njit(nogil=True, cache=True, parallel=True)
def _turned(data: Any, matrix: Any, start: Any, fill: float, out: Any) -> None:
    """Trilinear ``out[k, j, i] = data at matrix @ (i, j, k) + start`` (x, y, z)."""
    nz, ny, nx = data.shape
    for row in prange(out.shape[0] * out.shape[1]):
        k, j = row // out.shape[1], row % out.shape[1]
        for i in range(out.shape[2]):
            x = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + start[0]
            y = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + start[1]
            z = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + start[2]
            if x < 0 or y < 0 or z < 0 or x > nx - 1 or y > ny - 1 or z > nz - 1:
                out[k, j, i] = fill
                continue
            a, b, c = min(int(x), nx - 2), min(int(y), ny - 2), min(int(z), nz - 2)
            u, v, w = x - a, y - b, z - c
            total = 0.0
            for dz in range(2):
                for dy in range(2):
                    weight = (w if dz else 1 - w) * (v if dy else 1 - v)
                    near, far = data[c + dz, b + dy, a], data[c + dz, b + dy, a + 1]
                    total += weight * ((1 - u) * near + u * far)
            out[k, j, i] = total


def check_box(box: Box, shape: tuple[int, int, int]) -> None:
    """Raise :class:`InputError` when a box does not lie in a volume of ``shape`` (z, y, x)."""
    for name, (low, high), n in zip("xyz", box, shape[::-1], strict=True):
        if not 0 <= low <= high < n:
            raise InputError(
                f"crop: {name} from {low + 1} to {high + 1} does not lie within 1 to {n}"
            )


def crop_volume(
    data: Any,
    box: Box,
    path: Path,
    pixel_size_a: float,
    *,
    about_x_deg: float = 0.0,
    about_y_deg: float = 0.0,
    labels: Sequence[str] = (),
    monitor: Monitor = SILENT,
) -> tuple[int, int, int]:
    """Write a box of a volume ``(nz, ny, nx)`` to an MRC file of the same type.

    Parameters
    ----------
    box : ((x0, x1), (y0, y1), (z0, z1))
        First and last voxel, both included, 0-based.
    about_x_deg, about_y_deg : float
        The specimen is turned by these angles about the centre of the box first (linear
        interpolation); what is not in the volume becomes its mean.

    Returns
    -------
    (nz, ny, nx) of the file

    Raises
    ------
    InputError
        The box does not lie in the volume, or the file cannot be written.
    """
    nz, ny, nx = data.shape
    check_box(box, (nz, ny, nx))
    (x0, x1), (y0, y1), (z0, z1) = box
    shape = (z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1)
    kind = np.dtype(data.dtype).newbyteorder("=")
    turned = bool(about_x_deg or about_y_deg)
    volume = data
    if turned:
        # The kernel knows neither half precision nor a foreign byte order.
        volume = np.asarray(data, np.float32 if kind == np.float16 else kind)
    if turned and min(data.shape) < 2:
        raise InputError("crop: a volume of one section cannot be turned")
    # What lies at X in the turned specimen came from turn' X.
    matrix = np.ascontiguousarray(turn(about_x_deg, about_y_deg).T)
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2])
    fill = float(np.mean(data[:: max(1, nz // 8)], dtype=np.float64)) if turned else 0.0
    with MrcWriter(path, shape, kind, pixel_size_a, labels=list(labels)) as writer:
        for k in range(0, shape[0], _SLAB):
            monitor.step(k, shape[0], "cropping")
            count = min(_SLAB, shape[0] - k)
            if not turned:
                part = np.asarray(data[z0 + k : z0 + k + count, y0 : y1 + 1, x0 : x1 + 1])
            else:
                corner = np.array([x0, y0, z0 + k]) - middle
                part = np.empty((count, *shape[1:]), np.float32)
                _turned(volume, matrix, matrix @ corner + middle, fill, part)
                if kind.kind in "iu":
                    part = np.rint(part)
            writer.write(k, part.astype(kind))
        monitor.step(shape[0], shape[0], "cropping")
    return shape
