"""A few slices through a bead, reconstructed on the spot: round beads or bananas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.interpolate import finite_mean, warp_lines
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.recon.backproject import backproject, empty_rows, fixed_point
from tiltwright.engine.recon.filters import RowFilter, angular_weights
from tiltwright.engine.recon.vectors import BLOCK
from tiltwright.engine.stack.frame import BinnedFrame

_CUTOFF, _FALLOFF, _FINE = 0.35, 0.035, 2
_MARGIN = 16
"""Columns beyond the box that the ramp filter sees on either side."""


class LiveSlab:
    """Weighted back-projection of a small box about a point of the specimen.

    Runs in the calling thread, with kernels that are not parallel.

    Parameters
    ----------
    images : (n_views, ny, nx)
        Raw views binned by ``frame``.
    frame : BinnedFrame
    """

    def __init__(self, images: Any, frame: BinnedFrame) -> None:
        self.images, self.frame = images, frame
        self._means: dict[int, float] = {}

    def slices(
        self,
        alignment: Alignment,
        xyz: npt.ArrayLike,
        *,
        n_slices: int = 5,
        width: int = 128,
        height: int = 128,
        used: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.float32]:
        """XZ slices about a point, one voxel apart along the tilt axis.

        Parameters
        ----------
        alignment
            The one that is judged (``Snapshot.alignment()``).
        xyz : (3,)
            Position in its specimen, raw pixels (``Snapshot.xyz[contour]``); in the middle of
            the middle slice.
        width, height : int
            Voxels along x and z; voxels are pixels of the images.
        used : (n_views,) bool, optional

        Returns
        -------
        (n_slices, height, width) float32

        Raises
        ------
        InputError
            The point is not known: the bead is not solved.
        """
        if not np.isfinite(np.asarray(xyz, np.float64)).all():
            raise InputError("slab: the bead has no position; give it at least two points")
        scale = self.frame.scale
        views = np.flatnonzero(alignment.valid if used is None else alignment.valid & used)
        t, xi = np.deg2rad(alignment.tilt_deg[views]), math.radians(alignment.x_tilt_deg)
        point = np.asarray(xyz, np.float64) / scale
        x, z = np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2
        y_shift = -z * math.tan(xi)
        along_x = x[:, None] * np.cos(t)
        along_z = z[:, None] * np.sin(t) / math.cos(xi)
        reach = float((np.abs(along_x).max(0) + np.abs(along_z).max(0)).max())
        n_columns = 2 * (math.ceil(reach) + _MARGIN)
        before = 2 + math.ceil(float(np.abs(y_shift).max()))
        n_lines = -(-(n_slices + 2 * before + 2) // BLOCK) * BLOCK
        rows = empty_rows(n_lines, len(views), n_columns * _FINE)
        row_filter = RowFilter(n_columns, cutoff=_CUTOFF, falloff=_FALLOFF, super_sampling=_FINE)
        weights = angular_weights(alignment.tilt_deg[views])
        first = (n_lines - 1) / 2 - (n_slices - 1) / 2 - before
        for k, v in enumerate(views.tolist()):
            xf = self._local(alignment, v, point, float(t[k]), xi)
            view = np.asarray(self.images[v])
            # The lines are centred on the point; ``first`` brings the strip's middle there.
            warped = warp_lines(
                view, xf, (n_lines, n_columns), (first, 1.0, n_lines), self._mean(v, view)
            )
            for b in range(n_lines // BLOCK):
                rows[b, k] = row_filter(warped[:, b * BLOCK : (b + 1) * BLOCK], weights[k])
        out = np.empty((height, n_slices, width), np.float32)
        middle = _FINE * (n_columns - 1) / 2
        backproject(
            rows, fixed_point(_FINE * along_x + middle), fixed_point(_FINE * along_z), out,
            before + y_shift,
        )  # fmt: skip
        return np.ascontiguousarray(out.transpose(1, 0, 2))

    def _mean(self, v: int, view: npt.NDArray[Any]) -> float:
        if v not in self._means:
            self._means[v] = finite_mean(view[::4, ::4])
        return self._means[v]

    def _local(self, alignment: Alignment, v: int, point: Floats, t: float, xi: float) -> Floats:
        """The transform of a binned view that puts the point's projection in the middle.

        With an x-axis tilt the view is sheared, so that it can be projected as if untilted; the
        slices are then moved along y (see ``engine/recon/wbp.py``).
        """
        scale = self.frame.scale
        xf = alignment.transforms[v].copy()
        xf[:, 2] = (xf[:, 2] + xf[:, :2] @ self.frame.offset) / scale
        shear = np.array([[1, -math.sin(t) * math.tan(xi)], [0, 1 / math.cos(xi)]])
        local: Floats = shear @ xf
        x, y, z = point
        local[0, 2] -= x * math.cos(t) + z * math.sin(t) / math.cos(xi)
        local[1, 2] -= y - z * math.tan(xi)
        return local
