"""Messages of the engine, which the command line shares, in the words of the window."""

from __future__ import annotations

import re

from tiltwright.engine.protocols import all_protocols

_ADVICE = {
    "tilt-axis": ": fill in “Tilt axis angle”",
    "pixel-size": ": fill in “Pixel size”",
    "tilt-angles": ": put a .rawtlt file of the same name beside it, or give their range",
    "output": ": choose another folder",
}
_OPTION = re.compile(r"; (?:give|choose another) --([a-z-]+)(?: [A-Z]+)?")


def plain_words(text: str) -> str:
    """``text`` without names that only the command line uses, and with Å where it says A."""
    head, colon, rest = text.partition(": ")
    if colon and head in all_protocols():
        text = rest
    text = _OPTION.sub(lambda m: _ADVICE.get(m[1], f": see “{m[1].replace('-', ' ')}”"), text)
    return re.sub(r"\bA/px\b", "Å/px", text)
