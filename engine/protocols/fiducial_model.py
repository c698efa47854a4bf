"""Generate fiducial model: beads or patches, tracked by the geometry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.model.fiducial_model import FiducialModel as Model
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, leave_out, parameter

if TYPE_CHECKING:
    from tiltwright.engine.fiducials.build import FiducialTracks

LEAST_POINTS = 3
"""A view with fewer measured points than this is not determined by them, hence lost."""
LEAST_COVER = 0.7
"""Part of the used views that a track must cover to be kept beyond the number asked for."""

_GOLD = {"kind": "gold"}
_PATCHES = {"kind": "patches"}


class FiducialModel(Protocol):
    """Find gold beads, or patches of the specimen, in all views through the tilt geometry."""

    key = "fiducial-model"
    title = "Generate fiducial model"
    section = "Alignment"
    inspect = (
        "Circles are centred on beads, tracks cover most views without jumps, both surfaces are "
        "represented. Gaps stay gaps."
    )
    inputs: ClassVar = {"tilt_series": Port(TiltSeries, "Tilt series", aligned=True)}
    outputs: ClassVar = {
        "tilt_series": Port(TiltSeries, "Tilt series with lost views named", aligned=True),
        "fiducial_model": Port(Model, "Fiducial model with gaps"),
    }

    class Params(base.Parameters):
        kind: Literal["gold", "patches"] = parameter(
            "gold", label="Kind of fiducials",
            help="Gold beads, or patches of the specimen for series without beads.",
        )  # fmt: skip
        diameter_nm: float = parameter(
            10.0, label="Bead diameter", unit="nm", gt=0, le=200, imod="BeadDiameter",
            shown_if=_GOLD, help="Diameter of the gold beads as bought.",
        )  # fmt: skip
        number: int = parameter(
            25, label="Number of fiducials", ge=3, le=1000, imod="TargetNumberOfBeads",
            shown_if=_GOLD,
            help="How many beads to choose for their spread over the specimen and both surfaces.",
        )  # fmt: skip
        keep_all: bool = parameter(
            True, label="Keep all good tracks", shown_if=_GOLD,
            help="Add the other beads that track as well: they cost nothing and lower the error.",
        )  # fmt: skip
        two_surfaces: bool = parameter(
            True, label="Beads on two surfaces", imod="TwoSurfaces", shown_if=_GOLD,
            help="Choose beads on the top and on the bottom of the specimen.",
        )  # fmt: skip
        light: bool = parameter(
            False, label="Light beads", expert=True, imod="LightBeads", shown_if=_GOLD,
            help="The beads are brighter than what surrounds them.",
        )  # fmt: skip
        rounds: int = parameter(
            2, label="Rounds", ge=1, le=5, expert=True, shown_if=_GOLD,
            help="How often beads are centred with the template measured in the last round.",
        )  # fmt: skip
        patch_size: int = parameter(
            0, label="Patch size", unit="px", ge=0, le=8192, imod="SizeOfPatchesXandY",
            shown_if=_PATCHES,
            help="Side of a patch in pixels of the preprocessed stack; 0 takes a sixth of its "
            "shorter side. Etomo's 680 means unbinned pixels: 170 at binning 4.",
        )  # fmt: skip
        patch_overlap: float = parameter(
            0.33, label="Patch overlap", ge=0, le=0.8, imod="OverlapOfPatchesXandY",
            shown_if=_PATCHES, help="Fraction of its side that a patch shares with the next one.",
        )  # fmt: skip
        patch_columns: int = parameter(
            0, label="Columns of patches", ge=0, le=200, expert=True, imod="NumberOfPatchesXandY",
            shown_if=_PATCHES, help="Number of patches along x; 0 follows from the overlap.",
        )  # fmt: skip
        patch_rows: int = parameter(
            0, label="Rows of patches", ge=0, le=200, expert=True, imod="NumberOfPatchesXandY",
            shown_if=_PATCHES, help="Number of patches along y; 0 follows from the overlap.",
        )  # fmt: skip
        patch_iterations: int = parameter(
            2, label="Iterations", ge=1, le=10, imod="IterateCorrelations", shown_if=_PATCHES,
            help="How often all patches are measured again where the solved geometry has them.",
        )  # fmt: skip
        patch_trim: int = parameter(
            0, label="Trim", unit="px", ge=0, le=4096, expert=True, imod="BordersInXandY",
            shown_if=_PATCHES,
            help="Edge that the patches keep clear of, pixels of the preprocessed stack. Fill and "
            "edges are masked anyway, so that none is needed (Etomo: 40 unbinned pixels).",
        )  # fmt: skip
        patch_radius2: float = parameter(
            0.125, label="Low-pass radius", unit="1/px", gt=0, le=0.7, expert=True,
            imod="FilterRadius2", shown_if=_PATCHES, help="Frequencies above this are removed.",
        )  # fmt: skip
        patch_sigma2: float = parameter(
            0.03, label="Low-pass falloff", unit="1/px", ge=0, le=0.5, expert=True,
            imod="FilterSigma2", shown_if=_PATCHES, help="Width of the low-pass.",
        )  # fmt: skip
        patch_sigma1: float = parameter(
            0.03, label="High-pass falloff", unit="1/px", ge=0, le=0.5, expert=True,
            imod="FilterSigma1", shown_if=_PATCHES, help="Width of the high-pass.",
        )  # fmt: skip
        patch_least_views: float = parameter(
            0.3, label="Shortest track", gt=0, le=1, expert=True, shown_if=_PATCHES,
            help="Tracks that cover a smaller part of the used views are dropped.",
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
        reasons = {v: f"lost: only {points[v]} fiducials were found in it" for v in few}
        series = leave_out(series, reasons, context)
        tracks[:, ~series.used] = np.nan
        model = Model.from_tracks(
            tracks, series.size, params.diameter_nm * 10 / series.pixel_size_a,
            surface=np.pad(found.surface, (0, len(tracks) - n)),
            sigma_px=None if found.all_sigma_px is None else found.all_sigma_px[keep] * frame.scale,
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
        if params.kind == "patches":
            from tiltwright.engine.fiducials.patches import track_patches

            tracks = track_patches(
                work, tilt_deg, axis_deg, patch_px=params.patch_size,
                overlap=params.patch_overlap, count=(params.patch_columns, params.patch_rows),
                iterations=params.patch_iterations, trim_px=params.patch_trim,
                sigma1=params.patch_sigma1, radius2=params.patch_radius2,
                sigma2=params.patch_sigma2, least_views=params.patch_least_views,
                prealign_shift_px=prealign_shift_px, skip=skip, monitor=context.monitor,
                threads=context.threads,
            )  # fmt: skip
        else:
            tracks = _gold(
                work, tilt_deg, axis_deg, pixel_size_a, prealign_shift_px, skip, params, context
            )
        for line in tracks.log:
            context.say(line)
        return tracks


def _gold(
    work: npt.NDArray[Any],
    tilt_deg: npt.NDArray[np.float64],
    axis_deg: float,
    pixel_size_a: float,
    prealign_shift_px: npt.NDArray[np.float64],
    skip: npt.NDArray[np.bool_],
    params: Any,
    context: Context,
) -> FiducialTracks:
    from tiltwright.engine.fiducials.from_stack import build_from_stack

    diameter_px = params.diameter_nm * 10 / pixel_size_a
    if diameter_px < 3:
        raise DataError(
            f"fiducial-model: beads of {params.diameter_nm:g} nm are {diameter_px:.1f} px at "
            f"{pixel_size_a:g} A/px; use a smaller binning so that they are at least 3 px"
        )
    return build_from_stack(
        work, tilt_deg, axis_deg, diameter_px, params.number,
        prealign_shift_px=prealign_shift_px, skip=skip, two_surfaces=params.two_surfaces,
        light=params.light, rounds=params.rounds, monitor=context.monitor,
        threads=context.threads,
    )  # fmt: skip
