"""The angle of the tilt axis, from the line that all views have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.prealign.prepare import WorkingViews
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.stack.binning import bin_view

Floats = npt.NDArray[np.float64]

_PIXELS = 200  # longer side of the views that are tested
_APART_DEG = 7.0  # a stated angle nearer than this is right: the test errs by a degree or two
_PLAIN = 4.0  # deviations of the curve by which a peak must stand out
_WORSE = 0.25  # part of the peak's height by which the stated angle must fall short


@dataclass(frozen=True)
class AxisTest:
    """Which tilt axis the images show, modulo 180 degrees.

    ``angles_deg`` and ``scores`` are the curve (mean correlation of profiles along the axis);
    ``message`` is empty when the stated angle agrees, or when no angle is clearly better.
    """

    best_deg: float
    angles_deg: Floats
    scores: Floats
    message: str


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _profiles(pixels: Any, u: Any, v: Any, angle: float, out: Any) -> None:
    """Sums across the axis, ``(n_bins, n_views)``, of ``pixels`` ``(n_pixels, n_views)``."""
    sine, cosine, half = np.sin(angle), np.cos(angle), (out.shape[0] - 2) // 2
    out[:] = 0
    for k in range(len(u)):
        along = half - u[k] * sine + v[k] * cosine
        base = int(along)
        part = np.float32(along - base)
        rest = np.float32(1) - part
        for i in range(pixels.shape[1]):
            out[base, i] += rest * pixels[k, i]
            out[base + 1, i] += part * pixels[k, i]


class _Lines:
    """Spectra of the profiles of all views along any axis, and how well they agree."""

    def __init__(self, views: list[npt.NDArray[np.float32]]) -> None:
        ny, nx = views[0].shape
        v0, u0 = np.mgrid[:ny, :nx].astype(np.float64)
        v0, u0 = v0 - (ny - 1) / 2, u0 - (nx - 1) / 2
        # A round window gives profiles of every direction the same length.
        rim = np.clip((min(ny, nx) / 2 - np.hypot(u0, v0)) / 8, 0, 1)
        inside = rim > 0
        self.pixels = np.array([(view * rim)[inside] for view in views], np.float32).T.copy()
        self.u, self.v = u0[inside], v0[inside]
        self.n = 2 * (int(np.hypot(ny, nx) / 2) + 2) + 2
        f = np.fft.rfftfreq(self.n)
        # Broad shadows agree at every angle; beads and membranes only along the axis.
        self.band = (1 - np.exp(-(f**2) / (2 * 0.04**2))) * np.exp(
            -(np.clip(f - 0.25, 0, None) ** 2) / (2 * 0.05**2)
        )
        # Neighbouring views agree at nearly every angle too.
        self.gap = max(2, len(views) // 6)

    def spectra(self, angle_deg: float) -> Any:
        line = np.empty((self.n, self.pixels.shape[1]), np.float32)
        _profiles(self.pixels, self.u, self.v, float(np.deg2rad(angle_deg)), line)
        return fft.rfft(line.T, axis=1)

    def whiten(self, spectra: list[Any]) -> None:
        """Give every frequency the same say, by its mean power over views and angles."""
        power = np.mean([np.mean(np.abs(s) ** 2, axis=0) for s in spectra], axis=0)
        self.band /= np.sqrt(power + 1e-6 * power.max() + 1e-30)

    def score(self, spectra: Any) -> float:
        f = spectra * self.band
        f = f / (np.sqrt(np.sum(np.abs(f) ** 2, axis=1, keepdims=True)) + 1e-12)
        corr = fft.irfft(f[self.gap :] * np.conj(f[: -self.gap]), self.n, axis=1)
        return float(np.mean(corr.max(axis=1))) * self.n / 2


def test_axis(
    working: WorkingViews,
    tilt_deg: npt.ArrayLike,
    axis_deg: float,
    *,
    skip: npt.ArrayLike | None = None,  # noqa: PT028
    step_deg: float = 2.0,  # noqa: PT028
    monitor: Monitor = SILENT,  # noqa: PT028
) -> AxisTest:
    """Find the axis angle at which profiles along the axis agree best between views.

    Parameters
    ----------
    working : WorkingViews
        Of :func:`tiltwright.engine.prealign.prepare.working_views`.
    tilt_deg : (n_views,)
    axis_deg : float
        The angle stated, tested against all others modulo 180 degrees.
    skip : (n_views,) bool, optional
        Views to leave out.
    step_deg : float
        Step of the scan; the best angle is then refined.

    Raises
    ------
    InputError
        When shapes disagree.
    DataError
        When too few views have contrast.

    Notes
    -----
    Common lines: Crowther, DeRosier and Klug, doi:10.1098/rspa.1970.0119.
    """
    tilt = np.asarray(tilt_deg, dtype=np.float64)
    left_out = np.zeros(len(working.views), bool) if skip is None else np.asarray(skip, bool)
    if tilt.shape != (len(working.views),) or left_out.shape != tilt.shape:
        raise InputError(f"{tilt.size} tilt angles do not fit {len(working.views)} views")
    b = max(1, round(max(working.views[0].shape) / _PIXELS))
    views = [
        bin_view(working.views[v], b, antialias=False)
        for v in np.argsort(tilt, kind="stable")
        if not left_out[v] and working.views[v].any()
    ]
    if len(views) < 4:
        raise DataError("testing the tilt axis: fewer than four views show any contrast")
    lines = _Lines(views)
    angles = axis_deg + np.arange(0.0, 180.0, step_deg)
    spectra = []
    for k, angle in enumerate(angles):
        monitor.step(k, len(angles), f"testing the axis at {angle:.0f} degrees")
        spectra.append(lines.spectra(angle))
    lines.whiten(spectra)
    scores = np.array([lines.score(s) for s in spectra])
    smooth = (np.roll(scores, 1) + 2 * scores + np.roll(scores, -1)) / 4
    k = int(np.argmax(smooth))
    fine = angles[k] + np.linspace(-step_deg, step_deg, 9)
    curve = np.array([lines.score(lines.spectra(x)) for x in fine])
    best = float(fine[int(np.argmax(np.convolve(np.pad(curve, 1, "edge"), [0.25, 0.5, 0.25],
                                                "valid")))])  # fmt: skip
    off = (best - axis_deg + 90) % 180 - 90
    best = axis_deg + off
    usual = float(np.median(smooth))
    spread = 1.4826 * float(np.median(np.abs(smooth - usual))) + 1e-9
    message = ""
    plain = smooth[k] - usual > _PLAIN * spread
    if abs(off) > _APART_DEG and plain and smooth[k] - smooth[0] > _WORSE * (smooth[k] - usual):
        mirrored = abs((best + axis_deg + 90) % 180 - 90) < 5
        kind = "its mirror image" if mirrored else f"{off:+.1f} degrees from it"
        message = (
            f"the images show a tilt axis at {best:.1f} degrees (modulo 180), {kind}: "
            f"not at the stated {axis_deg:.1f}"
        )
    return AxisTest(best, angles, scores, message)
