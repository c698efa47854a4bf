"""What a processed series has come to: ``summary.json`` and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import tiltwright
from tiltwright.engine.io.atomic import write_text
from tiltwright.engine.model.ctf_table import CtfTable
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import Tomogram
from tiltwright.engine.report.page import ReportData, write_report


def summarise(
    series: TiltSeries,
    model: FiducialModel | None,
    tomogram: Tomogram | None,
    *,
    notes: Sequence[str],
    parameters: Mapping[str, Any],
    seconds: Mapping[str, float],
    ctf: CtfTable | None = None,
) -> dict[str, Any]:
    """The contents of ``summary.json``; views are 1-based."""
    fit = series.alignment.fit if series.alignment is not None else None
    summary: dict[str, Any] = {
        "series": series.name,
        "n_views": series.n_views,
        "excluded_views": [int(v) + 1 for v in np.flatnonzero(series.excluded)],
        "suspect_views": [
            {"view": v + 1, "reason": reason} for v, reason in series.suspect.items()
        ],
        "n_fiducials": model.n_tracks if model is not None else 0,
        "n_points": model.n_points if model is not None else 0,
        "completeness": model.completeness(series.used) if model is not None else None,
        "mean_residual_px": None,
        "leave_one_out_px": None,
        "tilt_axis_deg": series.axis_deg,
        "handedness": "undetermined",
        "pixel_size_a": series.pixel_size_a,
        "notes": list(notes),
        "parameters": dict(parameters),
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
        "peak_memory_mb": None,
        "version": tiltwright.__version__,
    }
    if fit is not None and series.alignment is not None:
        summary |= {
            "mean_residual_px": fit.mean_residual_px,
            "weighted_mean_residual_px": fit.weighted_mean_px,
            "leave_one_out_px": fit.leave_one_out_px,
            "tilt_axis_deg": float(np.mean(series.alignment.geometry().axis_deg[series.used])),
            "x_axis_tilt_deg": series.alignment.x_tilt_deg,
            "variables": fit.variables,
        }
    if ctf is not None:
        words = {1: "as it is", -1: "inverted", 0: "undetermined"}
        mean_um = (ctf.defocus_u_a + ctf.defocus_v_a)[ctf.used] / 2e4
        summary["handedness"] = words[ctf.hand]
        summary["defocus_um"] = [mean_um.min(), mean_um.max()] if len(mean_um) else None
    if tomogram is not None:
        summary["tomogram_pixel_size_a"] = tomogram.pixel_size_a
        summary["tomogram_shape"] = list(tomogram.shape)
    clean: dict[str, Any] = plain(summary)
    return clean


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write ``summary.json``; numbers that are not finite become ``null``."""
    write_text(path, json.dumps(plain(summary), indent=2) + "\n")


def plain(value: Any) -> Any:
    """Make a value fit for JSON: plain Python types, ``None`` for NaN."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value


def central_slices(tomogram: Tomogram | None) -> dict[str, npt.NDArray[np.float32]]:
    """Central slices ``XY`` ``(ny, nx)``, ``XZ`` ``(nz, nx)`` and ``YZ`` ``(ny, nz)``."""
    if tomogram is None:
        return {}
    data, (nz, ny, nx) = tomogram.data, tomogram.shape
    return {
        "XY": np.asarray(data[nz // 2], np.float32),
        "XZ": np.asarray(data[:, ny // 2], np.float32),
        "YZ": np.asarray(data[:, :, nx // 2], np.float32).T,
    }


def report(
    path: Path,
    series: TiltSeries,
    model: FiducialModel | None,
    tomogram: Tomogram | None,
    summary: dict[str, Any],
) -> None:
    """Write the self-contained HTML page of a series.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    alignment = series.alignment
    fit = alignment.fit if alignment is not None else None
    least = int(np.argmin(np.where(series.used, np.abs(series.tilt_deg), np.inf)))
    measured = None
    if model is not None:
        measured = np.where(model.measured[..., None], model.xy, np.nan)
    data = ReportData(
        series=series.name,
        summary=summary,
        tilt_nominal_deg=series.tilt_deg,
        geometry=alignment.geometry() if alignment is not None and fit is not None else None,
        used=series.used,
        measured_xy=measured,
        residual_px=fit.residual_px if fit is not None else None,
        loo_px=fit.loo_px if fit is not None else None,
        surface=model.surface if model is not None else None,
        image_size=series.size,
        variables=fit.variables if fit is not None else "",
        candidates=list(fit.candidates) if fit is not None else [],
        slices=central_slices(tomogram),
        thumbnail=np.asarray(series.images[least]),
        notes=list(summary["notes"]),
    )
    write_report(path, data)
