"""What a command is to do, from its options and from what is known of the output folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiltwright.app import cli_options as opts
from tiltwright.engine.errors import InputError
from tiltwright.engine.execution.chain import process, process_tomogram
from tiltwright.engine.execution.plan import plan
from tiltwright.engine.execution.resume import Steps, names_in
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.ctf_table import series_optics
from tiltwright.engine.model.files import read_transforms
from tiltwright.engine.model.tilt_series import TiltSeries, load_tilt_series
from tiltwright.engine.model.tomogram import open_tomogram
from tiltwright.engine.protocols import KEYS, ORDER, all_protocols
from tiltwright.engine.protocols.base import Context


def run_chain(options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Carry out ``process`` or a step's own command; returns the summary."""
    own: str = options.target
    series, kept = _series(options)
    if options.ctf_table is not None:
        vars(options)["ctf-import.files"] = str(options.ctf_table)
        options.wanted = (*options.wanted, "ctf-import")
    target = own or _last(options)
    steps = plan(
        target, usual=() if own else KEYS, known=kept.known if own else (),
        wanted=options.wanted, without=options.without, aligned=series.alignment is not None,
    )  # fmt: skip
    _thickness_of_whichever(options, steps)
    for key, option in opts.spoken_of(options).items():
        if key not in steps and (own or key not in KEYS):
            raise InputError(f"{option}: {key} is not among the steps ({', '.join(steps)})")
    params = opts.parameters(
        options, lambda key: kept.params(key) if own and key != own else {}, own
    )
    given: dict[str, dict[str, Path]] = {}
    for key in steps:
        if key == own:
            ports = {port: getattr(options, port, None) for port in opts.VOLUMES}
            given[key] = {port: path for port, path in ports.items() if path is not None}
        elif own and key in kept.steps:
            given[key] = {p: Path(path) for p, path in kept.steps[key]["given"].items()}
    imported = params["ctf-import"].files if "ctf-import" in params else ()
    _spare_inputs(options, series, imported)
    return process(
        series, params, options.output, context, steps=steps, given=given, kept=kept,
        write_aligned_stack=options.write_aligned, resume=bool(own),
    )  # fmt: skip


def run_tomogram(options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Carry out a step on a volume alone; returns what became of it."""
    key: str = options.target
    if options.series is not None:
        raise InputError(f"{options.series}: with --tomogram no series is needed")
    speaks = [option for k, option in opts.spoken_of(options).items() if k != key]
    if speaks or options.wanted:
        what = speaks[0] if speaks else f"--with {options.wanted[0]}"
        raise InputError(f"{what}: with --tomogram only {key} is done")
    params = opts.parameters(options, lambda key: {}, key)
    tomogram = open_tomogram(options.tomogram)
    if options.pixel_size is not None:
        if not options.pixel_size > 0:
            raise InputError(f"--pixel-size {options.pixel_size:g}: must be above 0")
        tomogram = replace(tomogram, pixel_size_a=options.pixel_size)
    ports = {port: getattr(options, port, None) for port in opts.VOLUMES}
    given = {port: path for port, path in ports.items() if path is not None}
    chosen = params.get(key, all_protocols()[key].Params())
    return process_tomogram(tomogram, key, chosen, options.output, context, given)


def _last(options: argparse.Namespace) -> str:
    """The step that ``process`` ends with."""
    for key in options.wanted:
        if key not in ORDER:
            raise InputError(f"--with {key}: no such step; there are {', '.join(ORDER)}")
    last = max((*KEYS, *options.wanted), key=ORDER.index)
    if options.stop_after is None:
        return last
    later = [k for k in options.wanted if ORDER.index(k) > ORDER.index(options.stop_after)]
    if later:
        raise InputError(f"--with {later[0]}: comes after --stop-after {options.stop_after}")
    stop: str = options.stop_after
    return stop


def _series(options: argparse.Namespace) -> tuple[TiltSeries, Steps]:
    """The series, and what is kept of it in the output folder."""
    path, name = options.series, None
    if path is None:
        names = names_in(options.output)
        if len(names) != 1:
            there = f"results of {', '.join(names)}" if names else "no results"
            raise InputError(f"{options.output}: has {there}; give SERIES.mrc")
        name = names[0]
    kept = Steps(options.output, name or path.stem)
    before = kept.series if options.target else {}
    if path is None:
        path = Path(before.get("path", ""))
    if before.get("path") != str(path.absolute()):
        before = {}
    said = {m: getattr(options, m) for m in opts.METADATA}
    said = {m: before.get(m) if value is None else value for m, value in said.items()}
    files = {m: None if said[m] is None else Path(said[m]) for m in ("tilt_angles", "mdoc")}
    series = load_tilt_series(
        path, tilt_angles=files["tilt_angles"], axis_deg=said["tilt_axis"],
        pixel_size_a=said["pixel_size"], mdoc=files["mdoc"],
        exclude=opts.views(said["exclude"] or ""),
    )  # fmt: skip
    microscope = {
        "voltage_kv": said["voltage"], "cs_mm": said["cs"],
        "amplitude_contrast": said["amplitude_contrast"],
    }  # fmt: skip
    series = replace(series, **{k: v for k, v in microscope.items() if v is not None})
    series_optics(series)  # refuses what is no microscope
    if said["alignment"] is not None:
        xf = Path(said["alignment"])
        tlt, x_tilt = xf.with_suffix(".tlt"), xf.with_suffix(".xtilt")
        found = read_transforms(xf, tlt, x_tilt, series.n_views)
        series = replace(series, alignment=Alignment(*found))
    kept.series = {"path": str(path.absolute())} | {
        m: str(value.absolute()) if isinstance(value, Path) else value
        for m, value in said.items() if value is not None
    }  # fmt: skip
    return series, kept


def _thickness_of_whichever(options: argparse.Namespace, steps: tuple[str, ...]) -> None:
    """``--thickness`` is that of whichever reconstruction is made."""
    said = vars(options).get("reconstruction.thickness")
    if said is None or "reconstruction" in steps or "reconstruction-iterative" not in steps:
        return
    vars(options).setdefault("reconstruction-iterative.thickness", None)
    if vars(options)["reconstruction-iterative.thickness"] is None:
        vars(options)["reconstruction-iterative.thickness"] = said
    vars(options)["reconstruction.thickness"] = None


def _spare_inputs(options: argparse.Namespace, series: TiltSeries, more: Sequence[Path]) -> None:
    """No result may take the place of a file that was given."""
    results = {f"{series.name}{end}" for end in (".xf", ".tlt", ".xtilt", ".defocus")}
    for path in (options.tilt_angles, options.alignment, *more):
        if path is not None and path.name in results and _same(path.parent, options.output):
            raise InputError(
                f"{path}: the results would take its place; choose another --output, or rename it"
            )


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
