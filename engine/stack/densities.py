"""Densities: outliers, scaling, the type that they are stored in."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError

Scaling = Literal["none", "mean0sd1", "range"]


def truncate_outliers(image: npt.NDArray[Any], n_sd: float) -> npt.NDArray[np.float32]:
    """Clip an image at ``n_sd`` robust standard deviations around its median, as float32."""
    a = image.astype(np.float32)
    mid = np.median(a)
    sd = 1.4826 * np.median(np.abs(a - mid)) or np.std(a)
    return np.clip(a, mid - n_sd * sd, mid + n_sd * sd).astype(np.float32)


def scale_densities(
    image: npt.NDArray[Any],
    mode: Scaling,
    *,
    low: float = 0.0,
    high: float = 255.0,
    source: tuple[float, float] | None = None,
) -> npt.NDArray[np.float32]:
    """Scale the densities of a view or a stack.

    Parameters
    ----------
    image : array of any real type
    mode : 'none', 'mean0sd1' or 'range'
    low, high : float
        What the ends of ``source`` become, for ``'range'``.
    source : (float, float), optional
        Densities that become ``low`` and ``high``; the image's own extremes by default.

    Raises
    ------
    InputError
        When ``mode`` is unknown or a range is empty.
    DataError
        When the image is constant and so cannot be scaled.
    """
    a = image.astype(np.float32)
    if mode == "none":
        return a
    if mode == "mean0sd1":
        sd = float(a.std(dtype=np.float64))
        if sd == 0:
            raise DataError("scaling densities: the image is constant; leave that view out")
        return ((a - np.float32(a.mean(dtype=np.float64))) / np.float32(sd)).astype(np.float32)
    if mode != "range":
        raise InputError(f"unknown scaling of densities: {mode!r}")
    if not high > low:
        raise InputError(f"the range of densities is empty: {low:g} to {high:g}")
    a0, a1 = source if source is not None else (float(a.min()), float(a.max()))
    if not a1 > a0:
        raise DataError("scaling densities: the image is constant; leave that view out")
    return (low + (a - a0) * ((high - low) / (a1 - a0))).astype(np.float32)


def store_as(image: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Convert to a storage type; integers are rounded and clipped, never wrapped round."""
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        whole: npt.NDArray[Any] = np.clip(np.rint(image), limits.min, limits.max).astype(kind)
        return whole
    out: npt.NDArray[Any] = image.astype(kind)
    return out
