"""What the steps that erase spikes share: the list of the patches goes on with the series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tiltwright.engine.io.patches import ErasedPatch, read_patches, write_patches
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols.base import Context

Patch = tuple[float, float, float]
"""x, y and radius in pixels of the images."""


def keep_patches(
    before: TiltSeries, done: TiltSeries, found: Sequence[Sequence[Patch]], context: Context
) -> TiltSeries:
    """``done`` with a list of what was erased from each view of ``before``, now and earlier.

    Raises
    ------
    InputError
        The earlier list cannot be read, or the new one not be written.
    """
    patches = []
    if before.erased_path is not None:
        patches = read_patches(before.erased_path, before.n_views)
    images, raw = (
        (np.array(stack.shape[:0:-1]) - 1) / 2 for stack in (before.images, before.stack)
    )
    for v, some in enumerate(found):
        for x, y, radius in some:
            at = before.frame.centred_to_raw(np.array([x, y]) - images) + raw
            patches.append(ErasedPatch(v, float(at[0]), float(at[1]), radius * before.frame.scale))
    path = context.folder / f"{before.name}_erased.csv"
    write_patches(path, sorted(patches, key=lambda p: (p.view, p.y, p.x)))
    return replace(done, erased_path=path)
