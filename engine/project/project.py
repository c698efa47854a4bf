"""A project: a folder of runs. The folder is the project; there is no index to corrupt."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import file_error, read_bytes, write_text
from tiltwright.engine.model.tilt_series import Bools, TiltSeries
from tiltwright.engine.project.lock import Lock, Owner
from tiltwright.engine.project.marks import changed, changes
from tiltwright.engine.project.run import SCHEMA, Run, Source, read_run, write_run
from tiltwright.engine.project.store import Place, load, record_hash
from tiltwright.engine.project.workflow import add_runs, export_runs
from tiltwright.engine.protocols import all_protocols
from tiltwright.engine.protocols.base import Parameters, Port, Protocol

FILE = "project.json"
_FOLDER = re.compile(r"(\d{3,})_[a-z0-9-]+\Z")


class Project:
    """An open project.

    Attributes
    ----------
    folder : Path
    name : str
    runs : dict of int to Run
    damaged : dict of str to str
        Folders of runs that could not be read, to the reason; the rest of the project works.
    read_only : Owner or None
        Who holds the project, when it is not ours.
    """

    def __init__(self, folder: Path, name: str, read_only: Owner | None, lock: Lock | None) -> None:
        self.folder, self.name, self.read_only = folder, name, read_only
        self.lock = lock
        self.runs: dict[int, Run] = {}
        self.damaged: dict[str, str] = {}
        self._folders: dict[int, Path] = {}

    # -- opening -----------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, name: str = "") -> Project:
        """Make a new project.

        Raises
        ------
        InputError
            The folder holds something else, or cannot be written.
        """
        try:
            if (folder / FILE).exists():
                raise InputError(f"{folder}: is a project already; open it")
            if folder.exists() and any(folder.iterdir()):
                raise InputError(f"{folder}: is not empty; choose a new folder for a project")
            folder.mkdir(parents=True, exist_ok=True)
            about = {"schema": SCHEMA, "name": name or folder.name, "created": time.time()}
            write_text(folder / FILE, json.dumps(about, indent=1) + "\n")
            (folder / "runs").mkdir(exist_ok=True)
        except OSError as exc:
            raise file_error(folder, exc) from exc
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> Project:
        """Open a project; read-only when another window has it or the folder cannot be written.

        Raises
        ------
        InputError
            There is no project, or its file is damaged.
        """
        path = folder / FILE
        try:
            if not path.exists():
                raise InputError(f"{folder}: is no Tiltwright project (it has no {FILE})")
        except OSError as exc:
            raise file_error(path, exc) from exc
        try:
            about = json.loads(read_bytes(path, 1 << 24).decode("utf-8", "replace"))
            name, schema = str(about["name"]), int(about["schema"])
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            raise InputError(
                f'{path}: damaged; replace it by {{"schema": {SCHEMA}, "name": "..."}}'
            ) from exc
        if schema > SCHEMA:
            raise InputError(f"{path}: written by a later version of Tiltwright; update to open it")
        lock: Lock | None = Lock(folder)
        owner: Owner | None = Owner("", 0, "opened so")
        if not read_only:
            assert lock is not None
            try:
                owner = lock.acquire()
            except InputError as exc:
                owner = Owner("", 0, f"the folder cannot be written: {exc}")
        project = cls(folder, name, owner, lock if owner is None else None)
        project.refresh()
        if owner is None:
            project._find_interrupted()
            for left in (folder / "runs").glob(".deleted.*"):
                shutil.rmtree(left, ignore_errors=True)
        return project

    def close(self) -> None:
        """Give the project back to other windows."""
        if self.lock is not None:
            self.lock.release()

    def snapshot(self) -> Project:
        """The project as it is now, for a worker's thread; it writes only the run it works on."""
        twin = Project(self.folder, self.name, self.read_only, None)
        twin.runs = {k: copy.deepcopy(run) for k, run in self.runs.items()}
        twin.damaged, twin._folders = dict(self.damaged), dict(self._folders)
        return twin

    def refresh(self) -> None:
        """Read all runs from disk anew."""
        runs: dict[int, Run] = {}
        folders: dict[int, Path] = {}
        self.damaged = {}
        try:
            names = sorted(p for p in (self.folder / "runs").iterdir() if p.is_dir())
        except FileNotFoundError:
            names = []
        except OSError as exc:
            names = []
            self.damaged["runs"] = str(file_error(self.folder / "runs", exc))
        for folder in names:
            if not _FOLDER.match(folder.name):
                continue
            try:
                run = read_run(folder)
                if run.id in runs:
                    raise InputError(f"{folder}: has the number of {folders[run.id].name}")
                runs[run.id], folders[run.id] = run, folder
            except InputError as exc:
                self.damaged[folder.name] = str(exc)
        self.runs, self._folders = runs, folders

    def _find_interrupted(self) -> None:
        """A run that is said to be running while nobody held the project was cut off."""
        for run in self.runs.values():
            if run.status == "queued":
                run.status = "finished" if run.outputs else "new"
            elif run.status == "running":
                run.status, run.finished = "interrupted", run.started
                with contextlib.suppress(OSError):
                    run.finished = (self.folder_of(run) / "log.txt").stat().st_mtime
            else:
                continue
            # On a full disk it is said again at the next opening.
            with contextlib.suppress(InputError):
                self.save(run)

    # -- runs --------------------------------------------------------------------------------

    def protocol(self, run: Run | int) -> type[Protocol]:
        """The protocol of a run.

        Raises
        ------
        InputError
            This version has no such protocol.
        """
        key = self.runs[run].protocol if isinstance(run, int) else run.protocol
        try:
            return all_protocols()[key]
        except KeyError:
            raise InputError(f"this version of Tiltwright has no protocol {key}") from None

    def params(self, run: Run) -> Parameters:
        """The parameters of a run, checked.

        Raises
        ------
        InputError
            A parameter does not fit its protocol any more.
        """
        from pydantic import ValidationError

        protocol = self.protocol(run)
        try:
            return protocol.Params.model_validate(run.params)
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{run.label}: {where}: {first['msg'].lower()}") from exc

    def folder_of(self, run: Run | int) -> Path:
        """The folder of a run."""
        return self._folders[run if isinstance(run, int) else run.id]

    def output_folder(self, run: Run | int) -> Path:
        """Where the results of a run lie."""
        return self.folder_of(run) / "output"

    def place(self, run: Run | int) -> Place:
        """For the records of a run's outputs."""
        return Place(self.output_folder(run), self.folder)

    def check_writable(self) -> None:
        """Raise :class:`InputError` when the project is open read-only."""
        if self.read_only is None and self.lock is not None and self.lock.lost:
            self.read_only = self.lock.owner() or Owner("", 0, "another window took it over")
        if self.read_only is not None:
            raise InputError(f"{self.folder}: open read-only ({self.read_only})")

    def add(
        self,
        protocol: str,
        params: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Source] | None = None,
        label: str = "",
        **rest: Any,
    ) -> Run:
        """A new run.

        Raises
        ------
        InputError
            Unknown protocol, parameters that do not fit, or the folder cannot be written.
        """
        self.check_writable()
        declared = all_protocols().get(protocol)
        if declared is None:
            raise InputError(f"there is no protocol {protocol}")
        number = max(self._folders, default=0) + 1
        for name in self.damaged:
            if match := _FOLDER.match(name):
                number = max(number, int(match[1]) + 1)
        run = Run(
            number, protocol, label or declared.title, params=dict(params or {}),
            inputs=dict(inputs or {}), version=declared.version, **rest,
        )  # fmt: skip
        run.params = self.params(run).model_dump(mode="json")
        folder = self.folder / "runs" / f"{number:03d}_{protocol}"
        try:
            folder.mkdir(parents=True)
        except OSError as exc:
            raise file_error(folder, exc) from exc
        try:
            write_run(folder, run)
        except InputError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._folders[number], self.runs[number] = folder, run
        return run

    def save(self, run: Run) -> None:
        """Write a run's ``run.json``; raises :class:`InputError`."""
        self.check_writable()
        write_run(self.folder_of(run), run)

    def delete(self, ids: Iterable[int]) -> None:
        """Delete runs with their files and everything that depends on them.

        Raises
        ------
        InputError
            One of them is running, or a folder cannot be removed.
        """
        self.check_writable()
        doomed = sorted(self.descendants(k for k in ids if k in self.runs), reverse=True)
        for k in doomed:
            if self.runs[k].status in ("running", "queued"):
                raise InputError(f"{self.runs[k].label}: is {self.runs[k].status}; stop it first")
        for k in doomed:
            try:
                aside = self.folder_of(k).with_name(f".deleted.{k}.{time.time_ns()}")
                self.folder_of(k).rename(aside)
                shutil.rmtree(aside, ignore_errors=True)
            except OSError as exc:
                raise file_error(self.folder_of(k), exc) from exc
            del self.runs[k], self._folders[k]

    def duplicate(self, ids: Iterable[int]) -> list[Run]:
        """Copy runs without their results; those among them that depend on each other stay so."""
        return self.add_workflow(self.workflow(ids), " (copy)")

    def workflow(self, ids: Iterable[int] | None = None) -> list[dict[str, Any]]:
        """Runs as JSON values without data: what can be exported and imported elsewhere."""
        return export_runs(self.runs, ids)

    def add_workflow(self, workflow: Any, suffix: str = "") -> list[Run]:
        """Add the runs of a :meth:`workflow`, all or none; inputs from outside stay if they fit.

        Raises
        ------
        InputError
            The value is no workflow, or holds a protocol or parameters that do not fit.
        """
        return add_runs(self, workflow, suffix)

    def copy_to(self, folder: Path) -> Project:
        """Copy the project with all results to a new folder; raises :class:`InputError`."""
        try:
            if folder.exists():
                raise InputError(f"{folder}: exists already; choose a new name")
            if folder.absolute().is_relative_to(self.folder.absolute()):
                raise InputError(f"{folder}: lies within the project; choose another folder")
            ignore = shutil.ignore_patterns(".lock", ".lock.*", ".clock.*", ".deleted.*", "*.part")
            shutil.copytree(self.folder, folder, symlinks=True, ignore=ignore)
        except shutil.Error as exc:
            shutil.rmtree(folder, ignore_errors=True)
            path, _, why = exc.args[0][0]
            raise InputError(f"{path}: cannot be copied, so nothing was ({why})") from exc
        except OSError as exc:
            raise file_error(folder, exc) from exc
        return Project.open(folder)

    # -- the graph ---------------------------------------------------------------------------

    def parents(self, k: int) -> list[int]:
        """Runs that give a run its inputs."""
        return sorted({s.run for s in self.runs[k].inputs.values() if s.run in self.runs})

    def children(self, k: int) -> list[int]:
        """Runs that take outputs of a run."""
        return sorted(r.id for r in self.runs.values() if k in self.parents(r.id))

    def descendants(self, ids: Iterable[int]) -> set[int]:
        """The runs and all that depend on them."""
        return self._closure(ids, self.children)

    def ancestors(self, ids: Iterable[int]) -> set[int]:
        """The runs and all that they depend on."""
        return self._closure(ids, self.parents)

    @staticmethod
    def _closure(ids: Iterable[int], step: Any) -> set[int]:
        found, waiting = set(), list(ids)
        while waiting:
            k = waiting.pop()
            if k not in found:
                found.add(k)
                waiting += step(k)
        return found

    def choices(self, port: Port, below: int | None = None) -> list[tuple[int, str]]:
        """Outputs ``(run, port)`` that fit an input, newest first, none from below ``below``."""
        barred = self.descendants([below]) if below is not None and below in self.runs else set()
        found = []
        for run in sorted(self.runs.values(), key=lambda r: -r.id):
            if run.id in barred or run.protocol not in all_protocols():
                continue
            for name, out in self.protocol(run).outputs.items():
                if out.kind is port.kind and (not port.aligned or self._aligned(run, name)):
                    found.append((run.id, name))
        return found

    def _aligned(self, run: Run, port: str) -> bool:
        """Whether a tilt-series output has, or will have, an alignment."""
        seen: set[int] = set()
        while run.id not in seen:
            seen.add(run.id)
            if items := run.outputs.get(port):
                return any(r.get("alignment") for r in items.values())
            declared = all_protocols().get(run.protocol)
            if declared is None or port not in declared.outputs:
                return False
            if declared.outputs[port].aligned:
                return True
            source = run.inputs.get("tilt_series")
            if source is None or source.run not in self.runs:
                return False
            run, port = self.runs[source.run], source.port
        return False

    # -- outputs -----------------------------------------------------------------------------

    def names(self, source: Source) -> list[str]:
        """The series that a source has a result for, without those excluded as a whole."""
        run = self.runs.get(source.run)
        if run is None:
            return []
        marks = run.excluded.get(source.port, {})
        names = [n for n in run.outputs.get(source.port, {}) if not marks.get(n, {}).get("whole")]
        return sorted(n for n in names if source.series is None or n in source.series)

    def item(self, source: Source, name: str) -> Any:
        """One object of an output, with what a person excluded applied.

        Raises
        ------
        InputError
            There is no such output, or its files are missing or damaged.
        """
        run, record = self._record(source, name)
        thing = load(record, self.place(run))
        if isinstance(thing, TiltSeries):
            mark = run.excluded.get(source.port, {}).get(name, {})
            excluded, kept = changed(mark, thing.order, thing.excluded, thing.kept)
            return replace(thing, excluded=excluded, kept=kept)
        return thing

    def _record(self, source: Source, name: str) -> tuple[Run, dict[str, Any]]:
        run = self.runs.get(source.run)
        record = run.outputs.get(source.port, {}).get(name) if run is not None else None
        if run is None or record is None:
            raise InputError(f"{name}: run {source.run} has no {source.port} of it")
        return run, record

    def item_hash(self, source: Source, name: str) -> str:
        """Identity of an output by content, exclusions included; raises :class:`InputError`."""
        run, record = self._record(source, name)
        if record.get("kind") == "tilt_series":
            mark = run.excluded.get(source.port, {}).get(name, {})
            excluded, kept = changed(mark, record["order"], record["excluded"], record["kept"])
            record = record | {"excluded": excluded.tolist(), "kept": kept.tolist()}
        return record_hash(record, self.place(run))

    def exclude(self, source: Source, name: str, excluded: Bools, kept: Bools) -> None:
        """Note which views of an output a person excluded or kept, by acquisition number.

        Raises
        ------
        InputError
            Read-only, no such output, or the file cannot be written.
        """
        run, record = self._record(source, name)
        series = load(record, self.place(run))
        if not isinstance(series, TiltSeries):
            raise InputError(f"{name}: views of a {record['kind']} cannot be excluded")
        whole = run.excluded.get(source.port, {}).get(name, {}).get("whole", False)
        self._mark(run, source, name, changes(series, excluded, kept), whole)

    def exclude_series(self, source: Source, name: str, whole: bool) -> None:
        """Leave a whole series out of everything downstream, or take it in again.

        Raises
        ------
        InputError
            Read-only, no such output, or the file cannot be written.
        """
        run, _ = self._record(source, name)
        mark = run.excluded.get(source.port, {}).get(name, {})
        self._mark(run, source, name, {k: v for k, v in mark.items() if k != "whole"}, whole)

    def _mark(
        self, run: Run, source: Source, name: str, mark: Mapping[str, Any], whole: bool
    ) -> None:
        before = copy.deepcopy(run.excluded)
        marks = run.excluded.setdefault(source.port, {})
        marks[name] = dict(mark) | ({"whole": True} if whole else {})
        if not marks[name]:
            del marks[name]
        try:
            self.save(run)
        except InputError:
            run.excluded = before
            raise

    # -- what is out of date -----------------------------------------------------------------

    def key_of(self, run: Run, name: str | None = None) -> str:
        """Identity of what a run would compute now: all of it, or for one series.

        Raises
        ------
        InputError
            A parameter does not fit, or an input is missing.
        """
        protocol, params = self.protocol(run), self.params(run)
        names = self.series_of(run) if name is None else [name]
        if not protocol.inputs:
            return protocol.run_key(params, protocol.source_hashes(params))
        hashes = []
        for port in sorted(set(run.inputs) & set(protocol.inputs)):
            for n in names:
                try:
                    found = self.item_hash(run.inputs[port], n)
                except InputError:
                    # A series that is missing concerns its own result only.
                    if name is not None:
                        raise
                    found = "missing"
                hashes.append(f"{port}:{n}:{found}")
        return protocol.run_key(params, hashes)

    def series_of(self, run: Run) -> list[str]:
        """The series that a run works on: those that all of its inputs have.

        Raises
        ------
        InputError
            A required input is not set or has nothing.
        """
        protocol = self.protocol(run)
        if not protocol.inputs:
            return sorted(protocol.sources(self.params(run)))
        names: set[str] | None = None
        for port, declared in protocol.inputs.items():
            source = run.inputs.get(port)
            if source is None:
                if declared.optional:
                    continue
                raise InputError(f"{run.label}: no input chosen for {declared.label.lower()}")
            here = set(self.names(source))
            names = here if names is None else names & here
        if not names:
            raise InputError(f"{run.label}: its inputs have no tilt series in common yet")
        return sorted(names)

    def stale(self) -> set[int]:
        """Finished runs that would come out differently now, or depend on such a run."""
        known: dict[int, bool] = {}

        def is_stale(k: int) -> bool:
            if k not in known:
                known[k] = False  # a circle of inputs, which no form offers, ends here
                parents = [is_stale(p) for p in self.parents(k)]
                known[k] = bool(self.runs[k].key) and (any(parents) or self._changed(self.runs[k]))
            return known[k]

        return {k for k in self.runs if is_stale(k)}

    def _changed(self, run: Run) -> bool:
        try:
            return run.key != self.key_of(run)
        except InputError:
            return True
