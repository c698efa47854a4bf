"""The quality of every series of an output, judged for the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiltwright.app.describe import DAMAGED, GOOD_RESIDUAL_PX, LEAST_COMPLETENESS
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run
from tiltwright.widgets.quality_table import SeriesQuality

Record = Mapping[str, Any]


def quality(project: Project, run: Run, port: str) -> list[SeriesQuality]:
    """A row for each series of an output, and for each that failed."""
    rows = []
    for name, record in sorted(run.outputs.get(port, {}).items()):
        try:
            rows.append(_row(project, run, name, record))
        except DAMAGED:
            rows.append(SeriesQuality(name, verdict="bad", reason="its record is damaged"))
    rows += [
        SeriesQuality(name, verdict="bad", reason=why) for name, why in run.failed.items() if name
    ]
    return rows


def _row(project: Project, run: Run, name: str, record: Record) -> SeriesQuality:
    series = _of_kind(run, name, "tilt_series")
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
    used = n - sum(series["excluded"]) - len(series["suspect"])
    beads = completeness = None
    if model is not None:
        beads = int(model["n_tracks"])
        completeness = model["n_points"] / max(beads * used, 1)
    fit = (series["alignment"] or {}).get("fit") or {}
    verdict, reason = _judged(fit, completeness, series)
    return SeriesQuality(
        name, used, n, beads, completeness, fit.get("mean_residual_px"),
        fit.get("leave_one_out_px"), series["axis_deg"], thick, thick_nm, verdict, reason,
    )  # fmt: skip


def _judged(fit: Record, completeness: float | None, series: Record) -> tuple[str, str]:
    if not fit:
        return "", ""
    residual = fit["mean_residual_px"]
    if residual >= GOOD_RESIDUAL_PX:
        return "bad", f"mean residual {residual:.2f} px"
    if completeness is not None and completeness < LEAST_COMPLETENESS:
        return "check", f"completeness {100 * completeness:.0f} %"
    if series["suspect"]:
        views = ", ".join(str(int(v) + 1) for v in series["suspect"])
        return "check", f"left out: view {views}"
    return "good", "mean residual and completeness are fine"


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
