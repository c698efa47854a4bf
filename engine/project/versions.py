"""Versions of a fiducial model or of a CTF table: saving never overwrites, any two are compared.

Each version is a folder ``v001``, ``v002``, ... with ``NAME.fid`` and ``NAME_points.csv``, or with
``NAME_ctf.csv`` and ``NAME.defocus``, which IMOD and every other reader of such files open, and
``version.json``, written last: a version without it was not finished.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import file_error, read_bytes, write_text
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.files import read_model, write_model
from tiltwright.engine.model.pairs import pair_contours
from tiltwright.engine.model.tilt_series import TiltSeries

_RECORD = "version.json"


@dataclass(frozen=True)
class Version:
    """A saved model or table.

    Attributes
    ----------
    number : int
        From 1.
    path : Path
        Its folder.
    name : str
        Of the files in it.
    time : float
        Seconds since 1970.
    author, note : str
    numbers : mapping
        What the alignment said of it: ``mean_residual_px``, ``leave_one_out_px``, ...
    diameter_px : float
        0 where it is not a model of beads.
    """

    number: int
    path: Path
    name: str
    time: float
    author: str
    note: str
    numbers: Mapping[str, float]
    diameter_px: float

    @property
    def model_path(self) -> Path:
        """The ``.fid`` with the measured points."""
        return self.path / f"{self.name}.fid"


def save_version(
    folder: Path,
    name: str,
    model: FiducialModel,
    series: TiltSeries,
    *,
    author: str = "",
    note: str = "",
    numbers: Mapping[str, float] | None = None,
    keep: Path | None = None,
) -> Version:
    """Save ``model`` as the next version.

    Parameters
    ----------
    numbers
        What the alignment says of it.
    keep
        The model file of another program that it was opened from: whatever else is in that
        file (meshes, sizes, labels, other objects) is kept in the version's.

    Raises
    ------
    InputError
        A file cannot be written, or ``keep`` not be read.
    """
    path = new_folder(folder)
    write_model(path, name, model if keep is None else replace(model, file=keep), series)
    more = {
        "diameter_px": model.diameter_px, "n_contours": model.n_tracks, "n_points": model.n_points,
    }  # fmt: skip
    return write_record(path, name, author, note, numbers or {}, **more)


def new_folder(folder: Path) -> Path:
    """Make the folder of the next version; raises :class:`InputError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = max((int(p.name[1:]) for p in _folders(folder)), default=0) + 1
        while True:
            path = folder / f"v{number:03d}"
            try:
                # Only one of two who save at the same time can make the folder.
                path.mkdir()
                return path
            except FileExistsError:
                number += 1
    except OSError as exc:
        raise file_error(folder, exc) from exc


def write_record(
    path: Path, name: str, author: str, note: str, numbers: Mapping[str, float], **more: float
) -> Version:
    """Write what makes a folder with files a version; raises :class:`InputError`."""
    finite = {k: float(v) for k, v in numbers.items() if math.isfinite(v)}
    version = Version(
        int(path.name[1:]), path, name, round(time.time(), 3), author, note, finite,
        more.get("diameter_px", 0.0),
    )  # fmt: skip
    record = {
        "name": name, "time": version.time, "author": author, "note": note, "numbers": finite,
        **more,
    }  # fmt: skip
    write_text(path / _RECORD, json.dumps(record, indent=1) + "\n")
    return version


def _folders(folder: Path) -> list[Path]:
    return [p for p in folder.glob("v[0-9]*") if p.name[1:].isdigit() and p.is_dir()]


def list_versions(folder: Path) -> list[Version]:
    """The versions in a folder, oldest first; raises :class:`InputError` for a damaged one."""
    found = []
    for path in _folders(folder):
        record = path / _RECORD
        if not record.exists():
            continue
        try:
            d = json.loads(read_bytes(record))
            found.append(
                Version(
                    int(path.name[1:]), path, str(d["name"]), float(d["time"]), str(d["author"]),
                    str(d["note"]), {str(k): float(v) for k, v in d["numbers"].items()},
                    float(d.get("diameter_px", 0.0)),
                )
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise InputError(f"{record}: not the record of a version ({exc})") from exc
    return sorted(found, key=lambda v: v.number)


def open_version(version: Version, series: TiltSeries) -> FiducialModel:
    """The model of a version; raises :class:`InputError`."""
    whole = version.path / f"{version.name}_nogaps.fid"
    return read_model(
        whole if whole.exists() else version.model_path, series.n_views, series.size,
        version.diameter_px, version.path / f"{version.name}_points.csv",
    )  # fmt: skip


@dataclass(frozen=True)
class Differences:
    """Which points differ between two models, as ``(contour, other contour, view)``.

    Attributes
    ----------
    moved : tuple, moved_px : (n,)
        Points of both at other places, and how far apart.
    only_first, only_second : tuple
        Points that only one of them has.
    contours_only_first, contours_only_second : tuple of int
        Contours that the other does not have.
    """

    moved: tuple[tuple[int, int, int], ...]
    moved_px: npt.NDArray[np.float64]
    only_first: tuple[tuple[int, int, int], ...]
    only_second: tuple[tuple[int, int, int], ...]
    contours_only_first: tuple[int, ...]
    contours_only_second: tuple[int, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (
            self.moved or self.only_first or self.only_second or self.contours_only_first
            or self.contours_only_second
        )  # fmt: skip


def compare(
    first: FiducialModel, second: FiducialModel, tolerance_px: float = 0.001
) -> Differences:
    """Which measured points differ.

    Contours belong together that share most points within a bead's diameter, whatever their
    numbers.

    Raises
    ------
    InputError
        The models have different numbers of views.
    """
    if first.n_views != second.n_views:
        raise InputError(f"models of {first.n_views} and {second.n_views} views")
    a = np.where(first.measured[..., None], first.xy, np.nan)
    b = np.where(second.measured[..., None], second.xy, np.nan)
    pairs = pair_contours(a, b, first.diameter_px)
    moved, far, only_a, only_b = [], [], [], []
    for i, j in pairs:
        away = np.hypot(*(a[i] - b[j]).T)
        for v in range(first.n_views):
            here, there = np.isfinite(a[i, v, 0]), np.isfinite(b[j, v, 0])
            if here and there and away[v] > tolerance_px:
                moved.append((i, j, v))
                far.append(float(away[v]))
            elif here and not there:
                only_a.append((i, j, v))
            elif there and not here:
                only_b.append((i, j, v))
    return Differences(
        tuple(moved), np.array(far), tuple(only_a), tuple(only_b),
        tuple(sorted(set(range(len(a))) - {i for i, _ in pairs})),
        tuple(sorted(set(range(len(b))) - {j for _, j in pairs})),
    )  # fmt: skip
