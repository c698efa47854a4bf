"""The whole chain from a raw tilt series to a tomogram, in one process, without a screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import tiltwright
from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.execution import outputs
from tiltwright.engine.execution.memory import PeakMemory
from tiltwright.engine.geometry import transform
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.io.text import write_angles, write_xf
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import KEYS, base, protocols
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.fiducial_alignment import Aligned, FiducialAlignment, describe
from tiltwright.engine.recon.aligned import write_aligned
from tiltwright.engine.recon.wbp import Reconstruction as Result
from tiltwright.engine.report.page import ReportData, write_report
from tiltwright.engine.stack.binning import BinnedFrame

Floats = npt.NDArray[np.float64]
LEAST_POINTS = 3
"""A view with fewer measured points than this is not determined by them, hence lost."""


LEAST_COVER = 0.7
"""Part of the used views that a track must cover to be kept beyond the number asked for."""


@dataclass
class _State:
    """What the steps have made so far; positions in raw pixels about the centre."""

    suspect: dict[int, str] = field(default_factory=dict)
    used: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    work: Any = None
    shift_px: Floats | None = None
    tracks: Floats | None = None
    surface: list[int] = field(default_factory=list)
    start: ViewGeometry | None = None
    aligned: Aligned | None = None
    transforms: Floats | None = None
    tomogram: Result | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def process(
    series: TiltSeries,
    params: dict[str, base.Parameters],
    folder: Path,
    context: Context,
    *,
    stop_after: str = KEYS[-1],
    write_aligned_stack: bool = False,
) -> dict[str, Any]:
    """Run the chain on a series and write its files into ``folder``.

    Parameters
    ----------
    params : dict
        Protocol key to its parameters; defaults where a key is missing.

    Returns
    -------
    dict
        The summary, as written to ``summary.json``.

    Raises
    ------
    InputError
        When the output cannot be written.
    DataError
        When the data defeat a step; what was made up to it is kept.
    """
    if stop_after not in KEYS:
        raise InputError(f"--stop-after {stop_after}: must be one of {', '.join(KEYS)}")
    steps = protocols()
    params = {key: params.get(key, step.Params()) for key, step in steps.items()}
    begin = time.time()
    _prepare(folder)
    state = _State(used=~series.excluded)
    frame = BinnedFrame(*series.size, _binning(params))
    run: dict[str, Callable[[], None]] = {
        "preprocess": lambda: _preprocess(series, frame, steps, params, context, state),
        "coarse-prealignment": lambda: _prealign(
            series, frame, steps, params, context, state, folder
        ),
        "fiducial-model": lambda: _model(series, frame, steps, params, context, state, folder),
        "fiducial-alignment": lambda: _align(series, params, context, state, folder),
        "reconstruction": lambda: _reconstruct(
            series, frame, steps, params, context, state, folder
        ),
    }
    failed: DataError | None = None
    with PeakMemory() as memory:
        for key in KEYS[: KEYS.index(stop_after) + 1]:
            with _timed(state, key):
                try:
                    run[key]()
                except DataError as exc:
                    text = str(exc) if str(exc).startswith(key) else f"{key}: {exc}"
                    failed = DataError(text)
            if failed is not None:
                break
            if key == "fiducial-alignment" and write_aligned_stack:
                with _timed(state, "aligned-stack"):
                    _write_aligned(series, frame, state, folder, context)
    summary = _summary(series, state, params) | {"peak_memory_mb": round(memory.peak_mb, 1)}
    if failed is not None:
        summary["failed"] = str(failed)
    with _timed(state, "report"):
        write_report(folder / f"{series.name}_report.html", _report(series, summary, state))
    summary["seconds"]["report"] = round(state.seconds["report"], 3)
    _clear_stale(folder, series.name, begin)
    outputs.write_summary(folder / "summary.json", summary)
    if failed is not None:
        raise failed
    return summary


@contextmanager
def _timed(state: _State, key: str) -> Iterator[None]:
    begin = time.perf_counter()
    try:
        yield
    finally:
        state.seconds[key] = time.perf_counter() - begin


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as exc:
        raise InputError(
            f"{folder}: cannot write there ({exc.strerror}); choose another --output"
        ) from exc


_MADE = (
    ".xf", ".tlt", ".xtilt", ".fid", "_nogaps.fid", ".xyz", ".resid", "_residuals.csv",
    "_ali.mrc", "_rec.mrc", "_report.html",
)  # fmt: skip


def _clear_stale(folder: Path, name: str, begin: float) -> None:
    """Remove what only an earlier run made: it would contradict the new summary."""
    for ending in _MADE:
        path = folder / (name + ending)
        if path.exists() and path.stat().st_mtime < begin:
            path.unlink()


def _suspect(state: _State, view: int, reason: str, context: Context) -> None:
    state.used[view] = False
    if view not in state.suspect:
        state.suspect[view] = reason
        context.say(f"view {view + 1} is left out: {reason}")


def _preprocess(
    series: TiltSeries, frame: BinnedFrame, steps: Any, params: Any, context: Context, state: _State
) -> None:
    state.work, verdicts = steps["preprocess"].run(
        series.stack, series.tilt_deg, series.axis_deg, params["preprocess"], context
    )
    for verdict in verdicts:
        _suspect(state, verdict.view, f"{verdict.kind}: {verdict.reason}", context)
    if state.used.sum() < 3:
        raise DataError(
            f"only {int(state.used.sum())} of {series.n_views} views can be used; look at the stack"
        )


def _prealign(
    series: TiltSeries, frame: BinnedFrame, steps: Any, params: Any, context: Context,
    state: _State, folder: Path,
) -> None:  # fmt: skip
    result, message = steps["coarse-prealignment"].run(
        state.work, series.tilt_deg, series.axis_deg, ~state.used, params["coarse-prealignment"],
        context,
    )  # fmt: skip
    state.shift_px = result.shift_px * frame.scale + frame.offset
    if message:
        state.notes.append(message)
    geometry = ViewGeometry.nominal(series.tilt_deg, series.axis_deg)
    state.transforms = geometry.with_shifts(state.shift_px).transforms()
    state.transforms[series.excluded] = transform.identity(1)[0]
    write_xf(folder / f"{series.name}.xf", state.transforms)
    write_angles(folder / f"{series.name}.tlt", series.tilt_deg, decimals=4)


def _model(
    series: TiltSeries, frame: BinnedFrame, steps: Any, params: Any, context: Context,
    state: _State, folder: Path,
) -> None:  # fmt: skip
    assert state.shift_px is not None
    found = steps["fiducial-model"].run(
        state.work, series.tilt_deg, series.axis_deg, series.pixel_size_a * frame.scale,
        frame.centred_from_raw(state.shift_px), ~state.used, params["fiducial-model"], context,
    )  # fmt: skip
    tracks = found.xy
    if params["fiducial-model"].keep_all:
        more = found.all_xy[len(tracks) :]
        cover = np.isfinite(more[..., 0]).sum(1) / max(int(state.used.sum()), 1)
        tracks = np.concatenate([tracks, more[cover >= LEAST_COVER]])
    state.tracks = frame.centred_to_raw(tracks)
    # Only the shifts are handed on: what the alignment holds fixed must be the nominal values.
    nominal = ViewGeometry.nominal(series.tilt_deg, series.axis_deg)
    state.start = nominal.with_shifts(frame.centred_to_raw(found.geometry.shift_px))
    for view, reason in sorted(found.lost_views.items()):
        _suspect(state, view, f"lost: {reason}", context)
    points = np.isfinite(state.tracks[..., 0]).sum(0)
    for view in np.flatnonzero(state.used & (points < LEAST_POINTS)):
        _suspect(state, int(view), f"lost: only {points[view]} beads were found in it", context)
    state.tracks[:, ~state.used] = np.nan
    state.surface = [0] * len(tracks)
    state.surface[: len(found.surface)] = [int(s) for s in found.surface]
    outputs.write_model(
        folder / f"{series.name}.fid",
        series,
        state.tracks,
        state.surface,
        _diameter(series, params),
    )


def _align(series: TiltSeries, params: Any, context: Context, state: _State, folder: Path) -> None:
    assert state.tracks is not None
    aligned = FiducialAlignment.run(
        state.tracks, series.tilt_deg, series.axis_deg, state.used, state.start,
        params["fiducial-alignment"], context,
    )  # fmt: skip
    state.aligned = aligned
    state.surface = [int(s) for s in aligned.surface]
    state.transforms = aligned.geometry.transforms()
    state.transforms[series.excluded] = transform.identity(1)[0]
    diameter = _diameter(series, params)
    outputs.write_model(
        folder / f"{series.name}.fid", series, state.tracks, state.surface, diameter
    )
    outputs.write_alignment(folder, series, state.tracks, aligned, state.transforms, diameter)


def _binned(state: _State, frame: BinnedFrame) -> Floats:
    """The transforms in pixels of the working stack."""
    assert state.transforms is not None
    xf = state.transforms.copy()
    xf[..., 2] = (xf[..., 2] + xf[..., :2] @ frame.offset) / frame.scale
    return xf


def _reconstruct(
    series: TiltSeries, frame: BinnedFrame, steps: Any, params: Any, context: Context,
    state: _State, folder: Path,
) -> None:  # fmt: skip
    assert state.aligned is not None
    geometry = state.aligned.geometry
    state.tomogram = steps["reconstruction"].run(
        state.work, _binned(state, frame), geometry.tilt_deg, geometry.x_tilt_deg, series.axis_deg,
        state.used, series.pixel_size_a * frame.scale, folder / f"{series.name}_rec.mrc",
        params["reconstruction"], context,
    )  # fmt: skip


def _write_aligned(
    series: TiltSeries, frame: BinnedFrame, state: _State, folder: Path, context: Context
) -> None:
    write_aligned(
        state.work, _binned(state, frame), series.axis_deg, folder / f"{series.name}_ali.mrc",
        series.pixel_size_a * frame.scale, monitor=context.monitor,
    )  # fmt: skip


def _binning(params: Any) -> int:
    return int(params["preprocess"].binning)


def _diameter(series: TiltSeries, params: Any) -> float:
    return float(params["fiducial-model"].diameter_nm * 10 / series.pixel_size_a)


def _summary(series: TiltSeries, state: _State, params: Any) -> dict[str, Any]:
    tracks, aligned = state.tracks, state.aligned
    points = 0 if tracks is None else int(np.isfinite(tracks[..., 0]).sum())
    n = 0 if tracks is None else len(tracks)
    used = int(state.used.sum())
    summary: dict[str, Any] = {
        "series": series.name,
        "n_views": series.n_views,
        "excluded_views": [int(v) + 1 for v in np.flatnonzero(series.excluded)],
        "suspect_views": [
            {"view": v + 1, "reason": reason} for v, reason in sorted(state.suspect.items())
        ],
        "n_fiducials": n,
        "n_points": points,
        "completeness": points / (n * used) if n and used else None,
        "mean_residual_px": None,
        "leave_one_out_px": None,
        "tilt_axis_deg": series.axis_deg,
        "handedness": "undetermined",
        "pixel_size_a": series.pixel_size_a,
        "notes": list(state.notes),
        "parameters": {key: p.model_dump(mode="json") for key, p in params.items()},
        "seconds": {k: round(v, 3) for k, v in state.seconds.items()},
        "peak_memory_mb": None,
        "version": tiltwright.__version__,
    }
    if aligned is not None:
        summary |= {
            "mean_residual_px": aligned.solution.mean_residual_px,
            "weighted_mean_residual_px": aligned.solution.weighted_mean_px,
            "leave_one_out_px": aligned.solution.leave_one_out_px,
            "tilt_axis_deg": float(np.mean(aligned.geometry.axis_deg[state.used])),
            "x_axis_tilt_deg": aligned.geometry.x_tilt_deg,
            "variables": describe(aligned.solution.variables),
        }
    if state.tomogram is not None:
        summary["tomogram_pixel_size_a"] = series.pixel_size_a * _binning(params)
        summary["tomogram_shape"] = list(state.tomogram.shape)
    clean: dict[str, Any] = outputs.clean(summary)
    return clean


def _slices(tomogram: Result | None) -> dict[str, npt.NDArray[np.float32]]:
    if tomogram is None:
        return {}
    return {"XY": tomogram.xy, "XZ": tomogram.xz, "YZ": tomogram.yz.T}


def _report(series: TiltSeries, summary: dict[str, Any], state: _State) -> ReportData:
    aligned = state.aligned
    least = int(np.argmin(np.where(state.used, np.abs(series.tilt_deg), np.inf)))
    return ReportData(
        series=series.name,
        summary=summary,
        tilt_nominal_deg=series.tilt_deg,
        geometry=aligned.geometry if aligned is not None else None,
        used=state.used,
        measured_xy=state.tracks,
        residual_px=aligned.solution.residual_px if aligned is not None else None,
        loo_px=aligned.solution.loo_px if aligned is not None else None,
        surface=np.array(state.surface) if state.tracks is not None else None,
        image_size=series.size,
        variables=describe(aligned.solution.variables) if aligned is not None else "",
        candidates=aligned.candidates if aligned is not None else [],
        slices=_slices(state.tomogram),
        thumbnail=np.asarray(state.work[least]) if state.work is not None else None,
        notes=list(state.notes),
    )
