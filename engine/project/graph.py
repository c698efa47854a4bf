"""The graph of a project's runs, without the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tiltwright.engine.errors import InputError
from tiltwright.engine.project.run import Run
from tiltwright.engine.protocols import all_protocols
from tiltwright.engine.protocols.base import Parameters, Port, Protocol


class Graph:
    """Runs and what they take from each other.

    Attributes
    ----------
    runs : dict of int to Run
    """

    def __init__(self) -> None:
        self.runs: dict[int, Run] = {}

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
    def _closure(ids: Iterable[int], step: Callable[[int], list[int]]) -> set[int]:
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
            for name, out in self._made(run).items():
                if out.kind is port.kind and (not port.aligned or self._aligned(run, name)):
                    found.append((run.id, name))
        return found

    def _made(self, run: Run) -> Mapping[str, Port]:
        """The outputs that a run has or will have."""
        protocol = self.protocol(run)
        try:
            return protocol.makes(self.params(run))
        except InputError:
            return protocol.outputs

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
