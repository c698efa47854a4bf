"""Carrying out a run of a project, series by series."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Literal

from tiltwright.engine.errors import Cancelled, DataError, InputError, TiltwrightError
from tiltwright.engine.io.atomic import file_error, read_bytes, write_text
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.progress import Monitor, Progress
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run, Source
from tiltwright.engine.project.store import Place, load, save_outputs
from tiltwright.engine.protocols.base import Context

LOG = "log.txt"
EVERY_S = 0.05
"""Progress is told no more often."""
Mode = Literal["continue", "restart"]


@dataclass(frozen=True)
class RunProgress:
    """How far a run has come: series ``index`` of ``n_series``, ``part`` of all of it, 0 to 1."""

    run: int
    series: str
    index: int
    n_series: int
    text: str
    part: float
    remaining_s: float | None


@dataclass
class Hooks:
    """Who listens to a run; all are called in the worker's thread.

    Attributes
    ----------
    progress : called with :class:`RunProgress`
    log : called with each line
    changed : called with the run whenever its ``run.json`` has changed
    stop : set by anyone to cancel
    enough : set by anyone to end the series at hand with what it has, if its protocol can
    """

    progress: Callable[[RunProgress], None] = lambda progress: None
    log: Callable[[str], None] = lambda line: None
    changed: Callable[[Run], None] = lambda run: None
    stop: Event | None = None
    enough: Event | None = None
    threads: int = 2


def execute(
    project: Project, number: int, mode: Mode = "continue", hooks: Hooks | None = None
) -> Run:
    """Carry out a run; its status and outputs are then in the project.

    A series that fails never stops the others. ``continue`` keeps what was computed from the same
    inputs and parameters, ``restart`` nothing. Outputs appear under their final folder only when
    all series are done; until then they, and those of an interrupted run, lie beside it, and what
    an earlier run made stays where it is.

    Raises
    ------
    InputError
        The run cannot start: a missing input, parameters that do not fit, a full disk.
    Cancelled
        The run was cancelled; finished series are kept for a later ``continue``.
    """
    hooks = hooks or Hooks()
    run = project.runs[number]
    project.check_writable()
    work = _Work(project, run, mode, hooks)
    try:
        work.carry_out()
    except Cancelled:
        work.end("aborted", "cancelled")
        raise
    except TiltwrightError as exc:
        if not (run.failed and isinstance(exc, DataError)):
            run.failed[""] = _line(exc)
        work.end("failed", _line(exc))
        raise
    except BaseException as exc:
        run.failed = {"": f"an error of the program: {exc!r}"}
        work.end("failed", f"an error of the program: {exc!r}")
        raise
    return run


def _line(exc: BaseException) -> str:
    return " ".join(str(exc).split())


class _Work:
    """One run while it is carried out."""

    def __init__(self, project: Project, run: Run, mode: Mode, hooks: Hooks) -> None:
        self.project, self.run, self.mode, self.hooks = project, run, mode, hooks
        self.folder = project.folder_of(run)
        self.final, self.partial = self.folder / "output", self.folder / "output.partial"
        self.began = time.time()
        try:
            self.log = open(self.folder / LOG, "a", encoding="utf-8", errors="replace")  # noqa: SIM115
        except OSError as exc:
            raise file_error(self.folder / LOG, exc) from exc

    def say(self, text: str) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}"
        with contextlib.suppress(OSError, ValueError):
            self.log.write(line + "\n")
            self.log.flush()
        self.hooks.log(line)

    def end(self, status: Any, why: str = "") -> None:
        run = self.run
        run.status, run.finished = status, time.time()
        self.say(f"{run.label}: {status}" + (f": {why}" if why else ""))
        try:
            self.project.save(run)
        except InputError as exc:
            self.say(f"{run.label}: its state could not be written: {_line(exc)}")
        with contextlib.suppress(OSError):
            self.log.close()
        self.hooks.changed(copy.deepcopy(run))

    def carry_out(self) -> None:
        project, run = self.project, self.run
        run.failed, run.notes = {}, {}
        protocol, params = project.protocol(run), project.params(run)
        names = project.series_of(run)
        key = project.key_of(run)
        run.status, run.started, run.finished = "running", time.time(), 0.0
        run.version = protocol.version
        project.save(run)
        self.hooks.changed(copy.deepcopy(run))
        self.say(f"{run.label}: {self.mode}, {len(names)} tilt series, {protocol.key}")
        for name, value in sorted(params.model_dump(mode="json").items()):
            self.say(f"  {name} = {value}")
        self._make_room(names)
        sources = protocol.sources(params) if not protocol.inputs else {}
        outputs: dict[str, dict[str, Any]] = {}
        keys: dict[str, str] = {}
        for index, name in enumerate(names):
            begin = time.time()
            self.check()
            try:
                item_key = project.key_of(run, name) if protocol.inputs else f"{key}:{name}"
                kept = self._kept(name, item_key)
                if kept is not None:
                    self.say(f"{name}: kept from before")
                    made: Mapping[str, Any] = kept
                else:
                    inputs: dict[str, Any] = {
                        port: project.item(source, name) for port, source in run.inputs.items()
                    }
                    inputs |= {"source": sources.get(name), "name": name} if sources else {}
                    made = self._one(name, index, len(names), inputs, params, item_key)
                    self.say(f"{name}: done in {time.time() - begin:.1f} s")
            except Cancelled:
                raise
            except Exception as exc:
                reason = _line(exc)
                if "free space" in reason:
                    raise
                if not isinstance(exc, TiltwrightError):
                    reason = f"an error of the program: {exc!r}"
                    self.say(traceback.format_exc())
                run.failed[name] = reason
                self.say(f"{name}: FAILED: {reason}")
                continue
            keys[name] = item_key
            for port, record in made.items():
                outputs.setdefault(port, {})[name] = record
        if not outputs:
            raise DataError("; ".join(f"{n}: {why}" for n, why in run.failed.items()))
        self._finish()
        run.outputs, run.keys, run.key = outputs, keys, key
        self.end("finished", f"{len(run.failed)} series failed" if run.failed else "")

    def check(self) -> None:
        """Raise :class:`Cancelled` when the run was cancelled."""
        if self.hooks.stop is not None and self.hooks.stop.is_set():
            raise Cancelled("cancelled")

    def _make_room(self, names: Sequence[str]) -> None:
        """A partial folder, with links to what was finished before when that may be kept."""
        try:
            for old in self.folder.glob(".output.old.*"):
                # A run was killed between two renames.
                if self.final.exists():
                    shutil.rmtree(old, ignore_errors=True)
                else:
                    old.rename(self.final)
            for old in self.folder.glob(".output.link.*"):
                shutil.rmtree(old, ignore_errors=True)
            if self.mode == "restart" and self.partial.exists():
                shutil.rmtree(self.partial)
            if self.mode == "continue" and self.final.exists() and not self.partial.exists():
                links = self.folder / f".output.link.{os.getpid()}"
                shutil.copytree(self.final, links, copy_function=_link)
                links.rename(self.partial)
            (self.partial / "items").mkdir(parents=True, exist_ok=True)
            for left in self.partial.rglob(".*.part"):
                left.unlink()  # of a run that was killed
        except OSError as exc:
            raise file_error(self.partial, exc) from exc
        for record in (self.partial / "items").glob("*.json"):
            if record.stem not in names:
                self._forget(record.stem)

    def _forget(self, name: str) -> None:
        """Remove what was kept of a series: it would lie beside what is made now."""
        place = Place(self.partial, self.project.folder)

        def remove(value: Any) -> None:
            if isinstance(value, dict):
                for part in value.values():
                    remove(part)
            elif isinstance(value, str) and value.startswith("own:"):
                place.path(value).unlink(missing_ok=True)

        with contextlib.suppress(InputError, ValueError, KeyError, TypeError, OSError):
            remove(json.loads(read_bytes(self._record_file(name), 1 << 28))["outputs"])
        with contextlib.suppress(OSError):
            self._record_file(name).unlink()

    def _record_file(self, name: str) -> Path:
        return self.partial / "items" / f"{name}.json"

    def _kept(self, name: str, key: str) -> Mapping[str, Any] | None:
        """The records of a series that was finished before with the same key, if whole."""
        path = self._record_file(name)
        if not path.exists():
            return None
        try:
            stored = json.loads(read_bytes(path, 1 << 28))
            if stored["key"] == key:
                made: dict[str, Any] = stored["outputs"]
                for record in made.values():
                    load(record, Place(self.partial, self.project.folder))
                self.run.notes[name] = list(stored["notes"])
                return made
        except (InputError, ValueError, KeyError, TypeError, AttributeError):
            self.say(f"{name}: what was kept of it is damaged")
        self._forget(name)
        return None

    def _one(
        self, name: str, index: int, n: int, inputs: dict[str, Any], params: Any, key: str
    ) -> Mapping[str, Any]:
        enough = self.hooks.enough or Event()
        enough.clear()
        context = Context(
            monitor=Monitor(self._listener(name, index, n), self.hooks.stop or Event(), enough),
            log=lambda text: self.say(f"{name}: {text}"),
            threads=self.hooks.threads,
            folder=self.partial,
        )
        made = self.project.protocol(self.run).run(inputs, params, context)
        context.monitor.check()
        if enough.is_set():
            self.say(f"{name}: ended early, as asked for")
        place = Place(self.partial, self.project.folder)
        records = save_outputs(made, inputs, place, context.monitor)
        self.run.notes[name] = context.notes
        stored = {"key": key, "outputs": records, "notes": context.notes}
        write_text(self._record_file(name), json.dumps(stored))
        return records

    def _listener(self, name: str, index: int, n: int) -> Callable[[Progress], None]:
        last = [0.0]

        def listen(progress: Progress) -> None:
            now = time.time()
            if now - last[0] < EVERY_S and progress.done != progress.total:
                return
            last[0] = now
            part = (index + progress.done / max(progress.total, 1)) / n
            left = (now - self.began) * (1 - part) / part if part > 0.02 else None
            self.hooks.progress(RunProgress(self.run.id, name, index, n, progress.text, part, left))

        return listen

    def _finish(self) -> None:
        """Move the finished outputs to their final folder."""
        try:
            old = self.folder / f".output.old.{os.getpid()}"
            if self.final.exists():
                self.final.rename(old)
            self.partial.rename(self.final)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as exc:
            raise file_error(self.final, exc) from exc


def _link(source: str, target: str) -> None:
    """The same file under a second name: all our files are replaced, never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def series_of_input(project: Project, run: Run, name: str) -> TiltSeries | None:
    """The tilt series of that name nearest above an output of a run, itself included."""
    waiting = [run.id]
    seen: set[int] = set()
    while waiting:
        k = waiting.pop(0)
        if k in seen or k not in project.runs:
            continue
        seen.add(k)
        here = project.runs[k]
        for port, items in here.outputs.items():
            if items.get(name, {}).get("kind") == "tilt_series":
                found: TiltSeries = project.item(Source(k, port), name)
                return found
        waiting += project.parents(k)
    return None
