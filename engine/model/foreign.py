"""A model put back into the file of another program: what we do not understand stays in it."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.conventions import EDGE_MINUS_INDEX, image_centre
from tiltwright.engine.errors import InputError
from tiltwright.engine.io.model_file import Chunk, Contour, ModelFile
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.pairs import pair_contours

_NO_SIZE = -1.0
"""A point without a size of its own."""


def is_track(points: npt.NDArray[Any]) -> bool:
    """Whether a contour ``(n, 3)`` runs through the views, as a bead's does; else it is a drawing.

    One whose points mostly share a view with another was drawn on a picture.
    """
    return 2 * len(np.unique(np.rint(points[:, 2]))) > len(points) or not len(points)


def put_into(file: ModelFile, model: FiducialModel) -> ModelFile:
    """The file with the measured points of ``model`` in place of its tracks' points.

    Header, objects, meshes, views, drawings and every chunk that is not a track's point stay.
    Tracks stand in the order of the model. They are found again by their points: those that were
    deleted are left out, of the others flags, time and chunks stay, and the size of each point
    goes with its view (labels stay at their point's number). New ones follow the one before.

    Raises
    ------
    InputError
        The file has no object, or points outside the model's views.
    """
    if not file.objects:
        raise InputError("model file: it has no object to put contours into")
    old = [part for item in file.objects for part in item.contours if is_track(part.points)]
    mine = np.where(model.measured[..., None], model.xy, np.nan)
    pairs = pair_contours(_tracks(old, model), mine, model.diameter_px)
    # An edit never exchanges two contours as a whole, only their points: the order stays.
    kept = dict(zip(sorted(t for _, t in pairs), (k for k, _ in pairs), strict=True))
    home = {id(part): n for n, item in enumerate(file.objects) for part in item.contours}
    first = home[id(old[min(kept.values())])] if kept else 0
    parts: list[list[Contour | Chunk]] = [list(item.items) for item in file.objects]
    at, place = first, -1
    for t in range(model.n_tracks):
        if t in kept:
            before = old[kept[t]]
            at = home[id(before)]
            place = next(n for n, part in enumerate(parts[at]) if part is before)
            parts[at][place] = _contour(before, model, t)
        else:
            if place < 0:
                place = _begin(parts[at], old) - 1
            place += 1
            parts[at].insert(place, _contour(Contour(np.zeros((0, 3), np.float32)), model, t))
    gone = {id(part) for k, part in enumerate(old) if k not in kept.values()}
    objects = [
        replace(item, items=[p for p in here if id(p) not in gone])
        for item, here in zip(file.objects, parts, strict=True)
    ]
    following = iter(objects)
    items = [item if isinstance(item, Chunk) else next(following) for item in file.items]
    return replace(file, items=items)


def _begin(parts: list[Contour | Chunk], tracks: list[Contour]) -> int:
    """Where the first track of an object stands; without one, after its last contour."""
    known = {id(part) for part in tracks}
    found = [n for n, part in enumerate(parts) if id(part) in known]
    if found:
        return found[0]
    return max((n for n, part in enumerate(parts, 1) if isinstance(part, Contour)), default=0)


def _tracks(contours: list[Contour], model: FiducialModel) -> npt.NDArray[np.float64]:
    centre = np.array(image_centre(*model.size_px)) + EDGE_MINUS_INDEX
    out = np.full((len(contours), model.n_views, 2), np.nan)
    for k, contour in enumerate(contours):
        views = np.rint(contour.points[:, 2]).astype(np.int64)
        if len(views) and not (views.min() >= 0 and views.max() < model.n_views):
            raise InputError(f"model file: contour {k + 1} has points outside the views")
        out[k, views] = contour.points[:, :2].astype(np.float64) - centre
    return out


def _contour(old: Contour, model: FiducialModel, track: int) -> Contour:
    """``old`` with the points of a track."""
    views = np.flatnonzero(model.measured[track])
    centre = np.array(image_centre(*model.size_px)) + EDGE_MINUS_INDEX
    points = np.column_stack([model.xy[track, views] + centre, views]).astype(np.float32)
    before = np.rint(old.points[:, 2]).astype(np.int64)
    side = int(model.surface[track])
    # Undetermined surfaces are read as the bottom one.
    surface = old.surface if max(old.surface - 1, 0) == side else side + 1
    extra = [_sizes(c, before, views) if c.kind == b"SIZE" else c for c in old.extra]
    return replace(old, points=points, surface=surface, extra=extra)


def _sizes(chunk: Chunk, before: npt.NDArray[np.int64], now: npt.NDArray[np.int64]) -> Chunk:
    """Sizes of points that have other neighbours now."""
    if len(chunk.data) != 4 + 4 * len(before):
        return chunk
    sizes = dict(zip(before.tolist(), np.frombuffer(chunk.data, ">f4", offset=4), strict=True))
    data = np.array([sizes.get(v, _NO_SIZE) for v in now.tolist()], ">f4").tobytes()
    return Chunk(b"SIZE", struct.pack(">i", len(data)) + data)
