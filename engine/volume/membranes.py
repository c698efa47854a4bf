"""Membranes in a tomogram, without learned weights.

Plane-ness of the Hessian at the membrane's scale, the ridge of it, and votes of the neighbourhood
along the ridge: tensor voting as by Medioni (2000), in tomograms Martinez-Sanchez et al. 2014
(TomoSegMemTV, doi:10.1016/j.jsb.2014.02.015), gathered over caps of a few curvatures instead of
cast over balls. Strong ridges and the weaker ones that hang on them (hysteresis, Canny 1986,
doi:10.1109/TPAMI.1986.4767851) become the mask. Slab by slab: of the whole volume only the ridge
voxels and the mask are kept.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.volume.sheets import disc_samples, mark_balls, plane_ness, vote

Volume = npt.NDArray[np.float32]
Span = tuple[int, int]
Box = tuple[Span, Span, Span]
_BLOCK = (64, 192, 512)
"""Voxels that are worked on at a time by a thread: some 400 MB."""
_SCALES = (0.29, 0.42)
"""Sigmas of the smoothing in thicknesses: a bar answers most to 1 / sqrt(12)."""
_REACH = 8.0
"""Voxels along the membrane that vote."""
_SAGITTA = (0.0, 1.0, -1.0, 2.0, -2.0)
"""Voxels by which a cap bends away at its rim."""
_SAMPLES = 3
_SAMPLE = (8, 48, 48)
_FAINT = 2.0
"""Strength of a voxel, in units of the background's votes, below which it is not looked at."""


@dataclass(frozen=True)
class Membranes:
    """What was found.

    Attributes
    ----------
    mask : (nz, ny, nx) uint8
        1 in membranes.
    points : (n, 3) int64, as z, y, x
        The middle sheet of the membranes.
    strength : (n,) float32
        Of each point, in units of the background's usual strength.
    component : (n,) int64
        Numbered from 0, the largest first.
    """

    mask: npt.NDArray[np.uint8]
    points: npt.NDArray[np.int64]
    strength: npt.NDArray[np.float32]
    component: npt.NDArray[np.int64]


def find_membranes(
    data: Any,
    thickness_px: float,
    *,
    threshold: float = 14.0,
    weak: float = 0.6,
    least_points: int = 300,
    dark: bool = True,
    monitor: Monitor = SILENT,
    threads: int = 2,
) -> Membranes:
    """Segment the membranes of a tomogram.

    Parameters
    ----------
    data : (nz, ny, nx)
        Memory-mapped or not, of any real type.
    thickness_px : float
        Of a membrane, voxels; also that of the mask.
    threshold : float
        Strength that a membrane must have somewhere, in units of the background's.
    weak : float
        Part of it that suffices where it is connected to such a place.
    least_points : int
        Voxels of its middle sheet that a connected membrane must have.
    dark : bool
        Membranes are darker than their surroundings.

    Raises
    ------
    InputError
        Impossible values, too small a volume, or voxels that are not finite.
    DataError
        Nothing is to be found: the volume is constant.
    Cancelled
    """
    if data.ndim != 3 or min(data.shape) < 8:
        raise InputError(f"segmentation: a volume of {data.shape} is too small, or is none")
    if not (1 <= thickness_px <= 20 and threshold > 0 and 0 < weak <= 1 and least_points >= 0):
        raise InputError(
            f"segmentation: thickness {thickness_px:g} voxels must be within 1 to 20, threshold "
            f"{threshold:g} above 0, the weak part {weak:g} within 0 to 1"
        )
    search = _Search(data, thickness_px, dark)
    search.calibrate(monitor, threads)
    blocks = _blocks(data.shape)
    found: list[tuple[npt.NDArray[np.int64], Volume]] = []
    with ThreadPoolExecutor(threads) as pool:

        def one(block: Box) -> tuple[npt.NDArray[np.int64], Volume]:
            monitor.check()
            return search.ridge(block, threshold * weak)

        for i, part in enumerate(pool.map(one, blocks), 1):
            found.append(part)
            monitor.step(i, len(blocks), "looking for membranes")
    points = np.concatenate([p for p, _ in found])
    strength = np.concatenate([s for _, s in found])
    component = _components(points, data.shape)
    keep, component = _strong(strength, component, threshold, least_points)
    points, strength = points[keep], strength[keep]
    mask = np.zeros(data.shape, np.uint8)
    radius = thickness_px / 2
    n = int(radius) + 1
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    mark_balls(mask, points, grid[(grid**2).sum(1) <= radius * radius])
    return Membranes(mask, points, strength, component)


def _blocks(shape: tuple[int, ...]) -> list[Box]:
    spans = [
        [(a, min(a + b, n)) for a in range(0, n, b)] for n, b in zip(shape, _BLOCK, strict=True)
    ]
    return [(z, y, x) for z in spans[0] for y in spans[1] for x in spans[2]]


class _Search:
    """The ridge of a volume, block by block, on one scale of strength."""

    def __init__(self, data: Any, thickness_px: float, dark: bool) -> None:
        self.data, self.sign = data, 1.0 if dark else -1.0
        self.sigmas = sorted({max(0.8, s * thickness_px) for s in _SCALES})
        self.disc, self.weights = disc_samples(_REACH)
        self.bends = 2 * np.array(_SAGITTA) / _REACH**2
        self.halo = int(_REACH) + 2
        self.margin = self.halo + int(3 * self.sigmas[-1]) + 2
        self.least, self.unit = 0.0, 1.0

    def _votes(self, block: Box) -> Volume:
        """Votes for the ridge voxels of a block; 0 elsewhere."""
        from scipy.ndimage import gaussian_filter

        cut, pads, inner = [], [], []
        for (first, last), n in zip(block, self.data.shape, strict=True):
            low, high = max(0, first - self.margin), min(n, last + self.margin)
            cut.append(slice(low, high))
            # mirrors at the edges of the volume, so that they are no sheets
            pads.append((self.halo if low == 0 else 0, self.halo if high == n else 0))
            inner.append(slice(first - low + pads[-1][0], last - low + pads[-1][0]))
        raw = np.asarray(self.data[tuple(cut)], np.float32)
        if not np.isfinite(raw.sum(dtype=np.float64)):
            raise InputError(
                f"segmentation: voxels in sections {cut[0].start + 1} to {cut[0].stop} are not "
                "finite"
            )
        raw = np.pad(raw, pads, "symmetric")
        strength = np.zeros(raw.shape, np.float32)
        normal = np.zeros((*raw.shape, 3), np.float32)
        for sigma in self.sigmas:
            smooth = gaussian_filter(raw, sigma, mode="nearest", truncate=3.0)
            plane_ness(smooth, self.sign, sigma**1.5, strength, normal)
        votes = np.zeros(raw.shape, np.float32)
        vote(strength, normal, self.least, self.disc, self.weights, self.bends, self.halo, votes)
        return votes[tuple(inner)]

    def calibrate(self, monitor: Monitor, threads: int) -> None:
        """Find the usual strength of the background in small blocks spread over the volume."""
        spans = []
        for n, size in zip(self.data.shape, _SAMPLE, strict=True):
            size = min(size, n)
            starts = np.unique(np.linspace(0, n - size, _SAMPLES + 2)[1:-1].astype(int))
            spans.append([(int(a), int(a) + size) for a in starts])
        blocks = [(z, y, x) for z in spans[0] for y in spans[1] for x in spans[2]]

        def sample(block: Box) -> Volume:
            monitor.check()
            return self._votes(block)

        with ThreadPoolExecutor(threads) as pool:
            # all ridges count here, or in a crowded volume the membranes would be the background
            some = np.concatenate([v[v > 0] for v in pool.map(sample, blocks[::2])])
        if len(some) < 10:
            raise DataError("segmentation: the volume has no structure at all")
        self.unit = float(np.median(some))
        self.least = _FAINT * self.unit

    def ridge(self, block: Box, threshold: float) -> tuple[npt.NDArray[np.int64], Volume]:
        """Points ``(n, 3)`` of the ridge of at least ``threshold``, and their strengths."""
        votes = self._votes(block)
        points = np.argwhere(votes >= threshold * self.unit)
        strength = votes[tuple(points.T)] / np.float32(self.unit)
        return points + np.array([first for first, _ in block]), strength


def _components(points: npt.NDArray[np.int64], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Number of the connected component of each point, neighbours by face, edge or corner."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(points):
        return np.zeros(0, np.int64)
    size = np.array(shape) + 2
    flat = np.ravel_multi_index(tuple((points + 1).T), tuple(size))
    order = np.argsort(flat)
    known = flat[order]
    pairs = []
    for step in range(1, 14):
        # the 13 neighbours after the middle one of 27
        dz, rest = divmod(step + 13, 9)
        dy, dx = divmod(rest, 3)
        wanted = flat + ((dz - 1) * size[1] + dy - 1) * size[2] + dx - 1
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        hit = np.flatnonzero(known[at] == wanted)
        pairs.append(np.stack([hit, order[at[hit]]]))
    a, b = np.concatenate(pairs, 1)
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(len(points), len(points)))
    component: npt.NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(
        np.int64
    )
    return component


def _strong(
    strength: Volume, component: npt.NDArray[np.int64], threshold: float, least: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Points of components that are large and somewhere strong; their new numbers."""
    if not len(component):
        return np.zeros(0, np.bool_), component
    count = np.bincount(component)
    top = np.zeros(len(count), np.float32)
    np.maximum.at(top, component, strength)
    good = np.flatnonzero((count >= least) & (top >= threshold))
    number = np.full(len(count), -1, np.int64)
    number[good[np.argsort(-count[good], kind="stable")]] = np.arange(len(good))
    keep = number[component] >= 0
    return keep, number[component[keep]]
