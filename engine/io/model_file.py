"""IMOD binary models (``.mod``, ``.fid``), after IMOD's public description of the format.

https://bio3d.colorado.edu/imod/doc/binspec.html. Every chunk that we do not understand stays in
place, so an unmodified file is written back byte for byte.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tiltwright.engine.conventions import EDGE_MINUS_INDEX
from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import atomic_path, read_bytes

GREEN, MAGENTA = (0.0, 1.0, 0.0), (1.0, 0.0, 1.0)
_OF_CONTOUR = (b"LABL", b"SIZE", b"COST", b"CSTO")
_OF_MODEL = (b"VIEW", b"MINX", b"UNIT", b"SLAN", b"IMNX", b"MOST", b"MCLP", b"OGRP", b"GRAF")


@dataclass
class Chunk:
    """A chunk kept as it is: ``data`` is what follows the identifier, its length included."""

    kind: bytes
    data: bytes


@dataclass
class Contour:
    """A contour: ``points`` ``(n, 3)`` float32 in file coordinates (x, y edge; z the view)."""

    points: NDArray[np.float32]
    flags: int = 0
    time: int = 0
    surface: int = 0
    extra: list[Chunk] = field(default_factory=list)


@dataclass
class ModelObject:
    """An object: its 176 header bytes and, in file order, contours and other chunks."""

    header: bytes
    items: list[Contour | Chunk] = field(default_factory=list)

    @property
    def contours(self) -> list[Contour]:
        """The contours, in order."""
        return [item for item in self.items if isinstance(item, Contour)]

    @property
    def name(self) -> str:
        """Name of the object."""
        return self.header[:64].split(b"\0")[0].decode("latin-1")

    @property
    def colour(self) -> tuple[float, float, float]:
        """Red, green, blue from 0 to 1."""
        red, green, blue = struct.unpack_from(">3f", self.header, 144)
        return red, green, blue


@dataclass
class ModelFile:
    """A whole model: its 240 header bytes, objects and other chunks in file order."""

    header: bytes
    items: list[ModelObject | Chunk] = field(default_factory=list)
    tail: bytes = b"IEOF"

    @property
    def objects(self) -> list[ModelObject]:
        """The objects, in order."""
        return [item for item in self.items if isinstance(item, ModelObject)]

    @property
    def size(self) -> tuple[int, int, int]:
        """Size of the image that the model belongs to: nx, ny, nz."""
        nx, ny, nz = struct.unpack_from(">3i", self.header, 136)
        return nx, ny, nz


def parse_model(data: bytes, name: str = "model") -> ModelFile:
    """Parse the bytes of a model; raises :class:`InputError` that names ``name``."""
    if data[:8] != b"IMODV1.2" or len(data) < 240:
        raise InputError(f"{name}: not an IMOD binary model (IMODV1.2)")
    model = ModelFile(data[:240], tail=b"")
    at, end = 240, len(data)
    current: ModelObject | None = None

    def need(n: int) -> None:
        if n < 0 or at + 4 + n > end:
            raise InputError(f"{name}: truncated or damaged model at byte {at}")

    while at + 4 <= end:
        kind = data[at : at + 4]
        if kind == b"IEOF":
            break
        if kind == b"OBJT":
            need(176)
            current = ModelObject(data[at + 4 : at + 180])
            model.items.append(current)
            at += 180
            continue
        if kind == b"CONT":
            need(16)
            count, flags, time, surface = struct.unpack_from(">iIii", data, at + 4)
            need(16 + 12 * count if count >= 0 else -1)
            if current is None:
                raise InputError(f"{name}: contour before the first object")
            points = np.frombuffer(data, ">f4", 3 * count, at + 20).reshape(-1, 3)
            current.items.append(Contour(points.astype("f4"), flags, time, surface))
            at += 20 + 12 * count
            continue
        need(4)
        if kind == b"MESH":
            need(16)
            n_vert, n_list = struct.unpack_from(">ii", data, at + 4)
            length = 16 + 12 * n_vert + 4 * n_list if min(n_vert, n_list) >= 0 else -1
        else:
            size = struct.unpack_from(">i", data, at + 4)[0]
            length = 4 + size if size >= 0 else -1
        need(length)
        chunk = Chunk(kind, data[at + 4 : at + 4 + length])
        at += 4 + length
        if current is None or kind in _OF_MODEL:
            model.items.append(chunk)
            current = None
        elif kind in _OF_CONTOUR and current.items and isinstance(current.items[-1], Contour):
            current.items[-1].extra.append(chunk)
        else:
            current.items.append(chunk)
    model.tail = data[at:]
    if struct.unpack_from(">i", data, 148)[0] != len(model.objects):
        raise InputError(f"{name}: the header's number of objects is not what the file holds")
    for number, item in enumerate(model.objects, 1):
        meshes = sum(isinstance(i, Chunk) and i.kind == b"MESH" for i in item.items)
        counts = struct.unpack_from(">i", item.header, 128)[0], _mesh_count(item.header)
        if counts != (len(item.contours), meshes):
            raise InputError(f"{name}: object {number} does not hold the contours it announces")
        if not all(np.isfinite(c.points).all() for c in item.contours):
            raise InputError(f"{name}: object {number} has points that are not finite")
    return model


def _mesh_count(header: bytes) -> int:
    count: int = struct.unpack_from(">i", header, 168)[0]
    return count


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read an IMOD binary model; raises :class:`InputError`."""
    return parse_model(read_bytes(path), str(path))


def model_bytes(model: ModelFile) -> bytes:
    """The bytes of a model file, counts of objects and contours brought up to date."""
    out = [model.header[:148], struct.pack(">i", len(model.objects)), model.header[152:240]]
    for item in model.items:
        if isinstance(item, Chunk):
            out += [item.kind, item.data]
            continue
        head = item.header
        out += [b"OBJT", head[:128], struct.pack(">i", len(item.contours)), head[132:176]]
        for part in item.items:
            if isinstance(part, Chunk):
                out += [part.kind, part.data]
                continue
            n = len(part.points)
            out.append(struct.pack(">4siIii", b"CONT", n, part.flags, part.time, part.surface))
            out.append(np.ascontiguousarray(part.points, ">f4").tobytes())
            for chunk in part.extra:
                out += [chunk.kind, chunk.data]
    return b"".join([*out, model.tail])


def write_model(path: str | os.PathLike[str], model: ModelFile) -> None:
    """Write a model atomically; raises :class:`InputError`."""
    data = model_bytes(model)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_fiducial_model(
    path: str | os.PathLike[str],
    contours: Sequence[ArrayLike],
    *,
    nx: int,
    ny: int,
    n_views: int,
    pixel_size_a: float,
    surfaces: Sequence[int] | None = None,
    colour: tuple[float, float, float] = GREEN,
    bead_diameter_px: float = 10.0,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> None:
    """Write a fiducial model: one object of open contours, one contour per bead.

    Parameters
    ----------
    contours : sequence of (n, 3) arrays
        Index x, index y and 0-based view of each point, raw pixels; stored as edge coordinates.
    nx, ny, n_views : int
        Size of the raw stack.
    pixel_size_a : float
        Angstrom; written, with ``origin`` (angstrom), as the image reference.
    surfaces : sequence of int, optional
        Surface of each contour (0 undetermined, 1 bottom, 2 top).

    Raises
    ------
    InputError
        Points that are not finite, wrong shapes, or the file cannot be written.
    """
    marks = list(surfaces) if surfaces is not None else [0] * len(contours)
    if len(marks) != len(contours):
        raise InputError(f"{path}: {len(marks)} surfaces for {len(contours)} contours")
    head = struct.pack(
        ">8s128s4iI4i6f3i2if2i3f", b"IMODV1.2", b"Tiltwright fiducials", nx, ny, n_views, 1, 0xF600,
        1, 1, 0, 255, 0, 0, 0, 1, 1, 1, 0, 0, 0, 3, 128, pixel_size_a / 10, -9, 0, 0, 0, 0,
    )  # fmt: skip
    size = min(max(round(bead_diameter_px / 2), 1), 255)
    item = ModelObject(
        struct.pack(
            ">64s64siIii3fi8B2i",
            b"fiducials",
            b"",
            len(contours),
            8,
            0,
            1,
            *colour,
            0,
            0,
            size,
            1,
            1,
            0,
            0,
            0,
            0,
            0,
            0,
        )
    )
    for contour, mark in zip(contours, marks, strict=True):
        points = np.array(contour, np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise InputError(f"{path}: a contour must be an (n, 3) array of finite numbers")
        points[:, :2] += EDGE_MINUS_INDEX
        item.items.append(Contour(points.astype("f4"), surface=int(mark)))
    px = pixel_size_a
    minx = struct.pack(">i18f", 72, 1, 1, 1, *origin, 0, 0, 0, px, px, px, *origin, 0, 0, 0)
    write_model(path, ModelFile(head, [item, Chunk(b"MINX", minx)]))


def read_fiducial_model(
    path: str | os.PathLike[str],
) -> tuple[list[NDArray[np.float64]], list[int]]:
    """Read every contour of a model as index coordinates.

    Returns
    -------
    contours : list of (n, 3) float64
        Index x, index y, 0-based view.
    surfaces : list of int

    Raises
    ------
    InputError
        The file cannot be read or is damaged.
    """
    contours, surfaces = [], []
    for item in read_model(path).objects:
        for contour in item.contours:
            points = contour.points.astype(np.float64)
            points[:, :2] -= EDGE_MINUS_INDEX
            contours.append(points)
            surfaces.append(contour.surface)
    return contours, surfaces
