"""A fiducial model: one contour per bead, at most one point per view."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiltwright.engine.conventions import EDGE_MINUS_INDEX, image_centre
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.transform import Floats


class Flag(IntEnum):
    """Where a point comes from."""

    GAP = 0
    MEASURED = 1
    FILLED = 2
    EDITED = 3


@dataclass(frozen=True)
class FiducialModel:
    """Tracks of beads through the views of a tilt series.

    Attributes
    ----------
    xy : (n_tracks, n_views, 2) float64, read-only
        Raw pixels about the image centre, NaN at gaps; no finer than a ``.fid`` file holds.
    flag : (n_tracks, n_views) uint8, read-only
        A :class:`Flag` for each point.
    surface : (n_tracks,) int64, read-only
        0 bottom, 1 top.
    sigma_px : (n_tracks, n_views) float64, read-only
        Uncertainty of each coordinate; NaN where it is not known.
    size_px : (nx, ny)
        Of the raw image.
    diameter_px : float
        Of the beads, raw pixels.
    file : Path, optional
        Of another program, that it was read from: what else is in it is kept on saving.
    """

    xy: Floats
    flag: npt.NDArray[np.uint8]
    surface: npt.NDArray[np.int64]
    sigma_px: Floats
    size_px: tuple[int, int]
    diameter_px: float
    file: Path | None = None

    @classmethod
    def from_tracks(
        cls,
        xy: Floats,
        size_px: tuple[int, int],
        diameter_px: float,
        *,
        surface: npt.ArrayLike | None = None,
        flag: npt.NDArray[np.uint8] | None = None,
        sigma_px: Floats | None = None,
    ) -> FiducialModel:
        """A model of ``xy`` ``(n_tracks, n_views, 2)``, raw pixels about the image centre.

        Raises
        ------
        InputError
            Shapes disagree.
        """
        tracks = np.array(xy, np.float64).reshape(-1, *np.shape(xy)[1:])
        if tracks.ndim != 3 or tracks.shape[2] != 2:
            raise InputError(f"fiducial model: tracks of shape {np.shape(xy)}")
        n, n_views = tracks.shape[:2]
        # A .fid file holds edge coordinates in single precision.
        offset = np.array(image_centre(*size_px)) + EDGE_MINUS_INDEX
        tracks = (tracks + offset).astype(np.float32).astype(np.float64) - offset
        there = np.isfinite(tracks).all(-1)
        tracks[~there] = np.nan
        marks = np.where(there, Flag.MEASURED, Flag.GAP).astype(np.uint8)
        if flag is not None:
            marks = np.where(there, np.maximum(flag, Flag.MEASURED), Flag.GAP).astype(np.uint8)
        side = np.zeros(n, np.int64) if surface is None else np.array(surface, np.int64)
        sigma = np.full((n, n_views), np.nan) if sigma_px is None else np.array(sigma_px)
        sigma = np.where(there, np.round(sigma, 4), np.nan)
        if side.shape != (n,) or marks.shape != (n, n_views) or sigma.shape != (n, n_views):
            raise InputError(f"fiducial model: {n} tracks with {side.shape} surfaces")
        for array in (tracks, marks, side, sigma):
            array.flags.writeable = False
        return cls(tracks, marks, side, sigma, size_px, float(diameter_px))

    @property
    def n_tracks(self) -> int:
        """Number of contours."""
        return len(self.xy)

    @property
    def n_views(self) -> int:
        """Number of views."""
        return int(self.xy.shape[1])

    @property
    def measured(self) -> npt.NDArray[np.bool_]:
        """``(n_tracks, n_views)``: a point that was seen, not only filled in."""
        seen: npt.NDArray[np.bool_] = (self.flag == Flag.MEASURED) | (self.flag == Flag.EDITED)
        return seen

    @property
    def n_points(self) -> int:
        """Number of measured points."""
        return int(self.measured.sum())

    def completeness(self, used: npt.NDArray[np.bool_]) -> float:
        """Measured points / (contours x used views); NaN without either."""
        places = self.n_tracks * int(used.sum())
        return float(self.measured[:, used].sum() / places) if places else float("nan")
