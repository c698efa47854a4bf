"""The surface of a mask as triangles, smoothed, and as STL or PLY.

Surface nets (Gibson 1998, doi:10.1007/BFb0056277): a vertex in every cell of eight voxels that
the surface passes, at the mean of its crossings, and a quad about every crossing. Smoothed without
shrinking after Taubin 1995, doi:10.1145/218380.218473. The surface of a large mask is that of the
occupancy of cubes of eight voxels, a quarter of the triangles, where it passes one half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import atomic_path, file_error
from tiltwright.engine.progress import SILENT, Monitor

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_TRIANGLES = 400_000
"""With more, every second voxel is looked at."""
_SLAB = 16
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


def mesh_of_mask(mask: npt.NDArray[Any], smoothing: int = 10, monitor: Monitor = SILENT) -> Mesh:
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
    Cancelled
    """
    for made in mesh_in_pieces(mask, smoothing):
        if isinstance(made, Mesh):
            return made
        monitor.step(*made, "meshing")
    raise AssertionError("the last piece is the mesh")


def mesh_in_pieces(mask: npt.NDArray[Any], smoothing: int = 10) -> Iterator[tuple[int, int] | Mesh]:
    """The mesh of :func:`mesh_of_mask`, after pieces of work: how many of how many are done."""
    if mask.ndim != 3:
        raise InputError(f"mesh: want a mask (nz, ny, nx), not one of shape {mask.shape}")
    slabs = -(-(mask.shape[0] + 1) // _SLAB)
    total, triangles = 2 * slabs + smoothing + 3, 0
    for i, slab in enumerate(_slabs(mask, 1)):
        pairs = (slab[:-1], slab[1:]), (slab[:-1, :-1], slab[:-1, 1:]), (
            slab[:-1, :, :-1], slab[:-1, :, 1:],
        )  # fmt: skip
        triangles += 2 * sum(int(np.count_nonzero(a != b)) for a, b in pairs)
        yield i + 1, total
    if not triangles:
        raise InputError("mesh: the mask is empty")
    factor = 1 if triangles <= MOST_TRIANGLES else 2
    rounds = -(-smoothing // factor)
    cells: list[Ints] = []
    middles: list[Floats] = []
    size = np.array([-(-n // factor) + 2 for n in mask.shape])
    for i, slab in enumerate(_slabs(mask, factor)):
        for axis in range(3):
            _add_crossings(slab, axis, i * _SLAB - 1, factor**3, size, cells, middles)
        yield min(slabs + (i + 1) * factor, 2 * slabs), total
    quads, crossings = np.concatenate(cells), np.concatenate(middles)
    del cells, middles
    at = np.unique(quads, return_inverse=True)[1].reshape(-1, 4)
    yield 2 * slabs + 1, total
    n = int(at.max()) + 1
    count = np.bincount(at.ravel(), minlength=n)
    where = [np.bincount(at.ravel(), np.repeat(crossings[:, k], 4), n) / count for k in range(3)]
    yield 2 * slabs + 2, total
    vertices = np.stack(where, 1)
    graph = _neighbours(at, n)
    yield 2 * slabs + 3, total
    for i in range(rounds):
        vertices = _smooth(vertices, graph)
        yield 2 * slabs + 4 + i, total
    vertices = vertices * factor + (factor - 1) / 2
    yield Mesh(vertices, np.concatenate([at[:, [0, 1, 2]], at[:, [0, 2, 3]]]))


def _slabs(mask: npt.NDArray[Any], factor: int) -> Iterator[npt.NDArray[np.uint8]]:
    """How many voxels are inside of each cube of ``factor``, with a border of empty cubes.

    ``_SLAB`` sections and the one after them, the first the border.
    """
    nz, ny, nx = (-(-n // factor) for n in mask.shape)
    for first in range(-1, nz, _SLAB):
        last = min(first + _SLAB, nz)
        out = np.zeros((last - first + 1, ny + 2, nx + 2), np.uint8)
        low, high = max(first, 0), min(last + 1, nz)
        part = np.asarray(mask[low * factor : high * factor]) != 0
        inner = out[low - first : high - first, 1:-1, 1:-1]
        for k in range(factor):
            for j in range(factor):
                for i in range(factor):
                    some = part[k::factor, j::factor, i::factor]
                    inner[: some.shape[0], : some.shape[1], : some.shape[2]] += some
        yield out


def _add_crossings(
    slab: npt.NDArray[np.uint8], axis: int, first: int, full: int, size: Ints,
    cells: list[Ints], middles: list[Floats],
) -> None:  # fmt: skip
    """Add the cells ``(n, 4)`` about each crossing along ``axis``, and where it is, ``(n, 3)``."""
    b, c = ((1, 2), (2, 0), (0, 1))[axis]
    low = [slice(0, -1), slice(None), slice(None)]
    high = [slice(0, -1), slice(None), slice(None)]
    if axis == 0:
        high[0] = slice(1, None)
    else:
        low[axis], high[axis] = slice(None, -1), slice(1, None)
    here, there = slab[tuple(low)], slab[tuple(high)]
    found = np.argwhere((2 * here >= full) != (2 * there >= full))
    a, e = (part[tuple(found.T)].astype(np.float64) for part in (here, there))
    below = found + np.array([first, -1, -1])
    # z, y, x is a left-handed order of axes, so the turn about +axis runs the other way
    corner = np.repeat((below + 1)[:, None], 4, 1)
    for k, (db, dc) in enumerate([(0, 0), (0, 1), (1, 1), (1, 0)]):
        corner[:, k, b] += db - 1
        corner[:, k, c] += dc - 1
    inward = a < e
    corner[inward] = corner[inward][:, ::-1]
    cells.append(np.ravel_multi_index(tuple(np.moveaxis(corner, -1, 0)), tuple(size)))
    middle = below.astype(np.float64)
    middle[:, axis] += (full / 2 - a) / (e - a)
    middles.append(middle[:, ::-1])


def _neighbours(quads: Ints, n: int) -> Any:
    """The mean of the neighbours of each of ``n`` vertices, as a sparse matrix."""
    from scipy.sparse import coo_array, diags_array

    a, b = quads.ravel(), np.roll(quads, -1, 1).ravel()
    ones = np.ones(2 * len(a), np.float32)
    graph = coo_array((ones, (np.r_[a, b], np.r_[b, a])), shape=(n, n)).tocsr()
    graph.data[:] = 1.0
    return diags_array(1.0 / np.maximum(np.diff(graph.indptr), 1)) @ graph


def _smooth(vertices: Floats, graph: Any) -> Floats:
    for factor in (_SHRINK, _SWELL):
        vertices = vertices + factor * (graph @ vertices - vertices)
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
