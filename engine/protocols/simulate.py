"""A simulated tilt series as the source of a project: the demo, and for trying things out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tiltwright.engine.model.tilt_series import TiltSeries, load_tilt_series
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter


class Simulate(Protocol):
    """Make a tilt series of vesicles and gold beads whose truth is exactly known."""

    key = "simulate"
    title = "Simulate tilt series"
    section = "Import"
    inspect = "Beads, vesicles and a carbon edge in every view; the truth lies beside the stack."
    outputs: ClassVar = {"tilt_series": Port(TiltSeries, "Simulated tilt series")}

    class Params(base.Parameters):
        seed: int = parameter(1, label="Seed", ge=0, help="Another seed, another series.")
        n_views: int = parameter(41, label="Views", ge=5, le=181, help="Number of views.")
        nx: int = parameter(720, label="Width", unit="px", ge=64, le=8192, help="Of a view.")
        ny: int = parameter(512, label="Height", unit="px", ge=64, le=8192, help="Of a view.")
        pixel_size_a: float = parameter(
            11.04, label="Pixel size", unit="Å/px", gt=0.5, le=100, help="Of a view."
        )
        n_beads: int = parameter(
            30, label="Beads", ge=0, le=500, help="Gold beads on the two surfaces."
        )
        n_vesicles: int = parameter(14, label="Vesicles", ge=0, le=200, help="Shells in the ice.")
        dose_per_view: float = parameter(
            3.0, label="Dose per view", unit="e/Å²", gt=0, le=100, help="Decides on the noise."
        )

    @classmethod
    def sources(cls, params: Any) -> dict[str, Path]:
        """One series, named by its seed."""
        return {f"simulated_{params.seed}": Path(".")}

    @classmethod
    def source_hashes(cls, params: Any) -> list[str]:
        """Nothing but the parameters matters."""
        return []

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Write the series, its mdoc and its truth into the run's folder."""
        from tiltwright.engine.simulate.series import SeriesSpec, write_series

        name = inputs["name"]
        spec = SeriesSpec(**params.model_dump())
        write_series(spec, context.folder, name, context.monitor)
        path = context.folder / f"{name}.mrc"
        series = load_tilt_series(path, tilt_angles=path.with_suffix(".rawtlt"))
        context.say(series.describe())
        return {"tilt_series": series}
