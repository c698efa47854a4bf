"""Coarse prealignment: one shift per view, by correlation with its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter

if TYPE_CHECKING:
    from tiltwright.engine.prealign.correlate import PrealignResult


class CoarsePrealignment(Protocol):
    """Shift neighbouring views onto each other and test the tilt axis angle modulo 180 degrees."""

    key = "coarse-prealignment"
    title = "Coarse prealignment"
    citation = "Guckenberger 1982, doi:10.1016/0304-3991(82)90026-3"
    section = "Alignment"
    inspect = (
        "Jumps between neighbouring views are gone, features stay roughly in place, and the order "
        "of the views is right. Switch on Interpolated to see the shifts applied."
    )
    inputs: ClassVar = {"tilt_series": Port(TiltSeries, "Tilt series")}
    outputs: ClassVar = {
        "tilt_series": Port(TiltSeries, "Coarsely aligned tilt series", aligned=True)
    }

    class Params(base.Parameters):
        cumulative: bool = parameter(
            True, label="Cumulative correlation", imod="CumulativeCorrelation",
            help="Correlate also with the sum of the views aligned so far.",
        )  # fmt: skip
        trim_x: int = parameter(
            0, label="Trim in x", unit="px", ge=0, expert=True, imod="BordersInXandY",
            help="Pixels left out at the left and the right edge.",
        )  # fmt: skip
        trim_y: int = parameter(
            0, label="Trim in y", unit="px", ge=0, expert=True, imod="BordersInXandY",
            help="Pixels left out at the upper and the lower edge.",
        )  # fmt: skip
        radius1: float = parameter(
            0.0, label="High-pass radius", unit="1/px", ge=0, le=0.5, expert=True,
            imod="FilterRadius1", help="Frequencies below this are removed.",
        )  # fmt: skip
        sigma1: float = parameter(
            0.03, label="High-pass falloff", unit="1/px", ge=0, le=0.5, expert=True,
            imod="FilterSigma1", help="Width of the high-pass.",
        )  # fmt: skip
        radius2: float = parameter(
            0.25, label="Low-pass radius", unit="1/px", gt=0, le=0.7, expert=True,
            imod="FilterRadius2", help="Frequencies above this are removed.",
        )  # fmt: skip
        sigma2: float = parameter(
            0.05, label="Low-pass falloff", unit="1/px", ge=0, le=0.5, expert=True,
            imod="FilterSigma2", help="Width of the low-pass.",
        )  # fmt: skip
        cosine_stretch: bool = parameter(
            True, label="Cosine stretch", expert=True, imod="StretchedOutput",
            help="Stretch the more tilted view across the tilt axis before correlating.",
        )  # fmt: skip
        test_axis: bool = parameter(
            True, label="Test the tilt axis",
            help="Say so when another axis angle makes the series clearly more consistent.",
        )  # fmt: skip

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Align one series coarsely; the images stay untouched."""
        series: TiltSeries = inputs["tilt_series"]
        frame = series.frame
        result, message = cls.compute(
            series.images, series.tilt_deg, series.axis_deg, ~series.used, params, context
        )
        if message:
            context.note(message)
        geometry = ViewGeometry.nominal(series.tilt_deg, series.axis_deg)
        shifts = result.shift_px * frame.scale + frame.offset
        alignment = Alignment.of_geometry(
            geometry.with_shifts(shifts), valid=~series.excluded, kind="coarse",
            strength=result.peak_strength,
        )  # fmt: skip
        return {"tilt_series": replace(series, alignment=alignment)}

    @staticmethod
    def compute(
        work: npt.NDArray[Any],
        tilt_deg: npt.NDArray[np.float64],
        axis_deg: float,
        skip: npt.NDArray[np.bool_],
        params: Any,
        context: Context,
    ) -> tuple[PrealignResult, str]:
        """Return the shifts, in pixels of ``work``, and what the axis test has to say."""
        from tiltwright.engine.prealign import axis as axis_search
        from tiltwright.engine.prealign.correlate import prealign
        from tiltwright.engine.prealign.prepare import working_views

        working = working_views(
            work, trim_px=(params.trim_x, params.trim_y), monitor=context.monitor
        )
        result = prealign(
            working, tilt_deg, axis_deg, skip=skip, monitor=context.monitor,
            **params.model_dump(exclude={"test_axis", "trim_x", "trim_y"}),
        )  # fmt: skip
        for v in np.flatnonzero(result.distrusted):
            context.say(f"view {v + 1}: its coarse shift is interpolated ({result.reasons[v]})")
        message = ""
        if params.test_axis:
            test = axis_search.test_axis(
                working, tilt_deg, axis_deg, skip=skip, monitor=context.monitor
            )
            message = test.message
            if message:
                context.say(message)
        return result, message
