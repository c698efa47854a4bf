"""Speed of the back-projection kernel, of a whole reconstruction and of resampling."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from machine_peak import multiply_adds_per_s
from numba import get_num_threads

from tiltwright.engine.geometry.interpolate import warp_view
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import rotation
from tiltwright.engine.recon.backproject import CHUNK_Z, backproject, empty_rows, fixed_point
from tiltwright.engine.recon.strips import Request
from tiltwright.engine.recon.wbp import STRIP_LINES, reconstruct_series

N_VIEWS, NX, NY, NZ = 41, 1024, 1440, 300
TILT = np.linspace(-60, 60, N_VIEWS)


@pytest.fixture(scope="module")
def peak():
    """Multiply-adds per second in registers, and fed from the first two caches."""
    return {
        "registers": multiply_adds_per_s(16, from_memory=False),
        "first-level cache": multiply_adds_per_s(16, from_memory=True),
        "second-level cache": multiply_adds_per_s(256, from_memory=True),
    }


@pytest.mark.parametrize("factor", [1, 2])
def test_back_projection_of_41_views_to_300_sections(benchmark, peak, factor):
    """All strips share one set of rows: what the kernel reads and computes is the same."""
    t, n_rows = np.deg2rad(TILT), 1090 * factor
    rows = empty_rows(STRIP_LINES, N_VIEWS, n_rows)
    rows[:] = np.random.default_rng(0).standard_normal(rows.shape, dtype=np.float32)
    centred = [(np.arange(n) - (n - 1) / 2)[:, None] * factor for n in (NX, NZ)]
    at_x = fixed_point(centred[0] * np.cos(t) + (n_rows - 1) / 2)
    at_z = fixed_point(centred[1] * np.sin(t))
    strips = [min(STRIP_LINES, NY - y) for y in range(0, NY, STRIP_LINES)]
    tasks = [(z, n) for n in strips for z in range(0, NZ, CHUNK_Z)]

    def project(task):
        z, n = task
        part = at_z[z : z + CHUNK_Z]
        out = np.empty((len(part), n, NX), np.int16)
        backproject(rows[: -(-n // rows.shape[3])], at_x, part, out, scaling=(1000.0, 0.0))

    project(tasks[0])
    with ThreadPoolExecutor(get_num_threads()) as pool:
        benchmark.pedantic(lambda: list(pool.map(project, tasks)), rounds=5)
    if benchmark.stats is not None:
        rate = N_VIEWS * NX * NY * NZ / benchmark.stats.stats.min
        benchmark.extra_info["updates_per_s"] = rate
        print(f"\nsuper-sampling {factor}, {get_num_threads()} threads: {rate:.3e} updates/s")
        for name, limit in peak.items():
            benchmark.extra_info[f"fraction of {name}"] = 2 * rate / limit
            print(f"  {2 * rate / limit:.0%} of {limit:.3e} multiply-adds/s from {name}")


@pytest.mark.parametrize("x_tilt", [0.0, 2.5])
def test_a_whole_reconstruction(benchmark, tmp_path, x_tilt):
    stack = np.random.default_rng(0).poisson(300, (N_VIEWS, NX, NY)).astype(np.int16)
    xf = ViewGeometry.nominal(TILT, -84.5).transforms()

    def whole(thickness=NZ):
        reconstruct_series(
            Request(
                stack,
                xf,
                TILT,
                thickness=thickness,
                axis_deg=-84.5,
                path=tmp_path / "a.mrc",
                pixel_size_a=5.52,
                x_tilt_deg=x_tilt,
            )
        )

    whole(1)
    benchmark.pedantic(whole, rounds=3)
    benchmark.extra_info["voxels"] = NX * NY * NZ


def test_resampling_a_view(benchmark):
    image = np.random.default_rng(0).standard_normal((1024, 1440), dtype=np.float32)
    xf = np.c_[rotation(84.5), [3.0, -2.0]]
    benchmark(warp_view, image, xf, (1440, 1072), transposed=True)
