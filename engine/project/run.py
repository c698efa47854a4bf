"""A run: one protocol with its parameters and inputs, its status, and its outputs on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import read_bytes, write_text

Status = Literal["new", "queued", "running", "finished", "failed", "aborted", "interrupted"]
STATUSES: tuple[str, ...] = (
    "new", "queued", "running", "finished", "failed", "aborted", "interrupted",
)  # fmt: skip
SCHEMA = 1
FILE = "run.json"
_KINDS: dict[str, Any] = {
    "params": dict, "outputs": dict, "failed": dict, "excluded": dict, "keys": dict,
    "notes": dict, "wait_for": list, "label": str, "comment": str, "colour": str, "key": str,
    "version": int, "created": (int, float), "started": (int, float), "finished": (int, float),
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where an input comes from: an output of another run, all of its series or some."""

    run: int
    port: str
    series: tuple[str, ...] | None = None


@dataclass
class Run:
    """What ``run.json`` holds.

    Attributes
    ----------
    id : int
    protocol : str
        Key of the protocol.
    params : dict
        As the protocol's ``Params`` dumps them.
    inputs : dict
        Port to :class:`Source`.
    key : str
        Identity of what was computed (parameters and content of the inputs); empty before.
    outputs : dict
        Port, then series, to the record of an output (see ``store``).
    keys : dict
        Series to the identity of its own result.
    failed : dict
        Series to the reason why it has no result.
    excluded : dict
        Port, then series, to what a person changed in the exclusions of that output (see
        ``marks``), and ``"whole"`` where the series is left out as a whole.
    """

    id: int
    protocol: str
    label: str = ""
    comment: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Source] = field(default_factory=dict)
    wait_for: list[int] = field(default_factory=list)
    status: Status = "new"
    version: int = 0
    key: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    excluded: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    created: float = field(default_factory=time.time)
    started: float = 0.0
    finished: float = 0.0
    colour: str = ""
    schema: int = SCHEMA

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        if not self.started:
            return 0.0
        running = self.status == "running"
        return max(0.0, (time.time() if running else self.finished) - self.started)

    @property
    def series(self) -> list[str]:
        """Names of the series that it has results for."""
        return sorted({name for items in self.outputs.values() for name in items})


def run_to_json(run: Run) -> str:
    """The text of ``run.json``."""
    return json.dumps(asdict(run), indent=1) + "\n"


def run_from_json(text: str, where: str) -> Run:
    """Read a run; unknown entries of later versions are ignored.

    Raises
    ------
    InputError
        Damaged, or written by a version that this one cannot read.
    """
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("not an object")
        if int(data.get("schema", 0)) > SCHEMA:
            raise InputError(
                f"{where}: written by a later version of Tiltwright; update to open this run"
            )
        known = {f.name for f in fields(Run)}
        values = {k: v for k, v in data.items() if k in known}
        values["inputs"] = {k: _source(v) for k, v in values.get("inputs", {}).items()}
        values["schema"] = SCHEMA
        run = Run(**values)
        if not isinstance(run.id, int) or not isinstance(run.protocol, str):
            raise ValueError("no id or protocol")
        if run.status not in STATUSES:
            raise ValueError(f"unknown status {run.status!r}")
        for name, kind in _KINDS.items():
            if not isinstance(getattr(run, name), kind):
                raise ValueError(f"{name} is not understood")
        for name in ("outputs", "excluded"):
            for items in getattr(run, name).values():
                if not all(isinstance(item, dict) for item in items.values()):
                    raise ValueError(f"{name} is not understood")
        if not all(isinstance(k, int) for k in run.wait_for):
            raise ValueError("wait_for is not understood")
        return run
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
        raise InputError(f"{where}: damaged ({exc})") from exc


def _source(value: Mapping[str, Any]) -> Source:
    series = value.get("series")
    return Source(int(value["run"]), str(value["port"]), None if series is None else tuple(series))


def read_run(folder: Path) -> Run:
    """Read ``run.json`` of a run's folder; raises :class:`InputError`."""
    path = folder / FILE
    return run_from_json(read_bytes(path, 1 << 28).decode("utf-8", "replace"), str(path))


def write_run(folder: Path, run: Run) -> None:
    """Write ``run.json`` atomically; raises :class:`InputError`."""
    write_text(folder / FILE, run_to_json(run))
