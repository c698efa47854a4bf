"""Weighted back-projection of a tilt series to a tomogram file, slab by slab."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Weighting:
    """The filter of back-projection (doi:10.1007/978-0-387-69008-7_9).

    Attributes
    ----------
    radial_cutoff, radial_falloff : float
        Cycles/pixel, see :func:`~tiltwright.engine.recon.filters.radial_filter`.
    super_sampling : int
        Samples per pixel of the filtered views.
    hamming_start : float, optional
        See :class:`~tiltwright.engine.recon.filters.RowFilter`; replaces cutoff and falloff.
    equivalent_iterations : int
        Damp high frequencies as so many iterations of SIRT would; 0 does not. See
        :func:`~tiltwright.engine.recon.filters.iteration_window`.
    """

    radial_cutoff: float = 0.35
    radial_falloff: float = 0.035
    super_sampling: int = 2
    hamming_start: float | None = None
    equivalent_iterations: int = 0

    def strips(self, request: Request, views: Views, thickness: int) -> FilteredStrips:
        """The views of a request, to be filtered for a tomogram of ``thickness`` voxels."""
        geometry = request.geometry(views, self.super_sampling)
        weights = angular_weights(views.tilt_deg)
        iterations = None
        if self.equivalent_iterations:
            path = thickness / np.cos(np.deg2rad(views.tilt_deg)).mean()
            iterations = self.equivalent_iterations, float(path * weights.sum()), 1 / len(views)
        row_filter = RowFilter(
            geometry.n_columns, cutoff=self.radial_cutoff, falloff=self.radial_falloff,
            super_sampling=self.super_sampling, hamming_start=self.hamming_start,
            iterations=iterations,
        )  # fmt: skip
        return FilteredStrips(geometry, views, weights, row_filter)

    def label(self, name: str) -> str:
        """What was done, for the file."""
        n = self.equivalent_iterations
        return f"{name} as of {n} iterations" if n else name


def reconstruct_series(
    request: Request, weighting: Weighting | None = None, monitor: Monitor = SILENT
) -> Reconstruction:
    """Reconstruct a tomogram by weighted back-projection.

    Densities are per voxel in units of the stack, dark where the views are dark. Bounded memory:
    the filtered views of a strip of slices and its part of a few sections.

    Raises
    ------
    InputError
        Shapes or values make no sense, or the file cannot be written.
    Cancelled
    """
    weighting = weighting or Weighting()
    strips = weighting.strips(request, request.views(), request.thickness)
    return write_strips(strips, request, weighting.label("weighted back-projection"), monitor)
