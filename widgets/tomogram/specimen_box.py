"""The box that says what is kept of a tomogram, and how it is dragged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import Qt

from tiltwright.widgets.tomogram.tomogram_planes import Plane

_LEAST = 4
_STEEPEST_DEG = 45.0
_INSET = 0.06
"""The handles lie so far inside the ends, where they are in sight."""


@dataclass(frozen=True)
class SpecimenBox:
    """Part of a volume: crop in x and y, and a slab that may be inclined along y.

    Attributes
    ----------
    shape : (nz, ny, nx)
    pixel_size_a : float
    x0, x1, y0, y1 : int
        First and last voxel kept, both counted, from 0.
    z0, z1 : int
        The same at the centre of the volume; the slab passes through there.
    x_tilt_deg : float
        Inclination ``dz / dy`` of the slab: what to add to the x-axis tilt for it to lie flat.
    """

    shape: tuple[int, int, int]
    pixel_size_a: float
    x0: int
    x1: int
    y0: int
    y1: int
    z0: int
    z1: int
    x_tilt_deg: float = 0.0

    @classmethod
    def whole(cls, shape: tuple[int, int, int], pixel_size_a: float) -> SpecimenBox:
        """All of a volume."""
        nz, ny, nx = shape
        return cls(shape, pixel_size_a, 0, nx - 1, 0, ny - 1, 0, nz - 1)

    @property
    def thickness_px(self) -> int:
        """Thickness across the slab, voxels."""
        across = (self.z1 - self.z0 + 1) * float(np.cos(np.deg2rad(self.x_tilt_deg)))
        return max(1, round(across))

    @property
    def thickness_nm(self) -> float:
        """Thickness across the slab."""
        return self.thickness_px * self.pixel_size_a / 10

    @property
    def z_shift_px(self) -> float:
        """Middle of the slab above the centre of the volume, voxels."""
        return (self.z0 + self.z1) / 2 - (self.shape[0] - 1) / 2

    @property
    def size_nm(self) -> tuple[float, float, float]:
        """Extent in x, y and z."""
        nm = self.pixel_size_a / 10
        return (
            (self.x1 - self.x0 + 1) * nm,
            (self.y1 - self.y0 + 1) * nm,
            (self.z1 - self.z0 + 1) * nm,
        )

    def rise(self, y: float) -> float:
        """How much higher the slab lies at ``y`` than at the centre."""
        return float((y - (self.shape[1] - 1) / 2) * np.tan(np.deg2rad(self.x_tilt_deg)))

    def valid(self) -> SpecimenBox:
        """The same, held inside the volume and not too thin or steep."""
        nz, ny, nx = self.shape
        out: dict[str, Any] = {}
        for low, high, n in (("x0", "x1", nx), ("y0", "y1", ny), ("z0", "z1", nz)):
            least = min(_LEAST, n)
            a = int(np.clip(round(getattr(self, low)), 0, n - least))
            out[low] = a
            out[high] = int(np.clip(round(getattr(self, high)), a + least - 1, n - 1))
        tilt = float(np.clip(self.x_tilt_deg, -_STEEPEST_DEG, _STEEPEST_DEG))
        return replace(self, **out, x_tilt_deg=round(tilt, 2))

    def corners(self, plane: Plane) -> npt.NDArray[np.float64]:
        """Outline on a plane, ``(4, 2)``, half a voxel around the voxels kept."""
        x, y = (self.x0 - 0.5, self.x1 + 0.5), (self.y0 - 0.5, self.y1 + 0.5)
        z = self.z0 - 0.5, self.z1 + 0.5
        if plane == "xy":
            points = [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])]
        elif plane == "xz":
            points = [(x[0], z[0]), (x[1], z[0]), (x[1], z[1]), (x[0], z[1])]
        else:
            low, high = self.rise(y[0]), self.rise(y[1])
            points = [
                (z[0] + low, y[0]), (z[1] + low, y[0]), (z[1] + high, y[1]), (z[0] + high, y[1]),
            ]  # fmt: skip
        return np.array(points, np.float64)

    def tilt_handles(self) -> npt.NDArray[np.float64]:
        """Where the slab is taken to incline it, on the YZ plane, ``(2, 2)`` as z, y."""
        z, inset = (self.z0 + self.z1) / 2, _INSET * (self.y1 - self.y0)
        return np.array([(z + self.rise(y), y) for y in (self.y0 + inset, self.y1 - inset)])


class BoxGesture:
    """Drags the edges, the middle or the inclination of a box on one plane.

    Parameters
    ----------
    plane : 'xz' or 'yz'
    get : callable
        The box as it is; ``None`` when there is none.
    changed : callable
        Gets the box during a drag.
    """

    def __init__(
        self,
        plane: Plane,
        get: Callable[[], SpecimenBox | None],
        changed: Callable[[SpecimenBox], None],
    ) -> None:
        self._plane, self._get, self._changed = plane, get, changed
        self._grip: str | None = None
        self._start: tuple[float, float, SpecimenBox] | None = None

    def grip(self, x: float, y: float, reach_px: float) -> str | None:
        """What lies at a position: an edge (``z0`` …), ``tilt``, ``middle`` or nothing."""
        box = self._get()
        if box is None:
            return None
        if self._plane == "yz":
            handles = np.abs(box.tilt_handles() - [x, y]).max(1)
            if handles.min() <= 1.5 * reach_px:
                return "tilt"
            across, along = x - box.rise(y), y
            names, ends = ("y0", "y1"), (box.y0, box.y1)
        else:
            across, along = y, x
            names, ends = ("x0", "x1"), (box.x0, box.x1)
        near: dict[str, float] = {}
        if ends[0] - reach_px <= along <= ends[1] + reach_px:
            near |= {"z0": abs(across - box.z0), "z1": abs(across - box.z1)}
        if box.z0 - reach_px <= across <= box.z1 + reach_px:
            near |= {name: abs(along - end) for name, end in zip(names, ends, strict=True)}
        best = min(near, key=lambda k: near[k], default=None)
        if best is not None and near[best] <= reach_px:
            return best
        inside = ends[0] < along < ends[1] and box.z0 < across < box.z1
        return "middle" if inside else None

    def press(self, x: float, y: float, reach_px: float) -> bool:
        """Take what lies here; the middle is left to panning unless it is a real box."""
        box = self._get()
        self._grip = self.grip(x, y, reach_px)
        if self._grip is None or box is None:
            return False
        self._start = x, y, box
        return True

    def move(self, x: float, y: float) -> None:
        """Change the box."""
        if self._start is None or self._grip is None:
            return
        x0, y0, box = self._start
        z_now, z_then = (x, x0) if self._plane == "yz" else (y, y0)
        if self._plane == "yz":
            z_now, z_then = x - box.rise(y), x0 - box.rise(y0)
        if self._grip == "tilt":
            middle = (box.shape[1] - 1) / 2
            if abs(y - middle) < 1:
                return
            angle = np.rad2deg(np.arctan((x - (box.z0 + box.z1) / 2) / (y - middle)))
            new = replace(box, x_tilt_deg=float(angle))
        elif self._grip == "middle":
            step = round(z_now - z_then)
            step = max(-box.z0, min(step, box.shape[0] - 1 - box.z1))
            new = replace(box, z0=box.z0 + step, z1=box.z1 + step)
        elif self._grip in ("z0", "z1"):
            new = self._moved(box, self._grip, z_now)
        else:
            new = self._moved(box, self._grip, y if self._plane == "yz" else x)
        self._changed(new.valid())

    @staticmethod
    def _moved(box: SpecimenBox, edge: str, to: float) -> SpecimenBox:
        """One edge moved, but not over the opposite one."""
        low, high = edge[0] + "0", edge[0] + "1"
        if edge == low:
            return replace(box, **{low: min(round(to), getattr(box, high) - _LEAST + 1)})
        return replace(box, **{high: max(round(to), getattr(box, low) + _LEAST - 1)})

    def release(self, x: float, y: float) -> None:
        """Let go."""
        self._grip = self._start = None

    def cursor(self, x: float, y: float, reach_px: float) -> Qt.CursorShape | None:
        """An arrow along the way that an edge moves."""
        grip = self.grip(x, y, reach_px)
        shapes = Qt.CursorShape
        if grip is None:
            return None
        if grip == "tilt":
            return shapes.CrossCursor
        if grip == "middle":
            return shapes.SizeAllCursor
        sideways = (grip[0] == "z") == (self._plane == "yz")
        return shapes.SizeHorCursor if sideways else shapes.SizeVerCursor
