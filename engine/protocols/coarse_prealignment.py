"""Coarse prealignment: one shift per view, by correlation with its neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.prealign import axis as axis_search
from tiltwright.engine.prealign.correlate import PrealignResult, prealign
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Protocol, parameter


class CoarsePrealignment(Protocol):
    """Shift neighbouring views onto each other and test the tilt axis angle modulo 180 degrees."""

    key = "coarse-prealignment"
    title = "Coarse prealignment"
    citation = "Guckenberger 1982, doi:10.1016/0304-3991(82)90026-3"

    class Params(base.Parameters):
        cumulative: bool = parameter(
            True, label="Cumulative correlation", imod="CumulativeCorrelation",
            help="Correlate also with the sum of the views aligned so far.",
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

    @staticmethod
    def run(
        work: npt.NDArray[Any],
        tilt_deg: npt.NDArray[np.float64],
        axis_deg: float,
        skip: npt.NDArray[np.bool_],
        params: Any,
        context: Context,
    ) -> tuple[PrealignResult, str]:
        """Return the shifts, in pixels of ``work``, and what the axis test has to say."""
        result = prealign(
            work, tilt_deg, axis_deg, skip=skip, monitor=context.monitor,
            **params.model_dump(exclude={"test_axis"}),
        )  # fmt: skip
        for v in np.flatnonzero(result.distrusted):
            context.say(f"view {v + 1}: its coarse shift is not trusted")
        message = ""
        if params.test_axis:
            keep = ~skip
            test = axis_search.test_axis(
                work[keep], tilt_deg[keep], axis_deg, monitor=context.monitor
            )
            message = test.message
            if message:
                context.say(message)
        return result, message
