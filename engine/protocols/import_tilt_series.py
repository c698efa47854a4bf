"""Import of tilt series, with the alignments and models that other programs left beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.aretomo import place, read_aln
from tiltwright.engine.io.etomo import EtomoProject, raw_fiducials, read_etomo
from tiltwright.engine.io.hashes import file_hash
from tiltwright.engine.io.model_file import read_model as read_model_file
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.files import model_of_contours, read_model, read_transforms
from tiltwright.engine.model.tilt_series import TiltSeries, load_tilt_series
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter

STACKS = (".mrc", ".mrcs", ".st", ".ali", ".tif", ".tiff")
_METADATA = "Empty: from the metadata (mdoc, then the header)."


class ImportTiltSeries(Protocol):
    """Link tilt series into the project, with their metadata; nothing is copied or changed."""

    key = "import-tilt-series"
    title = "Import tilt series"
    section = "Import"
    inspect = "Number of series and views, size, pixel size, range and order of the tilt angles."
    outputs: ClassVar = {
        "tilt_series": Port(TiltSeries, "Tilt series"),
        "fiducial_model": Port(FiducialModel, "Imported fiducial model", optional=True),
    }

    class Params(base.Parameters):
        files: tuple[str, ...] = parameter(
            (), label="Files or folders", group="What",
            help="Stacks, mdoc files (one image per tilt), Etomo folders, or folders to search.",
        )  # fmt: skip
        pattern: str = parameter(
            "*.mrc *.mrcs *.st *.tif *.tiff *.mdoc", label="Pattern", group="What", expert=True,
            help="What to take from a folder; several patterns are separated by spaces.",
        )  # fmt: skip
        leave_out: str = parameter(
            "*_rec.mrc *_ali.mrc *_pre.mrc *.preali* *_full_rec*", label="Leave out",
            group="What", expert=True, help="What not to take from a folder.",
        )  # fmt: skip
        tilt_angles: Literal["automatic", "file", "metadata", "range"] = parameter(
            "automatic", label="Tilt angles", group="Geometry",
            help="Automatic: a .rawtlt or .tlt of the same name, else the mdoc, else the header.",
        )  # fmt: skip
        first_deg: float = parameter(
            -60.0, label="First angle", unit="deg", ge=-90, le=90, group="Geometry",
            shown_if={"tilt_angles": "range"}, help="Tilt angle of the first view.",
        )  # fmt: skip
        step_deg: float = parameter(
            3.0, label="Step", unit="deg", ge=-30, le=30, group="Geometry",
            shown_if={"tilt_angles": "range"}, help="From one view to the next.",
        )  # fmt: skip
        axis_deg: float | None = parameter(
            None, label="Tilt axis angle", unit="deg", ge=-360, le=360, group="Geometry",
            imod="RotationAngle", help="Counter-clockwise from the vertical. " + _METADATA,
        )  # fmt: skip
        tomo5: Literal["automatic", "yes", "no"] = parameter(
            "automatic", label="Mdoc of Tomo5", group="Geometry", expert=True,
            help="Tomo5 counts the axis otherwise: it becomes -axis - 90.",
        )  # fmt: skip
        pixel_size_a: float | None = parameter(
            None, label="Pixel size", unit="Å/px", gt=0, le=1000, group="Microscope",
            help="Of the raw stack. " + _METADATA,
        )  # fmt: skip
        dose_per_view: float | None = parameter(
            None, label="Dose per view", unit="e/Å²", ge=0, le=1000, group="Microscope",
            help=_METADATA,
        )  # fmt: skip
        voltage_kv: float = parameter(
            300.0, label="Voltage", unit="kV", gt=0, le=1000, group="Microscope", help="Of the gun."
        )
        cs_mm: float = parameter(
            2.7, label="Spherical aberration", unit="mm", ge=0, le=20, group="Microscope",
            help="Cs of the objective lens.",
        )  # fmt: skip
        amplitude_contrast: float = parameter(
            0.1, label="Amplitude contrast", ge=0, le=1, group="Microscope",
            help="Part of the contrast that does not depend on focus.",
        )  # fmt: skip
        alignment: Literal["none", "beside"] = parameter(
            "beside", label="Existing alignment", group="Existing results",
            help="Take .xf .tlt .fid of the same name, an Etomo folder's, or AreTomo's .aln.",
        )  # fmt: skip

    @classmethod
    def sources(cls, params: Any) -> dict[str, Path]:
        """Name of each series to its file; raises :class:`InputError` when there is none."""
        found: list[Path] = []
        for text in params.files:
            path = Path(text).expanduser()
            if path.is_dir():
                found += _search(path, params.pattern.split(), params.leave_out.split())
            elif path.exists():
                found.append(path)
            else:
                raise InputError(f"{path}: no such file or folder")
        stacks = {_stem(p) for p in found if p.suffix != ".mdoc"}
        out: dict[str, Path] = {}
        for path in found:
            if path.suffix == ".mdoc" and _stem(path) in stacks:
                continue
            name = _stem(path).name
            if name in out and out[name] != path:
                name = f"{path.parent.name}_{name}"
            out[name] = path
        if not out:
            raise InputError("import: no tilt series found; choose stacks, mdoc files or a folder")
        return out

    @classmethod
    def source_hashes(cls, params: Any) -> list[str]:
        """Identity of the files that are imported."""
        out = []
        for name, path in sorted(cls.sources(params).items()):
            beside = [path, *(path.with_suffix(s) for s in (".rawtlt", ".tlt", ".xf", ".fid"))]
            beside += [path.with_suffix(".aln"), path.with_name(path.name + ".mdoc")]
            out += [f"{name}:{p.suffix}:{file_hash(p)}" for p in beside if p.is_file()]
        return out

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Open one series; ``inputs["source"]`` is its file, ``inputs["name"]`` its name."""
        path: Path = inputs["source"]
        etomo = read_etomo(path.parent) if _is_etomo(path) else None
        angles = _angles(path, params, etomo)
        series = load_tilt_series(
            path, tilt_angles=angles, pixel_size_a=params.pixel_size_a,
            axis_deg=_axis(params, etomo), tomo5={"yes": True, "no": False}.get(params.tomo5),
            angle_range=(params.first_deg, params.step_deg)
            if params.tilt_angles == "range" else None,
        )  # fmt: skip
        dose = series.dose
        if params.dose_per_view is not None:
            dose = np.full(series.n_views, params.dose_per_view)
        series = replace(
            series, name=inputs["name"], dose=dose, voltage_kv=params.voltage_kv,
            cs_mm=params.cs_mm, amplitude_contrast=params.amplitude_contrast,
        )  # fmt: skip
        span = f"{series.tilt_deg.min():.1f} to {series.tilt_deg.max():.1f}"
        context.say(f"{series.describe()}, tilt {span} degrees, axis {series.axis_deg:.1f}")
        out: dict[str, Any] = {"tilt_series": series}
        if params.alignment == "beside":
            out |= _existing(series, etomo, context)
        return out


def _stem(path: Path) -> Path:
    """``X.mrc.mdoc``, ``X.mdoc`` and ``X.mrc`` are of one series."""
    plain = path.with_suffix("") if path.suffix == ".mdoc" else path
    return plain.with_suffix("") if plain.suffix in STACKS else plain


def _search(folder: Path, patterns: list[str], leave_out: list[str]) -> list[Path]:
    if _edf(folder) is not None:
        stack = read_etomo(folder).stack
        return [stack] if stack is not None else []
    found = sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file()})
    return [p for p in found if not any(p.match(pattern) for pattern in leave_out)]


def _edf(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("*.edf"))), None)


def _is_etomo(path: Path) -> bool:
    edf = _edf(path.parent)
    return edf is not None and path.stem.startswith(edf.stem)


def _axis(params: Any, etomo: EtomoProject | None) -> float | None:
    if params.axis_deg is not None or etomo is None:
        given: float | None = params.axis_deg
        return given
    return etomo.axis_deg


def _angles(path: Path, params: Any, etomo: EtomoProject | None) -> Path | None:
    if params.tilt_angles in ("metadata", "range"):
        return None
    beside = [_stem(path).with_suffix(s) for s in (".rawtlt", ".tlt")]
    if etomo is not None:
        beside += [etomo.folder / f"{etomo.name}.rawtlt"]
    found = next((p for p in beside if p.exists()), None)
    if found is None and params.tilt_angles == "file":
        raise InputError(f"{path}: no {beside[0].name} or {beside[1].name} beside it")
    return found


def _existing(series: TiltSeries, etomo: EtomoProject | None, context: Context) -> dict[str, Any]:
    """The alignment and the model that lie beside a series, if any."""
    stem = _stem(series.path)
    n = series.n_views
    alignment: Alignment | None = None
    excluded = series.excluded.copy()
    model: FiducialModel | None = None
    diameter = 100.0 / series.pixel_size_a
    if etomo is not None and etomo.transforms is not None and etomo.tilt_deg is not None:
        tilt = 0.0 if etomo.x_tilt_deg is None else float(np.median(etomo.x_tilt_deg))
        excluded[[v for v in etomo.excluded if v < n]] = True
        alignment = Alignment(etomo.transforms, etomo.tilt_deg, tilt, valid=~excluded)
        if etomo.fiducials is not None and etomo.prealignment is not None:
            contours, surfaces = raw_fiducials(etomo, series.size)
            if etomo.bead_diameter_nm:
                diameter = etomo.bead_diameter_nm * 10 / series.pixel_size_a
            model = model_of_contours(contours, surfaces, n, series.size, diameter, etomo.fiducials)
        context.say("alignment of an Etomo folder taken over")
    elif (aln := stem.with_suffix(".aln")).exists():
        placed = place(read_aln(aln), n, series.tilt_deg)
        excluded |= placed.excluded
        tilts = np.where(np.isfinite(placed.tilt_deg), placed.tilt_deg, series.tilt_deg)
        alignment = Alignment(placed.transforms, tilts, valid=~excluded)
        context.say(f"alignment of AreTomo taken over, {int(excluded.sum())} views left out there")
    elif (xf := stem.with_suffix(".xf")).exists() and stem.with_suffix(".tlt").exists():
        alignment = Alignment(
            *read_transforms(xf, stem.with_suffix(".tlt"), stem.with_suffix(".xtilt"), n)
        )
        context.say(f"alignment {xf.name} taken over")
    fid = stem.with_suffix(".fid")
    if model is None and etomo is None and fid.exists():
        nx, ny, _ = read_model_file(fid).size
        if (nx, ny) == series.size:
            points = fid.with_name(stem.name + "_points.csv")
            model = read_model(fid, n, series.size, diameter, points)
            context.say(f"fiducial model {fid.name} taken over: {model.n_tracks} contours")
        else:
            context.note(
                f"{fid.name} is not taken over: it belongs to images of {nx} x {ny} pixels, the "
                f"series has {series.size[0]} x {series.size[1]}"
            )
    out: dict[str, Any] = {"tilt_series": replace(series, alignment=alignment, excluded=excluded)}
    if model is not None:
        out["fiducial_model"] = model
    return out
