"""SIRT beside back-projection: time of an iteration, its memory, and Fourier inversion."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numba import get_num_threads

from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.recon.backproject import CHUNK_Z, backproject, empty_rows, fixed_point
from tiltwright.engine.recon.fourier import reconstruct_fourier
from tiltwright.engine.recon.iterate import Iterations, reconstruct_iterative
from tiltwright.engine.recon.strips import Request
from tiltwright.engine.recon.wbp import STRIP_LINES, reconstruct_series

N_VIEWS, NX, NY, NZ = 41, 1024, 1440, 200
TILT = np.linspace(-60, 60, N_VIEWS)


@pytest.fixture
def request_200(tmp_path):
    stack = np.random.default_rng(0).poisson(300, (N_VIEWS, NX, NY)).astype(np.int16)
    xf = ViewGeometry.nominal(TILT, -84.5).transforms()
    return Request(stack, xf, TILT, NZ, -84.5, tmp_path / "a.mrc", 5.52)


def kernel_s(factor=2):
    """Back-projection alone, from rows that lie ready, as in the benchmark of its kernel."""
    t, n_rows = np.deg2rad(TILT), 1090 * factor
    rows = empty_rows(STRIP_LINES, N_VIEWS, n_rows)
    rows[:] = 1
    centred = [(np.arange(n) - (n - 1) / 2)[:, None] * factor for n in (NX, NZ)]
    at_x = fixed_point(centred[0] * np.cos(t) + (n_rows - 1) / 2)
    at_z = fixed_point(centred[1] * np.sin(t))
    lines = [min(STRIP_LINES, NY - y) for y in range(0, NY, STRIP_LINES)]

    def work(task):
        z, n = task
        part = at_z[z : z + CHUNK_Z]
        out = np.empty((len(part), n, NX), np.int16)
        backproject(rows[: -(-n // rows.shape[3])], at_x, part, out, scaling=(1000.0, 0.0))

    work((0, lines[0]))
    start = time.perf_counter()
    with ThreadPoolExecutor(get_num_threads()) as pool:
        list(pool.map(work, [(z, n) for n in lines for z in range(0, NZ, CHUNK_Z)]))
    return time.perf_counter() - start


class Memory:
    """Highest RssAnon of the process while it is watched, MB."""

    def __enter__(self):
        self.peak, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._stop.wait(0.02):
            text = Path("/proc/self/status").read_text().splitlines()
            line = next(s for s in text if s.startswith("RssAnon"))
            self.peak = max(self.peak, int(line.split()[1]) / 1024)

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize(("number", "subset"), [(30, 0), (5, 5)])
def test_iterations(benchmark, request_200, number, subset):
    """The yardsticks are measured before and after, in the same process."""
    fields = vars(request_200)
    small = Request(**{**fields, "stack": request_200.stack[:, :99, :99], "thickness": 9})
    reconstruct_iterative(small, Iterations(1, subset))
    reconstruct_series(small)
    whole, kernel, single = [], [], []

    def yardsticks():
        start = time.perf_counter()
        reconstruct_series(request_200)
        whole.append(time.perf_counter() - start)
        kernel.append(kernel_s())
        single.append(kernel_s(1))

    yardsticks()
    with Memory() as memory:
        result = benchmark.pedantic(
            lambda: reconstruct_iterative(request_200, Iterations(number, subset)), rounds=1
        )
    yardsticks()
    if benchmark.stats is not None:
        each = benchmark.stats.stats.min / number
        benchmark.extra_info["seconds per iteration"] = each
        benchmark.extra_info["whole WBP per iteration"] = each / np.mean(whole)
        benchmark.extra_info["peak MB"] = memory.peak
        print(
            f"\n{number} iterations, subsets of {subset}: {each:.3f} s each; "
            f"whole WBP {np.mean(whole):.2f} s: {each / np.mean(whole):.2f} times; its kernel "
            f"{np.mean(kernel):.2f} s: {each / np.mean(kernel):.2f} times; without super-sampling "
            f"{np.mean(single):.2f} s: {each / np.mean(single):.2f} times; peak {memory.peak:.0f} "
            f"MB; residual {result.residual[0]:.3f} -> {result.residual[-1]:.3f}"
        )


def test_fourier_inversion(benchmark, request_200):
    with Memory() as memory:
        benchmark.pedantic(lambda: reconstruct_fourier(request_200), rounds=1)
    benchmark.extra_info["peak MB"] = memory.peak
    print(f"\nFourier inversion: peak {memory.peak:.0f} MB")
