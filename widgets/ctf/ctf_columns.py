"""The numbers of each view that the table of the CTF viewer shows; no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltwright.widgets.ctf.session import CtfSession
from tiltwright.widgets.series.view_columns import Column

if TYPE_CHECKING:
    from tiltwright.engine.model.tilt_series import TiltSeries


def ctf_columns(session: CtfSession) -> list[Column]:
    """Columns of a table by view; those without any value included."""
    series = session.series
    if series is None:
        return []
    um = 1e-4
    phase = session.column("phase_shift_deg")
    u, v = session.column("defocus_u_a") * um, session.column("defocus_v_a") * um
    nothing = np.full(series.n_views, np.nan)
    has_phase = bool(np.nanmax(np.abs(phase), initial=0.0) > 0)
    rows = [
        ("view", "View", "View, in the order of the file", np.arange(1.0, series.n_views + 1),
         ".0f"),
        ("tilt", "Tilt °", "Tilt angle, degrees", tilt_of(series), ".1f"),
        ("u", "U µm", "Larger defocus, µm (underfocus positive)", u, ".2f"),
        ("v", "V µm", "Smaller defocus, µm", v, ".2f"),
        ("fit", "Fit Å", "Period up to which measured and fitted rings go together",
         session.column("resolution_a"), ".1f"),
        ("score", "Score", "Correlation of measured and fitted rings, up to 1",
         session.column("score"), ".2f"),
        ("angle", "Angle °", "Direction of U, counter-clockwise from x of the raw image",
         session.column("angle_deg"), ".0f"),
        ("phase", "Phase °", "Phase shift, degrees", phase if has_phase else nothing, ".0f"),
    ]  # fmt: skip
    return [Column(k, t, h, np.asarray(x, np.float64), f) for k, t, h, x, f in rows]


def tilt_of(series: TiltSeries) -> npt.NDArray[np.float64]:
    """``(n_views,)`` solved tilt angles where there are such, degrees."""
    alignment = series.alignment
    if alignment is None or alignment.kind == "coarse":
        return series.tilt_deg
    return alignment.tilt_deg
