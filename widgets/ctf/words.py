"""What the CTF viewer says, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

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


def hand_words(table: CtfTable, found: HandFound | None) -> str:
    """What is known of the hand."""
    said = f"Hand: {_HANDS[table.hand]}"
    if table.hand and table.hand_confidence:
        said += f", {100 * table.hand_confidence:.0f} % agreement of the views"
    elif not table.hand:
        said += ", each view is shown with the one that fits better"
    if found is None:
        return said
    if not found.hand:
        return f"{said}. The gradient does not tell: the tilts or the rings are too weak."
    verdict = "agrees" if found.hand == table.hand else f"says {_HANDS[found.hand]}"
    return (
        f"{said}. The gradient {verdict}: {100 * found.confidence:.0f} % of {found.n_views} views, "
        f"log ratio {found.evidence:.0f}."
    )
