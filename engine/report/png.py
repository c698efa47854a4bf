"""Small grey PNG images, written and encoded without an image library."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import atomic_path

Grey = npt.NDArray[np.uint8]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """Encode an 8-bit grey image as PNG; row 0 of the array is the top row of the picture.

    Parameters
    ----------
    image : (ny, nx) uint8
        Grey values.

    Returns
    -------
    bytes
        A PNG file (ISO/IEC 15948), filter 'none' in every row.

    Raises
    ------
    InputError
        When the image is not two-dimensional, empty, or not uint8.
    """
    if image.ndim != 2 or image.dtype != np.uint8 or image.size == 0:
        raise InputError(f"PNG: need a 2-D uint8 image, not {image.dtype} {image.shape}")
    ny, nx = image.shape
    rows = np.zeros((ny, nx + 1), np.uint8)
    rows[:, 1:] = image
    header = struct.pack(">IIBBBBB", nx, ny, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 2))
        + _chunk(b"IEND", b"")
    )


def grey(
    array: npt.ArrayLike, low_percent: float = 0.5, high_percent: float = 99.5, max_px: int = 1000
) -> Grey:
    """Turn an image into 8-bit grey, contrast by percentiles, no side above ``max_px``.

    Parameters
    ----------
    array : (ny, nx) array
        Row 0 is the bottom row (``engine/conventions.py``). Non-finite pixels become black.
    low_percent, high_percent : float
        Percentiles of the finite pixels that become black and white.
    max_px : int
        Larger images are averaged down by a whole factor.

    Returns
    -------
    (ny', nx') uint8
        Row 0 is the *top* row, as :func:`encode_png` takes it.

    Raises
    ------
    InputError
        When the array is not two-dimensional or empty.
    """
    a: npt.NDArray[np.float32] = np.asarray(array, dtype=np.float32)
    if a.ndim != 2 or a.size == 0:
        raise InputError(f"grey image: need a 2-D array, not one of shape {a.shape}")
    factor = -(-max(a.shape) // max_px)
    if factor > 1:
        fy, fx = min(factor, a.shape[0]), min(factor, a.shape[1])
        ny, nx = a.shape[0] // fy, a.shape[1] // fx
        cut = a[: ny * fy, : nx * fx]
        total = np.zeros((ny, nx), np.float32)
        for j in range(fy):
            for i in range(fx):
                total += cut[j::fy, i::fx]
        a = (total / np.float32(fy * fx)).astype(np.float32)
    finite = np.isfinite(a)
    if not finite.any():
        return np.zeros(a.shape, np.uint8)
    step = max(1, a.size // 200_000)
    sample = a.ravel()[::step]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        sample = a[finite]
    low, high = (float(v) for v in np.percentile(sample, [low_percent, high_percent]))
    if high <= low:
        low, high = float(a[finite].min()), float(a[finite].max())
    if high <= low:
        return np.where(finite, 128, 0).astype(np.uint8)[::-1]
    scaled = np.clip((a - low) / (high - low), 0, 1) * 255
    scaled[~finite] = 0
    out: Grey = np.rint(scaled).astype(np.uint8)[::-1]
    return out


def write_png(path: str | Path, array: npt.ArrayLike) -> None:
    """Write ``array`` (row 0 at the bottom) as a grey PNG file; uint8 keeps its values.

    Raises
    ------
    InputError
        When the array is not two-dimensional or empty, or the file cannot be written.
    """
    a = np.asarray(array)
    body = encode_png(a[::-1] if a.dtype == np.uint8 else grey(a))
    with atomic_path(path) as temporary:
        temporary.write_bytes(body)
