"""How long a step will take, and how much it will write and hold in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiltwright.engine.conventions import aligned_size
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import Tomogram


@dataclass(frozen=True)
class Cost:
    """Seconds on two cores, and bytes; within a factor of two for what was measured."""

    seconds: float = 0.0
    written_bytes: float = 0.0
    memory_bytes: float = 0.0


@dataclass(frozen=True)
class Sizes:
    """Of what a step works on.

    Attributes
    ----------
    views : (n_views, ny, nx)
        Of the stack that is worked on; zeros without one.
    binning : int
        Raw pixels per pixel of it.
    axis_deg : float
    volume : (nz, ny, nx)
        Of the tomogram; zeros without one.
    """

    views: tuple[int, int, int] = (0, 0, 0)
    binning: int = 1
    axis_deg: float = 0.0
    volume: tuple[int, int, int] = (0, 0, 0)


def cost(key: str, sizes: Sizes, params: Any) -> Cost:
    """The cost of a step on one series; zeros for what is not known."""
    n, ny, nx = sizes.views
    pixels = float(n * ny * nx)
    voxels = float(math.prod(sizes.volume))
    if key in ("reconstruction", "reconstruction-iterative"):
        nx, ny = aligned_size(nx, ny, sizes.axis_deg)
        nx = params.width or nx
        voxels = float(params.thickness * ny * nx)
        return _reconstruction(params, n, (params.thickness, ny, nx), voxels)
    return Cost()


def sizes_of(inputs: Mapping[str, Any]) -> Sizes:
    """Of the inputs of a step, whether they exist already or not."""
    series, tomogram = inputs.get("tilt_series"), inputs.get("tomogram")
    volume = tomogram.shape if isinstance(tomogram, Tomogram) else (0, 0, 0)
    if not isinstance(series, TiltSeries):
        return Sizes(volume=volume)
    frame = series.frame
    views = series.n_views, frame.ny_binned, frame.nx_binned
    return Sizes(views, series.binning, series.axis_deg, volume)


def _reconstruction(params: Any, n: int, shape: tuple[int, int, int], voxels: float) -> Cost:
    bytes_ = voxels * (2 if params.output_type == "int16" else 4)
    return Cost(written_bytes=bytes_)
