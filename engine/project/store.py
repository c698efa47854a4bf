"""Objects of the model as files and a record that finds them again.

A record is JSON: metadata and paths, never data that a file holds. Paths inside the output folder
start with ``own:``, those inside the project with ``project:``, so that both can be moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tiltwright.engine.ctf.model import Optics
from tiltwright.engine.errors import InputError
from tiltwright.engine.io.frames import FrameStack
from tiltwright.engine.io.hashes import file_hash, value_hash
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.io.mrc_write import MrcWriter, written_type
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.ctf_table import CtfTable, read_table, write_table
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag
from tiltwright.engine.model.files import (
    read_beads,
    read_fit,
    read_model,
    read_transforms,
    write_alignment,
    write_model,
)
from tiltwright.engine.model.tilt_series import HALVES, TiltSeries, open_raw
from tiltwright.engine.model.tomogram import UPRIGHT, Tomogram, Turn
from tiltwright.engine.progress import SILENT, Monitor

Record = dict[str, Any]
_FIT_NUMBERS = ("mean_residual_px", "weighted_mean_px", "leave_one_out_px")


@dataclass(frozen=True)
class Place:
    """Where a run's outputs lie, and the project around them."""

    own: Path
    project: Path

    def name(self, path: Path) -> str:
        """A path as it stands in a record."""
        full = path.absolute()
        for word, base in (("own", self.own), ("project", self.project)):
            if full.is_relative_to(base.absolute()):
                return f"{word}:{full.relative_to(base.absolute()).as_posix()}"
        return str(full)

    def path(self, name: str) -> Path:
        """The path that a record names."""
        word, colon, rest = name.partition(":")
        bases = {"own": self.own, "project": self.project}
        return bases[word] / rest if colon and word in bases else Path(name)


def save_outputs(
    made: Mapping[str, Any], inputs: Mapping[str, Any], place: Place, monitor: Monitor = SILENT
) -> Record:
    """Write the files of a step's outputs for one series; ``{port: record}``.

    The fit of an alignment speaks of the model that it was made with. A step that hands on the
    alignment of its input hands on transforms, angles and the positions of the beads only.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    before = inputs.get("tilt_series")
    series = made.get("tilt_series", before)
    model = made.get("fiducial_model")
    out: Record = {}
    for port, thing in made.items():
        if isinstance(thing, TiltSeries):
            alignment = thing.alignment
            handed_on = before is not None and alignment is before.alignment
            if alignment is not None and (handed_on or model is None):
                thing = replace(thing, alignment=replace(alignment, fit=None))
            out[port] = _save_series(thing, model, place, monitor)
        elif isinstance(thing, FiducialModel):
            out[port] = _save_model(thing, series, place)
        elif isinstance(thing, CtfTable):
            out[port] = _save_ctf(thing, series, place)
        elif isinstance(thing, Tomogram):
            out[port] = {
                "kind": "tomogram", "name": thing.name, "path": place.name(thing.path),
                "shape": list(thing.shape), "pixel_size_a": thing.pixel_size_a,
                "origin": list(thing.origin), "ctf_corrected": thing.ctf_corrected,
            }  # fmt: skip
            if thing.turn != UPRIGHT:
                out[port]["turn"] = [list(row) for row in thing.turn]
    return out


def _save_series(
    series: TiltSeries, model: FiducialModel | None, place: Place, monitor: Monitor
) -> Record:
    record: Record = {
        "kind": "tilt_series", "name": series.name, "path": place.name(series.path),
        "tilt_deg": series.tilt_deg.tolist(), "axis_deg": series.axis_deg,
        "pixel_size_a": series.pixel_size_a, "origin": list(series.origin),
        "excluded": series.excluded.tolist(), "kept": series.kept.tolist(),
        "order": series.order.tolist(), "order_known": series.order_known,
        "dose": None if series.dose is None else series.dose.tolist(),
        "suspect": {str(v): why for v, why in series.suspect.items()},
        "binning": series.binning, "work": None, "alignment": None,
        "image_size": [int(n) for n in series.images.shape[:0:-1]],
        "voltage_kv": series.voltage_kv, "cs_mm": series.cs_mm,
        "amplitude_contrast": series.amplitude_contrast, "ctf_corrected": series.ctf_corrected,
    }  # fmt: skip
    if series.prior_dose is not None:
        record["prior_dose"] = series.prior_dose.tolist()
    if isinstance(series.stack, FrameStack):
        record["views"] = [place.name(path) for path in series.stack.paths]
    if series.work is not None:
        record["work"] = place.name(
            series.work_path or _write_images(series, series.work, "", place, monitor)
        )
    if series.halves is not None:
        paths = series.halves_paths or [
            _write_images(series, half, part, place, monitor)
            for half, part in zip(series.halves, HALVES, strict=True)
        ]
        record["halves"] = [place.name(path) for path in paths]
    if series.erased_path is not None:
        record["erased"] = place.name(series.erased_path)
    if series.alignment is not None:
        record["alignment"] = _save_alignment(series, model, place)
    return record


def _write_images(
    series: TiltSeries, images: Any, part: str, place: Place, monitor: Monitor
) -> Path:
    path = place.own / f"{series.name}_pre{part}.mrc"
    kind = written_type(images.dtype)
    with MrcWriter(path, images.shape, kind, series.image_pixel_size_a) as writer:
        for v in range(len(images)):
            monitor.step(v, len(images), "writing the images")
            writer.write(v, images[v])
    return path


def _save_alignment(series: TiltSeries, model: FiducialModel | None, place: Place) -> Record:
    alignment = series.alignment
    assert alignment is not None
    files = write_alignment(place.own, series, model)
    named = {path.name.removeprefix(series.name): place.name(path) for path in files}
    record: Record = {
        "kind": alignment.kind, "files": named, "valid": alignment.valid.tolist(), "fit": None,
        "strength": None if alignment.strength is None else _finite(alignment.strength),
    }  # fmt: skip
    fit = alignment.fit
    if fit is not None:
        record["fit"] = {name: getattr(fit, name) for name in _FIT_NUMBERS} | {
            "variables": fit.variables, "candidates": [list(c) for c in fit.candidates],
            "n_tracks": len(fit.xyz), "surface": fit.surface.tolist(),
        }  # fmt: skip
    elif alignment.beads is not None:
        record["beads"] = {"surface": alignment.beads.surface.tolist()}
    return record


def _finite(values: Any) -> list[float | None]:
    return [float(x) if np.isfinite(x) else None for x in values]


def _save_model(model: FiducialModel, series: TiltSeries, place: Place) -> Record:
    files = write_model(place.own, series.name, model, series)
    whole = next((p for p in files if p.name.endswith("_nogaps.fid")), files[0])
    return {
        "kind": "fiducial_model", "name": series.name, "diameter_px": model.diameter_px,
        "size_px": list(model.size_px), "n_views": model.n_views, "fid": place.name(whole),
        "measured": place.name(files[0]),
        "points": place.name(files[-1]), "n_tracks": model.n_tracks, "n_points": model.n_points,
        "n_filled": int((model.flag == Flag.FILLED).sum()),
    }  # fmt: skip


def _save_ctf(table: CtfTable, series: TiltSeries, place: Place) -> Record:
    files = write_table(place.own, series.name, table, series)
    named = {path.name.removeprefix(series.name): place.name(path) for path in files}
    return {
        "kind": "ctf_table", "name": series.name, "files": named, "text": table.describe(),
        "voltage_kv": table.optics.voltage_kv, "cs_mm": table.optics.cs_mm,
        "amplitude_contrast": table.optics.amplitude_contrast, "hand": table.hand,
        "hand_confidence": round(table.hand_confidence, 4), "rival": round(table.rival, 4),
    }  # fmt: skip


def load(record: Mapping[str, Any], place: Place) -> Any:
    """The object that a record describes.

    Raises
    ------
    InputError
        A file is missing or damaged, or the record is.
    """
    makers = {
        "tilt_series": _load_series, "fiducial_model": _load_model, "ctf_table": _load_ctf,
        "tomogram": _load_tomo,
    }  # fmt: skip
    try:
        return makers[record["kind"]](record, place)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as exc:
        raise InputError(f"{place.own}: a damaged record of an output ({exc!r})") from exc


def _load_series(r: Mapping[str, Any], place: Place) -> TiltSeries:
    path = place.path(r["path"])
    views = r.get("views")
    stack = open_raw(path)[0] if views is None else FrameStack([place.path(v) for v in views])
    if len(stack) != len(r["tilt_deg"]):
        raise InputError(f"{path}: has {len(stack)} views now, {len(r['tilt_deg'])} when imported")
    per_view = [r.get(key) for key in ("excluded", "kept", "order", "dose", "prior_dose")]
    if any(len(values) != len(stack) for values in per_view if values is not None):
        raise InputError(f"{place.own}: a damaged record of {r['name']} (not one value per view)")
    work = None if r["work"] is None else place.path(r["work"])
    series = TiltSeries(
        path, stack, np.array(r["tilt_deg"], np.float64), r["axis_deg"], r["pixel_size_a"],
        np.array(r["excluded"], np.bool_), tuple(r["origin"]), r["name"],
        np.array(r["order"], np.int64), r["order_known"],
        None if r["dose"] is None else np.array(r["dose"], np.float64),
        np.array(r["kept"], np.bool_), {int(v): why for v, why in r["suspect"].items()},
        None if work is None else open_stack(work), work, r["binning"], None,
        r.get("voltage_kv", 300.0), r.get("cs_mm", 2.7), r.get("amplitude_contrast", 0.1),
        r.get("ctf_corrected", False),
        None if r.get("prior_dose") is None else np.array(r["prior_dose"], np.float64),
    )  # fmt: skip
    if r.get("halves") is not None:
        even, odd = (place.path(half) for half in r["halves"])
        stacks = open_raw(even)[0], open_raw(odd)[0]
        series = replace(series, halves=stacks, halves_paths=(even, odd))
    if r.get("erased") is not None:
        series = replace(series, erased_path=place.path(r["erased"]))
    if r["alignment"] is None:
        return series
    return _with_alignment(series, r["alignment"], place)


def _with_alignment(series: TiltSeries, r: Mapping[str, Any], place: Place) -> TiltSeries:
    files = {ending: place.path(name) for ending, name in r["files"].items()}
    xf, tilt, x_tilt = read_transforms(
        files[".xf"], files[".tlt"], files.get(".xtilt"), series.n_views
    )
    fit = beads = None
    known = r["fit"] or r.get("beads")
    if known is not None:
        beads = read_beads(files[".xyz"], series, np.array(known["surface"], np.int64))
    if beads is not None and r["fit"] is not None:
        unlike = ("surface", "n_tracks")
        numbers = {key: value for key, value in r["fit"].items() if key not in unlike}
        numbers["candidates"] = tuple(tuple(c) for c in numbers["candidates"])
        fit = read_fit(beads, files["_residuals.csv"], series, numbers)
    strength = r["strength"]
    alignment = Alignment(
        xf, tilt, x_tilt, r["kind"], fit,
        None if strength is None else np.array(strength, np.float64),
        np.array(r["valid"], np.bool_), beads,
    )  # fmt: skip
    return replace(series, alignment=alignment)


def _load_model(r: Mapping[str, Any], place: Place) -> FiducialModel:
    return read_model(
        place.path(r["fid"]), r["n_views"], tuple(r["size_px"]), r["diameter_px"],
        place.path(r["points"]) if r.get("points") else None,
    )  # fmt: skip


def _load_ctf(r: Mapping[str, Any], place: Place) -> CtfTable:
    optics = Optics(r["voltage_kv"], r["cs_mm"], r["amplitude_contrast"])
    return read_table(
        place.path(r["files"]["_ctf.csv"]), optics, r["hand"], r["hand_confidence"],
        r.get("rival", 0.0),
    )  # fmt: skip


def _load_tomo(r: Mapping[str, Any], place: Place) -> Tomogram:
    path = place.path(r["path"])
    if not path.exists():
        raise InputError(f"{path}: no such file; run the reconstruction again")
    return Tomogram(
        r["name"], path, tuple(r["shape"]), r["pixel_size_a"], tuple(r["origin"]),
        r.get("ctf_corrected", False), _turn(r.get("turn", UPRIGHT)),
    )  # fmt: skip


def _turn(rows: Any) -> Turn:
    a, b, c = ((float(x), float(y), float(z)) for x, y, z in rows)
    return a, b, c


def record_hash(record: Mapping[str, Any], place: Place) -> str:
    """Identity of an output by its content: the record and every file that it names.

    Where the files lie does not matter.

    Raises
    ------
    InputError
        A file is missing.
    """

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: walk(v) for k, v in value.items()}
        if isinstance(value, list):
            return [walk(v) for v in value] if value and isinstance(value[0], str) else value
        if isinstance(value, str) and (value.startswith(("own:", "project:", "/"))):
            return file_hash(place.path(value))
        return value

    return value_hash(walk(dict(record)))
