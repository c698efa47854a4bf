"""Where the specimen of a tomogram lies: between its beads, else where the structure ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiltwright.widgets.tomogram.plane_set import Beads

if TYPE_CHECKING:
    from tiltwright.engine.model.tomogram import Tomogram
    from tiltwright.engine.volume.boundaries import Boundaries


def between_beads(beads: Beads | None, tomogram: Tomogram) -> Boundaries | None:
    """The specimen between the beads of both surfaces; ``None`` when they do not tell."""
    from tiltwright.engine.errors import DataError
    from tiltwright.engine.volume.bead_surfaces import bead_boundaries

    if beads is None:
        return None
    per_nm = 10 / tomogram.pixel_size_a
    try:
        return bead_boundaries(
            tomogram.voxels_of(beads.xyz_nm * per_nm), beads.surface, tomogram.shape,
            margin_px=beads.diameter_nm * per_nm,
        )  # fmt: skip
    except DataError:
        return None


def search(tomogram: Tomogram) -> Any:
    """Boundaries of a tomogram, or why there are none; in pieces."""
    from tiltwright.engine.errors import TiltwrightError
    from tiltwright.engine.volume.boundaries import fit_planes, patch_size, patches

    try:
        found = []
        for patch in patches(tomogram.data):
            found.append(patch)
            yield None
        size = patch_size(tomogram.shape, 64)
        yield fit_planes(tomogram.shape, size, [c for c, _ in found], [p for _, p in found])
    except TiltwrightError as exc:
        yield str(exc)
