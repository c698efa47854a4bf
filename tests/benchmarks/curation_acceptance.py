"""The fiducial editor on whole series of known truth: gaps, outliers, first clicks.

Run it as a script: it looks for ``*/NAME.truth.json`` beside ``NAME.mrc`` and ``NAME.rawtlt`` (as
``tiltwright simulate`` writes them) in the folders of the environment variable
``TILTWRIGHT_SERIES``. Arguments choose names, ``--seeds N`` how many spoilt models are made of
each. A truth without ``bead_diameter_nm`` is that of a real series, whose deleted points stand for
the true ones. A line for each series and seed:

* gaps: 25 % of the points and five ends deleted, *Fill All Gaps*; the rms error of those refilled
  and of the tracker's own points at the same places, and what the filter tells of itself (its
  Cramer-Rao bound against the measured background);
* outliers: 40 points moved, two tracks exchanged, one bead twice; the ranks at which all of it was
  found, the leave-one-out error after accepting proposal after proposal, the points that are back;
* clicks within 0.6 diameters of lone beads, three in each new editor, diameter given right and 30 %
  wrong: median and 95 % of the distance to the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from curation_cases import SPOILT, accept_all, spoil, spoilt

from tiltwright.engine.curation.filling import fill_gaps
from tiltwright.engine.curation.live import LiveAlignment
from tiltwright.engine.curation.worklist import Kind, find
from tiltwright.engine.fiducials.fill import BeadCentring
from tiltwright.engine.fiducials.from_stack import build_from_stack
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.tilt_series import TiltSeries, load_tilt_series

BACK_PX = 0.3


def distance(a, b):
    return np.hypot(*np.moveaxis(np.asarray(a) - np.asarray(b), -1, 0))


def rms(e):
    return float(np.sqrt(np.mean(np.square(e)))) if len(e) else float("nan")


def load(path: Path) -> tuple[TiltSeries, np.ndarray, FiducialModel, np.ndarray | None]:
    """The series, its stack, the tracker's model, and for each contour the true positions."""
    truth: dict[str, Any] = json.loads(path.read_text())
    name = path.name.removesuffix(".truth.json")
    bad = tuple(truth.get("bad_views", ()))
    series = load_tilt_series(
        path.with_name(f"{name}.mrc"), tilt_angles=path.with_name(f"{name}.rawtlt"),
        axis_deg=truth.get("axis_nominal", truth["axis"]), pixel_size_a=truth["pixel"], exclude=bad,
    )  # fmt: skip
    stack = np.asarray(series.stack)
    diameter = 10 * truth.get("bead_diameter_nm", 10.0) / truth["pixel"]
    tracks = build_from_stack(
        stack, series.tilt_deg, series.axis_deg, diameter, 25, skip=~series.used
    )
    model = FiducialModel.from_tracks(
        tracks.all_xy, series.size, diameter, sigma_px=tracks.all_sigma_px
    )
    if "bead_diameter_nm" not in truth:
        return series, stack, model, None
    centre = (np.array(series.size) - 1) / 2
    exact = np.array(truth["raw_xy"])[:, : len(truth["beads"])].transpose(1, 0, 2) - centre
    away = np.nanmedian(distance(model.xy[:, None], exact[None]), -1)
    assert (away.min(1) < 0.5).all(), f"{name}: a contour is on no bead"
    return series, stack, model, exact[np.argmin(away, 1)]


def gaps(series, stack, model, exact, seed: int) -> str:
    gone, less = spoilt(model, np.random.default_rng(seed))
    gone &= series.used
    live = LiveAlignment.choose(series, less)
    centring = BeadCentring(stack, series.frame, model.diameter_px)
    centring.learn(less.xy)
    report = fill_gaps(less, live.first, centring)
    done = report.edit.apply(less).model
    back = gone & done.measured
    near = back & (np.nan_to_num(distance(done.xy, model.xy), nan=9) < BACK_PX)
    text = f"refilled {100 * back.sum() / gone.sum():.1f} %"
    text += f", {100 * near.sum() / gone.sum():.1f} % within {BACK_PX} px of the deleted"
    if exact is not None:
        own, told = (model.xy - exact)[back], done.sigma_px[back]
        error = (done.xy - exact)[back]
        text += (
            f"; rms error {rms(error):.3f} px per coordinate, {rms(distance(error, 0)):.3f} px "
            f"as a distance (tracker's own {rms(distance(own, 0)):.3f}, told "
            f"{np.sqrt(2) * rms(told):.3f})"
        )
    rest = len(report.weak), len(report.off_image), len(report.hidden)
    return text + "; not filled: {} weak, {} off the image, {} hidden".format(*rest)


def outliers(series, stack, model, seed: int) -> str:
    before = LiveAlignment.choose(series, model).first.leave_one_out_px
    bad, moved, (a, b, views), twice = spoil(model, np.random.default_rng(seed))
    live = LiveAlignment.choose(series, bad)
    centring = BeadCentring(stack, series.frame, model.diameter_px)
    centring.learn(bad.xy)
    rank: dict[tuple[int, int], int] = {}
    swap = double = -1
    for n, item in enumerate(find(live.first), 1):
        if item.kind in SPOILT:
            for c in (item.contour, item.other):
                for v in item.views:
                    rank.setdefault((c, v), n)
        if item.kind is Kind.SWAPPED and (item.contour, item.other) == (a, b):
            swap = n
        if item.kind is Kind.DUPLICATE and {item.contour, item.other} == {twice, model.n_tracks}:
            double = n
    moved = {(c, v) for c, v in moved if series.used[v]}
    found = [rank[place] for place in moved if place in rank]
    mended, accepted = accept_all(live, live.first, centring)
    wrong = sorted(moved | {(c, v) for c in (a, b) for v in views if model.measured[c, v]})
    wrong = [place for place in wrong if series.used[place[1]]]
    good = 0
    if mended.model.n_tracks == model.n_tracks:
        away = np.nan_to_num(distance(mended.model.xy, model.xy), nan=9)
        good = sum(bool(away[place] < BACK_PX) for place in wrong)
    loo = mended.leave_one_out_px
    return (
        f"{len(found)} of {len(moved)} moved points found up to rank {max(found)}, "
        f"the swap at {swap}, the double at {double}; {accepted} accepted; leave-one-out "
        f"{before:.4f} -> {loo:.4f} px ({100 * (loo / before - 1):+.1f} %); "
        f"{good} of {len(wrong)} wrong points back"
    )


def clicks(series, stack, model, exact, ratio: float, seed: int, n: int = 150) -> str:
    rng = np.random.default_rng(seed)
    diameter = model.diameter_px
    apart = distance(exact[:, None], exact[None]) + 1e9 * np.eye(len(exact))[..., None]
    inside = (np.abs(exact) < np.array(series.size) / 2 - diameter).all(-1)
    places = np.argwhere((apart.min(1) > 3 * diameter) & inside & series.used)
    error = []
    for k, (c, v) in enumerate(rng.permutation(places)[:n].tolist()):
        if k % 3 == 0:
            blank = BeadCentring(stack, series.frame, ratio * diameter)
        away, turn = 0.6 * diameter * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        click = exact[c, v] + away * np.array([np.cos(turn), np.sin(turn)])
        found = blank.autocentre(v, tuple(click))
        error.append(9.0 if found is None else distance((found.x, found.y), exact[c, v]))
    return f"x {ratio:g}: {np.median(error):.3f}, {np.quantile(error, 0.95):.3f}"


def main() -> None:
    """Measure the series asked for and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    folders = os.environ.get("TILTWRIGHT_SERIES", "").split(os.pathsep)
    paths = sorted(p for f in folders if f for p in Path(f).glob("*/*.truth.json"))
    if not paths:
        parser.error("TILTWRIGHT_SERIES names no folder with */NAME.truth.json")
    for path in paths:
        name = path.name.removesuffix(".truth.json")
        if given.names and name not in given.names:
            continue
        series, stack, model, exact = load(path)
        for seed in range(given.seeds):
            print(f"{name} {seed} gaps: {gaps(series, stack, model, exact, seed)}", flush=True)
            print(f"{name} {seed} outliers: {outliers(series, stack, model, seed)}", flush=True)
            if exact is not None:
                each = [clicks(series, stack, model, exact, r, seed) for r in (1, 0.7, 1.3)]
                print(f"{name} {seed} clicks: {'; '.join(each)} px", flush=True)


if __name__ == "__main__":
    main()
