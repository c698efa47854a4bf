"""Fiducial alignment: the bundle adjustment and its gauge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.model.alignment import Alignment, Fit
from tiltwright.engine.model.fiducial_model import FiducialModel as Model
from tiltwright.engine.model.fiducial_model import Flag
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter

if TYPE_CHECKING:
    from tiltwright.engine.solve.bundle import Solution
    from tiltwright.engine.solve.variables import Variables

_BY_HAND = {"automatic": False}
_VARIES = ("group", "all")


@dataclass(frozen=True)
class Aligned:
    """The alignment of a series: solution, gauge, and how the variables were chosen."""

    solution: Solution
    geometry: ViewGeometry
    xyz: npt.NDArray[np.float64]
    surface: npt.NDArray[np.int64]
    candidates: list[tuple[str, float, int]]
    beyond: list[tuple[int, int, float]] = field(default_factory=list)
    """Contour, view and deviation of the points beyond the residual criterion, worst first."""
    start: ViewGeometry | None = None
    """About which the solution's variables vary; ``None`` is the nominal geometry."""


class FiducialAlignment(Protocol):
    """Solve shifts, rotation, tilt, magnification and distortion from the fiducial model."""

    key = "fiducial-alignment"
    title = "Fiducial alignment"
    citation = "Lawrence 1992; Triggs et al. 2000, doi:10.1007/3-540-44480-7_21"
    section = "Alignment"
    inspect = (
        "Mean residual below 1 px and a leave-one-out error close to it; no view and no bead that "
        "stands out; the interpolated series turns smoothly about a vertical axis."
    )
    inputs: ClassVar = {
        "tilt_series": Port(TiltSeries, "Tilt series", aligned=True),
        "fiducial_model": Port(Model, "Fiducial model"),
    }
    outputs: ClassVar = {
        "tilt_series": Port(TiltSeries, "Aligned tilt series", aligned=True),
        "fiducial_model": Port(Model, "Fiducial model without gaps"),
    }

    class Params(base.Parameters):
        automatic: bool = parameter(
            True, label="Choose variables automatically",
            help="Solve for what the data support, found by leave-one-out cross-validation.",
        )  # fmt: skip
        rotation: Literal["none", "one", "group", "all"] = parameter(
            "one", label="Rotation", imod="RotOption", shown_if=_BY_HAND,
            help="Tilt axis angle: as given, one for all views, in groups, or one for each view.",
        )  # fmt: skip
        rotation_group: int = parameter(
            5, label="Rotation group size", ge=2, imod="RotDefaultGrouping",
            shown_if={"rotation": "group"}, help="Views per rotation variable.",
        )  # fmt: skip
        magnification: Literal["fixed", "group", "all"] = parameter(
            "fixed", label="Magnification", imod="MagOption", shown_if=_BY_HAND,
            help="Magnification: fixed, in groups, or one for each view.",
        )  # fmt: skip
        magnification_group: int = parameter(
            4, label="Magnification group size", ge=2, imod="MagDefaultGrouping",
            shown_if={"magnification": "group"}, help="Views per magnification variable.",
        )  # fmt: skip
        tilt: Literal["fixed", "group", "all"] = parameter(
            "group", label="Tilt angles", imod="TiltOption", shown_if=_BY_HAND,
            help="Tilt angles: fixed, in groups, or all but the smallest one.",
        )  # fmt: skip
        tilt_group: int = parameter(
            5, label="Tilt group size", ge=2, imod="TiltDefaultGrouping",
            shown_if={"tilt": "group"}, help="Views per tilt variable.",
        )  # fmt: skip
        distortion: Literal["none", "skew", "full"] = parameter(
            "none", label="Distortion", imod="XStretchOption", shown_if=_BY_HAND,
            help="Distortion in the plane: none, skew only, or stretch and skew (in groups).",
        )  # fmt: skip
        stretch_group: int = parameter(
            7, label="Stretch group size", ge=2, imod="XStretchDefaultGrouping", expert=True,
            shown_if={"distortion": "full"}, help="Views per stretch variable.",
        )  # fmt: skip
        skew_group: int = parameter(
            11, label="Skew group size", ge=2, imod="SkewDefaultGrouping", expert=True,
            shown_if={"distortion": "full"}, help="Views per skew variable.",
        )  # fmt: skip
        steadiness: Literal["automatic", "typed", "none"] = parameter(
            "automatic", label="Steadiness of the views", expert=True,
            shown_if={"automatic": True},
            help="How much rotation, tilt and magnification scatter between views: learned from "
            "the data, typed, or nothing believed.",
        )  # fmt: skip
        steadiness_deg: float = parameter(
            0.15, label="Scatter of the views", unit="deg", gt=0, le=5, expert=True,
            shown_if={"steadiness": "typed"},
            help="Believed scatter of rotation and tilt between views.",
        )  # fmt: skip
        robust: bool = parameter(
            True, label="Robust fitting", imod="RobustFitting",
            help="Give points with unusually large residuals less weight.",
        )  # fmt: skip
        angle_offset_deg: float = parameter(
            0.0, label="Angle offset", unit="deg", ge=-90, le=90, imod="AngleOffset",
            help="Added to all tilt angles.",
        )  # fmt: skip
        two_surfaces: bool = parameter(
            True, label="Beads on two surfaces", imod="SurfacesToAnalyze",
            help="Fit two parallel planes to the beads to find the x-axis tilt.",
        )  # fmt: skip
        x_tilt: Literal["solve", "fixed"] = parameter(
            "solve", label="X-axis tilt", imod="XTiltOption",
            help="Turn the specimen about x so that the bead surfaces lie flat, or as typed.",
        )  # fmt: skip
        x_tilt_deg: float = parameter(
            0.0, label="Fixed x-axis tilt", unit="deg", ge=-45, le=45, imod="XTiltDefault",
            shown_if={"x_tilt": "fixed"}, help="Tilt of the specimen about the x axis.",
        )  # fmt: skip
        z_shift_px: float = parameter(
            0.0, label="Z shift", unit="px", imod="AxisZShift",
            help="Height, in raw pixels, of the middle between the bead surfaces in the tomogram.",
        )  # fmt: skip
        residual_criterion_sd: float = parameter(
            3.0, label="Residual criterion", unit="SD", gt=0, imod="ResidualReportCriterion",
            help="Points with residuals beyond this are listed, the worst first.",
        )  # fmt: skip

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Align one series by its fiducial model."""
        series: TiltSeries = inputs["tilt_series"]
        model: Model = inputs["fiducial_model"]
        if model.n_views != series.n_views or model.size_px != series.size:
            raise InputError(
                f"fiducial-alignment: the model has {model.n_views} views of {model.size_px}, the "
                f"series {series.name} {series.n_views} of {series.size}"
            )
        measured = np.where(
            model.measured[..., None] & series.used[None, :, None], model.xy, np.nan
        )
        start = None
        if series.alignment is not None:
            # Only the shifts are handed on: what is held fixed must be the nominal values.
            nominal = ViewGeometry.nominal(series.tilt_deg, series.axis_deg)
            start = nominal.with_shifts(series.alignment.geometry().shift_px)
        aligned = cls.compute(
            measured, series.tilt_deg, series.axis_deg, series.used, start, params, context,
            model.sigma_px,
        )  # fmt: skip
        s = aligned.solution
        alignment = Alignment.of_geometry(
            aligned.geometry, valid=~series.excluded, kind="fiducial",
            fit=Fit(
                aligned.xyz, aligned.surface, s.residual_px, s.weight, s.loo_px, s.sd,
                s.mean_residual_px, s.weighted_mean_px, s.leave_one_out_px,
                describe(s.variables), tuple(aligned.candidates),
            ),
        )  # fmt: skip
        gaps = ~np.isfinite(measured[..., 0])
        complete = np.where(gaps[..., None], aligned.geometry.project(aligned.xyz), measured)
        filled = Model.from_tracks(
            complete, model.size_px, model.diameter_px, surface=aligned.surface,
            flag=np.where(gaps, Flag.FILLED, model.flag).astype(np.uint8), sigma_px=model.sigma_px,
        )  # fmt: skip
        return {"tilt_series": replace(series, alignment=alignment), "fiducial_model": filled}

    @staticmethod
    def compute(
        tracks: npt.NDArray[np.float64],
        tilt_deg: npt.NDArray[np.float64],
        axis_deg: float,
        used: npt.NDArray[np.bool_],
        start: ViewGeometry | None,
        params: Any,
        context: Context,
        sigma_px: npt.NDArray[np.float64] | None = None,
    ) -> Aligned:
        """Align ``tracks`` ``(n_tracks, n_views, 2)``, raw pixels about the centre.

        ``sigma_px`` ``(n_tracks, n_views)`` is the uncertainty of each point, NaN where unknown.
        """
        from tiltwright.engine.solve.auto import choose_variables
        from tiltwright.engine.solve.bundle import solve
        from tiltwright.engine.solve.gauge import fix_gauge
        from tiltwright.engine.solve.steadiness import Prior
        from tiltwright.engine.solve.variables import Variables

        if len(tracks) < 3:
            raise DataError(
                f"fiducial-alignment: {len(tracks)} fiducials are too few; check the bead diameter"
            )
        context.monitor.step(0, 2, "fiducial alignment")
        candidates: list[tuple[str, float, int]] = []
        if params.automatic:
            variables, tried = choose_variables(
                tracks, tilt_deg, axis_deg, used_views=used, sigma_px=sigma_px
            )
            candidates = [
                (describe(c.variables), float(c.score_px), int(c.n_parameters)) for c in tried
            ]
        else:
            variables = Variables(
                **{
                    k: getattr(params, k)
                    for k in (
                        "rotation", "rotation_group", "magnification", "magnification_group",
                        "tilt", "tilt_group", "distortion", "stretch_group", "skew_group",
                    )
                }
            )  # fmt: skip
        context.monitor.step(1, 2, "fiducial alignment")
        prior = None
        if params.automatic and params.steadiness != "none" and variables.rotation in _VARIES:
            # What varies in groups varies from view to view, only less: the prior says how much.
            free: dict[str, Any] = {
                kind: "all"
                for kind in ("rotation", "tilt", "magnification")
                if getattr(variables, kind) == "group"
            }
            variables = replace(variables, **free)
            # Each view may turn, but about the axis that all of them share.
            shared = solve(
                tracks, tilt_deg, axis_deg, replace(variables, rotation="one"),
                used_views=used, sigma_px=sigma_px, robust=params.robust, initial=start,
            )  # fmt: skip
            start = replace(
                ViewGeometry.nominal(tilt_deg, float(np.median(shared.geometry.axis_deg))),
                shift_px=shared.geometry.shift_px,
            )
            sd = params.steadiness_deg
            prior = Prior(
                axis_deg=sd, tilt_deg=sd, magnification=float(np.deg2rad(sd) / 3),
                learn=params.steadiness == "automatic",
            )  # fmt: skip
        solution = solve(
            tracks, tilt_deg, axis_deg, variables, used_views=used, sigma_px=sigma_px,
            robust=params.robust, initial=start, prior=prior,
        )  # fmt: skip
        context.say(f"variables: {describe(variables)}")
        if solution.prior is not None:
            context.say(
                f"scatter of the views: rotation {solution.prior.axis_deg:.2f}, tilt "
                f"{solution.prior.tilt_deg:.2f} degrees"
            )
        beyond = list_beyond(solution.sd, params.residual_criterion_sd)
        if beyond:
            context.say(
                f"{len(beyond)} points beyond {params.residual_criterion_sd:g} SD, the worst in "
                f"contour {beyond[0][0] + 1}, view {beyond[0][1] + 1}"
            )
        geometry, xyz, surface = fix_gauge(
            solution, two_surfaces=params.two_surfaces, z_shift_px=params.z_shift_px
        )
        if params.x_tilt == "fixed":
            xyz = xyz @ (_about(0, -params.x_tilt_deg) @ _about(0, geometry.x_tilt_deg)).T
            geometry = replace(geometry, x_tilt_deg=params.x_tilt_deg)
        if params.angle_offset_deg:
            # Adding to the tilt turns the specimen back, so that its projections stay.
            turn = _about(0, -geometry.x_tilt_deg) @ _about(1, -params.angle_offset_deg)
            xyz = xyz @ (turn @ _about(0, geometry.x_tilt_deg)).T
            geometry = replace(geometry, tilt_deg=geometry.tilt_deg + params.angle_offset_deg)
        context.say(
            f"mean residual {solution.mean_residual_px:.3f} px, leave-one-out "
            f"{solution.leave_one_out_px:.3f} px"
        )
        side = np.asarray(surface, np.int64)
        return Aligned(solution, geometry, xyz, side, candidates, beyond, start)


def list_beyond(sd: npt.NDArray[np.float64], criterion: float) -> list[tuple[int, int, float]]:
    """Contour, view (from 0) and deviation of the points of ``sd`` beyond ``criterion``."""
    large = np.argwhere(np.nan_to_num(sd, nan=0.0) > criterion)
    found = [(int(i), int(v), float(sd[i, v])) for i, v in large]
    return sorted(found, key=lambda point: -point[2])


def _about(axis: int, angle_deg: float) -> npt.NDArray[np.float64]:
    """``Rx`` (0) or ``Ry`` (1) of ``engine/conventions.py``, (3, 3)."""
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    if axis == 0:
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def describe(variables: Variables) -> str:
    """What is solved, in words."""
    return (
        f"rotation {variables.rotation}, tilt {variables.tilt}, "
        f"magnification {variables.magnification}, distortion {variables.distortion}"
    )
