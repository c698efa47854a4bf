"""The second reconstruction family: SIRT, SART, WBP that resembles SIRT, Fourier inversion."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import write_text
from tiltwright.engine.io.mrc import read_header
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import Tomogram
from tiltwright.engine.progress import Monitor
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, parameter
from tiltwright.engine.protocols.tomogram_making import (
    CTF,
    SERIES,
    CtfMethod,
    CtfParams,
    OutputParams,
    SizeParams,
    TomogramMaking,
    back_projected,
    corrected_views,
    ctf_parameter,
    make_tomograms,
    origin_of,
    request_of,
    turn_of,
)

if TYPE_CHECKING:
    from tiltwright.engine.recon.iterate import Iterations, Start
    from tiltwright.engine.recon.output import Reconstruction
    from tiltwright.engine.recon.strips import Request

_ITERATIVE = {"method": ("sirt", "sart")}
_DIRECT = {"method": ("wbp", "fourier")}
_SCALED = re.compile(r"int16 = \(density - (\S+)\) \* (\S+)")
_DONE = re.compile(r"(?:SIRT|SART), (\d+) iterations")


class MethodParams(base.Parameters):
    """The method, and what only one of them has."""

    method: Literal["sirt", "sart", "wbp", "fourier"] = parameter(
        "sirt", label="Method",
        help="SIRT and SART fit the tomogram to the views step by step; wbp is weighted "
        "back-projection with the filter that resembles SIRT; fourier grids the views' "
        "transforms and inverts once.",
    )  # fmt: skip
    iterations: int = parameter(
        30, label="Iterations", ge=1, le=1000, shown_if={"method": "sirt"},
        help="More bring out detail, and noise. So many more, with a tomogram to continue from.",
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


class ReconstructionIterative(TomogramMaking):
    """The second family of reconstructions: SIRT, SART, SIRT-like filter, Fourier inversion."""

    key = "reconstruction-iterative"
    title = "SIRT, SART, Fourier"
    citation = (
        "SIRT: Gilbert 1972, doi:10.1016/0022-5193(72)90180-4; SART: Andersen & Kak 1984, "
        "doi:10.1016/0161-7346(84)90008-7; SIRT-like filter: Zeng 2012, doi:10.1118/1.3673956; "
        "Fourier inversion: O'Sullivan 1985, doi:10.1109/TMI.1985.4307723"
    )
    inspect = (
        "More contrast than back-projection, fewer streaks. The residual must fall from iteration "
        "to iteration and level off; when noise grows instead of detail, take fewer iterations."
    )
    inputs: ClassVar = {
        "tilt_series": SERIES,
        "ctf_table": CTF,
        "start": Port(Tomogram, "Tomogram to continue from", optional=True, proposed=False),
        # That of the membranes would leave nothing else.
        "mask": Port(Tomogram, "Mask", optional=True, proposed=False),
    }

    class Params(OutputParams, CtfParams, SizeParams, MethodParams):
        ctf: CtfMethod = ctf_parameter(shown_if={"method": "wbp"})
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

    @classmethod
    def ends_early(cls, params: Any) -> bool:
        """SIRT and SART have a tomogram after each iteration."""
        return params.method in ("sirt", "sart")

    @classmethod
    def going_on(
        cls, inputs: Mapping[str, Any], made: Mapping[str, Any], params: Any
    ) -> dict[str, Any]:
        """So many iterations as were planned and not done; halves have nothing to continue from."""
        if not cls.ends_early(params) or params.halves:
            return {}
        start = inputs.get("start")
        before = 0 if start is None else _labels(start)[1]
        name = "iterations" if params.method == "sirt" else "sart_iterations"
        left = before + getattr(params, name) - _labels(made["tomogram"])[1]
        return {name: left} if left > 0 else {}

    @classmethod
    def corrects(cls, params: Any) -> bool:
        """Only back-projection does."""
        return params.method == "wbp" and super().corrects(params)

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """A tomogram of this size, which mask and start must have."""
        made = super().foresee(inputs, params)
        tomogram = made["tomogram"]
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
        return made

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Reconstruct one aligned series into ``NAME_METHOD.mrc``."""
        series: TiltSeries = inputs["tilt_series"]
        path = context.folder / f"{series.name}_{params.method}.mrc"
        request = request_of(series, params, path, context)
        start, mask = inputs.get("start"), inputs.get("mask")
        if params.method in ("sirt", "sart"):
            plan = _plan(request, params, start, mask)
            return make_tomograms(
                series, request, params, series.ctf_corrected, context,
                _Iterating(params.method.upper(), plan, context),
            )  # fmt: skip
        if start is not None or mask is not None:
            raise InputError(f"reconstruction: {params.method} takes no mask and no start")
        if params.method == "fourier":
            from tiltwright.engine.recon.fourier import reconstruct_fourier

            return make_tomograms(
                series, request, params, series.ctf_corrected, context,
                lambda part, monitor: reconstruct_fourier(
                    part, hamming_start=params.hamming_start, monitor=monitor
                ),
            )  # fmt: skip
        from tiltwright.engine.recon.wbp import Weighting

        views = corrected_views(series, inputs.get("ctf_table"), params, context)
        weighting = Weighting(
            hamming_start=params.hamming_start, equivalent_iterations=params.equivalent_iterations
        )
        return make_tomograms(
            series, request, params, series.ctf_corrected or views is not None, context,
            lambda part, monitor: back_projected(part, weighting, views, params, monitor),
        )  # fmt: skip


def _plan(
    request: Request, params: Any, start: Tomogram | None, mask: Tomogram | None
) -> Iterations:
    """How to iterate; raises :class:`InputError` unless start and mask fit the tomogram."""
    from tiltwright.engine.recon.iterate import Iterations

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
    plan.check(request.shape())
    if start is None:
        return plan
    if params.halves:
        raise InputError(
            "reconstruction: halves cannot continue from a tomogram of all views; switch off Even "
            "and odd halves, or do not continue"
        )
    here = origin_of(request)
    if (
        not np.allclose(start.origin, here, atol=0.01)
        or not math.isclose(start.pixel_size_a, request.pixel_size_a, rel_tol=1e-3)
        or not np.allclose(start.turn, turn_of(request), atol=1e-4)
    ):
        raise InputError(
            f"reconstruction: {start.path.name}, to continue from, begins at {_text(start.origin)} "
            f"with {start.pixel_size_a:.4g} Å/px, the tomogram at {_text(here)} with "
            f"{request.pixel_size_a:.4g} Å/px; give it the same shifts, angle offset and binning"
        )
    return plan


def _text(origin: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{x:g}" for x in origin) + ")"


class _Iterating:
    """Makes the whole, then halves by as many iterations as it took."""

    def __init__(self, name: str, plan: Iterations, context: Context) -> None:
        self.name, self.plan, self.context = name, plan, context
        self.whole = True

    def __call__(self, request: Request, monitor: Monitor) -> Reconstruction:
        from tiltwright.engine.recon.iterate import reconstruct_iterative

        if not self.whole:
            # Not ended early: what was enough for the whole is planned for the halves.
            monitor = Monitor(monitor.listener, monitor.stop)
        self.whole = False
        done = reconstruct_iterative(request, self.plan, monitor)
        path = Path(request.path)
        table = "".join(f"{done.before + i},{r:.6g}\n" for i, r in enumerate(done.residual))
        write_text(path.with_name(path.stem + "_residual.csv"), "iteration,residual\n" + table)
        early = f" of {self.plan.number}" if done.number < self.plan.number else ""
        after = f" after {done.before} before" if done.before else ""
        self.context.note(
            f"{path.stem}: {done.number}{early} {self.name} iterations{after}, residual "
            f"{done.residual[0]:.4g} at the start, {done.residual[-1]:.4g} at the end"
        )
        self.plan = replace(self.plan, number=done.number, least_gain=0.0)
        return done.reconstruction


def stored(tomogram: Tomogram) -> Start:
    """A tomogram with the scaling and the number of iterations that its labels state."""
    from tiltwright.engine.recon.iterate import Start

    scaling, iterations = _labels(tomogram)
    return Start(tomogram.data, *scaling, iterations)


def _labels(tomogram: Tomogram) -> tuple[tuple[float, float], int]:
    """Scale and offset, and the number of iterations."""
    text = "\n".join(read_header(tomogram.path).labels)
    scaled, done = _SCALED.search(text), _DONE.search(text)
    scaling = (float(scaled[2]), float(scaled[1])) if scaled else (1.0, 0.0)
    return scaling, int(done[1]) if done else 0
