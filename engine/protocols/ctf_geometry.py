"""The tilt of each view as the CTF needs it, in the pixels of the stack that is worked on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltwright.engine.conventions import image_centre
from tiltwright.engine.ctf.model import Optics, defocus_slopes
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.stack.frame import BinnedFrame

if TYPE_CHECKING:
    from tiltwright.engine.ctf.examine import Examiner

Floats = npt.NDArray[np.float64]


def view_slopes(
    series: TiltSeries, binning: int, hand: int = 1, pretilt_deg: float = 0.0
) -> tuple[Floats, Floats, Floats]:
    """Defocus slopes, positions of the specimen's origin, and tilts of a raw or binned stack.

    From the alignment where there is one, else from the nominal tilt and axis. The tilt of the
    plane specimen is the tilt of the view plus ``pretilt_deg``.

    Returns
    -------
    slopes_a : (n_views, 2)
        Angstrom per pixel of the stack binned by ``binning``.
    centres_xy : (n_views, 2)
        Index positions in it.
    tilt_deg : (n_views,)
        Of the specimen.
    """
    nominal = ViewGeometry.nominal(series.tilt_deg, series.axis_deg)
    geometry = nominal if series.alignment is None else series.alignment.geometry()
    tilt = geometry.tilt_deg + pretilt_deg
    frame = BinnedFrame(*series.size, binning)
    slopes = defocus_slopes(replace(geometry, tilt_deg=tilt), series.pixel_size_a, hand)
    centres = frame.from_raw(geometry.shift_px + np.array(image_centre(*series.size)))
    return slopes * binning, centres, tilt


def fitted_band(series: TiltSeries, longest_a: float, shortest_a: float) -> tuple[float, float]:
    """The range of periods that is fitted, no shorter than two raw pixels."""
    return longest_a, max(shortest_a, 2.05 * series.pixel_size_a)


def fitted_tile(series: TiltSeries, tile_px: int) -> int:
    """Side of the tiles, no larger than the views."""
    return min(tile_px, min(series.size) // 2 * 2)


def examiner_of(
    series: TiltSeries, optics: Optics, *, tile_px: int, band_a: tuple[float, float],
    pretilt_deg: float = 0.0, threads: int = 2,
) -> Examiner:  # fmt: skip
    """For looking at single views of a series as the estimation does: in its raw stack.

    Raises
    ------
    InputError
        The pixels are too coarse for a fit in this range.
    """
    from tiltwright.engine.ctf.examine import Examiner

    slopes, centres, _ = view_slopes(series, 1, 1, pretilt_deg)
    return Examiner(
        series.stack, series.pixel_size_a, slopes, centres, optics,
        tile=fitted_tile(series, tile_px), band_a=fitted_band(series, *band_a), threads=threads,
    )  # fmt: skip
