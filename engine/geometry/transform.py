"""The 2-D affine transforms of ``.xf`` files, as ``(..., 2, 3)`` arrays ``[A | d]``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def identity(n_views: int) -> Floats:
    """``(n_views, 2, 3)`` identity transforms."""
    xf = np.zeros((n_views, 2, 3))
    xf[:, 0, 0] = xf[:, 1, 1] = 1.0
    return xf


def apply(xf: Floats, xy: Floats) -> Floats:
    """Transform positions about the centre.

    Parameters
    ----------
    xf : (..., 2, 3)
    xy : (..., n_points, 2)
        About the centre of the input image; leading axes broadcast with those of ``xf``.

    Returns
    -------
    (..., n_points, 2) about the centre of the output image.
    """
    linear: Floats = np.einsum("...ij,...nj->...ni", xf[..., :2], xy)
    return linear + xf[..., None, :, 2]


def invert(xf: Floats) -> Floats:
    """Inverse transforms, ``(..., 2, 3)``."""
    a = np.linalg.inv(xf[..., :2])
    return np.concatenate([a, -a @ xf[..., 2:]], axis=-1)


def compose(first: Floats, then: Floats) -> Floats:
    """The transform that does ``first`` and ``then``, ``(..., 2, 3)``."""
    a = then[..., :2]
    return np.concatenate([a @ first[..., :2], a @ first[..., 2:] + then[..., 2:]], axis=-1)


def scale_shifts(xf: Floats, factor: float) -> Floats:
    """Transforms for an image whose pixels are ``1 / factor`` as large: only ``d`` changes."""
    out = np.array(xf, dtype=np.float64)
    out[..., 2] *= factor
    return out


def rotation(angle_deg: npt.ArrayLike) -> Floats:
    """``(..., 2, 2)`` counter-clockwise rotation matrices ``[[cos, -sin], [sin, cos]]``."""
    a = np.deg2rad(np.asarray(angle_deg, dtype=np.float64))
    c, s = np.cos(a), np.sin(a)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
