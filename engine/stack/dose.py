"""Dose filter: what radiation damage has destroyed is not let through.

Grant & Grigorieff 2015, doi:10.7554/eLife.06980: amplitudes at spatial frequency ``k`` (1/angstrom)
fall to 1/e after the critical dose ``Nc(k) = 0.245 k^-1.665 + 2.81`` electrons per square angstrom
(300 kV), so that an image taken after the dose ``N`` holds ``exp(-N / (2 Nc))`` of them. The signal
to noise ratio of a sum of images grows until the dose of 2.512862 ``Nc``; what was taken after that
has only noise to add and is cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError

Floats = npt.NDArray[np.float64]

_A, _B, _C = 0.245, -1.665, 2.81
_AT_200_KV = 0.8
"""Critical doses at 200 kV, as a part of those at 300 kV."""
OPTIMAL = 2.512862
"""Where ``(1 - exp(-n / 2))^2 / n``, the signal to noise ratio of a sum, is largest."""


def critical_dose(frequency: npt.ArrayLike, voltage_kv: float = 300.0) -> Floats:
    """Electrons per square angstrom after which amplitudes have fallen to 1/e.

    Parameters
    ----------
    frequency : array
        1/angstrom; infinite dose at 0.
    voltage_kv : float
        Between 200 and 300 kV the factor is taken linearly.

    Raises
    ------
    InputError
        A voltage that is not within 100 to 400 kV.
    """
    if not 100 <= voltage_kv <= 400:
        raise InputError(f"dose filter: {voltage_kv:g} kV is not within 100 to 400 kV")
    k = np.asarray(frequency, np.float64)
    with np.errstate(divide="ignore"):
        at_300 = _A * np.where(k > 0, k, 0.0) ** _B + _C
    factor = np.clip(1 + (1 - _AT_200_KV) * (voltage_kv - 300) / 100, _AT_200_KV, 1)
    dose: Floats = factor * at_300
    return dose


def attenuation(
    frequency: npt.ArrayLike, accumulated: float, own: float, voltage_kv: float = 300.0
) -> Floats:
    """What is left of the amplitudes of an image, 0 to 1.

    Nothing where most of the image was taken beyond the optimal dose.

    Parameters
    ----------
    frequency : array
        1/angstrom.
    accumulated, own : float
        Dose up to the end of the image and of it alone, electrons per square angstrom.
    """
    critical = critical_dose(frequency, voltage_kv)
    left = np.exp(-0.5 * accumulated / critical)
    return np.where(accumulated - own / 2 <= OPTIMAL * critical, left, 0.0)


def filter_dose(
    image: npt.NDArray[Any],
    pixel_size_a: float,
    accumulated: float,
    own: float,
    voltage_kv: float = 300.0,
) -> npt.NDArray[np.float32]:
    """Filter one view.

    Parameters
    ----------
    image : (ny, nx) of any real type
    pixel_size_a : float
        Angstrom.
    accumulated, own : float
        Dose up to the end of the image and of it alone, electrons per square angstrom.

    Raises
    ------
    InputError
        Doses that are negative or not finite, or pixels that are not finite.
    """
    from scipy import fft

    for name, value in (("up to a view", accumulated), ("of a view", own)):
        if not (np.isfinite(value) and value >= 0):
            raise InputError(f"dose filter: the dose {name}, {value:g}, must not be below 0")
    if image.ndim != 2:
        raise InputError(f"dose filter: a view must be (ny, nx), not {image.shape}")
    view = np.asarray(image, np.float32)
    mean = float(view.mean(dtype=np.float64))
    if not np.isfinite(mean):
        raise InputError("dose filter: the view has pixels that are not finite")
    ny, nx = view.shape
    # mirrored edges keep the other side of the image from leaking in
    pad = min(32, ny - 1, nx - 1)
    shape = [fft.next_fast_len(n + 2 * pad, True) for n in (ny, nx)]
    work = np.pad(
        view - np.float32(mean), [(pad, s - n - pad) for s, n in zip(shape, (ny, nx), strict=True)],
        "symmetric",
    )  # fmt: skip
    k = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None]) / pixel_size_a
    passed = attenuation(k, accumulated, own, voltage_kv).astype(np.float32)
    out = fft.irfft2(fft.rfft2(work) * passed, shape)[pad : pad + ny, pad : pad + nx]
    return np.asarray(out + mean, np.float32)
