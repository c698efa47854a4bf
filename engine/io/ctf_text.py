"""CTF tables of other programs as plain rows: CTFFIND, Gctf and RELION star files, Warp's XML.

Every reader gives :class:`CtfRows` in the conventions of ``engine/ctf/model.py``: angstrom,
degrees, underfocus positive, ``u >= v``. To which views the rows belong is settled by
``engine/model/ctf_table.py``. Descriptions: https://grigoriefflab.umassmed.edu/ctffind4,
https://relion.readthedocs.io/en/latest/Reference/Conventions.html, https://warpem.github.io.
"""

from __future__ import annotations

import math
import re
import shlex
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import read_bytes

Floats = npt.NDArray[np.float64]
_LIMIT = 1 << 28
_MOST_DEFOCUS_A = 1e6
_KEY = re.compile(r"([\w. ]+?):\s*([-+.\deE]+)")


@dataclass(frozen=True)
class CtfRows:
    """Rows of a CTF table in the order of their file.

    Attributes
    ----------
    u_a, v_a, angle_deg, phase_shift_deg : (n,) float64
        As of ``engine/ctf/model.py``.
    cut_on_per_nm, score, resolution_a : (n,) float64
        NaN where the file does not say.
    views : (n, 2) int64, optional
        First and last view (0-based) that a row speaks for.
    tilt_deg, dose : (n,) float64, optional
        Tilt angle; dose before or with the view, which gives the order of acquisition.
    used : (n,) bool
        False for views that the program left out.
    optics : dict
        ``voltage_kv``, ``cs_mm``, ``amplitude_contrast`` as far as the file says.
    """

    u_a: Floats
    v_a: Floats
    angle_deg: Floats
    phase_shift_deg: Floats
    cut_on_per_nm: Floats
    score: Floats
    resolution_a: Floats
    used: npt.NDArray[np.bool_]
    views: npt.NDArray[np.int64] | None = None
    tilt_deg: Floats | None = None
    dose: Floats | None = None
    optics: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.u_a)


def make_rows(path: Path, u_a: Any, v_a: Any, angle_deg: Any, **rest: Any) -> CtfRows:
    """Rows from what a file said, brought into our conventions.

    Raises
    ------
    InputError
        No rows, or a row whose defocus, angle or phase shift is no finite, possible number.
    """
    u, v, angle = (np.array(x, np.float64) for x in (u_a, v_a, angle_deg))
    n = len(u)
    if n == 0:
        raise InputError(f"{path}: holds no defocus values")
    phase = np.array(rest.pop("phase_shift_deg", None), np.float64)
    phase = np.zeros(n) if phase.shape != (n,) else phase
    for name, values, most in (
        ("defocus", u, _MOST_DEFOCUS_A), ("defocus", v, _MOST_DEFOCUS_A),
        ("astigmatism angle", angle, 1e5), ("phase shift", phase, 1e5),
    ):  # fmt: skip
        bad = np.flatnonzero(~(np.abs(values) < most))
        if len(bad):
            raise InputError(f"{path}: row {bad[0] + 1}: {name} {values[bad[0]]:g} is impossible")
    turn = u < v
    u, v = np.maximum(u, v), np.minimum(u, v)
    angle = angle + 90.0 * turn
    angle = np.where(np.abs(angle) <= 90, angle, 90.0 - (90.0 - angle) % 180.0)
    blank = np.full(n, np.nan)
    optional = {k: rest.pop(k, None) for k in ("cut_on_per_nm", "score", "resolution_a")}
    filled: dict[str, Any] = {k: blank if x is None else _finite(x) for k, x in optional.items()}
    used = rest.pop("used", None)
    return CtfRows(
        u, v, angle, phase, used=np.ones(n, np.bool_) if used is None else used, **filled, **rest
    )


def _finite(values: Any) -> Floats:
    """What is infinite (a fit that found no limit) is not known."""
    array = np.array(values, np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def decode(path: Path) -> str:
    """The text of a file, UTF-8 or UTF-16; raises :class:`InputError`."""
    data = read_bytes(path, _LIMIT)
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InputError(f"{path}: not a text file") from exc


def number(path: Path, line: int, word: str) -> float:
    """One number of a table, NaN and infinity included; raises :class:`InputError`."""
    try:
        return float(word)
    except ValueError as exc:
        raise InputError(f"{path}: line {line}: {word[:40]!r} is not a number") from exc


def read_ctffind(path: Path) -> CtfRows:
    """Read the text that CTFFIND 4 and 5 write (also AreTomo's ``_CTF.txt``).

    Columns: number of the micrograph (the section, from 1), defocus 1 and 2 (angstrom), azimuth of
    astigmatism (degrees), phase shift (radians), score, fit resolution (angstrom), and in
    CTFFIND 5 tilt axis, tilt and thickness, which are not kept.

    Raises
    ------
    InputError
        Not such a file, or damaged.
    """
    rows, optics = [], {}
    for n, line in enumerate(decode(path).splitlines(), 1):
        if line.startswith("#"):
            said = {k.strip().lower(): v for k, v in _KEY.findall(line)}
            for key, ours in (
                ("acceleration voltage", "voltage_kv"), ("spherical aberration", "cs_mm"),
                ("amplitude contrast", "amplitude_contrast"),
            ):  # fmt: skip
                if key in said:
                    optics[ours] = number(path, n, said[key])
            continue
        words = line.split()
        if not words:
            continue
        if len(words) < 7:
            raise InputError(f"{path}: line {n} has {len(words)} columns; CTFFIND writes 7 or more")
        rows.append([number(path, n, w) for w in words[:7]])
    if not rows:
        raise InputError(f"{path}: holds no defocus values")
    table = np.array(rows)
    view = table[:, 0] - 1
    if not (np.isfinite(view) & (view == np.floor(view)) & (view >= 0) & (view < 1e6)).all():
        raise InputError(f"{path}: the numbers of the micrographs are not whole from 1")
    sections = np.repeat(view.astype(np.int64)[:, None], 2, 1)
    return make_rows(
        path, table[:, 1], table[:, 2], table[:, 3], phase_shift_deg=np.rad2deg(table[:, 4]),
        score=table[:, 5], resolution_a=table[:, 6], views=sections, optics=optics,
    )  # fmt: skip


def read_star(path: Path) -> dict[str, dict[str, list[str]]]:
    """Read a STAR file: block name to label (without underscore) to its values.

    Raises
    ------
    InputError
        A loop whose rows have another number of columns, or no block at all.
    """
    blocks: dict[str, dict[str, list[str]]] = {}
    block: dict[str, list[str]] | None = None
    labels: list[str] = []
    looping = False
    for n, raw in enumerate(decode(path).splitlines(), 1):
        line = raw.split(" #")[0].strip() if raw.lstrip().startswith("_") else raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("data_"):
            block = blocks.setdefault(line[5:], {})
            labels, looping = [], False
        elif block is None:
            raise InputError(f"{path}: line {n} stands before any data_ block: not a STAR file")
        elif line == "loop_":
            labels, looping = [], True
        elif line.startswith("_"):
            words = line[1:].split(maxsplit=1)
            labels.append(words[0])
            block[words[0]] = [] if looping else [words[1].strip() if len(words) > 1 else ""]
        elif looping:
            try:
                words = shlex.split(line) if '"' in line or "'" in line else line.split()
            except ValueError as exc:
                raise InputError(f"{path}: line {n}: {exc}") from exc
            if len(words) != len(labels):
                raise InputError(f"{path}: line {n} has {len(words)} columns, not {len(labels)}")
            for label, word in zip(labels, words, strict=True):
                block[label].append(word)
    if not blocks:
        raise InputError(f"{path}: not a STAR file")
    return blocks


def read_ctf_star(path: Path) -> CtfRows:
    """Read a star file of Gctf, or RELION's of one tilt series, one row per view.

    Raises
    ------
    InputError
        Not such a file, or damaged.
    """
    blocks = read_star(path)
    table = next((b for b in blocks.values() if b.get("rlnDefocusU")), None)
    if table is None:
        raise InputError(f"{path}: has no column rlnDefocusU")

    def column(*names: str, of: dict[str, list[str]] = table) -> Floats | None:
        for name in names:
            if of.get(name):
                return np.array([number(path, 0, w) for w in of[name]])
        return None

    u, v, angle = (column(f"rlnDefocus{x}") for x in ("U", "V", "Angle"))
    assert u is not None
    v = u if v is None else v
    optics = {}
    for name, ours in (
        ("rlnVoltage", "voltage_kv"), ("rlnSphericalAberration", "cs_mm"),
        ("rlnAmplitudeContrast", "amplitude_contrast"),
    ):  # fmt: skip
        for block in (table, *blocks.values()):
            values = column(name, of=block)
            if values is not None and ours not in optics:
                optics[ours] = float(values[0])
    return make_rows(
        path, u, v, np.zeros(len(u)) if angle is None else angle, optics=optics,
        phase_shift_deg=column("rlnPhaseShift"), score=column("rlnCtfFigureOfMerit"),
        resolution_a=column("rlnCtfMaxResolution", "rlnFinalResolution"),
        tilt_deg=column("rlnTomoNominalStageTiltAngle", "rlnTomoYTilt"),
        dose=column("rlnMicrographPreExposure"),
    )  # fmt: skip


def read_warp_xml(path: Path) -> CtfRows:
    """Read the XML of a tilt series that Warp writes: defocus and astigmatism per tilt.

    Micrometre there; ``delta`` is ``u - v``; the phase shift is in units of pi.

    Raises
    ------
    InputError
        Not such a file, damaged, or without CTF values for each tilt.
    """
    text = re.sub(r"\A\s*<\?xml[^>]*\?>", "", decode(path))
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{path}: not the XML of a tilt series of Warp")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as exc:
        raise InputError(f"{path}: damaged XML ({exc})") from exc
    if root.tag != "TiltSeries":
        raise InputError(f"{path}: not the XML of a tilt series of Warp")

    def listed(tag: str) -> Floats | None:
        words = (root.findtext(tag) or "").split()
        return np.array([number(path, 0, w) for w in words]) if words else None

    tilt = listed("Angles")
    if tilt is None:
        raise InputError(f"{path}: has no tilt angles")
    n = len(tilt)

    def grid(tag: str, default: float | None) -> Floats:
        node = root.find(tag)
        if node is None:
            if default is None:
                raise InputError(f"{path}: has no {tag}")
            return np.full(n, default)
        by_tilt: dict[int, list[float]] = {}
        for cell in node.findall("Node"):
            z = number(path, 0, cell.get("Z", "nan"))
            if not math.isfinite(z):
                raise InputError(f"{path}: {tag} has a node without Z")
            by_tilt.setdefault(int(z), []).append(number(path, 0, cell.get("Value", "nan")))
        if sorted(by_tilt) not in ([0], list(range(n))):
            raise InputError(f"{path}: {tag} has {len(by_tilt)} values for {n} tilts")
        means = [float(np.mean(by_tilt[z])) for z in sorted(by_tilt)]
        return np.array(means * n if len(means) == 1 else means)

    params = {p.get("Name"): p.get("Value", "") for p in root.findall("CTF/Param")}
    optics = {
        ours: number(path, 0, params[name])
        for name, ours in (
            ("Voltage", "voltage_kv"), ("Cs", "cs_mm"), ("Amplitude", "amplitude_contrast"),
        )
        if name in params
    }  # fmt: skip
    words = (root.findtext("UseTilt") or "").split()
    if words and len(words) != n:
        raise InputError(f"{path}: UseTilt has {len(words)} values for {n} tilts")
    dose = listed("Dose")
    if dose is not None and len(dose) != n:
        raise InputError(f"{path}: Dose has {len(dose)} values for {n} tilts")
    mean, delta = grid("GridCTF", None) * 1e4, grid("GridCTFDefocusDelta", 0.0) * 1e4
    return make_rows(
        path, mean + delta / 2, mean - delta / 2, grid("GridCTFDefocusAngle", 0.0),
        phase_shift_deg=grid("GridCTFPhase", 0.0) * 180, tilt_deg=tilt, dose=dose, optics=optics,
        used=np.array([w == "True" for w in words]) if words else None,
    )  # fmt: skip


def read_ctf(path: Path) -> CtfRows:
    """Read any CTF table, its kind told from its content (and ``.defocus`` by its name).

    Raises
    ------
    InputError
        Not a table that we know, or damaged.
    """
    from tiltwright.engine.io.defocus import read_defocus

    if path.suffix == ".defocus":
        return read_defocus(path)
    text = decode(path).lstrip()
    if text.startswith("<"):
        return read_warp_xml(path)
    if path.suffix == ".star" or re.search(r"^data_", text, re.MULTILINE):
        return read_ctf_star(path)
    words = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    if text.startswith("#") or (words and len(words[-1]) >= 7 and float_like(words[-1][1]) > 1e3):
        return read_ctffind(path)
    return read_defocus(path)


def float_like(word: str) -> float:
    """A number, or 0 for anything else."""
    try:
        return float(word)
    except ValueError:
        return 0.0
