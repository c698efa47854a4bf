"""What can be told of a chain before any work: bad input, volumes that do not fit, a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiltwright.engine.errors import InputError
from tiltwright.engine.execution.cost import cost, sizes_of
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import Tomogram, open_tomogram

Volumes = dict[str, dict[str, Tomogram]]


def foresee(
    source: TiltSeries | Tomogram,
    protocols: Mapping[str, Any],
    params: Mapping[str, Any],
    given: Mapping[str, Mapping[str, Path]],
    folder: Path,
    there: Mapping[str, Mapping[str, Any]],
) -> Volumes:
    """Let every step of a chain look at what it will get, and look at the disk.

    Parameters
    ----------
    source
        What the chain begins with.
    protocols, params : mappings
        Of the steps, by key, in order.
    given : mapping
        Key to the volumes that stand in for inputs.
    folder : Path
        Where the results will lie; it need not exist.
    there : mapping
        Key to the outputs that need not be made.

    Returns
    -------
    The volumes of ``given``, opened.

    Raises
    ------
    InputError
        What can be told beforehand is wrong.
    """
    port = "tilt_series" if isinstance(source, TiltSeries) else "tomogram"
    known: dict[str, Any] = {port: source}
    volumes: Volumes = {}
    need = 0.0
    for key, step in protocols.items():
        volumes[key] = {name: open_tomogram(path) for name, path in given.get(key, {}).items()}
        inputs = {p: thing for p, thing in known.items() if p in step.inputs} | volumes[key]
        future = step.foresee(inputs, params[key])
        if key in there:
            future = {p: _placed(t, future.get(p)) for p, t in there[key].items()}
        else:
            need += cost(key, sizes_of(inputs), params[key]).written_bytes
        known = {p: t for p, t in known.items() if p not in step.outputs} | future
    _check_space(folder, need)
    return volumes


def _placed(thing: Any, future: Any) -> Any:
    """A series whose working stack is not kept has the binning that it will have."""
    if isinstance(thing, TiltSeries) and thing.work is None and future is not None:
        return replace(thing, binning=future.binning)
    return thing


def _check_space(folder: Path, need: float) -> None:
    there = next((p for p in (folder, *folder.absolute().parents) if p.exists()), folder)
    try:
        stat = os.statvfs(there)
    except OSError:
        return  # said better when it is written to
    free = stat.f_bavail * stat.f_frsize
    if stat.f_flag & os.ST_RDONLY:
        raise InputError(
            f"{folder}: cannot write there ({os.strerror(errno.EROFS)}); choose another --output"
        )
    if need > free:
        raise InputError(
            f"{folder}: the results need about {need / 2**20:.1f} MiB but the disk has "
            f"{free / 2**20:.1f} MiB free; free space or choose another --output"
        )
