"""Iterative reconstruction: SIRT and SART of the whole tomogram.

With the projection ``A``, the measured rows ``b`` less the background of their view, and the views
of one subset, ``x`` becomes ``x + relaxation C A' R (b - A x)`` (SIRT: Gilbert 1972,
doi:10.1016/0022-5193(72)90180-4, all views at once; SART: Andersen & Kak 1984,
doi:10.1016/0161-7346(84)90008-7, in subsets). ``C`` is one over the number of views, which is what
the weights of a voxel add up to; ``R`` is one over the path of a ray from face to face, so that
rays that leave the tomogram by its side, and bring matter from beyond, count less than in the
textbook; most of that goes into a border that is not written. What was not measured (NaN) does not
count.

Slices do not depend on one another, but all of them take an iteration before the next begins: at
any moment there is one iterate, which can be kept, and one residual, which decides when to stop.
"""

from __future__ import annotations

import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import get_num_threads, njit

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.recon.backproject import empty_room, take_sections
from tiltwright.engine.recon.output import Output, Reconstruction, int16_scaling
from tiltwright.engine.recon.project import SWEEP_Z, Rays, sweep
from tiltwright.engine.recon.strips import Geometry, Request, Run, Strips, Views, scratch
from tiltwright.engine.recon.vectors import BLOCK, FRACTION_BITS, TILE

Float32s = npt.NDArray[np.float32]

MEMORY_BYTES = 3_000_000_000
"""What the volume and the rows may take in memory; larger ones lie in a file beside the tomogram,
of which the system keeps in memory what fits."""
_SAMPLED_BLOCKS = 12
_NO_LIMIT = sys.maxsize
_PIECE = 3e8
"""Voxel updates between two looks at whether the work was cancelled: less than 0.2 s."""


@dataclass(frozen=True)
class Start:
    """A tomogram to begin from: ``density = stored / scale + offset``, ``(nz, ny, nx)``.

    ``iterations`` are those that it has behind it.
    """

    volume: npt.NDArray[Any]
    scale: float = 1.0
    offset: float = 0.0
    iterations: int = 0


@dataclass(frozen=True)
class Iterations:
    """How SIRT and SART proceed.

    Parameters
    ----------
    number : int
    subset : int
        Views of a subset; 0 takes all views at once (SIRT).
    relaxation : float
        Above 0 and below 2.
    bounds : (least, greatest)
        Density relative to the mean of the surroundings; ``(-inf, 0)`` for dark matter.
    least_gain : float
        Stop when an iteration lowers the residual by less than this part of it.
    mask : (nz, ny, nx), optional
        Densities are multiplied by it after each update.
    start : Start, optional
        Continue from there instead of from zero. The border begins as its last columns.
    border : int, optional
        Voxels that are added on either side of x while iterating, a multiple of 32; default: about
        half the thickness. What the rays bring from beyond goes there instead of to the edge.
    """

    number: int = 30
    subset: int = 0
    relaxation: float = 1.0
    bounds: tuple[float, float] = (-math.inf, math.inf)
    least_gain: float = 0.0
    mask: npt.NDArray[Any] | None = None
    start: Start | None = None
    border: int | None = None

    def width_beyond(self, thickness: int) -> int:
        """Of the border."""
        return TILE * math.ceil(thickness / 2 / TILE) if self.border is None else self.border

    def check(self, shape: tuple[int, int, int]) -> None:
        """Raise :class:`InputError` naming what is impossible for a tomogram of ``shape``."""
        if self.number < 1 or self.subset < 0 or not 0 < self.relaxation < 2:
            raise InputError(
                f"iterative reconstruction: {self.number} iterations in subsets of {self.subset} "
                f"with relaxation {self.relaxation}: at least 1, 0, and within 0 to 2"
            )
        if not self.bounds[0] <= 0 <= self.bounds[1] or not 0 <= self.least_gain < 1:
            raise InputError("iterative reconstruction: bounds must include 0, gain be below 1")
        if self.border is not None and (self.border < 0 or self.border % TILE):
            raise InputError(f"iterative reconstruction: border {self.border} is no multiple of 32")
        start = None if self.start is None else self.start.volume
        for name, volume in (("mask", self.mask), ("start", start)):
            if volume is not None and volume.shape != shape:
                raise InputError(
                    f"iterative reconstruction: the {name} is {volume.shape[::-1]} voxels "
                    f"(x, y, z) but the tomogram is {shape[::-1]}"
                )


@dataclass(frozen=True)
class Iterated:
    """A reconstruction and its residual.

    ``residual`` ``(n,)`` is the root of ``|b - A x|^2 / |b|^2`` over the rays that cross the
    tomogram (with its border) from face to face, each as it was met after the update before it;
    entry 0 is that of the start. ``before`` iterations made the start.
    """

    reconstruction: Reconstruction
    residual: Floats = field(repr=False)
    before: int = 0

    @property
    def number(self) -> int:
        """Iterations that were done, fewer than planned when that was enough."""
        return len(self.residual) - 1


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _residual(measured: Any, projected: Any, factor: Any, low: Any, high: Any, out: Any) -> Any:
    """``out = factor (measured - projected)``, 0 where not measured; ``projected`` becomes 0.

    Returns the sums of squares of the residual and of the measured, over whole rays.
    """
    total, power = np.float64(0), np.float64(0)
    for v in range(measured.shape[0]):
        for r in range(measured.shape[1]):
            squares = amount = np.float32(0)
            for k in range(measured.shape[2]):
                value = measured[v, r, k]
                known = value == value
                value = value if known else np.float32(0)
                difference = value - projected[v, r, k] if known else np.float32(0)
                projected[v, r, k] = 0
                out[v, r, k] = difference * factor[v]
                squares += difference * difference
                amount += value * value
            if low[v] <= r <= high[v]:
                total += squares
                power += amount
    return total, power


def subset_order(n_views: int, size: int) -> tuple[npt.NDArray[np.intp], list[int]]:
    """Views by subsets that each span the whole range; and where the subsets begin and end."""
    n = math.ceil(n_views / size) if size else 1
    parts = [np.arange(k, n_views, n) for k in range(n)]
    return np.concatenate(parts), [0, *np.cumsum([len(p) for p in parts]).tolist()]


class IteratedStrips(Strips):
    """Measured rows, the volume, and its residual: one strip, of the whole tomogram."""

    outside = math.nan

    def __init__(
        self, geometry: Geometry, views: Views, plan: Iterations, edges: list[int], folder: Path
    ) -> None:
        nz, ny, nx = geometry.shape
        super().__init__(geometry, views, 1, _NO_LIMIT, ny)
        self.border = plan.width_beyond(nz)
        self.width = nx - 2 * self.border
        self.plan = plan
        self.text = "SART" if plan.subset else "SIRT"
        shape = len(self.rows), nz, -(-nx // TILE) * TILE, BLOCK
        wanted = [shape, self.rows.shape] + [shape] * (plan.mask is not None)
        large = 4 * (self.rows.size + sum(map(math.prod, wanted))) > MEMORY_BYTES
        made = [scratch(folder, s) if large else empty_room(s) for s in wanted]
        self.volume, self.residual = made[:2]
        self.mask = made[2] if plan.mask is not None else None
        if large:
            self.rows = scratch(folder, self.rows.shape)
        self.parts = [slice(a, b) for a, b in pairwise(edges)]
        self.rays = [Rays.of(geometry.at_x[:, p], geometry.at_z[:, p]) for p in self.parts]
        cosine = np.cos(np.deg2rad(views.tilt_deg))
        counts = np.repeat(np.diff(edges), np.diff(edges))
        self.factor = (plan.relaxation * cosine / nz / counts).astype(np.float32)
        # Positions that rise with x: a whole ray lies between the first column's greatest row
        # and the last column's least.
        low = geometry.at_x[0] + geometry.at_z.max(axis=0)
        high = geometry.at_x[-1] + geometry.at_z.min(axis=0)
        if (low >= high).all():
            low, high = (geometry.at_x[k] + geometry.at_z.min(axis=0) for k in (0, -1))
        self.low, self.high = -(-low >> FRACTION_BITS), high >> FRACTION_BITS
        self.sums = np.zeros((plan.number + 1, 2))
        self.number = 0

    def measure(self, k: int) -> None:
        """Note the background of view ``k``: its mean, or its median where densities are bounded.

        Bounds are relative to what surrounds the specimen, and the mean is not free of it.
        """
        super().measure(k)
        if self.plan.bounds != (-math.inf, math.inf):
            view = np.asarray(self.views[k])
            self.means[k] = np.median(view[np.isfinite(view)]) if view.size else 0.0

    def convert(self, k: int, part: Float32s) -> Float32s:
        """Less the background of the view."""
        return part - np.float32(self.means[k])

    def solve(self, run: Run, y: int | None) -> None:
        """All iterations of all blocks, or as many as are enough."""
        blocks, parts = range(len(self.rows)), range(len(self.parts))
        # What is projected is needed until it is compared with the rows, once for each thread.
        self._free: SimpleQueue[Float32s] = SimpleQueue()
        for _ in range(get_num_threads()):
            self._free.put(np.zeros(self.rows.shape[1:], np.float32))
        found = np.zeros((len(blocks), 2))

        def begin(block: int) -> None:
            self._begin(block)
            # All subsets know the start's residual; later each is renewed before its turn.
            found[block] = sum(self._advance(run.monitor, block, None, k) for k in parts)

        def iterate(block: int) -> None:
            following = [*parts[1:], 0]
            found[block] = sum(
                self._advance(run.monitor, block, k, following[k]) for k in parts
            )  # fmt: skip

        run.each(begin, blocks)
        self.sums[0] = found.sum(axis=0)
        for i in range(1, self.plan.number + 1):
            run.text = f"{self.text} {i} of {self.plan.number}, residual {self.residuals()[-1]:.4g}"
            run.step()
            run.each(iterate, blocks)
            self.sums[i] = found.sum(axis=0)
            self.number = i
            run.step(1)
            before, after = self.residuals()[-2:]
            settled = self.plan.least_gain > 0 and before - after < self.plan.least_gain * before
            if settled or run.monitor.enough.is_set():
                break

    def residuals(self) -> Floats:
        """See :class:`Iterated`."""
        sums = self.sums[: self.number + 1]
        with np.errstate(invalid="ignore", divide="ignore"):
            out: Floats = np.nan_to_num(np.sqrt(sums[:, 0] / sums[:, 1]))
        return out

    def sample(self) -> Float32s:
        """Some of the blocks."""
        some = np.unique(np.linspace(0, len(self.volume) - 1, _SAMPLED_BLOCKS).astype(int))
        whole = slice(self.border, self.border + self.width)
        return np.stack([self.volume[block, :, whole] for block in some])

    def _begin(self, block: int) -> None:
        """The start and the mask of one block."""
        self.volume[block] = 0
        start = self.plan.start
        if start is not None:
            self._load(block, start.volume, self.volume)
            # The spare columns beyond stay 0.
            within = self.volume[block, :, : self.geometry.shape[2]]
            within *= np.float32(1 / start.scale)
            within += np.float32(start.offset)
        if self.plan.mask is not None and self.mask is not None:
            self._load(block, self.plan.mask, self.mask)

    def _load(self, block: int, source: npt.NDArray[Any], into: Float32s) -> None:
        """Lines of a tomogram into a block, linear between them where they were moved."""
        at = self.lines(0)[0] + np.arange(BLOCK) + block * BLOCK
        shift = self.geometry.y_shift
        last = source.shape[1] - 1
        for z, section in enumerate(source):
            line = np.clip(at - shift[z], 0, last)
            low = np.floor(line).astype(int)
            part = (line - low).astype(np.float32)[:, None]
            lines = np.asarray(section[low], np.float32) * (1 - part)
            if part.any():
                lines += part * np.asarray(section[np.minimum(low + 1, last)], np.float32)
            columns = np.pad(lines, ((0, 0), (self.border, self.border)), mode="edge")
            into[block, z, : columns.shape[1]] = columns.T

    def _advance(self, monitor: Monitor, block: int, back: int | None, forth: int) -> Floats:
        """Correct a block by the residual of one subset, and find that of another.

        Returns its sum of squares, and that of the rows.
        """
        projected = self._free.get()
        pairs = [
            None if part is None else (rows[self.parts[part]], self.rays[part])
            for rows, part in ((self.residual[block], back), (projected, forth))
        ]
        nz, _, nx = self.geometry.shape
        updates = nx * BLOCK * max(rays.n_views for rays in self.rays) * 2
        piece = max(1, int(_PIECE / updates) // SWEEP_Z) * SWEEP_Z
        mask = None if self.mask is None else self.mask[block]
        bounds = self.plan.bounds if back is not None else (-math.inf, math.inf)
        # An empty volume need not be projected.
        for z in range(0, nz if back is not None or self.plan.start is not None else 0, piece):
            monitor.check()
            span = z, min(z + piece, nz)
            sweep(self.volume[block], pairs[0], pairs[1], span, bounds, mask)
        p = self.parts[forth]
        sums = _residual(
            self.rows[block, p], projected[p], self.factor[p], self.low[p], self.high[p],
            self.residual[block, p],
        )  # fmt: skip
        self._free.put(projected)
        return np.array(sums)

    def project(
        self,
        z: slice | npt.NDArray[np.intp],
        out: npt.NDArray[Any],
        line: npt.NDArray[Any] | None = None,
        scaling: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        """Take sections of the volume."""
        which = np.arange(self.geometry.shape[0])[z]
        take_sections(self.volume, which, out, line, scaling, self.border)


def reconstruct_iterative(
    request: Request, plan: Iterations, monitor: Monitor = SILENT
) -> Iterated:
    """Reconstruct a tomogram by SIRT or SART.

    When ``monitor.enough`` is set, the iteration at hand is the last, and what it made is written.
    Densities are per voxel in units of the stack, relative to the background of the views.

    Raises
    ------
    InputError
        Shapes or values make no sense, or the file cannot be written.
    Cancelled
    """
    views = request.views()
    plan.check(request.shape())
    if np.abs(views.tilt_deg).max() >= 90:
        raise InputError("iterative reconstruction: tilts must be below 90 degrees")
    order, edges = subset_order(len(views), plan.subset)
    views = views.ordered(order)
    nz, _, nx = request.shape()
    wide = replace(request, width=nx + 2 * plan.width_beyond(nz))
    folder = Path(request.path).resolve().parent
    before = 0 if plan.start is None else plan.start.iterations
    with ThreadPoolExecutor(get_num_threads()) as pool, Output(request) as output:
        run = Run(pool, monitor, 2 + plan.number, "reading the views")
        run.step()
        strips = IteratedStrips(wide.geometry(views, 1), views, plan, edges, folder)
        run.each(strips.measure, range(len(views)))
        run.each(lambda k: strips.fill(k, 0), range(len(views)))
        run.step(1)
        strips.solve(run, 0)
        run.total, run.text = run.done + 1, "writing the tomogram"
        run.step()
        scaling = (1.0, 0.0) if request.dtype != "int16" else request.scaling
        name = f"{strips.text}, {before + strips.number} iterations"
        output.describe(name, scaling or int16_scaling(strips.sample()))
        output.save(strips, run)
        run.step(1)
    return Iterated(output.result(), strips.residuals(), before)
