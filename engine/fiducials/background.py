"""What hides the beads: counting noise made even, and the texture of the specimen measured.

The square root makes Poisson noise even (Anscombe 1948, doi:10.1093/biomet/35.3-4.246); the
power spectrum is the mean of windowed periodograms (Welch 1967, doi:10.1109/TAU.1967.1161901),
a geometric one, so that a few edges and vesicles do not stand for the whole view.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.fiducials.template import BeadTemplate, Floats, Image, subtract

_GEOMETRIC = float(np.exp(np.euler_gamma))
"""Mean over geometric mean of a periodogram, whose values are exponentially distributed."""


@numba.njit(nogil=True, cache=True)
def _block_noise(image):  # type: ignore[no-untyped-def]
    """Mean and noise variance of blocks of 8 x 8 pixels."""
    by, bx = (image.shape[0] - 1) // 8, (image.shape[1] - 1) // 8
    mean, var = np.zeros(by * bx), np.zeros(by * bx)
    for j in range(by * 8):
        upper, lower = image[j], image[j + 1]
        for k in range(bx):
            total = square = 0.0
            for i in range(k * 8, k * 8 + 8):
                a, b = float(upper[i]), float(lower[i])
                # the mixed second difference is blind to ramps and edges along the axes
                d = float(lower[i + 1]) - b - float(upper[i + 1]) + a
                total += a
                square += d * d
            mean[j // 8 * bx + k] += total / 64
            var[j // 8 * bx + k] += square / 256
    return mean, var


def noise_model(image: npt.NDArray[np.generic]) -> tuple[float, float]:
    """Variance of a pixel as ``a + b * mean``, from local differences of ``image`` (ny, nx)."""
    if min(image.shape) < 9:
        raise InputError(f"image of {image.shape} is too small for a noise estimate")
    mean, var = _block_noise(np.asarray(image))
    keep = var > 0
    if keep.sum() < 8:
        return 1.0, 0.0
    mean, var = mean[keep], var[keep]
    keep = var < 3 * np.median(var)
    mean, var = mean[keep], var[keep]
    level = float(var.mean())
    spread = float(mean.var())
    slope = float(np.mean((mean - mean.mean()) * (var - level)) / spread) if spread > 0 else 0.0
    slope = max(slope, 0.0)
    return level - slope * float(mean.mean()), slope


@numba.njit(nogil=True, cache=True)
def _stabilise(image, a, b, floor):  # type: ignore[no-untyped-def]
    out = np.empty(image.shape, np.float32)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            v = max(a + b * float(image[y, x]), floor)
            out[y, x] = np.sqrt(v) * (2 / b)
    return out


def stabilise(image: npt.NDArray[np.generic], noise: tuple[float, float] | None = None) -> Image:
    """Scale ``image`` (ny, nx) so that the counting noise of each pixel has variance 1.

    ``noise`` as from :func:`noise_model`, which is asked by default.
    """
    a, b = noise_model(image) if noise is None else noise
    some = image[::4, ::4].astype(np.float32)
    level = max(a + b * float(some.mean()), 1e-12)
    if b * float(some.std()) < 1e-3 * level:
        return np.asarray(image, np.float32) / np.float32(np.sqrt(level))
    scaled: Image = _stabilise(image, a, b, 0.05 * level)
    return scaled


def window_px(diameter_px: float) -> int:
    """Side of the square around a bead in which it is seen against the background."""
    from scipy.fft import next_fast_len

    return 2 * int(next_fast_len(int(np.ceil(2 * diameter_px))))


def background_power(
    image: Image, xy: Floats, amplitude: Floats, template: BeadTemplate, side: int
) -> Image:
    """Power spectrum of a stabilised view without its beads.

    Parameters
    ----------
    image : (ny, nx)
    xy, amplitude
        ``(n, 2)`` index coordinates and ``(n,)`` of the beads to leave out.
    side
        Pixels along a side of the spectrum, an even number.

    Returns
    -------
    (side, side // 2 + 1) float32, as ``rfft2``; 1 for white noise of variance 1, which is also
    the answer for an image smaller than the square. Infinite at frequency 0.
    """
    from scipy import fft, ndimage

    ny, nx = image.shape
    half = side // 2
    power: Image = np.ones((side, half + 1), np.float32)
    # the mean of a patch is taken out of it: nothing is known of the lowest frequency
    power[0, 0] = np.inf
    if min(ny, nx) < side:
        return power
    rest = image.copy()
    subtract(rest, xy, amplitude, template.profile, template.radius_px, 0.0, 0.0)
    stride = side if ny * nx > 120 * side * side else side // 2
    patches = np.lib.stride_tricks.sliding_window_view(rest, (side, side))[::stride, ::stride]
    patches = patches.reshape(-1, side, side)
    line = np.hanning(side + 1)[:side].astype(np.float32)
    window = line[:, None] * line
    window /= np.sqrt((window**2).sum())
    waves = fft.rfft2((patches - patches.mean((1, 2), keepdims=True)) * window)
    log = np.log(waves.real**2 + waves.imag**2 + np.float32(1e-6)).mean(0)
    opposite = log[-np.arange(side) % side, half - 1 : 0 : -1]
    smooth = ndimage.gaussian_filter(np.concatenate([log, opposite], 1), 0.7, mode="wrap")
    power[:] = np.exp(smooth[:, : half + 1]) * np.float32(_GEOMETRIC)
    power[0, 0] = np.inf
    return power
