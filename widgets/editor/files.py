"""Where a model comes from and goes to: what the editor is told by whoever opens it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tiltwright.engine.model.edits import (
    AddContour,
    DeleteContour,
    Edit,
    SetPoints,
    SetSurface,
    Together,
    point_of,
)

if TYPE_CHECKING:
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.engine.project.versions import Version


class ModelFiles(Protocol):
    """What the editor needs to save; it knows no project."""

    @property
    def journal(self) -> Path | None:
        """Where unsaved edits are kept."""

    @property
    def closed(self) -> str:
        """Why the model must not be edited; empty when it may."""

    def save(self, model: FiducialModel, note: str, numbers: Mapping[str, Any]) -> Version:
        """Write a new version, with what else ``model.file`` holds, if it is of one.

        Raises :class:`TiltwrightError`.
        """

    def versions(self) -> Sequence[Version]:
        """All versions, the oldest first."""

    def open(self, version: Version) -> FiducialModel:
        """The model of a version; raises :class:`TiltwrightError`."""

    def read(self, path: Path) -> FiducialModel:
        """The model in a file of any program; raises :class:`TiltwrightError`."""


def edit_towards(model: FiducialModel, target: FiducialModel, label: str) -> Edit:
    """The edit that makes ``target`` of ``model``."""
    edits: list[Edit] = []
    for contour in range(model.n_tracks - 1, target.n_tracks - 1, -1):
        edits.append(DeleteContour(contour))
    for contour in range(model.n_tracks, target.n_tracks):
        edits.append(AddContour(surface=int(target.surface[contour])))
    n = min(model.n_tracks, target.n_tracks)
    same = (model.flag[:n] == target.flag[:n]) & (
        np.nan_to_num(model.xy[:n]) == np.nan_to_num(target.xy[:n])
    ).all(-1)
    places = [(int(c), int(v)) for c, v in np.argwhere(~same)]
    for contour in range(n, target.n_tracks):
        places += [(contour, int(v)) for v in np.flatnonzero(target.flag[contour])]
    if places:
        edits.append(SetPoints(tuple(point_of(target, c, v) for c, v in places)))
    other = np.flatnonzero(model.surface[:n] != target.surface[:n]).tolist()
    if other:
        edits.append(SetSurface(tuple(other), tuple(int(target.surface[c]) for c in other)))
    return Together(tuple(edits), label)
