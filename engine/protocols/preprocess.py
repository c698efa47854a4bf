"""Preprocessing: binning, spikes, and the views that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, leave_out, parameter
from tiltwright.engine.protocols.erased import Patch, keep_patches

if TYPE_CHECKING:
    from tiltwright.engine.prealign.views import ViewVerdict

Stack = Any  # anything with shape (n_views, ny, nx) that gives a view when indexed


class Preprocess(Protocol):
    """Bin the series, erase X-ray spikes if asked, and name dark, blank or duplicated views."""

    key = "preprocess"
    title = "Tilt-series preprocess"
    section = "Tilt series"
    inspect = (
        "Monotonic tilt angles, no missing or double views, contrast over the whole range, size."
    )
    inputs: ClassVar = {"tilt_series": Port(TiltSeries, "Tilt series")}
    outputs: ClassVar = {"tilt_series": Port(TiltSeries, "Preprocessed tilt series")}

    class Params(base.Parameters):
        binning: int = parameter(
            1, label="Binning", unit="px", ge=1, le=32, imod="BinByFactor",
            help="Raw pixels per pixel of the working stack and of the tomogram.",
        )  # fmt: skip
        antialias: bool = parameter(
            True, label="Antialias", expert=True, imod="AntialiasFilter",
            help="Low-pass while binning, so that noise beyond Nyquist is not folded in.",
        )  # fmt: skip
        erase_spikes: bool = parameter(
            True, label="Erase X-ray spikes", imod="ccderaser",
            help="Replace isolated hot pixels by their surroundings.",
        )  # fmt: skip
        densities: Literal["none", "mean0sd1"] = parameter(
            "none", label="Densities", imod="FloatDensities",
            help="Leave the grey values, or give every view mean 0 and SD 1.",
        )  # fmt: skip
        truncate_sd: float = parameter(
            0.0, label="Truncate outliers", unit="SD", ge=0, expert=True,
            imod="TruncateAboveAndBelow",
            help="Clip values further than this from the mean; 0 clips nothing.",
        )  # fmt: skip

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """A series of other pixels."""
        series: TiltSeries = inputs["tilt_series"]
        _once(series, params.binning)
        return {"tilt_series": replace(series, binning=series.binning * params.binning)}

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Bin, erase, scale and judge one series; the result is in memory."""
        series: TiltSeries = inputs["tilt_series"]
        _once(series, params.binning)
        found: list[list[Patch]] = []
        work, verdicts = cls.compute(
            series.images, series.tilt_deg, series.axis_deg, params, context, found
        )
        binning = series.binning * params.binning
        out = replace(series, work=work, work_path=None, binning=binning)
        if series.halves is not None:
            bad = {v.view for v in verdicts}
            even, odd = (
                cls._half(half, params, context, found, bad, seed)
                for seed, half in enumerate(series.halves, 1)
            )
            out = replace(out, halves=(even, odd), halves_paths=None)
        if params.erase_spikes:
            out = keep_patches(series, out, found, context)
        reasons = {v.view: f"{v.kind}: {v.reason}" for v in verdicts}
        out = leave_out(out, reasons, context)
        if out.used.sum() < 3:
            raise DataError(
                f"only {int(out.used.sum())} of {out.n_views} views can be used; look at the stack"
            )
        return {"tilt_series": out}

    @staticmethod
    def compute(
        stack: Stack,
        tilt_deg: npt.NDArray[np.float64],
        axis_deg: float,
        params: Any,
        context: Context,
        found: list[list[Patch]] | None = None,
    ) -> tuple[npt.NDArray[Any], list[ViewVerdict]]:
        """Return the working stack ``(n_views, ny, nx)`` and the views in doubt.

        The patches that are erased from each view are put into ``found``.
        """
        from tiltwright.engine.prealign.views import examine_views
        from tiltwright.engine.stack.binning import bin_view
        from tiltwright.engine.stack.spikes import erase_patches, find_spikes

        n_views = len(stack)
        binning = params.binning
        work: npt.NDArray[Any] | None = None
        found = [] if found is None else found

        def one(view: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[Patch]]:
            patches: list[Patch] = []
            if params.erase_spikes and np.isfinite(view).all():
                patches = find_spikes(view)
                view = erase_patches(view, patches)
            small = bin_view(view, binning, params.antialias) if binning > 1 else view
            return small, patches

        with ThreadPoolExecutor(2) as pool:
            for first in range(0, n_views, 4):
                context.monitor.step(first, n_views, "preprocess")
                some = [np.asarray(stack[v]) for v in range(first, min(first + 4, n_views))]
                for v, (view, patches) in enumerate(pool.map(one, some), first):
                    found.append(patches)
                    if patches:
                        context.say(f"view {v + 1}: {len(patches)} spikes erased")
                    if work is None:
                        work = np.empty((n_views, *view.shape), _working_type(view.dtype, params))
                    work[v] = view
        assert work is not None
        # The views are judged as they are: scaling would hide a dark or a constant one.
        verdicts = examine_views(work, tilt_deg, axis_deg)
        _scale(work, params, {verdict.view for verdict in verdicts})
        return work, verdicts

    @staticmethod
    def _half(
        stack: Stack, params: Any, context: Context, found: list[list[Patch]], bad: set[int],
        seed: int,
    ) -> npt.NDArray[Any]:  # fmt: skip
        """Half of the frames, treated as the whole: the same patches, its own noise in them."""
        from tiltwright.engine.stack.binning import bin_view
        from tiltwright.engine.stack.spikes import erase_patches

        work: npt.NDArray[Any] | None = None
        for v, patches in enumerate(found):
            context.monitor.step(v, len(found), "preprocess half of the frames")
            view = erase_patches(np.asarray(stack[v]), patches, seed)
            if params.binning > 1:
                view = bin_view(view, params.binning, params.antialias)
            if work is None:
                work = np.empty((len(found), *view.shape), _working_type(view.dtype, params))
            work[v] = view
        assert work is not None
        _scale(work, params, bad)
        return work


def _scale(work: npt.NDArray[Any], params: Any, bad: set[int]) -> None:
    """Truncate and scale the views; ``bad`` ones only lose what is no number."""
    from tiltwright.engine.stack.densities import scale_densities, truncate_outliers

    for v in range(len(work)):
        if v in bad:
            work[v] = np.nan_to_num(work[v], nan=0.0, posinf=0.0, neginf=0.0)
            continue
        if params.truncate_sd > 0:
            work[v] = truncate_outliers(work[v], params.truncate_sd)
        if params.densities != "none":
            work[v] = scale_densities(work[v], params.densities)


def _once(series: TiltSeries, binning: int) -> None:
    if binning > 1 and series.binning > 1:
        raise InputError(
            f"preprocess: {series.name} is binned by {series.binning} already; take the "
            "series before that, or binning 1"
        )


def _working_type(dtype: np.dtype[Any], params: Any) -> np.dtype[Any]:
    """Small integers stay as they are, to save memory; everything else becomes float32."""
    native = dtype.newbyteorder("=")
    scaled = params.truncate_sd > 0 or params.densities != "none"
    small = native.kind in "iu" and native.itemsize <= 2 and not scaled
    return native if small else np.dtype(np.float32)
