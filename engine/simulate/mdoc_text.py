"""The ``.mdoc`` that SerialEM would have written beside a simulated series."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray


def acquisition_rank(nominal_deg: NDArray[np.float64], scheme: str) -> NDArray[np.int64]:
    """0-based rank of each view: as filed, or by ``(|tilt|, tilt)`` for ``dose-symmetric``."""
    n = len(nominal_deg)
    rank = np.arange(n)
    if scheme == "dose-symmetric":
        away = np.round(np.abs(nominal_deg), 6)
        rank[np.lexsort((-nominal_deg, away))] = np.arange(n)
    return rank


def mdoc_text(
    image_file: str,
    nominal_deg: NDArray[np.float64],
    axis_deg: float,
    pixel_size_a: float,
    size: tuple[int, int],
    dose: float,
    defocus_um: float,
    voltage_kv: float,
    scheme: str,
) -> str:
    """Text of the mdoc; ``dose`` in e/A^2 per view, ``size`` is ``(nx, ny)``."""
    lines = [
        f"PixelSpacing = {pixel_size_a:g}",
        f"Voltage = {voltage_kv:g}",
        f"ImageFile = {image_file}",
        f"ImageSize = {size[0]} {size[1]}",
        "DataMode = 1",
        "",
        "[T = SerialEM: Simulated by Tiltwright]",
        "",
        f"[T =     Tilt axis angle = {axis_deg:.1f}, binning = 1  spot = 8  camera = 0]",
        "",
    ]
    start = datetime(2026, 1, 5, 9, 0, 0)
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    rank = acquisition_rank(nominal_deg, scheme)
    for z, tilt in enumerate(nominal_deg):
        when = start + timedelta(seconds=45 * int(rank[z]))
        lines += [
            f"[ZValue = {z}]",
            f"TiltAngle = {tilt:.4f}",
            f"PixelSpacing = {pixel_size_a:g}",
            "Binning = 1",
            f"RotationAngle = {axis_deg + 90:.4f}",
            f"ExposureDose = {dose:g}",
            f"PriorRecordDose = {dose * int(rank[z]):g}",
            f"TargetDefocus = {-defocus_um:g}",
            f"DateTime = {when.day:02d}-{months[when.month - 1]}-{when:%y  %H:%M:%S}",
            "",
        ]
    return "\n".join(lines)
