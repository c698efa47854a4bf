"""The surface of a mask as triangles, smoothed, and as STL or PLY.

Surface nets (Gibson 1998, doi:10.1007/BFb0056277): a vertex in every cell of eight voxels that
the surface passes, at the mean of its crossings, and a quad about every crossing. Smoothed without
shrinking after Taubin 1995, doi:10.1145/218380.218473.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import atomic_path, file_error

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SLAB = 64
_SHRINK, _SWELL = 0.5, -0.53


@dataclass(frozen=True)
class Mesh:
    """``vertices`` (n, 3) as x, y, z and ``triangles`` (m, 3), counter-clockwise from outside."""

    vertices: Floats
    triangles: Ints

    def volume(self) -> float:
        """What the surface encloses."""
        a, b, c = (self.vertices[self.triangles[:, k]] for k in range(3))
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def mesh_of_mask(mask: npt.NDArray[Any], smoothing: int = 10) -> Mesh:
    """The surface of a mask in voxel coordinates, the centre of the first voxel 0.

    Parameters
    ----------
    mask : (nz, ny, nx)
        Not 0 inside; what lies beyond the volume is outside.
    smoothing : int
        Rounds of smoothing.

    Raises
    ------
    InputError
        The mask is not three-dimensional, or empty.
    """
    if mask.ndim != 3:
        raise InputError(f"mesh: want a mask (nz, ny, nx), not one of shape {mask.shape}")
    size = np.array(mask.shape) + 2
    cells, middles = [], []
    for axis in range(3):
        b, c = ((1, 2), (2, 0), (0, 1))[axis]
        below, upward = _crossings(mask, axis)
        # z, y, x is a left-handed order of axes, so the turn about +axis runs the other way
        turn = [(0, 0), (0, 1), (1, 1), (1, 0)]
        corner = np.repeat((below + 1)[:, None], 4, 1)
        for k, (db, dc) in enumerate(turn):
            corner[:, k, b] += db - 1
            corner[:, k, c] += dc - 1
        corner[~upward] = corner[~upward][:, ::-1]
        cells.append(np.ravel_multi_index(tuple(np.moveaxis(corner, -1, 0)), tuple(size)))
        middle = below.astype(np.float64)
        middle[:, axis] += 0.5
        middles.append(middle[:, ::-1])
    quads, crossings = np.concatenate(cells), np.concatenate(middles)
    if not len(quads):
        raise InputError("mesh: the mask is empty")
    at = np.unique(quads, return_inverse=True)[1].reshape(-1, 4)
    n = int(at.max()) + 1
    count = np.bincount(at.ravel(), minlength=n)
    where = [np.bincount(at.ravel(), np.repeat(crossings[:, k], 4), n) / count for k in range(3)]
    vertices = _smooth(np.stack(where, 1), at, smoothing)
    return Mesh(vertices, np.concatenate([at[:, [0, 1, 2]], at[:, [0, 2, 3]]]))


def _crossings(mask: npt.NDArray[Any], axis: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Voxels whose next one along ``axis`` is on the other side, and whether they are inside."""
    places, inside = [], []
    nz = mask.shape[0]
    for first in range(-1, nz, _SLAB):
        last = min(first + _SLAB, nz)
        slab = np.asarray(mask[max(first, 0) : min(last + 1, nz)]) != 0
        ends = (1 if first < 0 else 0, 1 if last + 1 > nz else 0)
        slab = np.pad(slab, (ends, (1, 1), (1, 1)))
        rows = last - first
        low = [slice(0, rows), slice(None), slice(None)]
        high = [slice(0, rows), slice(None), slice(None)]
        if axis == 0:
            high[0] = slice(1, rows + 1)
        else:
            low[axis], high[axis] = slice(None, -1), slice(1, None)
        here = slab[tuple(low)]
        found = np.argwhere(here != slab[tuple(high)])
        inside.append(here[tuple(found.T)])
        places.append(found + np.array([first, -1, -1]))
    return np.concatenate(places), np.concatenate(inside)


def _smooth(vertices: Floats, quads: Ints, rounds: int) -> Floats:
    from scipy.sparse import coo_array

    a, b = quads.ravel(), np.roll(quads, -1, 1).ravel()
    n = len(vertices)
    ones = np.ones(2 * len(a), np.float64)
    graph = coo_array((ones, (np.r_[a, b], np.r_[b, a])), shape=(n, n)).tocsr()
    graph.data[:] = 1.0
    neighbours = np.maximum(np.diff(graph.indptr), 1)[:, None]
    for _ in range(rounds):
        for factor in (_SHRINK, _SWELL):
            vertices = vertices + factor * ((graph @ vertices) / neighbours - vertices)
    return vertices


def write_mesh(path: Path, mesh: Mesh, pixel_size_a: float, origin_a: Any = (0, 0, 0)) -> None:
    """Write a mesh in angstrom as binary STL or PLY, by the ending of ``path``.

    Parameters
    ----------
    origin_a : (x, y, z)
        Where the first voxel's centre lies: the origin in the header of the tomogram.

    Raises
    ------
    InputError
        Another ending, or the file cannot be written.
    """
    xyz = (mesh.vertices * pixel_size_a + np.asarray(origin_a, np.float64)).astype("<f4")
    n, m = len(xyz), len(mesh.triangles)
    if path.suffix == ".stl":
        record = np.zeros(m, [("normal", "<f4", 3), ("corner", "<f4", (3, 3)), ("spare", "<u2")])
        record["corner"] = xyz[mesh.triangles]
        sides = np.diff(record["corner"], axis=1)
        normal = np.cross(sides[:, 0], sides[:, 1])
        record["normal"] = normal / np.maximum(np.linalg.norm(normal, axis=1), 1e-20)[:, None]
        data = b"Tiltwright: surface in angstrom".ljust(80) + np.array(m, "<u4").tobytes()
        data += record.tobytes()
    elif path.suffix == ".ply":
        face = np.zeros(m, [("n", "u1"), ("corner", "<i4", 3)])
        face["n"], face["corner"] = 3, mesh.triangles
        head = (
            "ply\nformat binary_little_endian 1.0\ncomment Tiltwright: surface in angstrom\n"
            f"element vertex {n}\nproperty float x\nproperty float y\nproperty float z\n"
            f"element face {m}\nproperty list uchar int vertex_indices\nend_header\n"
        )
        data = head.encode() + xyz.tobytes() + face.tobytes()
    else:
        raise InputError(f"{path}: meshes are written as .stl or .ply")
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
    except OSError as exc:
        raise file_error(path, exc) from exc
