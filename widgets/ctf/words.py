"""What the CTF viewer says, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tiltwright.engine.ctf.judge import LEAST_EVIDENCE
from tiltwright.widgets.ctf.ctf_source import HandFound
from tiltwright.widgets.ctf.session import CtfSession

if TYPE_CHECKING:
    from tiltwright.engine.model.ctf_table import CtfTable

_WEAK, _BAD = "#ffb347", "#ff7b72"
_HANDS = {1: "as it is", -1: "inverted", 0: "undetermined"}


def caption(session: CtfSession, view: int) -> tuple[str, str]:
    """Numbers of a view above its spectrum, and their colour."""
    series, defocus = session.series, session.defocus(view)
    if series is None:
        return "", "#ffffff"
    words = []
    if defocus is not None:
        words.append(f"U {defocus.u_a / 1e4:.3f}  V {defocus.v_a / 1e4:.3f} µm")
    score, to = session.column("score")[view], session.column("resolution_a")[view]
    if np.isfinite(score):
        words.append(f"score {score:.2f}")
    if np.isfinite(to):
        words.append(f"to {to:.1f} Å")
    colour = "#ffffff"
    if not series.used[view]:
        words.append("excluded")
    elif session.bad[view]:
        words.append("✕ left out")
        colour = _BAD
    elif view in session.weak:
        # Score and resolution stand there already.
        reason = session.weak[view].partition(", ")[0]
        words.append(f"⚠ {reason}" if "neighbours" in reason else "⚠ weak")
        colour = _WEAK
    return "  ".join(words), colour


def place_words(s: float, theta: float) -> str:
    """Period and direction under the pointer."""
    if s <= 0:
        return ""
    direction = math.degrees(theta)
    return f"{1 / s:.1f} Å at {direction:.0f}°"


def hand_words(table: CtfTable, found: HandFound | None, unproven: bool) -> str:
    """What is known of the hand; ``unproven``: of rings that may be none of the CTF."""
    said = f"Hand: {_HANDS[table.hand]}"
    if table.hand and table.hand_confidence:
        said += f", the views agree by {100 * table.hand_confidence:.0f} %"
    elif not table.hand:
        said += ", each view is shown with the one that fits better"
    if unproven:
        share = f"{100 * table.rival:.0f} %"
        return f"Defocus NOT PROVEN: other rings explain the spectra {share} as well. {said}."
    if found is None:
        return said
    vote = found.vote
    if not vote.hand:
        why = (
            "both hands fit nearly equally well; the tilts are too small or the rings too weak"
            if vote.evidence < LEAST_EVIDENCE
            else "the views contradict each other"
        )
        return f"{said}. The gradient does not tell: {why}."
    verdict = "agrees" if vote.hand == table.hand else f"says {_HANDS[vote.hand]}"
    return (
        f"{said}. The gradient {verdict}: {found.n_views} views agree by "
        f"{100 * vote.agreement:.0f} %, log ratio {vote.evidence:.0f}."
    )
