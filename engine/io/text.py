"""IMOD's text files: angles, transforms, 3-D positions and residuals."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import read_bytes, write_text

Path = str | os.PathLike[str]
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?\Z")


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    data = read_bytes(path, 1 << 28)
    if b"\0" in data:
        raise InputError(f"{path}: not a text file")
    rows = enumerate(data.decode("latin-1").splitlines(), 1)
    return [(number, line.split()) for number, line in rows if line.strip()]


def _numbers(path: Path, line: int, words: list[str], count: int) -> list[float]:
    if len(words) != count:
        raise InputError(f"{path}: line {line} has {len(words)} fields, not {count}")
    out = []
    for word in words:
        if not _NUMBER.match(word):
            raise InputError(f"{path}: line {line}: {word[:40]!r} is not a finite number")
        value = float(word.replace("d", "e").replace("D", "e"))
        if not abs(value) < 1e30:
            raise InputError(f"{path}: line {line}: {word[:40]!r} is not a finite number")
        out.append(value)
    return out


def _count(path: Path, found: int, n_views: int | None, what: str) -> None:
    if found == 0:
        raise InputError(f"{path}: holds no {what}")
    if n_views is not None and found != n_views:
        raise InputError(f"{path}: {found} {what} for {n_views} views")


def _finite(path: Path, array: ArrayLike) -> NDArray[np.float64]:
    out = np.asarray(array, np.float64)
    if not np.isfinite(out).all():
        raise InputError(f"{path}: refusing to write numbers that are not finite")
    return out


def read_angles(path: Path, n_views: int | None = None) -> NDArray[np.float64]:
    """Read a file of one angle per view (``.rawtlt .tlt .xtilt``): ``(n_views,)`` degrees.

    Raises
    ------
    InputError
        Not such a file, not ``n_views`` angles, or angles that are not finite or beyond 360.
    """
    out = np.array([_numbers(path, n, w, 1)[0] for n, w in _lines(path)], np.float64)
    _count(path, len(out), n_views, "angles")
    if np.abs(out).max() > 360:
        raise InputError(f"{path}: angles beyond 360 degrees")
    return out


def write_angles(path: Path, angles_deg: ArrayLike, decimals: int = 3) -> None:
    """Write one angle (degrees) per line; raises :class:`InputError`."""
    values = _finite(path, angles_deg).ravel()
    write_text(path, "".join(f"{value:9.{decimals}f}\n" for value in values))


def read_xf(path: Path, n_views: int | None = None) -> NDArray[np.float64]:
    """Read transforms (``.xf .prexg``).

    Returns
    -------
    (n_views, 2, 3) float64
        ``[[a11, a12, dx], [a21, a22, dy]]``, about the image centres, pixels of the stack.

    Raises
    ------
    InputError
        Not such a file, or not ``n_views`` transforms.
    """
    rows = [_numbers(path, n, w, 6) for n, w in _lines(path)]
    _count(path, len(rows), n_views, "transforms")
    return np.array(rows, np.float64)[:, [0, 1, 4, 2, 3, 5]].reshape(-1, 2, 3)


def write_xf(path: Path, transforms: ArrayLike) -> None:
    """Write ``(n, 2, 3)`` transforms in IMOD's columns; raises :class:`InputError`."""
    table = _finite(path, transforms)
    if table.ndim != 3 or table.shape[1:] != (2, 3):
        raise InputError(f"{path}: transforms must have the shape (n, 2, 3), not {table.shape}")
    flat = table.reshape(-1, 6)[:, [0, 1, 3, 4, 2, 5]]
    form = "%12.7f%12.7f%12.7f%12.7f %11.4f %11.4f\n"
    write_text(path, "".join(form % tuple(row) for row in flat))


@dataclass(frozen=True)
class Positions:
    """A ``.xyz`` file: ``xyz_px`` ``(n, 3)`` from the corner, as IMOD writes it."""

    xyz_px: NDArray[np.float64]
    pixel_size_a: float | None = None
    dims: tuple[int, int] | None = None
    objects: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    contours: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


def read_xyz(path: Path) -> Positions:
    """Read 3-D positions (``.xyz``); raises :class:`InputError`."""
    lines = _lines(path)
    _count(path, len(lines), None, "positions")
    pixel: float | None = None
    dims: tuple[int, int] | None = None
    line, first = lines[0]
    if len(first) == 11 and first[6] == "Pix:" and first[8] == "Dim:":
        pixel, nx, ny = _numbers(path, line, [first[7], *first[9:]], 3)
        pixel, dims = (pixel if pixel > 0 else None), (int(nx), int(ny))
        lines[0] = line, first[:6]
    table = np.array([_numbers(path, n, w, 6) for n, w in lines])
    ids = np.clip(table[:, 4:], -1e9, 1e9).astype(np.int64)
    return Positions(table[:, 1:4], pixel, dims, ids[:, 0], ids[:, 1])


def write_xyz(path: Path, positions: Positions) -> None:
    """Write 3-D positions in IMOD's columns, 1-based numbers; raises :class:`InputError`."""
    xyz = _finite(path, positions.xyz_px).reshape(-1, 3)
    n = len(xyz)
    objects = positions.objects if len(positions.objects) == n else np.ones(n, int)
    contours = positions.contours if len(positions.contours) == n else np.arange(1, n + 1)
    out = [
        f"{i + 1:4d}{xyz[i, 0]:10.2f}{xyz[i, 1]:10.2f}{xyz[i, 2]:10.2f}"
        f"{objects[i]:7d}{contours[i]:5d}"
        for i in range(n)
    ]
    if out and positions.pixel_size_a is not None and positions.dims is not None:
        nx, ny = positions.dims
        out[0] += f" Pix:{positions.pixel_size_a:12.5f} Dim:{nx:6d}{ny:6d}"
    write_text(path, "".join(line + "\n" for line in out))


@dataclass(frozen=True)
class Residuals:
    """A ``.resid`` file: raw pixels (edge coordinates), 0-based views, predicted - measured."""

    xy_px: NDArray[np.float64]
    views: NDArray[np.int64]
    residual_px: NDArray[np.float64]


def read_resid(path: Path) -> Residuals:
    """Read residuals (``.resid``); raises :class:`InputError`."""
    lines = _lines(path)
    if not lines or lines[0][1][1:] != ["residuals"] or not lines[0][1][0].isdecimal():
        raise InputError(f"{path}: not a file of residuals (no count in its first line)")
    said = _numbers(path, 1, lines[0][1][:1], 1)[0]
    if said != len(lines) - 1:
        raise InputError(f"{path}: {len(lines) - 1} residuals where {said:.0f} are announced")
    table = np.array([_numbers(path, n, w, 5) for n, w in lines[1:]]).reshape(-1, 5)
    views = table[:, 2]
    if not ((views >= 0) & (views < 1e6) & (views == np.floor(views))).all():
        raise InputError(f"{path}: view numbers must be whole and not negative")
    return Residuals(table[:, :2], views.astype(np.int64), table[:, 3:])


def write_resid(path: Path, residuals: Residuals) -> None:
    """Write residuals in IMOD's columns with a digit more; raises :class:`InputError`."""
    xy, res = _finite(path, residuals.xy_px), _finite(path, residuals.residual_px)
    rows = [f"{len(xy):6d} residuals\n"]
    for (x, y), view, (rx, ry) in zip(xy, residuals.views, res, strict=True):
        rows.append(f"{x:10.3f}{y:10.3f}{view:5d}{rx:9.4f}{ry:9.4f}\n")
    write_text(path, "".join(rows))


def is_finite_number(text: str) -> bool:
    """Whether ``text`` is a plain, finite number."""
    return bool(_NUMBER.match(text)) and math.isfinite(float(re.sub("[dD]", "e", text)))
