"""Reading planes of a tomogram, averaged over a slab; no Qt, for the lane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tiltwright.widgets.image.tiles import Tile, read_tile

if TYPE_CHECKING:
    from tiltwright.engine.model.tomogram import Tomogram

Plane = Literal["xy", "xz", "yz"]
PLANES: tuple[Plane, ...] = ("xy", "xz", "yz")
AXES: dict[Plane, tuple[int, int, int]] = {"xy": (0, 1, 2), "xz": (0, 2, 1), "yz": (2, 1, 0)}
"""Which of x, y, z runs to the right, which upwards, and which one is averaged over."""
_PIECE_VOXELS = 8 << 20


def slab(centre: int, thickness: int, n: int) -> tuple[int, int]:
    """First section of a slab and the one after its last, held inside ``n`` sections."""
    thickness = min(max(1, thickness), n)
    first = min(max(0, centre - (thickness - 1) // 2), n - thickness)
    return first, first + thickness


def read_plane(
    volume: Any, plane: Plane, at: tuple[int, int, int], thickness: int, factor: int = 1
) -> Iterator[Tile | None]:
    """Read one plane in pieces of some milliseconds: ``None`` after each, then the tile.

    Parameters
    ----------
    volume : (nz, ny, nx)
    at : (x, y, z)
        A voxel of the plane.
    thickness : int
        Sections to average.
    factor : int
        Display level.
    """
    nz, ny, nx = volume.shape
    axis = AXES[plane][2]
    first, end = slab(at[axis], thickness, (nx, ny, nz)[axis])
    if plane == "xy":
        total = np.zeros((ny, nx), np.float32)
        step = max(1, _PIECE_VOXELS // (ny * nx))
        for z in range(first, end, step):
            for section in volume[z : min(z + step, end)]:
                total += section
            yield None
        data = total / np.float32(end - first)
    else:
        data = np.zeros((nz, nx if plane == "xz" else ny), np.float32)
        # A column of voxels touches every page of the file, a row only its own.
        each = nx * (end - first) if plane == "xz" else max(ny * (end - first), ny * nx // 8)
        step = max(1, _PIECE_VOXELS // each)
        for z in range(0, nz, step):
            if plane == "xz":
                part = volume[z : z + step, first:end]
                data[z : z + step] = part.mean(1, dtype=np.float32)
            else:
                part = volume[z : z + step, :, first:end]
                data[z : z + step] = part.mean(2, dtype=np.float32)
            yield None
        if plane == "yz":
            data = np.ascontiguousarray(data.T)
    yield read_tile(data, factor)


def plane_size(shape: tuple[int, int, int], plane: Plane) -> tuple[int, int]:
    """``(width, height)`` of a plane of a volume ``(nz, ny, nx)``."""
    sizes = shape[::-1]
    return sizes[AXES[plane][0]], sizes[AXES[plane][1]]


def on_plane(xyz: npt.ArrayLike, plane: Plane) -> npt.NDArray[np.float64]:
    """Positions ``(..., 3)`` as they lie on a plane, ``(..., 2)``."""
    right, up, _ = AXES[plane]
    out: npt.NDArray[np.float64] = np.asarray(xyz, np.float64)[..., [right, up]]
    return out


def carried_place(at: npt.ArrayLike, a: Tomogram, b: Tomogram) -> list[float]:
    """A place in voxels of ``a`` in those of ``b``."""
    there = b.voxels_of(a.specimen_of(at) * (a.pixel_size_a / b.pixel_size_a))
    return [float(v) for v in there]


def carried(voxel: tuple[int, int, int], a: Tomogram, b: Tomogram) -> tuple[int, int, int]:
    """The voxel of ``b`` at the place of the specimen where ``a`` has one."""
    x, y, z = (round(v) for v in carried_place(voxel, a, b))
    return x, y, z
