"""AreTomo's alignment files (``.aln``) and what they mean in our convention.

Per view AreTomo gives the tilt axis angle ``ROT`` (degrees, counter-clockwise from the vertical)
and the shift ``TX TY``: where the centre of rotation of the specimen lies in the raw image, from
the image centre, in unbinned pixels. Our projection is ``p_raw - c = s + R(phi) ...`` with the
same ``phi = ROT`` and ``s = (TX, TY)``, so that ``A = R(-ROT)`` and ``d = -A s``; AreTomo's own
``.xf`` for IMOD holds the same numbers. ``TILT`` is written to IMOD's ``.tlt`` as it is.

``SEC`` is the section of the raw stack, from 1; older versions counted from 0. Views that AreTomo
found too dark are left out of the table and named in ``DarkFrame`` lines: index in the stack
sorted by tilt (from 0), section, tilt. Zheng et al. 2022, doi:10.1016/j.yjsbx.2022.100068.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import read_bytes, write_text

Floats = NDArray[np.float64]
_MOST = 1_000_000
_HEADER = re.compile(r"#\s*(\w+)\s*=\s*(.*)")
_KNOWN = ("RawSize", "NumPatches", "DarkFrame", "AlphaOffset", "BetaOffset", "Thickness")
_COLUMNS = (
    "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT"
)
_AGREE_DEG = 0.6


class DarkFrame(NamedTuple):
    """A view that AreTomo left out: rank by tilt from 0, section as written, tilt in degrees."""

    frame: int
    section: int
    tilt_deg: float


@dataclass(frozen=True)
class AreTomoAlignment:
    """An ``.aln`` file as it stands; one entry per view of its table.

    Attributes
    ----------
    section : (n,) int64
        As written, see the module.
    rot_deg, tilt_deg : (n,) float64
    shift_px : (n, 2) float64
        ``TX, TY``, unbinned pixels.
    raw_size : (nx, ny, n_views) or None
    local : (m, 7) float64
        Rows of the local alignment: view of the table, patch, centre x, y, shift x, y, reliable.
    """

    section: NDArray[np.int64]
    rot_deg: Floats
    shift_px: Floats
    tilt_deg: Floats
    raw_size: tuple[int, int, int] | None = None
    dark: tuple[DarkFrame, ...] = ()
    alpha_offset_deg: float = 0.0
    beta_offset_deg: float = 0.0
    thickness_px: int | None = None
    n_patches: int = 0
    local: Floats = field(default_factory=lambda: np.zeros((0, 7)))

    @property
    def transforms(self) -> Floats:
        """Transforms of the views of the table, ``(n, 2, 3)``, pixels of the raw stack."""
        angle = np.deg2rad(-self.rot_deg)
        cos, sin = np.cos(angle), np.sin(angle)
        out = np.empty((len(angle), 2, 3))
        out[:, :, :2] = np.stack([cos, -sin, sin, cos], -1).reshape(-1, 2, 2)
        out[:, :, 2] = -np.einsum("vij,vj->vi", out[:, :, :2], self.shift_px)
        return out


@dataclass(frozen=True)
class PlacedAlignment:
    """An alignment laid on a raw stack; excluded views have the identity.

    Attributes
    ----------
    transforms : (n_views, 2, 3) float64
    tilt_deg, axis_deg : (n_views,) float64
        NaN where excluded and nothing is known.
    excluded : (n_views,) bool
    views : (n,) int64
        0-based view of each row of the table.
    """

    transforms: Floats
    tilt_deg: Floats
    axis_deg: Floats
    excluded: NDArray[np.bool_]
    views: NDArray[np.int64]


def read_aln(path: str | os.PathLike[str]) -> AreTomoAlignment:
    """Read an ``.aln`` file; raises :class:`InputError`."""
    text = read_bytes(path, 1 << 28).decode("latin-1")
    if "\0" in text or "AreTomo" not in text[:200]:
        raise InputError(f"{path}: not an AreTomo alignment (.aln)")
    said: dict[str, list[float]] = {}
    dark: list[DarkFrame] = []
    rows: list[list[float]] = []
    local: list[list[float]] = []
    in_local = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            in_local |= "Local Alignment" in line
            match = _HEADER.match(line.strip())
            if match is not None and match[1] in _KNOWN:
                values = _row(path, number, match[2].split())
                if match[1] == "DarkFrame":
                    _width(path, number, values, 3)
                    dark.append(DarkFrame(int(values[0]), int(values[1]), values[2]))
                else:
                    said[match[1]] = values
            continue
        words = line.split()
        if words:
            _width(path, number, words, 7 if in_local else 10)
            (local if in_local else rows).append(_row(path, number, words))
    if not rows:
        raise InputError(f"{path}: holds no aligned views")
    table = np.array(rows)
    if np.abs(table[:, 2] - 1).max() > 1e-6:
        raise InputError(f"{path}: a GMAG other than 1 is not understood")
    if (table[:, 0] % 1).any() or np.abs(table[:, [1, 9]]).max() > 360:
        raise InputError(f"{path}: sections must be whole and angles within 360 degrees")
    size, offsets = said.get("RawSize", []), [said.get(k, []) for k in _KNOWN[3:5]]
    thickness, patches = said.get("Thickness", []), said.get("NumPatches", [])
    return AreTomoAlignment(
        section=table[:, 0].astype(np.int64),
        rot_deg=table[:, 1],
        shift_px=table[:, 3:5],
        tilt_deg=table[:, 9],
        raw_size=(int(size[0]), int(size[1]), int(size[2])) if len(size) == 3 else None,
        dark=tuple(dark),
        alpha_offset_deg=offsets[0][0] if offsets[0] else 0.0,
        beta_offset_deg=offsets[1][0] if offsets[1] else 0.0,
        thickness_px=int(thickness[0]) if thickness else None,
        n_patches=int(patches[0]) if patches else 0,
        local=np.array(local).reshape(-1, 7),
    )


def _width(path: str | os.PathLike[str], line: int, words: Sequence[object], count: int) -> None:
    if len(words) != count:
        raise InputError(f"{path}: line {line} has {len(words)} fields, not {count}")


def _row(path: str | os.PathLike[str], line: int, words: list[str]) -> list[float]:
    try:
        out = [float(word) for word in words]
    except ValueError:
        out = [math.nan]
    if not all(abs(value) < 1e9 for value in out):
        raise InputError(f"{path}: line {line} holds something that is not a finite number")
    return out


def place(
    alignment: AreTomoAlignment, n_views: int, nominal_deg: ArrayLike | None = None
) -> PlacedAlignment:
    """Lay an alignment on a raw stack of ``n_views`` views.

    The views are found by section, counted from 0 or 1, whichever agrees with the tilt angles;
    without tilt angles, by whether section 0 occurs. Where no count agrees (the stack is in
    another order), each row goes to the view of the same tilt.

    Parameters
    ----------
    nominal_deg : (n_views,), optional
        Nominal tilt angles of the stack; ``TILT`` is these, or these plus ``AlphaOffset``.

    Raises
    ------
    InputError
        The alignment belongs to another stack.
    """
    if not 1 <= n_views <= _MOST:
        raise InputError(f"an alignment cannot be laid on {n_views} views")
    size = alignment.raw_size
    if size is not None and size[2] != n_views:
        raise InputError(f"the AreTomo alignment is of {size[2]} views, the stack has {n_views}")
    offsets = (0.0, alignment.alpha_offset_deg)
    nominal = None if nominal_deg is None else np.asarray(nominal_deg, np.float64)
    if nominal is not None and nominal.shape != (n_views,):
        raise InputError(f"{nominal.size} tilt angles for {n_views} views")
    sections = [*alignment.section.tolist(), *(d.section for d in alignment.dark)]
    bases = [0] if 0 in sections and n_views not in sections else [1]
    if nominal is not None:
        bases = [1, 0]
    views: NDArray[np.int64] | None = None
    for base in bases:
        found = alignment.section - base
        inside = ((found >= 0) & (found < n_views)).all() and len(set(found)) == len(found)
        if inside and (nominal is None or _agree(alignment.tilt_deg, nominal[found], offsets)):
            views = found
            break
    if views is None and nominal is not None:
        for offset in offsets:
            gap = np.abs(alignment.tilt_deg[:, None] - nominal - offset)
            found = gap.argmin(1)
            if gap.min(1).max() < _AGREE_DEG and len(set(found)) == len(found):
                views = found.astype(np.int64)
                break
    if views is None:
        raise InputError("the AreTomo alignment does not fit the views of this stack")
    transforms = np.tile(np.eye(2, 3), (n_views, 1, 1))
    transforms[views] = alignment.transforms
    tilt = np.full(n_views, np.nan) if nominal is None else nominal.copy()
    axis = np.full(n_views, np.nan)
    tilt[views], axis[views] = alignment.tilt_deg, alignment.rot_deg
    excluded = np.ones(n_views, np.bool_)
    excluded[views] = False
    return PlacedAlignment(transforms, tilt, axis, excluded, views)


def _agree(tilt: Floats, nominal: Floats, offsets: tuple[float, ...]) -> bool:
    return any(bool(np.abs(tilt - nominal - o).max() < _AGREE_DEG) for o in offsets)


def aln_from_transforms(
    transforms: ArrayLike,
    tilt_deg: ArrayLike,
    size: tuple[int, int],
    excluded: ArrayLike | None = None,
    tolerance: float = 2e-3,
) -> AreTomoAlignment:
    """Alignment of a raw stack of ``size`` ``(nx, ny)`` as AreTomo states it.

    An ``.aln`` holds a rotation and a shift per view.

    Raises
    ------
    InputError
        A transform whose matrix is further than ``tolerance`` from a rotation.
    """
    xf, tilt = np.asarray(transforms, np.float64), np.asarray(tilt_deg, np.float64)
    left_out = np.zeros(len(xf), np.bool_) if excluded is None else np.asarray(excluded, np.bool_)
    if xf.shape[1:] != (2, 3) or tilt.shape != (len(xf),) or left_out.shape != tilt.shape:
        raise InputError(f"transforms {xf.shape} and {tilt.size} tilt angles do not fit together")
    used = np.flatnonzero(~left_out)
    a = xf[used, :, :2]
    rot = -np.arctan2(a[:, 1, 0] - a[:, 0, 1], a[:, 0, 0] + a[:, 1, 1])
    shift = -np.einsum("vij,vj->vi", np.linalg.inv(a), xf[used, :, 2])
    order = np.argsort(np.argsort(tilt, kind="stable"), kind="stable")
    out = AreTomoAlignment(
        used + 1, np.rad2deg(rot), shift, tilt[used], (*size, len(xf)),
        tuple(DarkFrame(int(order[v]), int(v) + 1, float(tilt[v]))
              for v in np.flatnonzero(left_out)),
    )  # fmt: skip
    if len(used) and np.abs(out.transforms[..., :2] - a).max() > tolerance:
        raise InputError("AreTomo's files cannot hold magnification or distortion")
    return out


def write_aln(path: str | os.PathLike[str], alignment: AreTomoAlignment) -> None:
    """Write an ``.aln`` file atomically; raises :class:`InputError`."""
    numbers = (alignment.rot_deg, alignment.shift_px, alignment.tilt_deg, alignment.local)
    if not all(np.isfinite(values).all() for values in numbers):
        raise InputError(f"{path}: refusing to write numbers that are not finite")
    out = ["# AreTomo Alignment / Priims bprmMn"]
    if alignment.raw_size is not None:
        out.append("# RawSize = {} {} {}".format(*alignment.raw_size))
    out.append(f"# NumPatches = {alignment.n_patches}")
    out += [f"# DarkFrame =  {d.frame:4d} {d.section:4d} {d.tilt_deg:8.2f}" for d in alignment.dark]
    out.append(f"# AlphaOffset = {alignment.alpha_offset_deg:8.2f}")
    out.append(f"# BetaOffset = {alignment.beta_offset_deg:8.2f}")
    if alignment.thickness_px is not None:
        out.append(f"# Thickness = {alignment.thickness_px}")
    out.append(_COLUMNS)
    for section, rot, (x, y), tilt in zip(
        alignment.section, alignment.rot_deg, alignment.shift_px, alignment.tilt_deg, strict=True
    ):
        out.append(
            f"{section:5d}  {rot:9.4f}  {1:9.5f}  {x:9.3f}  {y:9.3f}  {1:7.2f}  {1:7.2f}  "
            f"{1:7.2f}  {0:7.2f}  {tilt:8.2f}"
        )
    if len(alignment.local):
        out.append("# Local Alignment")
        out += [
            f"{int(r[0]):4d} {int(r[1]):3d} {r[2]:8.2f}  {r[3]:8.2f}  {r[4]:8.2f}  {r[5]:8.2f}  "
            f"{r[6]:4.1f}"
            for r in alignment.local
        ]
    write_text(path, "\n".join(out) + "\n")
