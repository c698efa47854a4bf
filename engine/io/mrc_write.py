"""Writing of MRC files by sections with ordinary file writes, atomically."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import atomic_path, file_error

_MODES = {"int8": 0, "int16": 1, "float32": 2, "uint16": 6, "float16": 12}


def written_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A type of MRC files that holds the values of ``dtype``: its own, if there is one.

    The files have no plain unsigned bytes: these become int16.
    """
    native = dtype.newbyteorder("=")
    if native.name in _MODES:
        return native
    return np.dtype(np.int16 if native == np.uint8 else np.float32)


class MrcWriter:
    """Write a stack of shape ``(nz, ny, nx)``, parts of sections in any order.

    The file gets its final name only when the ``with`` block ends without an exception. Minimum,
    maximum, mean and rms of what was written go into the header.

    Parameters
    ----------
    path : path
    shape : (nz, ny, nx)
    dtype : int8, int16, float32, uint16 or float16
    pixel_size_a : float
        Angstrom.
    origin : (x, y, z)
        As stored in the header, angstrom.
    labels : sequence of str
        At most ten, of 80 characters.

    Raises
    ------
    InputError
        Bad shape or type, not enough space on the disk, or the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shape: tuple[int, int, int],
        dtype: DTypeLike,
        pixel_size_a: float,
        origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
        labels: Sequence[str] = (),
    ) -> None:
        self.path = Path(path)
        self.shape = shape
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.pixel_size_a = float(pixel_size_a)
        self.origin = origin
        self.labels = list(labels)
        if np.dtype(dtype).name not in _MODES:
            raise InputError(f"{path}: MRC files cannot hold {np.dtype(dtype).name}")
        if len(shape) != 3 or min(shape) < 1 or max(shape) >= 2**31:
            raise InputError(f"{path}: impossible size {shape}")
        if not (math.isfinite(self.pixel_size_a) and self.pixel_size_a > 0):
            raise InputError(f"{path}: pixel size {pixel_size_a} must be above 0")
        need = 1024 + math.prod(shape) * self.dtype.itemsize
        try:
            stat = os.statvfs(self.path.parent)
        except OSError as exc:
            raise file_error(self.path, exc) from exc
        free = stat.f_bavail * stat.f_frsize
        if need > free:
            raise InputError(
                f"{path}: needs {need / 2**20:.1f} MiB but the disk has {free / 2**20:.1f} MiB "
                "free; free space or choose another output folder"
            )
        self._lock = Lock()
        self._n = 0
        self._mean = 0.0
        self._m2 = 0.0
        self._min, self._max = math.inf, -math.inf
        self._fd = -1
        self._context: AbstractContextManager[Path] | None = None

    def __enter__(self) -> Self:
        self._context = atomic_path(self.path)
        temporary = self._context.__enter__()
        self._fd = os.open(temporary, os.O_RDWR)
        try:
            os.ftruncate(self._fd, 1024 + math.prod(self.shape) * self.dtype.itemsize)
        except BaseException as exc:
            self.__exit__(type(exc), exc, exc.__traceback__)
            raise
        return self

    def write(self, z0: int, block: NDArray[Any], y0: int = 0) -> None:
        """Write ``block`` ``(n, n_lines, nx)`` or ``(n_lines, nx)`` from section and line on.

        Threads may write different parts at once.
        """
        if self._fd < 0:
            raise InputError(f"{self.path}: written outside of its with block")
        data = np.asarray(block)
        data = data[None] if data.ndim == 2 else data
        nz, ny, nx = self.shape
        if data.ndim != 3 or data.shape[2] != nx:
            raise InputError(f"{self.path}: block {data.shape} does not fit {self.shape}")
        if z0 < 0 or z0 + len(data) > nz:
            raise InputError(f"{self.path}: sections {z0}-{z0 + len(data)} of {nz}")
        if y0 < 0 or y0 + data.shape[1] > ny:
            raise InputError(f"{self.path}: lines {y0}-{y0 + data.shape[1]} of {ny}")
        line = nx * self.dtype.itemsize
        for i, section in enumerate(data):
            plain = np.ascontiguousarray(section, self.dtype)
            self._count(plain)
            view, at = memoryview(plain.data).cast("B"), 1024 + ((z0 + i) * ny + y0) * line
            while len(view):
                try:
                    done = os.pwrite(self._fd, view, at)
                except OSError as exc:
                    raise file_error(self.path, exc) from exc
                view, at = view[done:], at + done

    def _measure(self, block: NDArray[Any]) -> tuple[float, float, float, float]:
        """Minimum, maximum, mean and sum of squared deviations."""
        mean = float(block.mean(dtype=np.float64))
        m2 = float(block.var(dtype=np.float64)) * block.size
        return float(block.min()), float(block.max()), mean, m2

    def _count(self, block: NDArray[Any]) -> None:
        low, high, mean, m2 = self._measure(block)
        with self._lock:
            self._min, self._max = min(self._min, low), max(self._max, high)
            delta, total = mean - self._mean, self._n + block.size
            self._m2 += m2 + delta * delta * self._n * block.size / total
            self._mean += delta * block.size / total
            self._n = total

    def _header(self) -> bytes:
        nz, ny, nx = self.shape
        head = np.zeros(256, "<i4")
        real = head.view("<f4")
        head[:10] = nx, ny, nz, _MODES[self.dtype.name], 0, 0, 0, nx, ny, nz
        real[10:13] = np.array([nx, ny, nz]) * self.pixel_size_a
        real[13:16] = 90
        head[16:19] = 1, 2, 3
        low, high = (self._min, self._max) if self._n else (0.0, 0.0)
        real[19:22] = low, high, self._mean
        head[27] = 20140
        head[38:40] = 1146047817, 1
        real[49:52] = self.origin
        head[52] = int.from_bytes(b"MAP ", "little")
        head[53] = 0x4144
        real[54] = math.sqrt(self._m2 / self._n) if self._n else 0.0
        labels = (self.labels or ["Written by Tiltwright"])[:10]
        head[55] = len(labels)
        text = b"".join(s.encode("latin-1", "replace")[:80].ljust(80) for s in labels)
        return head.tobytes()[:224] + text.ljust(800)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._context is not None
        try:
            try:
                if exc is None:
                    os.pwrite(self._fd, self._header(), 0)
            finally:
                os.close(self._fd)
                self._fd = -1
        except BaseException as failure:
            self._context.__exit__(type(failure), failure, failure.__traceback__)
            raise
        # The flush before the rename stays, though only a power failure needs it: of 0.9 GB it
        # took 0.06 to 0.25 s, since the system writes back while we compute.
        self._context.__exit__(kind, exc, trace)


def write_mrc(
    path: str | os.PathLike[str],
    array: NDArray[Any],
    pixel_size_a: float,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    labels: Sequence[str] = (),
) -> None:
    """Write ``array`` ``(nz, ny, nx)`` or ``(ny, nx)``; see :class:`MrcWriter`."""
    data = array[None] if array.ndim == 2 else array
    nz, ny, nx = data.shape
    with MrcWriter(path, (nz, ny, nx), data.dtype, pixel_size_a, origin, labels) as writer:
        writer.write(0, data)
