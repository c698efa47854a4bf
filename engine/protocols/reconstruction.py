"""Tomogram reconstruction by weighted back-projection."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.conventions import aligned_size
from tiltwright.engine.errors import InputError
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import Tomogram, open_tomogram
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter

if TYPE_CHECKING:
    from tiltwright.engine.recon.output import Reconstruction as Result


class Reconstruction(Protocol):
    """Filter the aligned views and project them back."""

    key = "reconstruction"
    title = "Tomogram reconstruction"
    citation = "Radermacher 2006, doi:10.1007/978-0-387-69008-7_9"
    section = "Reconstruction"
    inspect = (
        "Is the specimen centred in Z? How much empty volume is at the top and at the bottom? "
        "Beads should be round in XY and short crosses, not bananas, in XZ."
    )
    inputs: ClassVar = {"tilt_series": Port(TiltSeries, "Aligned tilt series", aligned=True)}
    outputs: ClassVar = {"tomogram": Port(Tomogram, "Tomogram")}

    class Params(base.Parameters):
        thickness: int = parameter(
            300, label="Thickness", unit="voxels", ge=2, le=8192, imod="THICKNESS",
            help="Thickness of the tomogram, in voxels of the tomogram.",
        )  # fmt: skip
        width: int = parameter(
            0, label="Width", unit="voxels", ge=0, expert=True, imod="WIDTH",
            help="Width across the tilt axis; 0 is the full width.",
        )  # fmt: skip
        shift_x: float = parameter(
            0.0, label="Shift in x", unit="voxels", imod="SHIFT", help="Moves the specimen in x."
        )
        shift_z: float = parameter(
            0.0, label="Shift in z", unit="voxels", imod="SHIFT", help="Moves the specimen in z."
        )
        angle_offset_deg: float = parameter(
            0.0, label="Angle offset", unit="deg", ge=-90, le=90, imod="OFFSET",
            help="Added to all tilt angles.",
        )  # fmt: skip
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
        output_type: Literal["int16", "float32"] = parameter(
            "int16", label="Output type", imod="MODE",
            help="int16 is half the size; its scale and offset stand in a label of the file.",
        )  # fmt: skip

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """A tomogram of this size."""
        return {"tomogram": future_tomogram(inputs["tilt_series"], params)}

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Reconstruct one aligned series into ``NAME_rec.mrc``."""
        series: TiltSeries = inputs["tilt_series"]
        if series.alignment is None:
            raise InputError(f"reconstruction: {series.name} is not aligned yet")
        alignment = series.alignment
        for view in np.flatnonzero(series.used & ~alignment.valid):
            context.say(f"view {view + 1} is left out: it was excluded when the series was aligned")
        path = context.folder / f"{series.name}_rec.mrc"
        done = cls.compute(
            series.images, series.image_transforms(), alignment.tilt_deg, alignment.x_tilt_deg,
            series.axis_deg, series.used & alignment.valid, series.image_pixel_size_a, path, params,
            context,
        )  # fmt: skip
        nz, ny, nx = done.shape
        origin = (-(nx - 1) / 2 - params.shift_x, -(ny - 1) / 2, -(nz - 1) / 2 - params.shift_z)
        return {"tomogram": open_tomogram(path, series.name, origin)}

    @staticmethod
    def compute(
        work: npt.NDArray[Any],
        transforms: npt.NDArray[np.float64],
        tilt_deg: npt.NDArray[np.float64],
        x_tilt_deg: float,
        axis_deg: float,
        used: npt.NDArray[np.bool_],
        pixel_size_a: float,
        path: Path,
        params: Any,
        context: Context,
    ) -> Result:
        """Write the tomogram to ``path``; ``transforms`` are in pixels of ``work``."""
        from tiltwright.engine.recon.wbp import reconstruct_series

        options = params.model_dump()
        dtype = options.pop("output_type")
        return reconstruct_series(
            work, transforms, tilt_deg, x_tilt_deg=x_tilt_deg, axis_deg=axis_deg, used_views=used,
            pixel_size_a=pixel_size_a, path=path, dtype=dtype, monitor=context.monitor, **options,
        )  # fmt: skip


def future_tomogram(series: TiltSeries, params: Any) -> Tomogram:
    """The tomogram of a series before it is made; its file is not there yet."""
    frame = series.frame
    nx, ny = aligned_size(frame.nx_binned, frame.ny_binned, series.axis_deg)
    shape = (params.thickness, ny, params.width or nx)
    return Tomogram(series.name, series.path, shape, series.image_pixel_size_a, (0.0, 0.0, 0.0))
