"""Options of the command line, made from the declarations of the protocols."""

from __future__ import annotations

import argparse
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tiltwright.engine.errors import InputError

SHORTCUTS = {
    "binning": ("preprocess", "binning"),
    "fiducial-diameter": ("fiducial-model", "diameter_nm"),
    "fiducials": ("fiducial-model", "number"),
    "thickness": ("reconstruction", "thickness"),
}
"""Options of ``process`` that stand for a parameter of a step."""
METADATA = (
    "tilt_angles", "tilt_axis", "pixel_size", "mdoc", "exclude", "alignment", "voltage", "cs",
    "amplitude_contrast",
)  # fmt: skip
"""Options that say what a series is."""
VOLUMES = {"start": "a tomogram to continue from", "mask": "a mask of the tomogram's size"}
"""Inputs that a file may stand in for."""


def series_options(parser: argparse.ArgumentParser, again: bool) -> None:
    """The series, its metadata, and where results go; with ``again`` both may be from before."""
    what = "the tilt series"
    if again:
        what += "; default: that of the results in DIR"
    parser.add_argument(
        "series", type=Path, metavar="SERIES.mrc", help=what, nargs="?" if again else None
    )
    group = parser.add_argument_group(
        "Tilt series", "From the header or the mdoc where they are not given"
        + (", or as for the command before in DIR." if again else "."),
    )  # fmt: skip
    group.add_argument("--tilt-angles", type=Path, metavar="FILE", help=".rawtlt or .tlt")
    group.add_argument(
        "--tilt-axis", type=float, metavar="X", help="counter-clockwise from the vertical [deg]"
    )
    group.add_argument("--pixel-size", type=float, metavar="X", help="of the raw stack [Å]")
    group.add_argument("--mdoc", type=Path, metavar="FILE")
    group.add_argument(
        "--exclude", metavar="VIEWS", help="1-based, e.g. 1,31; '' for none (default none)"
    )
    group.add_argument(
        "--alignment", type=Path, metavar="FILE.xf",
        help="of another program, its .tlt and .xtilt beside it, instead of our own (default none)",
    )  # fmt: skip
    group.add_argument("--voltage", type=float, metavar="X", help="[kV] (default 300)")
    group.add_argument(
        "--cs", type=float, metavar="X", help="spherical aberration [mm] (default 2.7)"
    )
    group.add_argument("--amplitude-contrast", type=float, metavar="X", help="(default 0.1)")
    parser.add_argument(
        "--output", type=Path, default=Path("."), metavar="DIR",
        help="folder of the results (default: this folder)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="0 = all cores (default)"
    )
    parser.add_argument("--json", action="store_true", help="print the summary to standard output")


def chain_options(parser: argparse.ArgumentParser) -> None:
    """Which steps are carried out."""
    parser.add_argument(
        "--with", dest="wanted", type=_keys, default=(), metavar="STEPS",
        help="additional steps, separated by commas; they are carried out in the right order",
    )  # fmt: skip
    parser.add_argument(
        "--without", type=_keys, default=(), metavar="STEPS", help="steps to leave out"
    )
    parser.add_argument(
        "--ctf-table", type=Path, metavar="FILE",
        help="defocus of Warp, CTFFIND, Gctf, RELION or IMOD instead of our own estimation "
        "(= --with ctf-import --ctf-import.files FILE)",
    )  # fmt: skip
    parser.add_argument("--write-aligned", action="store_true", help="write SERIES_ali.mrc as well")


def volume_options(parser: argparse.ArgumentParser, ports: Mapping[str, Any]) -> None:
    """Files in place of inputs."""
    for port, help_ in VOLUMES.items():
        if port in ports:
            parser.add_argument(
                f"--{port}", type=Path, metavar="FILE.mrc", help=f"{help_} (default none)"
            )


def protocol_options(parser: argparse.ArgumentParser, keys: Sequence[str], plain: str = "") -> None:
    """One option per parameter: ``--KEY.NAME``, or just ``--NAME`` for the protocol ``plain``."""
    from tiltwright.engine.protocols import all_protocols

    for key in keys:
        protocol = all_protocols()[key]
        group = parser.add_argument_group(f"{protocol.title} ({key})", protocol.__doc__)
        for name, info in protocol.Params.model_fields.items():
            extra = typing.cast(dict[str, Any], info.json_schema_extra or {})
            words = [str(info.description)]
            if extra.get("unit"):
                words.append(f"[{extra['unit']}]")
            words.append(
                f"(default {_text(info.default)}"
                + (f"; IMOD {extra['imod']})" if extra.get("imod") else ")")
            )
            option = name.replace("_", "-")
            group.add_argument(
                f"--{option}" if key == plain else f"--{key}.{option}",
                dest=f"{key}.{name}", default=None, metavar=_metavar(info.annotation),
                help=" ".join(words).replace("%", "%%"),
            )  # fmt: skip


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == ():
        return "none"
    return str(value)


def _metavar(annotation: Any) -> str:
    if typing.get_origin(annotation) is Literal:
        return "|".join(map(str, typing.get_args(annotation)))
    if typing.get_origin(annotation) is tuple:
        return "FILES"
    return {bool: "yes|no", int: "N", float: "X"}.get(annotation, "VALUE")


def _keys(text: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in text.split(",") if key.strip())


def parameters(
    options: argparse.Namespace, before: Callable[[str], Mapping[str, Any]], plain: str = ""
) -> dict[str, Any]:
    """The parameters of every step that an option speaks of, or that was done ``before``.

    Raises
    ------
    InputError
        A value does not fit; the option is named as it was typed.
    """
    from pydantic import ValidationError

    from tiltwright.engine.protocols import ORDER, all_protocols

    given: dict[str, dict[str, Any]] = {}
    for dest, value in vars(options).items():
        key, dot, name = dest.partition(".")
        if dot and value is not None:
            kind = all_protocols()[key].Params.model_fields[name].annotation
            several = typing.get_origin(kind) is tuple
            given.setdefault(key, {})[name] = _keys(value) if several else value
    out = {}
    for key in ORDER:
        known = before(key)
        if not known and key not in given:
            continue
        declared = all_protocols()[key].Params
        try:
            declared(**known)
        except ValidationError:
            known = {}  # of another version
        try:
            out[key] = declared(**{**known, **given.get(key, {})})
        except ValidationError as exc:
            first = exc.errors()[0]
            name = str(first["loc"][0]).replace("_", "-")
            option = name if key == plain else f"{key}.{name}"
            raise InputError(f"--{option} {first['input']}: {first['msg'].lower()}") from exc
    return out


def spoken_of(options: argparse.Namespace) -> dict[str, str]:
    """Steps that an option speaks of, each with the first such option."""
    out: dict[str, str] = {}
    for dest, value in vars(options).items():
        key, dot, name = dest.partition(".")
        if dot and value is not None:
            out.setdefault(key, f"--{key}.{name.replace('_', '-')}")
    return out


def views(text: str) -> tuple[int, ...]:
    """``1,31`` as numbers."""
    try:
        return tuple(int(v) for v in text.split(",") if v.strip())
    except ValueError as exc:
        raise InputError(f"--exclude {text}: must be view numbers separated by commas") from exc


def converter(name: str, kind: Any) -> Callable[[str], Any]:
    """From the text of an option of the simulator to its value."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
        origin = typing.get_origin(kind)

    def convert(text: str) -> Any:
        try:
            if origin is tuple:
                parts = [p for p in text.split(",") if p]
                if typing.get_origin(typing.get_args(kind)[0]) is tuple:
                    return tuple((int(v), float(s)) for v, s in (p.split(":") for p in parts))
                return tuple(int(p) for p in parts)
            if kind is bool:
                return {
                    "yes": True,
                    "true": True,
                    "1": True,
                    "no": False,
                    "false": False,
                    "0": False,
                }[text.lower()]
            return kind(text)
        except (ValueError, KeyError) as exc:
            raise InputError(f"--{name.replace('_', '-')} {text}: not understood") from exc

    return convert
