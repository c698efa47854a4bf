"""Contrast transfer of a tilted specimen, its defocus changing across the tilt axis."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from tiltwright.engine.ctf.model import wavelength_a

Image = NDArray[np.float32]


def phase_ctf(
    s2: NDArray[np.float32],
    defocus_a: float,
    voltage_kv: float,
    cs_mm: float,
    amplitude_contrast: float,
) -> NDArray[np.float32]:
    """CTF ``sqrt(1 - w^2) sin(chi) + w cos(chi)``; underfocus positive, dark atoms positive.

    Parameters
    ----------
    s2 : array
        Squared spatial frequency, 1/angstrom squared.
    defocus_a : float
        Angstrom.
    voltage_kv, cs_mm : float
    amplitude_contrast : float
        The fraction ``w``.

    Notes
    -----
    ``chi = pi lambda df s^2 - pi/2 Cs lambda^3 s^4``, https://doi.org/10.1016/j.jsb.2015.08.008.
    """
    lam = wavelength_a(voltage_kv)
    chi = s2 * np.float32(math.pi * lam * defocus_a)
    chi -= s2 * s2 * np.float32(math.pi / 2 * cs_mm * 1e7 * lam**3)
    shifted: NDArray[np.float32] = np.sin(chi + np.float32(math.asin(amplitude_contrast)))
    return shifted


def blend_defocus(
    image: Image,
    pixel_size_a: float,
    defocus_a: float,
    slope_a: tuple[float, float],
    optics: tuple[float, float, float],
    coherent_fraction: float,
    envelope: float,
    max_levels: int,
) -> Image:
    """Image of a tilted specimen: filtered at a few defocus levels, blended linearly.

    Parameters
    ----------
    image : (ny, nx) float32
        Transmitted intensity.
    pixel_size_a : float
        Angstrom.
    defocus_a : float
        At the centre of the image, angstrom.
    slope_a : (along x, along y)
        Change of defocus per pixel, angstrom.
    optics : (voltage kV, Cs mm, amplitude contrast)
    coherent_fraction : float
        Part of the lost intensity that interferes; the rest (aperture, inelastic) only darkens.
    envelope : float
        1/e frequency of the Gaussian envelope, cycles per pixel.
    max_levels : int
        At most so many levels; fewer where the phase changes by less than 0.5 rad per level.
    """
    ny, nx = image.shape
    y = (np.arange(ny, dtype=np.float32) - (ny - 1) / 2) * np.float32(slope_a[1])
    x = (np.arange(nx, dtype=np.float32) - (nx - 1) / 2) * np.float32(slope_a[0])
    reach = float(abs(y[0]) + abs(x[0]))
    top = (min(0.5, 0.7 * envelope) / pixel_size_a) ** 2
    phase = math.pi * wavelength_a(optics[0]) * 2 * reach * top
    n = min(max_levels, 1 + math.ceil(phase / 0.5)) if reach > 0 else 1
    full = np.fft.fftfreq(ny)[:, None] ** 2 + np.fft.rfftfreq(nx)[None] ** 2
    k2: Image = full.astype(np.float32)
    s2: Image = k2 / np.float32(pixel_size_a**2)
    spectrum = fft.rfft2(image, workers=-1)
    spectrum *= np.exp(-k2 / np.float32(envelope**2))
    del k2, full
    out = np.zeros_like(image)
    step = 2 * reach / max(n - 1, 1)
    for i in range(n):
        level = -reach + i * step if n > 1 else 0.0
        transfer = phase_ctf(s2, defocus_a + level, *optics)
        transfer *= np.float32(coherent_fraction / optics[2])
        transfer += np.float32(1 - coherent_fraction)
        filtered = fft.irfft2(spectrum * transfer, s=image.shape, workers=-1)
        if n > 1:
            weight = y[:, None] + (x - np.float32(level))
            np.abs(weight, out=weight)
            weight *= np.float32(-1 / step)
            weight += 1
            filtered *= np.maximum(weight, 0, out=weight)
        out += filtered
    return out
