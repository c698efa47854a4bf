"""Mean, deviation and likeness of the views of a tilt series; numpy only, for the lane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.widgets.image.tiles import SMALL_PIXELS, read_tile

Floats = npt.NDArray[np.float64]
_THUMBNAIL = 192


@dataclass(frozen=True)
class ViewStatistics:
    """Per view ``(n_views,)``: mean and SD of the pixels, and correlation with the neighbours."""

    mean: Floats
    sd: Floats
    correlation: Floats


def moments(image: npt.NDArray[Any]) -> tuple[float, float]:
    """Mean and SD of the finite pixels; of large views, of every n-th row."""
    step = max(1, image.size // SMALL_PIXELS)
    values = np.asarray(image[step // 2 :: step], np.float32)
    values = values[np.isfinite(values)]
    if not values.size:
        return float("nan"), float("nan")
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def spectrum(image: npt.NDArray[Any]) -> npt.NDArray[np.complex128]:
    """Band-passed spectrum of a view at about 192 pixels, of unit norm."""
    small = read_tile(image, max(1, max(image.shape) // _THUMBNAIL)).data.astype(np.float64)
    small = np.nan_to_num(small - np.nanmean(small))
    small *= np.hanning(small.shape[0])[:, None] * np.hanning(small.shape[1])
    f = np.fft.rfft2(small)
    radius = np.hypot(
        np.fft.fftfreq(small.shape[0])[:, None], np.fft.rfftfreq(small.shape[1])[None]
    )
    f *= np.exp(-((radius / 0.2) ** 2)) * (1 - np.exp(-((radius / 0.03) ** 2)))
    norm = np.sqrt((np.fft.irfft2(f, small.shape) ** 2).sum())
    return np.asarray(f / norm if norm > 0 else f * 0)


def correlation(a: npt.NDArray[np.complex128], b: npt.NDArray[np.complex128]) -> float:
    """Highest correlation coefficient of two spectra at any shift, at most 1."""
    shape = a.shape[0], 2 * (a.shape[1] - 1)
    return float(np.fft.irfft2(a * b.conj(), shape).max())


def examine(stack: Any, tilt_deg: Floats) -> Iterator[ViewStatistics | None]:
    """Statistics of a stack ``(n_views, ny, nx)``; yields ``None`` after each view, then them.

    A view's correlation is the mean of those with its neighbours in tilt.
    """
    n = len(tilt_deg)
    mean, sd = np.full(n, np.nan), np.full(n, np.nan)
    spectra = []
    for v in range(n):
        image = stack[v]
        mean[v], sd[v] = moments(image)
        yield None
        spectra.append(spectrum(image))
        yield None
    order = np.argsort(tilt_deg, kind="stable")
    pairs = [correlation(spectra[a], spectra[b]) for a, b in pairwise(order)]
    likeness = np.full(n, np.nan)
    for k, v in enumerate(order):
        beside = pairs[max(0, k - 1) : k + 1]
        likeness[v] = float(np.mean(beside)) if beside else float("nan")
    yield ViewStatistics(mean, sd, likeness)
