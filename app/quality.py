"""The quality of every series of an output, judged for the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiltwright.app.describe import (
    DAMAGED,
    GOOD_RESIDUAL_PX,
    LEAST_COMPLETENESS,
    curated,
    left_out,
)
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run
from tiltwright.widgets.runs.quality_table import SeriesQuality
from tiltwright.widgets.wording import plain_words

Record = Mapping[str, Any]


def quality(project: Project, run: Run, port: str) -> list[SeriesQuality]:
    """A row for each series of an output, and for each that failed."""
    rows = []
    for name, record in curated(run, port).items():
        try:
            rows.append(_row(project, run, name, record))
        except DAMAGED:
            rows.append(SeriesQuality(name, verdict="bad", reason="its record is damaged"))
    rows += [
        SeriesQuality(name, verdict="bad", reason=plain_words(why))
        for name, why in run.failed.items()
        if name
    ]
    return rows


def _row(project: Project, run: Run, name: str, record: Record) -> SeriesQuality:
    series = record if record["kind"] == "tilt_series" else _of_kind(run, name, "tilt_series")
    model = _of_kind(run, name, "fiducial_model")
    tomogram = record if record["kind"] == "tomogram" else _made_of(project, run, name)
    thick = thick_nm = None
    if tomogram is not None:
        thick = int(tomogram["shape"][0])
        thick_nm = thick * tomogram["pixel_size_a"] / 10
    if series is None:
        series = _above(project, run, name, "tilt_series")
        model = model or _above(project, run, name, "fiducial_model")
    if series is None:
        return SeriesQuality(name, thickness_voxels=thick, thickness_nm=thick_nm)
    n = len(series["tilt_deg"])
    unused = left_out(series)
    used = n - len(unused)
    beads = completeness = None
    if model is not None:
        beads = int(model["n_tracks"])
        completeness = model["n_points"] / max(beads * used, 1)
    fit = (series["alignment"] or {}).get("fit") or {}
    verdict, reason = _judged(fit, completeness, unused)
    return SeriesQuality(
        name, used, n, beads, completeness, fit.get("mean_residual_px"),
        fit.get("leave_one_out_px"), series["axis_deg"], thick, thick_nm, verdict, reason,
    )  # fmt: skip


def _judged(fit: Record, completeness: float | None, unused: Mapping[int, str]) -> tuple[str, str]:
    if not fit:
        return "", ""
    residual = fit["mean_residual_px"]
    if residual >= GOOD_RESIDUAL_PX:
        return "bad", f"mean residual {residual:.2f} px"
    if completeness is not None and completeness < LEAST_COMPLETENESS:
        return "check", f"completeness {100 * completeness:.0f} %"
    if unused:
        return "check", f"{len(unused)} view{'s' if len(unused) > 1 else ''} left out"
    return "good", "residual and completeness are fine"


def _of_kind(run: Run, name: str, kind: str) -> Record | None:
    for items in run.outputs.values():
        record = items.get(name)
        if record is not None and record["kind"] == kind:
            return record
    return None


def _above(project: Project, run: Run, name: str, kind: str) -> Record | None:
    for k in sorted(project.ancestors([run.id]) - {run.id}, reverse=True):
        record = _of_kind(project.runs[k], name, kind)
        if record is not None:
            return record
    return None


def _made_of(project: Project, run: Run, name: str) -> Record | None:
    """The newest tomogram that was made of a run's output."""
    for k in sorted(project.descendants([run.id]) - {run.id}, reverse=True):
        record = _of_kind(project.runs[k], name, "tomogram")
        if record is not None:
            return record
    return None
