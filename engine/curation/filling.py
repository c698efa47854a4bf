"""Gaps filled where the solved geometry expects the bead and the image shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltwright.engine.curation.live import Snapshot
from tiltwright.engine.fiducials.fill import BeadCentring
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.model.edits import AddPoint, Edit, FillPoints, Point
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag
from tiltwright.engine.progress import SILENT, Monitor

_GATE_SD = 5.0
_LEAST_GATE, _MOST_GATE = 0.15, 1.0
"""Of a diameter: so far from its prediction a bead is looked for at least, and at most."""
_OVERLAP = 1.2
"""Two beads closer than so many diameters hide one another: a centre would be biased."""
_SAME_BEAD = 0.8
_STRONG_SCORE, _STRONG_SHARE = 6.0, 0.4
"""Evidence is strong above this score and above this part of the view's usual one."""


@dataclass(frozen=True)
class Place:
    """A place of the model, what is to be said of it, and the score of what the image shows."""

    contour: int
    view: int
    reason: str
    score: float = 0.0


@dataclass(frozen=True)
class FillReport:
    """What filling all gaps found.

    Attributes
    ----------
    edit : FillPoints, optional
        ``filled`` and ``weak`` as one gesture; ``None`` when there is nothing to fill.
    filled : tuple of Place
        Centred on the image with strong evidence: they count as measured.
    weak : tuple of Place
        The image says little: marked as filled, to be looked at; they take no part in the solve.
    off_image, hidden : tuple of Place
        Not filled: the bead lies off the image, behind another one, or cannot be seen.
    """

    edit: FillPoints | None
    filled: tuple[Place, ...]
    weak: tuple[Place, ...]
    off_image: tuple[Place, ...]
    hidden: tuple[Place, ...]

    @property
    def text(self) -> str:
        """One line for the message log."""
        return (
            f"{len(self.filled)} gaps filled, {len(self.weak)} of weak evidence, "
            f"{len(self.off_image)} off the image, {len(self.hidden)} not to be seen"
        )


def _spread(snapshot: Snapshot, contours: Sequence[int], view: int) -> Floats:
    """Standard deviation of a point about its prediction; infinite where nothing tells it."""
    covariance = snapshot.covariance_px2[contours, view]
    largest = np.full(len(contours), np.inf)
    known = np.isfinite(covariance).all((1, 2))
    largest[known] = np.linalg.eigvalsh(covariance[known])[:, 1]
    noise = snapshot.sigma_px if np.isfinite(snapshot.sigma_px) else np.inf
    spread: Floats = np.sqrt(largest + noise**2)
    return spread


def search_px(snapshot: Snapshot, contours: Sequence[int], view: int) -> Floats:
    """How far from its prediction each bead may be found on a view, raw pixels."""
    diameter = snapshot.model.diameter_px
    gate: Floats = np.clip(
        _GATE_SD * _spread(snapshot, contours, view), _LEAST_GATE * diameter, _MOST_GATE * diameter
    )
    return gate


def overlapped(snapshot: Snapshot) -> npt.NDArray[np.bool_]:
    """``(n_tracks, n_views)``: predicted so close to another bead that the two hide each other.

    Contours whose predictions coincide on most views are the same bead, not another.
    """
    at = snapshot.predicted_px
    out = np.zeros(at.shape[:2], np.bool_)
    near = _OVERLAP * snapshot.model.diameter_px
    for c in range(len(at)):
        with np.errstate(invalid="ignore"):
            close = np.hypot(*np.moveaxis(at - at[c], -1, 0)) < near
        close[close.mean(1) > _SAME_BEAD] = False
        out[c] = close.any(0)
    return out


def judge(
    model: FiducialModel, snapshot: Snapshot, centring: BeadCentring, view: int, wanted: list[int]
) -> Iterator[tuple[str, Place, Point | None]]:
    """Say of each contour ``wanted`` on a view: ``filled``, ``weak``, ``off`` or ``hidden``."""
    on = snapshot.inside()[:, view]
    covered = overlapped(snapshot)[:, view]
    seen = []
    for c in wanted:
        if not np.isfinite(snapshot.predicted_px[c, view]).all():
            yield "hidden", Place(c, view, "the bead has too few points to predict it"), None
        elif not on[c]:
            yield "off", Place(c, view, "the bead lies off the image"), None
        elif covered[c]:
            yield "hidden", Place(c, view, "another bead covers it"), None
        else:
            seen.append(c)
    if not seen:
        return
    others = np.delete(snapshot.predicted_px[:, view], seen, 0)
    found = centring.centre(
        view, snapshot.predicted_px[seen, view], search_px(snapshot, seen, view), others
    )
    usual = centring.usual_score(view)
    offset = np.hypot(*(found.xy - snapshot.predicted_px[seen, view]).T)
    usual_offset = _GATE_SD * _spread(snapshot, seen, view)
    for k, c in enumerate(seen):
        score = float(found.score[k])
        if not found.ok[k]:
            yield "hidden", Place(c, view, "no bead is seen at its predicted position"), None
            continue
        clear = score > max(_STRONG_SCORE, _STRONG_SHARE * usual)
        strong = bool(clear and offset[k] < usual_offset[k])
        x, y = (float(a) for a in found.xy[k])
        flag = int(Flag.MEASURED if strong else Flag.FILLED)
        reason = f"score {score:.0f}, usual in this view {usual:.0f}"
        if clear and not strong:
            reason = f"{offset[k]:.2f} px from its prediction"
        point = Point(c, view, x, y, flag, float(found.sigma_px[k]))
        yield "filled" if strong else "weak", Place(c, view, reason, score), point


def fill_gaps(
    model: FiducialModel,
    snapshot: Snapshot,
    centring: BeadCentring,
    *,
    monitor: Monitor = SILENT,
) -> FillReport:
    """Fill every gap of the used views whose bead the image shows where it must be.

    Parameters
    ----------
    snapshot
        Of ``model``.
    centring
        That has learned from ``model``'s points.
    """
    gaps = ~model.measured & snapshot.used
    verdicts: dict[str, list[Place]] = {"filled": [], "weak": [], "off": [], "hidden": []}
    points: list[Point] = []
    views = np.flatnonzero(gaps.any(0)).tolist()
    for n, view in enumerate(views):
        monitor.step(n, len(views), "filling gaps")
        wanted = np.flatnonzero(gaps[:, view]).tolist()
        for verdict, place, point in judge(model, snapshot, centring, view, wanted):
            verdicts[verdict].append(place)
            if point is not None:
                points.append(point)
    monitor.step(len(views), len(views), "filling gaps")
    return FillReport(
        FillPoints(tuple(points)) if points else None,
        *(tuple(verdicts[k]) for k in ("filled", "weak", "off", "hidden")),
    )


def accept_prediction(
    model: FiducialModel, snapshot: Snapshot, centring: BeadCentring, contour: int, view: int
) -> tuple[Edit | None, str]:
    """The edit that puts a bead's point where it is predicted and seen, and words about it.

    A point of weak evidence is put too, since a person asks for it; ``None`` when the image shows
    no bead there.
    """
    wanted = [contour]
    ((verdict, place, point),) = judge(model, snapshot, centring, view, wanted)
    if point is None:
        return None, place.reason
    edit = AddPoint(contour, view, point.x, point.y, point.sigma_px, int(Flag.EDITED))
    return edit, place.reason if verdict == "filled" else f"weak evidence: {place.reason}"
