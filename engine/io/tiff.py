"""TIFF stacks; the rows run top-down in the file and are flipped on reading."""

from __future__ import annotations

import logging
import os
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import file_error


def open_tiff_stack(path: str | os.PathLike[str]) -> tuple[NDArray[Any], float | None]:
    """Open a TIFF stack: mapped where the file is contiguous, else read.

    Returns
    -------
    stack : (n_views, ny, nx) array
        Row 0 is the bottom row.
    pixel_size_a : float or None
        From the resolution tags with a unit of centimetre, or ImageJ's unit.

    Raises
    ------
    InputError
        Not a TIFF file of grey images of one size, or damaged.
    """
    import tifffile

    logger = logging.getLogger("tifffile")
    quiet = logger.disabled
    logger.disabled = True
    try:
        _check_chain(path)
        with tifffile.TiffFile(path) as tiff:
            pages: Any = tiff.pages
            page = pages[0]
            n_bytes = sum(int(p.keyframe.nbytes) for p in pages)
            if n_bytes > 200 * max(os.stat(path).st_size, 1):
                raise InputError(f"{path}: the sizes in this TIFF file exceed its data")
            pixel = _pixel_size(tiff, page)
            series = tiff.series
            if len(series) != 1 or page.samplesperpixel != 1:
                raise InputError(f"{path}: not a TIFF stack of grey images of one size")
            try:
                data: Any = tifffile.memmap(path, mode="r")
            except (ValueError, MemoryError):
                data = tiff.asarray()
    except InputError:
        raise
    except OSError as exc:
        raise file_error(path, exc) from exc
    except Exception as exc:
        # tifffile says here which compression it cannot undo.
        why = " ".join(str(exc).split())[:100] or type(exc).__name__
        raise InputError(f"{path}: not a readable TIFF file ({why})") from exc
    finally:
        logger.disabled = quiet
    data = data[None] if data.ndim == 2 else data
    if data.ndim != 3 or min(data.shape) < 1 or data.dtype.kind not in "iuf":
        raise InputError(f"{path}: a TIFF of shape {data.shape} is not a stack of grey images")
    return data[:, ::-1], pixel


def _check_chain(path: str | os.PathLike[str]) -> None:
    """Follow the directories of the pages: tifffile need not come to the end of a damaged chain."""
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(16)
        order, big = "<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+")
        count, pointer, entry = ("Q", "Q", 20) if big else ("H", "I", 12)
        at: int = struct.unpack_from(order + pointer, head, 8 if big else 4)[0]
        seen: set[int] = set()
        while at:
            if at in seen or at + 8 > size:
                raise InputError(f"{path}: damaged TIFF file (its pages do not end)")
            seen.add(at)
            stream.seek(at)
            width = struct.calcsize(order + count)
            tags: int = struct.unpack(order + count, stream.read(width))[0]
            after = at + width + entry * tags
            if not 1 <= tags <= 4096 or after + struct.calcsize(order + pointer) > size:
                raise InputError(f"{path}: damaged TIFF file (a page at byte {at})")
            stream.seek(after)
            at = struct.unpack(order + pointer, stream.read(struct.calcsize(order + pointer)))[0]


def _pixel_size(tiff: Any, page: Any) -> float | None:
    tags = page.tags
    if "XResolution" not in tags:
        return None
    above, below = tags["XResolution"].value
    unit = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1
    per_unit = {2: 2.54e8, 3: 1e8}.get(unit)
    meta = tiff.imagej_metadata or {}
    name = str(meta.get("unit", "")).lower()
    per_unit = {"nm": 10.0, "um": 1e4, "micron": 1e4, "angstrom": 1.0}.get(name, per_unit)
    if per_unit is None or above <= 0:
        return None
    size = per_unit * below / above
    # A print resolution (72 dpi and its like) is no pixel size of a microscope.
    return float(size) if np.isfinite(size) and 1e-2 < size < 1e4 else None
