"""What is drawn over the views of a tilt series: tilt axis, beads, erased patches, caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.patches import read_patches
from tiltwright.widgets.image.overlay import Circles, Layer, Lines, Squares
from tiltwright.widgets.theme import colours

if TYPE_CHECKING:
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.engine.model.tilt_series import TiltSeries
    from tiltwright.widgets.series.series_source import SeriesSource

Floats = npt.NDArray[np.float64]
RIM = 1.3
"""Circles are so much wider than the beads, to leave them in sight."""


def axis_layer(source: SeriesSource, view: int) -> Layer:
    """The tilt axis of a view."""
    return Lines(source.axis_line(view), colours().axis, 1.2, dashed=True)


def bead_layers(source: SeriesSource, view: int, model: FiducialModel | None) -> list[Layer]:
    """Circles about the beads of a view: green bottom, magenta top, dashed where filled in."""
    if model is None or view >= model.n_views:
        return []
    diameter = model.diameter_px / source.series.frame.scale * RIM
    there = np.isfinite(model.xy[:, view]).all(-1)
    palette = colours()
    layers: list[Layer] = []
    for surface, colour in ((0, palette.surface_bottom), (1, palette.surface_top)):
        for filled in (False, True):
            which = there & (model.surface == surface) & (model.measured[:, view] != filled)
            if which.any():
                at = source.from_raw(view, model.xy[which, view])
                layers.append(Circles(at, diameter, colour, dashed=filled))
    return layers


def patches_of(series: TiltSeries | None) -> Floats | None:
    """What was erased from a series: view, x, y about the centre and radius, raw pixels.

    ``(n, 4)``, or ``None`` where nothing is known of it.
    """
    if series is None or series.erased_path is None:
        return None
    try:
        found = read_patches(series.erased_path, series.n_views)
    except InputError:
        return None
    rows = np.array([(p.view, p.x, p.y, p.radius_px) for p in found]).reshape(-1, 4)
    rows[:, 1:3] -= (np.array(series.size) - 1) / 2
    return rows


def patch_counts(patches: Floats | None, n_views: int) -> npt.NDArray[np.int64] | None:
    """Patches of each view, ``(n_views,)``."""
    if patches is None:
        return None
    return np.bincount(patches[:, 0].astype(np.int64), minlength=n_views)


def patch_layers(source: SeriesSource, view: int, patches: Floats) -> list[Layer]:
    """Squares about what was erased from a view."""
    here = patches[patches[:, 0] == view]
    if not len(here):
        return []
    side = 2 * RIM * here[:, 3] / source.series.frame.scale
    return [Squares(source.from_raw(view, here[:, 1:3]), side, colours().erased)]


def caption(
    source: SeriesSource, view: int, kind_named: bool, series_named: bool, left_out: bool,
    n_erased: int | None = None,
) -> tuple[str, str]:  # fmt: skip
    """Words in the corner of a view, and their colour."""
    series = source.series
    words = [f"view {view + 1}/{series.n_views}", f"{series.tilt_deg[view]:.1f}°"]
    if kind_named:
        words.append("interpolated" if source.interpolated else "raw")
    if series_named:
        words.append(series.name)
    if n_erased is not None:
        words.append(f"{n_erased} erased patch" + "es" * (n_erased != 1))
    if left_out:
        words.append("✕ left out")
    return "   ".join(words), "#ff8a80" if left_out else "#ffffff"
