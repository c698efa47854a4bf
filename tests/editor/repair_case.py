"""A model with a tenth of its points spoiled, what a person does about it, and how it scores."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from editor_person import stack

from tiltwright.engine.conventions import image_centre
from tiltwright.engine.model.edits import DeletePoints, MovePoints, SwapTracks
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.fiducial_alignment import FiducialAlignment


@dataclass(frozen=True)
class Spoiled:
    """What was done to a model."""

    model: FiducialModel
    moved: tuple[tuple[int, int], ...]
    deleted: tuple[tuple[int, int], ...]
    swapped: tuple[tuple[int, int, tuple[int, ...]], ...]

    @property
    def n_points(self) -> int:
        """How many points are wrong or missing."""
        return len(self.moved) + len(self.deleted) + sum(2 * len(v) for _, _, v in self.swapped)


def spoil(model: FiducialModel, seed: int = 1, fraction: float = 0.1) -> Spoiled:
    """Move points by 3-15 px, delete others, swap two pairs of tracks over 8 views."""
    rng = np.random.default_rng(seed)
    n = round(fraction * model.n_points)
    whole = np.flatnonzero(model.measured.all(1))
    pairs = rng.permutation(whole)[:4].reshape(2, 2)
    swapped = []
    for first, second in np.sort(pairs, axis=1).tolist():
        start = int(rng.integers(4, model.n_views - 12))
        swapped.append((first, second, tuple(range(start, start + 8))))
    taken = model.measured.copy()
    for first, second, views in swapped:
        taken[[first, second]] = False
        model = SwapTracks(first, second, views).apply(model).model
    places = rng.permutation(np.argwhere(taken))[: n - 32].tolist()
    half = len(places) // 2
    moved = tuple((c, v) for c, v in places[:half])
    deleted = tuple((c, v) for c, v in places[half:])
    moves = []
    for c, v in moved:
        far, angle = rng.uniform(3, 15), rng.uniform(0, 2 * np.pi)
        x, y = model.xy[c, v] + far * np.array([np.cos(angle), np.sin(angle)])
        moves.append((c, v, float(x), float(y)))
    model = MovePoints(tuple(moves)).apply(model).model
    model = DeletePoints(deleted).apply(model).model
    return Spoiled(model, moved, deleted, tuple(swapped))


def align(series: TiltSeries, model: FiducialModel) -> TiltSeries:
    """What *Rerun alignment* computes."""
    made = FiducialAlignment().run(
        {"tilt_series": series, "fiducial_model": model}, FiducialAlignment.Params(), Context()
    )
    return made["tilt_series"]


def true_residual_px(series: TiltSeries, views: slice = slice(None)) -> float:
    """RMS distance of exactly known projections from their best single-axis 3-D model."""
    truth = json.loads(stack().with_suffix(".truth.json").read_text())
    raw = np.array(truth["raw_xy"]) - image_centre(*series.size)
    xf = series.alignment.transforms
    at = (np.einsum("vij,vbj->vbi", xf[:, :, :2], raw) + xf[:, None, :, 2])[views]
    tilt = np.deg2rad(series.alignment.tilt_deg[views])
    basis = np.stack([np.cos(tilt), np.sin(tilt)], 1)
    xz = np.linalg.lstsq(basis, at[:, :, 0], rcond=None)[0]
    off = at[:, :, 0] - basis @ xz, at[:, :, 1] - at[:, :, 1].mean(0)
    return float(np.sqrt(np.mean(np.square(off).sum(0))))


@dataclass(frozen=True)
class Estimate:
    """What the same repair takes in 3dmod with its Bead Fixer: ``(what, how often, actions)``.

    Clicks and key strokes only: looking, zooming (``+``), contrast (the tutorial: "increase the
    magnification", "adjust the contrast, especially at high tilts") and waiting for the
    alignment are left out, and every point is right at the first try. The alignment is run from
    the Bead Fixer itself ("Save & Run Tiltalign"), as Etomo allows; where it does not, a round
    takes some ten actions more: save, close, open the form, execute, open the results, open the
    Bead Fixer, choose the operation, open the log.
    """

    steps: tuple[tuple[str, int, int], ...]

    @property
    def n_actions(self) -> int:
        """All of them."""
        return sum(times * each for _, times, each in self.steps)


def in_3dmod(spoiled: Spoiled, filled: list[tuple[int, int]], n_gaps: int) -> Estimate:
    """Of what was spoiled, with the views that were filled in the end, in ``n_gaps`` gaps.

    A gap is a run of views without a point. Tracks cannot be swapped there: each point of both
    is a big residual.
    """
    n_swapped = sum(2 * len(v) for _, _, v in spoiled.swapped)
    return Estimate((
        ("menu Special, Bead Fixer, operation Fix big residuals", 1, 3),
        ("Open Tiltalign Log File, choose it, Open", 1, 3),
        ("Skip low weights off: points far away have none", 1, 1),
        ("moved points: Go to Next Big Residual, Move Point by Residual", len(spoiled.moved), 2),
        ("points of swapped tracks: the same", n_swapped, 2),
        ("Save & Run Tiltalign", 1, 1),
        ("Go to Next Big Residual: No more residuals!", 1, 1),
        ("operation Fill gaps, Autocenter", 1, 2),
        ("gaps: Go to Next Gap", n_gaps, 1),
        ("missing points: Page Up, middle click", len(filled), 2),
        ("Go to Next Gap: No more gaps found!", 1, 1),
        ("operation Fix big residuals, Save & Run Tiltalign", 1, 2),
        ("Go to Next Big Residual: No more residuals!", 1, 1),
        ("S, close 3dmod, Done", 1, 3),
    ))  # fmt: skip


def runs_of(places: list[tuple[int, int]]) -> int:
    """How many runs of neighbouring views the places ``(contour, view)`` make."""
    known = set(places)
    return sum((contour, view - 1) not in known for contour, view in known)
