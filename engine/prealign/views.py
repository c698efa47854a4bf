"""Views that should not go into a solution, and why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.prealign.maps import Correlator
from tiltwright.engine.prealign.prepare import prepare_view
from tiltwright.engine.stack.binning import bin_view

_STRIDE = 3  # every third row of fine detail tells pictures apart well enough

Kind = Literal["broken", "blank", "dark", "duplicate", "drifted"]


@dataclass(frozen=True)
class ViewVerdict:
    """One suspect view: its index from 0, what is wrong, a sentence, and how wrong it is."""

    view: int
    kind: Kind
    reason: str
    score: float


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator,unused-ignore]
def _measure(image: Any, stride: int, steps: Any, fine: Any) -> Any:
    """Mean and deviation where neighbours differ, and how many pixels those are.

    ``steps`` gets the mean absolute differences along 0, 45, 90 and 135 degrees where the image
    varies; ``fine`` the second differences of every ``stride``-th row.
    """
    ny, nx = image.shape
    offset = np.float64(image[0, 0])
    total, squares, live, varies = 0.0, 0.0, 0, 0
    for y in range(ny):
        for x in range(nx):
            here = image[y, x]
            if (x > 0 and image[y, x - 1] != here) or (x < nx - 1 and image[y, x + 1] != here):
                live += 1
                total += here - offset
                squares += (here - offset) ** 2
    steps[:] = 0
    for y in range(1, ny - 1):
        for x in range(1, nx - 1):
            here = image[y, x]
            d0, d1 = abs(image[y, x + 1] - here), abs(image[y + 1, x + 1] - here)
            d2, d3 = abs(image[y + 1, x] - here), abs(image[y + 1, x - 1] - here)
            if d0 > 0 or d1 > 0 or d2 > 0 or d3 > 0:
                varies += 1
            steps[0] += d0
            steps[1] += d1
            steps[2] += d2
            steps[3] += d3
    steps *= 1.0 / varies if varies >= 100 else 0.0
    for k in range(fine.shape[0]):
        y = 1 + k * stride
        for x in range(1, nx - 1):
            around = image[y - 1, x] + image[y + 1, x] + image[y, x - 1] + image[y, x + 1]
            fine[k, x - 1] = 4 * image[y, x] - around
    if live == 0:
        return 0.0, 0.0, 0
    mean = total / live
    return mean + offset, np.sqrt(max(squares / live - mean**2, 0.0)), live


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
    steps = np.zeros((n, 4))
    said: dict[int, ViewVerdict] = {}

    def look(v: int) -> float:
        image = bin_view(stack[v], b, antialias=False)
        bad = ~np.isfinite(image)
        broken = float(bad.mean()) if bad.any() else 0.0
        if broken:
            image = np.where(bad, 0, image).astype(np.float32)
        rows = len(range(1, image.shape[0] - 1, _STRIDE))
        fine = np.empty((rows, image.shape[1] - 2), np.float32)
        middle, spread, live = _measure(image, _STRIDE, steps[v], fine)
        # Of constant fill, neither mean nor deviation says anything about the specimen.
        if live > 0.05 * image.size:
            mean[v], sd[v] = middle, spread
        limit = 4 * float(fine.std())
        # Edges of fill are steep and the same in many views: clipped, they cannot dominate.
        fine = np.clip(fine.ravel(), -limit, limit)
        details[v] = fine / (float(np.linalg.norm(fine)) or 1.0)
        return broken

    details: dict[int, Any] = {}
    with ThreadPoolExecutor(2) as pool:
        for v, part in enumerate(pool.map(look, range(n))):
            if part:
                said[v] = ViewVerdict(
                    v, "broken", f"{part:.2%} of its pixels are not numbers", part
                )
    detail = np.array([details[v] for v in range(n)])
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
    same = detail @ detail.T
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
