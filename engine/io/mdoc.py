"""``.mdoc`` files of SerialEM and Tomo5: tolerant reading."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import read_bytes

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(r"(\d{1,4})[-/. ](\w{1,3})[-/. ](\d{1,4})[T ]+(\d{1,2}):(\d{2}):(\d{2})")
_SECTION = re.compile(r"\[\s*(\w+)\s*=\s*(.*?)\s*\]\s*\Z")
_AXIS = re.compile(r"tilt\s*axis\s*angle\s*=\s*([-+]?[\d.]+)", re.IGNORECASE)


def numbers(text: str | None) -> list[float]:
    """Finite numbers of a value, separated by spaces; empty where it holds anything else."""
    out = []
    for word in (text or "").split():
        try:
            value = float(word)
        except ValueError:
            return []
        if not math.isfinite(value):
            return []
        out.append(value)
    return out


def parse_date(text: str | None) -> datetime | None:
    """Date of an mdoc (``30-Nov-15  15:21:38``, four-digit years and ISO too)."""
    match = _DATE.search(text or "")
    if match is None:
        return None
    first, month, last, *clock = match.groups()
    try:
        number = int(month) if month.isdecimal() else _MONTHS.index(month.lower()) + 1
        day, year = (int(last), int(first)) if len(first) == 4 else (int(first), int(last))
        hour, minute, second = map(int, clock)
        full = year + 2000 if year < 100 else year
        return datetime(full, number, day, hour, minute, second)
    except ValueError:
        return None


@dataclass
class Mdoc:
    """An mdoc: global values, titles and one dictionary of strings per section.

    ``sections`` are the ``ZValue`` sections, or the ``FrameSet`` ones where there are no others;
    frame sets beside ``ZValue`` sections stand in ``frame_sets``.
    """

    values: dict[str, str] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)
    sections: list[dict[str, str]] = field(default_factory=list)
    frame_sets: list[dict[str, str]] = field(default_factory=list)

    def number(self, section: int, key: str) -> float | None:
        """First number of ``key`` in a section, else in the global values, else ``None``."""
        value = self.sections[section].get(key) or self.values.get(key)
        found = numbers(value)
        return found[0] if found else None

    @property
    def tilt_deg(self) -> NDArray[np.float64] | None:
        """Tilt angles ``(n,)`` in file order, degrees; ``None`` where one is missing."""
        found = [numbers(s.get("TiltAngle")) for s in self.sections]
        if not found or not all(found):
            return None
        return np.array([f[0] for f in found])

    @property
    def is_tomo5(self) -> bool:
        """Whether the file says that Thermo Fisher's Tomography wrote it."""
        text = " ".join([*self.titles, self.values.get("T", "")]).lower()
        return "serialem" not in text and ("tomography" in text or "tomo5" in text)

    @property
    def tilt_axis_deg(self) -> float | None:
        """Tilt axis angle, see :meth:`axis`."""
        return self.axis()

    def axis(self, tomo5: bool | None = None) -> float | None:
        """Tilt axis angle in degrees, from the titles, else from ``RotationAngle``.

        For Tomo5 (``None``: as the file says) ``-angle - 90``; SerialEM's ``RotationAngle`` is
        90 above the axis.
        """
        flip = self.is_tomo5 if tomo5 is None else tomo5
        angle: float | None = None
        for title in self.titles:
            match = _AXIS.search(title)
            found = numbers(match[1]) if match else []
            if found:
                angle = -found[0] - 90 if flip else found[0]
        for table in (*self.sections[:1], *self.frame_sets[:1], self.values):
            rotation = numbers(table.get("RotationAngle"))
            if angle is None and rotation:
                angle = -rotation[0] - 90 if flip else rotation[0] - 90
        if angle is None or abs(angle) > 1e4:
            return None
        return -((180 - angle) % 360 - 180)

    @property
    def pixel_size_a(self) -> float | None:
        """Pixel size in angstrom of the first section, else the global one."""
        for table in (*self.sections[:1], *self.frame_sets[:1], self.values):
            found = numbers(table.get("PixelSpacing"))
            if found and found[0] > 0:
                return found[0]
        return None

    @property
    def acquisition_order(self) -> NDArray[np.int64] | None:
        """0-based rank of each section by ``DateTime``, else by ``PriorRecordDose``."""
        dates = [parse_date(s.get("DateTime")) for s in self.sections]
        prior = [numbers(s.get("PriorRecordDose")) for s in self.sections]
        keys: list[float]
        if dates and None not in dates:
            keys = [(d - datetime(1970, 1, 1)).total_seconds() for d in dates if d]
        elif prior and all(prior):
            keys = [p[0] for p in prior]
        else:
            return None
        order = np.argsort(np.array(keys), kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return rank

    def dose(self, section: int) -> float | None:
        """Dose of a section, electrons per square angstrom; ``None`` where it does not say.

        ``ExposureDose``, else ``FrameDosesAndNumber``, else ``DoseRate`` times
        ``ExposureTime`` per unbinned pixel, else the mean count.
        """
        table = self.sections[section]
        exposure = numbers(table.get("ExposureDose"))
        if exposure and exposure[0] > 0:
            return exposure[0]
        frames = numbers(table.get("FrameDosesAndNumber"))
        if len(frames) >= 2:
            total = sum(d * n for d, n in zip(frames[::2], frames[1::2], strict=False))
            if total > 0:
                return total
        pixel = self.number(section, "PixelSpacing") or 0.0
        if not 1e-3 < pixel < 1e6:
            return None
        rate, time = self.number(section, "DoseRate"), self.number(section, "ExposureTime")
        binning = self.number(section, "Binning") or 1.0
        if rate and time and rate * time > 0 and binning > 0:
            return rate * time / (pixel / binning) ** 2
        counts, per = numbers(table.get("MinMaxMean")), self.number(section, "CountsPerElectron")
        if len(counts) == 3 and per and counts[2] / per > 0:
            factor = 2 if self.number(section, "DividedBy2") == 1 else 1
            return factor * counts[2] / per / pixel**2
        return None

    @property
    def doses(self) -> NDArray[np.float64] | None:
        """Dose of each section ``(n,)``, or ``None`` where one is unknown."""
        found = [self.dose(i) for i in range(len(self.sections))]
        known = [d for d in found if d is not None and math.isfinite(d)]
        return np.array(known) if known and len(known) == len(found) else None

    @property
    def prior_doses(self) -> NDArray[np.float64] | None:
        """Dose that the specimen had received before each section ``(n,)``, in file order.

        ``PriorRecordDose``, else the doses summed in the order of acquisition; ``None`` where
        neither is known.
        """
        prior = [numbers(s.get("PriorRecordDose")) for s in self.sections]
        if prior and all(prior):
            return np.array([p[0] for p in prior])
        doses, rank = self.doses, self.acquisition_order
        if doses is None or rank is None:
            return None
        order = np.argsort(rank)
        out = np.empty(len(doses))
        out[order] = np.concatenate([[0.0], np.cumsum(doses[order])[:-1]])
        return out

    @property
    def frame_names(self) -> list[str | None]:
        """File name of each section's ``SubFramePath`` without its (Windows or Unix) folder."""
        paths = [s.get("SubFramePath") for s in self.sections]
        return [re.split(r"[\\/]", p)[-1] if p else None for p in paths]


def _decode(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def parse_mdoc(text: str, name: str = "mdoc") -> Mdoc:
    """Parse the text of an mdoc; raises :class:`InputError` where it has no sections."""
    mdoc = Mdoc()
    frames: list[dict[str, str]] = []
    current = mdoc.values
    for line in text.splitlines():
        stripped = line.strip()
        match = _SECTION.match(stripped)
        if match is not None:
            kind, value = match.groups()
            if kind == "T":
                mdoc.titles.append(value)
            else:
                current = {kind: value}
                if kind == "ZValue":
                    mdoc.sections.append(current)
                elif kind == "FrameSet":
                    frames.append(current)
        elif "=" in stripped and not stripped.startswith("["):
            key, value = stripped.split("=", 1)
            if key.strip() == "T":
                mdoc.titles.append(value.strip())
            current[key.strip()] = value.strip()
    if not mdoc.sections:
        mdoc.sections, frames = frames, []
    mdoc.frame_sets = frames
    if not mdoc.sections:
        raise InputError(f"{name}: not an mdoc file (no [ZValue = ...] or [FrameSet = ...])")
    return mdoc


def read_mdoc(path: str | os.PathLike[str]) -> Mdoc:
    """Read an mdoc (UTF-8, Latin-1 or UTF-16); raises :class:`InputError`."""
    return parse_mdoc(_decode(read_bytes(path, 1 << 28)), str(path))
