"""Generate fiducial model: beads found, tracked by the geometry and centred."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError
from tiltwright.engine.fiducials.build import FiducialTracks
from tiltwright.engine.fiducials.from_stack import build_from_stack
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Protocol, parameter


class FiducialModel(Protocol):
    """Find gold beads in all views, match them through the tilt geometry, centre each one."""

    key = "fiducial-model"
    title = "Generate fiducial model"

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

    @staticmethod
    def run(
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
