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
from tiltwright.engine.project.lock import Lock, Owner
from tiltwright.engine.project.results import Results
from tiltwright.engine.project.run import SCHEMA, Run, Source, read_run, write_run
from tiltwright.engine.project.workflow import add_runs, export_runs
from tiltwright.engine.protocols import all_protocols

FILE = "project.json"
_FOLDER = re.compile(r"(\d{3,})_[a-z0-9-]+\Z")


class Project(Results):
    """An open project.

    Attributes
    ----------
    name : str
    damaged : dict of str to str
        Folders of runs that could not be read, to the reason; the rest of the project works.
    """

    def __init__(self, folder: Path, name: str, read_only: Owner | None, lock: Lock | None) -> None:
        super().__init__(folder, read_only, lock)
        self.name = name
        self.damaged: dict[str, str] = {}

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
        lock = Lock(folder)
        owner: Owner | None = Owner("", 0, "opened so")
        if not read_only:
            try:
                owner = lock.acquire()
            except InputError as exc:
                owner = Owner("", 0, f"the folder cannot be written: {exc}")
        project = cls(folder, name, owner, lock if owner is None else None)
        project.refresh()
        if owner is None or not (read_only or lock.path.exists()):
            project._find_interrupted()
        if owner is None:
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
        for k, run in self.runs.items():
            # What a run holds is replaced, never changed in place, but for what a person marks.
            twin.runs[k] = replace(
                run, excluded=copy.deepcopy(run.excluded), failed=dict(run.failed),
                notes=dict(run.notes), keys=dict(run.keys), outputs=dict(run.outputs),
            )  # fmt: skip
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
