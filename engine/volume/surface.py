"""Surfaces as pictures: a depth buffer on the processor, so that no OpenGL is needed.

Coordinates are those of the screen: x to the right and y down in pixels, z towards the eye.
Colours of vertices are interpolated and lit by one lamp and a little light from everywhere
(Lambert); what is seen from behind is darker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from tiltwright.engine.volume.mesh import Mesh

Floats = npt.NDArray[np.float32]
LIGHT = (-0.35, -0.5, 0.79)
_BEHIND = 0.55
"""What is lit of a surface seen from its inside."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Vertices ``(n, 3)`` as x, y, z with unit normals, and triangles ``(m, 3)``."""

    vertices: Floats
    normals: Floats
    triangles: npt.NDArray[np.int32]

    @classmethod
    def of_mesh(cls, mesh: Mesh) -> Surface:
        """A mesh with the normals of its vertices."""
        vertices = mesh.vertices.astype(np.float32)
        triangles = np.ascontiguousarray(mesh.triangles, np.int32)
        normals = np.zeros_like(vertices)
        add_normals(vertices, triangles, normals)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return cls(vertices, normals / np.maximum(length, 1e-20), triangles)


def thinned(mesh: Mesh, most: int) -> Mesh:
    """A mesh of at most about so many triangles: the vertices of small cubes become one."""
    if len(mesh.triangles) <= most:
        return mesh
    # A surface has two triangles for each square of the voxels that it passes.
    side = math.sqrt(len(mesh.triangles) / most)
    for _ in range(6):
        made = _merged(mesh, side)
        if len(made.triangles) <= most:
            break
        side *= 1.05 * math.sqrt(len(made.triangles) / most)
    return made


def _merged(mesh: Mesh, side: float) -> Mesh:
    cell = np.floor((mesh.vertices - mesh.vertices.min(0)) / side).astype(np.int64)
    size = cell.max(0) + 1
    flat = (cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2]
    _, at, count = np.unique(flat, return_inverse=True, return_counts=True)
    vertices = np.stack([np.bincount(at, mesh.vertices[:, k]) / count for k in range(3)], 1)
    t = at[mesh.triangles]
    t = t[(t[:, 0] != t[:, 1]) & (t[:, 1] != t[:, 2]) & (t[:, 2] != t[:, 0])]
    return Mesh(vertices, t)


@njit(nogil=True, cache=True)
def add_normals(vertices: Any, triangles: Any, normals: Any) -> None:
    """Add the normal of each triangle, as long as twice its area, to its vertices' normals."""
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )  # fmt: skip
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )  # fmt: skip
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz


@njit(nogil=True, cache=True)
def _packed(red: float, green: float, blue: float, light: float) -> Any:
    """An opaque colour, 0xAARRGGBB."""
    r = min(255, int(red * light))
    g = min(255, int(green * light))
    b = min(255, int(blue * light))
    return np.uint32(0xFF000000 | (r << 16) | (g << 8) | b)


@njit(nogil=True, cache=True)
def _lit(nx: float, ny: float, nz: float, lamp: Any) -> float:
    """How bright a surface of this unit normal is."""
    front = nz >= 0.0
    if not front:
        nx, ny, nz = -nx, -ny, -nz
    lambert = max(0.0, nx * lamp[0] + ny * lamp[1] + nz * lamp[2])
    light = 0.28 + 0.72 * lambert
    return float(light if front else _BEHIND * light)


@njit(nogil=True, cache=True)
def draw_triangles(
    at: Any, normals: Any, triangles: Any, colour: Any, lamp: Any, depth: Any, image: Any
) -> None:
    """Draw triangles into a picture and its depth.

    Parameters
    ----------
    at : (n, 3) float32
        Vertices on the screen.
    normals : (n, 3) float32
        On the screen.
    triangles : (m, 3) int32
    colour : (3,) float
        Red, green and blue, 0 to 255.
    lamp : (3,) float
        Unit vector towards the light.
    depth : (ny, nx) float32
        Larger is nearer; minus infinity where nothing is.
    image : (ny, nx) uint32
    """
    ny, nx = depth.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = at[a, 0], at[a, 1], at[b, 0], at[b, 1], at[c, 0], at[c, 1]
        x0 = max(0, math.ceil(min(ax, bx, cx)))
        x1 = min(nx - 1, math.floor(max(ax, bx, cx)))
        y0 = max(0, math.ceil(min(ay, by, cy)))
        y1 = min(ny - 1, math.floor(max(ay, by, cy)))
        if x1 < x0 or y1 < y0:
            continue
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0.0:
            continue
        part = 1.0 / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                u = ((cy - ay) * (x - ax) - (cx - ax) * (y - ay)) * part
                w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * part
                v = 1.0 - u - w
                if u < 0.0 or w < 0.0 or v < 0.0:
                    continue
                z = v * at[a, 2] + u * at[b, 2] + w * at[c, 2]
                if z <= depth[y, x]:
                    continue
                depth[y, x] = z
                mx = v * normals[a, 0] + u * normals[b, 0] + w * normals[c, 0]
                my = v * normals[a, 1] + u * normals[b, 1] + w * normals[c, 1]
                mz = v * normals[a, 2] + u * normals[b, 2] + w * normals[c, 2]
                size = math.sqrt(mx * mx + my * my + mz * mz) + 1e-20
                light = _lit(mx / size, my / size, mz / size, lamp)
                image[y, x] = _packed(colour[0], colour[1], colour[2], light)


@njit(nogil=True, cache=True)
def draw_balls(at: Any, radius: float, colours: Any, lamp: Any, depth: Any, image: Any) -> None:
    """Draw balls about ``at`` ``(n, 3)``, each in its colour ``(n, 3)``; NaN is left out."""
    ny, nx = depth.shape
    for k in range(at.shape[0]):
        px, py, pz = at[k, 0], at[k, 1], at[k, 2]
        if not (math.isfinite(px) and math.isfinite(py) and math.isfinite(pz)):
            continue
        for y in range(max(0, int(py - radius)), min(ny, int(py + radius) + 2)):
            for x in range(max(0, int(px - radius)), min(nx, int(px + radius) + 2)):
                u, v = (x - px) / radius, (y - py) / radius
                rest = 1.0 - u * u - v * v
                if rest < 0.0:
                    continue
                w = math.sqrt(rest)
                z = pz + radius * w
                if z <= depth[y, x]:
                    continue
                depth[y, x] = z
                image[y, x] = _packed(
                    colours[k, 0], colours[k, 1], colours[k, 2], _lit(u, v, w, lamp)
                )


@njit(nogil=True, cache=True)
def draw_lines(ends: Any, colour: Any, hidden: float, depth: Any, image: Any) -> None:
    """Draw lines ``(n, 2, 3)``; where something is nearer only the part ``hidden`` shines through.

    The depth stays as it is.
    """
    ny, nx = depth.shape
    for k in range(ends.shape[0]):
        dx, dy = ends[k, 1, 0] - ends[k, 0, 0], ends[k, 1, 1] - ends[k, 0, 1]
        count = max(1, int(max(abs(dx), abs(dy))))
        for i in range(count + 1):
            f = i / count
            x = math.floor(ends[k, 0, 0] + f * dx + 0.5)
            y = math.floor(ends[k, 0, 1] + f * dy + 0.5)
            if not (0 <= x < nx and 0 <= y < ny):
                continue
            z = ends[k, 0, 2] + f * (ends[k, 1, 2] - ends[k, 0, 2])
            part = 1.0 if z >= depth[y, x] else hidden
            old = int(image[y, x])
            red = part * colour[0] + (1.0 - part) * ((old >> 16) & 255)
            green = part * colour[1] + (1.0 - part) * ((old >> 8) & 255)
            blue = part * colour[2] + (1.0 - part) * (old & 255)
            image[y, x] = _packed(red, green, blue, 1.0)
