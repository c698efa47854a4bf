"""A chain of steps on one tilt series or tomogram, in one process, without a screen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import tiltwright
from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.execution.foresee import foresee
from tiltwright.engine.execution.memory import PeakMemory
from tiltwright.engine.execution.resume import Steps
from tiltwright.engine.execution.summary import plain, report, summarise, write_summary
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.model.ctf_table import write_table
from tiltwright.engine.model.files import write_alignment, write_model
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import Tomogram
from tiltwright.engine.protocols import KEYS, all_protocols, base
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.recon.aligned import write_aligned

Given = Mapping[str, Mapping[str, Path]]
"""Protocol key to the files that stand in for its inputs."""
_IN_MEMORY = {"preprocess": "_pre.mrc", "xray-eraser": "_xray.mrc"}


def process(
    series: TiltSeries,
    params: Mapping[str, base.Parameters],
    folder: Path,
    context: Context,
    *,
    steps: Sequence[str] = KEYS,
    given: Given | None = None,
    write_aligned_stack: bool = False,
    resume: bool = False,
    kept: Steps | None = None,
) -> dict[str, Any]:
    """Run a chain on a series and write its files into ``folder``.

    Parameters
    ----------
    params : mapping
        Protocol key to its parameters; defaults where a key is missing.
    steps : keys, in order
        See :func:`tiltwright.engine.execution.plan.plan`.
    given : mapping, optional
        Volumes in place of a step's inputs.
    resume : bool
        Do the last of the steps only; take those before it from what an earlier run left in
        ``folder``, where it was made of the same data by the same parameters.
    kept : Steps, optional
        What is known of ``folder``, with how the series is opened again.

    Returns
    -------
    dict
        The summary, as written to ``summary.json``.

    Raises
    ------
    InputError
        What can be told beforehand is wrong, or the output cannot be written.
    DataError
        When the data defeat a step; what was made up to it is kept.
    """
    chain = _Chain(series, params, folder, context, steps, given or {}, kept)
    return chain.carry_out(resume, write_aligned_stack)


class _Chain:
    """One run of a chain."""

    def __init__(
        self,
        series: TiltSeries,
        params: Mapping[str, base.Parameters],
        folder: Path,
        context: Context,
        keys: Sequence[str],
        given: Given,
        kept: Steps | None,
    ) -> None:
        self.folder, self.context, self.keys, self.given = folder, context, tuple(keys), given
        self.protocols = {key: all_protocols()[key] for key in keys}
        self.params = {key: params.get(key, p.Params()) for key, p in self.protocols.items()}
        self.kept = kept or Steps(folder, series.name)
        self.raw = series
        self.made: dict[str, Any] = {"tilt_series": series}
        self.seconds: dict[str, float] = {}
        self.identity: dict[str, str] = {}

    def carry_out(self, resume: bool, aligned_stack: bool) -> dict[str, Any]:
        context, kept = self.context, self.kept
        source = kept.begin(self.raw)
        files = {key: self.given.get(key, {}) for key in self.keys}
        self.identity = {
            key: kept.next_key(self.protocols[key], self.params[key], files[key])
            for key in self.keys
        }
        self.known: dict[str, Any] = {}
        todo, recalled = self._what_to_do() if resume else (set(self.keys), set())
        volumes = foresee(
            self.raw, self.protocols, self.params, files, self.folder,
            {key: out for key, out in self.known.items() if key not in todo},
        )  # fmt: skip
        _prepare(self.folder)
        context.folder = self.folder
        failed: DataError | None = None
        with PeakMemory() as memory:
            for key in self.keys:
                if key not in todo | recalled:
                    continue
                before = kept.files()
                try:
                    with _timed(self.seconds, key):
                        self._one(key, volumes.get(key, {}), key in recalled)
                except DataError as exc:
                    text = str(exc) if str(exc).startswith(key) else f"{key}: {exc}"
                    failed = DataError(text)
                    break
                written = {n: s for n, s in kept.files().items() if before.get(n) != s}
                if key in recalled:
                    written = kept.steps[key]["files"] | written
                kept.note(key, self.identity[key], self.params[key], files[key], written)
                kept.save()
                if key == "fiducial-alignment" and aligned_stack:
                    with _timed(self.seconds, "aligned-stack"):
                        _write_aligned(self.made["tilt_series"], self.folder, context)
        kept.forget_stale(source)
        kept.save()
        for port in ("tilt_series", "fiducial_model", "ctf_table", "tomogram"):
            self._recall_missing(port)
        return self._summary(failed, memory.peak_mb)

    def _what_to_do(self) -> tuple[set[str], set[str]]:
        """Steps to compute, and those whose result is taken from before."""
        gives: dict[tuple[str, str], str] = {}
        last: dict[str, str] = {}
        for key in self.keys:
            for port in self.protocols[key].inputs:
                if port in last and port not in self.given.get(key, {}):
                    gives[key, port] = last[port]
            last |= dict.fromkeys(self.protocols[key].outputs, key)
        for key in self.keys[:-1]:
            out = self.kept.recall(key, self.identity[key], self.raw)
            if out is not None:
                self.known[key] = out
        todo: set[str] = set()
        recalled: set[str] = set()
        waiting = [self.keys[-1]]
        while waiting:
            key = waiting.pop()
            if key in todo | recalled:
                continue
            found = self.known.get(key)
            if found is None:
                todo.add(key)
                waiting += [k for (step, _), k in gives.items() if step == key]
                continue
            recalled.add(key)
            stack = found.get("tilt_series")
            if stack is not None and stack.work is None and (key, "tilt_series") in gives:
                waiting.append(gives[key, "tilt_series"])
        return todo, recalled

    def _one(self, key: str, volumes: Mapping[str, Any], recall: bool) -> None:
        step, made, identity = self.protocols[key], self.made, self.identity[key]
        if recall:
            out = self.kept.recall(key, identity, made["tilt_series"])
            if out is None:
                raise InputError(
                    f"{self.folder}: the results of {key} changed while they were read"
                )
            self.context.say(f"{key}: taken from the results in {self.folder}")
        else:
            inputs = {port: made[port] for port in step.inputs if port in made} | dict(volumes)
            self.context.monitor.check()
            out = step.run(inputs, self.params[key], self.context)
        made |= out
        _write(self.folder, made, step.outputs)
        if key == self.keys[-1] and key in _IN_MEMORY:
            path = self.folder / (self.raw.name + _IN_MEMORY[key])
            _write_work(made["tilt_series"], path, self.context)
        if not recall:
            self._recall_missing("fiducial_model")  # a fit is kept with its model
            self.kept.keep(key, identity, out, made)

    def _recall_missing(self, port: str) -> None:
        """Take from before what no step needed, though the summary speaks of it."""
        if self.made.get(port, self.raw) is not self.raw:
            return
        gives = [key for key in self.keys if port in self.protocols[key].outputs]
        if gives:
            found = self.kept.recall(gives[-1], self.identity[gives[-1]], self.raw)
            self.made |= {port: found[port]} if found is not None else {}

    def _summary(self, failed: DataError | None, peak_mb: float) -> dict[str, Any]:
        context, made, name = self.context, self.made, self.raw.name
        series, tomogram = made["tilt_series"], made.get("tomogram")
        model = made.get("fiducial_model")
        summary = summarise(
            series, model, tomogram, notes=context.notes,
            parameters={key: p.model_dump(mode="json") for key, p in self.params.items()},
            seconds=self.seconds, ctf=made.get("ctf_table"),
        ) | {
            "steps": list(self.keys), "outputs": _paths(made), "peak_memory_mb": round(peak_mb, 1),
        }  # fmt: skip
        if failed is not None:
            summary["failed"] = str(failed)
        with _timed(self.seconds, "report"):
            report(self.folder / f"{name}_report.html", series, model, tomogram, summary)
        summary["seconds"]["report"] = round(self.seconds["report"], 3)
        write_summary(self.folder / "summary.json", summary)
        if failed is not None:
            raise failed
        return summary


def process_tomogram(
    tomogram: Tomogram,
    key: str,
    params: base.Parameters,
    folder: Path,
    context: Context,
    given: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Carry out one step on a volume that is no result of a chain; returns a short summary.

    Raises
    ------
    InputError, DataError
        As :func:`process`.
    """
    step = all_protocols()[key]
    volumes = foresee(tomogram, {key: step}, {key: params}, {key: given or {}}, folder, {})
    _prepare(folder)
    context.folder = folder
    seconds: dict[str, float] = {}
    with PeakMemory() as memory, _timed(seconds, key):
        out = step.run({"tomogram": tomogram} | volumes.get(key, {}), params, context)
    summary: dict[str, Any] = plain({
        "tomogram": tomogram.name, "steps": [key],
        "outputs": _paths(out),
        "notes": context.notes, "parameters": {key: params.model_dump(mode="json")},
        "seconds": {k: round(s, 3) for k, s in seconds.items()},
        "peak_memory_mb": round(memory.peak_mb, 1), "version": tiltwright.__version__,
    })  # fmt: skip
    return summary


def _paths(made: Mapping[str, Any]) -> dict[str, str]:
    """Where the large results lie."""
    paths = {
        port: thing.work_path if isinstance(thing, TiltSeries) else getattr(thing, "path", None)
        for port, thing in made.items()
    }
    return {port: str(path) for port, path in paths.items() if path is not None}


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


def _write(folder: Path, made: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Write the small files of a step's outputs; large ones it has written itself."""
    series: TiltSeries = made["tilt_series"]
    if "fiducial_model" in outputs:
        write_model(folder, series.name, made["fiducial_model"], series)
    if "ctf_table" in outputs:
        write_table(folder, series.name, made["ctf_table"], series)
    if "tilt_series" in outputs:
        write_alignment(folder, series, made.get("fiducial_model"))


def _write_work(series: TiltSeries, path: Path, context: Context) -> None:
    """Write a working stack that is in memory only."""
    with MrcWriter(
        path, series.images.shape, series.images.dtype, series.image_pixel_size_a, series.origin
    ) as writer:
        for v in range(series.n_views):
            context.monitor.check()
            writer.write(v, np.asarray(series.images[v]))


def _write_aligned(series: TiltSeries, folder: Path, context: Context) -> None:
    write_aligned(
        series.images, series.image_transforms(), series.axis_deg,
        folder / f"{series.name}_ali.mrc", series.image_pixel_size_a, monitor=context.monitor,
    )  # fmt: skip
