"""What goes into a new run, before anybody chooses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tiltwright.app.lineage import upwards
from tiltwright.engine.model.ctf_table import CtfTable
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import Tomogram
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run, Source
from tiltwright.engine.protocols import all_protocols
from tiltwright.engine.protocols.base import Port, Protocol

Option = tuple[int, str]


def proposed_inputs(
    project: Project, protocol: type[Protocol], selected: Sequence[int]
) -> dict[str, Source]:
    """Outputs for the inputs of a protocol, as far as they make sense.

    The first input comes from the selected runs, else from what they stand on or what was made of
    them, else it is the newest. The others follow it. An output of the input's own name goes
    first: halves and masks are tomograms too, but not meant by it. An optional input gets nothing
    else, and nothing of other images than the first.
    """
    found: dict[str, Source] = {}
    main: Source | None = None
    for name, port in protocol.inputs.items():
        if not port.proposed:
            continue
        options = [o for o in project.choices(port) if main is None or _agree(project, main, o)]
        namesakes = [o for o in options if o[1] == name]
        options = namesakes if namesakes or port.optional else options
        options = _with_ctf(project, protocol, port, main, options)
        best = next((o for o in options if o[0] in selected), None)
        best = best or _related(project, options, selected if main is None else [main.run], port)
        if best is None and not port.optional:
            there = [o for o in options if project.runs[o[0]].outputs.get(o[1])]
            best = next(iter(there or options), None)
        if best is not None:
            found[name] = Source(*best)
            main = main or found[name]
    return found


def _related(
    project: Project, options: Sequence[Option], runs: Sequence[int], port: Port
) -> Option | None:
    """Of what the runs stand on the nearest, else the newest that was made of the nearest."""
    above = [run.id for k in runs for run in _upwards(project, k, port)]
    for k in above:
        if best := next((o for o in options if o[0] == k), None):
            return best
    for k in above:
        below = project.descendants([k])
        if best := next((o for o in options if o[0] in below), None):
            return best
    return None


def _upwards(project: Project, number: int, port: Port) -> Iterator[Run]:
    """A run and those above; for an optional volume no further than volumes reach."""
    stays = port.optional and port.kind is Tomogram
    for run in upwards(project, number):
        protocol = all_protocols().get(run.protocol)
        made = protocol.outputs.values() if protocol is not None else ()
        if stays and not any(out.kind is Tomogram for out in made):
            return
        yield run


def _with_ctf(
    project: Project, protocol: type[Protocol], port: Port, main: Source | None,
    options: list[Option],
) -> list[Option]:  # fmt: skip
    """Without what would correct the CTF twice, or find that of corrected images."""
    if port.kind is CtfTable and main is not None and _corrected(project, main):
        return [] if port.optional else options
    tables = [*protocol.outputs.values(), *protocol.inputs.values()]
    if port.kind is TiltSeries and any(p.kind is CtfTable and not p.optional for p in tables):
        return [o for o in options if not _corrected(project, Source(*o))] or options
    return options


def _corrected(project: Project, source: Source) -> bool:
    """Whether the CTF of a series is, or will be, corrected."""
    seen: set[int] = set()
    while source.run not in seen:
        seen.add(source.run)
        run = project.runs[source.run]
        if records := run.outputs.get(source.port):
            return any(record.get("ctf_corrected") for record in records.values())
        if run.protocol == "ctf-correction":
            return True
        above = run.inputs.get("tilt_series")
        if above is None or above.run not in project.runs:
            return False
        source = above
    return False


def _agree(project: Project, main: Source, option: Option) -> bool:
    """Whether two outputs can be of the same series, and volumes of the same size."""
    a, b = (project.runs[k].outputs.get(port, {}) for k, port in ((main.run, main.port), option))
    if not a or not b:
        return True
    both = a.keys() & b.keys()
    return bool(both) and not any(_differ(a[name], b[name]) for name in both)


def _differ(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a["kind"] == b["kind"] == "tomogram" and a.get("shape") != b.get("shape")
