"""The files of a processed series, all in pixels of the raw stack (but the tomogram's own)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.conventions import EDGE_MINUS_INDEX, aligned_size
from tiltwright.engine.io.atomic import write_text
from tiltwright.engine.io.model_file import write_fiducial_model
from tiltwright.engine.io.text import (
    Positions,
    Residuals,
    write_angles,
    write_resid,
    write_xf,
    write_xyz,
)
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols.fiducial_alignment import Aligned

Floats = npt.NDArray[np.float64]


def write_model(
    path: Path, series: TiltSeries, tracks: Floats, surface: Sequence[int], diameter_px: float
) -> None:
    """Write tracks ``(n_tracks, n_views, 2)``, raw px about the centre, as a fiducial model."""
    nx, ny = series.size
    contours = []
    for track in tracks:
        views = np.flatnonzero(np.isfinite(track[:, 0]))
        xy = track[views] + [(nx - 1) / 2, (ny - 1) / 2]
        contours.append(np.column_stack([xy, views]))
    write_fiducial_model(
        path, contours, nx=nx, ny=ny, n_views=series.n_views, pixel_size_a=series.pixel_size_a,
        surfaces=[int(s) + 1 for s in surface], bead_diameter_px=diameter_px, origin=series.origin,
    )  # fmt: skip


def write_alignment(
    folder: Path,
    series: TiltSeries,
    tracks: Floats,
    aligned: Aligned,
    transforms: Floats,
    diameter_px: float,
) -> None:
    """Write ``.xf .tlt .xtilt .xyz .resid``, the residual table and the gap-filled model."""
    name = series.name
    nx, ny = series.size
    solution = aligned.solution
    write_xf(folder / f"{name}.xf", transforms)
    write_angles(folder / f"{name}.tlt", aligned.geometry.tilt_deg, decimals=4)
    write_angles(
        folder / f"{name}.xtilt", np.full(series.n_views, aligned.geometry.x_tilt_deg), decimals=4
    )
    ax, ay = aligned_size(nx, ny, series.axis_deg)
    n = len(aligned.xyz)
    corner = np.array([ax / 2, ay / 2, 0.0])
    write_xyz(
        folder / f"{name}.xyz",
        Positions(
            aligned.xyz + corner, series.pixel_size_a, (ax, ay), np.ones(n, np.int64),
            np.arange(1, n + 1),
        ),
    )  # fmt: skip
    gaps = ~np.isfinite(tracks[..., 0])
    complete = np.where(gaps[..., None], aligned.geometry.project(aligned.xyz), tracks)
    write_model(folder / f"{name}_nogaps.fid", series, complete, list(aligned.surface), diameter_px)
    track, view = np.nonzero(~gaps)
    index = tracks[track, view] + [(nx - 1) / 2, (ny - 1) / 2]
    residual = solution.residual_px[track, view]
    write_resid(folder / f"{name}.resid", Residuals(index + EDGE_MINUS_INDEX, view, residual))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        ["contour", "view", "x", "y", "residual_x", "residual_y", "sd", "weight",
         "leave_one_out", "flag"]
    )  # fmt: skip
    for k, (t, v) in enumerate(zip(track, view, strict=True)):
        rows.writerow(
            [t + 1, v + 1, *(f"{x:.3f}" for x in (*index[k], *residual[k])),
             *(f"{a[t, v]:.3f}" for a in (solution.sd, solution.weight, solution.loo_px)),
             "measured"]
        )  # fmt: skip
    write_text(folder / f"{name}_residuals.csv", text.getvalue())


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write ``summary.json``; numbers that are not finite become ``null``."""
    write_text(path, json.dumps(clean(summary), indent=2) + "\n")


def clean(value: Any) -> Any:
    """Make a value fit for JSON: plain Python types, ``None`` for NaN."""
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
