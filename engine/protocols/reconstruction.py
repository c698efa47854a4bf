"""Tomogram reconstruction by weighted back-projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols.base import Context, parameter
from tiltwright.engine.protocols.tomogram_making import (
    CTF,
    SERIES,
    CtfParams,
    OutputParams,
    SizeParams,
    TomogramMaking,
    back_projected,
    corrected_views,
    make_tomograms,
    request_of,
)


class Reconstruction(TomogramMaking):
    """Filter the aligned views and project them back."""

    key = "reconstruction"
    title = "Tomogram reconstruction"
    citation = (
        "Radermacher 2006, doi:10.1007/978-0-387-69008-7_9; CTF in 3-D: Jensen & Kornberg 2000, "
        "doi:10.1016/S0304-3991(00)00005-X, Turonova et al. 2017, doi:10.1016/j.jsb.2017.07.007"
    )
    inspect = (
        "Is the specimen centred in Z? How much empty volume is at the top and at the bottom? "
        "Beads should be round in XY and short crosses, not bananas, in XZ."
    )
    inputs: ClassVar = {"tilt_series": SERIES, "ctf_table": CTF}

    class Params(OutputParams, CtfParams, SizeParams):
        radial_cutoff: float = parameter(
            0.35, label="Radial cutoff", unit="1/px", gt=0, le=0.5, expert=True, imod="RADIAL",
            help="Up to here the ramp filter is unchanged.",
        )  # fmt: skip
        radial_falloff: float = parameter(
            0.035, label="Radial falloff", unit="1/px", ge=0, le=0.5, expert=True, imod="RADIAL",
            help="Sigma of the Gaussian beyond the cutoff.",
        )  # fmt: skip
        super_sampling: int = parameter(
            2, label="Super-sampling", ge=1, le=4, expert=True, imod="SuperSampleFactor",
            help="Finer sampling of the filtered views, for a more accurate interpolation.",
        )  # fmt: skip

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Reconstruct one aligned series into ``NAME_rec.mrc``."""
        from tiltwright.engine.recon.wbp import Weighting

        series: TiltSeries = inputs["tilt_series"]
        request = request_of(series, params, context.folder / f"{series.name}_rec.mrc", context)
        views = corrected_views(series, inputs.get("ctf_table"), params, context)
        weighting = Weighting(params.radial_cutoff, params.radial_falloff, params.super_sampling)
        return make_tomograms(
            series, request, params, series.ctf_corrected or views is not None, context,
            lambda part, monitor: back_projected(part, weighting, views, params, monitor),
        )  # fmt: skip
