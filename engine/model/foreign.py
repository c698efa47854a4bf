"""A model put back into the file of another program: what we do not understand stays in it."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tiltwright.engine.conventions import EDGE_MINUS_INDEX, image_centre
from tiltwright.engine.errors import InputError
from tiltwright.engine.io.model_file import Chunk, Contour, ModelFile, ModelObject
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.pairs import pair_contours

_NO_SIZE = -1.0
"""A point without a size of its own."""


def put_into(file: ModelFile, model: FiducialModel) -> ModelFile:
    """The file with the measured points of ``model`` in place of its contours' points.

    Header, objects, meshes, views and every chunk that is not a contour's point stay. Contours
    are found again by their points; of those, flags, time and chunks stay, and the size of each
    point goes with its view (labels stay at their point's number). Contours that are new go to
    the end of the first object, those that were deleted are left out.

    Raises
    ------
    InputError
        The file has no object, or points outside the model's views.
    """
    if not file.objects:
        raise InputError("model file: it has no object to put contours into")
    old = [contour for item in file.objects for contour in item.contours]
    tracks = _tracks(old, model)
    mine = np.where(model.measured[..., None], model.xy, np.nan)
    new_of = dict(pair_contours(tracks, mine, model.diameter_px))
    replaced = {
        id(contour): _contour(contour, model, new_of[k]) for k, contour in enumerate(old)
        if k in new_of
    }  # fmt: skip
    known = {id(contour) for contour in old}
    added = [
        _contour(Contour(np.zeros((0, 3), np.float32)), model, t)
        for t in sorted(set(range(model.n_tracks)) - set(new_of.values()))
    ]
    items: list[ModelObject | Chunk] = []
    for item in file.items:
        if isinstance(item, Chunk):
            items.append(item)
            continue
        parts: list[Contour | Chunk] = []
        for part in item.items:
            if id(part) in replaced:
                parts.append(replaced[id(part)])
            elif id(part) not in known:
                parts.append(part)
        if item is file.objects[0]:
            last = max((n for n, p in enumerate(parts, 1) if isinstance(p, Contour)), default=0)
            parts[last:last] = added
        items.append(replace(item, items=parts))
    return replace(file, items=items)


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
