"""Estimation of the CTF of each view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from tiltwright.engine.ctf.judge import LEAST_EVIDENCE
from tiltwright.engine.model.ctf_table import CtfTable, series_optics
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter

if TYPE_CHECKING:
    from tiltwright.engine.ctf.estimate import SeriesFit, Settings

HANDS = {"automatic": 0, "as it is": 1, "inverted": -1}


class CtfEstimation(Protocol):
    """Fit the rings of each view's power spectrum, each tile at its own defocus by the tilt."""

    key = "ctf-estimation"
    title = "CTF estimation"
    section = "CTF"
    citation = "Xiong et al. 2009, doi:10.1016/j.jsb.2009.08.016"
    inspect = (
        "Defocus against tilt without jumps, the rings of measured and fitted spectrum together, "
        "the fit resolution of each view, and the hand."
    )
    inputs: ClassVar = {"tilt_series": Port(TiltSeries, "Tilt series")}
    outputs: ClassVar = {"ctf_table": Port(CtfTable, "CTF")}

    class Params(base.Parameters):
        min_defocus_um: float = parameter(
            0.5, label="Least defocus", unit="µm", gt=0, le=100, group="Search",
            imod="ScanDefocusRange", help="Underfocus is positive.",
        )  # fmt: skip
        max_defocus_um: float = parameter(
            8.0, label="Most defocus", unit="µm", gt=0, le=100, group="Search",
            imod="ScanDefocusRange", help="Underfocus is positive.",
        )  # fmt: skip
        longest_a: float = parameter(
            30.0, label="Fit from", unit="Å", gt=0, le=1000, group="Search",
            help="Longest period that is fitted.",
        )  # fmt: skip
        shortest_a: float = parameter(
            8.0, label="Fit to", unit="Å", gt=0, le=1000, group="Search",
            help="Shortest period that is fitted; no shorter than two pixels.",
        )  # fmt: skip
        tile_px: int = parameter(
            512, label="Tile", unit="px", ge=64, le=4096, multiple_of=2, group="Search",
            expert=True, imod="PSResolution", help="Side of the tiles whose spectra are averaged.",
        )  # fmt: skip
        astigmatism: bool = parameter(
            True, label="Astigmatism", group="Model", imod="SearchAstigmatism",
            help="Fit two defocus values and the angle of the larger one.",
        )  # fmt: skip
        phase_shift: bool = parameter(
            False, label="Phase shift", group="Model", imod="SearchPhaseShift",
            help="Fit the phase shift of a phase plate.",
        )  # fmt: skip
        phase_deg: float = parameter(
            0.0, label="Known phase shift", unit="deg", ge=0, le=180, group="Model", expert=True,
            shown_if={"phase_shift": False}, help="Of a phase plate that is not fitted.",
        )  # fmt: skip
        neighbours: bool = parameter(
            True, label="Neighbours as a prior", group="Model",
            help="Hold each view to those acquired before and after it, as far as they scatter.",
        )  # fmt: skip
        hand: Literal["automatic", "as it is", "inverted"] = parameter(
            "automatic", label="Hand", group="Tilt", imod="InvertTiltAngles",
            help="Which side of the tilt axis is nearer to focus; automatic: what fits better.",
        )  # fmt: skip
        pretilt_deg: float = parameter(
            0.0, label="Pretilt", unit="deg", ge=-60, le=60, group="Tilt", expert=True,
            imod="OffsetToAdd", help="Tilt of the specimen when the stage is at 0 (lamellae).",
        )  # fmt: skip

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """A table of which nothing is known yet."""
        _settings(inputs["tilt_series"], params).check()
        return {}

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Estimate one series on its raw stack.

        Binning takes rings away, and a dose filter, a correction or erased gold change them.
        """
        from tiltwright.engine.ctf.estimate import estimate_series
        from tiltwright.engine.protocols.ctf_geometry import view_slopes

        series: TiltSeries = inputs["tilt_series"]
        if series.work is not None:
            context.say("estimated on the raw stack")
        slopes, centres, tilt = view_slopes(series, 1, 1, params.pretilt_deg)
        used = series.used
        if series.alignment is not None:
            used = used & series.alignment.valid
        settings = _settings(series, params)
        optics = series_optics(series)
        fit = estimate_series(
            series.stack, series.pixel_size_a, slopes, centres, tilt, series.order, used, optics,
            settings, threads=context.threads, monitor=context.monitor,
        )  # fmt: skip
        table = table_of_fit(fit, series, optics)
        context.say(table.describe())
        for row, curve in enumerate(fit.curves):
            said = table.defocus_of(row)
            context.say(
                f"view {fit.views[row] + 1}: {said.u_a / 1e4:.3f} / {said.v_a / 1e4:.3f} µm at "
                f"{said.angle_deg:.0f} degrees, to {curve.resolution_a:.1f} Å, score "
                f"{curve.score:.2f}"
            )
        blank = np.setdiff1d(np.flatnonzero(used), fit.views)
        if len(blank):
            names = ", ".join(str(v + 1) for v in blank)
            context.note(f"no CTF of views {names}: they are blank; exclude them")
        if not fit.rival.proven:
            context.note(
                f"the defocus is NOT PROVEN: {fit.rival.text}; look at the rings in the CTF "
                "viewer, change the defocus or fit range, take a stack with smaller pixels, or "
                "import a CTF"
            )
        context.note(hand_text(fit, settings.hand))
        return {"ctf_table": table}


def _settings(series: TiltSeries, params: Any) -> Settings:
    from tiltwright.engine.ctf.estimate import Settings
    from tiltwright.engine.protocols.ctf_geometry import fitted_band, fitted_tile

    return Settings(
        tile=fitted_tile(series, params.tile_px),
        band_a=fitted_band(series, params.longest_a, params.shortest_a),
        defocus_a=(params.min_defocus_um * 1e4, params.max_defocus_um * 1e4),
        astigmatism=params.astigmatism, phase_shift=params.phase_shift,
        phase_deg=params.phase_deg, hand=HANDS[params.hand], neighbours=params.neighbours,
    )  # fmt: skip


def table_of_fit(fit: SeriesFit, series: TiltSeries, optics: Any) -> CtfTable:
    """The table of what was fitted."""
    from tiltwright.engine.ctf.curves import defocus_of

    found = [defocus_of(f) for f in fit.fits]
    n = len(found)
    return CtfTable(
        series.order[fit.views], series.tilt_deg[fit.views],
        np.array([d.u_a for d in found]), np.array([d.v_a for d in found]),
        np.array([d.angle_deg for d in found]), np.array([d.phase_shift_deg for d in found]),
        np.full(n, np.nan), np.array([c.score for c in fit.curves]),
        np.array([c.resolution_a for c in fit.curves]), fit.sigma_a, np.ones(n, np.bool_), optics,
        fit.hand, round(max(fit.hand_confidence, 0.0), 4), round(fit.rival.share, 4),
    )  # fmt: skip


def hand_text(fit: SeriesFit, given: int) -> str:
    """What the defocus gradient says on the hand, in a sentence."""
    agreed = f"{100 * abs(fit.hand_confidence):.0f} %"
    numbers = f"the views agree by {agreed}, log ratio {fit.hand_evidence:.0f}"
    if given != 0:
        if not fit.rival.proven:
            return "hand: given; rings that are not proven cannot confirm it"
        verb = "agrees with" if fit.hand_confidence >= 0 else "CONTRADICTS"
        return f"hand: given; the defocus gradient {verb} it ({numbers})"
    if fit.hand != 0:
        said = "as it is" if fit.hand == 1 else "inverted"
        return f"hand: {said} by the defocus gradient ({numbers})"
    if not fit.rival.proven:
        return "hand: undetermined, rings that are not proven do not tell it"
    if fit.hand_evidence < LEAST_EVIDENCE:
        return (
            "hand: undetermined, both hands fit nearly equally well (log ratio "
            f"{fit.hand_evidence:.0f}, at least {LEAST_EVIDENCE:.0f} is needed): the tilts are too "
            "small or the rings too weak"
        )
    return f"hand: undetermined, the views contradict each other (they agree by {agreed} only)"
