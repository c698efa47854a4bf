"""The angle of the tilt axis, from the line that all views have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.prealign.prepare import prepare_stack
from tiltwright.engine.progress import SILENT, Monitor

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AxisTest:
    """Which tilt axis the images show, modulo 180 degrees.

    ``angles_deg`` and ``scores`` are the curve (mean correlation of profiles along the axis);
    ``message`` is empty when the stated angle agrees.
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


def test_axis(
    stack_small: npt.NDArray[Any],
    tilt_deg: npt.ArrayLike,
    axis_deg: float,
    *,
    step_deg: float = 2.0,  # noqa: PT028
    working_px: int = 200,  # noqa: PT028
    monitor: Monitor = SILENT,  # noqa: PT028
) -> AxisTest:
    """Find the axis angle at which profiles along the axis agree best between views.

    Parameters
    ----------
    stack_small : (n_views, ny, nx)
    tilt_deg : (n_views,)
    axis_deg : float
        The angle stated, tested against all others modulo 180 degrees.
    step_deg : float
        Step of the scan; the best angle is then refined.
    working_px : int
        The views are binned until their longer side is about this.

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
    if stack_small.ndim != 3 or tilt.shape != (len(stack_small),):
        raise InputError(f"{len(tilt)} tilt angles do not fit a stack of {stack_small.shape}")
    b = max(1, round(max(stack_small.shape[1:]) / working_px))
    prepared = prepare_stack(stack_small, b, highpass_px=8.0, taper_px=6, clip_sd=8.0)
    views = [prepared[v] for v in np.argsort(tilt, kind="stable") if prepared[v].any()]
    if len(views) < 4:
        raise DataError("testing the tilt axis: fewer than four views show any contrast")
    ny, nx = views[0].shape
    v0, u0 = np.mgrid[:ny, :nx].astype(np.float64)
    v0, u0 = v0 - (ny - 1) / 2, u0 - (nx - 1) / 2
    # A round window gives profiles of every direction the same length.
    rim = np.clip((min(ny, nx) / 2 - np.hypot(u0, v0)) / 8, 0, 1)
    inside = rim > 0
    pixels = np.array([(view * rim)[inside] for view in views], np.float32).T.copy()
    u, v = u0[inside], v0[inside]
    line = np.empty((2 * (int(np.hypot(ny, nx) / 2) + 2) + 2, len(views)), np.float32)
    far = max(2, len(views) // 6)

    def score(angle: float) -> float:
        _profiles(pixels, u, v, float(np.deg2rad(angle)), line)
        f = fft.rfft(line.T / (np.linalg.norm(line, axis=0) + 1e-12)[:, None], axis=1)
        total = []
        for gap in (1, far):
            corr = fft.irfft(f[gap:] * np.conj(f[:-gap]), len(line), axis=1)
            total.append(float(np.mean(corr.max(axis=1))))
        return float(np.mean(total))

    angles = axis_deg + np.arange(0.0, 180.0, step_deg)
    scores = np.zeros(len(angles))
    for k, angle in enumerate(angles):
        monitor.step(k, len(angles), f"testing the axis at {angle:.0f} degrees")
        scores[k] = score(angle)
    smooth = (np.roll(scores, 1) + 2 * scores + np.roll(scores, -1)) / 4
    k = int(np.argmax(smooth))
    fine = angles[k] + np.linspace(-step_deg, step_deg, 9)
    curve = np.array([score(x) for x in fine])
    best = float(fine[int(np.argmax(np.convolve(np.pad(curve, 1, "edge"), [0.25, 0.5, 0.25],
                                                "valid")))])  # fmt: skip
    off = (best - axis_deg + 90) % 180 - 90
    best = axis_deg + off
    spread = 1.4826 * float(np.median(np.abs(smooth - np.median(smooth)))) + 1e-9
    message = ""
    if abs(off) > 5 and smooth[k] - smooth[0] > min(3 * spread, 0.08):
        mirrored = abs((best + axis_deg + 90) % 180 - 90) < 5
        kind = "its mirror image" if mirrored else f"{off:+.1f} degrees from it"
        message = (
            f"the images show a tilt axis at {best:.1f} degrees (modulo 180), {kind}: "
            f"not at the stated {axis_deg:.1f}"
        )
    return AxisTest(best, angles, scores, message)
