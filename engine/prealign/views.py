"""Views that should not go into a solution, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.prealign.correlate import Correlator
from tiltwright.engine.prealign.prepare import prepare_view
from tiltwright.engine.stack.binning import bin_view

Kind = Literal["broken", "blank", "dark", "duplicate", "drifted"]


@dataclass(frozen=True)
class ViewVerdict:
    """One suspect view: its index from 0, what is wrong, a sentence, and how wrong it is."""

    view: int
    kind: Kind
    reason: str
    score: float


def _directional(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Mean absolute differences along 0, 45, 90 and 135 degrees where the image varies."""
    core = image[1:-1, 1:-1]
    near = (image[1:-1, 2:], image[2:, 2:], image[2:, 1:-1], image[2:, :-2])
    steps = np.array([np.abs(other - core) for other in near])
    varies = (steps > 0).any(axis=0)
    if varies.sum() < 100:
        return np.zeros(4)
    out: npt.NDArray[np.float64] = steps[:, varies].mean(axis=1).astype(np.float64)
    return out


def _belongs(
    pair: tuple[int, int], others: list[int], stack: Any, tilt: Any, axis_deg: float
) -> int:
    """Which of two equal views lies at its own tilt, judged by the views on either side."""

    b = max(1, round(max(stack.shape[1:]) / 400))
    keep = [pair[0], *others]
    views = [prepare_view(stack[v], b, highpass_px=10.0, taper_px=12, clip_sd=8.0) for v in keep]
    total = []
    for place in pair:
        tilts = np.array([tilt[place], *(tilt[v] for v in others)])
        c = Correlator(views, tilts, axis_deg, (0.0, 0.03, 0.25, 0.05))
        peak = [
            float(c.map_of(0, c.stretched(k, c.matrix(0, k, True))).max())
            for k in range(1, len(keep))
        ]
        total.append(sum(peak))
    return pair[int(np.argmax(total))]


def examine_views(
    stack: npt.NDArray[Any],
    tilt_deg: npt.ArrayLike,
    axis_deg: float = 0.0,
    *,
    dark_ratio: float = 0.3,
    blank_ratio: float = 0.1,
    duplicate_correlation: float = 0.9,
    drift_ratio: float = 2.5,
) -> list[ViewVerdict]:
    """Name the views that are broken, blank, dark, duplicated or strongly drifted.

    Parameters
    ----------
    stack : (n_views, ny, nx)
        Raw or lightly binned.
    tilt_deg : (n_views,)
    axis_deg : float
        Tilt axis, to judge which of two equal views is out of place.
    dark_ratio : float
        A mean below this part of what both neighbours lead to expect is dark.
    blank_ratio : float
        Contrast below this part of the series' median is blank.
    duplicate_correlation : float
        Pixel by pixel correlation of fine detail above which two views are the same picture.
    drift_ratio : float
        Loss of fine detail in one direction against another, above which a view is drifted.

    Returns
    -------
    list of ViewVerdict in the order of the views, at most one for each

    Raises
    ------
    InputError
        When shapes disagree.
    """
    tilt = np.asarray(tilt_deg, dtype=np.float64)
    if stack.ndim != 3 or tilt.shape != (len(stack),):
        raise InputError(f"{len(tilt)} tilt angles do not fit a stack of {stack.shape}")
    n = len(tilt)
    b = max(1, round(max(stack.shape[1:]) / 720))
    mean, sd = np.zeros(n), np.zeros(n)
    steps, detail = np.zeros((n, 4)), []
    said: dict[int, ViewVerdict] = {}
    for v in range(n):
        image = bin_view(stack[v], b, antialias=False)
        bad = ~np.isfinite(image)
        if bad.any():
            said[v] = ViewVerdict(
                v, "broken", f"{bad.mean():.2%} of its pixels are not numbers", float(bad.mean())
            )
            image = np.where(bad, 0, image).astype(np.float32)
        steps[v] = _directional(image)
        # Of constant fill, neither mean nor deviation says anything about the specimen.
        live = np.zeros(image.shape, bool)
        live[:, 1:] = image[:, 1:] != image[:, :-1]
        live[:, :-1] |= live[:, 1:]
        if live.sum() > 0.05 * live.size:
            mean[v], sd[v] = float(image[live].mean()), float(image[live].std())
        fine = image[1:-1, 1:-1] * 4 - image[:-2, 1:-1] - image[2:, 1:-1]
        fine = (fine - image[1:-1, :-2] - image[1:-1, 2:]).ravel()
        limit = 4 * float(fine.std())
        # Edges of fill are steep and the same in many views: clipped, they cannot dominate.
        fine = np.clip(fine, -limit, limit)
        detail.append(fine / (float(np.linalg.norm(fine)) or 1.0))
    usual = float(np.median(sd))
    for v in range(n):
        if v not in said and sd[v] <= blank_ratio * usual and (sd[v] == 0 or mean[v] >= 0):
            said[v] = ViewVerdict(
                v, "blank", f"its contrast is {sd[v] / (usual or 1):.1%} of the median view's",
                1 - sd[v] / (usual or 1),
            )  # fmt: skip
    order = [int(v) for v in np.argsort(tilt, kind="stable") if v not in said]
    if order and min(mean[order]) >= 0:
        for k, v in enumerate(order):
            near = [u for u in order[max(k - 2, 0) : k + 3] if u != v]
            if near:
                cosine = np.cos(np.deg2rad(np.clip(tilt, -75, 75)))
                level = float(np.median([mean[u] * min(1, cosine[v] / cosine[u]) for u in near]))
                if mean[v] < dark_ratio * level:
                    said[v] = ViewVerdict(
                        v, "dark", f"its mean is {mean[v] / level:.1%} of its neighbours'",
                        1 - mean[v] / level,
                    )  # fmt: skip
    order = [v for v in order if v not in said]
    same = np.array(detail) @ np.array(detail).T
    for k, v in enumerate(order):
        for w in order[k + 1 :]:
            if same[v, w] < duplicate_correlation or v in said or w in said:
                continue
            m = order.index(w)
            beside = {k - 1, k + 1, m - 1, m + 1} - {k, m}
            others = [order[p] for p in sorted(beside) if 0 <= p < len(order)]
            true = _belongs((v, w), others, stack, tilt, axis_deg) if others else v
            wrong = w if true == v else v
            said[wrong] = ViewVerdict(
                wrong, "duplicate",
                f"it is the same picture as view {true + 1} (correlation {same[v, w]:.2f}), "
                f"and its neighbours fit the tilt of view {true + 1} better",
                float(same[v, w]),
            )  # fmt: skip
    order = [v for v in order if v not in said]
    if len(order) > 4:
        relative = steps / np.maximum(np.median(steps[order], axis=0), 1e-12)
        for v in order:
            ratio = float(relative[v].max() / max(relative[v].min(), 1e-12))
            if ratio > drift_ratio:
                angle = 45 * int(np.argmin(relative[v]))
                said[v] = ViewVerdict(
                    v, "drifted",
                    f"along {angle} degrees its fine detail is {ratio:.1f} times weaker", ratio,
                )  # fmt: skip
    return [said[v] for v in sorted(said)]
