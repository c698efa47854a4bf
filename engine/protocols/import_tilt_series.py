"""Import of tilt series, with the alignments and models that other programs left beside them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.aretomo import place, read_aln
from tiltwright.engine.io.etomo import EtomoProject, raw_fiducials, read_etomo
from tiltwright.engine.io.frames import load_frames_mdoc
from tiltwright.engine.io.hashes import file_hash
from tiltwright.engine.io.mdoc import read_mdoc
from tiltwright.engine.io.stack import open_image_stack
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.files import model_of_contours, read_foreign, read_transforms
from tiltwright.engine.model.tilt_series import HALVES, Bools, TiltSeries, load_tilt_series
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter

STACKS = (".mrc", ".mrcs", ".st", ".ali", ".tif", ".tiff")
_BESIDE = (
    ".rawtlt", ".tlt", ".xf", ".xtilt", ".fid", "_points.csv", ".aln", ".mdoc",
)  # fmt: skip
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
            (), label="Files or folders", group="What", path="files",
            help="Stacks, mdoc files (one image per tilt), Etomo folders, or folders to search.",
        )  # fmt: skip
        pattern: str = parameter(
            "*.mrc *.mrcs *.st *.tif *.tiff *.mdoc", label="Pattern", group="What", expert=True,
            help="What to take from a folder; several patterns are separated by spaces.",
        )  # fmt: skip
        leave_out: str = parameter(
            "*_rec.mrc *_ali.mrc *_pre.mrc *.preali* *_full_rec* *_even.* *_odd.*",
            label="Leave out",
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
        halves: Literal["none", "beside"] = parameter(
            "beside", label="Even and odd frames", group="Existing results", expert=True,
            help="Take NAME_even and NAME_odd beside NAME: stacks of half of the frames, which "
            "the steps treat as they treat the whole.",
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
            path = Path(os.path.abspath(Path(text).expanduser()))
            if path.is_dir():
                found += _search(path, params.pattern.split(), params.leave_out.split())
            elif path.exists():
                found.append(_stack_of(path))
            else:
                raise InputError(f"{path}: no such file or folder")
        out: dict[str, Path] = {}
        for path in dict.fromkeys(found):
            plain = name = _stem(path).name
            if name in out:
                plain = name = f"{path.parent.name}_{name}"
            number = 2
            while name in out:
                name, number = f"{plain}_{number}", number + 1
            out[name] = path
        if not out:
            raise InputError("import: no tilt series found; choose stacks, mdoc files or a folder")
        return out

    @classmethod
    def source_hashes(cls, params: Any) -> list[str]:
        """Identity of the files that are imported."""
        out = []
        for name, path in sorted(cls.sources(params).items()):
            beside = [path, *(_beside(path, ending) for ending in _BESIDE)]
            beside += [path.with_name(path.name + ".mdoc"), *_half_paths(path)]
            if _edf(path.parent) is not None:
                beside += sorted(p for s in ("*.edf", "*.prexg", "*.com", "align*.log")
                                 for p in path.parent.glob(s))  # fmt: skip
            if path.suffix == ".mdoc":
                with contextlib.suppress(InputError):
                    beside += load_frames_mdoc(path).stack.paths
            out += [f"{name}:{p.name}:{file_hash(p)}" for p in dict.fromkeys(beside) if p.is_file()]
        return out

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Open one series; ``inputs["source"]`` is its file, ``inputs["name"]`` its name."""
        path: Path = inputs["source"]
        etomo, wrong = None, ""
        try:
            etomo = _etomo_of(path)
        except InputError as exc:
            wrong = str(exc)
        angles = _angles(path, params)
        series = load_tilt_series(
            path, tilt_angles=angles, pixel_size_a=params.pixel_size_a,
            axis_deg=_axis(params, etomo), tomo5={"yes": True, "no": False}.get(params.tomo5),
            angle_range=(params.first_deg, params.step_deg)
            if params.tilt_angles == "range" else None,
        )  # fmt: skip
        if params.dose_per_view is not None:
            dose = np.full(series.n_views, params.dose_per_view)
            series = replace(series, dose=dose, prior_dose=None)
        series = replace(
            series, name=inputs["name"], voltage_kv=params.voltage_kv,
            cs_mm=params.cs_mm, amplitude_contrast=params.amplitude_contrast,
        )  # fmt: skip
        if params.halves == "beside" and path.suffix != ".mdoc":
            series = _with_halves(series, context)
        span = f"{series.tilt_deg.min():.1f} to {series.tilt_deg.max():.1f}"
        context.say(f"{series.describe()}, tilt {span} degrees, axis {series.axis_deg:.1f}")
        out: dict[str, Any] = {"tilt_series": series}
        if wrong:
            context.note(f"nothing is taken over from Etomo: {wrong}")
        elif params.alignment == "beside":
            out |= _existing(series, etomo, context)
        return out


def _with_halves(series: TiltSeries, context: Context) -> TiltSeries:
    """The series with the stacks of half of its frames, if both are there and fit."""
    even, odd = _half_paths(series.path)
    if not (even.is_file() and odd.is_file()):
        return series
    try:
        stacks = tuple(open_image_stack(path)[0] for path in (even, odd))
        wrong = [s.shape for s in stacks if tuple(s.shape) != tuple(series.stack.shape)]
        if wrong:
            raise InputError(f"{even.name}, {odd.name}: {wrong[0]}, not {series.stack.shape}")
    except InputError as exc:
        context.note(f"no halves are taken over: {exc}")
        return series
    context.say(f"even and odd frames taken over: {even.name}, {odd.name}")
    return replace(series, halves=(stacks[0], stacks[1]), halves_paths=(even, odd))


def _half_paths(path: Path) -> list[Path]:
    return [path.with_name(f"{path.stem}{half}{path.suffix}") for half in HALVES]


def _stem(path: Path) -> Path:
    """``X.mrc.mdoc``, ``X.mdoc`` and ``X.mrc`` are of one series."""
    plain = path.with_suffix("") if path.suffix == ".mdoc" else path
    return plain.with_suffix("") if plain.suffix in STACKS else plain


def _beside(path: Path, ending: str) -> Path:
    """``X.rawtlt`` of ``X.mrc``; names may have dots."""
    stem = _stem(path)
    return stem.with_name(stem.name + ending)


def _stack_of(path: Path) -> Path:
    """The stack that an mdoc describes when it lies beside it; else the file itself."""
    if path.suffix != ".mdoc":
        return path
    beside = [path.with_suffix(""), *(_beside(path, ending) for ending in STACKS)]
    return next((p for p in beside if p.suffix in STACKS and p.is_file()), path)


def _search(folder: Path, patterns: list[str], leave_out: list[str]) -> list[Path]:
    """The series of a folder: of an Etomo folder its stack, else what fits the patterns."""
    if _edf(folder) is not None:
        with contextlib.suppress(InputError):
            if (stack := read_etomo(folder).stack) is not None:
                return [stack]
    try:
        every = sorted({p for pattern in patterns for p in folder.glob(pattern) if p.is_file()})
    except (ValueError, NotImplementedError) as exc:
        raise InputError(f"import: a pattern is not understood ({exc})") from exc
    found = [p for p in every if not any(p.match(pattern) for pattern in leave_out)]
    found = list(dict.fromkeys(map(_stack_of, found)))
    # The images that an mdoc names are views, not series.
    views: set[Path] = set()
    for path in found:
        if path.suffix == ".mdoc":
            with contextlib.suppress(InputError, ValueError):
                named = [n for n in read_mdoc(path).frame_names if n]
                views |= {path.with_name(n).with_suffix("") for n in named}
    return [p for p in found if p.suffix == ".mdoc" or p.with_suffix("") not in views]


def _edf(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("*.edf"))), None)


def _etomo_of(path: Path) -> EtomoProject | None:
    """The Etomo project that a stack belongs to; raises :class:`InputError` when damaged."""
    for edf in path.parent.glob("*.edf"):
        for axis in ("", "a", "b"):
            if path.stem == edf.stem + axis:
                return read_etomo(path.parent, axis)
    return None


def _axis(params: Any, etomo: EtomoProject | None) -> float | None:
    if params.axis_deg is not None or etomo is None:
        given: float | None = params.axis_deg
        return given
    return etomo.axis_deg


def _angles(path: Path, params: Any) -> Path | None:
    if params.tilt_angles in ("metadata", "range"):
        return None
    if path.suffix == ".mdoc" and params.tilt_angles == "automatic":
        return None  # a file of angles is in the order of some stack, which is not here
    beside = [_beside(path, ending) for ending in (".rawtlt", ".tlt")]
    found = next((p for p in beside if p.exists()), None)
    if found is None and params.tilt_angles == "file":
        raise InputError(f"{path}: no {beside[0].name} or {beside[1].name} beside it")
    return found


def _existing(series: TiltSeries, etomo: EtomoProject | None, context: Context) -> dict[str, Any]:
    """The alignment and the model that lie beside a series, if any.

    What does not fit the series is said and left: the series itself is good.
    """
    out: dict[str, Any] = {"tilt_series": series}
    try:
        excluded = series.excluded.copy()
        alignment = _alignment(series, etomo, excluded, context)
        out["tilt_series"] = replace(series, alignment=alignment, excluded=excluded)
    except InputError as exc:
        context.note(f"no alignment is taken over: {exc}")
    try:
        model = _model(series, etomo, context)
        if model is not None:
            out["fiducial_model"] = model
    except InputError as exc:
        context.note(f"no fiducial model is taken over: {exc}")
    return out


def _alignment(
    series: TiltSeries, etomo: EtomoProject | None, excluded: Bools, context: Context
) -> Alignment | None:
    """Sets ``excluded`` where the other program left views out."""
    n, path = series.n_views, series.path
    aln, xf, tlt = (_beside(path, ending) for ending in (".aln", ".xf", ".tlt"))
    if etomo is not None and etomo.transforms is not None and etomo.tilt_deg is not None:
        if len(etomo.transforms) != n:
            raise InputError(f"{xf}: {len(etomo.transforms)} transforms for {n} views")
        tilt = 0.0 if etomo.x_tilt_deg is None else float(np.median(etomo.x_tilt_deg))
        excluded[[v for v in etomo.excluded if v < n]] = True
        context.say("alignment of an Etomo folder taken over")
        return Alignment(etomo.transforms, etomo.tilt_deg, tilt, valid=~excluded)
    if aln.exists():
        placed = place(read_aln(aln), n, series.tilt_deg)
        excluded |= placed.excluded
        tilts = np.where(np.isfinite(placed.tilt_deg), placed.tilt_deg, series.tilt_deg)
        context.say(f"alignment of AreTomo taken over, {int(excluded.sum())} views left out there")
        return Alignment(placed.transforms, tilts, valid=~excluded)
    if xf.exists() and tlt.exists():
        alignment = Alignment(*read_transforms(xf, tlt, _beside(path, ".xtilt"), n))
        context.say(f"alignment {xf.name} taken over")
        return alignment
    return None


def _model(
    series: TiltSeries, etomo: EtomoProject | None, context: Context
) -> FiducialModel | None:
    diameter = 100.0 / series.pixel_size_a
    n = series.n_views
    if etomo is not None:
        if etomo.fiducials is None or etomo.prealignment is None:
            return None
        contours, surfaces = raw_fiducials(etomo, series.size)
        if etomo.bead_diameter_nm:
            diameter = etomo.bead_diameter_nm * 10 / series.pixel_size_a
        return model_of_contours(contours, surfaces, n, series.size, diameter, etomo.fiducials)
    fid = _beside(series.path, ".fid")
    if not fid.exists():
        return None
    model = read_foreign(fid, series, diameter)
    context.say(f"fiducial model {fid.name} taken over: {model.n_tracks} contours")
    return model
