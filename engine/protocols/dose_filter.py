"""Dose filter: high frequencies of late views are damped as radiation damage has damped them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter


class DoseFilter(Protocol):
    """Damp in every view what the dose up to it has destroyed."""

    key = "dose-filter"
    title = "Dose filter"
    section = "Tilt series"
    citation = "Grant & Grigorieff 2015, doi:10.7554/eLife.06980"
    inspect = "Views that were taken late, mostly at high tilt, look smoother."
    inputs: ClassVar = {"tilt_series": Port(TiltSeries, "Tilt series")}
    outputs: ClassVar = {"tilt_series": Port(TiltSeries, "Filtered tilt series")}

    class Params(base.Parameters):
        initial_dose: float = parameter(
            0.0, label="Initial dose", unit="e/Å²", ge=0, expert=True, imod="InitialDose",
            help="What the specimen got before the first view.",
        )  # fmt: skip
        dose_per_view: float = parameter(
            0.0, label="Dose per view", unit="e/Å²", ge=0, imod="FixedImageDose",
            help="Of every view; 0 takes it from the metadata.",
        )  # fmt: skip
        restore_noise: bool = parameter(
            False, label="Restore noise power", expert=True,
            help="Divide by the root mean square of all views' filters, so that the noise of the "
            "series stays as strong at high frequencies as it was.",
        )  # fmt: skip

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """The same series, whose doses must be known."""
        cls.doses(inputs["tilt_series"], params)
        return super().foresee(inputs, params)

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Filter one series into ``NAME_dose.mrc``, float32; its halves alike."""
        from concurrent.futures import ThreadPoolExecutor

        from tiltwright.engine.io.mrc_write import MrcWriter
        from tiltwright.engine.stack.dose import filter_dose, noise_gain

        series: TiltSeries = inputs["tilt_series"]
        own, accumulated = cls.doses(series, params)
        pixel, n, name = series.image_pixel_size_a, series.n_views, f"{series.name}_dose"
        gain = None
        if params.restore_noise:
            k = np.linspace(0, 0.75 / pixel, 6000)
            used = series.used
            gain = k, noise_gain(k, accumulated[used], own[used], series.voltage_kv)

        label = ("Tiltwright: dose filtered",)
        for part, stack in series.parts.items():

            def one(v: int, stack: Any = stack) -> npt.NDArray[np.float32]:
                context.monitor.check()
                view = np.asarray(stack[v])
                if not series.used[v]:
                    return view.astype(np.float32)
                try:
                    return filter_dose(view, pixel, accumulated[v], own[v], series.voltage_kv, gain)
                except InputError as exc:
                    raise InputError(f"{series.name}, view {v + 1}: {exc}") from exc

            path = context.folder / f"{name}{part}.mrc"
            with (
                MrcWriter(path, stack.shape, np.float32, pixel, labels=label) as writer,
                ThreadPoolExecutor(context.threads) as pool,
            ):
                for first in range(0, n, 4):
                    context.monitor.step(first, n, "dose filter")
                    some = range(first, min(first + 4, n))
                    for v, view in zip(some, pool.map(one, some), strict=True):
                        writer.write(v, view)
                context.monitor.step(n, n, "dose filter")
        context.say(
            f"{series.name}: {own.min():.3g} to {own.max():.3g} e/Å² a view, "
            f"{accumulated.max():.4g} e/Å² in all"
        )
        return {"tilt_series": series.with_parts(context.folder, name)}

    @staticmethod
    def doses(
        series: TiltSeries, params: Any
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Dose of each view, and up to its end, ``(n_views,)``.

        Raises
        ------
        InputError
            The metadata give no dose, or not the order of the views.
        """
        if params.dose_per_view > 0:
            fixed = np.full(series.n_views, float(params.dose_per_view))
            series = replace(series, dose=fixed, prior_dose=None)
        accumulated = series.accumulated_dose()
        if series.dose is None:
            raise InputError(
                f"dose filter: the metadata of {series.name} give no dose; set the dose per view"
            )
        if accumulated is None:
            raise InputError(
                f"dose filter: the order in which the views of {series.name} were taken is not "
                "known; import it with its mdoc"
            )
        if not (np.isfinite(accumulated).all() and accumulated.max() > 0):
            raise InputError(
                f"dose filter: the doses of {series.name} are 0 or not finite; set the dose per "
                "view"
            )
        return series.dose, accumulated + params.initial_dose
