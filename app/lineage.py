"""Where an output of a series comes from, and what it can be compared with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run, Source
from tiltwright.widgets.tomogram.plane_set import Beads

_USUAL_BEAD_NM = 10.0
_MASK = "mask"
"""The port of a mask, of which a run has one at most."""


def upwards(project: Project, run: int) -> Iterator[Run]:
    """A run and those that it stands on, the nearest first."""
    waiting, seen = [run], {run}
    while waiting:
        k = waiting.pop(0)
        yield project.runs[k]
        waiting += [p for p in project.parents(k) if p not in seen]
        seen.update(waiting)


def kind_of(project: Project, source: Source, name: str) -> str:
    """``tilt_series``, ``fiducial_model``, ``tomogram``, or empty when there is no such output."""
    run = project.runs.get(source.run)
    record = run.outputs.get(source.port, {}).get(name) if run is not None else None
    return str(record["kind"]) if record is not None else ""


def nearest(project: Project, run: int, name: str, kind: str) -> Source | None:
    """The output of this kind of a series that lies nearest above a run, itself included."""
    for here in upwards(project, run):
        for port, items in here.outputs.items():
            if items.get(name, {}).get("kind") == kind:
                return Source(here.id, port)
    return None


def ctf_of(project: Project, source: Source, name: str) -> Source | None:
    """The CTF of a series: the one it was made with, else the newest that was made of it."""
    above = nearest(project, source.run, name, "ctf_table")
    if above is not None:
        return above
    for run in sorted(project.runs.values(), key=lambda r: -r.id):
        for port, items in run.outputs.items():
            if items.get(name, {}).get("kind") == "ctf_table" and source.run in {
                r.id for r in upwards(project, run.id)
            }:
                return Source(run.id, port)
    return None


def imported(project: Project, run: int, name: str) -> Source | None:
    """The output with which a series came into the project."""
    found = None
    for here in upwards(project, run):
        for port in () if here.inputs else here.outputs:
            if kind_of(project, Source(here.id, port), name) == "tilt_series":
                found = Source(here.id, port)
    return found


def series_and_model(
    project: Project, source: Source, name: str
) -> tuple[Source, TiltSeries, FiducialModel | None] | None:
    """What a tilt-series viewer shows of an output; ``None`` when the series is gone.

    Raises
    ------
    InputError
        A file is missing or damaged.
    """
    run = project.runs[source.run]
    where: Source | None = source
    model = None
    if kind_of(project, source, name) == "fiducial_model":
        model = project.item(source, name)
        where = nearest(project, source.run, name, "tilt_series")
    else:
        for port in run.outputs:
            if kind_of(project, Source(run.id, port), name) == "fiducial_model":
                model = project.item(Source(run.id, port), name)
    if where is None:
        return None
    return where, project.item(where, name), model


def alternatives(project: Project, source: Source, name: str) -> list[tuple[Source, str]]:
    """Other outputs of the same kind of the same series, the newest first, with their names."""
    kind = kind_of(project, source, name)
    n_views = len(project.runs[source.run].outputs[source.port][name].get("tilt_deg", ()))
    found = []
    for run in sorted(project.runs.values(), key=lambda r: -r.id):
        for port, items in run.outputs.items():
            record = items.get(name)
            if record is None or record["kind"] != kind or (run.id, port) == (
                source.run, source.port,
            ):  # fmt: skip
                continue
            if kind != "tilt_series" or len(record["tilt_deg"]) == n_views:
                found.append((Source(run.id, port), f"{run.label} ({run.id})"))
    return found


def masks(project: Project, name: str) -> list[tuple[Source, str]]:
    """The masks of a series, the newest first, with their names."""
    return [
        (Source(run.id, _MASK), f"{run.label} ({run.id})")
        for run in sorted(project.runs.values(), key=lambda r: -r.id)
        if name in run.outputs.get(_MASK, {})
    ]


def below_mask(project: Project, source: Source, name: str) -> Source:
    """The tomogram that a mask was made of; any other output is itself."""
    run = project.runs.get(source.run)
    made_of = run.inputs.get("tomogram") if run is not None and source.port == _MASK else None
    if made_of is None or kind_of(project, made_of, name) != "tomogram":
        return source
    return Source(made_of.run, made_of.port)


def mask_of(project: Project, source: Source, name: str) -> Source | None:
    """The mask that belongs to an output: itself, or what its run took."""
    run = project.runs.get(source.run)
    if source.port == _MASK or run is None:
        return source if source.port == _MASK else None
    taken = run.inputs.get(_MASK)
    if taken is None or kind_of(project, taken, name) != "tomogram":
        return None
    return Source(taken.run, taken.port)


def script_of(project: Project, source: Source, name: str) -> Path | None:
    """The ChimeraX script that a run wrote with an output."""
    run = project.runs.get(source.run)
    if run is None or run.protocol != "chimerax":
        return None
    return project.output_folder(run) / f"{name}.cxc"


def beads(project: Project, source: Source, name: str) -> Beads | None:
    """The beads in a tomogram, from the alignment that it was made with.

    Raises
    ------
    InputError
        A file of the alignment is missing or damaged.
    """
    for run in upwards(project, source.run):
        if run.params.get("about_x_deg") or run.params.get("about_y_deg"):
            return None  # it was turned: the beads are no longer where the alignment has them
        for port in run.outputs:
            where = Source(run.id, port)
            if kind_of(project, where, name) == "tilt_series":
                series: TiltSeries = project.item(where, name)
                return Beads.of_series(series, _bead_nm(project, run, name, series.pixel_size_a))
    return None


def _bead_nm(project: Project, run: Run, name: str, pixel_size_a: float) -> float:
    """Diameter of the beads, from the nearest fiducial model above."""
    where = nearest(project, run.id, name, "fiducial_model")
    if where is None:
        return _USUAL_BEAD_NM
    record = project.runs[where.run].outputs[where.port][name]
    return float(record["diameter_px"] * pixel_size_a / 10)


def worst_view(series: TiltSeries) -> int | None:
    """The view that should be looked at: the largest residual, else the first suspect one."""
    fit = series.alignment.fit if series.alignment is not None else None
    if fit is not None:
        residual = np.where(series.used, np.nan_to_num(fit.per_view_px(), nan=-1.0), -1.0)
        if residual.max() > 0:
            return int(np.argmax(residual))
    return next(iter(series.suspect), None)
