"""The whole chain from a raw tilt series to a tomogram, in one process, without a screen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.execution.memory import PeakMemory
from tiltwright.engine.execution.resume import KEPT, Steps
from tiltwright.engine.execution.summary import report, summarise, write_summary
from tiltwright.engine.model.files import write_alignment, write_model
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import KEYS, base, protocols
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.recon.aligned import write_aligned


def process(
    series: TiltSeries,
    params: Mapping[str, base.Parameters],
    folder: Path,
    context: Context,
    *,
    stop_after: str = KEYS[-1],
    write_aligned_stack: bool = False,
    resume: bool = False,
) -> dict[str, Any]:
    """Run the chain on a series and write its files into ``folder``.

    Parameters
    ----------
    params : mapping
        Protocol key to its parameters; defaults where a key is missing.
    resume : bool
        Take the steps before ``stop_after`` from what an earlier run left in ``folder``, where
        it was made of the same data by the same parameters.

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
    chosen = {key: params.get(key, step.Params()) for key, step in steps.items()}
    begin = time.time()
    _prepare(folder)
    context.folder = folder
    made: dict[str, Any] = {"tilt_series": series}
    seconds: dict[str, float] = {}
    steps_kept = Steps(folder, series)
    failed: DataError | None = None
    with PeakMemory() as memory:
        for key in KEYS[: KEYS.index(stop_after) + 1]:
            step = steps[key]
            with _timed(seconds, key):
                identity = steps_kept.next_key(step, chosen[key])
                known = None
                if resume and key in KEPT and key != stop_after:
                    known = steps_kept.recall(key, identity, made["tilt_series"])
                if known is not None:
                    context.say(f"{key}: taken from the results in {folder}")
                    made |= known
                else:
                    inputs = {port: made[port] for port in step.inputs if port in made}
                    try:
                        out = step.run(inputs, chosen[key], context)
                    except DataError as exc:
                        text = str(exc) if str(exc).startswith(key) else f"{key}: {exc}"
                        failed = DataError(text)
                        break
                    made |= out
                    if key in KEPT:
                        steps_kept.keep(key, identity, out)
                _write(folder, made, step.outputs)
            if key == "fiducial-alignment" and write_aligned_stack:
                with _timed(seconds, "aligned-stack"):
                    _write_aligned(made["tilt_series"], folder, context)
    given = {key: p.model_dump(mode="json") for key, p in chosen.items()}
    series, model, tomogram = made["tilt_series"], made.get("fiducial_model"), made.get("tomogram")
    summary = summarise(
        series, model, tomogram, notes=context.notes, parameters=given, seconds=seconds
    ) | {"peak_memory_mb": round(memory.peak_mb, 1)}
    if failed is not None:
        summary["failed"] = str(failed)
    with _timed(seconds, "report"):
        report(folder / f"{series.name}_report.html", series, model, tomogram, summary)
    summary["seconds"]["report"] = round(seconds["report"], 3)
    _clear_stale(folder, series.name, begin)
    write_summary(folder / "summary.json", summary)
    if failed is not None:
        raise failed
    return summary


@contextmanager
def _timed(seconds: dict[str, float], key: str) -> Iterator[None]:
    begin = time.perf_counter()
    try:
        yield
    finally:
        seconds[key] = time.perf_counter() - begin


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
    ".xf", ".tlt", ".xtilt", ".prexg", ".fid", "_nogaps.fid", "_points.csv", ".xyz", ".resid",
    "_residuals.csv", "_ali.mrc", "_rec.mrc", "_rec_even.mrc", "_rec_odd.mrc",
    "_report.html",
)  # fmt: skip


def _clear_stale(folder: Path, name: str, begin: float) -> None:
    """Remove what only an earlier run made: it would contradict the new summary."""
    for ending in _MADE:
        path = folder / (name + ending)
        if path.exists() and path.stat().st_mtime < begin:
            path.unlink()


def _write(folder: Path, made: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Write the small files of a step's outputs; large ones it has written itself."""
    series: TiltSeries = made["tilt_series"]
    if "fiducial_model" in outputs:
        write_model(folder, series.name, made["fiducial_model"], series)
    if "tilt_series" in outputs:
        write_alignment(folder, series, made.get("fiducial_model"))


def _write_aligned(series: TiltSeries, folder: Path, context: Context) -> None:
    write_aligned(
        series.images, series.image_transforms(), series.axis_deg,
        folder / f"{series.name}_ali.mrc", series.image_pixel_size_a, monitor=context.monitor,
    )  # fmt: skip
