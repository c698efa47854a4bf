"""The projection of specimen points into the raw views (see ``engine/conventions.py``)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.transform import Floats, invert, rotation


@dataclass(frozen=True)
class ViewGeometry:
    """How each view sees the specimen; one entry per view of the raw stack.

    Attributes
    ----------
    tilt_deg, axis_deg, magnification, stretch, skew : (n_views,) float64
        Tilt angle, tilt axis angle, magnification (1 = nominal), and the distortion
        ``D = [[1 + stretch, skew], [0, 1]]`` (0 = none).
    shift_px : (n_views, 2) float64
        Where the specimen's origin lands in the raw view, about the image centre, raw pixels.
    x_tilt_deg : float
        X-axis tilt of the specimen, the same for all views (gauge).
    """

    tilt_deg: Floats
    axis_deg: Floats
    magnification: Floats
    stretch: Floats
    skew: Floats
    shift_px: Floats
    x_tilt_deg: float = 0.0

    @classmethod
    def nominal(cls, tilt_deg: npt.ArrayLike, axis_deg: float) -> ViewGeometry:
        """The geometry as the microscope states it: no shifts, no errors."""
        t = np.array(tilt_deg, dtype=np.float64)
        zero = np.zeros_like(t)
        return cls(t, np.full_like(t, axis_deg), zero + 1, zero, zero.copy(), np.zeros((len(t), 2)))

    @classmethod
    def from_transforms(
        cls, transforms: Floats, tilt_deg: npt.ArrayLike, x_tilt_deg: float = 0.0
    ) -> ViewGeometry:
        """The geometry that given ``.xf`` transforms ``(n_views, 2, 3)`` undo.

        Raises
        ------
        InputError
            A transform that is singular or mirrors the image.
        """
        a = np.asarray(transforms, np.float64)
        determinant = np.linalg.det(a[..., :2])
        bad = np.flatnonzero(~(determinant > 1e-6))
        if len(bad):
            raise InputError(f"the transform of view {bad[0] + 1} cannot be undone or mirrors")
        forward = invert(a)
        m = forward[..., :2]
        # m = R(phi) T with T upper triangular: T = m [[1 + stretch, skew], [0, 1]].
        phi = np.arctan2(m[:, 1, 0], m[:, 0, 0])
        turn = np.stack([np.cos(phi), np.sin(phi)], -1)
        first = np.hypot(m[:, 0, 0], m[:, 1, 0])
        magnification = np.linalg.det(m) / first
        skew = np.einsum("vi,vi->v", turn, m[:, :, 1]) / magnification
        return cls(
            np.array(tilt_deg, np.float64), np.rad2deg(phi), magnification,
            first / magnification - 1, skew, forward[..., 2].copy(), float(x_tilt_deg),
        )  # fmt: skip

    @property
    def n_views(self) -> int:
        """Number of views."""
        return len(self.tilt_deg)

    def image_matrices(self) -> Floats:
        """``R(phi) m D`` of each view, ``(n_views, 2, 2)``: aligned offsets to raw offsets."""
        d = np.zeros((self.n_views, 2, 2))
        d[:, 0, 0] = 1 + self.stretch
        d[:, 0, 1] = self.skew
        d[:, 1, 1] = 1
        return rotation(self.axis_deg) @ (self.magnification[:, None, None] * d)

    def matrices(self) -> Floats:
        """The linear part of the projection, ``(n_views, 2, 3)``: specimen to raw offsets."""
        t, xi = np.deg2rad(self.tilt_deg), np.deg2rad(self.x_tilt_deg)
        c, s = np.cos(t), np.sin(t)
        zero = np.zeros_like(c)
        plain = np.stack(
            [
                np.stack([c, s * np.sin(xi), s * np.cos(xi)], -1),
                np.stack([zero, zero + np.cos(xi), zero - np.sin(xi)], -1),
            ],
            -2,
        )
        matrices: Floats = self.image_matrices() @ plain
        return matrices

    def project(self, xyz: Floats) -> Floats:
        """Project ``(n_points, 3)`` to ``(n_points, n_views, 2)`` raw offsets from the centre."""
        offsets: Floats = np.einsum("vij,pj->pvi", self.matrices(), xyz)
        return offsets + self.shift_px

    def transforms(self) -> Floats:
        """The ``.xf`` transforms ``(n_views, 2, 3)`` that undo everything but the tilt."""
        forward = np.concatenate([self.image_matrices(), self.shift_px[:, :, None]], axis=-1)
        return invert(forward)

    def with_shifts(self, shift_px: Floats) -> ViewGeometry:
        """The same geometry with other shifts."""
        return replace(self, shift_px=np.asarray(shift_px, dtype=np.float64))
