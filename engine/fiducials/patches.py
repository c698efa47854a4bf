"""Patch tracking: a fiducial model for series without beads, from the correlation of patches.

Patches on a grid over the view of least tilt are followed outwards to both sides, each view
against the average of those already placed; a bundle adjustment predicts where to look next.
Then every patch is drawn where the solved geometry projects it, correlated with the averages of
the views below and above it in tilt, and its displacements in all views are solved together, so
that errors do not add up along a chain of views.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.fiducials.build import FiducialTracks
from tiltwright.engine.fiducials.motion import Bools
from tiltwright.engine.fiducials.patch_images import Band, PatchImages
from tiltwright.engine.fiducials.patch_track import PatchTracker
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.stack.frame import BinnedFrame

_MOST_SAMPLES = 160
_LEAST_SAMPLES = 24


def patch_grid(
    size_px: tuple[int, int],
    patch_px: int,
    overlap: float,
    trim_px: int = 0,
    count: tuple[int, int] = (0, 0),
) -> Floats:
    """Centres ``(n, 2)`` about the image centre of patches spread evenly over an image.

    Parameters
    ----------
    size_px : (nx, ny)
    patch_px
    overlap
        Least fraction of a patch that its neighbour shares.
    trim_px
        Width at the edges of the image that is left out.
    count : (columns, rows)
        Number of patches, whatever their overlap; 0 for the fewest that overlap enough.

    Raises
    ------
    InputError
        When the patches are larger than the image.
    """
    lines = []
    for n, wanted in zip(size_px, count, strict=True):
        room = n - 2 * trim_px - patch_px
        if room < 0:
            raise InputError(
                f"patches of {patch_px} px do not fit into {size_px[0]} x {size_px[1]} px "
                f"trimmed by {trim_px} px; use smaller patches"
            )
        many = wanted or int(np.ceil(room / (patch_px * (1 - overlap)) - 1e-9)) + 1
        lines.append(np.linspace(-room / 2, room / 2, many) if many > 1 else np.zeros(1))
    return np.stack(np.meshgrid(*lines), -1).reshape(-1, 2)


def automatic_patch_px(size_px: tuple[int, int]) -> int:
    """A sixth of the shorter side, even, at least 32."""
    return max(2 * (min(size_px) // 12), 32)


def track_patches(
    stack: npt.NDArray[Any],
    tilt_deg: npt.ArrayLike,
    axis_deg: float,
    *,
    patch_px: int = 0,
    overlap: float = 0.33,
    count: tuple[int, int] = (0, 0),
    iterations: int = 2,
    trim_px: int = 0,
    sigma1: float = 0.03,
    radius2: float = 0.125,
    sigma2: float = 0.03,
    least_views: float = 0.3,
    prealign_shift_px: Floats | None = None,
    skip: Bools | None = None,
    monitor: Monitor = SILENT,
    threads: int = 2,
) -> FiducialTracks:
    """Follow patches of a tilt series by correlation and its own solved geometry.

    Parameters
    ----------
    stack : (n_views, ny, nx)
    tilt_deg : (n_views,)
    axis_deg
        Nominal tilt axis angle; may be some degrees wrong.
    patch_px
        Side of the square patches, pixels of ``stack``; 0 takes a sixth of the shorter side.
    overlap
        Of neighbouring patches, fraction of their side.
    count : (columns, rows)
        Number of patches in place of the overlap, where not 0.
    iterations
        How often all patches are measured again where the solved geometry has them.
    trim_px
        Width at the edges of the view of least tilt that the patches keep clear of.
    sigma1, radius2, sigma2
        Band-pass, cycles per pixel of ``stack``.
    least_views
        Shortest track that is kept, fraction of the used views.
    prealign_shift_px : (n_views, 2), optional
        Coarse shifts, pixels of ``stack``.
    skip : (n_views,) bool, optional
        Views known to be bad; they are not used and not among the lost ones.

    Returns
    -------
    FiducialTracks
        In pixels of ``stack``; all on one surface; ``score`` is the height of the peak in
        standard deviations of its map.

    Raises
    ------
    InputError
        When shapes disagree or a parameter is impossible.
    DataError
        When too few patches or views can be tracked.
    """
    tilt = np.asarray(tilt_deg, np.float64)
    if stack.ndim != 3 or tilt.shape != (len(stack),):
        raise InputError(f"{len(tilt)} tilt angles do not fit a stack of {stack.shape}")
    size = int(stack.shape[2]), int(stack.shape[1])
    patch = patch_px or automatic_patch_px(size)
    if patch < _LEAST_SAMPLES or not 0 <= overlap < 0.9 or iterations < 1 or trim_px < 0:
        raise InputError(
            f"patches: size {patch} px must be at least {_LEAST_SAMPLES}, overlap {overlap:g} "
            f"within 0 to 0.9, iterations {iterations} at least 1 and trim {trim_px} at least 0"
        )
    usable = np.ones(len(tilt), bool) if skip is None else ~np.asarray(skip, bool)
    if usable.sum() < 3:
        raise DataError(f"patch tracking: only {int(usable.sum())} views can be used")
    # What lies above the band needs no samples.
    b = int(0.5 / (radius2 + 2 * sigma2)) if radius2 + 2 * sigma2 < 0.5 else 1
    b = max(1, min(b, patch // 48), int(np.ceil(patch / _MOST_SAMPLES)))
    frame = BinnedFrame(*size, b)
    side = int(fft.next_fast_len(int(np.ceil(patch / b)), real=True))
    band = Band(sigma1 * b, radius2 * b, sigma2 * b)
    views = [int(v) for v in np.flatnonzero(usable)]
    images = PatchImages(stack, b, side, band, views, monitor, threads)
    nominal = ViewGeometry.nominal(tilt, axis_deg)
    if prealign_shift_px is not None:
        given = np.where(np.isfinite(prealign_shift_px), prealign_shift_px, 0)
        nominal = nominal.with_shifts(frame.centred_from_raw(given))
    grid = frame.centred_from_raw(patch_grid(size, patch, overlap, trim_px, count))
    tracker = PatchTracker(
        images, nominal, usable, (frame.nx_binned, frame.ny_binned), grid, monitor, threads
    )
    tracker.grow()
    if tracker.in_model.sum() < 3:
        raise DataError(
            "patch tracking: the views at low tilt do not agree with their neighbours; "
            "check the coarse alignment, or use larger patches"
        )
    for n_round in range(iterations):
        tracker.refine(n_round)
        tracker.lose_views()
    return _result(tracker, frame, least_views)


def _result(tracker: PatchTracker, frame: BinnedFrame, least_views: float) -> FiducialTracks:
    """The tracks that are long enough, in pixels of the stack."""
    seen = np.isfinite(tracker.xy[..., 0])
    used = int(tracker.in_model.sum())
    good = seen.sum(1) >= max(3, least_views * used)
    if good.sum() < 3:
        raise DataError(
            f"patch tracking: only {int(good.sum())} of {len(seen)} patches can be followed; "
            "use larger patches or a lower low-pass"
        )
    off = tracker.distances()[good]
    rms = np.sqrt(np.nanmean(off**2, axis=1, keepdims=True) / 2) * frame.scale
    xy = frame.centred_to_raw(tracker.xy[good])
    lost = dict(sorted(tracker.lost.items()))
    log = [f"{int(good.sum())} of {len(seen)} patches tracked in {used} views"]
    log += [f"view {v + 1} lost: {why}" for v, why in lost.items()]
    return FiducialTracks(
        xy,
        np.where(seen[good], rms, np.nan),
        tracker.height[good],
        np.zeros(int(good.sum()), np.int64),
        tracker.xyz[good] * frame.scale,
        xy.copy(),
        lost,
        tracker.geometry.with_shifts(frame.centred_to_raw(tracker.geometry.shift_px)),
        float(np.mean(tracker.geometry.axis_deg[tracker.in_model])),
        float(np.sqrt(np.nanmean(off**2))) * frame.scale,
        log,
    )
