"""Opening an image stack of whatever kind, decided by its content."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiltwright.engine.io.atomic import file_error
from tiltwright.engine.io.mrc import open_stack, read_header
from tiltwright.engine.io.tiff import open_tiff_stack

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class StackInfo:
    """What a stack's header says; angles in degrees, ``None`` where unknown."""

    kind: str
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    labels: tuple[str, ...] = ()
    tilt_deg: NDArray[np.float64] | None = None
    tilt_axis_deg: float | None = None


def open_image_stack(path: str | os.PathLike[str]) -> tuple[Any, float | None, StackInfo]:
    """Open an MRC or TIFF stack: ``(stack, pixel_size_a or None, info)``.

    Raises
    ------
    InputError
        The file cannot be read as either.
    """
    try:
        with open(path, "rb") as stream:
            magic = stream.read(4)
    except OSError as exc:
        raise file_error(path, exc) from exc
    if magic in _TIFF:
        stack, pixel = open_tiff_stack(path)
        return stack, pixel, StackInfo("tiff")
    head = read_header(path)
    info = StackInfo("mrc", head.origin, tuple(head.labels), head.tilt_deg, head.tilt_axis_deg)
    return open_stack(path), head.pixel_size_a, info
