"""What the runs of a project have made, what a person excluded of it, and what is out of date."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiltwright.engine.errors import InputError
from tiltwright.engine.model.tilt_series import Bools, TiltSeries
from tiltwright.engine.project.graph import Graph
from tiltwright.engine.project.lock import Lock, Owner
from tiltwright.engine.project.marks import changed, changes
from tiltwright.engine.project.run import Run, Source, write_run
from tiltwright.engine.project.store import Place, load, record_hash


class Results(Graph):
    """The runs of a project folder with their outputs.

    Attributes
    ----------
    folder : Path
    read_only : Owner or None
        Who holds the project, when it is not ours.
    lock : Lock or None
    """

    def __init__(self, folder: Path, read_only: Owner | None, lock: Lock | None) -> None:
        super().__init__()
        self.folder, self.read_only, self.lock = folder, read_only, lock
        self._folders: dict[int, Path] = {}

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

    def save(self, run: Run) -> None:
        """Write a run's ``run.json``; raises :class:`InputError`."""
        self.check_writable()
        write_run(self.folder_of(run), run)

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
            try:
                views = changed(mark, record["order"], record["excluded"], record["kept"])
            except (KeyError, TypeError, ValueError, IndexError) as exc:
                raise InputError(f"{name}: a damaged record of an output ({exc!r})") from exc
            record = record | {"excluded": views[0].tolist(), "kept": views[1].tolist()}
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
        return protocol.run_key(params, [*hashes, *protocol.source_hashes(params)])

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
