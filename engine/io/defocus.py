"""IMOD's ``.defocus`` files, versions 1 to 3 (manual page of ``ctfphaseflip``).

A row: first and last view (from 1), their tilt angles, defocus (nm), and in version 3 as its first
line's flags say: second defocus and angle of astigmatism (flag 1; flag 2: radians), phase shift
(4; flag 8: radians), cut-on frequency (32). Flag 16 says that the tilt angles have the opposite
sign. Version 2 has one defocus, and its version at the end of its first row.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import write_text
from tiltwright.engine.io.ctf_text import CtfRows, decode, make_rows, number

_ASTIGMATISM, _ASTIGMATISM_RAD, _PHASE, _PHASE_RAD, _INVERTED, _CUT_ON = 1, 2, 4, 8, 16, 32
_ALL_FLAGS = 63


def read_defocus(path: Path) -> CtfRows:
    """Read a ``.defocus`` file.

    Raises
    ------
    InputError
        Not such a file, or damaged.
    """
    lines = [
        (n, [number(path, n, w) for w in line.split()])
        for n, line in enumerate(decode(path).splitlines(), 1) if line.strip()
    ]  # fmt: skip
    if not lines:
        raise InputError(f"{path}: holds no defocus values")
    flags, version, first = 0, 1, lines[0][1]
    if len(first) == 6 and first[5] == 3 and first[1] == 0:
        if not (0 <= first[0] <= _ALL_FLAGS and first[0] == int(first[0])):
            raise InputError(f"{path}: flags {first[0]:g} are not known")
        flags, version = int(first[0]), 3
        del lines[0]
    elif len(first) == 6:
        version = int(first[5]) if first[5] in (1, 2) else 0
        del first[5]
    if version == 0:
        raise InputError(f"{path}: a version that is not known: {first}")
    n_columns = 5 + 2 * bool(flags & _ASTIGMATISM) + bool(flags & _PHASE) + bool(flags & _CUT_ON)
    for n, row in lines:
        if len(row) != n_columns:
            raise InputError(f"{path}: line {n} has {len(row)} columns, not {n_columns}")
    if not lines:
        raise InputError(f"{path}: holds no defocus values")
    table = np.array([row for _, row in lines])
    # The first program counted the views from 0.
    views = table[:, :2] - (1 if version > 1 or table[:, 0].min() >= 1 else 0)
    good = (views >= 0) & (views == np.floor(views)) & (views < 1e6)
    if not (good.all() and (views[:, 0] <= views[:, 1]).all()):
        raise InputError(f"{path}: the view numbers are not whole and ascending")
    tilt = table[:, 2:4].mean(1) * (-1 if flags & _INVERTED else 1)
    u = v = table[:, 4] * 10
    angle = np.zeros(len(u))
    at = 5
    if flags & _ASTIGMATISM:
        v, angle = table[:, 5] * 10, table[:, 6]
        angle = np.rad2deg(angle) if flags & _ASTIGMATISM_RAD else angle
        at = 7
    phase = cut_on = None
    if flags & _PHASE:
        phase = np.rad2deg(table[:, at]) if flags & _PHASE_RAD else table[:, at]
        at += 1
    if flags & _CUT_ON:
        cut_on = table[:, at]
    return make_rows(
        path, u, v, angle, phase_shift_deg=phase, cut_on_per_nm=cut_on, tilt_deg=tilt,
        views=views.astype(np.int64),
    )  # fmt: skip


def write_defocus(
    path: Path, rows: CtfRows, views: npt.NDArray[np.int64], tilt_deg: npt.NDArray[np.float64]
) -> None:
    """Write version 3, one row per view, with the columns that the rows need.

    Parameters
    ----------
    views : (n,) 0-based views of the stack
    tilt_deg : (n,) degrees

    Raises
    ------
    InputError
        Nothing to write, values that are not finite, or the file cannot be written.
    """
    if not len(rows) or not (len(rows) == len(views) == len(tilt_deg)):
        raise InputError(f"{path}: {len(rows)} rows for {len(views)} views cannot be written")
    phase, cut_on = rows.phase_shift_deg, np.nan_to_num(rows.cut_on_per_nm)
    flags = _ASTIGMATISM
    flags |= _PHASE if phase.any() or cut_on.any() else 0
    flags |= _CUT_ON if cut_on.any() else 0
    out = [f"{flags}\t0\t0.0\t0.0\t0.0\t3\n"]
    for i in np.argsort(views, kind="stable"):
        number = int(views[i]) + 1
        values = [rows.u_a[i], rows.v_a[i], rows.angle_deg[i], phase[i], tilt_deg[i]]
        if not all(math.isfinite(x) for x in values):
            raise InputError(f"{path}: refusing to write numbers that are not finite")
        text = f"{number}\t{number}\t{tilt_deg[i]:5.2f}\t{tilt_deg[i]:5.2f}"
        text += f"\t{rows.u_a[i] / 10:8.2f}\t{rows.v_a[i] / 10:8.2f}\t{rows.angle_deg[i]:7.2f}"
        text += f"\t{phase[i]:8.2f}" if flags & _PHASE else ""
        text += f"\t{cut_on[i]:8.4f}" if flags & _CUT_ON else ""
        out.append(text + "\n")
    write_text(path, "".join(out))
