"""Generate fiducial model: beads found, tracked by the geometry and centred."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.fiducials.build import FiducialTracks
from tiltwright.engine.fiducials.from_stack import build_from_stack
from tiltwright.engine.model.fiducial_model import FiducialModel as Model
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, leave_out, parameter

LEAST_POINTS = 3
"""A view with fewer measured points than this is not determined by them, hence lost."""
LEAST_COVER = 0.7
"""Part of the used views that a track must cover to be kept beyond the number asked for."""


class FiducialModel(Protocol):
    """Find gold beads in all views, match them through the tilt geometry, centre each one."""

    key = "fiducial-model"
    title = "Generate fiducial model"
    section = "Alignment"
    inspect = (
        "Circles are centred on beads, tracks cover most views without jumps, both surfaces are "
        "represented. Gaps stay gaps."
    )
    inputs: ClassVar = {"tilt_series": Port(TiltSeries, "Tilt series", aligned=True)}
    outputs: ClassVar = {
        "tilt_series": Port(TiltSeries, "Tilt series with lost views named"),
        "fiducial_model": Port(Model, "Fiducial model with gaps"),
    }

    class Params(base.Parameters):
        diameter_nm: float = parameter(
            10.0, label="Bead diameter", unit="nm", gt=0, le=200, imod="BeadDiameter",
            help="Diameter of the gold beads as bought.",
        )  # fmt: skip
        number: int = parameter(
            25, label="Number of fiducials", ge=3, le=1000, imod="TargetNumberOfBeads",
            help="How many beads to choose for their spread over the specimen and both surfaces.",
        )  # fmt: skip
        keep_all: bool = parameter(
            True, label="Keep all good tracks",
            help="Add the other beads that track as well: they cost nothing and lower the error.",
        )  # fmt: skip
        two_surfaces: bool = parameter(
            True, label="Beads on two surfaces", imod="TwoSurfaces",
            help="Choose beads on the top and on the bottom of the specimen.",
        )  # fmt: skip
        light: bool = parameter(
            False, label="Light beads", expert=True, imod="LightBeads",
            help="The beads are brighter than what surrounds them.",
        )  # fmt: skip
        rounds: int = parameter(
            2, label="Rounds", ge=1, le=5, expert=True,
            help="How often beads are centred with the template measured in the last round.",
        )  # fmt: skip

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Track the beads of one coarsely aligned series."""
        series: TiltSeries = inputs["tilt_series"]
        if series.alignment is None:
            raise InputError(f"fiducial-model: {series.name} is not aligned coarsely yet")
        frame = series.frame
        shifts = series.alignment.geometry().shift_px
        found = cls.compute(
            series.images, series.tilt_deg, series.axis_deg, series.image_pixel_size_a,
            frame.centred_from_raw(shifts), ~series.used, params, context,
        )  # fmt: skip
        n, n_used = len(found.xy), max(int(series.used.sum()), 1)
        keep = np.arange(len(found.all_xy)) < n
        if params.keep_all:
            cover = np.isfinite(found.all_xy[..., 0]).sum(1) / n_used
            keep |= cover >= LEAST_COVER
        tracks = frame.centred_to_raw(found.all_xy[keep])
        series = leave_out(series, {v: f"lost: {w}" for v, w in found.lost_views.items()}, context)
        points = np.isfinite(tracks[..., 0]).sum(0)
        few = np.flatnonzero(series.used & (points < LEAST_POINTS)).tolist()
        reasons = {v: f"lost: only {points[v]} beads were found in it" for v in few}
        series = leave_out(series, reasons, context)
        tracks[:, ~series.used] = np.nan
        model = Model.from_tracks(
            tracks, series.size, params.diameter_nm * 10 / series.pixel_size_a,
            surface=np.pad(found.surface, (0, len(tracks) - n)),
        )  # fmt: skip
        return {"tilt_series": series, "fiducial_model": model}

    @staticmethod
    def compute(
        work: npt.NDArray[Any],
        tilt_deg: npt.NDArray[np.float64],
        axis_deg: float,
        pixel_size_a: float,
        prealign_shift_px: npt.NDArray[np.float64],
        skip: npt.NDArray[np.bool_],
        params: Any,
        context: Context,
    ) -> FiducialTracks:
        """Return the tracks, in pixels of ``work`` about its image centre."""
        diameter_px = params.diameter_nm * 10 / pixel_size_a
        if diameter_px < 3:
            raise DataError(
                f"fiducial-model: beads of {params.diameter_nm:g} nm are {diameter_px:.1f} px at "
                f"{pixel_size_a:g} A/px; use a smaller binning so that they are at least 3 px"
            )
        tracks = build_from_stack(
            work, tilt_deg, axis_deg, diameter_px, params.number,
            prealign_shift_px=prealign_shift_px, skip=skip, two_surfaces=params.two_surfaces,
            light=params.light, rounds=params.rounds, monitor=context.monitor,
            threads=context.threads,
        )  # fmt: skip
        for line in tracks.log:
            context.say(line)
        return tracks
