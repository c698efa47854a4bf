"""The CTF of a tilt series: one row per view, found again by its order of acquisition."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.ctf.judge import MOST_RIVAL
from tiltwright.engine.ctf.model import Defocus, Optics
from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import read_bytes, write_text
from tiltwright.engine.io.ctf_text import CtfRows
from tiltwright.engine.io.defocus import write_defocus
from tiltwright.engine.model.tilt_series import TiltSeries

Floats = npt.NDArray[np.float64]
_COLUMNS = (
    "order", "tilt_deg", "defocus_u_a", "defocus_v_a", "angle_deg", "phase_shift_deg",
    "cut_on_per_nm", "score", "resolution_a", "sigma_a", "used",
)  # fmt: skip
_DECIMALS = {"tilt_deg": 4, "score": 5, "angle_deg": 3, "phase_shift_deg": 3, "cut_on_per_nm": 4}
_SAME_TILT_DEG = 1.0


@dataclass(frozen=True)
class CtfTable:
    """Defocus, astigmatism and phase shift of the views of a tilt series.

    Everything is per *row*; ``order`` says to which view a row belongs. What the numbers mean
    stands in ``engine/ctf/model.py``.

    Attributes
    ----------
    order : (n_rows,) int64, read-only
        Rank in the order of acquisition, as ``TiltSeries.order``; no two rows have the same.
    tilt_deg : (n_rows,) float64, read-only
        For plots only.
    defocus_u_a, defocus_v_a, angle_deg, phase_shift_deg : (n_rows,) float64, read-only
    cut_on_per_nm, score, resolution_a, sigma_a : (n_rows,) float64, read-only
        Cut-on frequency of the phase plate, fit score (0 to 1), fit resolution, standard error
        of the mean defocus; NaN where it is not known.
    used : (n_rows,) bool, read-only
        False for rows that a program or a person left out.
    optics : Optics
        With which it was found.
    hand : int
        Sign of the defocus gradient across the tilt: 1, -1, or 0 when undetermined.
    hand_confidence : float
        0 to 1: how far the views agree on it.
    rival : float
        Evidence of the best other explanation of the spectra in parts of that for this one
        (``engine/ctf/judge.py``); 0 where it is not known.

    Raises
    ------
    InputError
        Numbers that are not finite, lists of other lengths, or an order that repeats.
    """

    order: npt.NDArray[np.int64]
    tilt_deg: Floats
    defocus_u_a: Floats
    defocus_v_a: Floats
    angle_deg: Floats
    phase_shift_deg: Floats
    cut_on_per_nm: Floats
    score: Floats
    resolution_a: Floats
    sigma_a: Floats
    used: npt.NDArray[np.bool_]
    optics: Optics = field(default_factory=Optics)
    hand: int = 0
    hand_confidence: float = 0.0
    rival: float = 0.0

    def __post_init__(self) -> None:
        """Check, and round to what the file holds, so that reading it back changes nothing."""
        n = len(self.order)
        for name in _COLUMNS:
            values = np.array(getattr(self, name))
            if values.shape != (n,):
                raise InputError(f"CTF table: {values.shape} values of {name} for {n} views")
            if name not in ("order", "used"):
                values = np.round(values.astype(np.float64), _DECIMALS.get(name, 2))
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        if n == 0:
            raise InputError("CTF table: no views")
        for name in ("defocus_u_a", "defocus_v_a", "angle_deg", "phase_shift_deg", "tilt_deg"):
            bad = np.flatnonzero(~np.isfinite(getattr(self, name)))
            if len(bad):
                raise InputError(
                    f"CTF table: {name} of the view acquired as number {self.order[bad[0]]} is "
                    "not a finite number"
                )
        if len(np.unique(self.order)) != n:
            raise InputError("CTF table: two rows for one view")
        if self.hand not in (-1, 0, 1):
            raise InputError(f"CTF table: hand {self.hand} is not -1, 0 or 1")

    @property
    def proven(self) -> bool:
        """Whether the spectra say this and nothing else, as far as it is known."""
        return self.rival <= MOST_RIVAL

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.order)

    def row_of_view(self, series: TiltSeries) -> npt.NDArray[np.int64]:
        """``(n_views,)`` row of each view of a series, -1 where there is none."""
        at = {int(k): i for i, k in enumerate(self.order)}
        return np.array([at.get(int(k), -1) for k in series.order], np.int64)

    def mean_um_of(self, series: TiltSeries) -> Floats:
        """``(n_views,)`` mean defocus of the views of a series, micrometre; NaN without a row."""
        row = self.row_of_view(series)
        mean = (self.defocus_u_a + self.defocus_v_a) / 2e4
        return np.where(row >= 0, mean[row], np.nan)

    def defocus_of(self, row: int) -> Defocus:
        """Defocus of a row, for the functions of ``engine/ctf``."""
        return Defocus(
            float(self.defocus_u_a[row]), float(self.defocus_v_a[row]),
            float(self.angle_deg[row]), float(self.phase_shift_deg[row]),
        )  # fmt: skip

    def components(self) -> Floats:
        """``(n_rows, 4)`` mean defocus, astigmatism components (angstrom), phase shift (deg)."""
        rows = [self.defocus_of(row) for row in range(len(self))]
        return np.array([[*d.components, d.phase_shift_deg] for d in rows])

    def with_row(
        self, row: int, defocus: Defocus, score: float = math.nan, resolution_a: float = math.nan
    ) -> CtfTable:
        """The table with one row set by hand; its error is then not known."""
        values = {
            "defocus_u_a": defocus.u_a, "defocus_v_a": defocus.v_a, "score": score,
            "angle_deg": defocus.angle_deg, "phase_shift_deg": defocus.phase_shift_deg,
            "sigma_a": math.nan, "resolution_a": resolution_a,
        }  # fmt: skip
        new = {}
        for name, value in values.items():
            new[name] = getattr(self, name).copy()
            new[name][row] = value
        return replace(self, **new)

    def with_used(self, rows: Sequence[int], used: bool) -> CtfTable:
        """The table with rows left out or taken back."""
        flags = self.used.copy()
        flags[list(rows)] = used
        return replace(self, used=flags)

    def with_view(self, order: int, tilt_deg: float, defocus: Defocus) -> CtfTable:
        """The table with one more row; raises :class:`InputError` when the view has one."""
        unknown = dict.fromkeys(("cut_on_per_nm", "score", "resolution_a", "sigma_a"), math.nan)
        last = unknown | {
            "order": order, "tilt_deg": tilt_deg, "defocus_u_a": defocus.u_a,
            "defocus_v_a": defocus.v_a, "angle_deg": defocus.angle_deg,
            "phase_shift_deg": defocus.phase_shift_deg, "used": True,
        }  # fmt: skip
        new: dict[str, Any] = {n: np.append(getattr(self, n), last[n]) for n in _COLUMNS}
        new["order"], new["used"] = new["order"].astype(np.int64), new["used"].astype(np.bool_)
        return replace(self, **new)

    def describe(self) -> str:
        """``41 views, defocus 2.91 to 3.22 µm``, as users of the field read it."""
        mean = (self.defocus_u_a + self.defocus_v_a)[self.used] / 2e4
        if not len(mean):
            return f"{len(self)} views, none used"
        return f"{len(self)} views, defocus {mean.min():.2f} to {mean.max():.2f} µm"


def table_of_rows(
    rows: CtfRows, series: TiltSeries, path: Path, optics: Optics | None = None
) -> CtfTable:
    """Give the rows of a file to the views of a series, by their order of acquisition.

    A row that names its views belongs to those of the stack; rows with doses are ranked by them
    when the series knows its order too; otherwise row after row. As many rows as views are asked
    for, except of files that name views.

    Raises
    ------
    InputError
        Another number of views, or other tilt angles, than the series has.
    """
    n = series.n_views
    if rows.views is not None:
        if rows.views.max() >= n:
            raise InputError(
                f"{path}: speaks of view {rows.views.max() + 1}, {series.name} has {n} views"
            )
        rows, view = _spread(rows, rows.views)
    else:
        if len(rows) != n:
            raise InputError(f"{path}: {len(rows)} views, {series.name} has {n}")
        view = np.arange(n)
        if rows.dose is not None and series.order_known and len(np.unique(rows.dose)) == n:
            rank = np.argsort(np.argsort(rows.dose)) + 1
            at = {int(k): v for v, k in enumerate(series.order)}
            if set(rank.tolist()) == set(at):
                view = np.array([at[int(k)] for k in rank])
    if rows.tilt_deg is not None:
        check_tilts(rows.tilt_deg, series.tilt_deg[view], path, series.name)
    said = {**_optics_of(series), **rows.optics}
    return CtfTable(
        series.order[view], series.tilt_deg[view], rows.u_a, rows.v_a, rows.angle_deg,
        rows.phase_shift_deg, rows.cut_on_per_nm, rows.score, rows.resolution_a,
        np.full(len(view), np.nan), rows.used, optics or Optics(**said),
    )  # fmt: skip


def _optics_of(series: TiltSeries) -> dict[str, float]:
    return {
        "voltage_kv": series.voltage_kv, "cs_mm": series.cs_mm,
        "amplitude_contrast": series.amplitude_contrast,
    }  # fmt: skip


def series_optics(series: TiltSeries) -> Optics:
    """The microscope of a series; raises :class:`InputError`."""
    return Optics(**_optics_of(series))


def _spread(rows: CtfRows, ranges: npt.NDArray[np.int64]) -> tuple[CtfRows, npt.NDArray[np.int64]]:
    """One row per view; a row that speaks for several stands for each, the nearest row wins."""
    view = np.arange(ranges.min(), ranges.max() + 1)
    middle = ranges.mean(1)
    inside = (ranges[:, 0] <= view[:, None]) & (view[:, None] <= ranges[:, 1])
    distance = np.where(inside, np.abs(view[:, None] - middle), np.inf)
    there = inside.any(1)
    view, at = view[there], distance.argmin(1)[there]
    single = bool((ranges[:, 0] == ranges[:, 1]).all())
    return CtfRows(
        rows.u_a[at], rows.v_a[at], rows.angle_deg[at], rows.phase_shift_deg[at],
        rows.cut_on_per_nm[at], rows.score[at], rows.resolution_a[at], rows.used[at], None,
        rows.tilt_deg[at] if rows.tilt_deg is not None and single else None, None, rows.optics,
    ), view  # fmt: skip


def check_tilts(said: Floats, ours: Floats, source: Path | str, name: str) -> None:
    """Raise :class:`InputError` where the tilts of ``source`` are those of other views than ours.

    Angles may differ by a constant (an offset) and by a stage's accuracy.
    """
    off = said - ours
    off -= np.median(off)
    bad = np.flatnonzero(~(np.abs(off) < _SAME_TILT_DEG))
    if len(bad):
        k = bad[0]
        raise InputError(
            f"{source}: a tilt of {said[k]:.2f} degrees where {name} has {ours[k]:.2f}: "
            "these are other views"
        )


def write_table(folder: Path, name: str, table: CtfTable, series: TiltSeries) -> list[Path]:
    """Write ``NAME_ctf.csv``, which holds everything, and ``NAME.defocus`` for IMOD.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    row = table.row_of_view(series)
    view = np.flatnonzero(row >= 0)
    at = row[view]
    plain = CtfRows(
        table.defocus_u_a[at], table.defocus_v_a[at], table.angle_deg[at],
        table.phase_shift_deg[at], table.cut_on_per_nm[at], table.score[at],
        table.resolution_a[at], table.used[at],
    )  # fmt: skip
    paths = [folder / f"{name}_ctf.csv", folder / f"{name}.defocus"]
    lines = [",".join(_COLUMNS)]
    for i in range(len(table)):
        cells = [f"{getattr(table, c)[i]:.{_DECIMALS.get(c, 2)}f}" for c in _COLUMNS[1:-1]]
        lines.append(",".join([str(table.order[i]), *cells, str(int(table.used[i]))]))
    write_text(paths[0], "\n".join(lines) + "\n")
    if not len(view):
        return paths[:1]
    write_defocus(paths[1], plain, view, series.tilt_deg[view])
    return paths


def read_table(
    path: Path, optics: Optics, hand: int, hand_confidence: float, rival: float = 0.0
) -> CtfTable:
    """Read what :func:`write_table` wrote into ``NAME_ctf.csv``.

    Raises
    ------
    InputError
        Missing or damaged.
    """
    text = read_bytes(path, 1 << 26).decode("utf-8", "replace")
    reader = csv.reader(io.StringIO(text))
    if tuple(next(reader, ())) != _COLUMNS:
        raise InputError(f"{path}: its first line is not {','.join(_COLUMNS)}")
    try:
        values = np.array([[float(x) for x in row] for row in reader if row])
        if values.ndim != 2 or values.shape[1] != len(_COLUMNS):
            raise ValueError("rows of other lengths")
        columns: dict[str, Any] = dict(zip(_COLUMNS, values.T, strict=True))
        columns["order"] = columns["order"].astype(np.int64)
        columns["used"] = columns["used"] != 0
        return CtfTable(
            **columns, optics=optics, hand=hand, hand_confidence=hand_confidence, rival=rival
        )
    except (ValueError, TypeError) as exc:
        raise InputError(f"{path}: damaged ({exc})") from exc
