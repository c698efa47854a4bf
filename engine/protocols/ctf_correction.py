"""Correction of the CTF of an aligned series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np

from tiltwright.engine.model.ctf_table import CtfTable
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter
from tiltwright.engine.protocols.ctf_views import CtfViews, Hand, hand_parameter, rows_of


class CtfCorrection(Protocol):
    """Correct each view at the defocus of every place across the tilt, before any interpolation."""

    key = "ctf-correction"
    title = "CTF correction"
    section = "CTF"
    citation = "Xiong et al. 2009, doi:10.1016/j.jsb.2009.08.016"
    inspect = "The rings are gone from the power spectra, and no seams run along the tilt axis."
    inputs: ClassVar = {
        "tilt_series": Port(TiltSeries, "Aligned tilt series", aligned=True),
        "ctf_table": Port(CtfTable, "CTF"),
    }
    outputs: ClassVar = {"tilt_series": Port(TiltSeries, "CTF-corrected tilt series", aligned=True)}

    class Params(base.Parameters):
        method: Literal["flip", "multiply", "wiener"] = parameter(
            "flip", label="Method",
            help="Flip the phases where the CTF is negative, multiply by the CTF, or a Wiener "
            "filter.",
        )  # fmt: skip
        snr: float = parameter(
            4.0, label="Signal to noise", gt=0, le=1e6, shown_if={"method": "wiener"},
            help="Of the power, for the Wiener filter.",
        )  # fmt: skip
        blending: Literal["smooth", "strips"] = parameter(
            "smooth", label="Across the tilt",
            help="Smooth: interpolated between levels of defocus, no seams. Strips: constant "
            "defocus in each, as ctfphaseflip does it.",
        )  # fmt: skip
        tolerance_nm: float = parameter(
            200.0, label="Defocus tolerance", unit="nm", gt=0, le=100000, imod="DefocusTol",
            help="Largest change of defocus across a strip, or from one level to the next.",
        )  # fmt: skip
        width_px: float = parameter(
            15.0, label="Interpolation width", unit="px", ge=0, le=1000,
            shown_if={"blending": "strips"}, imod="InterpolationWidth",
            help="Over which one strip goes over into the next.",
        )  # fmt: skip
        hand: Hand = hand_parameter()
        pretilt_deg: float = parameter(
            0.0, label="Pretilt", unit="deg", ge=-60, le=60, expert=True,
            help="Tilt of the specimen when the stage is at 0 (lamellae).",
        )  # fmt: skip

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """The series corrected, by a table that speaks of its views."""
        series: TiltSeries = inputs["tilt_series"]
        if "ctf_table" in inputs:
            rows_of(cls.title, series, inputs["ctf_table"])
        return {"tilt_series": replace(series, ctf_corrected=True)}

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Correct one series into ``NAME_ctf.mrc``."""
        from tiltwright.engine.ctf.correct import Correction, correct_stack
        from tiltwright.engine.io.mrc_write import MrcWriter

        series: TiltSeries = inputs["tilt_series"]
        table: CtfTable = inputs["ctf_table"]
        views = CtfViews.of(cls.title, series, table, params.hand, params.pretilt_deg, context)
        correction = Correction(
            params.method, params.tolerance_nm * 10,
            params.width_px if params.blending == "strips" else None, params.snr,
        )  # fmt: skip
        name = f"{series.name}_ctf"
        label = f"Tiltwright: CTF corrected ({params.method}, {params.blending})"
        pixel = series.image_pixel_size_a
        for part, images in series.parts.items():
            path = context.folder / f"{name}{part}.mrc"
            with MrcWriter(
                path, tuple(images.shape), np.float32, pixel, series.origin, [label]
            ) as writer:
                correct_stack(
                    images, pixel, views.defocus, views.optics, views.slopes_a, views.centres_xy,
                    correction, writer.write, threads=context.threads, monitor=context.monitor,
                )  # fmt: skip
        out = replace(series.with_parts(context.folder, name), ctf_corrected=True)
        context.say(out.describe())
        return {"tilt_series": out}
