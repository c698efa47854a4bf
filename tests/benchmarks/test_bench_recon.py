"""Speed of the back-projection kernel and of resampling."""

from __future__ import annotations

import numpy as np
import pytest

from tiltwright.engine.geometry.interpolate import warp_view
from tiltwright.engine.geometry.transform import rotation
from tiltwright.engine.recon.backproject import BLOCK, backproject, fixed_point

N_VIEWS, NX, NY, NZ, SLAB = 41, 1024, 1440, 300, 20


@pytest.mark.parametrize("factor", [1, 2])
def test_back_projection_of_41_views_to_300_sections(benchmark, factor):
    t = np.deg2rad(np.linspace(-60, 60, N_VIEWS))
    n_rows, n_blocks = 1090 * factor, -(-NY // BLOCK)
    shape = (n_blocks, N_VIEWS, n_rows, BLOCK)
    rows = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    centred = [(np.arange(n) - (n - 1) / 2)[:, None] * factor for n in (NX, NZ)]
    at_x = fixed_point(centred[0] * np.cos(t) + (n_rows - 1) / 2)
    at_z = fixed_point(centred[1] * np.sin(t))
    out = np.zeros((SLAB, n_blocks, NX, BLOCK), np.float32)
    backproject(rows, at_x, at_z[:SLAB], out)

    def whole():
        for z in range(0, NZ, SLAB):
            backproject(rows, at_x, at_z[z : z + SLAB], out)

    benchmark.pedantic(whole, rounds=3)
    if benchmark.stats is not None:
        rate = N_VIEWS * NX * NY * NZ / benchmark.stats.stats.min
        benchmark.extra_info["updates_per_s"] = rate
        print(f"super-sampling {factor}: {rate:.3e} updates/s")


def test_resampling_a_view(benchmark):
    image = np.random.default_rng(0).standard_normal((1024, 1440), dtype=np.float32)
    xf = np.c_[rotation(84.5), [3.0, -2.0]]
    benchmark(warp_view, image, xf, (1440, 1072), transposed=True)
