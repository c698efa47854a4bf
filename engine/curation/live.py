"""The alignment that follows the edits: what is solved stays, the numbers are always of now."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.model.alignment import Alignment, Fit
from tiltwright.engine.model.fiducial_model import FiducialModel
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.protocols.base import Context
from tiltwright.engine.protocols.fiducial_alignment import FiducialAlignment, describe

if TYPE_CHECKING:
    from tiltwright.engine.solve.bundle import Solution
    from tiltwright.engine.solve.steadiness import Prior
    from tiltwright.engine.solve.variables import Variables

Bools = npt.NDArray[np.bool_]
_LEAST_WEIGHT = 0.1
_MAX_ITERATIONS = 12


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What the alignment says of one model. Arrays are those of the model's contours and views.

    Attributes
    ----------
    model : FiducialModel
    used : (n_views,) bool
    tilt_deg : (n_views,)
        Nominal, as the solve was given them.
    residual_px : (n_tracks, n_views, 2)
        Predicted minus measured, NaN where nothing was measured or the view is not used.
    loo_px, sd, weight : (n_tracks, n_views)
        Leave-one-out distances, residuals in standard deviations, robust weights.
    predicted_px : (n_tracks, n_views, 2)
        Where each bead must be; NaN for a bead with fewer than two points.
    xyz : (n_tracks, 3), surface : (n_tracks,)
        Of the levelled specimen, raw pixels; 0 bottom, 1 top, -1 not solved.
    geometry : ViewGeometry
        Levelled like the alignment of the project.
    sigma_px : float
        Robust standard deviation of one coordinate of a point.
    solved, problem
        False and why, when there are too few points: the numbers are NaN then.
    seconds : float
        That the solve took.
    """

    model: FiducialModel
    used: Bools
    tilt_deg: Floats
    residual_px: Floats
    loo_px: Floats
    sd: Floats
    weight: Floats
    predicted_px: Floats
    xyz: Floats
    surface: npt.NDArray[np.int64]
    geometry: ViewGeometry
    mean_residual_px: float
    weighted_mean_px: float
    leave_one_out_px: float
    sigma_px: float
    solution: Solution
    variables: str = ""
    solved: bool = True
    problem: str = ""
    seconds: float = 0.0

    @cached_property
    def covariance_px2(self) -> Floats:
        """Covariance of the predicted positions, ``(n_tracks, n_views, 2, 2)``.

        NaN where nothing of the view or the bead was solved. Computed when first asked for: it
        takes a quarter of a solve, and most edits need it not at all or later.
        """
        from tiltwright.engine.solve.uncertainty import prediction_covariance

        if not np.isfinite(self.solution.xyz).any():
            return np.full((*self.model.flag.shape, 2, 2), np.nan)
        return prediction_covariance(
            self.solution, _measured(self.model, self.used), self.tilt_deg,
            used_views=self.used, sigma_px=self.model.sigma_px,
        )  # fmt: skip

    @property
    def length_px(self) -> Floats:
        """Lengths of the residuals, ``(n_tracks, n_views)``."""
        length: Floats = np.hypot(self.residual_px[..., 0], self.residual_px[..., 1])
        return length

    @property
    def per_view_px(self) -> Floats:
        """Mean residual of each view, NaN where nothing is measured."""
        return _mean(self.length_px, 0)

    @property
    def per_bead_px(self) -> Floats:
        """Mean residual of each bead."""
        return _mean(self.length_px, 1)

    @property
    def per_view_loo_px(self) -> Floats:
        """Mean leave-one-out distance of each view, of the points that are believed."""
        return _mean(self._believed, 0)

    @property
    def per_bead_loo_px(self) -> Floats:
        """Mean leave-one-out distance of each bead, of the points that are believed."""
        return _mean(self._believed, 1)

    @property
    def _believed(self) -> Floats:
        believed: Floats = np.where(self.weight > _LEAST_WEIGHT, self.loo_px, np.nan)
        return believed

    def inside(self, margin_px: float = 0.0) -> Bools:
        """``(n_tracks, n_views)``: predicted on the image, so far from its border."""
        half = np.array(self.model.size_px) / 2 - margin_px
        with np.errstate(invalid="ignore"):
            on = np.abs(self.predicted_px) < half
        inside: Bools = np.asarray(on.all(-1), np.bool_)
        return inside

    def alignment(self) -> Alignment:
        """As a run of Fiducial alignment would hand it on."""
        fit = Fit(
            self.xyz, self.surface, self.residual_px, self.weight, self.loo_px, self.sd,
            self.mean_residual_px, self.weighted_mean_px, self.leave_one_out_px, self.variables,
        )  # fmt: skip
        return Alignment.of_geometry(self.geometry, kind="fiducial", fit=fit)


def _mean(values: Floats, axis: int) -> Floats:
    count = np.isfinite(values).sum(axis)
    mean: Floats = np.where(count, np.nansum(values, axis) / np.maximum(count, 1), np.nan)
    return mean


@dataclass(frozen=True)
class _Level:
    """How the frame of a solution is turned and moved so that the specimen lies flat."""

    tilt_deg: float
    x_tilt_deg: float
    move: Floats
    middle_z: float
    two_surfaces: bool

    def turn(self) -> Floats:
        """``Rx(-xi) Ry(-dt)``, (3, 3)."""
        t, xi = np.deg2rad(self.tilt_deg), np.deg2rad(self.x_tilt_deg)
        c, s, cx, sx = np.cos(t), np.sin(t), np.cos(xi), np.sin(xi)
        about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
        turn: Floats = about_x @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        return turn

    def __call__(self, solution: Solution) -> tuple[ViewGeometry, Floats, npt.NDArray[np.int64]]:
        """Geometry, positions and surfaces of the levelled specimen; no projection moves."""
        old = solution.geometry
        turned = replace(old, tilt_deg=old.tilt_deg + self.tilt_deg, x_tilt_deg=self.x_tilt_deg)
        geometry = turned.with_shifts(turned.shift_px - turned.matrices() @ self.move)
        xyz = solution.xyz @ self.turn().T + self.move
        with np.errstate(invalid="ignore"):
            top = (xyz[:, 2] > self.middle_z) & self.two_surfaces
        surface = np.where(np.isfinite(xyz).all(1), top.astype(np.int64), -1)
        return geometry, xyz, surface


@dataclass(frozen=True, eq=False)
class LiveAlignment:
    """What is solved, frozen, so that the numbers before and after an edit can be compared.

    Immutable: :meth:`solve` may be called from any one thread. :meth:`choose` makes one.

    Attributes
    ----------
    series : TiltSeries
    variables, prior, start
        Of the solve: what varies, how much the views are believed to scatter (the widths as
        learned when it was chosen), and about what.
    robust : bool
    candidates : tuple of (words, leave-one-out px, number of parameters)
        What the choice compared.
    first : Snapshot
        Of the model that it was chosen on.
    """

    series: TiltSeries
    variables: Variables
    prior: Prior | None
    start: ViewGeometry | None
    robust: bool
    candidates: tuple[tuple[str, float, int], ...]
    _level: _Level
    first: Snapshot

    @classmethod
    def choose(
        cls,
        series: TiltSeries,
        model: FiducialModel,
        params: Any = None,
        context: Context | None = None,
    ) -> LiveAlignment:
        """Choose variables and groups for a model, as Fiducial alignment does.

        Parameters
        ----------
        series
            Its shifts, if it is aligned, are where the solve starts.
        params : FiducialAlignment.Params, optional

        Raises
        ------
        DataError
            Too few beads or views.
        """
        params = FiducialAlignment.Params() if params is None else params
        start = None
        if series.alignment is not None:
            nominal = ViewGeometry.nominal(series.tilt_deg, series.axis_deg)
            start = nominal.with_shifts(series.alignment.geometry().shift_px)
        aligned = FiducialAlignment.compute(
            _measured(model, series.used), series.tilt_deg, series.axis_deg, series.used, start,
            params, context or Context(), model.sigma_px,
        )  # fmt: skip
        solution = aligned.solution
        prior = None if solution.prior is None else replace(solution.prior, learn=False)
        offset = float(np.median(aligned.geometry.tilt_deg - solution.geometry.tilt_deg))
        level = _Level(
            offset, aligned.geometry.x_tilt_deg, np.zeros(3), float(params.z_shift_px),
            bool((aligned.surface == 1).any()),
        )  # fmt: skip
        moved = aligned.xyz - solution.xyz @ level.turn().T
        level = replace(level, move=np.nanmean(moved, axis=0))
        live = cls(
            series, solution.variables, prior, aligned.start, params.robust,
            tuple(aligned.candidates), level, _snapshot(series, model, solution, level),
        )  # fmt: skip
        # Beads whose own points misled the cold start are found again from the views.
        return replace(live, first=live.solve(model))

    @property
    def description(self) -> str:
        """What is solved, in words."""
        return describe(self.variables)

    def solve(self, model: FiducialModel, before: Snapshot | None = None) -> Snapshot:
        """Align ``model``, starting from the snapshot ``before`` an edit.

        Never raises for want of points: the snapshot says so, and predicts from the views as they
        were.
        """
        from tiltwright.engine.solve.bundle import solve

        began = time.perf_counter()
        warm = (before or self.first).solution
        used = self.series.used
        try:
            solution = solve(
                _measured(model, used), self.series.tilt_deg, self.series.axis_deg,
                self.variables, used_views=used, sigma_px=model.sigma_px, robust=self.robust,
                initial=self.start, prior=self.prior, warm=warm, max_iterations=_MAX_ITERATIONS,
            )  # fmt: skip
        except (DataError, np.linalg.LinAlgError) as problem:
            found = self._unsolved(model, warm, str(problem))
        else:
            found = _snapshot(self.series, model, solution, self._level)
        return replace(found, seconds=time.perf_counter() - began)

    def _unsolved(self, model: FiducialModel, warm: Solution, problem: str) -> Snapshot:
        nan = np.full(model.flag.shape, np.nan)
        empty = replace(
            warm, xyz=np.full((model.n_tracks, 3), np.nan), weight=np.zeros(nan.shape),
            residual_px=np.full((*nan.shape, 2), np.nan), loo_px=nan, sd=nan,
            mean_residual_px=np.nan, weighted_mean_px=np.nan, leave_one_out_px=np.nan,
        )  # fmt: skip
        return replace(
            _snapshot(self.series, model, empty, self._level), solved=False, problem=problem
        )


def _measured(model: FiducialModel, used: Bools) -> Floats:
    """The points that take part, NaN elsewhere."""
    points: Floats = np.where(model.measured[..., None] & used[None, :, None], model.xy, np.nan)
    return points


def _snapshot(
    series: TiltSeries, model: FiducialModel, solution: Solution, level: _Level
) -> Snapshot:
    geometry, xyz, surface = level(solution)
    return Snapshot(
        model, series.used, series.tilt_deg,
        solution.residual_px, solution.loo_px, solution.sd, solution.weight,
        solution.geometry.project(solution.xyz), xyz, surface, geometry,
        solution.mean_residual_px, solution.weighted_mean_px, solution.leave_one_out_px,
        solution.sigma_px, solution, describe(solution.variables),
    )  # fmt: skip
