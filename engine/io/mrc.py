"""Reading of MRC headers and stacks (MRC2014 with IMOD's, SerialEM's and FEI's additions).

Format: Cheng et al. 2015, doi:10.1016/j.jsb.2015.04.002.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import file_error
from tiltwright.engine.io.mrc_write import MrcWriter, write_mrc

__all__ = ["FourBitStack", "MrcHeader", "MrcWriter", "open_stack", "read_header", "write_mrc"]

IMOD_STAMP = 1146047817
_AXIS = re.compile(r"tilt axis (?:rotation )?angle = ([-+]?\d{1,3}(?:\.\d*)?)(?!\d)", re.IGNORECASE)
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", 101: "u1"}


@dataclass(frozen=True)
class MrcHeader:
    """What an MRC header says; angles in degrees, ``None`` where the file does not say."""

    nx: int
    ny: int
    nz: int
    mode: int
    dtype: np.dtype[Any]
    pixel_size_a: float | None
    origin: tuple[float, float, float]
    labels: list[str]
    byte_order: str
    data_offset: int
    tilt_deg: NDArray[np.float64] | None = None
    tilt_axis_deg: float | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape ``(nz, ny, nx)``."""
        return self.nz, self.ny, self.nx

    @property
    def data_bytes(self) -> int:
        """Bytes of image data that the file must hold."""
        row = (self.nx + 1) // 2 if self.mode == 101 else self.nx * self.dtype.itemsize
        return row * self.ny * self.nz


def _pixel(value: float) -> float | None:
    return value if math.isfinite(value) and 1e-3 < value < 1e6 else None


def _extended(
    raw: bytes, head: bytes, end: str, nz: int
) -> tuple[NDArray[np.float64] | None, float | None, float | None]:
    """Tilt angles, axis angle (degrees) and pixel size (angstrom) of an extended header."""
    kind = head[104:108]
    nint, nreal = (int(v) for v in np.frombuffer(head, end + "i2", 2, 128))
    tilts: NDArray[np.float64] | None = None
    axis = pixel = None
    if kind in (b"FEI1", b"FEI2"):
        size = int(np.frombuffer(raw, end + "i4", 1)[0]) if len(raw) >= 4 else 0
        if size >= 172 and size * nz <= len(raw):
            table = np.frombuffer(raw, np.uint8, size * nz).reshape(nz, size)

            def column(offset: int) -> NDArray[np.float64]:
                cut = np.ascontiguousarray(table[:, offset : offset + 8])
                return cut.view(end + "f8")[:, 0].astype(np.float64)

            tilts, axis = column(100), float(column(140)[0])
            metres = float(column(156)[0])
            pixel = _pixel(metres * 1e10) if math.isfinite(metres) else None
    elif nint > 0 or nreal > 0:
        sizes = (2, 6, 4, 2, 2, 4)
        wanted = sum(s for b, s in enumerate(sizes) if nreal >> b & 1)
        if kind == b"SERI" or (0 < nreal < 64 and wanted == nint):
            if nint >= 2 and nreal & 1 and nint * nz <= len(raw):
                cut = np.frombuffer(raw, np.uint8, nint * nz).reshape(nz, nint)[:, :2]
                tilts = np.ascontiguousarray(cut).view(end + "i2")[:, 0].astype(np.float64) / 100
        elif nint >= 0 and nreal >= 12:
            step = 4 * (nint + nreal)
            if step * nz <= len(raw):
                rows = np.frombuffer(raw, end + "f4", step // 4 * nz).reshape(nz, -1)[:, nint:]
                tilts, axis = rows[:, 0].astype(np.float64), float(rows[0, 10])
                metres = float(rows[0, 11])
                pixel = _pixel(metres * 1e10) if math.isfinite(metres) else None
    if tilts is not None and not (np.isfinite(tilts).all() and np.abs(tilts).max() <= 180):
        tilts = None
    if axis is not None and not (math.isfinite(axis) and abs(axis) <= 360):
        axis = None
    return tilts, axis, pixel


def read_header(path: str | os.PathLike[str]) -> MrcHeader:
    """Read and check the header of an MRC file.

    Raises
    ------
    InputError
        The file is not MRC, has a mode we do not read, or is shorter than its header says.
    """
    try:
        with open(path, "rb") as stream:
            file_size = os.fstat(stream.fileno()).st_size
            head = stream.read(1024)
            if len(head) < 1024:
                raise InputError(
                    f"{path}: not an MRC file ({file_size} bytes, shorter than a header)"
                )
            end = ""
            for order in "<>":
                words = np.frombuffer(head, order + "i4", 256)
                good = int(words[3]) in _DTYPES and bool((np.abs(words[16:19]) <= 4).all())
                if good and bool((words[:3] >= 0).all()):
                    end = order
                    break
            words = np.frombuffer(head, (end or "<") + "i4", 256)
            mode = int(words[3])
            if not end:
                if head[208:211] == b"MAP":
                    raise InputError(f"{path}: MRC mode {mode} or its sizes cannot be read")
                raise InputError(f"{path}: not an MRC file")
            nx, ny, nz = (int(v) for v in words[:3])
            if min(nx, ny, nz) < 1:
                raise InputError(f"{path}: the MRC header gives the size {nx} x {ny} x {nz}")
            next_bytes = int(words[23])
            if not 0 <= next_bytes <= file_size - 1024:
                raise InputError(f"{path}: extended header of {next_bytes} bytes exceeds the file")
            raw = stream.read(min(next_bytes, 1 << 26))
    except OSError as exc:
        raise file_error(path, exc) from exc
    except ValueError as exc:
        raise InputError(f"{path!r}: not a file name") from exc
    dtype = np.dtype(end + _DTYPES[mode])
    if mode == 0 and words[38] == IMOD_STAMP and not words[39] & 1:
        dtype = np.dtype("u1")
    floats = np.frombuffer(head, end + "f4", 256)
    tilts, axis, pixel_ext = _extended(raw, head, end, nz)
    mx = int(words[7])
    pixel = _pixel(float(floats[10]) / mx) if mx > 0 and float(floats[10]) > 0 else None
    if pixel_ext is not None and (pixel is None or pixel == 1.0):
        pixel = pixel_ext
    x0, y0, z0 = (float(v) if math.isfinite(v) else 0.0 for v in floats[49:52])
    count = min(max(int(words[55]), 0), 10)
    labels = [
        head[224 + 80 * i : 304 + 80 * i].decode("latin-1").rstrip(" \0") for i in range(count)
    ]
    if axis is None:
        # SerialEM and IMOD leave it in a label.
        said = [float(match[1]) for match in map(_AXIS.search, labels) if match]
        axis = next((angle for angle in reversed(said) if abs(angle) <= 360), None)
    header = MrcHeader(
        nx, ny, nz, mode, dtype, pixel, (x0, y0, z0), labels, end, 1024 + next_bytes, tilts, axis
    )
    if header.data_offset + header.data_bytes > file_size:
        raise InputError(
            f"{path}: truncated MRC file: {nx} x {ny} x {nz} in mode {mode} needs "
            f"{header.data_offset + header.data_bytes} bytes, the file has {file_size}"
        )
    return header


class FourBitStack:
    """A read-only stack of packed 4-bit pixels (mode 101), decoded view by view.

    Indexing the first axis gives ``uint8`` arrays of shape ``(ny, nx)`` or ``(n, ny, nx)``.
    """

    ndim = 3
    dtype = np.dtype("u1")

    def __init__(self, packed: NDArray[np.uint8], nx: int) -> None:
        self._packed = packed
        self.shape: tuple[int, int, int] = (packed.shape[0], packed.shape[1], nx)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        packed = np.asarray(self._packed[first])
        out = np.empty((*packed.shape[:-1], 2 * packed.shape[-1]), np.uint8)
        out[..., 0::2] = packed & 15
        out[..., 1::2] = packed >> 4
        out = out[..., : self.shape[2]]
        return out[(slice(None), *rest)] if out.ndim == 3 and rest else out[rest] if rest else out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        out = self[:]
        return out if dtype is None else out.astype(dtype)


def open_stack(path: str | os.PathLike[str]) -> Any:
    """Memory-map an MRC stack, read only.

    Returns
    -------
    (n_views, ny, nx) array
        In the file's own type and byte order; signed or unsigned bytes by IMOD's flag; a
        :class:`FourBitStack` for mode 101.

    Raises
    ------
    InputError
        See :func:`read_header`.
    """
    header = read_header(path)
    nz, ny, nx = header.shape
    shape = (nz, ny, (nx + 1) // 2) if header.mode == 101 else header.shape
    try:
        data = np.memmap(path, header.dtype, "r", header.data_offset, shape)
    except (OSError, ValueError, OverflowError) as exc:
        raise InputError(f"{path}: cannot be mapped: {exc}") from exc
    return FourBitStack(data, nx) if header.mode == 101 else data
