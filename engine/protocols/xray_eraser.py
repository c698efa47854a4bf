"""X-ray eraser: hot pixels replaced by their surroundings, and a model of where they were."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np

from tiltwright.engine.io.model_file import write_fiducial_model
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter
from tiltwright.engine.protocols.erased import Patch, keep_patches


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
        """Clean one series into ``NAME_xray.mrc``; the patches go into ``NAME_erased.csv``.

        ``NAME_erased.mod`` shows them in IMOD. Halves lose the same patches, each filled from
        its own surroundings with noise of its own.
        """
        from contextlib import ExitStack

        from tiltwright.engine.io.mrc_write import MrcWriter, written_type
        from tiltwright.engine.stack.spikes import SpikeCriteria, erase_patches, find_spikes

        series: TiltSeries = inputs["tilt_series"]
        parts, name = series.parts, f"{series.name}_xray"
        criteria = SpikeCriteria(**params.model_dump())
        label = ("Tiltwright: X-ray spikes erased",)
        found: list[list[Patch]] = []
        with ExitStack() as files, ThreadPoolExecutor(2) as pool:
            writers = [
                files.enter_context(MrcWriter(
                    context.folder / f"{name}{part}.mrc", stack.shape, written_type(stack.dtype),
                    series.image_pixel_size_a, labels=label,
                )) for part, stack in parts.items()
            ]  # fmt: skip

            def one(v: int) -> list[Patch]:
                context.monitor.check()
                patches = find_spikes(np.asarray(series.images[v]), criteria)
                for k, (writer, stack) in enumerate(zip(writers, parts.values(), strict=True)):
                    writer.write(v, erase_patches(np.asarray(stack[v]), patches, k))
                return patches

            for v, patches in enumerate(pool.map(one, range(series.n_views))):
                context.monitor.step(v, series.n_views, "erasing spikes")
                context.say(f"view {v + 1}: {len(patches)} spikes erased")
                found.append(patches)
        ny, nx = series.images.shape[1:]
        points = [np.array([[x, y, v]]) for v, some in enumerate(found) for x, y, _ in some]
        write_fiducial_model(
            context.folder / f"{series.name}_erased.mod", points, nx=nx, ny=ny,
            n_views=series.n_views, pixel_size_a=series.image_pixel_size_a,
            colour=(1.0, 0.3, 0.0), bead_diameter_px=2 * params.radius_px,
        )  # fmt: skip
        done = series.with_parts(context.folder, name)
        return {"tilt_series": keep_patches(series, done, found, context)}
