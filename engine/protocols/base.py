"""What a protocol is: one class that the form, the command line and the run's key are made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.progress import SILENT, Monitor


class Parameters(BaseModel):
    """Parameters of a protocol; the fields carry everything that a form shows, as data."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parameter(
    default: Any,
    *,
    label: str,
    help: str,
    unit: str = "",
    imod: str = "",
    expert: bool = False,
    group: str = "",
    shown_if: dict[str, Any] | None = None,
    path: str = "",
    empty: str = "",
    **limits: Any,
) -> Any:
    """A field of :class:`Parameters`.

    Parameters
    ----------
    unit : str
        ``px``, ``nm``, ``deg``, ... ; empty for a pure number.
    imod : str
        The option's name in IMOD, for those who know it.
    group : str
        Heading under which a form shows it.
    shown_if : dict, optional
        Name of another parameter to the value at which this one matters.
    path : str
        ``file``, ``folder`` or ``files`` (several of both), for what a form browses for.
    empty : str
        What a form shows in the field of an optional parameter that is not set.
    limits
        ``ge``, ``gt``, ``le``, ``lt`` of pydantic.
    """
    extra: dict[str, Any] = {"unit": unit, "imod": imod, "expert": expert, "group": group}
    if shown_if is not None:
        extra["shown_if"] = shown_if
    if path:
        extra["path"] = path
    if empty:
        extra["empty"] = empty
    return Field(default, title=label, description=help, json_schema_extra=extra, **limits)


@dataclass
class Context:
    """What a running protocol may use of its surroundings.

    ``folder`` is where files too large for memory are written; ``notes`` collects what the
    report must say.
    """

    monitor: Monitor = SILENT
    log: Callable[[str], None] = lambda text: None
    threads: int = 2
    folder: Path = Path(".")
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Write a line to the log of the run."""
        self.lines.append(text)
        self.log(text)

    def note(self, text: str) -> None:
        """Say it, and have it stand in the report."""
        self.notes.append(text)
        self.say(text)


@dataclass(frozen=True)
class Port:
    """An input or an output of a protocol: a set with one object per tilt series.

    Attributes
    ----------
    kind : type
        ``TiltSeries``, ``FiducialModel`` or ``Tomogram``.
    label : str
    aligned : bool
        Only tilt series with an alignment (``+ali``) fit.
    optional : bool
    proposed : bool
        Whether a new form may choose something for it.
    """

    kind: type
    label: str
    aligned: bool = False
    optional: bool = False
    proposed: bool = True


class Protocol:
    """Base of the steps. A subclass declares; :meth:`run` calls the numerics for one series."""

    key: ClassVar[str]
    version: ClassVar[int] = 1
    title: ClassVar[str]
    section: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    inspect: ClassVar[str] = ""
    """What a person should look at in the result."""
    inputs: ClassVar[Mapping[str, Port]] = {}
    outputs: ClassVar[Mapping[str, Port]] = {}
    Params: ClassVar[type[Parameters]] = Parameters

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Process one series: an object for each of ``outputs``.

        Raises
        ------
        InputError, DataError, Cancelled
        """
        raise TypeError(f"{cls.__name__} declares no run()")

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """What the outputs will be, as far as it can be told before any work.

        Objects that do not exist yet are complete but for their data and files; an input or an
        output of which nothing is known is missing, an input that is not given may be None.

        Raises
        ------
        InputError
            The step will certainly refuse these inputs or parameters.
        """
        return {port: inputs[port] for port in cls.outputs if port in inputs}

    @classmethod
    def makes(cls, params: Any) -> Mapping[str, Port]:
        """Those of ``outputs`` that a run with these parameters has."""
        return cls.outputs

    @classmethod
    def ends_early(cls, params: Any) -> bool:
        """Whether it can be told that what it has is enough (``Monitor.enough``)."""
        return False

    @classmethod
    def going_on(
        cls, inputs: Mapping[str, Any], made: Mapping[str, Any], params: Any
    ) -> dict[str, Any]:
        """Parameters of a further step that does what was left when this one ended early.

        It takes the output ``tomogram`` as its input ``start``. Empty when nothing is left of this
        series.
        """
        return {}

    @classmethod
    def sources(cls, params: Any) -> dict[str, Path]:
        """For a protocol without inputs: the name of each series to its file."""
        return {}

    @classmethod
    def source_hashes(cls, params: Any) -> list[str]:
        """The identity of the files that it reads beside its inputs."""
        return []

    @classmethod
    def run_key(cls, params: Parameters, input_hashes: Sequence[str]) -> str:
        """Identity of a run: what would be computed again if any part of it changed."""
        text = json.dumps(
            [cls.key, cls.version, params.model_dump(mode="json"), list(input_hashes)],
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()


def leave_out(series: TiltSeries, reasons: Mapping[int, str], context: Context) -> TiltSeries:
    """The series with more views in doubt (view, 0-based, to the reason), said in the log."""
    for view, reason in sorted(reasons.items()):
        if view not in series.suspect:
            context.say(f"view {view + 1} is left out: {reason}")
    return series.suspected(reasons)
