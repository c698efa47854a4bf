"""The file of a tomogram, written while strips of slices go through a method."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import get_num_threads, njit

from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.progress import Monitor
from tiltwright.engine.recon.backproject import CHUNK_Z
from tiltwright.engine.recon.strips import Request, Run, Strips

Float32s = npt.NDArray[np.float32]

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


def int16_scaling(sample: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Scale and offset that make the mean of the sample 0 and leave room beyond its extremes."""
    offset = float(np.float32(sample.mean(dtype=np.float64)))
    largest = max(float(sample.max()) - offset, offset - float(sample.min()))
    return float(np.float32(_INT16_USED / largest)) if largest > 0 else 1.0, offset


class Output(_Writer):
    """The file of a tomogram and its central slices, written by parts of sections."""

    def __init__(self, request: Request) -> None:
        nz, ny, nx = request.shape()
        kind = np.dtype(request.dtype)
        super().__init__(request.path, (nz, ny, nx), kind, request.pixel_size_a)
        self.scaling = 1.0, 0.0
        self.xy, self.xz, self.yz = (
            np.empty(n, np.float32) for n in ((ny, nx), (nz, nx), (nz, ny))
        )

    def describe(self, name: str, scaling: tuple[float, float]) -> None:
        """Say what the file is, and how its densities are scaled, before the first is written."""
        self.scaling = scaling
        self.labels = [f"Tiltwright: {name}, sections along z"]
        if self.dtype.kind == "i":
            self.labels.append(f"int16 = (density - {scaling[1]:.8g}) * {scaling[0]:.8g}")

    def put(self, z: int, part: npt.NDArray[Any], y: int) -> None:
        """Write ``part`` ``(n, n_lines, nx)`` from section ``z`` and line ``y`` on."""
        self.write(z, part, y)
        nz, ny, nx = self.shape
        self.yz[z : z + len(part), y : y + part.shape[1]] = part[:, :, nx // 2]
        if y <= ny // 2 < y + part.shape[1]:
            self.xz[z : z + len(part)] = part[:, ny // 2 - y]
        if z <= nz // 2 < z + len(part):
            self.xy[y : y + part.shape[1]] = part[nz // 2 - z]

    def take(self, strips: Strips, run: Run, z0: int = 0) -> None:
        """Take all strips through their method; their section 0 is section ``z0`` of the file."""
        run.text = strips.text
        for y in range(0, strips.geometry.shape[1], strips.n_lines):
            run.step()
            run.each(lambda k, y=y: strips.fill(k, y), range(len(strips.views)))
            strips.solve(run, y)
            self.save(strips, run, y, z0)
            run.step(1)

    def save(self, strips: Strips, run: Run, y: int = 0, z0: int = 0) -> None:
        """Write the strip whose first slice is ``y``."""
        nz = strips.geometry.shape[0]

        def write(z: int) -> None:
            span = slice(z, min(z + CHUNK_Z, nz))
            self.put(z0 + z, strips.sections(span, y, self.dtype, self.scaling), y)

        run.each(write, range(0, nz, CHUNK_Z))

    def result(self) -> Reconstruction:
        """What was written."""
        return Reconstruction(self.path, self.shape, *self.scaling, self.xy, self.xz, self.yz)


def choose_scaling(strips: Strips, request: Request, run: Run) -> tuple[float, float]:
    """Scale and offset of the file; takes a sample through its method where that is needed."""
    views = range(len(strips.views))
    run.each(strips.measure, views)
    if request.dtype != "int16":
        return 1.0, 0.0
    if request.scaling is None:
        run.each(lambda k: strips.fill(k, None), views)
        strips.solve(run, None)
        return int16_scaling(strips.sample())
    return request.scaling


def write_strips(strips: Strips, request: Request, name: str, monitor: Monitor) -> Reconstruction:
    """Take all strips through their method and write the tomogram.

    Raises
    ------
    InputError
        The file cannot be written.
    Cancelled
    """
    total = 1 + -(-strips.geometry.shape[1] // strips.n_lines)
    with ThreadPoolExecutor(get_num_threads()) as pool, Output(request) as output:
        run = Run(pool, monitor, total, "sampling")
        run.step()
        output.describe(name, choose_scaling(strips, request, run))
        run.step(1)
        output.take(strips, run)
    return output.result()
