"""Models of known truth for the tests of the fiducial editor's engine."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from tiltwright.engine.curation.proposals import proposal
from tiltwright.engine.curation.worklist import Kind, find
from tiltwright.engine.fiducials.fill import BeadCentring
from tiltwright.engine.fiducials.from_stack import build_from_stack
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.model.edits import (
    AddContour,
    DeletePoints,
    MovePoints,
    SwapTracks,
    point_of,
)
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.tilt_series import TiltSeries, load_tilt_series
from tiltwright.engine.simulate.series import SeriesSpec, simulate_series

SIZE = (1440, 1024)
AXIS = 84.5
POSITION14 = Path(__file__).parents[2] / "shared/data/exosome_position14/position14.mrc"
SPOILT = (Kind.RESIDUAL, Kind.SWAPPED, Kind.DUPLICATE)


def bare_series(n_views=41, size=SIZE, stack=None) -> TiltSeries:
    """A series without images, nominal angles from -60 to 60 degrees."""
    nothing = np.broadcast_to(np.float32(0), (n_views, size[1], size[0]))
    return TiltSeries(
        Path("phantom.mrc"), nothing if stack is None else stack, np.linspace(-60, 60, n_views),
        AXIS, 5.0, np.zeros(n_views, np.bool_),
    )  # fmt: skip


def phantom(n=40, n_views=41, noise=0.15, gaps=0.0, seed=0, size=SIZE):
    """``(series, model, exact positions)`` of beads on two surfaces."""
    rng = np.random.default_rng(seed)
    series = bare_series(n_views, size)
    reach = 0.4 * min(size)
    xyz = rng.uniform(-reach, reach, (n, 3))
    xyz[:, 2] = np.where(np.arange(n) % 2, 60, -60) + rng.normal(0, 2, n)
    g = ViewGeometry(
        series.tilt_deg + rng.normal(0, 0.15, n_views),
        AXIS + rng.normal(0, 0.15, n_views),
        1 + rng.normal(0, 0.0008, n_views),
        np.zeros(n_views),
        np.zeros(n_views),
        rng.normal(0, 10, (n_views, 2)),
    )
    exact = g.project(xyz)
    xy = exact + rng.normal(0, noise, exact.shape)
    xy[rng.random(exact.shape[:2]) < gaps] = np.nan
    model = FiducialModel.from_tracks(
        xy, size, 18.0, surface=np.arange(n) % 2, sigma_px=np.full((n, n_views), 0.1)
    )
    return series, model, exact


def simulated_spec(seed=3, n_views=25, n_beads=16) -> SeriesSpec:
    """What :func:`simulated` simulates."""
    return SeriesSpec(
        seed=seed, nx=480, ny=360, n_views=n_views, n_beads=n_beads, shift_step_sd_px=2.0
    )


@cache
def simulated(seed=3, n_views=25, n_beads=16):
    """``(series, model, exact positions)`` of simulated images, points centred on them."""
    spec = simulated_spec(seed, n_views, n_beads)
    made = simulate_series(spec)
    stack = np.stack([made.view(v) for v in range(n_views)])
    series = TiltSeries(
        Path("simulated.mrc"), stack, np.asarray(made.nominal_deg, np.float64), spec.axis_deg,
        spec.pixel_size_a, np.zeros(n_views, np.bool_),
    )  # fmt: skip
    exact = made.geometry.project(made.beads_xyz)
    diameter = 10 * spec.bead_diameter_nm / spec.pixel_size_a
    centring = BeadCentring(stack, series.frame, diameter)
    centring.learn(exact)
    xy, sigma = np.full_like(exact, np.nan), np.full(exact.shape[:2], np.nan)
    for v in range(n_views):
        found = centring.centre(v, exact[:, v], 2.0, exact[:, v])
        apart = np.hypot(*(exact[:, None, v] - exact[None, :, v]).transpose(2, 0, 1))
        alone = (apart + 1e9 * np.eye(n_beads)).min(1) > 1.3 * diameter
        good = found.ok & (found.score > 6) & alone
        xy[good, v], sigma[good, v] = found.xy[good], found.sigma_px[good]
    model = FiducialModel.from_tracks(xy, series.size, diameter, sigma_px=sigma)
    return series, model, exact


@cache
def real() -> tuple[TiltSeries, FiducialModel]:
    """The real series and all tracks of the automatic model."""
    series = load_tilt_series(
        POSITION14, tilt_angles=POSITION14.with_suffix(".rawtlt"), axis_deg=-84.5,
        pixel_size_a=11.04,
    )  # fmt: skip
    series = replace(series, stack=np.asarray(series.stack))
    diameter = 100 / 11.04
    tracks = build_from_stack(series.stack, series.tilt_deg, series.axis_deg, diameter, 25)
    return series, FiducialModel.from_tracks(
        tracks.all_xy, series.size, diameter, sigma_px=tracks.all_sigma_px
    )


def spoilt(model, rng, share=0.25, ends=5):
    """The model without a share of its points at random and without whole ends."""
    gone = model.measured & (rng.random(model.flag.shape) < share)
    for c in rng.choice(model.n_tracks, ends, replace=False):
        views = np.flatnonzero(model.measured[c])
        k = rng.integers(4, 8)
        gone[c, views[:k] if rng.random() < 0.5 else views[-k:]] = True
    places = tuple((int(c), int(v)) for c, v in np.argwhere(gone))
    return gone, DeletePoints(places).apply(model).model


def spoil(model, rng, n=40):
    """Acceptance C, line c; the places moved, the tracks swapped and their views, the double."""
    places = np.argwhere(model.measured)
    moves = []
    for c, v in places[rng.choice(len(places), n, replace=False)].tolist():
        r, a = rng.uniform(3, 15), rng.uniform(0, 2 * np.pi)
        x, y = model.xy[c, v] + r * np.array([np.cos(a), np.sin(a)])
        moves.append((c, v, float(x), float(y)))
    bad = MovePoints(tuple(moves)).apply(model).model
    a, b = sorted(int(c) for c in rng.choice(model.n_tracks, 2, replace=False))
    first = int(rng.integers(model.n_views - 8))
    views = tuple(range(first, first + 8))
    bad = SwapTracks(a, b, views).apply(bad).model
    twice = int(rng.integers(model.n_tracks))
    points = tuple(point_of(bad, twice, int(v)) for v in np.flatnonzero(bad.measured[twice]))
    bad = AddContour(-1, points).apply(bad).model
    return bad, {m[:2] for m in moves}, (a, b, views), twice


def accept_all(live, snapshot, centring=None):
    """Accept the first proposal, solve, look again; what the image does not support is rejected."""
    rejected, n = set(), 0
    for _ in range(150):
        items = [i for i in find(snapshot) if i.kind in SPOILT and i.key not in rejected]
        if not items:
            return snapshot, n
        edit = proposal(items[0], snapshot, centring)
        if edit is None:
            rejected.add(items[0].key)
            continue
        n += 1
        step = edit.apply(snapshot.model)
        rejected = {key for r in rejected if (key := r.renumbered(step.change))}
        snapshot = live.solve(step.model, snapshot)
    raise AssertionError("the worklist does not come to an end")
