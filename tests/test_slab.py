"""The live slab puts a bead in its middle, round, at any binning and x-axis tilt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tiltwright.engine.curation.slab import LiveSlab
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.recon.strips import Request
from tiltwright.engine.recon.wbp import reconstruct_series
from tiltwright.engine.stack.binning import bin_view
from tiltwright.engine.stack.frame import BinnedFrame

NX, NY, N_VIEWS = 210, 180, 31
RADIUS = 5.0
BEAD = np.array([24.0, -31.0, 17.0])


def geometry(x_tilt=0.0):
    tilt = np.linspace(-60, 60, N_VIEWS)
    rng = np.random.default_rng(0)
    g = ViewGeometry.nominal(tilt, 84.5).with_shifts(rng.normal(0, 5, (N_VIEWS, 2)))
    return ViewGeometry(
        g.tilt_deg, g.axis_deg, g.magnification, g.stretch, g.skew, g.shift_px, x_tilt
    )


def views_of(g, points=(BEAD,)):
    """Smooth dark beads on an even ground."""
    y, x = np.mgrid[:NY, :NX]
    stack = np.full((N_VIEWS, NY, NX), 100.0, np.float32)
    for point in points:
        for v, (px, py) in enumerate(g.project(np.array([point]))[0]):
            r2 = (x - (NX - 1) / 2 - px) ** 2 + (y - (NY - 1) / 2 - py) ** 2
            stack[v] -= (30 * np.exp(-r2 / (2 * (RADIUS / 2) ** 2))).astype(np.float32)
    return stack


def centroid(image):
    """Of what is darker than half the depth."""
    depth = np.clip(np.median(image) - image, 0, None)
    depth[depth < 0.5 * depth.max()] = 0
    z, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(depth * x).sum(), (depth * z).sum()]) / depth.sum()


@pytest.mark.parametrize("x_tilt", [0.0, 7.0])
def test_the_bead_is_in_the_middle(x_tilt):
    g = geometry(x_tilt)
    slab = LiveSlab(views_of(g), BinnedFrame(NX, NY, 1))
    slices = slab.slices(Alignment.of_geometry(g), BEAD, width=65, height=49)
    assert slices.shape == (5, 49, 65)
    np.testing.assert_allclose(centroid(slices[2]), [32, 24], atol=0.1)
    depths = [np.median(s) - s.min() for s in slices]
    assert np.argmax(depths) == 2
    assert depths[1] == pytest.approx(depths[3], rel=0.05)


def test_binned_images_show_the_same_place():
    g = geometry()
    stack = np.stack([bin_view(view, 2) for view in views_of(g)])
    slab = LiveSlab(stack, BinnedFrame(NX, NY, 2))
    slices = slab.slices(Alignment.of_geometry(g), BEAD, width=33, height=33, n_slices=3)
    np.testing.assert_allclose(centroid(slices[1]), [16, 16], atol=0.1)


def test_a_bad_alignment_shows_a_banana():
    g = geometry()
    slab = LiveSlab(views_of(g), BinnedFrame(NX, NY, 1))
    wrong = g.with_shifts(g.shift_px + 3 * np.sin(np.deg2rad(g.tilt_deg * 2))[:, None])
    good, bad = (
        slab.slices(Alignment.of_geometry(a), BEAD, width=65, height=65)[2] for a in (g, wrong)
    )
    assert np.median(bad) - bad.min() < 0.8 * (np.median(good) - good.min())


def test_it_is_a_piece_of_the_tomogram(tmp_path: Path):
    g = geometry()
    rng = np.random.default_rng(2)
    points = rng.uniform(-40, 40, (6, 3)) * [1, 1, 0.6]
    stack = views_of(g, points)
    whole = reconstruct_series(
        Request(
            stack,
            g.transforms(),
            g.tilt_deg,
            thickness=81,
            axis_deg=84.5,
            path=tmp_path / "whole.mrc",
            pixel_size_a=1.0,
            dtype="float32",
        )
    )
    volume = np.asarray(open_stack(whole.path))
    nz, ny, nx = volume.shape
    # Both sizes are odd along z, even along x and y: the middle is between two voxels.
    at = np.array([0.5 - (nx % 2) / 2, 0.5 - (ny % 2) / 2, 0.0])
    slab = LiveSlab(stack, BinnedFrame(NX, NY, 1))
    part = slab.slices(Alignment.of_geometry(g), at, width=61, height=61, n_slices=3)
    y, x, z = ny // 2, nx // 2, nz // 2
    twin = volume[z - 30 : z + 31, y - 1 : y + 2, x - 30 : x + 31].transpose(1, 0, 2)
    contrast = np.ptp(twin)
    flat = part - part.mean() - (twin - twin.mean())
    assert np.sqrt(np.mean(flat**2)) < 0.02 * contrast


def test_a_bead_that_is_not_solved_is_refused():
    slab = LiveSlab(np.zeros((N_VIEWS, NY, NX), np.float32), BinnedFrame(NX, NY, 1))
    with pytest.raises(InputError, match="no position"):
        slab.slices(Alignment.of_geometry(geometry()), np.full(3, np.nan))


def test_views_left_out_are_not_used():
    g = geometry()
    stack = views_of(g)
    stack[4] = 1e6
    used = np.ones(N_VIEWS, np.bool_)
    used[4] = False
    slab = LiveSlab(stack, BinnedFrame(NX, NY, 1))
    slices = slab.slices(Alignment.of_geometry(g), BEAD, width=33, height=33, used=used)
    assert np.abs(slices).max() < 1e3
