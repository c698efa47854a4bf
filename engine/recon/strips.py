"""What all methods of reconstruction share: the request, its geometry, and strips of slices.

Slices across the tilt axis do not depend on one another, so a strip of neighbouring slices is
taken through the whole of a method before the next: all that is kept in memory is one strip.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.conventions import aligned_size
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.interpolate import finite_mean, warp_lines
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.io.atomic import file_error
from tiltwright.engine.progress import Monitor
from tiltwright.engine.recon.backproject import empty_rows, fixed_point
from tiltwright.engine.recon.vectors import BLOCK

Float32s = npt.NDArray[np.float32]

_SAMPLED_SECTIONS = 64


class Geometry:
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
        view_width: int,
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
        # At least the whole view, so that the filter does not depend on the tomogram's width.
        reach = (np.abs(along_x).max(0) + np.abs(along_z).max(0)).max()
        reach = max(float(reach), (view_width - 1) / 2)
        self.n_columns = 2 * math.ceil(reach) + 4
        self.n_rows = self.n_columns * super_sampling
        if self.n_rows >= 32768:
            raise InputError(f"reconstruction: {self.n_rows} samples across a view; at most 32767")
        middle = super_sampling * (self.n_columns - 1) / 2
        self.at_x = fixed_point(super_sampling * along_x + middle)
        self.at_z = fixed_point(super_sampling * along_z)


class Views:
    """The views that are used, in the order of a method, with their transforms and tilts."""

    def __init__(
        self, stack: npt.NDArray[Any], which: npt.NDArray[np.intp], xf: Floats, tilt_deg: Floats
    ) -> None:
        self.stack, self.which, self.xf, self.tilt_deg = stack, which, xf, tilt_deg

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, k: int) -> npt.NDArray[Any]:
        view: npt.NDArray[Any] = self.stack[self.which[k]]
        return view

    def ordered(self, order: npt.NDArray[np.intp]) -> Views:
        """The same views in another order."""
        return Views(self.stack, self.which[order], self.xf[order], self.tilt_deg[order])


@dataclass(frozen=True)
class Request:
    """What every method is asked for.

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
    used_views : (n_views,) bool, optional
    dtype : "int16" or "float32"
        int16 is scaled by slices sampled first; scale and offset go into a label.
    scaling : (scale, offset), optional
        For int16 instead of one's own: tomograms of the two halves of the data take that of the
        whole, so that they can be added and compared.
    """

    stack: npt.NDArray[Any]
    xf: Floats
    tilt_deg: npt.ArrayLike
    thickness: int
    axis_deg: float
    path: str | os.PathLike[str]
    pixel_size_a: float
    width: int = 0
    shift_x: float = 0.0
    shift_z: float = 0.0
    angle_offset_deg: float = 0.0
    x_tilt_deg: float = 0.0
    used_views: npt.NDArray[np.bool_] | None = None
    dtype: str = "int16"
    scaling: tuple[float, float] | None = None

    def views(self) -> Views:
        """The used views.

        Raises
        ------
        InputError
            Shapes or values of the request make no sense.
        """
        n_views, stack, xf = len(self.stack), self.stack, self.xf
        tilt = np.asarray(self.tilt_deg, np.float64)
        given = self.used_views
        used = np.ones(n_views, bool) if given is None else np.asarray(given, bool)
        if xf.shape != (n_views, 2, 3) or tilt.shape != (n_views,) or used.shape != (n_views,):
            raise InputError(
                f"reconstruction: {len(xf)} transforms, {tilt.size} tilt angles and {used.size} "
                f"marks for {n_views} views"
            )
        which = np.flatnonzero(used)
        if len(which) == 0:
            raise InputError("reconstruction: no view is used")
        if self.dtype not in ("int16", "float32"):
            raise InputError(f"reconstruction: output type {self.dtype} is not int16 or float32")
        if self.thickness < 1 or self.width < 0:
            raise InputError(
                f"reconstruction: thickness {self.thickness} or width {self.width} is impossible"
            )
        angles = tilt[which] + self.angle_offset_deg
        if not (np.isfinite(angles).all() and np.isfinite(xf[which]).all()):
            raise InputError("reconstruction: a tilt angle or a transform is not finite")
        if not abs(self.x_tilt_deg) < 60 or not np.isfinite([self.shift_x, self.shift_z]).all():
            raise InputError(
                f"reconstruction: x-axis tilt {self.x_tilt_deg} must be below 60 degrees"
            )
        return Views(stack, which, xf[which], angles)

    def shape(self) -> tuple[int, int, int]:
        """``(nz, ny, nx)`` of the tomogram."""
        _, ny, nx = self.stack.shape
        nx, ny = aligned_size(nx, ny, self.axis_deg)
        return self.thickness, ny, self.width or nx

    def geometry(self, views: Views, super_sampling: int) -> Geometry:
        """Where the voxels fall in the views, in their order."""
        if super_sampling < 1:
            raise InputError(f"reconstruction: super-sampling {super_sampling} is impossible")
        shift = self.shift_x, self.shift_z
        width, _ = aligned_size(self.stack.shape[2], self.stack.shape[1], self.axis_deg)
        return Geometry(self.shape(), views.tilt_deg, shift, self.x_tilt_deg, super_sampling, width)


class Run:
    """The threads of one reconstruction, and its progress."""

    def __init__(self, pool: ThreadPoolExecutor, monitor: Monitor, total: int, text: str) -> None:
        self.pool, self.monitor, self.total, self.text = pool, monitor, total, text
        self.done = 0

    def step(self, n: int = 0) -> None:
        """Report ``n`` more units as done; raises ``Cancelled``."""
        self.done += n
        self.monitor.step(self.done, self.total, self.text)

    def each(self, work: Callable[..., None], items: Iterable[Any], units: int = 0) -> None:
        """Do ``work`` for all items in the threads; it should last at most 0.2 s for each.

        Each item counts as so many units of progress.
        """

        def one(item: Any) -> None:
            self.monitor.check()
            work(item)

        for _ in self.pool.map(one, items):
            if units:
                self.step(units)


def scratch(folder: Path, shape: tuple[int, ...]) -> Float32s:
    """Room on the disk, without a name, that goes when nobody uses it any more.

    Raises
    ------
    InputError
        There is not enough of it.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as room:
            # Room that is not there shows now, not as a signal when a page is written.
            os.posix_fallocate(room.fileno(), 0, 4 * math.prod(shape))
            return np.asarray(np.memmap(room, np.float32, "r+", shape=shape))
    except OSError as exc:
        raise file_error(folder, exc) from exc


class Strips:
    """The rows of neighbouring slices, strip by strip; a method is a subclass.

    For each strip the driver calls :meth:`fill`, :meth:`solve` and then :meth:`sections`; before
    the first, if it needs to know the range of the densities, the same for a sample of slices.
    """

    text: str = "reconstruction"
    outside: float | None = None
    """What stands where a view has no pixel; default: its mean."""

    def __init__(
        self, geometry: Geometry, views: Views, block_bytes: int, most_bytes: int, lines: int
    ) -> None:
        self.geometry, self.views = geometry, views
        self.width = geometry.shape[2]
        self.means = np.zeros(geometry.n_views)
        self.xf = np.stack([s @ m for s, m in zip(geometry.shear, views.xf, strict=True)])
        tilted = bool(np.any(geometry.y_shift))
        low, high = geometry.y_shift.min(), geometry.y_shift.max()
        # A tilted strip also holds what its sections are moved by, and the cubic's neighbours.
        self.before = 1 - math.floor(low) if tilted else 0
        spare = self.before + math.floor(high) + 2 if tilted else 0
        wanted = -(-(min(lines, geometry.shape[1]) + spare) // BLOCK)
        n_blocks = max(spare // BLOCK + 1, min(wanted, most_bytes // block_bytes))
        self.rows = empty_rows(n_blocks * BLOCK, geometry.n_views, geometry.n_rows)
        self.n_lines = n_blocks * BLOCK - spare

    def measure(self, k: int) -> None:
        """Note the mean of view ``k``."""
        self.means[k] = finite_mean(self.views[k])

    def fill(self, k: int, y: int | None) -> None:
        """Take what view ``k`` has of the strip whose first slice is ``y``.

        ``None`` is the sample: one block of slices spread over the whole tomogram.
        """
        shape, lines = self.geometry.shape, self.lines(y)
        outside = self.means[k] if self.outside is None else self.outside
        size = shape[1], self.geometry.n_columns
        warped = warp_lines(self.views[k], self.xf[k], size, lines, outside)
        for b in range(lines[2] // BLOCK):
            self.rows[b, k] = self.convert(k, warped[:, b * BLOCK : (b + 1) * BLOCK])

    def lines(self, y: int | None) -> tuple[float, float, int]:
        """First, step and number of the slices that a strip holds."""
        if y is not None:
            return y - self.before, 1.0, len(self.rows) * BLOCK
        step = self.geometry.shape[1] / BLOCK
        return (step - 1) / 2, step, BLOCK

    def convert(self, k: int, part: Float32s) -> Float32s:
        """What is kept of view ``k``: ``(n_rows, n_lines)`` of ``(n_columns, n_lines)``."""
        raise NotImplementedError

    def solve(self, run: Run, y: int | None) -> None:
        """Do what has to be done before sections can be taken; ``None`` is the sample."""

    def sections(
        self, z: slice, y: int, dtype: npt.DTypeLike, scaling: tuple[float, float]
    ) -> npt.NDArray[Any]:
        """The strip's part of sections ``z``: ``(n_z, n_lines, nx)``."""
        shift = self.geometry.y_shift[z]
        n_lines = min(self.n_lines, self.geometry.shape[1] - y)
        out = np.empty((len(shift), n_lines, self.width), dtype)
        self.project(z, out, self.before + shift, scaling)
        return out

    def project(
        self,
        z: slice | npt.NDArray[np.intp],
        out: npt.NDArray[Any],
        line: npt.NDArray[Any] | None = None,
        scaling: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        """Sections ``z`` of the strip into ``out``; see ``backproject``."""
        raise NotImplementedError

    def sample(self) -> Float32s:
        """The sample in some of the sections, without their moves along y."""
        nz = self.geometry.shape[0]
        z = np.unique(np.linspace(0, nz - 1, _SAMPLED_SECTIONS).round().astype(np.intp))
        out = np.empty((len(z), BLOCK, self.width), np.float32)
        self.project(z, out)
        return out
