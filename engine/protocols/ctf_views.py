"""What a correction of the CTF needs of the views of a series and of its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.ctf.model import Defocus, Optics
from tiltwright.engine.errors import InputError
from tiltwright.engine.model.ctf_table import CtfTable, check_tilts
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.protocols.base import Context, parameter
from tiltwright.engine.protocols.ctf_geometry import Floats, view_slopes

if TYPE_CHECKING:
    from tiltwright.engine.ctf.correct import Correction

Hand = Literal["from the table", "as it is", "inverted"]


def hand_parameter(**more: Any) -> Any:
    """The side of the tilt axis that is nearer to focus."""
    return parameter(
        "from the table", label="Hand", expert=True, imod="InvertTiltAngles",
        help="Which side of the tilt axis is nearer to focus.", **more,
    )  # fmt: skip


@dataclass(frozen=True)
class CtfViews:
    """The views of a series that are corrected, and how their defocus changes.

    Attributes
    ----------
    images : (n_views, ny, nx)
    defocus : dict
        View to its defocus at the specimen's origin.
    slopes_a, centres_xy : (n_views, 2)
        As of :func:`~tiltwright.engine.ctf.correct.correct_view`.
    rise : (n_views,)
        Change of defocus per height above the specimen's centre, before the tilt, where a pixel
        sees it: ``hand / (cos t cos xi)`` (see ``engine/recon/slabs.py``).
    """

    images: Any
    pixel_size_a: float
    optics: Optics
    defocus: dict[int, Defocus]
    slopes_a: Floats
    centres_xy: Floats
    rise: Floats

    @classmethod
    def of(
        cls,
        title: str,
        series: TiltSeries,
        table: CtfTable,
        hand: Hand,
        tilt_offset_deg: float,
        context: Context,
    ) -> CtfViews:
        """Check that the table is of the views of the series.

        Parameters
        ----------
        title : str
            Of the step, for what it says.
        tilt_offset_deg : float
            Added to the tilt of each view: a pretilt of the specimen, or what turns the tomogram.

        Raises
        ------
        InputError
            The series is corrected already; the table has no defocus for some of the views that
            are used, or is of other views.
        """
        row = rows_of(title, series, table)
        if not table.proven:
            context.note("the defocus is not proven by the spectra: look at the CTF")
        sign = {"as it is": 1, "inverted": -1}.get(hand, table.hand)
        if sign == 0:
            sign = 1
            context.note("the hand is not determined: the defocus gradient is taken as it is")
        slopes, centres, tilt = view_slopes(series, series.binning, sign, tilt_offset_deg)
        x_tilt = 0.0 if series.alignment is None else series.alignment.x_tilt_deg
        defocus = {int(v): table.defocus_of(int(row[v])) for v in np.flatnonzero(row >= 0)}
        rise = sign / (np.cos(np.deg2rad(tilt)) * np.cos(np.deg2rad(x_tilt)))
        return cls(
            series.images, series.image_pixel_size_a, table.optics, defocus, slopes, centres, rise
        )

    def at_height(
        self, view: int, height_a: float, correction: Correction, monitor: Monitor = SILENT
    ) -> npt.NDArray[np.float32]:
        """One view corrected for what lies at a height above the specimen's centre."""
        from tiltwright.engine.ctf.correct import correct_view

        mean, cos, sin = self.defocus[view].components
        defocus = Defocus.of_components(
            mean + self.rise[view] * height_a, cos, sin, self.defocus[view].phase_shift_deg
        )
        return correct_view(
            self.images[view], self.pixel_size_a, defocus, self.optics, self.slopes_a[view],
            self.centres_xy[view], correction, monitor,
        )  # fmt: skip


def rows_of(title: str, series: TiltSeries, table: CtfTable) -> npt.NDArray[np.int64]:
    """Row of each view that is corrected, ``(n_views,)``, -1 for those that are left out anyway.

    Raises
    ------
    InputError
        As :meth:`CtfViews.of`.
    """
    if series.ctf_corrected:
        raise InputError(
            f"{title}: {series.name} is corrected already; take the series before that"
        )
    used = series.used
    if series.alignment is not None:
        used = used & series.alignment.valid
    row = table.row_of_view(series)
    known = (row >= 0) & table.used[row]
    lacking = np.flatnonzero(used & ~known)
    if len(lacking):
        raise InputError(
            f"{title}: the table has no defocus for views "
            f"{', '.join(str(v + 1) for v in lacking)} of {series.name}; estimate or import them, "
            "or exclude these views"
        )
    found = row >= 0
    check_tilts(
        table.tilt_deg[row[found]], series.tilt_deg[found], f"{title}: the CTF table", series.name
    )
    return np.where(used, row, -1)
