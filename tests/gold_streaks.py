"""What gold does to a tomogram: the energy of its streaks, at beads and at sites like theirs."""

from __future__ import annotations

import numpy as np

from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.reconstruction import Reconstruction


def reconstruct(series, folder, thickness):
    """An aligned series as a tomogram ``(nz, ny, nx)`` float32."""
    params = Reconstruction.Params(thickness=thickness, output_type="float32")
    made = Reconstruction.run({"tilt_series": series}, params, Context(folder=folder))
    return np.array(made["tomogram"].data)


def sites_in(shape, xyz, reach):
    """Index positions (x, y, z) of points about the centre that are ``reach`` inside in x, y."""
    at = np.asarray(xyz) + (np.array(shape[::-1]) - 1) / 2
    return at[np.all((at[:, :2] > reach) & (at[:, :2] < np.array(shape[:0:-1]) - 1 - reach), 1)]


def control_sites(rng, beads, shape, reach, apart, n):
    """Random sites of the beads' heights whose ring touches the streaks of none of them.

    A bead's streaks lie in planes across the tilt axis: sites are ``apart`` of it along y, or
    their rings do not meet along x.
    """
    out = []
    for _ in range(200 * n):
        at = rng.uniform(reach, np.array(shape[:0:-1]) - 1 - reach)
        near = np.abs(beads[:, :2] - at) < [2 * reach, apart]
        if not near.all(1).any():
            out.append([*at, rng.choice(beads[:, 2])])
        if len(out) == n:
            break
    return np.array(out)


def streak_energy(volume, sites, inner, outer, half_y):
    """Variance in the ring ``inner`` to ``outer`` of the xz planes through each site, ``(n,)``."""
    nz, r, h = len(volume), int(np.ceil(outer)), round(half_y)
    out = []
    for x, y, z in sites:
        ix, iy, iz = round(x), round(y), round(z)
        z0 = max(0, iz - r)
        part = volume[z0 : min(nz, iz + r + 1), iy - h : iy + h + 1, ix - r : ix + r + 1]
        away = np.hypot(
            (z0 + np.arange(len(part)) - z)[:, None], (ix - r + np.arange(part.shape[2]) - x)[None]
        )
        values = part.transpose(0, 2, 1)[(away > inner) & (away < outer)].astype(np.float64)
        out.append(values.var(axis=0).mean())
    return np.array(out)
