"""X-ray eraser: hot pixels replaced by their surroundings, and a model of where they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from tiltwright.engine.io.model_file import write_fiducial_model
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter


class XrayEraser(Protocol):
    """Erase the spikes that X-rays and cosmic rays leave; gold beads are left alone."""

    key = "xray-eraser"
    title = "X-ray eraser"
    section = "Tilt series"
    inspect = "The series looks the same, but the spikes are gone."
    inputs: ClassVar = {"tilt_series": Port(TiltSeries, "Tilt series")}
    outputs: ClassVar = {"tilt_series": Port(TiltSeries, "Cleaned tilt series")}

    class Params(base.Parameters):
        peak_sd: float = parameter(
            8.0, label="Peak criterion", unit="SD", gt=0, expert=True, imod="PeakCriterion",
            help="Deviation from the local median that makes a pixel a candidate.",
        )  # fmt: skip
        difference_sd: float = parameter(
            6.0, label="Difference criterion", unit="SD", gt=0, expert=True, imod="DiffCriterion",
            help="Drop to the neighbouring pixels that a spike must have.",
        )  # fmt: skip
        radius_px: float = parameter(
            4.2, label="Maximum radius", unit="px", gt=0, le=50, expert=True, imod="MaximumRadius",
            help="Largest radius of an ordinary spike.",
        )  # fmt: skip
        big_difference_sd: float = parameter(
            19.0, label="Big difference criterion", unit="SD", gt=0, expert=True,
            imod="BigDiffCriterion", help="Drop between neighbours that a larger patch must have.",
        )  # fmt: skip
        giant_sd: float = parameter(
            12.0, label="Giant criterion", unit="SD", gt=0, expert=True, imod="GiantCriterion",
            help="Deviation that a larger patch must have.",
        )  # fmt: skip
        grow_px: float = parameter(
            4.0, label="Grow", unit="px", ge=0, le=50, expert=True, imod="GrowCriterion",
            help="By how much a larger patch may exceed the maximum radius.",
        )  # fmt: skip
        edge_exclusion_px: int = parameter(
            4, label="Edge exclusion", unit="px", ge=0, le=1000, expert=True,
            imod="EdgeExclusionWidth", help="Pixels along the edges that are not searched.",
        )  # fmt: skip

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Clean one series; the patches go into ``NAME_erased.mod``."""
        from tiltwright.engine.stack.spikes import SpikeCriteria, erase_spikes

        series: TiltSeries = inputs["tilt_series"]
        images = series.images
        work: Any = None
        points = []
        criteria = SpikeCriteria(**params.model_dump())
        for v in range(series.n_views):
            context.monitor.step(v, series.n_views, "erasing spikes")
            view = np.asarray(images[v])
            cleaned, patches = erase_spikes(view, criteria)
            if work is None:
                work = np.empty((series.n_views, *view.shape), view.dtype.newbyteorder("="))
            work[v] = cleaned
            points += [np.array([[x, y, v]]) for x, y, _ in patches]
            context.say(f"view {v + 1}: {len(patches)} spikes erased")
        ny, nx = work.shape[1:]
        write_fiducial_model(
            context.folder / f"{series.name}_erased.mod", points, nx=nx, ny=ny,
            n_views=series.n_views, pixel_size_a=series.image_pixel_size_a,
            colour=(1.0, 0.3, 0.0), bead_diameter_px=2 * params.radius_px,
        )  # fmt: skip
        return {"tilt_series": replace(series, work=work, work_path=None)}
