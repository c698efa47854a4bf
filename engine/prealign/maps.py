"""Correlation maps of views stretched to one another's tilt, and their peaks."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft

from tiltwright.engine.geometry.transform import rotation

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _affine(image: Any, m: Any, t: Any, out: Any) -> None:
    """Bilinear ``out[y, x] = image[m @ (y, x) + t]``; zero outside."""
    ny, nx = image.shape
    for y in range(ny):
        for x in range(nx):
            v, u = m[0, 0] * y + m[0, 1] * x + t[0], m[1, 0] * y + m[1, 1] * x + t[1]
            if v < 0 or u < 0 or v >= ny - 1 or u >= nx - 1:
                continue
            j, i = int(v), int(u)
            fv, fu = v - j, u - i
            upper = image[j, i] * (1 - fu) + image[j, i + 1] * fu
            lower = image[j + 1, i] * (1 - fu) + image[j + 1, i + 1] * fu
            out[y, x] = upper * (1 - fv) + lower * fv


class Correlator:
    """Spectra of views, stretched to one another's tilt, and the maps of their correlation."""

    def __init__(self, views: list[Image], tilt: Floats, axis: float, band: Any) -> None:
        self.views, self.tilt = views, tilt
        self.ny, self.nx = views[0].shape
        self.shape = (
            fft.next_fast_len(int(1.5 * self.ny), real=True),
            fft.next_fast_len(int(1.5 * self.nx), real=True),
        )
        self.r = rotation(axis)
        fy, fx = np.fft.fftfreq(self.shape[0])[:, None], np.fft.rfftfreq(self.shape[1])
        self.fy, self.fx = fy, fx
        radius1, sigma1, radius2, sigma2 = band
        f = np.hypot(fy, fx)
        low = np.exp(-(np.clip(f - radius2, 0, None) ** 2) / (2 * sigma2**2 + 1e-12))
        high = 1 - np.exp(-(np.clip(f - radius1, 0, None) ** 2) / (2 * sigma1**2 + 1e-12))
        self.filter = np.asarray(low * (high if sigma1 > 0 else 1), dtype=np.float32)
        oy, ox = (np.abs(np.fft.fftfreq(n, 1 / n)) for n in self.shape)
        overlap = np.clip(1 - oy / self.ny, 0, 1)[:, None] * np.clip(1 - ox / self.nx, 0, 1)
        # Noise in the map grows as the square root of the overlap: make it even.
        self.even = np.where(overlap > 0.2, overlap, np.inf).astype(np.float32) ** -0.5
        self.spectra: dict[int, Any] = {}

    def matrix(self, i: int, j: int, cosine: bool) -> Floats:
        """Stretch that takes view j to the tilt of view i."""
        ratio = np.cos(np.deg2rad(self.tilt[i])) / np.cos(np.deg2rad(self.tilt[j]))
        d = np.diag([np.clip(ratio, 0.2, 5.0) if cosine else 1.0, 1.0])
        out: Floats = self.r @ d @ self.r.T
        return out

    def _transform(self, image: Image) -> Any:
        spectrum = fft.rfft2(image, self.shape) * self.filter
        # Half-whitened: between plain correlation (slow gradients win) and phase correlation.
        return spectrum / np.sqrt(np.abs(spectrum) + 1e-6)

    def spectrum(self, i: int) -> Any:
        if i not in self.spectra:
            self.spectra[i] = self._transform(self.views[i])
        return self.spectra[i]

    def stretched(self, j: int, matrix: Floats) -> Any:
        if np.allclose(matrix, np.eye(2), atol=2e-3):
            return self.spectrum(j)
        back = np.linalg.inv(matrix)[::-1, ::-1]
        centre = (np.array([self.ny, self.nx]) - 1) / 2
        image = np.zeros((self.ny, self.nx), np.float32)
        _affine(self.views[j], back, centre - back @ centre, image)
        return self._transform(image)

    def map_of(self, i: int, other: Any) -> Image:
        """Correlation of view i with a spectrum, in its own deviations."""
        cross = self.spectrum(i) * np.conj(other)
        corr = fft.irfft2(cross, self.shape) * self.even
        out: Image = ((corr - corr.mean()) / (corr.std() + 1e-12)).astype(np.float32)
        return out


def find_peaks(corr: Image, n: int, radius: int = 5) -> list[tuple[float, float, float]]:
    """The ``n`` highest separate peaks, as (x, y, height), sub-pixel by parabolas."""
    work, found = corr.copy(), []
    ny, nx = corr.shape
    for _ in range(n):
        y, x = (int(k) for k in np.unravel_index(int(np.argmax(work)), work.shape))
        at = float(work[y, x])
        sub = []
        for before, after in (
            (corr[y, x - 1], corr[y, (x + 1) % nx]),
            (corr[y - 1, x], corr[(y + 1) % ny, x]),
        ):
            bend = float(before) - 2 * at + float(after)
            sub.append(0.5 * float(before - after) / bend if bend < 0 else 0.0)
        px, py = x + float(np.clip(sub[0], -0.5, 0.5)), y + float(np.clip(sub[1], -0.5, 0.5))
        found.append((px - nx * (px > nx / 2), py - ny * (py > ny / 2), at))
        rows = np.arange(y - radius, y + radius + 1) % ny
        cols = np.arange(x - radius, x + radius + 1) % nx
        work[np.ix_(rows, cols)] = -np.inf
    return found


def height(corr: Image, at: Floats, radius: int) -> float:
    """Greatest value within ``radius`` pixels of ``at`` (x, y), along either axis."""
    ny, nx = corr.shape
    rows = np.arange(round(at[1]) - radius, round(at[1]) + radius + 1) % ny
    cols = np.arange(round(at[0]) - radius, round(at[0]) + radius + 1) % nx
    return float(corr[np.ix_(rows, cols)].max())
