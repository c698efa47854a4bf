"""The interpolated aligned stack."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import get_num_threads

from tiltwright.engine.conventions import aligned_size
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.interpolate import warp_view
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.progress import SILENT, Monitor


def write_aligned(
    stack: npt.NDArray[Any],
    xf: Floats,
    axis_deg: float,
    path: str | os.PathLike[str],
    pixel_size_a: float,
    monitor: Monitor = SILENT,
) -> tuple[int, int, int]:
    """Write the views resampled by their transforms; integers stay in their own type.

    Parameters
    ----------
    stack : (n_views, ny, nx)
        Anything that gives a view when indexed.
    xf : (n_views, 2, 3)
        In pixels of ``stack``.
    axis_deg : float
        Tilt axis angle; decides whether x and y are swapped.
    path : path
    pixel_size_a : float
        Angstrom.
    monitor : Monitor

    Returns
    -------
    (n_views, ny, nx) of the file

    Raises
    ------
    InputError
        Shapes disagree, or the file cannot be written.
    """
    n, ny, nx = stack.shape
    if xf.shape != (n, 2, 3):
        raise InputError(f"aligned stack: transforms {xf.shape} for {n} views")
    mx, my = aligned_size(nx, ny, axis_deg)
    kind = np.dtype(stack.dtype)
    dtype: npt.DTypeLike = np.int16 if kind.itemsize == 1 or kind == np.int16 else np.float32
    if kind == np.uint16:
        dtype = np.uint16

    def make(v: int) -> npt.NDArray[Any]:
        view = warp_view(stack[v], xf[v], (my, mx))
        if np.dtype(dtype).kind == "f":
            return view
        limit = np.iinfo(dtype)
        return np.clip(np.rint(view, out=view), limit.min, limit.max, out=view).astype(dtype)

    threads = get_num_threads()
    shape = (n, my, mx)
    label = ["Tiltwright: aligned stack"]
    with (
        MrcWriter(path, shape, dtype, pixel_size_a, labels=label) as writer,
        ThreadPoolExecutor(threads) as pool,
    ):
        for first in range(0, n, threads):
            monitor.step(first, n, "aligned stack")
            views = range(first, min(first + threads, n))
            for v, view in zip(views, pool.map(make, views), strict=True):
                writer.write(v, view)
        monitor.step(n, n, "aligned stack")
    return shape
