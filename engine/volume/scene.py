"""A mask, beads and the box about them, seen from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.volume.mesh import Mesh, mesh_in_pieces
from tiltwright.engine.volume.surface import (
    LIGHT,
    Surface,
    draw_balls,
    draw_lines,
    draw_triangles,
    thinned,
)

Floats = npt.NDArray[np.float64]
MOST_VOXELS = 40 << 20
"""Larger masks are looked at by every second or third voxel."""
MOST_TRIANGLES = 200_000
"""While it is turned."""
_GROUND = 0xFF0A0B0D
_FRAME = np.array([120.0, 130.0, 145.0])
_PLANE = np.array([255.0, 230.0, 0.0])
_HIDDEN = 0.22


@dataclass(frozen=True, eq=False)
class Scene:
    """What there is to see, in voxels of the tomogram, the centre of the first 0.

    Attributes
    ----------
    shape : (nz, ny, nx)
    fine, coarse : Surface or None
        At rest, and while it is turned; ``None`` when the mask is empty.
    colour : (r, g, b)
        Of the surface, 0 to 255.
    beads : (n, 3) float64
        x, y, z; NaN for a bead without a position.
    bead_colours : (n, 3) float64
    bead_radius : float
    """

    shape: tuple[int, int, int]
    fine: Surface | None
    coarse: Surface | None
    colour: tuple[float, float, float]
    beads: Floats
    bead_colours: Floats
    bead_radius: float


@dataclass(frozen=True)
class Eye:
    """Where it is seen from.

    Attributes
    ----------
    turn : (3, 3) float64
        From x, y, z of the volume to the screen's right, up and towards the eye.
    scale : float
        Screen pixels per voxel.
    shift : (x, y)
        Of the middle of the volume from the middle of the picture, pixels, downwards.
    """

    turn: Floats
    scale: float
    shift: tuple[float, float]


@dataclass(frozen=True, eq=False)
class View:
    """A picture ``(ny, nx)`` uint32 as 0xAARRGGBB, and its depth in pixels towards the eye."""

    image: npt.NDArray[np.uint32]
    depth: npt.NDArray[np.float32]
    eye: Eye
    shape: tuple[int, int, int]

    def voxel(self, x: float, y: float) -> tuple[float, float, float] | None:
        """The place in the volume that a pixel shows; ``None`` where there is nothing."""
        ny, nx = self.depth.shape
        i, j = round(x), round(y)
        if not (0 <= i < nx and 0 <= j < ny and np.isfinite(self.depth[j, i])):
            return None
        right = i - nx / 2 - self.eye.shift[0]
        down = j - ny / 2 - self.eye.shift[1]
        turned = np.array([right, -down, self.depth[j, i]]) / self.eye.scale
        at = self.eye.turn.T @ turned + (np.array(self.shape[::-1]) - 1) / 2
        return float(at[0]), float(at[1]), float(at[2])


def surfaces_of(mask: Any) -> Iterator[tuple[Surface, Surface] | str | None]:
    """The fine and the coarse surface of a mask ``(nz, ny, nx)``, or why there is none.

    Yields ``None`` between pieces of the work.
    """
    factor = 1
    while np.prod([n // factor + 1 for n in mask.shape]) > MOST_VOXELS:
        factor += 1
    small = np.zeros([-(-n // factor) for n in mask.shape], np.bool_)
    for z in range(len(small)):
        section = (np.asarray(mask[z * factor : (z + 1) * factor]) != 0).any(0)
        if factor > 1:
            pads = [(0, -n % factor) for n in section.shape]
            ny, nx = small.shape[1:]
            section = np.pad(section, pads).reshape(ny, factor, nx, factor).any((1, 3))
        small[z] = section
        if z % 8 == 7:
            yield None
    where = [np.flatnonzero(small.any(tuple(k for k in range(3) if k != a))) for a in range(3)]
    if not len(where[0]):
        yield "The mask is empty."
        return
    low = np.array([w[0] for w in where])
    cut = small[tuple(slice(w[0], w[-1] + 1) for w in where)]
    yield None
    for made in mesh_in_pieces(cut):
        if isinstance(made, Mesh):
            break
        yield None
    assert isinstance(made, Mesh)
    mesh = Mesh((made.vertices + low[::-1]) * factor + (factor - 1) / 2, made.triangles)
    yield None
    yield Surface.of_mesh(mesh), Surface.of_mesh(thinned(mesh, MOST_TRIANGLES))


def render(
    scene: Scene, eye: Eye, size: tuple[int, int], coarse: bool, z: float | None = None
) -> View:
    """Draw a scene.

    Parameters
    ----------
    size : (width, height)
    coarse : bool
        Fewer triangles, for a picture that moves.
    z : float, optional
        A section whose outline is drawn.
    """
    width, height = size
    depth = np.full((height, width), -np.inf, np.float32)
    image = np.full((height, width), _GROUND, np.uint32)
    lamp = np.array(LIGHT) / np.linalg.norm(LIGHT)
    flip = np.array([[1.0], [-1.0], [1.0]]) * eye.turn
    middle = (np.array(scene.shape[::-1]) - 1) / 2
    to = np.array([width / 2 + eye.shift[0], height / 2 + eye.shift[1], 0.0])

    def on_screen(points: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        turn = np.asarray(flip.T * eye.scale, np.float32)
        move = np.asarray(to - middle @ flip.T * eye.scale, np.float32)
        out: npt.NDArray[np.float32] = np.asarray(points, np.float32) @ turn + move
        return out

    surface = scene.coarse if coarse else scene.fine
    if surface is not None:
        normals = surface.normals @ np.asarray(flip.T, np.float32)
        colour = np.array(scene.colour, np.float64)
        draw_triangles(
            on_screen(surface.vertices), normals, surface.triangles, colour, lamp, depth, image
        )
    if len(scene.beads):
        radius = max(1.5, scene.bead_radius * eye.scale)
        draw_balls(on_screen(scene.beads), radius, scene.bead_colours, lamp, depth, image)
    draw_lines(on_screen(_edges(scene.shape)), _FRAME, _HIDDEN, depth, image)
    if z is not None:
        draw_lines(on_screen(_outline(scene.shape, z)), _PLANE, _HIDDEN, depth, image)
    return View(image, depth, eye, scene.shape)


def _edges(shape: tuple[int, int, int]) -> Floats:
    """The twelve edges of a volume, ``(12, 2, 3)``."""
    low, high = np.full(3, -0.5), np.array(shape[::-1]) - 0.5
    out = []
    for axis in range(3):
        for k in range(4):
            a = low.copy()
            others = [i for i in range(3) if i != axis]
            for bit, i in enumerate(others):
                a[i] = high[i] if k >> bit & 1 else low[i]
            b = a.copy()
            b[axis] = high[axis]
            out.append([a, b])
    return np.array(out)


def _outline(shape: tuple[int, int, int], z: float) -> Floats:
    """The outline of a section, ``(4, 2, 3)``."""
    ny, nx = shape[1:]
    corner = np.array([[-0.5, -0.5, z], [nx - 0.5, -0.5, z], [nx - 0.5, ny - 0.5, z],
                       [-0.5, ny - 0.5, z]])  # fmt: skip
    return np.stack([corner, np.roll(corner, -1, 0)], 1)
