"""Membranes in a tomogram, without learned weights.

Plane-ness of the Hessian at the membrane's scale, the ridge of it, and votes of the neighbourhood
along the ridge: tensor voting as by Medioni (2000), in tomograms Martinez-Sanchez et al. 2014
(TomoSegMemTV, doi:10.1016/j.jsb.2014.02.015), gathered over caps of a few curvatures instead of
cast over balls. Strong ridges and the weaker ones that hang on them (hysteresis, Canny 1986,
doi:10.1109/TPAMI.1986.4767851) become the mask. Thick membranes are looked for in a binned volume.
Block by block: of the whole volume only the ridge voxels and the mask are kept.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.volume.coverage import EMPTY, RIM_X, RIM_Y, coverage
from tiltwright.engine.volume.sheets import (
    UNIT,
    blur,
    crests,
    disc_samples,
    gauss,
    mark_balls,
    plane_ness,
    vote,
)

Volume = npt.NDArray[np.float32]
Span = tuple[int, int]
Box = tuple[Span, Span, Span]
_BLOCK = (128, 192, 512)
"""Voxels that are worked on at a time by a thread: some 250 MB."""
_FINEST = 2.8
"""Voxels of a membrane that suffice: thicker ones are binned to no less."""
_SCALES = (0.29, 0.42)
"""Sigmas of the smoothing in thicknesses: a bar answers most to 1 / sqrt(12)."""
_ACROSS = 0.995
"""Cosine between a side and what counts as the border of a view there."""
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
    spacing : int
        Voxels from one of them to the next.
    strength : (n,) float32
        Of each point, in units of the background's usual strength.
    component : (n,) int64
        Numbered from 0, the largest first.
    """

    mask: npt.NDArray[np.uint8]
    points: npt.NDArray[np.int64]
    spacing: int
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
    rim: bool = False,
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
    rim : bool
        Also where there is no data, or that of some views only.

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
    search = _Search(data, thickness_px, dark, monitor)
    search.calibrate(threads)
    blocks = _blocks(search.shape)
    found: list[tuple[npt.NDArray[np.int64], Volume, Volume, npt.NDArray[np.int8]]] = []
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(lambda block: search.ridge(block, threshold * weak), blocks)
        for i, part in enumerate(parts, 1):
            found.append(part)
            monitor.step(i, len(blocks), "looking for membranes")
    cells, strength, offset, normal = (np.concatenate(list(p)) for p in zip(*found, strict=True))
    if not rim:
        lack = coverage(data, search.halo * search.factor)
        lack = lack[cells[:, 1] * search.factor, cells[:, 2] * search.factor]
        along = np.abs(normal[:, 1].astype(np.float32)) / UNIT
        seen = (lack & EMPTY) == 0
        seen &= ((lack & RIM_Y) == 0) | (along < _ACROSS)
        # the border of a tilted view runs along y, at the view's tilt
        seen &= ((lack & RIM_X) == 0) | (along > math.sqrt(1 - _ACROSS**2))
        cells, strength, offset = (part[seen] for part in (cells, strength, offset))
    component = _components(cells, search.shape)
    keep, component = _strong(strength, component, threshold, least_points / search.factor**2)
    points = np.rint((cells + offset)[keep] * search.factor + (search.factor - 1) / 2)
    points = np.clip(points, 0, np.array(data.shape) - 1).astype(np.int64)
    mask = np.zeros(data.shape, np.uint8)
    radius = thickness_px / 2
    n = int(radius) + 1
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    mark_balls(mask, points, grid[(grid**2).sum(1) <= radius * radius])
    return Membranes(mask, points, search.factor, strength[keep], component)


def _blocks(shape: tuple[int, ...]) -> list[Box]:
    spans = [
        [(a, min(a + b, n)) for a in range(0, n, b)] for n, b in zip(shape, _BLOCK, strict=True)
    ]
    return [(z, y, x) for z in spans[0] for y in spans[1] for x in spans[2]]


class _Search:
    """The ridge of a volume, block by block, on one scale of strength.

    Blocks, and all that is found in them, are in voxels of the volume as it is binned.
    """

    def __init__(self, data: Any, thickness_px: float, dark: bool, monitor: Monitor) -> None:
        self.data, self.sign, self.monitor = data, 1.0 if dark else -1.0, monitor
        self.factor = max(1, min(int(thickness_px / _FINEST), min(data.shape) // 8))
        nz, ny, nx = (n // self.factor for n in data.shape)
        self.shape = nz, ny, nx
        self.sigmas = sorted({max(0.8, s * thickness_px / self.factor) for s in _SCALES})
        # each smooths what the one before has left
        steps = np.sqrt(np.diff(np.square([0.0, *self.sigmas])))
        self.kernels = [gauss(step) for step in steps]
        self.disc, self.weights = disc_samples(_REACH)
        self.bends = 2 * np.array(_SAGITTA) / _REACH**2
        self.halo = int(_REACH) + 2
        self.margin = self.halo + sum(len(k) - 1 for k in self.kernels) + 2
        self.least, self.unit, self.mean, self.scale = 0.0, 1.0, 0.0, 1.0

    def _read(self, box: Box) -> Volume:
        """Voxels of a box of the binned volume."""
        f = self.factor
        rows, columns = (slice(a * f, b * f) for a, b in box[1:])
        out = np.empty([b - a for a, b in box], np.float32)
        for i in range(len(out)):
            self.monitor.check()
            z = (box[0][0] + i) * f
            part = np.asarray(self.data[z : z + f, rows, columns], np.float32).sum(0)
            lines = sum(part[j::f] for j in range(f)) if f > 1 else part
            out[i] = sum(lines[:, j::f] for j in range(f)) if f > 1 else lines
            if not np.isfinite(out[i].sum(dtype=np.float64)):
                raise InputError(
                    f"segmentation: voxels in section {z + 1} or the {f} after it are not finite"
                    if f > 1 else f"segmentation: voxels in section {z + 1} are not finite"
                )  # fmt: skip
        return out

    def _votes(
        self, block: Box, wanted: float
    ) -> tuple[Volume, Volume, Any, npt.NDArray[np.int64]]:
        """Votes for the ridge voxels of a block, 0 elsewhere; and what they are made of."""
        box, pads, low = [], [], []
        for (first, last), n in zip(block, self.shape, strict=True):
            box.append((max(0, first - self.margin), min(n, last + self.margin)))
            # mirrors at the edges of the volume, so that they are no sheets
            pads.append(tuple(self.halo if edge in (0, n) else 0 for edge in box[-1]))
            low.append(first - box[-1][0] + pads[-1][0])
        raw = self._read((box[0], box[1], box[2]))
        raw = np.pad((raw - np.float32(self.mean)) * np.float32(self.scale), pads, "symmetric")
        strength = np.zeros(raw.shape, np.float32)
        normal = np.zeros((*raw.shape, 3), np.int8)
        for sigma, kernel in zip(self.sigmas, self.kernels, strict=True):
            blur(raw, kernel)
            self.monitor.check()
            plane_ness(raw, self.sign, sigma**1.5, strength, normal)
            self.monitor.check()
        votes = np.zeros([last - first for first, last in block], np.float32)
        start = np.array(low)
        vote(
            strength, normal, self.least, wanted, self.disc, self.weights, self.bends, start, votes
        )
        return votes, strength, normal, start

    def calibrate(self, threads: int) -> None:
        """Find the usual strength of the background in small blocks spread over the volume."""
        spans = []
        for n, size in zip(self.shape, _SAMPLE, strict=True):
            size = min(size, n)
            starts = np.unique(np.linspace(0, n - size, _SAMPLES + 2)[1:-1].astype(int))
            spans.append([(int(a), int(a) + size) for a in starts])
        blocks = [(z, y, x) for z in spans[0] for y in spans[1] for x in spans[2]][::2]
        sample = np.concatenate([self._read(block).ravel() for block in blocks])
        self.mean, spread = float(sample.mean(dtype=np.float64)), float(sample.std())
        if spread <= 1e-6 * abs(self.mean):
            raise DataError("segmentation: the volume has no structure at all")
        self.scale = 1 / spread
        with ThreadPoolExecutor(threads) as pool:
            # all ridges count here, or in a crowded volume the membranes would be the background
            votes = pool.map(lambda block: self._votes(block, 0.0)[0], blocks)
            some = np.concatenate([v[v > 0] for v in votes])
        if len(some) < 10:
            raise DataError("segmentation: the volume has no structure at all")
        self.unit = float(np.median(some))
        self.least = _FAINT * self.unit

    def ridge(
        self, block: Box, threshold: float
    ) -> tuple[npt.NDArray[np.int64], Volume, Volume, npt.NDArray[np.int8]]:
        """Ridge voxels ``(n, 3)`` of at least ``threshold``, their strengths, how far from the
        middle of each, ``(n, 3)``, the sheet passes, and its normals as x, y, z.
        """
        votes, strength, normal, start = self._votes(block, threshold * self.unit)
        points = np.argwhere(votes >= threshold * self.unit)
        offset = np.zeros(points.shape, np.float32)
        if self.factor > 1:
            crests(strength, normal, points + start, offset)
        its = normal[tuple((points + start).T)]
        found = votes[tuple(points.T)] / np.float32(self.unit)
        return points + np.array([first for first, _ in block]), found, offset, its


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
    strength: Volume, component: npt.NDArray[np.int64], threshold: float, least: float
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
