"""An alignment of a tilt series: what undoes the microscope in each view, and how well it fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats, identity

Ints = npt.NDArray[np.int64]
_FIT_DECIMALS = {"xyz": 2, "residual_px": 4, "weight": 4, "loo_px": 4, "sd": 4}
MATRIX_DECIMALS, SHIFT_DECIMALS, ANGLE_DECIMALS = 7, 4, 4
"""Decimals of ``.xf`` and ``.tlt`` files; an alignment holds no more than its files do."""


@dataclass(frozen=True)
class Beads:
    """Where the beads lie in the specimen.

    Attributes
    ----------
    xyz : (n_tracks, 3) float64
        Raw pixels about the centre of the aligned specimen; NaN for a bead not solved.
    surface : (n_tracks,) int64
        0 bottom, 1 top, -1 not solved.
    """

    xyz: Floats
    surface: Ints

    def __post_init__(self) -> None:
        """Round to what the files hold, so that reading them back changes nothing."""
        for name, decimals in _FIT_DECIMALS.items():
            if hasattr(self, name):
                array = np.round(np.array(getattr(self, name), np.float64), decimals)
                array.flags.writeable = False
                object.__setattr__(self, name, array)


@dataclass(frozen=True)
class Fit(Beads):
    """How the beads fit a fiducial alignment.

    Attributes
    ----------
    residual_px : (n_tracks, n_views, 2)
        Predicted minus measured, NaN at gaps.
    weight, loo_px, sd : (n_tracks, n_views)
        Robust weights, leave-one-out distances, residuals in standard deviations.
    variables : str
        What was solved, in words.
    candidates : tuple of (variables, score_px, n_parameters)
        What the automatic choice compared.
    """

    residual_px: Floats
    weight: Floats
    loo_px: Floats
    sd: Floats
    mean_residual_px: float
    weighted_mean_px: float
    leave_one_out_px: float
    variables: str = ""
    candidates: tuple[tuple[str, float, int], ...] = ()

    def per_view_px(self) -> Floats:
        """Mean residual of each view, ``(n_views,)``; NaN where nothing is measured."""
        return _mean(np.hypot(self.residual_px[..., 0], self.residual_px[..., 1]), 0)

    def per_bead_px(self) -> Floats:
        """Mean residual of each bead, ``(n_tracks,)``."""
        return _mean(np.hypot(self.residual_px[..., 0], self.residual_px[..., 1]), 1)


def _mean(values: Floats, axis: int) -> Floats:
    count = np.isfinite(values).sum(axis)
    mean: Floats = np.where(count, np.nansum(values, axis) / np.maximum(count, 1), np.nan)
    return mean


@dataclass(frozen=True)
class Alignment:
    """The transforms and angles of all views; ``+ali`` when a tilt series has one.

    Attributes
    ----------
    transforms : (n_views, 2, 3) float64, read-only
        Raw to aligned positions about the centres, pixels of the raw stack (``.xf``).
    tilt_deg : (n_views,) float64, read-only
        Solved tilt angles (``.tlt``).
    x_tilt_deg : float
        Tilt of the specimen about the x axis (``.xtilt``).
    kind : 'coarse', 'fiducial' or 'imported'
    fit : Fit, optional
        Only a fiducial alignment has one, and only together with the model that it speaks of.
    strength : (n_views,) float64, optional
        Height of the correlation peak of each view, in SD (coarse alignment only).
    valid : (n_views,) bool, read-only
        False for views that were excluded when it was made: their transform says nothing.
    beads : Beads, optional
        Those of the fit; they go on with the series when its fit does not.
    """

    transforms: Floats
    tilt_deg: Floats
    x_tilt_deg: float = 0.0
    kind: Literal["coarse", "fiducial", "imported"] = "imported"
    fit: Fit | None = None
    strength: Floats | None = None
    valid: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    beads: Beads | None = None

    def __post_init__(self) -> None:
        """Round to what the files hold, so that reading them back changes nothing."""
        xf = np.array(self.transforms, np.float64)
        xf[..., :2] = np.round(xf[..., :2], MATRIX_DECIMALS)
        xf[..., 2] = np.round(xf[..., 2], SHIFT_DECIMALS)
        tilt = np.round(np.array(self.tilt_deg, np.float64), ANGLE_DECIMALS)
        valid = np.ones(len(tilt), np.bool_) if not len(self.valid) else self.valid.copy()
        xf[~valid] = identity(1)[0]
        xf.flags.writeable = tilt.flags.writeable = valid.flags.writeable = False
        if self.fit is not None:
            object.__setattr__(self, "beads", Beads(self.fit.xyz, self.fit.surface))
        object.__setattr__(self, "valid", valid)
        object.__setattr__(self, "transforms", xf)
        object.__setattr__(self, "tilt_deg", tilt)
        object.__setattr__(self, "x_tilt_deg", round(float(self.x_tilt_deg), ANGLE_DECIMALS))

    @classmethod
    def of_geometry(cls, geometry: ViewGeometry, **rest: Any) -> Alignment:
        """The alignment that undoes ``geometry``; ``rest`` are other attributes."""
        return cls(geometry.transforms(), geometry.tilt_deg, geometry.x_tilt_deg, **rest)

    def geometry(self) -> ViewGeometry:
        """Rotation, magnification, distortion and shift of each view."""
        return ViewGeometry.from_transforms(self.transforms, self.tilt_deg, self.x_tilt_deg)

    def rot_deg(self) -> Floats:
        """Rotation in each transform, minus the tilt axis angle (``rot`` in tables)."""
        angle: Floats = np.rad2deg(np.arctan2(self.transforms[:, 1, 0], self.transforms[:, 0, 0]))
        return angle

    def project(self, xyz: Floats) -> Floats:
        """Where points ``(n, 3)`` land, ``(n, n_views, 2)`` raw pixels about the centre."""
        return self.geometry().project(xyz)
