"""Direct Fourier inversion: the views' transforms gridded on a plane, and one transform back.

By the projection theorem the transform of a row of a view is a line through the transform of its
slice. Each sample of it, weighted by the area that it stands for (``|k| dk dt``, the density
compensation), is spread over the points of an oversampled Cartesian grid with a Kaiser-Bessel
kernel (O'Sullivan 1985, doi:10.1109/TMI.1985.4307723; parameters of Beatty 2005,
doi:10.1109/TMI.2005.848376), and what the kernel did to the slice is divided out. Unlike
back-projection it interpolates no rows: its error is that of the kernel, about 1e-4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import get_num_threads, njit
from scipy import fft

from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.recon.backproject import empty_volume, take_sections
from tiltwright.engine.recon.filters import angular_weights, hamming_window, radial_filter
from tiltwright.engine.recon.output import Reconstruction, write_strips
from tiltwright.engine.recon.strips import Geometry, Request, Run, Strips, Views
from tiltwright.engine.recon.vectors import BLOCK

Float32s = npt.NDArray[np.float32]

_WIDTH, _OVERSAMPLING = 6, 1.5
_BETA = math.pi * math.sqrt((_WIDTH / _OVERSAMPLING * (_OVERSAMPLING - 0.5)) ** 2 - 0.8)
_PIECE = 8_000_000
"""Points of the grid that are transformed between two looks at whether to stop."""
STRIP_BYTES = 1_000_000_000


def kernel(distance: npt.ArrayLike) -> Floats:
    """Kaiser-Bessel kernel at a distance in points of the grid."""
    inside = np.maximum(1 - (2 * np.asarray(distance, np.float64) / _WIDTH) ** 2, 0)
    result: Floats = np.i0(_BETA * np.sqrt(inside)) * (inside > 0)
    return result


def apodisation(n: int, size: int) -> Floats:
    """The kernel's transform over ``n`` pixels about their middle, ``(n,)``, grid of ``size``."""
    u = np.pi * _WIDTH * (np.arange(n) - n // 2) / size
    root = np.sqrt(_BETA**2 - u**2 + 0j)
    result: Floats = (_WIDTH * np.sinh(root) / root).real
    return result


@njit(nogil=True, cache=True, fastmath={"contract"})
def _spread(lines: Any, at_x: Any, at_z: Any, weight_x: Any, weight_z: Any, grid: Any) -> None:
    """Add the samples ``(n_views, n_k, 2 lanes)`` to the half plane ``(size_z, half, 2 lanes)``.

    Real and imaginary parts take turns. What falls left of ``x = 0`` is the conjugate of what
    belongs to the right of it.
    """
    size_z, half, n = grid.shape
    for v in range(lines.shape[0]):
        for j in range(lines.shape[1]):
            for b in range(weight_z.shape[2]):
                row = at_z[v, j] + b
                for a in range(weight_x.shape[2]):
                    column = at_x[v, j] + a
                    if column >= half or column <= -half:
                        continue
                    w = weight_x[v, j, a] * weight_z[v, j, b]
                    if column >= 0:
                        target = grid[row % size_z, column]
                        for k in range(n):
                            target[k] += w * lines[v, j, k]
                    if column <= 0:
                        target = grid[-row % size_z, -column]
                        for k in range(0, n, 2):
                            target[k] += w * lines[v, j, k]
                            target[k + 1] -= w * lines[v, j, k + 1]


def _neighbours(place: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], Float32s]:
    """First point of the grid and the weights of ``_WIDTH`` of them."""
    first = np.ceil(place - _WIDTH / 2).astype(np.int64)
    distance = first[..., None] + np.arange(_WIDTH) - place[..., None]
    return first, kernel(distance).astype(np.float32)


def _grid_size(n: int) -> int:
    """An even size that oversamples ``n`` pixels."""
    return 2 * int(fft.next_fast_len(math.ceil(_OVERSAMPLING * n / 2) + _WIDTH))


def row_length(n: int) -> int:
    """Length to which rows of ``n`` are padded."""
    return int(fft.next_fast_len(n + n // 4 + 32, real=True))


class GriddedStrips(Strips):
    """Measured rows, and the volume made of their transforms."""

    text = "Fourier inversion"

    def __init__(self, geometry: Geometry, views: Views, request: Request, gain: Floats) -> None:
        nz, _, nx = geometry.shape
        threads = get_num_threads()
        per_block = 4 * BLOCK * (nz * (nx + 32) + geometry.n_views * geometry.n_rows)
        super().__init__(geometry, views, per_block, STRIP_BYTES, threads * -(-4 // threads) * 32)
        self.volume = empty_volume(len(self.rows), nz, nx)
        n = geometry.n_columns
        self.size = row_length(n)
        self.join = np.linspace(0, 1, self.size - n + 2, dtype=np.float32)[1:-1, None]
        k = np.fft.rfftfreq(self.size)
        weight = gain.copy()
        # The sample at 0 stands for a disc, half of it for either direction of the line.
        weight[0] = 1 / (8 * self.size)
        t, xi = np.deg2rad(views.tilt_deg)[:, None], math.radians(request.x_tilt_deg)
        along_x, along_z = k * np.cos(t), k * np.sin(t) / math.cos(xi)
        self.grid = _grid_size(nz), _grid_size(nx)
        self.at_x, self.weight_x = _neighbours(along_x * self.grid[1])
        self.at_z, self.weight_z = _neighbours(along_z * self.grid[0])
        middle_x, middle_z = (nx - 1) / 2 + request.shift_x, (nz - 1) / 2 + request.shift_z
        phase = k * (n - 1) / 2 + along_x * (nx // 2 - middle_x) + along_z * (nz // 2 - middle_z)
        factor = weight * angular_weights(views.tilt_deg)[:, None] * np.exp(2j * np.pi * phase)
        self.factor = factor.astype(np.complex64)
        shape = apodisation(nz, self.grid[0])[:, None] * apodisation(nx, self.grid[1])
        self.gain = (math.prod(self.grid) / self.size / shape).astype(np.float32)[..., None]

    def convert(self, k: int, part: Float32s) -> Float32s:
        """Less the mean of the view."""
        return part - np.float32(self.means[k])

    def solve(self, run: Run, y: int | None) -> None:
        """All slices: each piece of lanes by itself."""
        half = self.grid[1] // 2 + 1
        lanes = max(4, min(BLOCK, BLOCK * _PIECE // (self.grid[0] * half * BLOCK) // 4 * 4))
        blocks = range(len(self.rows) if y is not None else 1)
        pieces = [(b, k) for b in blocks for k in range(0, BLOCK, lanes)]
        run.each(lambda p: self._invert(run.monitor, p[0], slice(p[1], p[1] + lanes)), pieces)

    def _invert(self, monitor: Monitor, block: int, lanes: slice) -> None:
        nz, _, nx = self.geometry.shape
        n = self.geometry.n_columns
        rows = self.rows[block, :, :, lanes]
        padded = np.empty((len(rows), self.size, rows.shape[2]), np.float32)
        padded[:, :n] = rows
        padded[:, n:] = rows[:, -1:] + self.join * (rows[:, :1] - rows[:, -1:])
        lines = fft.rfft(padded, axis=1)
        lines *= self.factor[..., None]
        grid = np.zeros((self.grid[0], self.grid[1] // 2 + 1, rows.shape[2]), np.complex64)
        monitor.check()
        _spread(
            lines.view(np.float32), self.at_x, self.at_z, self.weight_x, self.weight_z,
            grid.view(np.float32),
        )  # fmt: skip
        monitor.check()
        columns = fft.ifft(grid, axis=0, overwrite_x=True)
        columns = columns[np.arange(-(nz // 2), nz - nz // 2)]
        monitor.check()
        whole = fft.irfft(columns, n=self.grid[1], axis=1)
        image = whole[:, np.arange(-(nx // 2), nx - nx // 2)]
        np.multiply(image, self.gain, out=self.volume[block, :, :nx, lanes])

    def project(
        self,
        z: slice | npt.NDArray[np.intp],
        out: npt.NDArray[Any],
        line: npt.NDArray[Any] | None = None,
        scaling: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        """Take sections of the volume."""
        which = np.arange(self.geometry.shape[0])[z]
        take_sections(self.volume, which, out, line, scaling)


def reconstruct_fourier(
    request: Request,
    *,
    radial_cutoff: float = 0.35,
    radial_falloff: float = 0.035,
    hamming_start: float | None = None,
    monitor: Monitor = SILENT,
) -> Reconstruction:
    """Reconstruct a tomogram by direct Fourier inversion.

    Densities are per voxel in units of the stack, relative to the mean of the views.

    Parameters
    ----------
    request : Request
    radial_cutoff, radial_falloff, hamming_start
        See :class:`~tiltwright.engine.recon.filters.RowFilter`.
    monitor : Monitor

    Raises
    ------
    InputError
        Shapes or values make no sense, or the file cannot be written.
    Cancelled
    """
    views = request.views()
    geometry = request.geometry(views, 1)
    size = row_length(geometry.n_columns)
    k = np.fft.rfftfreq(size)
    gain = radial_filter(size, radial_cutoff, radial_falloff)
    if hamming_start is not None:
        gain = k * hamming_window(k, hamming_start)
    strips = GriddedStrips(geometry, views, request, gain)
    return write_strips(strips, request, "Fourier inversion", monitor)
