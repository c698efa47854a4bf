"""Lists of the patches that were erased from a tilt series, as CSV files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import read_bytes, write_text

_COLUMNS = ("view", "y_px", "x_px", "radius_px")


@dataclass(frozen=True)
class ErasedPatch:
    """One erased patch: view from 0, centre in index coordinates, radius in pixels."""

    view: int
    x: float
    y: float
    radius_px: float


def write_patches(path: str | os.PathLike[str], patches: Sequence[ErasedPatch]) -> None:
    """Write patches in pixels of the raw stack, views counted from 1.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    rows = [f"{p.view + 1},{p.y:.2f},{p.x:.2f},{p.radius_px:.2f}" for p in patches]
    write_text(path, "\n".join([",".join(_COLUMNS), *rows]) + "\n")


def read_patches(path: str | os.PathLike[str], n_views: int) -> list[ErasedPatch]:
    """Read what :func:`write_patches` wrote.

    Raises
    ------
    InputError
        The file is missing or damaged, or speaks of other views.
    """
    reader = csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8", "replace")))
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise InputError(f"{path}: its first line is not {','.join(_COLUMNS)}")
    out = []
    try:
        for row in reader:
            y, x, radius = (float(row[name]) for name in _COLUMNS[1:])
            out.append(ErasedPatch(int(row["view"]) - 1, x, y, radius))
    except (TypeError, ValueError) as exc:
        raise InputError(f"{path}: a damaged line ({exc})") from exc
    for patch in out:
        if not (
            0 <= patch.view < n_views and np.isfinite([patch.x, patch.y, patch.radius_px]).all()
        ):
            raise InputError(f"{path}: {patch} is in none of {n_views} views")
    return out
