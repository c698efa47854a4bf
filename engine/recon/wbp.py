"""Weighted back-projection of a tilt series to a tomogram file, slab by slab."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.recon.backproject import backproject
from tiltwright.engine.recon.filters import RowFilter, angular_weights
from tiltwright.engine.recon.output import Reconstruction, write_strips
from tiltwright.engine.recon.strips import Geometry, Request, Strips, Views
from tiltwright.engine.recon.vectors import BLOCK

Float32s = npt.NDArray[np.float32]

STRIP_LINES = 128
"""Slices that are filtered and projected at a time, when their filtered views fit below."""
STRIP_BYTES = 256_000_000


class FilteredStrips(Strips):
    """Filtered views, and their back-projection."""

    text = "back-projection"

    def __init__(
        self, geometry: Geometry, views: Views, weights: Floats, row_filter: RowFilter
    ) -> None:
        per_block = 4 * geometry.n_views * geometry.n_rows * BLOCK
        super().__init__(geometry, views, per_block, STRIP_BYTES, STRIP_LINES)
        self.weights, self.row_filter = weights, row_filter

    def convert(self, k: int, part: Float32s) -> Float32s:
        """Filter."""
        return self.row_filter(part, self.weights[k])

    def project(
        self,
        z: slice | npt.NDArray[np.intp],
        out: npt.NDArray[Any],
        line: npt.NDArray[Any] | None = None,
        scaling: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        """Back-project."""
        g = self.geometry
        rows = self.rows[: -(-out.shape[1] // BLOCK)] if line is None else self.rows
        backproject(rows, g.at_x, np.ascontiguousarray(g.at_z[z]), out, line, scaling)


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
    hamming_start: float | None = None,
    equivalent_iterations: int = 0,
    scaling: tuple[float, float] | None = None,
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
    hamming_start : float, optional
        See :class:`~tiltwright.engine.recon.filters.RowFilter`; replaces cutoff and falloff.
    equivalent_iterations : int
        Damp high frequencies as so many iterations of SIRT would; 0 does not. See
        :func:`~tiltwright.engine.recon.filters.iteration_window`.
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
    request = Request(
        stack, xf, tilt_deg, thickness, axis_deg, path, pixel_size_a, width, shift_x, shift_z,
        angle_offset_deg, x_tilt_deg, used_views, dtype, scaling,
    )  # fmt: skip
    views = request.views()
    geometry = request.geometry(views, super_sampling)
    weights = angular_weights(views.tilt_deg)
    iterations = None
    if equivalent_iterations:
        length = thickness / np.cos(np.deg2rad(views.tilt_deg)).mean()
        iterations = equivalent_iterations, float(length * weights.sum()), 1 / len(views)
    row_filter = RowFilter(
        geometry.n_columns, cutoff=radial_cutoff, falloff=radial_falloff,
        super_sampling=super_sampling, hamming_start=hamming_start, iterations=iterations,
    )  # fmt: skip
    strips = FilteredStrips(geometry, views, weights, row_filter)
    label = "weighted back-projection"
    if equivalent_iterations:
        label += f" as of {equivalent_iterations} iterations"
    return write_strips(strips, request, label, monitor)
