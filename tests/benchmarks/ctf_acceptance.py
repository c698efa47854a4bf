"""Defocus estimation on ten whole simulated series, 2048 x 2048 at 2 angstrom per pixel.

Run it as a script, with the numbers of the series (default: all ten). Each takes half a minute,
most of it for the simulation. Prints the relative error (rms) below and from 50 degrees on.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from ctf_phantom import Rings, RingSpec

from tiltwright.engine.ctf.estimate import Settings, estimate_series
from tiltwright.engine.ctf.model import Optics, defocus_slopes
from tiltwright.engine.geometry.projection import ViewGeometry

AXES_DEG = (-84.5, 0.0, 90.0, 175.3, 12.0)


def spec_of(number: int) -> RingSpec:
    """Series 1 to 10: 2 to 5 um, ring contrast 3 to 5, every axis, both hands, astigmatism."""
    rng = np.random.default_rng(number)
    return RingSpec(
        seed=number, defocus_um=float(np.linspace(2, 5, 10)[number - 1]),
        contrast=float(rng.uniform(3, 5)), hand=1 if number % 2 else -1,
        axis_deg=float(rng.choice(AXES_DEG)), astigmatism_a=float(rng.uniform(0, 900)),
    )  # fmt: skip


def main(numbers: list[int]) -> None:
    """Simulate, estimate and report each series."""
    for number in numbers or range(1, 11):
        spec = spec_of(number)
        twin = Rings(spec)
        n = len(spec.tilts)
        stack = np.array([twin.view(v).astype(np.float16) for v in range(n)])
        slopes = defocus_slopes(ViewGeometry.nominal(twin.tilt, spec.axis_deg), spec.pixel_a)
        centres, used = np.full((n, 2), (spec.n - 1) / 2), np.ones(n, bool)
        begin = time.perf_counter()
        fit = estimate_series(
            stack, spec.pixel_a, slopes, centres, twin.tilt, twin.order, used, Optics(), Settings()
        )
        seconds = time.perf_counter() - begin
        off = 100 * (np.array([f.p[0] for f in fit.fits]) / twin.defocus_a - 1)
        low = np.abs(twin.tilt) < 50
        print(
            f"series {number}: {spec.defocus_um:.2f} um, contrast {spec.contrast:.1f}: error "
            f"{np.sqrt((off[low] ** 2).mean()):.3f} % below 50 degrees, "
            f"{np.sqrt((off[~low] ** 2).mean()):.3f} % above, largest {np.abs(off).max():.2f} %; "
            f"hand {fit.hand} of {spec.hand}; rival {fit.rival.share:.2f}; {seconds:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
