"""Runs as JSON values without data: exported, imported elsewhere, duplicated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tiltwright.engine.errors import InputError
from tiltwright.engine.project.run import Run, Source
from tiltwright.engine.protocols import all_protocols

if TYPE_CHECKING:
    from tiltwright.engine.project.project import Project


def export_runs(runs: Mapping[int, Run], ids: Iterable[int] | None) -> list[dict[str, Any]]:
    """The runs ``ids``, or all, without results."""
    return [
        {
            "id": k, "protocol": r.protocol, "label": r.label, "comment": r.comment,
            "params": r.params, "colour": r.colour, "wait_for": r.wait_for,
            "inputs": {
                p: {"run": s.run, "port": s.port}
                | ({} if s.series is None else {"series": list(s.series)})
                for p, s in r.inputs.items()
            },
        }
        for k, r in ((k, runs[k]) for k in sorted(runs if ids is None else set(ids)))
    ]  # fmt: skip


def add_runs(project: Project, workflow: Any, suffix: str) -> list[Run]:
    """Add the runs of a workflow, all or none; inputs from outside it stay if they fit here.

    Raises
    ------
    InputError
        The value is no workflow, or holds a protocol or parameters that do not fit.
    """
    made: dict[int, Run] = {}
    try:
        for item in sorted(workflow, key=lambda i: int(i["id"])):
            made[int(item["id"])] = project.add(
                str(item["protocol"]), item.get("params", {}),
                label=f"{item['label']}{suffix}" if item.get("label") else "",
                comment=str(item.get("comment", "")), colour=str(item.get("colour", "")),
            )  # fmt: skip
        # Only now: a run may take its input from one that was made after it.
        for item in workflow:
            run = made[int(item["id"])]
            for port, value in item.get("inputs", {}).items():
                source = _source(project, run, port, value, made)
                if source is not None:
                    run.inputs[port] = source
            run.wait_for = [
                made[k].id if k in made else k
                for k in map(int, item.get("wait_for", [])) if k in made or k in project.runs
            ]  # fmt: skip
            project.save(run)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, InputError) as exc:
        project.delete(run.id for run in made.values())
        if isinstance(exc, InputError):
            raise
        raise InputError(f"not a workflow of Tiltwright ({exc!r})") from exc
    return list(made.values())


def _source(
    project: Project, run: Run, port: str, value: Mapping[str, Any], made: Mapping[int, Run]
) -> Source | None:
    """The input that a workflow names; None where the project has nothing of its kind."""
    number, out = int(value["run"]), str(value["port"])
    parent = made.get(number) or project.runs.get(number)
    protocols = all_protocols()
    if parent is None or parent.protocol not in protocols:
        return None
    wanted = protocols[run.protocol].inputs.get(port)
    given = protocols[parent.protocol].outputs.get(out)
    if wanted is None or given is None or wanted.kind is not given.kind:
        return None
    series = value.get("series")
    return Source(parent.id, out, None if series is None else tuple(map(str, series)))
