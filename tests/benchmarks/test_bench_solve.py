"""Speed of the alignment: from scratch, one step, and again after an edit."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.sparse import csr_array

from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.solve.auto import choose_variables
from tiltwright.engine.solve.bundle import solve
from tiltwright.engine.solve.system import System, packed, translations
from tiltwright.engine.solve.variables import Variables, linear_maps, stacked

AXIS = 84.5
N_BEADS, N_VIEWS, N_EDITS = 40, 41, 200


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    tilt = np.linspace(-60, 60, N_VIEWS)
    xyz = rng.uniform(-400, 400, (N_BEADS, 3)) * [1, 1, 0.15]
    g = ViewGeometry(
        tilt + rng.normal(0, 0.15, N_VIEWS),
        AXIS + rng.normal(0, 0.15, N_VIEWS),
        1 + rng.normal(0, 0.0008, N_VIEWS),
        np.zeros(N_VIEWS),
        np.zeros(N_VIEWS),
        rng.normal(0, 20, (N_VIEWS, 2)),
    )
    xy = g.project(xyz) + rng.normal(0, 0.15, (N_BEADS, N_VIEWS, 2))
    xy[rng.random((N_BEADS, N_VIEWS)) < 0.1] = np.nan
    return xy, tilt


def test_solving_40_beads_in_41_views(benchmark, model):
    xy, tilt = model
    s = benchmark.pedantic(
        solve, (xy, tilt, AXIS, Variables()), rounds=15, warmup_rounds=1
    )  # fmt: skip
    assert s.converged


def test_one_step(benchmark, model):
    xy, tilt = model
    s = solve(xy, tilt, AXIS, Variables())
    p, g = packed(s.geometry), stacked(linear_maps(Variables(), tilt))
    sparse, w = csr_array(g), np.isfinite(xy).all(-1).astype(float)
    nothing = np.zeros(g.shape[1])

    def step():
        system = System(p, s.xyz, xy, w, sparse)
        system.reduce(g, translations(p), nothing, 1e-4)
        return system.step(g, nothing, nothing)

    benchmark.pedantic(step, rounds=50, warmup_rounds=2)


def test_automatic_choice(benchmark, model):
    xy, tilt = model
    benchmark.pedantic(choose_variables, (xy, tilt, AXIS), rounds=3, warmup_rounds=1)


def _edited(xy, rng):
    """A model after one gesture: a point moved, spoilt or deleted, or a contour deleted."""
    out = xy.copy()
    i, v = rng.integers(len(xy)), rng.integers(xy.shape[1])
    kind = rng.integers(4)
    if kind == 0:
        out[i, v] = np.nan
    elif kind == 3:
        out = np.delete(out, i, axis=0)
    else:
        out[i, v] += rng.normal(0, (0.3, 10)[kind - 1], 2)
    return out


def test_again_after_edits(benchmark, model):
    xy, tilt = model
    before = solve(xy, tilt, AXIS, Variables())
    rng = np.random.default_rng(1)
    seconds = []

    def all_edits():
        for _ in range(N_EDITS):
            edited = _edited(xy, rng)
            begin = time.perf_counter()
            solve(edited, tilt, AXIS, Variables(), warm=before, max_iterations=12)
            seconds.append(time.perf_counter() - begin)

    benchmark.pedantic(all_edits, rounds=1)
    benchmark.extra_info["median_ms"] = 1e3 * float(np.median(seconds))
    benchmark.extra_info["worst_ms"] = 1e3 * max(seconds)
    print(
        f"after an edit: median {1e3 * np.median(seconds):.1f}, worst {1e3 * max(seconds):.1f} ms"
    )
