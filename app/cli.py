"""The command line: ``process``, one command per protocol, ``simulate``, ``demo``. No Qt."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from tiltwright.engine.errors import Cancelled, InputError, TiltwrightError
from tiltwright.engine.progress import Monitor, Progress

SHORTCUTS = {
    "binning": ("preprocess", "binning"),
    "fiducial-diameter": ("fiducial-model", "diameter_nm"),
    "fiducials": ("fiducial-model", "number"),
    "thickness": ("reconstruction", "thickness"),
}
"""Options of ``process`` that stand for a parameter of a step."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        raise InputError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0, 2, 3 or 130)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    monitor = Monitor(listener=_Line() if sys.stderr.isatty() else None)
    # One Ctrl-C asks the work to stop where it is safe; a second one does not wait.
    before = signal.getsignal(signal.SIGINT)

    def interrupted(*_: object) -> None:
        if monitor.stop.is_set():
            raise KeyboardInterrupt
        monitor.stop.set()

    # From the start: interrupted in the midst of an import, Python ends by the signal, not by 130.
    signal.signal(signal.SIGINT, interrupted)
    try:
        parser = _parser(arguments)
        options = parser.parse_args(arguments)
        if not hasattr(options, "run"):
            parser.print_help()
            return 0
        monitor.check()
        options.run(options, monitor)
    except TiltwrightError as exc:
        print(f"tiltwright: {_one_line(exc)}", file=sys.stderr)
        return exc.exit_status
    except KeyboardInterrupt:
        print("tiltwright: cancelled", file=sys.stderr)
        return Cancelled.exit_status
    except OSError as exc:
        print(f"tiltwright: {exc.filename or 'file'}: {exc.strerror or exc}", file=sys.stderr)
        return InputError.exit_status
    except MemoryError:
        print("tiltwright: out of memory; use a larger --binning", file=sys.stderr)
        return InputError.exit_status
    finally:
        signal.signal(signal.SIGINT, before)
    return 0


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())


class _Line:
    """Progress on one line of a terminal."""

    def __call__(self, progress: Progress) -> None:
        print(
            f"\r\x1b[K{progress.text} {progress.done + 1}/{progress.total}", end="", file=sys.stderr
        )


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    import tiltwright
    from tiltwright.engine.protocols import KEYS

    parser = _Parser(
        prog="tiltwright", description="Cryo-electron tomography, from a raw tilt series."
    )
    parser.add_argument(
        "--version", action="version", version=f"tiltwright {tiltwright.__version__}"
    )
    commands = parser.add_subparsers(metavar="COMMAND")
    # Declarations are imported only for the command at hand: help and errors come at once.
    wanted = next((a for a in arguments if not a.startswith("-")), "")
    process = commands.add_parser("process", help="the whole chain from a raw series to a tomogram")
    steps = [(key, commands.add_parser(key, help=f"the chain up to {key}")) for key in KEYS]
    if wanted == "process":
        _series_options(process)
        _protocol_options(process, KEYS)
        for option, (key, field) in SHORTCUTS.items():
            process.add_argument(
                f"--{option}",
                dest=f"{key}.{field}",
                default=None,
                help=f"= --{key}.{field.replace('_', '-')}",
            )
        process.add_argument("--stop-after", default=KEYS[-1], choices=KEYS)
        process.set_defaults(run=_process, resume=False)
    for key, command in steps:
        if wanted == key:
            _series_options(command)
            _protocol_options(command, KEYS[: KEYS.index(key) + 1], plain=key)
            command.set_defaults(run=_process, stop_after=key, resume=True)
    simulate = commands.add_parser("simulate", help="write a tilt series with exactly known truth")
    if wanted == "simulate":
        _simulate_options(simulate)
    demo = commands.add_parser("demo", help="simulate a small series and process it")
    demo.add_argument("--output", type=Path, default=Path("tiltwright-demo"))
    demo.add_argument("--threads", type=int, default=0)
    demo.set_defaults(run=_demo)
    return parser


def _series_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("series", type=Path, metavar="SERIES.mrc")
    parser.add_argument("--tilt-angles", type=Path, metavar="FILE", help=".rawtlt or .tlt")
    parser.add_argument(
        "--tilt-axis", type=float, metavar="DEGREES", help="counter-clockwise from the vertical"
    )
    parser.add_argument("--pixel-size", type=float, metavar="ANGSTROM", help="of the raw stack")
    parser.add_argument("--mdoc", type=Path)
    parser.add_argument("--exclude", default="", metavar="VIEWS", help="1-based, e.g. 1,31")
    parser.add_argument("--output", type=Path, default=Path("."), metavar="DIR")
    parser.add_argument("--write-aligned", action="store_true", help="write SERIES_ali.mrc as well")
    parser.add_argument("--threads", type=int, default=0, help="0 = all cores")
    parser.add_argument("--json", action="store_true", help="print the summary to standard output")


def _protocol_options(
    parser: argparse.ArgumentParser, keys: Sequence[str], plain: str = ""
) -> None:
    """One option per parameter: ``--KEY.NAME``, or just ``--NAME`` for the protocol ``plain``."""
    from tiltwright.engine.protocols import protocols

    for key in keys:
        protocol = protocols()[key]
        group = parser.add_argument_group(protocol.title, protocol.__doc__)
        for name, info in protocol.Params.model_fields.items():
            extra = typing.cast(dict[str, Any], info.json_schema_extra or {})
            words = [str(info.description)]
            if extra.get("unit"):
                words.append(f"[{extra['unit']}]")
            words.append(
                f"(default {info.default}"
                + (f"; IMOD {extra['imod']})" if extra.get("imod") else ")")
            )
            option = name.replace("_", "-")
            group.add_argument(
                f"--{option}" if key == plain else f"--{key}.{option}",
                dest=f"{key}.{name}", default=None, metavar=_metavar(info.annotation),
                help=" ".join(words).replace("%", "%%"),
            )  # fmt: skip


def _metavar(annotation: Any) -> str:
    if typing.get_origin(annotation) is Literal:
        return "|".join(map(str, typing.get_args(annotation)))
    return {bool: "yes|no", int: "N", float: "X"}.get(annotation, "VALUE")


def _parameters(options: argparse.Namespace) -> dict[str, Any]:
    from pydantic import ValidationError

    from tiltwright.engine.protocols import protocols

    given: dict[str, dict[str, str]] = {}
    for dest, value in vars(options).items():
        key, dot, name = dest.partition(".")
        if dot and value is not None:
            given.setdefault(key, {})[name] = value
    out = {}
    for key, values in given.items():
        try:
            out[key] = protocols()[key].Params(**values)
        except ValidationError as exc:
            first = exc.errors()[0]
            name = str(first["loc"][0]).replace("_", "-")
            raise InputError(f"--{key}.{name} {first['input']}: {first['msg'].lower()}") from exc
    return out


def _views(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(v) for v in text.split(",") if v.strip())
    except ValueError as exc:
        raise InputError(f"--exclude {text}: must be view numbers separated by commas") from exc


def _threads(n: int) -> int:
    import numba

    most = int(numba.config.NUMBA_NUM_THREADS)
    if n < 0:
        raise InputError(f"--threads {n}: must be 0 (all cores) or above")
    wanted = min(n or most, most)
    numba.set_num_threads(wanted)
    return wanted


def _process(options: argparse.Namespace, monitor: Monitor) -> None:
    from tiltwright.engine.execution.chain import process
    from tiltwright.engine.model.tilt_series import load_tilt_series
    from tiltwright.engine.protocols.base import Context

    series = load_tilt_series(
        options.series, tilt_angles=options.tilt_angles, axis_deg=options.tilt_axis,
        pixel_size_a=options.pixel_size, mdoc=options.mdoc, exclude=_views(options.exclude),
    )  # fmt: skip
    params = _parameters(options)
    log = _log_for(options.json)
    context = Context(monitor=monitor, log=log, threads=_threads(options.threads))
    summary = process(
        series, params, options.output, context, stop_after=options.stop_after,
        write_aligned_stack=options.write_aligned, resume=options.resume,
    )  # fmt: skip
    if options.json:
        print(json.dumps(summary, indent=2))
    else:
        residual = summary["mean_residual_px"]
        if residual is not None:
            print(
                f"{summary['n_fiducials']} fiducials, mean residual {residual:.3f} px, "
                f"leave-one-out {summary['leave_one_out_px']:.3f} px"
            )
        print(f"report: {options.output / (series.name + '_report.html')}")


def _log_for(json_wanted: bool) -> Callable[[str], None]:
    stream = sys.stderr if json_wanted else sys.stdout
    return lambda text: print(text, file=stream)


def _simulate_options(parser: argparse.ArgumentParser) -> None:
    """One option per field of the simulator's specification."""
    from tiltwright.engine.simulate.series import SeriesSpec

    parser.add_argument("output", type=Path, metavar="DIR/NAME.mrc")
    hints = typing.get_type_hints(SeriesSpec)
    for item in dataclasses.fields(SeriesSpec):
        kind = hints[item.name]
        parser.add_argument(
            "--" + item.name.replace("_", "-"), dest=item.name, default=None,
            type=_converter(item.name, kind), help=f"default {item.default}",
        )  # fmt: skip
    parser.set_defaults(run=_simulate)


def _converter(name: str, kind: Any) -> Callable[[str], Any]:
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


def _simulate(options: argparse.Namespace, monitor: Monitor) -> None:
    from tiltwright.engine.simulate.series import SeriesSpec, write_series

    names = {item.name for item in dataclasses.fields(SeriesSpec)}
    given = {k: v for k, v in vars(options).items() if k in names and v is not None}
    folder = options.output.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InputError(f"{folder}: cannot write there ({exc.strerror})") from exc
    for kind, path in write_series(
        SeriesSpec(**given), folder, options.output.stem, monitor
    ).items():
        print(f"{kind}: {path}")


def _demo(options: argparse.Namespace, monitor: Monitor) -> None:
    from tiltwright.engine.execution.chain import process
    from tiltwright.engine.model.tilt_series import load_tilt_series
    from tiltwright.engine.protocols import protocols
    from tiltwright.engine.protocols.base import Context
    from tiltwright.engine.simulate.series import SeriesSpec, write_series

    folder = options.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise InputError(f"{folder}: cannot write there ({exc.strerror})") from exc
    print("simulating an exosome-like series of 41 views …", flush=True)
    write_series(SeriesSpec(seed=14), folder, "demo", monitor)
    series = load_tilt_series(
        folder / "demo.mrc", tilt_angles=folder / "demo.rawtlt", axis_deg=-84.5
    )
    context = Context(monitor=monitor, log=print, threads=_threads(options.threads))
    steps = protocols()
    params: dict[str, Any] = {"reconstruction": steps["reconstruction"].Params(thickness=200)}
    summary = process(series, params, folder, context)
    report = (folder / "demo_report.html").resolve()
    print(
        f"\n{summary['n_fiducials']} beads, mean residual {summary['mean_residual_px']:.3f} px, "
        f"leave-one-out {summary['leave_one_out_px']:.3f} px\n"
        f"tomogram: {folder / 'demo_rec.mrc'}\nreport with pictures: {report}"
    )


if __name__ == "__main__":
    sys.exit(main())
