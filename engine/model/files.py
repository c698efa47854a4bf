"""The files of a series: written for people and other programs, and read back as they are.

All in pixels of the raw stack, whatever the binning of the work; see ``engine/conventions.py``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.conventions import EDGE_MINUS_INDEX, aligned_size, image_centre
from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import read_bytes, write_text
from tiltwright.engine.io.model_file import (
    read_fiducial_model,
    write_fiducial_model,
)
from tiltwright.engine.io.model_file import read_model as read_model_file
from tiltwright.engine.io.model_file import write_model as write_model_file
from tiltwright.engine.io.text import (
    Positions,
    Residuals,
    read_angles,
    read_xf,
    read_xyz,
    write_angles,
    write_resid,
    write_xf,
    write_xyz,
)
from tiltwright.engine.model.alignment import ANGLE_DECIMALS, Beads, Fit
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag
from tiltwright.engine.model.foreign import is_track, put_into
from tiltwright.engine.model.tilt_series import TiltSeries

Floats = npt.NDArray[np.float64]
_POINTS = ("contour", "view", "x", "y", "sigma", "flag")
_RESIDUALS = (
    "contour", "view", "x", "y", "residual_x", "residual_y", "sd", "weight", "leave_one_out",
    "flag",
)  # fmt: skip


def _contours(model: FiducialModel, which: npt.NDArray[np.bool_]) -> list[Floats]:
    centre = image_centre(*model.size_px)
    out = []
    for track, here in zip(model.xy, which, strict=True):
        views = np.flatnonzero(here)
        out.append(np.column_stack([track[views] + centre, views]))
    return out


def write_model(folder: Path, name: str, model: FiducialModel, series: TiltSeries) -> list[Path]:
    """Write ``NAME.fid`` with the measured points, ``NAME_nogaps.fid`` with all if some are filled.

    ``NAME_points.csv`` says what a ``.fid`` cannot: where each point comes from and its
    uncertainty. Whatever else the file of another program holds that the model was read from
    (meshes, sizes, labels, other objects) is kept in ``NAME.fid``.

    Raises
    ------
    InputError
        A file cannot be written, or that other file not be read.
    """
    kept = None if model.file is None else put_into(read_model_file(model.file), model)
    nx, ny = model.size_px
    there = model.flag != Flag.GAP
    wanted = [(folder / f"{name}.fid", model.measured)]
    if (model.flag == Flag.FILLED).any():
        wanted.append((folder / f"{name}_nogaps.fid", there))
    for path, which in wanted:
        write_fiducial_model(
            path, _contours(model, which), nx=nx, ny=ny, n_views=model.n_views,
            pixel_size_a=series.pixel_size_a, surfaces=[int(s) + 1 for s in model.surface],
            bead_diameter_px=model.diameter_px, origin=series.origin,
        )  # fmt: skip
    if kept is not None:
        write_model_file(folder / f"{name}.fid", kept)
    rows = [",".join(_POINTS)]
    centre = image_centre(nx, ny)
    for t, v in zip(*np.nonzero(there), strict=True):
        x, y = model.xy[t, v] + centre
        flag = Flag(model.flag[t, v]).name.lower()
        rows.append(f"{t + 1},{v + 1},{x:.5f},{y:.5f},{model.sigma_px[t, v]:.4f},{flag}")
    points = folder / f"{name}_points.csv"
    write_text(points, "\n".join(rows) + "\n")
    return [path for path, _ in wanted] + [points]


def read_model(
    path: Path,
    n_views: int,
    size_px: tuple[int, int],
    diameter_px: float,
    points: Path | None = None,
) -> FiducialModel:
    """Read a ``.fid`` of the raw stack, with the ``_points.csv`` beside it if there is one.

    What another program has drawn on single pictures is no track of a bead, and left out.

    Raises
    ------
    InputError
        Damaged, or a point lies in a view that the series does not have.
    """
    read = zip(*read_fiducial_model(path), strict=True)
    tracks = [(points, side) for points, side in read if is_track(points)]
    contours, surfaces = [t for t, _ in tracks], [s for _, s in tracks]
    model = model_of_contours(contours, surfaces, n_views, size_px, diameter_px, path)
    if points is None or not points.exists():
        return model
    flag, sigma = model.flag.copy(), np.full(model.flag.shape, np.nan)
    for row in _rows(points, _POINTS):
        t, v = int(row["contour"]) - 1, int(row["view"]) - 1
        if 0 <= t < len(flag) and 0 <= v < n_views and flag[t, v]:
            flag[t, v], sigma[t, v] = Flag[row["flag"].upper()], float(row["sigma"])
    return FiducialModel.from_tracks(
        model.xy, size_px, diameter_px, surface=model.surface, flag=flag, sigma_px=sigma
    )


def read_foreign(path: Path, series: TiltSeries, diameter_px: float) -> FiducialModel:
    """Read the model file of any program for ``series``; what else is in it is kept on saving.

    Raises
    ------
    InputError
        Damaged, of images of another size, or a point lies in a view that is not there.
    """
    nx, ny, _ = read_model_file(path).size
    if (nx, ny) != series.size:
        raise InputError(
            f"{path.name} belongs to images of {nx} x {ny} pixels, the series has "
            f"{series.size[0]} x {series.size[1]}"
        )
    points = path.with_name(f"{path.stem}_points.csv")
    model = read_model(path, series.n_views, series.size, diameter_px, points)
    return replace(model, file=path)


def model_of_contours(
    contours: Sequence[Floats],
    surfaces: Sequence[int],
    n_views: int,
    size_px: tuple[int, int],
    diameter_px: float,
    path: Path,
) -> FiducialModel:
    """A model of contours ``(n, 3)``: index x, index y, 0-based view (``path`` for errors).

    Surfaces are IMOD's: 0 undetermined, 1 bottom, 2 top.

    Raises
    ------
    InputError
        A point lies in a view that the series does not have.
    """
    xy = np.full((len(contours), n_views, 2), np.nan)
    for k, contour in enumerate(contours):
        views = np.rint(contour[:, 2]).astype(np.int64)
        if len(views) and not (views.min() >= 0 and views.max() < n_views):
            raise InputError(f"{path}: contour {k + 1} has points outside views 1 to {n_views}")
        xy[k, views] = contour[:, :2] - image_centre(*size_px)
    side = np.clip(np.array(surfaces, np.int64) - 1, 0, None)
    return FiducialModel.from_tracks(xy, size_px, diameter_px, surface=side)


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    text = read_bytes(path, 1 << 28).decode("utf-8", "replace")
    reader = csv.DictReader(io.StringIO(text))
    if tuple(reader.fieldnames or ()) != columns:
        raise InputError(f"{path}: its first line is not {','.join(columns)}")
    try:
        rows = [r for r in reader if all(r[c] is not None for c in columns)]
        for row in rows:
            int(row["contour"]), int(row["view"]), Flag[row["flag"].upper()]
            for name in columns[2:-1]:
                float(row[name])
    except (ValueError, KeyError) as exc:
        raise InputError(f"{path}: a damaged line ({exc})") from exc
    return rows


def write_alignment(
    folder: Path, series: TiltSeries, model: FiducialModel | None = None
) -> list[Path]:
    """Write ``.xf .tlt .xtilt``, with beads ``.xyz``, and with a fit ``.resid _residuals.csv``.

    Views that were excluded get the identity, so that every file has a line per view.
    """
    alignment, name = series.alignment, series.name
    if alignment is None:
        return []
    made = [folder / f"{name}{ending}" for ending in (".xf", ".tlt")]
    write_xf(made[0], alignment.transforms)
    write_angles(made[1], alignment.tilt_deg, decimals=ANGLE_DECIMALS)
    if alignment.kind == "coarse":
        made.append(folder / f"{name}.prexg")
        write_xf(made[-1], alignment.transforms)
    fit, beads = alignment.fit, alignment.beads
    if beads is not None or alignment.x_tilt_deg:
        made.append(folder / f"{name}.xtilt")
        x_tilt = np.full(series.n_views, alignment.x_tilt_deg)
        write_angles(made[-1], x_tilt, decimals=ANGLE_DECIMALS)
    if beads is None:
        return made
    positions = folder / f"{name}.xyz"
    made.append(positions)
    nx, ny = aligned_size(*series.size, series.axis_deg)
    solved = np.flatnonzero(np.isfinite(beads.xyz).all(1))
    corner = np.array([nx / 2, ny / 2, 0.0])
    write_xyz(
        positions,
        Positions(
            beads.xyz[solved] + corner, series.pixel_size_a, (nx, ny),
            np.ones(len(solved), np.int64), solved + 1,
        ),
    )  # fmt: skip
    if fit is not None and model is not None:
        made += _write_residuals(folder, name, fit, model)
    return made


def _write_residuals(folder: Path, name: str, fit: Fit, model: FiducialModel) -> list[Path]:
    track, view = np.nonzero(model.measured & np.isfinite(fit.residual_px[..., 0]))
    index = model.xy[track, view] + image_centre(*model.size_px)
    residual = fit.residual_px[track, view]
    resid, table = folder / f"{name}.resid", folder / f"{name}_residuals.csv"
    write_resid(resid, Residuals(index + EDGE_MINUS_INDEX, view, residual))
    rows = [",".join(_RESIDUALS)]
    for k, (t, v) in enumerate(zip(track, view, strict=True)):
        numbers = (*index[k], *residual[k], fit.sd[t, v], fit.weight[t, v], fit.loo_px[t, v])
        flag = Flag(model.flag[t, v]).name.lower()
        rows.append(f"{t + 1},{v + 1}," + ",".join(f"{x:.4f}" for x in numbers) + f",{flag}")
    write_text(table, "\n".join(rows) + "\n")
    return [resid, table]


def read_transforms(
    xf: Path, tlt: Path, x_tilt: Path | None, n_views: int
) -> tuple[Floats, Floats, float]:
    """Transforms, solved tilt angles and x-axis tilt; raises :class:`InputError`."""
    tilt = 0.0
    if x_tilt is not None and x_tilt.exists():
        tilt = float(np.median(read_angles(x_tilt, n_views)))
    return read_xf(xf, n_views), read_angles(tlt, n_views), tilt


def read_beads(xyz_file: Path, series: TiltSeries, surface: npt.NDArray[np.int64]) -> Beads:
    """Positions of the beads, from ``.xyz``; ``surface`` ``(n_tracks,)`` is that of each.

    Raises
    ------
    InputError
        The file is missing, damaged, or speaks of other beads.
    """
    nx, ny = aligned_size(*series.size, series.axis_deg)
    positions = read_xyz(xyz_file)
    which = positions.contours - 1
    if len(which) and not (which.min() >= 0 and which.max() < len(surface)):
        raise InputError(f"{xyz_file}: speaks of beads that the model does not have")
    xyz = np.full((len(surface), 3), np.nan)
    xyz[which] = positions.xyz_px - [nx / 2, ny / 2, 0.0]
    return Beads(xyz, surface)


def read_fit(beads: Beads, table: Path, series: TiltSeries, numbers: Mapping[str, Any]) -> Fit:
    """The fit of a fiducial alignment, from its beads and ``_residuals.csv``.

    ``numbers`` are the other attributes of a :class:`Fit`: the means, and how they were chosen.

    Raises
    ------
    InputError
        The file is missing, damaged, or speaks of other beads or views.
    """
    shape = (len(beads.xyz), series.n_views)
    residual = np.full((*shape, 2), np.nan)
    weight, loo, sd = np.zeros(shape), np.full(shape, np.nan), np.full(shape, np.nan)
    for row in _rows(table, _RESIDUALS):
        at = int(row["contour"]) - 1, int(row["view"]) - 1
        if not (0 <= at[0] < shape[0] and 0 <= at[1] < shape[1]):
            raise InputError(f"{table}: speaks of beads or views that the model does not have")
        residual[at] = float(row["residual_x"]), float(row["residual_y"])
        weight[at], sd[at] = float(row["weight"]), float(row["sd"])
        loo[at] = float(row["leave_one_out"])
    return Fit(beads.xyz, beads.surface, residual, weight, loo, sd, **numbers)
