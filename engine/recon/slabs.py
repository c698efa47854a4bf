"""3-D CTF: each slab of the specimen reconstructed from views corrected for its own defocus.

What a pixel shows of a slab at height ``z`` lies ``z / (cos t cos xi)`` further along the beam than
what it shows of the middle (``t`` the tilt, ``xi`` the x-axis tilt), so that no single correction
of a view is right for all of a thick specimen (Jensen & Kornberg 2000,
doi:10.1016/S0304-3991(00)00005-X; Turonova 2017, doi:10.1016/j.jsb.2017.07.007). What corrects a
view is not known here: it is given as a function.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import get_num_threads

from tiltwright.engine.errors import InputError
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.recon.output import Output, Reconstruction, choose_scaling
from tiltwright.engine.recon.strips import Request, Run, scratch
from tiltwright.engine.recon.wbp import FilteredStrips, Weighting

SlabView = Callable[[int, float], npt.NDArray[Any]]
"""``(view, z_offset_a)`` to the raw view ``(ny, nx)`` corrected for the slab whose middle lies
``z_offset_a`` angstrom above the specimen's centre before the tilt: the defocus of every pixel is
``z_offset_a / (cos t cos xi)`` more (times the hand). Called from several threads."""


def slab_sections(nz: int, pixel_size_a: float, step_nm: float) -> list[tuple[int, int]]:
    """First section and one beyond the last of each slab, as even as may be.

    Raises
    ------
    InputError
        The step is not above 0.
    """
    if not step_nm > 0:
        raise InputError(f"3-D CTF: defocus step {step_nm} nm must be above 0")
    n = min(nz, max(1, round(nz * pixel_size_a / 10 / step_nm)))
    edges = np.linspace(0, nz, n + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def reconstruct_slabs(
    request: Request,
    slab_view: SlabView,
    *,
    step_nm: float = 15.0,
    weighting: Weighting | None = None,
    monitor: Monitor = SILENT,
) -> Reconstruction:
    """Reconstruct a tomogram by weighted back-projection, slab by slab.

    The corrected views of one slab lie in a temporary file beside the tomogram.

    Parameters
    ----------
    request : Request
    slab_view : callable
        See :data:`SlabView`; views are counted as in ``request.stack``.
    step_nm : float
        Thickness of a slab.
    weighting : Weighting, optional
    monitor : Monitor

    Raises
    ------
    InputError
        Shapes or values make no sense, or a file cannot be written.
    Cancelled
    """
    weighting = weighting or Weighting()
    views = request.views()
    nz, (_, ny, _) = request.thickness, request.shape()
    slabs = slab_sections(nz, request.pixel_size_a, step_nm)
    corrected = scratch(Path(request.path).resolve().parent, request.stack.shape)
    with ThreadPoolExecutor(get_num_threads()) as pool:
        run = Run(pool, monitor, 1, "CTF correction")

        def prepare(first: int, last: int) -> FilteredStrips:
            middle = (first + last - 1) / 2 - (nz - 1) / 2 - request.shift_z
            height_a = middle * request.pixel_size_a

            def correct(view: int) -> None:
                corrected[view] = slab_view(view, height_a)

            run.text = "CTF correction"
            run.each(correct, views.which.tolist(), 1)
            part = replace(
                request, stack=corrected, thickness=last - first,
                shift_z=request.shift_z + (nz - 1) / 2 - (first + last - 1) / 2,
            )  # fmt: skip
            return weighting.strips(part, part.views(), nz)

        run.total = len(views) * (len(slabs) + 1)
        # The range of the densities is that of the slab in the middle.
        strips = prepare(*slabs[len(slabs) // 2])
        scaling = choose_scaling(strips, request, run)
        run.total += len(slabs) * -(-ny // strips.n_lines)
        name = weighting.label(f"3-D CTF in {len(slabs)} slabs")
        with Output(request) as output:
            output.describe(name, scaling)
            for first, last in slabs:
                strips = prepare(first, last)
                run.each(strips.measure, range(len(views)))
                output.take(strips, run, first)
    return output.result()
