"""Which steps a command carries out, and in which order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tiltwright.engine.errors import InputError
from tiltwright.engine.protocols import KEYS, ORDER, all_protocols

SAME = (("ctf-import", "ctf-estimation"), ("reconstruction", "reconstruction-iterative"))
"""Steps that give the same thing: a chain has one of each."""
_GIVES = {
    "ctf_table": "ctf-estimation", "tomogram": "reconstruction", "fiducial_model": "fiducial-model",
}  # fmt: skip
"""Which step gives what is needed and not there."""
_ALIGNING = KEYS[1:4]


def plan(
    target: str,
    *,
    usual: Collection[str] = (),
    known: Sequence[str] = (),
    wanted: Collection[str] = (),
    without: Collection[str] = (),
    aligned: bool = False,
) -> tuple[str, ...]:
    """The steps of a chain that ends with ``target``, in order.

    Parameters
    ----------
    usual, known, wanted : keys
        Steps that such a chain has, that were carried out before (the latest last), and that
        were asked for. Of two that give the same, what was asked for goes before what is known,
        that before what is usual, and the later before the earlier.
    without : keys
        Steps to leave out all the same.
    aligned : bool
        The series comes with an alignment.

    Raises
    ------
    InputError
        A key is unknown, two steps give the same, or one needs what nothing gives.
    """
    for key in (target, *usual, *known, *wanted, *without):
        if key not in ORDER:
            raise InputError(f"{key}: no such step; there are {', '.join(ORDER)}")
    if target in without:
        raise InputError(f"--without {target}: it is what the command is to do")
    end = ORDER.index(target)
    latest = dict.fromkeys(known)
    for same in SAME:
        for key in [k for k in known if k in same][:-1]:
            del latest[key]
    steps: set[str] = set()
    for level in ({target}, set(wanted), set(latest), set(usual)):
        level = {k for k in level if ORDER.index(k) <= end} - set(without)
        for pair in map(set, SAME):
            if len(level & pair) > 1:
                raise InputError(f"{' and '.join(sorted(pair))} give the same: choose one")
            if steps & pair:
                level -= pair
        steps |= level
    if aligned:
        steps -= set(_ALIGNING) - {target}
    _complete(steps, set(without), aligned)
    return tuple(key for key in ORDER if key in steps)


def _complete(steps: set[str], without: set[str], aligned: bool) -> None:
    """Add what the steps need."""
    protocols = all_protocols()
    before = set(_ALIGNING) if aligned else set()
    while True:
        there, has_alignment = {"tilt_series"}, aligned
        lacking: set[str] = set()
        for key in (k for k in ORDER if k in steps):
            if key in KEYS:
                lacking |= set(KEYS[: KEYS.index(key)]) - before
            for name, port in protocols[key].inputs.items():
                if port.optional:
                    continue
                if name not in there:
                    lacking.add(_GIVES[name])
                    if _GIVES[name] in without:
                        raise InputError(f"--without {_GIVES[name]}: {key} needs it")
                if port.aligned and not aligned and key not in KEYS:
                    lacking.add(_ALIGNING[-1])
                if port.aligned and not has_alignment and set(_ALIGNING) <= without:
                    raise InputError(f"--without {_ALIGNING[-1]}: {key} needs an alignment")
            there |= set(protocols[key].outputs)
            has_alignment |= any(p.aligned for p in protocols[key].outputs.values())
        lacking -= steps | without
        if not lacking:
            return
        steps |= lacking
