"""How long a step will take, and how much it will write and hold in memory.

The constants were measured on two cores without other work, with series of 41 views of 720 x 512
and 1440 x 1024 pixels and tomograms 200 thick; times grow as the counts of pixels, voxels, views
and iterations say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiltwright.engine.conventions import aligned_size
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import Tomogram

_PER_PIXEL: dict[str, tuple[float, float, float, float, float]] = {
    # seconds per million pixels and per view; bytes per pixel: file, working stack, memory
    "xray-eraser": (0.032, 0.0, 0.0, 2.0, 3.5),
    "dose-filter": (0.018, 0.0, 4.0, 0.0, 1.5),
    "preprocess": (0.012, 0.0, 0.0, 2.0, 3.5),
    "coarse-prealignment": (0.0, 0.015, 0.0, 0.0, 1.2),
    "fiducial-model": (0.023, 0.012, 0.0, 0.0, 1.5),
    "fiducial-alignment": (0.0, 0.004, 0.0, 0.0, 0.1),
    "ctf-import": (0.0, 0.0, 0.0, 0.0, 0.0),
    "ctf-estimation": (0.027, 0.0, 0.0, 0.0, 0.2),
    "ctf-correction": (0.017, 0.0, 4.0, 0.0, 1.5),
    "erase-fiducials": (0.15, 0.0, 4.0, 0.0, 4.0),
}
_UPDATES_PER_S = {"": 5e9, "sirt": 1e10, "sart": 8e9}
"""View times voxel; of the iterative methods with the border of the volume."""
_FOURIER_S = 1.55e-8
_SEGMENT_S, _MESH_S = 1.5e-7, 4e-8
_SEGMENT_BASE_S, _SEGMENT_BYTES, _SEGMENT_LEAST = 1.2e-8, 2.0, 6e8
"""Seconds per voxel of the volume as it is binned and as it is; bytes per voxel and of blocks."""
_FINEST = 2.8
"""Voxels of a membrane in the binned volume, as in ``engine/volume/membranes.py``."""
_DENOISE = {
    # seconds per voxel (and iteration), bytes of memory per voxel and per pixel of a section
    "eed": (8.8e-9, 8.3, 0.0),
    "beltrami": (2.5e-9, 8.3, 0.0),
    "gaussian": (2.6e-8, 0.0, 400.0),
    "median": (2.4e-7, 0.0, 400.0),
    "band-pass": (2.8e-8, 0.0, 500.0),
}


@dataclass(frozen=True)
class Cost:
    """What a step needs for one series; within a factor of two for what was measured.

    Attributes
    ----------
    seconds : float
        On two cores.
    written_bytes : float
        Of the files that it writes.
    stored_bytes : float
        Of the working stack, which a project stores besides.
    memory_bytes : float
    """

    seconds: float = 0.0
    written_bytes: float = 0.0
    stored_bytes: float = 0.0
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
    voxel_a : float
        Its pixel size; 0 without one.
    """

    views: tuple[int, int, int] = (0, 0, 0)
    binning: int = 1
    axis_deg: float = 0.0
    volume: tuple[int, int, int] = (0, 0, 0)
    voxel_a: float = 0.0


def sizes_of(inputs: Mapping[str, Any]) -> Sizes:
    """Of the inputs of a step, whether they exist already or not."""
    series, tomogram = inputs.get("tilt_series"), inputs.get("tomogram")
    volume, voxel = (0, 0, 0), 0.0
    if isinstance(tomogram, Tomogram):
        volume, voxel = tomogram.shape, tomogram.pixel_size_a
    if not isinstance(series, TiltSeries):
        return Sizes(volume=volume, voxel_a=voxel)
    frame = series.frame
    views = series.n_views, frame.ny_binned, frame.nx_binned
    return Sizes(views, series.binning, series.axis_deg, volume, voxel)


def cost(key: str, sizes: Sizes, params: Any) -> Cost:
    """The cost of a step on one series; zeros for what is not known."""
    if key in _PER_PIXEL:
        return _of_views(key, sizes, params)
    if key in ("reconstruction", "reconstruction-iterative"):
        return _of_reconstruction(sizes, params)
    if key == "denoise":
        return _of_denoising(sizes, params)
    voxels = float(math.prod(sizes.volume))
    if key == "crop":
        turned = bool(params.about_x_deg or params.about_y_deg)
        kept = voxels * math.prod(
            (min(getattr(params, f"{a}_to") or n, n) - max(getattr(params, f"{a}_from"), 1) + 1) / n
            for a, n in zip("zyx", sizes.volume, strict=True) if n
        )  # fmt: skip
        return Cost(kept * (1.5e-8 if turned else 3e-9), 2 * kept)
    if key == "segmentation":
        mesh = 0.0 if params.mesh == "none" else _MESH_S
        thickness = 10 * params.thickness_nm / sizes.voxel_a if sizes.voxel_a else 0.0
        binned = max(1, int(thickness / _FINEST)) ** 3
        return Cost(
            voxels * (_SEGMENT_S / binned + _SEGMENT_BASE_S + mesh), voxels, 0.0,
            _SEGMENT_BYTES * voxels + _SEGMENT_LEAST,
        )  # fmt: skip
    if key == "chimerax":
        return Cost(voxels * _MESH_S if params.mesh else 0.0, 0.0, 0.0, 8 * voxels)
    return Cost()


def _of_views(key: str, sizes: Sizes, params: Any) -> Cost:
    n, ny, nx = sizes.views
    pixels = float(n * ny * nx)
    if key == "ctf-estimation":
        pixels *= sizes.binning**2  # on the raw stack
    per_million, per_view, written, stored, memory = _PER_PIXEL[key]
    binned = getattr(params, "binning", 1) ** 2
    return Cost(
        per_million * pixels / 1e6 + per_view * n, written * pixels, stored * pixels / binned,
        memory * pixels / binned,
    )  # fmt: skip


def _of_reconstruction(sizes: Sizes, params: Any) -> Cost:
    n, ny, nx = sizes.views
    nx, ny = aligned_size(nx, ny, sizes.axis_deg)
    nx, nz = params.width or nx, params.thickness
    voxels = float(nz * ny * nx)
    method = getattr(params, "method", "")
    seconds, memory = n * voxels / _UPDATES_PER_S[""], 1e8
    if method in ("sirt", "sart"):
        rounds = params.iterations if method == "sirt" else params.sart_iterations
        seconds += rounds * n * voxels * (1 + nz / max(nx, 1)) / _UPDATES_PER_S[method]
        memory += 8.5 * voxels
    elif method == "fourier":
        seconds, memory = _FOURIER_S * voxels, 1e8 + 1.4 * voxels
    return Cost(seconds, voxels * (2 if params.output_type == "int16" else 4), 0.0, memory)


def _of_denoising(sizes: Sizes, params: Any) -> Cost:
    nz, ny, nx = sizes.volume
    voxels = float(nz * ny * nx)
    per_voxel, memory, per_section = _DENOISE[params.method]
    rounds = {
        "eed": params.iterations, "beltrami": params.flow_iterations,
        "gaussian": 0.4 + 0.6 * params.gaussian_sigma, "median": (params.median_size / 3) ** 3,
    }.get(params.method, 1)  # fmt: skip
    return Cost(
        per_voxel * voxels * rounds, voxels * (4 if params.output_type == "float32" else 2), 0.0,
        memory * voxels + per_section * ny * nx,
    )  # fmt: skip
