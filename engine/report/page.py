"""The HTML report of a processed series: one page that needs no other file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.io.atomic import write_text
from tiltwright.engine.report import plots
from tiltwright.engine.report.svg import number, text

MOST_RESIDUAL_PX = 1.0
MOST_LEAVE_ONE_OUT_PX = 1.5
LEAST_COMPLETENESS = 0.8
"""Beyond these the verdict asks for a look; they judge nothing but the words of the page."""

_PLANES = ("XY", "YZ", "XZ")


@dataclass(frozen=True)
class ReportData:
    """Everything the page shows; what a run did not reach is None or empty.

    Attributes
    ----------
    series : str
        Name of the series.
    summary : dict
        The contents of ``summary.json``; views there are 1-based.
    tilt_nominal_deg : (n_views,) float64
        Tilt angles as read.
    geometry : ViewGeometry or None
        The solution.
    used : (n_views,) bool
        Views that took part.
    measured_xy, residual_px : (n_tracks, n_views, 2) float64 or None
        Raw pixels about the image centre, and predicted minus measured; NaN for gaps.
    loo_px : (n_tracks, n_views) float64 or None
        Leave-one-out errors, raw pixels.
    surface : (n_tracks,) or None
        0 for the bottom surface, 1 for the top.
    image_size : (int, int)
        ``(nx, ny)`` of the raw views.
    variables : str
        The variables that were solved, in words.
    candidates : list of (name, score in pixels, number of parameters)
        The cross-validation of the choices of variables.
    slices : dict of str to 2-D float32
        Central slices ``XY``, ``XZ``, ``YZ``; row 0 at the bottom. A ``YZ`` of ``(ny, nz)``
        stands beside ``XY``; one of ``(nz, ny)`` stands below.
    thumbnail : 2-D array or None
        The least tilted view.
    notes : list of str
        Further remarks.
    """

    series: str
    summary: dict[str, Any]
    tilt_nominal_deg: Floats
    geometry: ViewGeometry | None
    used: npt.NDArray[np.bool_]
    measured_xy: Floats | None
    residual_px: Floats | None
    loo_px: Floats | None
    surface: npt.NDArray[Any] | None
    image_size: tuple[int, int]
    variables: str = ""
    candidates: Sequence[tuple[str, float, int]] = field(default_factory=list)
    slices: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    thumbnail: npt.NDArray[Any] | None = None
    notes: Sequence[str] = field(default_factory=list)


def _value(summary: Mapping[str, Any], name: str) -> float | None:
    value = summary.get(name)
    if isinstance(value, (int, float, np.number)) and math.isfinite(float(value)):
        return float(value)
    return None


def verdict(data: ReportData) -> tuple[str, str]:
    """Judge the run in plain words.

    Returns
    -------
    (str, str)
        ``good``, ``look`` or ``open``, and one or two sentences.
    """
    s = data.summary
    residual, loo = _value(s, "mean_residual_px"), _value(s, "leave_one_out_px")
    complete = _value(s, "completeness")
    suspects = len(s.get("suspect_views") or [])
    named = f"{suspects} suspect view{'' if suspects == 1 else 's'}"
    if residual is None:
        found = f" {named.capitalize()} so far." if suspects else ""
        return "open", "The series is not aligned yet: the run stopped before the solution." + found
    doubts = []
    if residual > MOST_RESIDUAL_PX:
        doubts.append(f"the mean residual is above {number(MOST_RESIDUAL_PX, 1)} px")
    if loo is not None and loo > MOST_LEAVE_ONE_OUT_PX:
        doubts.append(f"the leave-one-out error is above {number(MOST_LEAVE_ONE_OUT_PX, 1)} px")
    if complete is not None and complete < LEAST_COMPLETENESS:
        doubts.append(f"fewer than {100 * LEAST_COMPLETENESS:.0f} % of the points were measured")
    tail = f" {named.capitalize()}, listed below." if suspects else " No view is suspect."
    if doubts:
        return "look", "Look closer: " + "; ".join(doubts) + "." + tail
    return "good", "The beads agree with one solution." + tail


def _key_numbers(data: ReportData) -> str:
    s = data.summary
    n_views = int(_value(s, "n_views") or len(data.used))
    share = _value(s, "completeness")
    memory = _value(s, "peak_memory_mb")
    total = sum(float(v) for v in (s.get("seconds") or {}).values())
    cells = [
        ("Views used", f"{int(np.count_nonzero(data.used))} of {n_views}"),
        ("Beads", number(_value(s, "n_fiducials"), 0)),
        ("Points", number(_value(s, "n_points"), 0)),
        ("Completeness", number(None if share is None else 100 * share, 1, " %")),
        ("Mean residual", number(_value(s, "mean_residual_px"), 3, " px")),
        ("Leave-one-out", number(_value(s, "leave_one_out_px"), 3, " px")),
        ("Tilt axis", number(_value(s, "tilt_axis_deg"), 2, "°")),
        ("Time", number(total, 1, " s")),
        ("Peak memory", number(memory, 0, " MB")),
    ]
    shown = [(k, v) for k, v in cells if v != "–"]
    items = "".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in shown)
    return f'<dl class="numbers">{items}</dl>'


def _suspects(data: ReportData) -> str:
    suspects = data.summary.get("suspect_views") or []
    named = {int(entry["view"]) for entry in suspects}
    others = [str(v + 1) for v in np.flatnonzero(~data.used) if v + 1 not in named]
    rest = (
        f"<p>{'Also left' if suspects else 'Left'} out: views {', '.join(others)}.</p>"
        if others
        else ""
    )
    if not suspects:
        return rest
    rows = []
    for entry in suspects:
        view = int(entry["view"])
        inside = 1 <= view <= len(data.tilt_nominal_deg)
        tilt = number(float(data.tilt_nominal_deg[view - 1]), 1, "°") if inside else "–"
        state = "used" if inside and data.used[view - 1] else "left out"
        rows.append(
            f'<tr><td class="n">{view}</td><td class="n">{tilt}</td>'
            f"<td>{state}</td><td>{text(entry['reason'])}</td></tr>"
        )
    return (
        '<table><thead><tr><th class="n">View</th><th class="n">Tilt</th><th>Solution</th>'
        f"<th>Reason</th></tr></thead><tbody>{''.join(rows)}</tbody></table>{rest}"
    )


def _variables(data: ReportData) -> str:
    out = f"<p>{text(data.variables)}</p>" if data.variables else ""
    if data.candidates:
        scores = [s if math.isfinite(s) else math.inf for _, s, _ in data.candidates]
        best = scores.index(min(scores))
        rows = "".join(
            f"<tr{' class=best' if i == best else ''}><td>{text(name)}</td>"
            f'<td class="n">{int(count)}</td><td class="n">{number(float(score), 3)}</td>'
            f"<td>{'lowest' if i == best else ''}</td></tr>"
            for i, (name, score, count) in enumerate(data.candidates)
        )
        out += (
            '<table><thead><tr><th>Variables</th><th class="n">Parameters</th>'
            '<th class="n">Cross-validation, px</th><th></th></tr></thead>'
            f"<tbody>{rows}</tbody></table>"
        )
    return out


def _tracks(data: ReportData) -> str:
    if data.measured_xy is None and data.thumbnail is None:
        return ""
    tilt = np.where(data.used, np.abs(data.tilt_nominal_deg), np.inf)
    reference = int(np.argmin(tilt)) if len(tilt) else 0
    measured, caption = data.measured_xy, ""
    if measured is not None and data.geometry is not None:
        shift = data.geometry.shift_px
        measured = measured - shift + shift[reference]
        caption = (
            f"<figcaption>Measured points of the used views, each view shifted onto view "
            f"{reference + 1}; a circle marks the bead there.</figcaption>"
        )
    figure = plots.tracks(
        measured, data.surface, data.image_size, data.thumbnail, data.used, reference
    )
    legend = ""
    if data.measured_xy is not None:
        legend = (
            plots.key(("s0", "bottom surface"), ("s1", "top surface"))
            if data.surface is not None
            else plots.key(("s0", "measured track"))
        )
    return f"<figure>{figure}{legend}{caption}</figure>"


def _slices(data: ReportData) -> str:
    given = {k: np.asarray(v) for k, v in data.slices.items() if np.asarray(v).size}
    pixel = _value(data.summary, "tomogram_pixel_size_a")
    order = sorted(given, key=lambda name: _PLANES.index(name) if name in _PLANES else len(_PLANES))
    rows = given["XY"].shape[0] if "XY" in given else -1
    beside = [given[k].shape[1] for k in ("XY", "YZ") if k in given and len(given[k]) == rows]
    across = max([sum(beside), *(image.shape[1] for image in given.values())], default=1)
    figures = "".join(plots.slice_figure(k, given[k], pixel, across) for k in order)
    style = f"max-width:{max(2 * across, 400)}px"
    return f'<div class="slices" style="{style}">{figures}</div>' if figures else ""


def _section(title: str, body: str, grid: bool = False) -> str:
    if not body:
        return ""
    inside = f'<div class="grid">{body}</div>' if grid else body
    return f"<section><h2>{text(title)}</h2>{inside}</section>"


def _check(data: ReportData) -> None:
    n = len(data.tilt_nominal_deg)
    if len(data.used) != n:
        raise InputError(f"report of {data.series}: {len(data.used)} flags for {n} views")
    if data.geometry is not None and data.geometry.n_views != n:
        raise InputError(f"report of {data.series}: solution of {data.geometry.n_views}, not {n}")
    for name in ("measured_xy", "residual_px", "loo_px"):
        array = getattr(data, name)
        if array is not None and array.shape[1] != n:
            raise InputError(f"report of {data.series}: {name} has {array.shape[1]} views, not {n}")


def render(data: ReportData) -> str:
    """Return the page as HTML text; raises :class:`InputError` when the sizes disagree."""
    _check(data)
    s = data.summary
    style = (resources.files("tiltwright.resources") / "report.css").read_text("utf-8")
    kind, words = verdict(data)
    measured = data.measured_xy
    seconds = {str(k): float(v) for k, v in (s.get("seconds") or {}).items()}
    sections = [
        _section("Suspect views" if s.get("suspect_views") else "Views left out", _suspects(data)),
        _section("Variables", _variables(data)),
        _section("Tracks", _tracks(data)),
        _section(
            "Solution by view",
            plots.geometry_plots(data.geometry, data.tilt_nominal_deg, data.used)
            if data.geometry is not None
            else "",
            grid=True,
        ),
        _section(
            "Errors",
            plots.residual_plots(data.residual_px, data.loo_px, data.used),
            grid=True,
        ),
        _section(
            "Completeness",
            plots.completeness_map(measured, data.used)
            if measured is not None and len(measured)
            else "",
        ),
        _section("Central slices", _slices(data)),
        _section("Time", plots.seconds_chart(seconds) if seconds else ""),
        _section("Notes", "".join(f"<p>{text(note)}</p>" for note in data.notes)),
    ]
    version = f"Tiltwright {text(s['version'])}" if s.get("version") else "Tiltwright"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(data.series)} – Tiltwright report</title><style>{style}</style></head>"
        f'<body><header><h1>{text(data.series)}</h1><p class="verdict {kind}">{text(words)}</p>'
        f"{_key_numbers(data)}</header><main>{''.join(sections)}</main>"
        f"<footer>{version}. Views and beads are counted from 1.</footer></body></html>\n"
    )


def write_report(path: str | Path, data: ReportData) -> None:
    """Write the report as one self-contained HTML page.

    Parameters
    ----------
    path : str or Path
        The page; written atomically.
    data : ReportData
        What to show.

    Raises
    ------
    InputError
        When the sizes in ``data`` disagree, or the file cannot be written.
    """
    write_text(path, render(data))
