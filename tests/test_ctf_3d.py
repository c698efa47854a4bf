"""CTF in 3-D on a thick specimen whose projections, through the CTF at every depth, are exact.

Run with ``-s`` to see the table. Only what was measured is compared: frequencies within the tilt
range, shell by shell, in parts of the specimen away from the tilt axis.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from pydantic import ValidationError

from tiltwright.engine.ctf.model import Optics
from tiltwright.engine.errors import Cancelled, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.ctf_table import CtfTable
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.progress import Monitor
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.ctf_correction import CtfCorrection
from tiltwright.engine.protocols.ctf_views import CtfViews
from tiltwright.engine.protocols.reconstruction import Reconstruction
from tiltwright.engine.protocols.reconstruction_iterative import ReconstructionIterative

PIXEL, DEFOCUS, LAMBDA = 4.0, 25000.0, 0.0196875
NZ, NY, NX = 640, 32, 2048
"""256 nm thick, 820 nm wide."""
TILT = np.arange(-60.0, 61.0, 4.0)
NOISE = 0.1
SHELLS = np.array([0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45])


def balls(rng, n=1000):
    """Centres (x, y, z) about the specimen's centre, and sigmas."""
    size = np.array([1500, NY - 12, NZ - 20])
    return rng.uniform(-0.5, 0.5, (n, 3)) * size, rng.uniform(0.9, 1.3, n)


def seen(parts, hand=1):
    """The views: ``sin(chi0 + pi lambda h k^2)`` with the height ``h`` of each ball."""
    centre, sigma = parts
    ky, kx = np.fft.fftfreq(NY), np.fft.rfftfreq(NX)
    k2 = (ky[:, None] ** 2 + kx**2) / PIXEL**2
    chi = np.pi * LAMBDA * DEFOCUS * k2 - np.pi / 2 * 2.7e7 * LAMBDA**3 * k2**2
    chi0 = np.exp(1j * (chi + np.arcsin(0.1)))
    out = np.empty((len(TILT), NY, NX), np.float32)
    for v, t in enumerate(np.deg2rad(TILT)):
        across = centre[:, 0] * np.cos(t) + centre[:, 2] * np.sin(t) + (NX - 1) / 2
        height = hand * PIXEL * (centre[:, 2] * np.cos(t) - centre[:, 0] * np.sin(t))
        total = 0
        for sign in (1, -1):
            phase = sign * 1j * np.pi * LAMBDA * height[:, None] / PIXEL**2
            damp = -2 * np.pi**2 * sigma[:, None] ** 2
            fx = np.exp((damp + phase) * kx**2 - 2j * np.pi * kx * across[:, None])
            at_y = centre[:, 1, None] + (NY - 1) / 2
            fy = np.exp((damp + phase) * ky**2 - 2j * np.pi * ky * at_y)
            fy *= (2 * np.pi * sigma**2)[:, None] * sigma[:, None]
            total = total + sign * (chi0 if sign > 0 else chi0.conj()) * (fy.T @ fx)
        out[v] = np.fft.irfft2(total / 2j, s=(NY, NX))
    return out


def truth(parts):
    """The balls, in the window."""
    axes = [np.arange(n) - (n - 1) / 2 for n in (NZ, NY, NX)]
    out = np.zeros((NZ, NY, NX), np.float32)
    for (x, y, z), s in zip(*parts, strict=True):
        first = [np.searchsorted(a, c - 7) for a, c in zip(axes, (z, y, x), strict=True)]
        lines = [
            np.exp(-((a[f : f + 15] - c) ** 2) / (2 * s * s))
            for a, f, c in zip(axes, first, (z, y, x), strict=True)
        ]
        place = tuple(slice(f, f + len(g)) for f, g in zip(first, lines, strict=True))
        out[place] += np.einsum("i,j,k->ijk", *lines)
    return out[:, :, slice(*WINDOW)]


WINDOW = NX // 2 + 320, NX // 2 + 704


def shells(volume, wanted):
    """FSC in shells of what was measured: near the plane of one of the views."""
    nx = wanted.shape[2]
    kz, kx = np.fft.fftfreq(NZ)[:, None], np.fft.rfftfreq(nx)
    t = np.deg2rad(TILT)[:, None, None]
    near = (np.abs(kz * np.cos(t) - kx * np.sin(t)) < 0.7 / NZ).any(0)
    k = np.sqrt((kz**2 + kx**2)[:, None] + np.fft.fftfreq(NY)[:, None] ** 2)
    inside = near[:, None] & (k >= SHELLS[0]) & (k < SHELLS[-1])
    at = np.digitize(k[inside], SHELLS) - 1
    f, g = (np.fft.rfftn(x)[inside] for x in (volume[:, :, slice(*WINDOW)], wanted))
    both, one, two = (
        np.bincount(at, part) for part in ((f * g.conj()).real, np.abs(f) ** 2, np.abs(g) ** 2)
    )
    return both / np.sqrt(one * two)


def table_of(series, defocus_a=DEFOCUS, hand=1):
    n = series.n_views
    same = {name: np.zeros(n) for name in ("angle_deg", "phase_shift_deg", "cut_on_per_nm")}
    unknown = {name: np.full(n, np.nan) for name in ("score", "resolution_a", "sigma_a")}
    u = np.full(n, defocus_a)
    return CtfTable(
        order=series.order, tilt_deg=series.tilt_deg, defocus_u_a=u, defocus_v_a=u,
        used=np.ones(n, bool), optics=Optics(), hand=hand, **same, **unknown,
    )  # fmt: skip


def aligned(stack, tilt=TILT):
    g = ViewGeometry.nominal(tilt, 0.0)
    return TiltSeries(
        Path("thick.mrc"), stack, tilt.copy(), 0.0, PIXEL, np.zeros(len(tilt), bool),
        alignment=Alignment.of_geometry(g),
    )  # fmt: skip


@pytest.fixture(scope="module")
def fsc(tmp_path_factory):
    rng = np.random.default_rng(3)
    parts = balls(rng)
    stack = seen(parts)
    stack += rng.normal(0, NOISE * stack.std(), stack.shape).astype(np.float32)
    series = aligned(stack)
    wanted = truth(parts)
    table = table_of(series)
    folder = tmp_path_factory.mktemp("thick")
    context = Context(folder=folder)

    def reconstruct(source, **values):
        params = Reconstruction.Params(
            thickness=NZ, output_type="float32", radial_cutoff=0.5, **values
        )
        inputs = {"tilt_series": source, "ctf_table": table}
        return Reconstruction.run(inputs, params, context)["tomogram"]

    def corrected(**values):
        params = CtfCorrection.Params(**values)
        inputs = {"tilt_series": series, "ctf_table": table}
        return CtfCorrection.run(inputs, params, context)["tilt_series"]

    strips = {"blending": "strips"}
    makers = {
        "none": lambda: reconstruct(series),
        "untilted": lambda: reconstruct(corrected(tolerance_nm=1e5, **strips)),
        "strips": lambda: reconstruct(corrected(**strips)),
        "3-D flip": lambda: reconstruct(series, ctf="flip", defocus_step_nm=25.0),
    }
    result = {}
    print("\nFSC at 1/px".ljust(13) + "".join(f"{k:8.3f}" for k in (SHELLS[1:] + SHELLS[:-1]) / 2))
    for name, make in makers.items():
        tomogram = make()
        assert tomogram.ctf_corrected == (name != "none")
        result[name] = shells(mrcfile.read(tomogram.path), wanted)
        print(name.ljust(12) + "".join(f"{x:8.3f}" for x in result[name]))
    return result


def test_the_order_of_the_corrections(fsc):
    fine = {name: shells[SHELLS[:-1] >= 0.25].mean() for name, shells in fsc.items()}
    assert fine["none"] + 0.2 < fine["untilted"]
    assert fine["untilted"] + 0.03 < fine["strips"]
    assert fine["strips"] + 0.03 < fine["3-D flip"]
    # Where the defocus hardly matters, all corrections are as good.
    assert (
        np.ptp([fsc[name][:2] for name in ("untilted", "strips", "3-D flip")], axis=0).max() < 0.01
    )


SMALL_TILT = np.arange(-60.0, 61.0, 20.0)


@pytest.fixture
def small():
    rng = np.random.default_rng(0)
    return aligned(rng.normal(100, 5, (7, 40, 48)).astype(np.float32), SMALL_TILT)


def small_run(series, folder, table=None, protocol=Reconstruction, **values):
    params = protocol.Params(thickness=25, output_type="float32", **values)
    inputs = {"tilt_series": series, "ctf_table": table}
    context = Context(folder=folder)
    return protocol.run(inputs, params, context), context


@pytest.mark.parametrize("hand", [1, -1])
@pytest.mark.parametrize("x_tilt", [0.0, 6.0])
def test_the_defocus_of_a_place_is_that_of_its_height(hand, x_tilt):
    """Against the height of points turned by the axes' rotations, one after the other."""
    g = ViewGeometry.nominal(SMALL_TILT, 23.0).with_shifts(np.full((7, 2), [12.0, -7.0]))
    g = ViewGeometry(**{**vars(g), "x_tilt_deg": x_tilt})
    series = TiltSeries(
        Path("a.mrc"), np.zeros((7, 100, 120), np.float32), SMALL_TILT, 23.0, PIXEL,
        np.zeros(7, bool), alignment=Alignment.of_geometry(g),
    )  # fmt: skip
    views = CtfViews.of("CTF", series, table_of(series, hand=hand), "from the table", 0, Context())
    points = np.random.default_rng(1).uniform(-40, 40, (20, 3))
    at = g.project(points) + np.array([119, 99]) / 2
    xi = np.deg2rad(x_tilt)
    turned = points[:, 1] * np.sin(xi) + points[:, 2] * np.cos(xi)
    for v, t in enumerate(np.deg2rad(SMALL_TILT)):
        height = hand * PIXEL * (turned * np.cos(t) - points[:, 0] * np.sin(t))
        found = (at[:, v] - views.centres_xy[v]) @ views.slopes_a[v]
        found += views.rise[v] * points[:, 2] * PIXEL
        # A stored alignment has four decimals.
        assert found == pytest.approx(height, abs=2e-3)


@pytest.mark.parametrize("protocol", [Reconstruction, ReconstructionIterative])
def test_a_thin_specimen_is_as_corrected_before(small, tmp_path, protocol):
    """One slab: the same as the correction of the views, and the file says what it is."""
    table = table_of(small)
    more = {} if protocol is Reconstruction else {"method": "wbp", "hamming_start": 0.1}
    inputs = {"tilt_series": small, "ctf_table": table}
    before = CtfCorrection.run(inputs, CtfCorrection.Params(), Context(folder=tmp_path))
    (tmp_path / "a").mkdir()
    plain, _ = small_run(before["tilt_series"], tmp_path / "a", None, protocol, **more)
    slabs, context = small_run(
        small, tmp_path, table, protocol, ctf="flip", defocus_step_nm=1000.0, **more
    )
    a, b = (mrcfile.read(out["tomogram"].path) for out in (plain, slabs))
    assert np.abs(a - b).max() < 1e-4 * np.abs(a).max()
    for out in (plain, slabs):
        assert out["tomogram"].ctf_corrected
        assert out["tomogram"].describe() == "48 x 40 x 25, 4 Å/px +ctf"
    with mrcfile.open(slabs["tomogram"].path) as m:
        assert b"3-D CTF in 1 slabs" in bytes(m.header.label[0])
    off, context = small_run(small, tmp_path, table, protocol, **more)
    assert not off["tomogram"].ctf_corrected
    assert any("CTF is not corrected" in note for note in context.notes)


def test_what_is_refused_before_any_work(small, tmp_path):
    table = table_of(small)
    with pytest.raises(InputError, match="CTF of thick is not given"):
        small_run(small, tmp_path, ctf="flip")
    with pytest.raises(InputError, match="thick is corrected already"):
        small_run(replace(small, ctf_corrected=True), tmp_path, table, ctf="flip")
    fewer = replace(small, order=np.arange(2, 9))
    with pytest.raises(InputError, match="no defocus for views 7 of thick"):
        small_run(fewer, tmp_path, table, ctf="flip")
    other = replace(small, tilt_deg=SMALL_TILT[::-1].copy())
    with pytest.raises(InputError, match=r"CTF table: a tilt of .* these are other views"):
        small_run(other, tmp_path, table, ctf="flip")
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="defocus_u_a of the view acquired as number 1"):
            table_of(small, bad)
    for name, value in (("thickness", 0), ("defocus_step_nm", 0.0), ("snr", 0.0)):
        with pytest.raises(ValidationError, match=name):
            Reconstruction.Params(**{name: value})
    assert list(tmp_path.iterdir()) == []


def test_cancelling_it_leaves_nothing(small, tmp_path):
    monitor = Monitor()
    seen = []

    def listen(progress):
        seen.append(progress)
        if progress.text == "CTF correction" and progress.done > 12:
            monitor.stop.set()

    monitor = Monitor(listen)
    params = Reconstruction.Params(thickness=25, ctf="multiply", defocus_step_nm=2.0)
    inputs = {"tilt_series": small, "ctf_table": table_of(small)}
    with pytest.raises(Cancelled):
        Reconstruction.run(inputs, params, Context(monitor, folder=tmp_path))
    assert list(tmp_path.iterdir()) == []
    done = [p.done for p in seen]
    assert done == sorted(done)
    assert max(done) < seen[-1].total
