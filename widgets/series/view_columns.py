"""The numbers of each view that table and plots show; no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tiltwright.engine.model.tilt_series import TiltSeries
    from tiltwright.widgets.series.view_statistics import ViewStatistics


@dataclass(frozen=True)
class Column:
    """A column of the per-view table.

    Attributes
    ----------
    key, title, help : str
    values : (n_views,) float
        NaN where it is not known.
    format : str
        Of one value.
    """

    key: str
    title: str
    help: str
    values: npt.NDArray[np.float64]
    format: str

    def text(self, view: int) -> str:
        """What stands in the table."""
        value = self.values[view]
        return format(float(value), self.format) if np.isfinite(value) else "–"

    @property
    def known(self) -> bool:
        """Whether any view has a value."""
        return bool(np.isfinite(self.values).any())


def view_columns(
    series: TiltSeries,
    statistics: ViewStatistics | None = None,
    defocus_um: npt.NDArray[np.float64] | None = None,
    erased: npt.NDArray[np.int64] | None = None,
) -> list[Column]:
    """All columns but the checkbox, those without any value included."""
    n = series.n_views
    none = np.full(n, np.nan)
    ali = series.alignment
    solved = ali.tilt_deg if ali is not None and ali.kind != "coarse" else none
    fit = ali.fit if ali is not None else None
    order = series.order.astype(np.float64) if series.order_known else none
    dose = series.accumulated_dose()
    stats = statistics
    rows: list[tuple[str, str, str, Any, str]] = [
        ("view", "View", "View, in the order of the file", np.arange(1.0, n + 1), ".0f"),
        ("order", "Order", "Order of acquisition", order, ".0f"),
        ("tilt", "Tilt °", "Nominal tilt angle, degrees", series.tilt_deg, ".2f"),
        ("solved", "Solved °", "Tilt angle found by the alignment, degrees", solved, ".2f"),
        ("dose", "Dose", "Accumulated dose, e⁻/Å²", none if dose is None else dose, ".1f"),
        ("rot", "Rot °", "Rotation of the transform, minus the tilt axis angle; hover: matrix",
         none if ali is None else ali.rot_deg(), ".2f"),
        ("shift_x", "ShiftX", "Shift of the transform in x, raw pixels; hover for the matrix",
         none if ali is None else ali.transforms[:, 0, 2], ".2f"),
        ("shift_y", "ShiftY", "Shift of the transform in y, raw pixels; hover for the matrix",
         none if ali is None else ali.transforms[:, 1, 2], ".2f"),
        ("magnification", "Mag", "Magnification found by the alignment",
         none if ali is None else ali.geometry().magnification, ".4f"),
        ("mean", "Mean", "Mean of the pixels", none if stats is None else stats.mean,
         _decimals(stats.mean) if stats else ""),
        ("sd", "SD", "Deviation of the pixels", none if stats is None else stats.sd,
         _decimals(stats.sd) if stats else ""),
        ("correlation", "Corr", "Correlation with the neighbours in tilt, 0 to 1",
         none if stats is None else stats.correlation, ".3f"),
        ("residual", "Resid", "Mean residual of the beads, raw pixels",
         none if fit is None else fit.per_view_px(), ".2f"),
        ("defocus", "Defocus", "Defocus, µm (underfocus positive)",
         none if defocus_um is None else defocus_um, ".2f"),
        ("erased", "Erased", "Patches erased: X-rays and dead pixels",
         none if erased is None else erased, ".0f"),
    ]  # fmt: skip
    return [Column(k, t, h, np.asarray(v, np.float64), f) for k, t, h, v, f in rows]


def _decimals(values: npt.NDArray[np.float64]) -> str:
    """A format with as many decimals in every row, four digits in the largest."""
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    digits = 3 - int(np.floor(np.log10(largest))) if largest > 0 else 0
    return f".{min(max(digits, 0), 6)}f"


def matrix_text(xf: npt.NDArray[np.float64]) -> str:
    """The 3 x 3 matrix of a transform, as IMOD and Scipion write it."""
    rows = [*xf, [0.0, 0.0, 1.0]]
    return "\n".join("".join(f"{value:11.5f}" for value in row) for row in rows)
