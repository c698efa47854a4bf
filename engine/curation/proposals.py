"""What accepting an item of the worklist does, with the image looked at."""

from __future__ import annotations

import numpy as np

from tiltwright.engine.curation.filling import judge, search_px
from tiltwright.engine.curation.live import Snapshot
from tiltwright.engine.curation.worklist import Item, Kind
from tiltwright.engine.fiducials.fill import BeadCentring
from tiltwright.engine.model.edits import (
    DeletePoints,
    Edit,
    FillPoints,
    MovePoints,
    Point,
    SetPoints,
)
from tiltwright.engine.model.fiducial_model import Flag

_SAME_PX = 0.05


def proposal(item: Item, snapshot: Snapshot, centring: BeadCentring | None = None) -> Edit | None:
    """The item's edit with its points centred on the image; ``None``: nothing would change.

    The image shows no bead for a gap, or shows it where the point of a big residual is already.

    Parameters
    ----------
    snapshot
        That the item was found in.
    centring
        Without it, points go where the geometry predicts them.
    """
    if centring is None:
        return item.edit
    if item.kind is Kind.GAP:
        points = [
            point
            for view in item.views
            for _, _, point in judge(snapshot.model, snapshot, centring, view, [item.contour])
            if point is not None
        ]
        return FillPoints(tuple(points)) if points else None
    if item.kind is Kind.RESIDUAL:
        return _moved(item, snapshot, centring)
    return item.edit


def _moved(item: Item, snapshot: Snapshot, centring: BeadCentring) -> Edit | None:
    """A point of big residual moved to its bead, or deleted where that is not seen.

    ``None`` when the bead is where the point is: then the geometry is to be doubted, not the point.
    """
    c, v = item.contour, item.view
    predicted = snapshot.predicted_px
    others = np.delete(predicted[:, v], c, 0)
    wanted = predicted[c, v]
    if isinstance(item.edit, MovePoints):
        wanted = np.array(item.edit.moves[0][2:])
    found = centring.centre(v, wanted[None], search_px(snapshot, [c], v), others)
    if not found.ok[0]:
        return DeletePoints(((c, v),))
    if np.hypot(*(found.xy[0] - snapshot.model.xy[c, v])) < max(found.sigma_px[0], _SAME_PX):
        return None
    x, y = (float(a) for a in found.xy[0])
    point = Point(c, v, x, y, int(Flag.EDITED), float(found.sigma_px[0]))
    return SetPoints((point,), f"Move point of contour {c + 1}, view {v + 1}")
