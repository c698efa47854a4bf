"""A fiducial model as another program would write it, with all that we do not understand."""

from __future__ import annotations

import struct

import numpy as np

from tiltwright.engine.conventions import image_centre
from tiltwright.engine.io.model_file import Chunk, Contour, ModelFile, ModelObject

DRAWING = np.array([[3, 4, 2], [9, 4, 2], [9, 9, 2], [3, 9, 2]], np.float32)


def foreign_file(model):
    """A file with two objects, meshes, labels, sizes of points, and a chunk nobody knows."""
    rng = np.random.default_rng(0)
    head = b"IMODV1.2" + bytes(128) + struct.pack(">4i", *model.size_px, model.n_views, 2)
    head += bytes(240 - len(head))
    centre = np.array(image_centre(*model.size_px)) + 0.5
    objects = []
    for k, tracks in enumerate(([0, 1], [2, 3, 4])):
        items = []
        for t in tracks:
            views = np.flatnonzero(model.measured[t])
            points = np.column_stack([model.xy[t, views] + centre, views]).astype(np.float32)
            sizes = rng.uniform(1, 9, len(views)).astype(">f4").tobytes()
            extra = [
                Chunk(b"LABL", struct.pack(">i", 4) + b"abcd"),
                Chunk(b"SIZE", struct.pack(">i", len(sizes)) + sizes),
            ]
            # The first lies on an undetermined surface, which is read as the bottom one.
            side = int(model.surface[t]) + 1 if t else 0
            items.append(Contour(points, 8, t, side, extra))
        if k:
            label = Chunk(b"LABL", struct.pack(">i", 2) + b"ve")
            items.append(Contour(DRAWING, 0, 0, 0, [label]))
        triangle = struct.pack(">18f6i", *range(18), -25, 0, 2, 4, -22, -1)
        mesh = Chunk(b"MESH", struct.pack(">4i", 6, 6, 0, 0) + triangle)
        name = f"object {k}".encode()
        header = name + bytes(128 - len(name)) + struct.pack(">i", len(items)) + bytes(36)
        header += struct.pack(">i", 1) + bytes(4)
        objects.append(
            ModelObject(header, [*items, mesh, Chunk(b"IMAT", struct.pack(">i", 16) + bytes(16))])
        )
    return ModelFile(head, [*objects, Chunk(b"QQQQ", struct.pack(">i", 2) + b"!!")])


def all_chunks(file: ModelFile) -> list[tuple[bytes, bytes]]:
    """What is no point, except sizes of points, which go with them."""
    out = [(c.kind, c.data) for c in file.items if isinstance(c, Chunk)]
    for item in file.objects:
        out += [(c.kind, c.data) for c in item.items if isinstance(c, Chunk)]
        out += [(c.kind, c.data) for k in item.contours for c in k.extra if c.kind != b"SIZE"]
    return out
