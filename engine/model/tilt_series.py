"""A tilt series: the stack and what is known of its views."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.mdoc import Mdoc, read_mdoc
from tiltwright.engine.io.stack import open_image_stack
from tiltwright.engine.io.text import read_angles


@dataclass(frozen=True)
class TiltSeries:
    """A memory-mapped stack ``(n_views, ny, nx)`` with its metadata.

    Attributes
    ----------
    tilt_deg : (n_views,) float64, read-only
        Nominal tilt angles.
    axis_deg, pixel_size_a : float
    excluded : (n_views,) bool, read-only
        Views that a person left out.
    origin : (x, y, z), angstrom
    """

    path: Path
    stack: Any
    tilt_deg: npt.NDArray[np.float64]
    axis_deg: float
    pixel_size_a: float
    excluded: npt.NDArray[np.bool_]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def name(self) -> str:
        """Name of the series: the file's without its ending."""
        return self.path.stem

    @property
    def n_views(self) -> int:
        """Number of views in the file."""
        return len(self.tilt_deg)

    @property
    def size(self) -> tuple[int, int]:
        """``(nx, ny)`` of a raw view."""
        return int(self.stack.shape[2]), int(self.stack.shape[1])


def load_tilt_series(
    path: Path,
    *,
    tilt_angles: Path | None = None,
    axis_deg: float | None = None,
    pixel_size_a: float | None = None,
    mdoc: Path | None = None,
    exclude: tuple[int, ...] = (),
) -> TiltSeries:
    """Open a tilt series; what is not given comes from the mdoc beside it or from the header.

    Parameters
    ----------
    exclude : views to leave out, 1-based.

    Raises
    ------
    InputError
        A file that cannot be read, counts that disagree, or metadata that nothing gives.
    """
    stack, header_pixel, info = open_image_stack(path)
    n_views = int(stack.shape[0])
    if n_views < 3:
        raise InputError(f"{path}: {n_views} views are no tilt series; at least 3 are needed")
    notes = _mdoc_of(path, mdoc)
    tilt = _first(
        read_angles(tilt_angles, n_views) if tilt_angles is not None else None,
        notes.tilt_deg if notes is not None else None,
        info.tilt_deg,
    )
    if tilt is None:
        beside = [path.with_suffix(s) for s in (".rawtlt", ".tlt")]
        found = next((p for p in beside if p.exists()), None)
        if found is None:
            raise InputError(f"{path}: no tilt angles in its header; give --tilt-angles FILE")
        tilt = read_angles(found, n_views)
    if len(tilt) != n_views:
        raise InputError(f"{path}: {len(tilt)} tilt angles for {n_views} views")
    axis = _first(axis_deg, notes.axis() if notes is not None else None, info.tilt_axis_deg)
    if axis is None:
        raise InputError(f"{path}: the tilt axis angle is not known; give --tilt-axis DEGREES")
    pixel = _first(pixel_size_a, header_pixel, notes.pixel_size_a if notes is not None else None)
    if pixel is None:
        raise InputError(f"{path}: its header has no pixel size; give --pixel-size ANGSTROM")
    if not (np.isfinite(pixel) and pixel > 0):
        raise InputError(
            f"{path}: pixel size {pixel:g} must be above 0; give --pixel-size ANGSTROM"
        )
    if not np.isfinite(axis) or abs(axis) > 360:
        raise InputError(f"--tilt-axis {axis:g}: must be an angle in degrees")
    angles = np.array(tilt, np.float64)
    if np.abs(angles).max() > 90:
        raise InputError(f"{path}: tilt angles beyond 90 degrees")
    if np.ptp(angles) < 5:
        raise InputError(f"{path}: the tilt angles span only {np.ptp(angles):.1f} degrees")
    excluded = np.zeros(n_views, np.bool_)
    for view in exclude:
        if not 1 <= view <= n_views:
            raise InputError(f"--exclude {view}: the series has views 1 to {n_views}")
        excluded[view - 1] = True
    angles.flags.writeable = excluded.flags.writeable = False
    return TiltSeries(path, stack, angles, float(axis), float(pixel), excluded, info.origin)


def _mdoc_of(path: Path, mdoc: Path | None) -> Mdoc | None:
    if mdoc is not None:
        return read_mdoc(mdoc)
    for beside in (path.with_name(path.name + ".mdoc"), path.with_suffix(".mdoc")):
        if beside.exists():
            return read_mdoc(beside)
    return None


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)
