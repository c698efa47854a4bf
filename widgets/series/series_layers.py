"""What is drawn over the views of a tilt series: tilt axis, beads, caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiltwright.widgets.image.overlay import Circles, Layer, Lines
from tiltwright.widgets.theme import colours

if TYPE_CHECKING:
    from tiltwright.engine.model.fiducial_model import FiducialModel
    from tiltwright.widgets.series.series_source import SeriesSource

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


def caption(
    source: SeriesSource, view: int, kind_named: bool, series_named: bool, left_out: bool
) -> tuple[str, str]:
    """Words in the corner of a view, and their colour."""
    series = source.series
    words = [f"view {view + 1}/{series.n_views}", f"{series.tilt_deg[view]:.1f}°"]
    if kind_named:
        words.append("interpolated" if source.interpolated else "raw")
    if series_named:
        words.append(series.name)
    if left_out:
        words.append("✕ left out")
    return "   ".join(words), "#ff8a80" if left_out else "#ffffff"
