"""ChimeraX: tomogram, mask, mesh and beads in one script and one coordinate system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import Tomogram
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter


class ChimeraX(Protocol):
    """Write a script that opens everything over one another in ChimeraX."""

    key = "chimerax"
    title = "Scene for ChimeraX"
    section = "Tomograms"
    citation = "Pettersen et al. 2021, doi:10.1002/pro.3943"
    inspect = "Open NAME.cxc: the mesh lies on the membranes, the markers on the beads."
    inputs: ClassVar = {
        "tomogram": Port(Tomogram, "Tomogram"),
        "mask": Port(Tomogram, "Mask", optional=True),
        "tilt_series": Port(TiltSeries, "Aligned tilt series, for its beads", optional=True),
    }
    outputs: ClassVar = {"tomogram": Port(Tomogram, "Tomogram")}

    class Params(base.Parameters):
        mesh: bool = parameter(
            True, label="Mesh", help="Also open the smoothed surface of the mask."
        )
        beads: bool = parameter(True, label="Beads", help="Also open the beads as markers.")
        bead_diameter_nm: float = parameter(
            10.0, label="Bead diameter", unit="nm", gt=0, shown_if={"beads": True},
            help="Size of the markers.",
        )  # fmt: skip

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """The tomogram as it is, which the mask must fit."""
        tomogram, mask = inputs["tomogram"], inputs.get("mask")
        if mask is not None and mask.shape != tomogram.shape:
            raise InputError(
                f"ChimeraX: the mask {mask.path}, {mask.describe()}, does not fit the tomogram, "
                f"{tomogram.describe()}"
            )
        return {"tomogram": tomogram}

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Write ``NAME.cxc`` and what it opens; the tomogram is passed on as it is."""
        from tiltwright.engine.volume.chimerax import write_scene

        tomogram: Tomogram = inputs["tomogram"]
        mask: Tomogram | None = inputs.get("mask")
        series: TiltSeries | None = inputs.get("tilt_series")
        cls.foresee(inputs, params)
        context.monitor.check()
        beads = bead_voxels(series, tomogram) if params.beads and series is not None else None
        scene = write_scene(
            context.folder, tomogram.name, tomogram.path,
            mask=None if mask is None else mask.path,
            mask_data=mask.data if mask is not None and params.mesh else None,
            beads_voxels=beads, bead_radius_a=5 * params.bead_diameter_nm, monitor=context.monitor,
        )  # fmt: skip
        context.say(f"open {scene.script.name} in ChimeraX")
        return {"tomogram": tomogram}


def bead_voxels(series: TiltSeries, tomogram: Tomogram) -> npt.NDArray[np.float64] | None:
    """The alignment's beads in voxels of a tomogram, ``(n, 3)``; None when it has no beads."""
    if series.alignment is None or series.alignment.beads is None:
        return None
    scale = series.pixel_size_a / tomogram.pixel_size_a
    return tomogram.voxels_of(series.alignment.beads.xyz * scale)
