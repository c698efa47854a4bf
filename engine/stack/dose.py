"""Dose filter: what radiation damage has destroyed is not let through.

Grant & Grigorieff 2015, doi:10.7554/eLife.06980: the critical exposure of spatial frequency ``k``
(1/angstrom) is ``Nc(k) = 0.245 k^-1.665 + 2.81`` electrons per square angstrom at 300 kV (their
equation 3; 0.8 of it at 200 kV), the one after which intensities have fallen to 1/e: an image that
ends at the exposure ``N`` holds ``exp(-N / (2 Nc))`` of the amplitudes. The signal to noise ratio
of a sum of images grows until the exposure of 2.51286 ``Nc`` (they print 2.51284), the root of
``n + 1 = exp(n / 2)``; what was taken after that has only noise to add. As in the authors' own
programs the exposure at the end of an image damps it, and an image is cut off that lies mostly
beyond the optimum. Their sum is divided by ``sqrt(sum of squares of the filters)``, so that the
noise stays as strong at all frequencies; here a series can be treated so as a whole.
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
    """Electrons per square angstrom after which intensities have fallen to 1/e.

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


def noise_gain(
    frequency: npt.ArrayLike,
    accumulated: npt.ArrayLike,
    own: npt.ArrayLike,
    voltage_kv: float = 300.0,
) -> Floats:
    """What makes the noise of a filtered series as strong as before: its mean over the views.

    One over the root mean square of the views' attenuations; 0 where nothing passes.

    Parameters
    ----------
    frequency : (n,)
        1/angstrom.
    accumulated, own : (n_views,)
        See :func:`attenuation`.
    """
    k = np.asarray(frequency, np.float64)
    power = np.zeros(k.shape)
    doses = np.stack([np.asarray(accumulated, np.float64), np.asarray(own, np.float64)], 1)
    for end, alone in doses:
        power += attenuation(k, end, alone, voltage_kv) ** 2
    gain = np.zeros(k.shape)
    np.divide(len(doses), power, out=gain, where=power > 0)
    return np.sqrt(gain)


def filter_dose(
    image: npt.NDArray[Any],
    pixel_size_a: float,
    accumulated: float,
    own: float,
    voltage_kv: float = 300.0,
    gain: tuple[Floats, Floats] | None = None,
) -> npt.NDArray[np.float32]:
    """Filter one view.

    Parameters
    ----------
    image : (ny, nx) of any real type
    pixel_size_a : float
        Angstrom.
    accumulated, own : float
        Dose up to the end of the image and of it alone, electrons per square angstrom.
    gain : (frequencies, factors), optional
        What :func:`noise_gain` gives for some frequencies up to the highest.

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
    passed = attenuation(k, accumulated, own, voltage_kv)
    if gain is not None:
        passed *= np.interp(k, *gain)
    passed = passed.astype(np.float32)
    out = fft.irfft2(fft.rfft2(work) * passed, shape)[pad : pad + ny, pad : pad + nx]
    return np.asarray(out + mean, np.float32)
