"""Patches of the views, all drawn in the plane of the specimen, and their correlation.

A patch is sampled along the axes of the specimen, so that it shows the same content at every
tilt (cosine stretch): the patches of all views have one size and can be averaged as they are.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft

from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.prealign.prepare import prepare_view, valid_mask
from tiltwright.engine.progress import Monitor

Spectra = npt.NDArray[np.complex64]
Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Band:
    """Gaussian band-pass as IMOD's: high-pass ``sigma1``, low-pass ``radius2``, ``sigma2``.

    Cycles per pixel of the image it is applied to.
    """

    sigma1: float
    radius2: float
    sigma2: float

    def __call__(self, frequency: Floats) -> Floats:
        """The part passed at each ``frequency``."""
        above = np.clip(frequency - self.radius2, 0, None)
        low: Floats = np.exp(-(above**2) / (2 * self.sigma2**2 + 1e-12))
        if self.sigma1 > 0:
            low = low * (1 - np.exp(-(frequency**2) / (2 * self.sigma1**2)))
        return low


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _cut(image: Any, valid: Any, centre: Any, m: Any, window: Any, out: Any, cover: Any) -> None:
    """``out[p, j, i] = image at centre[p] + m @ (i - h, j - h)``, Catmull-Rom, zero outside.

    ``cover[p]`` is the part of the samples that lies on valid specimen.
    """
    ny, nx = image.shape
    n = out.shape[1]
    h = (n - 1) / 2
    wx = np.empty(4, np.float32)
    wy = np.empty(4, np.float32)
    for p in range(out.shape[0]):
        seen = 0
        for j in range(n):
            for i in range(n):
                out[p, j, i] = 0
                x = centre[p, 0] + m[0, 0] * (i - h) + m[0, 1] * (j - h)
                y = centre[p, 1] + m[1, 0] * (i - h) + m[1, 1] * (j - h)
                if not (1 <= x < nx - 2 and 1 <= y < ny - 2):
                    continue
                fx, fy = int(x), int(y)
                seen += valid[fy, fx]
                for w, u in ((wx, np.float32(x - fx)), (wy, np.float32(y - fy))):
                    v = np.float32(1) - u
                    w[0] = -np.float32(0.5) * u * v * v
                    w[1] = np.float32(1) + np.float32(0.5) * u * u * (np.float32(3) * u - 5)
                    w[2] = np.float32(1) + np.float32(0.5) * v * v * (np.float32(3) * v - 5)
                    w[3] = -np.float32(0.5) * v * u * u
                total = np.float32(0)
                for b in range(4):
                    row = np.float32(0)
                    for a in range(4):
                        row += wx[a] * image[fy - 1 + b, fx - 1 + a]
                    total += wy[b] * row
                out[p, j, i] = total * window[j] * window[i]
        cover[p] = seen / (n * n)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _peaks(maps: Any, middle: Any, radius: int, out: Any) -> None:
    """The highest point within ``radius`` of ``middle``: x, y (sub-pixel), height in SD.

    ``maps`` have their origin in the corner and wrap. NaN where the highest point is no maximum
    of its surroundings: it lies on the border of the search.
    """
    n = maps.shape[1]
    mx, my = int(np.rint(middle[0])), int(np.rint(middle[1]))
    for p in range(maps.shape[0]):
        best, bx, by = -np.inf, 0, 0
        for dy in range(my - radius, my + radius + 1):
            for dx in range(mx - radius, mx + radius + 1):
                if (dx - mx) ** 2 + (dy - my) ** 2 <= radius * radius:
                    value = maps[p, dy % n, dx % n]
                    if value > best:
                        best, bx, by = value, dx, dy
        left, right = maps[p, by % n, (bx - 1) % n], maps[p, by % n, (bx + 1) % n]
        below, above = maps[p, (by - 1) % n, bx % n], maps[p, (by + 1) % n, bx % n]
        out[p, :] = np.nan
        if not (best > max(left, right) and best > max(below, above)):
            continue
        bend_x, bend_y = left - 2 * best + right, below - 2 * best + above
        cross = 0.25 * (
            maps[p, (by + 1) % n, (bx + 1) % n]
            - maps[p, (by + 1) % n, (bx - 1) % n]
            - maps[p, (by - 1) % n, (bx + 1) % n]
            + maps[p, (by - 1) % n, (bx - 1) % n]
        )
        slope_x, slope_y = 0.5 * (right - left), 0.5 * (above - below)
        det = bend_x * bend_y - cross * cross
        x, y = -slope_x / bend_x, -slope_y / bend_y
        if det > 0.1 * bend_x * bend_y:
            # An oblique peak, as edges make: the paraboloid with its mixed term.
            x = (cross * slope_y - bend_y * slope_x) / det
            y = (cross * slope_x - bend_x * slope_y) / det
        out[p, 0] = bx + min(max(x, -1.0), 1.0)
        out[p, 1] = by + min(max(y, -1.0), 1.0)
        out[p, 2] = best


class PatchImages:
    """Prepared views and the patches cut from them.

    Parameters
    ----------
    stack : (n_views, ny, nx)
    binning : int
        At which the patches are drawn; positions below are pixels so binned, about the centre.
    side : int
        Samples along a side of a patch.
    band
        In cycles per binned pixel.
    views
        Those to prepare; the others stay empty.
    """

    def __init__(
        self,
        stack: npt.NDArray[Any],
        binning: int,
        side: int,
        band: Band,
        views: list[int],
        monitor: Monitor,
        threads: int,
    ) -> None:
        self.side, self.band = side, band

        def prepare(v: int) -> tuple[Any, Any]:
            image = np.asarray(stack[v])
            small = prepare_view(
                image, binning, highpass_px=side / 4, taper_px=max(4, side // 16), clip_sd=8.0
            )
            if image.dtype.kind == "f" and not np.isfinite(image).all():
                image = np.nan_to_num(image, posinf=0.0, neginf=0.0)
            return small, valid_mask(image, binning) if small.any() else np.zeros(small.shape, bool)

        self.images: dict[int, Any] = {}
        self.valid: dict[int, Any] = {}
        pool = ThreadPoolExecutor(max(1, threads))
        try:
            for k, (v, made) in enumerate(zip(views, pool.map(prepare, views), strict=True)):
                monitor.step(k, len(views), "patches: filtering the views")
                self.images[v], self.valid[v] = made
        finally:
            pool.shutdown(cancel_futures=True)
        ramp = np.clip(
            (np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5) / (side / 4), 0, 1
        )
        self.window = (0.5 - 0.5 * np.cos(np.pi * ramp)).astype(np.float32)
        self.fy, self.fx = np.fft.fftfreq(side), np.fft.rfftfreq(side)
        # A half spectrum holds all columns but two once for the two that there are.
        self.twice = np.full(len(self.fx), 2.0, np.float32)
        self.twice[0] = 1
        if side % 2 == 0:
            self.twice[-1] = 1

    def cut(self, v: int, xy: Floats, matrix: Floats) -> tuple[Spectra, Floats]:
        """Filtered spectra of the patches at ``xy`` of view ``v``, of unit power; their cover.

        Parameters
        ----------
        xy : (n, 2)
        matrix : (2, 2)
            From the plane of the specimen to the view.

        Returns
        -------
        spectra : (n, side, side // 2 + 1)
        cover : (n,)
            Part of each patch that lies on valid specimen.
        """
        image = self.images[v]
        centre = xy + (np.array(image.shape[::-1]) - 1) / 2
        patches = np.empty((len(xy), self.side, self.side), np.float32)
        cover = np.empty(len(xy))
        _cut(image, self.valid[v], centre, matrix, self.window, patches, cover)
        spectra = fft.rfft2(patches)
        kx, ky = np.meshgrid(self.fx, self.fy)
        back = np.linalg.inv(matrix).T
        frequency = np.hypot(back[0, 0] * kx + back[0, 1] * ky, back[1, 0] * kx + back[1, 1] * ky)
        # The root in either image: a correlation passes the band once.
        spectra *= np.sqrt(self.band(frequency)).astype(np.float32)
        power = np.sqrt((np.abs(spectra) ** 2 @ self.twice).sum(1))
        spectra /= np.maximum(power, 1e-12).astype(np.float32)[:, None, None]
        return spectra, cover

    def moved(self, spectra: Spectra, by: Floats) -> Spectra:
        """The spectra of patches cut ``by`` ``(n, 2)`` samples farther on."""
        py = np.exp(2j * np.pi * self.fy * by[:, 1:]).astype(np.complex64)
        px = np.exp(2j * np.pi * self.fx * by[:, :1]).astype(np.complex64)
        out: Spectra = spectra * py[:, :, None] * px[:, None, :]
        return out

    def correlate(self, spectra: Spectra, reference: Spectra) -> Maps:
        """Correlation maps ``(n, side, side)`` in their own SD, origin in the corner."""
        maps: Maps = fft.irfft2(spectra * np.conj(reference), (self.side, self.side))
        maps -= maps.mean((1, 2), keepdims=True)
        maps /= np.maximum(maps.std((1, 2), keepdims=True), 1e-12)
        return maps

    @staticmethod
    def peaks(maps: Maps, middle: Floats, radius: int) -> tuple[Floats, Floats]:
        """Displacement ``(n, 2)`` and height ``(n,)`` of the highest maximum near ``middle``."""
        out = np.empty((len(maps), 3))
        _peaks(maps, np.asarray(middle, np.float64), radius, out)
        return out[:, :2], out[:, 2]
