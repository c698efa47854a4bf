"""The command line: ``process``, one command per protocol, ``simulate``, ``demo``. No Qt."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tiltwright.app import cli_options as opts
from tiltwright.engine.errors import Cancelled, InputError, TiltwrightError
from tiltwright.engine.progress import Monitor, Progress


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
        # A program is done here: Ctrl-C must not change its status while Python takes itself down.
        signal.signal(signal.SIGINT, signal.SIG_IGN if argv is None else before)
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
    from tiltwright.engine.protocols import ORDER

    parser = _Parser(
        prog="tiltwright", description="Cryo-electron tomography, from a raw tilt series."
    )
    parser.add_argument(
        "--version", action="version", version=f"tiltwright {tiltwright.__version__}"
    )
    commands = parser.add_subparsers(metavar="COMMAND")
    # Declarations are imported only for the command at hand: help and errors come at once.
    wanted = next((a for a in arguments if not a.startswith("-")), "")
    process = commands.add_parser(
        "process", help="the whole chain from a raw series to a tomogram, and further if asked"
    )
    if wanted == "process":
        _process_command(process)
    words = _first_lines() if not wanted else {}
    for key in ORDER:
        command = commands.add_parser(key, help=words.get(key))
        if wanted == key:
            _step_command(command, key)
    simulate = commands.add_parser("simulate", help="write a tilt series with exactly known truth")
    if wanted == "simulate":
        _simulate_options(simulate)
    demo = commands.add_parser("demo", help="simulate a small series and process it")
    demo.add_argument("--output", type=Path, default=Path("tiltwright-demo"))
    demo.add_argument("--threads", type=int, default=0)
    demo.set_defaults(run=_demo)
    return parser


def _first_lines() -> dict[str, str]:
    from tiltwright.engine.protocols import all_protocols

    docs = {key: str(protocol.__doc__) for key, protocol in all_protocols().items()}
    return {key: doc.split("\n")[0].replace("%", "%%") for key, doc in docs.items()}


def _process_command(process: argparse.ArgumentParser) -> None:
    from tiltwright.engine.protocols import KEYS, ORDER

    process.usage = "tiltwright process SERIES.mrc [--output DIR] [--with STEPS] [options]"
    process.description = (
        f"Carries out {', '.join(KEYS)}, and what is asked for by --with, and writes all results "
        "into DIR. Commands of single steps go on from there."
    )
    opts.series_options(process, again=False)
    opts.chain_options(process)
    opts.protocol_options(process, ORDER)
    for option, (key, field) in opts.SHORTCUTS.items():
        process.add_argument(
            f"--{option}", dest=f"{key}.{field}", default=None, metavar="X",
            help=f"= --{key}.{field.replace('_', '-')}",
        )  # fmt: skip
    process.add_argument("--stop-after", choices=ORDER, metavar="STEP", help="end after this step")
    process.set_defaults(run=_process, target="", tomogram=None)


def _step_command(command: argparse.ArgumentParser, key: str) -> None:
    from tiltwright.engine.protocols import ORDER, all_protocols

    protocol = all_protocols()[key]
    alone = " | --tomogram FILE.mrc" if _on_tomograms(protocol) else ""
    command.usage = f"tiltwright {key} [SERIES.mrc{alone}] [--output DIR] [options]"
    command.description = (
        f"{protocol.__doc__} Steps before it are taken from the results in DIR, with the "
        "parameters of the last time where none are given here; what is needed and not there is "
        "done first."
    )
    opts.series_options(command, again=True)
    opts.chain_options(command)
    if _on_tomograms(protocol):
        command.add_argument(
            "--tomogram", type=Path, metavar="FILE.mrc",
            help="work on this volume alone, instead of on a series (default none)",
        )  # fmt: skip
    opts.volume_options(command, protocol.inputs)
    opts.protocol_options(command, (key, *ORDER[: ORDER.index(key)]), plain=key)
    command.set_defaults(run=_process, target=key)


def _on_tomograms(protocol: Any) -> bool:
    port = protocol.inputs.get("tomogram")
    return port is not None and not port.optional


def _threads(n: int) -> int:
    import numba

    most = int(numba.config.NUMBA_NUM_THREADS)
    if n < 0:
        raise InputError(f"--threads {n}: must be 0 (all cores) or above")
    wanted = min(n or most, most)
    numba.set_num_threads(wanted)
    return wanted


def _process(options: argparse.Namespace, monitor: Monitor) -> None:
    from tiltwright.app.cli_chain import run_chain, run_tomogram
    from tiltwright.engine.protocols.base import Context

    threads = _threads(options.threads)
    context = Context(monitor=monitor, log=_log_for(options.json), threads=threads)
    if getattr(options, "tomogram", None) is not None:
        summary = run_tomogram(options, context)
    else:
        summary = run_chain(options, context)
    if options.json:
        print(json.dumps(summary, indent=2))
        return
    if summary.get("mean_residual_px") is not None:
        print(
            f"{summary['n_fiducials']} fiducials, mean residual "
            f"{summary['mean_residual_px']:.3f} px, leave-one-out "
            f"{summary['leave_one_out_px']:.3f} px"
        )
    for port, path in summary["outputs"].items():
        print(f"{port.replace('_', ' ')}: {path}")
    if "series" in summary:
        print(f"report: {options.output / (summary['series'] + '_report.html')}")


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
            type=opts.converter(item.name, kind), help=f"default {item.default}",
        )  # fmt: skip
    parser.set_defaults(run=_simulate)


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
