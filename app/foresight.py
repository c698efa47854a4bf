"""What a run would certainly be refused for, found while its form is filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tiltwright.engine.errors import TiltwrightError
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.engine.protocols.base import Protocol
from tiltwright.widgets.wording import plain_words


def foresight(
    project: Project, protocol: type[Protocol], params: Any, sources: Mapping[str, Source]
) -> Iterator[str | None]:
    """Let a protocol look at all series of its inputs: nothing after each, at last the words.

    They are empty when nothing can be said: also while an input is not there yet, or is being
    made anew. Files are read, so this belongs into the background.

    Parameters
    ----------
    project : Project
        That nobody changes meanwhile.
    sources : mapping
        The inputs that are chosen.
    """
    runs = [project.runs.get(source.run) for source in sources.values()]
    if not runs or any(run is None or run.status in ("running", "queued") for run in runs):
        yield ""
        return
    names = set.intersection(*(set(project.names(source)) for source in sources.values()))
    not_given = dict.fromkeys(port for port in protocol.inputs if port not in sources)
    wrong: dict[str, str] = {}
    for name in sorted(names):
        try:
            given = {port: project.item(source, name) for port, source in sources.items()}
            protocol.foresee(not_given | given, params)
        except TiltwrightError as exc:
            wrong[name] = plain_words(str(exc))
        yield None
    yield _words(wrong, len(names))


def _words(wrong: Mapping[str, str], n_series: int) -> str:
    if not wrong:
        return ""
    name, why = next(iter(wrong.items()))
    if n_series == 1:
        return why
    all_ = len(wrong) == n_series and len(set(wrong.values())) == 1
    many = (
        "no series can" if len(wrong) == n_series else f"{len(wrong)} of {n_series} series cannot"
    )
    return f"{many} be processed" + (f": {why}" if all_ or name in why else f": {name}: {why}")
