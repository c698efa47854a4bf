"""Weighted back-projection of a tilt series to a tomogram file, slab by slab."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import get_num_threads, njit

from tiltwright.engine.conventions import aligned_size
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.interpolate import finite_mean, warp_lines
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.recon.backproject import CHUNK_Z, backproject, empty_rows, fixed_point
from tiltwright.engine.recon.filters import RowFilter, angular_weights
from tiltwright.engine.recon.vectors import BLOCK

Float32s = npt.NDArray[np.float32]

STRIP_LINES = 128
"""Slices that are filtered and projected at a time, when their filtered views fit below."""
STRIP_BYTES = 256_000_000
_SAMPLED_SECTIONS = 64
_INT16_USED = 20000.0


@dataclass(frozen=True)
class Reconstruction:
    """What was written: ``int16 = (density - offset) * scale``; float32 has scale 1, offset 0.

    ``xy`` ``(ny, nx)``, ``xz`` ``(nz, nx)`` and ``yz`` ``(nz, ny)`` are the central slices as
    stored, float32.
    """

    path: Path
    shape: tuple[int, int, int]
    scale: float
    offset: float
    xy: Float32s
    xz: Float32s
    yz: Float32s


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _statistics(values: Any, zero: Any) -> tuple[float, float, float, float]:
    """Minimum, maximum, sum and sum of squares, in the type of ``zero``."""
    low = high = values[0]
    total = zero
    squares = zero
    for value in values:
        low, high = min(low, value), max(high, value)
        wide = zero + value
        total += wide
        squares += wide * wide
    return float(low), float(high), float(total), float(squares)


class _Writer(MrcWriter):
    """The writer with its statistics in one pass over each block."""

    def _measure(self, block: npt.NDArray[Any]) -> tuple[float, float, float, float]:
        zero = np.int64(0) if block.dtype.kind == "i" else np.float64(0)
        low, high, total, squares = _statistics(block.reshape(-1), zero)
        mean = total / block.size
        return low, high, mean, max(squares - total * mean, 0.0)


class _Geometry:
    """Where the voxels of a tomogram fall in the aligned views.

    An x-axis tilt ``xi`` is exact at the price of one interpolation along y: with the views
    sheared by ``x'' = x' - y' sin t tan xi`` and ``y'' = y' / cos xi`` (part of the transform that
    resamples them anyway), a voxel lies at ``x'' = x cos t + z sin t / cos xi`` and ``y'' = y - z
    tan xi``: back-projected as if untilted, each section is then moved along y.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        tilt_deg: Floats,
        shift: tuple[float, float],
        x_tilt_deg: float,
        super_sampling: int,
    ) -> None:
        nz, _, nx = self.shape = shape
        t, xi = np.deg2rad(tilt_deg), math.radians(x_tilt_deg)
        x = np.arange(nx) - (nx - 1) / 2 - shift[0]
        z = np.arange(nz) - (nz - 1) / 2 - shift[1]
        self.n_views = len(t)
        self.shear = np.zeros((len(t), 2, 2))
        self.shear[:, 0, 0] = 1
        self.shear[:, 0, 1] = -np.sin(t) * math.tan(xi)
        self.shear[:, 1, 1] = 1 / math.cos(xi)
        self.y_shift = -z * math.tan(xi)
        along_x = x[:, None] * np.cos(t)
        along_z = z[:, None] * np.sin(t) / math.cos(xi)
        reach = (np.abs(along_x).max(0) + np.abs(along_z).max(0)).max()
        self.n_columns = 2 * math.ceil(reach) + 4
        self.n_rows = self.n_columns * super_sampling
        if self.n_rows >= 32768:
            raise InputError(f"reconstruction: {self.n_rows} samples across a view; at most 32767")
        middle = super_sampling * (self.n_columns - 1) / 2
        self.at_x = fixed_point(super_sampling * along_x + middle)
        self.at_z = fixed_point(super_sampling * along_z)


class _Strips:
    """Filtered views of neighbouring slices, and their back-projection, strip by strip.

    Slices do not depend on one another, so all that is kept in memory is one strip of them. A
    method that iterates (SIRT) belongs here: between :meth:`fill` and :meth:`sections` a strip
    holds its measured rows in the layout that projection needs.
    """

    def __init__(
        self,
        geometry: _Geometry,
        stack: npt.NDArray[Any],
        xf: Floats,
        weights: Floats,
        row_filter: RowFilter,
    ) -> None:
        self.geometry, self.stack, self.weights, self.row_filter = (
            geometry, stack, weights, row_filter,
        )  # fmt: skip
        self.means = np.zeros(geometry.n_views)
        self.xf = xf.copy()
        for k, shear in enumerate(geometry.shear):
            self.xf[k] = shear @ xf[k]
        tilted = bool(np.any(geometry.y_shift))
        low, high = geometry.y_shift.min(), geometry.y_shift.max()
        # A tilted strip also holds what its sections are moved by, and the cubic's neighbours.
        self.before = 1 - math.floor(low) if tilted else 0
        spare = self.before + math.floor(high) + 2 if tilted else 0
        per_block = 4 * geometry.n_views * geometry.n_rows * BLOCK
        wanted = -(-(min(STRIP_LINES, geometry.shape[1]) + spare) // BLOCK)
        n_blocks = max(spare // BLOCK + 1, min(wanted, STRIP_BYTES // per_block))
        self.rows = empty_rows(n_blocks * BLOCK, geometry.n_views, geometry.n_rows)
        self.n_lines = n_blocks * BLOCK - spare

    def measure(self, k: int, view: npt.NDArray[Any]) -> None:
        """Note the mean of view ``k``."""
        self.means[k] = finite_mean(view)

    def fill(self, k: int, view: npt.NDArray[Any], y: int) -> None:
        """Warp and filter what view ``k`` has of the strip whose first slice is ``y``."""
        self._fill(k, view, (y - self.before, 1.0, len(self.rows) * BLOCK))

    def fill_sample(self, k: int, view: npt.NDArray[Any]) -> None:
        """The same for one block of slices spread over the whole tomogram."""
        step = self.geometry.shape[1] / BLOCK
        self._fill(k, view, ((step - 1) / 2, step, BLOCK))

    def _fill(self, k: int, view: npt.NDArray[Any], lines: tuple[float, float, int]) -> None:
        shape = self.geometry.shape[1], self.geometry.n_columns
        warped = warp_lines(view, self.xf[k], shape, lines, self.means[k])
        for b in range(lines[2] // BLOCK):
            part = warped[:, b * BLOCK : (b + 1) * BLOCK]
            self.rows[b, k] = self.row_filter(part, self.weights[k])

    def sections(
        self, z: slice, y: int, dtype: npt.DTypeLike, scaling: tuple[float, float]
    ) -> npt.NDArray[Any]:
        """The strip's part of sections ``z``: ``(n_z, n_lines, nx)``."""
        g = self.geometry
        shift = g.y_shift[z]
        out = np.empty((len(shift), min(self.n_lines, g.shape[1] - y), g.shape[2]), dtype)
        backproject(self.rows, g.at_x, g.at_z[z], out, self.before + shift, scaling)
        return out

    def sample(self) -> npt.NDArray[np.float32]:
        """The sampled block in some of the sections, without their moves along y."""
        g = self.geometry
        z = np.unique(np.linspace(0, g.shape[0] - 1, _SAMPLED_SECTIONS).round().astype(int))
        out = np.empty((len(z), BLOCK, g.shape[2]), np.float32)
        backproject(self.rows[:1], g.at_x, np.ascontiguousarray(g.at_z[z]), out)
        return out


def _int16_scaling(sample: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Scale and offset that make the mean of the sample 0 and leave room beyond its extremes."""
    offset = float(np.float32(sample.mean(dtype=np.float64)))
    largest = max(float(sample.max()) - offset, offset - float(sample.min()))
    return float(np.float32(_INT16_USED / largest)) if largest > 0 else 1.0, offset


def reconstruct_series(
    stack: npt.NDArray[Any],
    xf: Floats,
    tilt_deg: npt.ArrayLike,
    *,
    thickness: int,
    axis_deg: float,
    path: str | os.PathLike[str],
    pixel_size_a: float,
    width: int = 0,
    shift_x: float = 0.0,
    shift_z: float = 0.0,
    angle_offset_deg: float = 0.0,
    x_tilt_deg: float = 0.0,
    radial_cutoff: float = 0.35,
    radial_falloff: float = 0.035,
    super_sampling: int = 2,
    used_views: npt.NDArray[np.bool_] | None = None,
    dtype: str = "int16",
    monitor: Monitor = SILENT,
) -> Reconstruction:
    """Reconstruct a tomogram by weighted back-projection (doi:10.1007/978-0-387-69008-7_9).

    Densities are per voxel in units of the stack, dark where the views are dark. Bounded memory:
    the filtered views of a strip of slices and its part of a few sections.

    Parameters
    ----------
    stack : (n_views, ny, nx)
        Raw views; anything that gives a view when indexed.
    xf : (n_views, 2, 3)
        Raw to aligned positions about the centres, pixels of ``stack``.
    tilt_deg : (n_views,)
        Degrees.
    thickness, width : int
        Voxels along z and x; width 0 is that of the aligned stack.
    axis_deg : float
        Tilt axis angle; decides whether x and y are swapped.
    path : path
        MRC file to write, sections along z.
    pixel_size_a : float
        Angstrom.
    shift_x, shift_z : float
        Moves the specimen in the tomogram, voxels.
    angle_offset_deg : float
        Added to all tilt angles.
    x_tilt_deg : float
        X-axis tilt of the specimen (see ``engine/conventions.py``).
    radial_cutoff, radial_falloff : float
        Cycles/pixel, see :func:`~tiltwright.engine.recon.filters.radial_filter`.
    super_sampling : int
        Samples per pixel of the filtered views.
    used_views : (n_views,) bool, optional
    dtype : "int16" or "float32"
        int16 is scaled by slices sampled first; scale and offset go into a label.
    monitor : Monitor

    Returns
    -------
    Reconstruction

    Raises
    ------
    InputError
        Shapes or values make no sense, or the file cannot be written.
    """
    n_views, ny_raw, nx_raw = stack.shape
    tilt = np.asarray(tilt_deg, np.float64)
    used = np.ones(n_views, bool) if used_views is None else np.asarray(used_views, bool)
    if xf.shape != (n_views, 2, 3) or tilt.shape != (n_views,) or used.shape != (n_views,):
        raise InputError(
            f"reconstruction: {len(xf)} transforms, {tilt.size} tilt angles and {used.size} "
            f"marks for {n_views} views"
        )
    views = np.flatnonzero(used)
    if len(views) == 0:
        raise InputError("reconstruction: no view is used")
    if dtype not in ("int16", "float32"):
        raise InputError(f"reconstruction: output type {dtype} is not int16 or float32")
    if thickness < 1 or width < 0 or super_sampling < 1:
        raise InputError(
            f"reconstruction: thickness {thickness}, width {width} or super-sampling "
            f"{super_sampling} is impossible"
        )
    angles = tilt[views] + angle_offset_deg
    if not (np.isfinite(angles).all() and np.isfinite(xf[views]).all()):
        raise InputError("reconstruction: a tilt angle or a transform is not finite")
    if not abs(x_tilt_deg) < 60 or not np.isfinite([shift_x, shift_z]).all():
        raise InputError(f"reconstruction: x-axis tilt {x_tilt_deg} must be below 60 degrees")
    nx, ny = aligned_size(nx_raw, ny_raw, axis_deg)
    nx = width or nx
    shape = (thickness, ny, nx)
    where = Path(path)
    geometry = _Geometry(shape, angles, (shift_x, shift_z), x_tilt_deg, super_sampling)
    row_filter = RowFilter(
        geometry.n_columns, cutoff=radial_cutoff, falloff=radial_falloff,
        super_sampling=super_sampling,
    )  # fmt: skip
    strips = _Strips(geometry, stack, xf[views], angular_weights(angles), row_filter)
    kind = np.dtype(dtype)
    total = ny + strips.n_lines
    with ThreadPoolExecutor(get_num_threads()) as pool:

        def over_views(work: Callable[..., None], *more: Any) -> None:
            def one(k: int) -> None:
                monitor.check()
                work(k, stack[views[k]], *more)

            for _ in pool.map(one, range(len(views))):
                pass

        monitor.step(0, total, "sampling")
        over_views(strips.measure)
        scaling = (1.0, 0.0)
        labels = ["Tiltwright: weighted back-projection, sections along z"]
        if kind.kind == "i":
            over_views(strips.fill_sample)
            scaling = _int16_scaling(strips.sample())
            labels.append(f"int16 = (density - {scaling[1]:.8g}) * {scaling[0]:.8g}")
        xy, xz, yz = (np.empty(s, np.float32) for s in (shape[1:], shape[::2], shape[:2]))
        with _Writer(where, shape, kind, pixel_size_a, labels=labels) as writer:

            def project(z: int, y: int) -> None:
                monitor.check()
                span = slice(z, min(z + CHUNK_Z, thickness))
                part = strips.sections(span, y, kind, scaling)
                lines = slice(y, y + part.shape[1])
                writer.write(z, part, y)
                yz[span, lines] = part[:, :, nx // 2]
                if y <= ny // 2 < lines.stop:
                    xz[span] = part[:, ny // 2 - y]
                if z <= thickness // 2 < span.stop:
                    xy[lines] = part[thickness // 2 - z]

            for y in range(0, ny, strips.n_lines):
                monitor.step(y + strips.n_lines, total, "back-projection")
                over_views(strips.fill, y)
                for _ in pool.map(project, range(0, thickness, CHUNK_Z), repeat(y)):
                    pass
            monitor.step(total, total, "back-projection")
    return Reconstruction(where, shape, scaling[0], scaling[1], xy, xz, yz)
