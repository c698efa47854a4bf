"""The second reconstruction family: SIRT, SART, WBP that resembles SIRT, Fourier inversion."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import write_text
from tiltwright.engine.io.mrc import read_header
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import Tomogram, open_tomogram
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter

if TYPE_CHECKING:
    from tiltwright.engine.recon.iterate import Start
    from tiltwright.engine.recon.output import Reconstruction
    from tiltwright.engine.recon.strips import Request

_ITERATIVE = {"method": ("sirt", "sart")}
_DIRECT = {"method": ("wbp", "fourier")}
_SCALED = re.compile(r"int16 = \(density - (\S+)\) \* (\S+)")


class ReconstructionIterative(Protocol):
    """Reconstruct by SIRT, SART, back-projection filtered as SIRT would, or Fourier inversion."""

    key = "reconstruction-iterative"
    title = "Reconstruction, second family"
    citation = (
        "SIRT: Gilbert 1972, doi:10.1016/0022-5193(72)90180-4; SART: Andersen & Kak 1984, "
        "doi:10.1016/0161-7346(84)90008-7; SIRT-like filter: Zeng 2012, doi:10.1118/1.3673956; "
        "Fourier inversion: O'Sullivan 1985, doi:10.1109/TMI.1985.4307723"
    )
    section = "Reconstruction"
    inspect = (
        "More contrast than back-projection, fewer streaks. The residual must fall from iteration "
        "to iteration and level off; when noise grows instead of detail, take fewer iterations."
    )
    inputs: ClassVar = {
        "tilt_series": Port(TiltSeries, "Aligned tilt series", aligned=True),
        "start": Port(Tomogram, "Tomogram to continue from", optional=True),
        "mask": Port(Tomogram, "Mask", optional=True),
    }
    outputs: ClassVar = {"tomogram": Port(Tomogram, "Tomogram")}

    class Params(base.Parameters):
        method: Literal["sirt", "sart", "wbp", "fourier"] = parameter(
            "sirt", label="Method",
            help="SIRT and SART fit the tomogram to the views step by step; wbp is weighted "
            "back-projection with the filter that resembles SIRT; fourier grids the views' "
            "transforms and inverts once.",
        )  # fmt: skip
        iterations: int = parameter(
            30, label="Iterations", ge=1, le=1000, shown_if={"method": "sirt"},
            help="More bring out detail, and noise.",
        )  # fmt: skip
        sart_iterations: int = parameter(
            15, label="Iterations", ge=1, le=1000, shown_if={"method": "sart"},
            help="Passes over all subsets of views.",
        )  # fmt: skip
        subset: int = parameter(
            5, label="Views per subset", ge=1, le=1000, shown_if={"method": "sart"},
            help="The tomogram is corrected after each subset; fewer views converge faster and "
            "take up more noise.",
        )  # fmt: skip
        equivalent_iterations: int = parameter(
            10, label="Equivalent iterations", ge=0, le=1000, shown_if={"method": "wbp"},
            imod="FakeSIRTiterations",
            help="Filter as so many iterations of SIRT would; 0 is the plain filter.",
        )  # fmt: skip
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
        relaxation: float = parameter(
            1.0, label="Relaxation", gt=0, lt=2, expert=True, shown_if=_ITERATIVE,
            help="Part of each correction that is applied. Less is slower and smoother.",
        )  # fmt: skip
        positivity: Literal["off", "dark", "bright"] = parameter(
            "off", label="Positivity", expert=True, shown_if=_ITERATIVE,
            help="Forbid matter that is brighter (dark) or darker (bright) than the background.",
        )  # fmt: skip
        least_gain_percent: float = parameter(
            0.0, label="Stop when the gain is below", unit="%", ge=0, lt=100, expert=True,
            shown_if=_ITERATIVE,
            help="End early when an iteration lowers the residual of sampled slices by less; 0 "
            "does them all.",
        )  # fmt: skip
        hamming_start: float = parameter(
            0.0, label="Hamming start", unit="1/px", ge=0, le=0.5, expert=True, shown_if=_DIRECT,
            help="The radial filter falls off as a Hamming window from this frequency on.",
        )  # fmt: skip
        output_type: Literal["int16", "float32"] = parameter(
            "int16", label="Output type", imod="MODE",
            help="int16 is half the size; its scale and offset stand in a label of the file.",
        )  # fmt: skip

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """A tomogram of this size, which mask and start must have."""
        from tiltwright.engine.protocols.reconstruction import future_tomogram

        tomogram = future_tomogram(inputs["tilt_series"], params)
        for port in ("mask", "start"):
            volume = inputs.get(port)
            if volume is None:
                continue
            if params.method not in _ITERATIVE["method"]:
                raise InputError(f"reconstruction: {params.method} takes no mask and no start")
            if volume.shape != tomogram.shape:
                raise InputError(
                    f"reconstruction: the {port} {volume.path}, {volume.describe()}, does not fit "
                    f"the tomogram, {tomogram.describe()}"
                )
        return {"tomogram": tomogram}

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Reconstruct one aligned series into ``NAME_METHOD.mrc``."""
        from tiltwright.engine.recon.strips import Request

        series: TiltSeries = inputs["tilt_series"]
        if series.alignment is None:
            raise InputError(f"reconstruction: {series.name} is not aligned yet")
        alignment = series.alignment
        for view in np.flatnonzero(series.used & ~alignment.valid):
            context.say(f"view {view + 1} is left out: it was excluded when the series was aligned")
        path = context.folder / f"{series.name}_{params.method}.mrc"
        request = Request(
            series.images, series.image_transforms(), alignment.tilt_deg, params.thickness,
            series.axis_deg, path, series.image_pixel_size_a, params.width, params.shift_x,
            params.shift_z, params.angle_offset_deg, alignment.x_tilt_deg,
            series.used & alignment.valid, params.output_type,
        )  # fmt: skip
        start, mask = inputs.get("start"), inputs.get("mask")
        cls.compute(request, params, context, start, mask)
        nz, ny, nx = request.shape()
        origin = (-(nx - 1) / 2 - params.shift_x, -(ny - 1) / 2, -(nz - 1) / 2 - params.shift_z)
        return {"tomogram": open_tomogram(path, series.name, origin)}

    @classmethod
    def compute(
        cls,
        request: Request,
        params: Any,
        context: Context,
        start: Tomogram | None = None,
        mask: Tomogram | None = None,
    ) -> Reconstruction:
        """Write the tomogram that ``request`` asks for by the method of ``params``."""
        if params.method in ("sirt", "sart"):
            return cls._iterate(request, params, context, start, mask)
        if start is not None or mask is not None:
            raise InputError(f"reconstruction: {params.method} takes no mask and no start")
        if params.method == "fourier":
            from tiltwright.engine.recon.fourier import reconstruct_fourier

            return reconstruct_fourier(
                request, hamming_start=params.hamming_start, monitor=context.monitor
            )
        from tiltwright.engine.recon.wbp import reconstruct_series

        return reconstruct_series(
            **vars(request), hamming_start=params.hamming_start,
            equivalent_iterations=params.equivalent_iterations, monitor=context.monitor,
        )  # fmt: skip

    @staticmethod
    def _iterate(
        request: Request,
        params: Any,
        context: Context,
        start: Tomogram | None,
        mask: Tomogram | None,
    ) -> Reconstruction:
        from tiltwright.engine.recon.iterate import Iterations, reconstruct_iterative

        bounds = {
            "off": (-math.inf, math.inf), "dark": (-math.inf, 0.0), "bright": (0.0, math.inf),
        }  # fmt: skip
        sirt = params.method == "sirt"
        plan = Iterations(
            number=params.iterations if sirt else params.sart_iterations,
            subset=0 if sirt else params.subset, relaxation=params.relaxation,
            bounds=bounds[params.positivity], least_gain=params.least_gain_percent / 100,
            mask=None if mask is None else mask.data,
            start=None if start is None else stored(start),
        )  # fmt: skip
        done = reconstruct_iterative(request, plan, context.monitor)
        path = Path(request.path)
        table = "".join(f"{i},{r:.6g}\n" for i, r in enumerate(done.residual))
        write_text(path.with_name(path.stem + "_residual.csv"), "iteration,residual\n" + table)
        context.note(
            f"{params.method.upper()}: {len(done.residual) - 1} iterations, residual "
            f"{done.residual[0]:.4g} at the start, {done.residual[-1]:.4g} at the end"
        )
        return done.reconstruction


def stored(tomogram: Tomogram) -> Start:
    """A tomogram with the scaling that its labels state."""
    from tiltwright.engine.recon.iterate import Start

    found = [m for m in map(_SCALED.search, read_header(tomogram.path).labels) if m]
    if not found:
        return Start(tomogram.data)
    return Start(tomogram.data, float(found[0][2]), float(found[0][1]))
