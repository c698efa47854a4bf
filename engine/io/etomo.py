"""An Etomo folder: what IMOD's user interface left of an alignment.

The ``.xf`` there belongs to the raw, unbinned stack, as ours does. The ``.fid`` lies on the
*prealigned*, possibly binned stack: :func:`raw_fiducials` takes it back through the ``.prexg``.
Descriptions: the manual pages of ``newstack``, ``tilt`` and ``tiltalign``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import file_error, read_bytes
from tiltwright.engine.io.mdoc import numbers
from tiltwright.engine.io.model_file import read_fiducial_model, read_model
from tiltwright.engine.io.text import read_angles, read_xf

Floats = NDArray[np.float64]
_TEXT_LIMIT = 1 << 26
_RESIDUAL = re.compile(r"Residual error mean and sd:\s*([\d.]+)\s+([\d.]+)\s*(nm)?")


@dataclass(frozen=True)
class EtomoProject:
    """An Etomo folder, ``None`` where it does not say.

    Attributes
    ----------
    name : str
        Name of the files, the axis letter of a dual-axis set included.
    axis_deg, pixel_size_a, bead_diameter_nm : float
        As set up by the user; the pixel size of the raw stack.
    transforms : (n_views, 2, 3), prealignment : (n_views, 2, 3)
        ``.xf`` and ``.prexg``, pixels of the raw stack.
    tilt_deg, nominal_deg, x_tilt_deg : (n_views,)
        ``.tlt``, ``.rawtlt``, ``.xtilt``.
    excluded : tuple of int
        0-based views left out of the alignment.
    prealigned_binning, aligned_binning : int
    thickness : int
        Unbinned, as ``tilt.com`` has it.
    mean_residual : float
        Of ``align.log``, in ``residual_unit`` (``nm`` or ``px`` of the prealigned stack).
    """

    folder: Path
    name: str
    stack: Path | None = None
    fiducials: Path | None = None
    axis_deg: float | None = None
    pixel_size_a: float | None = None
    bead_diameter_nm: float | None = None
    transforms: Floats | None = None
    prealignment: Floats | None = None
    tilt_deg: Floats | None = None
    nominal_deg: Floats | None = None
    x_tilt_deg: Floats | None = None
    excluded: tuple[int, ...] = ()
    prealigned_binning: int = 1
    aligned_binning: int = 1
    thickness: int | None = None
    mean_residual: float | None = None
    residual_unit: str = "nm"
    options: dict[str, dict[str, str]] = field(default_factory=dict)


def read_edf(path: str | os.PathLike[str]) -> dict[str, str]:
    """Settings of an Etomo data file (Java properties); raises :class:`InputError`."""
    out: dict[str, str] = {}
    for line in _text(path).splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(("#", "!")):
            out[key.strip()] = re.sub(r"\\(.)", r"\1", value.strip())
    if not any(key.startswith("Setup.") for key in out):
        raise InputError(f"{path}: not an Etomo data file (.edf)")
    return out


def read_com(path: str | os.PathLike[str]) -> dict[str, str]:
    """Options of a command file (``newst.com``, ``tilt.com``), ``KEY value`` or ``KEY=value``.

    Names are in lower case, as the programs take either.

    Raises
    ------
    InputError
        Not a command file.
    """
    text = _text(path)
    if not any(line.startswith("$") for line in text.splitlines()):
        raise InputError(f"{path}: not a command file")
    out: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z]\w*)(?:[\s=]+(.*))?\Z", line)
        if match is not None:
            out[match[1].lower()] = (match[2] or "").strip()
    return out


def read_log_options(path: str | os.PathLike[str], program: str = "tiltalign") -> dict[str, str]:
    """Options that a log file says a program ran with, names in lower case.

    Raises
    ------
    InputError
        The file cannot be read or has no such entry.
    """
    out: dict[str, str] = {}
    inside = found = False
    for line in _text(path).splitlines():
        if line.startswith("*** Entries to program "):
            inside = line.split()[4:5] == [program]
            found |= inside
        elif line.startswith("*** End"):
            inside = False
        elif inside and "=" in line:
            key, value = line.split("=", 1)
            out[key.strip().lower()] = value.strip()
    if not found:
        raise InputError(f"{path}: not the log of {program}")
    return out


def view_list(text: str) -> tuple[int, ...]:
    """0-based views of a list such as ``1,3-5,40``; empty where it is not one."""
    out: set[int] = set()
    for part in text.replace(" ", ",").split(","):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part)
        if match is not None:
            first, last = int(match[1]), int(match[2] or match[1])
            out.update(range(first - 1, last))
        elif part:
            return ()
    return tuple(sorted(v for v in out if v >= 0))


def read_etomo(folder: str | os.PathLike[str], axis: str = "") -> EtomoProject:
    """Read what an Etomo folder says of a series.

    Parameters
    ----------
    axis : str
        ``a`` or ``b`` for an axis of a dual-axis set.

    Raises
    ------
    InputError
        No ``.edf`` there or more than one, a damaged file, or files of different lengths.
    """
    base = Path(folder)
    try:
        found = sorted(p for p in base.iterdir() if p.suffix == ".edf")
    except OSError as exc:
        raise file_error(base, exc) from exc
    if len(found) != 1:
        raise InputError(f"{base}: {len(found)} Etomo data files (.edf) there, one is needed")
    edf = read_edf(found[0])
    name = (edf.get("Setup.DatasetName") or found[0].stem) + axis
    if Path(name).name != name:
        raise InputError(f"{found[0]}: {name[:80]!r} is not the name of a data set")
    letter = axis.upper() or "A"
    coms = {key: base / f"{key}{axis}.com" for key in ("prenewst", "newst", "tilt", "align")}
    options = {key: read_com(path) for key, path in coms.items() if path.is_file()}
    log = base / f"align{axis}.log"
    if log.is_file():
        options["align.log"] = read_log_options(log)

    def number(key: str) -> float | None:
        values = numbers(edf.get(key))
        return values[0] if values else None

    def whole(step: str, key: str) -> int | None:
        values = numbers(options.get(step, {}).get(key))
        return int(values[0]) if values and 1 <= values[0] < 1e6 else None

    pixel_nm, axis_deg = number("Setup.PixelSize"), number(f"Setup.ImageRotation{letter}")
    binning = whole("align.log", "imagesarebinned") or whole("align", "imagesarebinned")
    suffixes = [edf.get("Setup.RawImageStackExt", ""), "st", "mrc", "mrcs"]
    project = EtomoProject(
        folder=base,
        name=name,
        stack=_first(base, [f"{name}.{s}" for s in suffixes if s]),
        fiducials=_first(base, [f"{name}.fid"]),
        axis_deg=axis_deg if axis_deg is not None and abs(axis_deg) <= 360 else None,
        pixel_size_a=pixel_nm * 10 if pixel_nm is not None and 0 < pixel_nm < 1e5 else None,
        bead_diameter_nm=number("Setup.FiducialDiameter"),
        transforms=_optional(read_xf, base / f"{name}.xf"),
        prealignment=_optional(read_xf, base / f"{name}.prexg"),
        tilt_deg=_optional(read_angles, base / f"{name}.tlt"),
        nominal_deg=_optional(read_angles, base / f"{name}.rawtlt"),
        x_tilt_deg=_optional(read_angles, base / f"{name}.xtilt"),
        excluded=view_list(edf.get(f"Setup.Axis{letter}.ExcludeProjections", "")),
        prealigned_binning=binning or whole("prenewst", "binbyfactor") or 1,
        aligned_binning=whole("newst", "binbyfactor") or 1,
        thickness=whole("tilt", "thickness"),
        options=options,
        **_residual(log),
    )
    _same_length(project)
    return project


def raw_fiducials(
    project: EtomoProject, raw_size: tuple[int, int]
) -> tuple[list[Floats], list[int]]:
    """The fiducial model in pixels of the raw stack.

    Parameters
    ----------
    raw_size : (nx, ny)

    Returns
    -------
    contours : list of (n, 3) float64
        Index x, index y, 0-based view.
    surfaces : list of int

    Raises
    ------
    InputError
        No ``.fid`` or ``.prexg``, or points on views that the prealignment does not have.
    """
    if project.fiducials is None or project.prealignment is None:
        raise InputError(f"{project.folder}: no {project.name}.fid with its .prexg there")
    nx, ny, _ = read_model(project.fiducials).size
    binning, size = project.prealigned_binning, np.array(raw_size)
    # Odd sizes binned by an even number: that grid lies half a raw pixel off the centre.
    half = np.where((size % 2 == 1) & (binning % 2 == 0), -0.5, 0.0)
    contours, surfaces = read_fiducial_model(project.fiducials)
    out = []
    for points in contours:
        views = np.rint(points[:, 2]).astype(np.int64)
        if ((views < 0) | (views >= len(project.prealignment))).any():
            raise InputError(f"{project.fiducials}: points on views that the series does not have")
        xf = project.prealignment[views]
        centred = (points[:, :2] - [(nx - 1) / 2, (ny - 1) / 2]) * binning
        raw = np.linalg.solve(xf[:, :, :2], (centred - xf[:, :, 2])[:, :, None])[:, :, 0]
        raw += (size - 1) / 2 + half
        out.append(np.column_stack([raw, views]))
    return out, surfaces


def _text(path: str | os.PathLike[str]) -> str:
    return read_bytes(path, _TEXT_LIMIT).decode("latin-1")


def _first(folder: Path, names: list[str]) -> Path | None:
    return next((folder / n for n in names if (folder / n).is_file()), None)


def _optional(read: Callable[[Path], Floats], path: Path) -> Floats | None:
    return read(path) if path.is_file() else None


def _residual(log: Path) -> dict[str, Any]:
    match = _RESIDUAL.search(_text(log)) if log.is_file() else None
    if match is None or not numbers(match[1]):
        return {}
    return {"mean_residual": float(match[1]), "residual_unit": match[3] or "px"}


def _same_length(project: EtomoProject) -> None:
    lengths = {
        kind: len(values)
        for kind, values in (
            ("xf", project.transforms), ("prexg", project.prealignment),
            ("tlt", project.tilt_deg), ("rawtlt", project.nominal_deg),
            ("xtilt", project.x_tilt_deg),
        )
        if values is not None
    }  # fmt: skip
    if len(set(lengths.values())) > 1:
        said = ", ".join(f".{kind} {n}" for kind, n in lengths.items())
        raise InputError(f"{project.folder}: files of {project.name} differ in length: {said}")
