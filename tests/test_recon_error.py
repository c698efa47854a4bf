"""Error of every method on a phantom whose projections are known exactly, without and with noise.

Run with ``-s`` to see the table. Only what was measured is compared: frequencies within the tilt
range (the missing wedge tells nothing of a method) and below 0.35 per pixel.
"""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest

from tiltwright.engine.geometry.transform import identity
from tiltwright.engine.recon.fourier import reconstruct_fourier
from tiltwright.engine.recon.iterate import Iterations, reconstruct_iterative
from tiltwright.engine.recon.slabs import reconstruct_slabs
from tiltwright.engine.recon.strips import Request
from tiltwright.engine.recon.wbp import Weighting, reconstruct_series

TILT = np.linspace(-60, 60, 41)
NZ, NY, NX = 48, 64, 96
NOISE = 2.0


def balls(rng):
    """Centres (x, y, z), sigmas and densities of Gaussian balls."""
    n = 60
    centre = rng.uniform(-0.5, 0.5, (n, 3)) * [NX - 30, NY - 16, NZ - 14]
    return centre, rng.uniform(1.2, 3.0, n), rng.uniform(-1.5, -0.5, n)


def phantom(parts):
    axes = [np.arange(n) - (n - 1) / 2 for n in (NZ, NY, NX)]
    out = np.zeros((NZ, NY, NX))
    for (x, y, z), s, a in zip(*parts, strict=True):
        lines = [
            np.exp(-((t - c) ** 2) / (2 * s * s)) for t, c in zip(axes, (z, y, x), strict=True)
        ]
        out += a * np.einsum("i,j,k->ijk", *lines)
    return out


def projections(parts):
    """The line integrals of the balls, exact."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in (NY, NX))
    out = np.zeros((len(TILT), NY, NX))
    for v, t in enumerate(np.deg2rad(TILT)):
        for (px, py, pz), s, a in zip(*parts, strict=True):
            at = px * np.cos(t) + pz * np.sin(t)
            gx, gy = (np.exp(-((q - c) ** 2) / (2 * s * s)) for q, c in ((x, at), (y, py)))
            out[v] += a * s * np.sqrt(2 * np.pi) * np.outer(gy, gx)
    return out


def measured_region():
    kz, ky, kx = np.meshgrid(*(np.fft.fftfreq(n) for n in (NZ, NY, NX)), indexing="ij")
    k = np.sqrt(kz**2 + ky**2 + kx**2)
    return (np.abs(kz) <= np.abs(kx) * np.tan(np.deg2rad(60))) & (k > 0.02) & (k < 0.35), k


def errors(volume, truth):
    """Normalised error in the measured region, and the mean FSC over shells there."""
    inside, k = measured_region()
    a, b = np.fft.fftn(volume)[inside], np.fft.fftn(truth)[inside]
    shell = (k[inside] * 40).astype(int)
    both, one, two = (
        np.bincount(shell, c.real) for c in (a * b.conj(), np.abs(a) ** 2, np.abs(b) ** 2)
    )
    good = one * two > 0
    fsc = both[good] / np.sqrt(one * two)[good]
    return np.linalg.norm(a - b) / np.linalg.norm(b), fsc.mean()


def methods(stack, path):
    common = {"thickness": NZ, "axis_deg": 0.0, "path": path, "pixel_size_a": 5.0}
    common["dtype"] = "float32"
    request = Request(stack, identity(len(TILT)), TILT, **common)
    plain = request.stack, request.xf, TILT
    return {
        "WBP": lambda: reconstruct_series(Request(*plain, **common)),
        "WBP as SIRT 10": lambda: reconstruct_series(
            Request(*plain, **common), Weighting(equivalent_iterations=10)
        ),
        "3-D CTF, none": lambda: reconstruct_slabs(request, lambda v, z: stack[v]),
        "Fourier": lambda: reconstruct_fourier(request),
        "SIRT 10": lambda: reconstruct_iterative(request, Iterations(10)),
        "SIRT 30": lambda: reconstruct_iterative(request, Iterations(30)),
        "SIRT 100": lambda: reconstruct_iterative(request, Iterations(100)),
        "SART 5 x 5": lambda: reconstruct_iterative(request, Iterations(5, 5)),
        "SART 15 x 5": lambda: reconstruct_iterative(request, Iterations(15, 5)),
        "SIRT 30, dark": lambda: reconstruct_iterative(request, Iterations(30, bounds=(-9e9, 0))),
    }


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(5)
    parts = balls(rng)
    truth, clean = phantom(parts), projections(parts)
    noisy = clean + rng.normal(0, NOISE, clean.shape)
    path = tmp_path_factory.mktemp("error") / "a.mrc"
    result = {}
    for kind, stack in (("clean", clean), ("noisy", noisy)):
        for name, method in methods((stack + 100).astype(np.float32), path).items():
            method()
            result[kind, name] = errors(mrcfile.read(path), truth)
    print(f"\n{'':16}{'error':>10}{'FSC':>8}{'error':>12}{'FSC':>8} (noise {NOISE:g})")
    for name in methods(clean, path):
        row = [f"{e:10.3f}{f:8.3f}" for e, f in (result[k, name] for k in ("clean", "noisy"))]
        print(f"{name:16}" + "  ".join(row))
    return result


def test_without_noise_more_fitting_is_better(table):
    error = {name: table["clean", name][0] for kind, name in table if kind == "clean"}
    assert error["SIRT 100"] < error["SIRT 30"] < 0.6 * error["WBP"] < 0.12
    assert error["SART 15 x 5"] < 0.6 * error["WBP"]
    assert error["SIRT 30"] < 0.4 * error["SIRT 10"]
    # A pass over eight subsets does as much as several of SIRT.
    assert error["SART 5 x 5"] < 0.6 * error["SIRT 10"]
    # Gridding interpolates no rows: as back-projection, and a little better.
    assert 0.9 * error["WBP"] < error["Fourier"] < error["WBP"]
    assert error["3-D CTF, none"] == pytest.approx(error["WBP"], rel=1e-3)


def test_with_noise_fewer_iterations_are_better(table):
    error = {name: table["noisy", name][0] for kind, name in table if kind == "noisy"}
    assert error["SIRT 10"] < error["SIRT 30"] < error["SIRT 100"]
    assert error["SIRT 30"] < 0.8 * error["WBP"]
    assert error["SART 5 x 5"] < error["SART 15 x 5"]
    assert error["WBP as SIRT 10"] < 0.6 * error["WBP"]
    # What is known of the sign is worth more than anything else.
    assert error["SIRT 30, dark"] < 0.7 * error["SIRT 30"]
    fsc = {name: table["noisy", name][1] for kind, name in table if kind == "noisy"}
    assert fsc["SIRT 30, dark"] == max(fsc.values())
    assert min(fsc["WBP as SIRT 10"], fsc["SIRT 10"], fsc["SIRT 30"]) > fsc["WBP"] + 0.02
