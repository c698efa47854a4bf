"""How much of gold's streaks is left after erasing: simulated series and the real one.

Opt-in, as all benchmarks: ``pytest tests/benchmarks/test_bench_gold.py --benchmark-only -s``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gold_streaks import control_sites, reconstruct, sites_in, streak_energy

from tiltwright.engine.fiducials.detect import detect_all
from tiltwright.engine.fiducials.discover import discover
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.tilt_series import load_tilt_series
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.erase_fiducials import EraseFiducials
from tiltwright.engine.simulate.series import SeriesSpec, simulate_series, write_series

REAL = Path(__file__).parents[3] / "shared/data/exosome_position14/position14.mrc"
THICKNESS = 220


def open_aligned(path):
    """A series with its true transforms, but without a fit."""
    truth = json.loads(path.with_suffix(".truth.json").read_text())
    series = load_tilt_series(
        path, tilt_angles=path.with_suffix(".rawtlt"), axis_deg=truth["axis"],
        pixel_size_a=truth["pixel"],
    )  # fmt: skip
    flat = np.array(truth["xf"])
    xf = np.concatenate([flat[:, :4].reshape(-1, 2, 2), flat[:, 4:, None]], 2)
    return replace(series, alignment=Alignment(xf, np.array(truth["tilt"])))


def beads_in_space(series):
    """Where the detections of two fifths of the views meet, ``(n, 3)``."""
    alignment, n = series.alignment, series.n_views
    geometry = ViewGeometry.from_transforms(alignment.transforms, alignment.tilt_deg, 0.0)
    diameter = 100 / series.pixel_size_a
    middle = (np.array(series.size) - 1) / 2
    free = [d.xy - middle for d in detect_all(series.images, diameter)]
    some = discover(
        free, geometry, np.arange(n), 5, 0.35 * diameter, middle[0] / 3,
        lambda at: 0.4 * (np.abs(at) < middle).all(1).sum(),
    )  # fmt: skip
    return np.array([xyz for _, xyz in some])


@pytest.mark.parametrize("seed", [0, 31, 32, 33])
def test_streaks(benchmark, tmp_path, seed):
    """Seed 0 is the real series; the simulated ones are compared without gold, too."""
    if seed:
        spec = SeriesSpec(seed=seed)
        made = simulate_series(spec)
        series = open_aligned(write_series(spec, tmp_path, "simulated")["stack"])
        beads, made.beads_xy = made.beads_xyz, made.beads_xy[:0]
        bare = replace(series, stack=np.stack([made.view(v) for v in range(spec.n_views)]))
    elif REAL.exists():
        series = bare = open_aligned(REAL)
        beads = beads_in_space(series)
    else:
        pytest.skip("needs ../shared/data")

    def erase():
        made = EraseFiducials.run(
            {"tilt_series": series}, EraseFiducials.Params(), Context(folder=tmp_path)
        )
        return made["tilt_series"]

    erased = benchmark.pedantic(erase, rounds=1, iterations=1)
    d = 100 / series.pixel_size_a
    reach = 3 * d + 1
    ring = (d / 2 + 2, 3 * d, d / 2)
    volumes = [reconstruct(one, tmp_path, THICKNESS) for one in (series, erased, bare)]
    every = beads + (np.array(volumes[0].shape[::-1]) - 1) / 2
    gold = sites_in(volumes[0].shape, beads, reach)
    rng = np.random.default_rng(1)
    control = control_sites(rng, every, volumes[0].shape, reach, 1.5 * d, 400)
    before, after, without = (streak_energy(v, gold, *ring) for v in volumes)
    quiet = [streak_energy(v, control, *ring) for v in volumes[:2]]
    excess = before.mean() - quiet[0].mean()
    left = after.mean() - quiet[1].mean()
    error = quiet[1].std() / np.sqrt(len(gold))
    print(
        f"\n{series.name} {seed}: {len(gold)} beads {before.mean():.4g} -> {after.mean():.4g}, "
        f"{len(control)} controls {quiet[0].mean():.4g} -> {quiet[1].mean():.4g}: excess "
        f"{100 * (left / excess - 1):+.1f} % (as many controls scatter by "
        f"{100 * error / excess:.1f} %); medians {np.median(before):.4g} -> "
        f"{np.median(after):.4g}, controls {np.median(quiet[1]):.4g}"
    )
    if seed:
        rest = (after.mean() - without.mean()) / (before.mean() - without.mean())
        print(f"over the same sites without gold: {100 * (rest - 1):+.1f} %")
        assert abs(rest) < 0.1
    else:
        assert left < 0.1 * excess
