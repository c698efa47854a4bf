"""Fields of a form: what a pydantic field says about itself, and its errors in plain words."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

if typing.TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

UNITS = {"deg": "°", "A": "Å", "A/px": "Å/px", "um": "µm", "e/A2": "e⁻/Å²", "e/A^2": "e⁻/Å²"}
"""Units as declared to units as people read them."""


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()
"""Stands for the default of a field that has none."""


@dataclass(frozen=True)
class FieldSpec:
    """What a form needs to know about one parameter."""

    name: str
    label: str
    kind: str
    """``bool``, ``int``, ``float``, ``str``, ``path``, ``choice``, ``tuple`` or ``list``."""
    default: Any = REQUIRED
    help: str = ""
    unit: str = ""
    imod: str = ""
    group: str = ""
    expert: bool = False
    optional: bool = False
    shown_if: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    choices: tuple[tuple[Any, str], ...] = ()
    item_kinds: tuple[str, ...] = ()
    limits: tuple[tuple[str, float], ...] = ()
    empty_text: str = "from the metadata"
    path_kind: str = "file"
    pattern: str = ""

    def explanation(self) -> str:
        """Help, default, limits and the name in IMOD, for the tooltip and the help line."""
        parts = [self.help.rstrip(".") + "." if self.help else ""]
        facts = []
        if self.default is not REQUIRED:
            facts.append(f"Default {self.text_of(self.default)}")
        limits = self.limits_text()
        if limits:
            facts.append(limits)
        if self.imod:
            facts.append(f"IMOD: {self.imod}")
        if facts:
            parts.append(" · ".join(facts))
        return "\n".join(p for p in parts if p)

    def limits_text(self) -> str:
        """``from 1 to 32 px``, or nothing."""
        words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        bounds = dict(self.limits)
        if {"ge", "le"} <= bounds.keys():
            text = f"from {bounds['ge']:g} to {bounds['le']:g}"
        else:
            text = ", ".join(f"{words[k]} {v:g}" for k, v in self.limits if k in words)
        return f"{text} {self.unit}".rstrip() if text else ""

    def text_of(self, value: Any) -> str:
        """A value as a person reads it."""
        if value is None:
            return self.empty_text
        if isinstance(value, bool):
            return "yes" if value else "no"
        for choice, text in self.choices:
            if choice == value:
                return text
        text = ", ".join(map(number_text, value)) if isinstance(value, tuple | list) else ""
        text = text or number_text(value)
        return f"{text} {self.unit}".rstrip() if text else "empty"


def number_text(value: Any) -> str:
    """A number with a decimal point whatever the locale; other values by ``str``."""
    if isinstance(value, float):
        short = f"{value:.10g}"
        return short if float(short) == value else repr(value)
    return str(value)


def specs_of(params_class: type[BaseModel]) -> list[FieldSpec]:
    """One :class:`FieldSpec` per field, in the order of declaration."""
    return [_spec(name, info) for name, info in params_class.model_fields.items()]


def _spec(name: str, info: FieldInfo) -> FieldSpec:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    more: dict[str, Any] = dict(extra)
    annotation, optional = _without_none(info.annotation)
    kind, choices, items = _kind(annotation, more.get("choices"))
    default = REQUIRED if info.is_required() else info.get_default(call_default_factory=True)
    limits = tuple(
        (word, float(getattr(item, word)))
        for item in info.metadata
        for word in ("ge", "gt", "le", "lt")
        if getattr(item, word, None) is not None
    )
    unit = str(more.get("unit", ""))
    return FieldSpec(
        name=name, label=info.title or name.replace("_", " ").capitalize(), kind=kind,
        default=default, help=info.description or "", unit=UNITS.get(unit, unit),
        imod=str(more.get("imod", "")), group=str(more.get("group", "")),
        expert=bool(more.get("expert", False)), optional=optional,
        shown_if=_conditions(more.get("shown_if")), choices=choices, item_kinds=items,
        limits=limits, empty_text=str(more.get("empty", "from the metadata")),
        path_kind=str(more.get("path", "file")), pattern=str(more.get("pattern", "")),
    )  # fmt: skip


def _conditions(raw: Any) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    return tuple(
        (name, tuple(wanted) if isinstance(wanted, tuple | list | set | frozenset) else (wanted,))
        for name, wanted in (raw or {}).items()
    )


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [a for a in typing.get_args(annotation) if a is not type(None)]
        optional = len(rest) < len(typing.get_args(annotation))
        return (rest[0] if len(rest) == 1 else str), optional
    return annotation, False


def _kind(annotation: Any, names: Any) -> tuple[str, tuple[tuple[Any, str], ...], tuple[str, ...]]:
    names = names or {}
    origin = typing.get_origin(annotation)
    if origin is Literal:
        values = typing.get_args(annotation)
        return "choice", tuple((v, names.get(v) or _words(v)) for v in values), ()
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "choice", tuple((v, names.get(v.value) or _words(v.value)) for v in annotation), ()
    if origin in (tuple, list):
        args = typing.get_args(annotation)
        if origin is list or (len(args) == 2 and args[1] is Ellipsis):
            return "list", (), (_kind(args[0], None)[0],)
        return "tuple", (), tuple(_kind(a, None)[0] for a in args)
    if isinstance(annotation, type):
        for base, word in ((bool, "bool"), (int, "int"), (float, "float"), (Path, "path")):
            if issubclass(annotation, base):
                return word, (), ()
    return "str", (), ()


def _words(value: Any) -> str:
    return str(value).replace("_", " ")


def shown(spec: FieldSpec, values: dict[str, Any], specs: dict[str, FieldSpec]) -> bool:
    """Whether ``spec`` matters, given the values of the others (and whether those matter)."""
    return all(
        values.get(name) in wanted and (name not in specs or shown(specs[name], values, specs))
        for name, wanted in spec.shown_if
    )


def plain_reason(error: Any, unit: str = "") -> str:
    """One of pydantic's errors in the words of a person."""
    kind, context = str(error["type"]), error.get("ctx", {})
    limits = {
        "greater_than_equal": ("ge", "must be at least"), "greater_than": ("gt", "must be above"),
        "less_than_equal": ("le", "must be at most"), "less_than": ("lt", "must be below"),
    }  # fmt: skip
    if kind in limits:
        word, text = limits[kind]
        return f"{text} {number_text(context[word])} {unit}".rstrip()
    if kind.startswith("int_"):
        return "must be a whole number"
    if kind.startswith(("float_", "decimal_")) or kind == "finite_number":
        return "must be a number"
    if kind == "missing":
        return "is needed"
    if kind in ("literal_error", "enum"):
        return f"must be {context.get('expected', 'one of the choices')}"
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message[:1].lower() + message[1:]


def parse_number(text: str, kind: str) -> int | float:
    """A number typed by a person.

    Raises
    ------
    ValueError
        With the reason in plain words.
    """
    cleaned = text.strip().replace("\N{MINUS SIGN}", "-")
    if "," in cleaned:
        raise ValueError("needs a decimal point, not a comma")
    try:
        return int(cleaned) if kind == "int" else float(cleaned)
    except ValueError:
        what = "a whole number" if kind == "int" else "a number"
        raise ValueError(f"must be {what}" if cleaned else f"is empty: needs {what}") from None
