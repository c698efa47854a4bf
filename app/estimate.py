"""How long a run will take and how much it will write, before it is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tiltwright.app.describe import parse_output
from tiltwright.engine.execution.cost import Sizes, cost
from tiltwright.engine.project.project import Project
from tiltwright.engine.protocols.base import Protocol

if TYPE_CHECKING:
    from tiltwright.widgets.form.protocol_form import FormState

_WORTH_SAYING = 5e6
_MUCH_MEMORY = 5e8


def estimate(project: Project, protocol: type[Protocol], state: FormState) -> str:
    """One line, from the records of the inputs alone: no file is read."""
    series: dict[str, Sizes] = {}
    for port, ident in state.inputs.items():
        if not ident:
            continue
        source = parse_output(ident)
        run = project.runs.get(source.run)
        items = run.outputs.get(source.port, {}) if run is not None else {}
        for name, record in items.items():
            series[name] = _sizes(port, record, series.get(name, Sizes()))
    if not series or getattr(state.params, "method", "") == "membrain-seg":
        # A network is as fast as its graphics card, which nobody knows here.
        return ""
    costs = [cost(protocol.key, sizes, state.params) for sizes in series.values()]
    seconds = sum(c.seconds for c in costs)
    written = sum(c.written_bytes + c.stored_bytes for c in costs)
    memory = max(c.memory_bytes for c in costs)
    parts = [f"{len(series)} series"]
    if seconds < 1:
        parts.append("below 1 s")
    elif seconds < 90:
        parts.append(f"about {seconds:.0f} s")
    else:
        parts.append(f"about {seconds / 60:.0f} min")
    if written >= _WORTH_SAYING:
        parts.append(f"about {written / 1e9:.2g} GB")
    if memory >= _MUCH_MEMORY:
        parts.append(f"{memory / 1e9:.2g} GB of memory")
    return ", ".join(parts)


def _sizes(port: str, record: Mapping[str, Any], known: Sizes) -> Sizes:
    """With what the record of one more input says."""
    if record["kind"] == "tilt_series":
        nx, ny = record.get("image_size") or (0, 0)
        return replace(
            known, views=(len(record["tilt_deg"]), ny, nx), binning=record["binning"],
            axis_deg=record["axis_deg"],
        )  # fmt: skip
    if record["kind"] == "tomogram" and port == "tomogram":
        nz, ny, nx = record["shape"]
        return replace(known, volume=(nz, ny, nx))
    return known
