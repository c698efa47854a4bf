"""Alignments, models and tilt series hold exactly what their files hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tiltwright.engine.conventions import aligned_size, image_centre
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.geometry.transform import apply, identity
from tiltwright.engine.model.alignment import Alignment, Fit
from tiltwright.engine.model.fiducial_model import FiducialModel, Flag
from tiltwright.engine.model.files import (
    read_beads,
    read_fit,
    read_model,
    read_transforms,
    write_alignment,
    write_model,
)
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.stack.binning import bin_view

N = 7
TILT = np.linspace(-60, 60, N)


def series_of(size: tuple[int, int] = (120, 90), **rest: object) -> TiltSeries:
    stack = np.zeros((N, size[1], size[0]), np.int16)
    return TiltSeries(Path("s.mrc"), stack, TILT.copy(), -84.5, 11.04, np.zeros(N, bool), **rest)  # type: ignore[arg-type]


def geometry_of(rng: np.random.Generator) -> ViewGeometry:
    """Everything varies from view to view."""
    return ViewGeometry(
        TILT + rng.normal(0, 1, N), -84.5 + rng.normal(0, 2, N), rng.uniform(0.9, 1.1, N),
        rng.normal(0, 0.03, N), rng.normal(0, 0.03, N), rng.normal(0, 20, (N, 2)), 3.7,
    )  # fmt: skip


# Geometry


def test_transforms_and_geometry_are_each_other_s_inverse():
    rng = np.random.default_rng(1)
    geometry = geometry_of(rng)
    again = ViewGeometry.from_transforms(
        geometry.transforms(), geometry.tilt_deg, geometry.x_tilt_deg
    )
    for name in ("tilt_deg", "axis_deg", "magnification", "stretch", "skew", "shift_px"):
        assert getattr(again, name) == pytest.approx(getattr(geometry, name), abs=1e-9), name
    assert again.x_tilt_deg == geometry.x_tilt_deg
    # What the transforms undo is all but the tilt: a point lands where the plain projection says.
    xyz = rng.normal(0, 30, (5, 3))
    seen = apply(geometry.transforms()[:, None], geometry.project(xyz).swapaxes(0, 1)[:, :, None])
    t, xi = np.deg2rad(geometry.tilt_deg), np.deg2rad(3.7)
    y = xyz[:, 1] * np.cos(xi) - xyz[:, 2] * np.sin(xi)
    z = xyz[:, 1] * np.sin(xi) + xyz[:, 2] * np.cos(xi)
    x = xyz[:, 0] * np.cos(t)[:, None] + z * np.sin(t)[:, None]
    assert seen[:, :, 0, 0] == pytest.approx(x, abs=1e-9)
    assert seen[:, :, 0, 1] == pytest.approx(np.broadcast_to(y, (N, 5)), abs=1e-9)


@pytest.mark.parametrize("bad", [np.diag([1.0, -1.0]), np.zeros((2, 2))])
def test_transforms_that_mirror_or_cannot_be_undone(bad):
    xf = identity(N)
    xf[2, :, :2] = bad
    with pytest.raises(InputError, match="view 3"):
        ViewGeometry.from_transforms(xf, TILT)


# Alignment


def alignment_of(rng: np.random.Generator, **rest: object) -> Alignment:
    xf = rng.normal(0, 1, (N, 2, 3)) + np.concatenate([np.eye(2), np.zeros((2, 1))], 1)
    xf[..., 2] *= 300
    return Alignment(xf, TILT + rng.normal(0, 1, N), 1.23456789, **rest)  # type: ignore[arg-type]


def read_back(folder: Path, series: TiltSeries) -> Alignment:
    names = [folder / f"{series.name}{ending}" for ending in (".xf", ".tlt", ".xtilt")]
    assert series.alignment is not None
    return Alignment(
        *read_transforms(*names, series.n_views), series.alignment.kind,
        valid=series.alignment.valid,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_an_alignment_is_what_its_files_hold(tmp_path, seed):
    rng = np.random.default_rng(seed)
    valid = np.random.default_rng(seed + 100).random(N) < 0.8
    alignment = alignment_of(rng, valid=valid)
    write_alignment(tmp_path, series_of(alignment=alignment))
    again = read_back(tmp_path, series_of(alignment=alignment))
    assert np.array_equal(again.transforms, alignment.transforms)
    assert np.array_equal(again.tilt_deg, alignment.tilt_deg)
    assert again.x_tilt_deg == alignment.x_tilt_deg == 1.2346
    # What was given, where that says something; the identity elsewhere.
    assert np.array_equal(alignment.transforms[~valid], identity(int((~valid).sum())))
    given = alignment_of(np.random.default_rng(seed))
    assert np.array_equal(alignment.transforms[valid], given.transforms[valid])


def test_an_alignment_is_rounded_and_read_only():
    xf = identity(N)
    xf[1] = [[1 / 3, 0, 2 / 3], [0, 1, -200 / 3]]
    alignment = Alignment(xf, TILT + 1e-6)
    assert alignment.transforms[1, 0].tolist() == [0.3333333, 0, 0.6667]
    assert alignment.transforms[1, 1, 2] == -66.6667
    assert np.array_equal(alignment.tilt_deg, TILT)
    assert alignment.valid.all()
    assert xf[1, 0, 0] == 1 / 3
    for array in (alignment.transforms, alignment.tilt_deg, alignment.valid):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert alignment.rot_deg()[0] == 0


def test_an_alignment_keeps_its_geometry():
    geometry = geometry_of(np.random.default_rng(4))
    alignment = Alignment.of_geometry(geometry, kind="fiducial")
    assert alignment.kind == "fiducial"
    xyz = np.random.default_rng(5).normal(0, 60, (9, 3))
    assert alignment.project(xyz) == pytest.approx(geometry.project(xyz), abs=2e-3)


# Fit


def fit_of(rng: np.random.Generator, model: FiducialModel) -> Fit:
    shape = model.measured.shape
    gap = ~model.measured
    numbers = [rng.normal(0, 1, (*shape, 2)), rng.random(shape), *rng.random((2, *shape))]
    numbers[0][gap] = np.nan
    numbers[1][gap] = 0
    for values in numbers[2:]:
        values[gap] = np.nan
    xyz = rng.normal(0, 40, (len(model.xy), 3))
    xyz[2] = np.nan
    numbers[0][2], numbers[1][2], numbers[2][2], numbers[3][2] = np.nan, 0, np.nan, np.nan
    return Fit(
        xyz, model.surface, numbers[0], numbers[1], numbers[2], numbers[3], 0.5, 0.4, 0.6,
        "rotation one", (("a", 0.5, 7), ("b", 0.4, 9)),
    )  # fmt: skip


def model_of(rng: np.random.Generator, size: tuple[int, int] = (120, 90)) -> FiducialModel:
    xy = rng.uniform(-40, 40, (6, N, 2))
    xy[rng.random((6, N)) < 0.2] = np.nan
    flag = rng.integers(1, 4, (6, N)).astype(np.uint8)
    sigma = np.where(rng.random((6, N)) < 0.3, np.nan, rng.random((6, N)))
    return FiducialModel.from_tracks(
        xy, size, 9.06, surface=rng.integers(0, 2, 6), flag=flag, sigma_px=sigma
    )


@pytest.mark.parametrize("size", [(120, 90), (121, 90), (90, 121), (121, 91)])
def test_a_fit_is_what_its_files_hold(tmp_path, size):
    rng = np.random.default_rng(size[0])
    model = model_of(rng, size)
    fit = fit_of(rng, model)
    series = series_of(size, alignment=alignment_of(rng, fit=fit))
    files = write_alignment(tmp_path, series, model)
    assert sorted(p.name for p in files) == sorted(p.name for p in tmp_path.iterdir())
    numbers = {
        k: getattr(fit, k)
        for k in (
            "mean_residual_px", "weighted_mean_px", "leave_one_out_px", "variables", "candidates",
        )
    }  # fmt: skip
    beads = read_beads(tmp_path / "s.xyz", series, model.surface)
    again = read_fit(beads, tmp_path / "s_residuals.csv", series, numbers)
    for name in ("xyz", "surface", "residual_px", "weight", "loo_px", "sd"):
        assert np.array_equal(getattr(again, name), getattr(fit, name), equal_nan=True), name
    assert again.per_view_px() == pytest.approx(fit.per_view_px(), nan_ok=True)
    length = np.hypot(*np.moveaxis(fit.residual_px, -1, 0))
    for view in range(N):
        there = np.isfinite(length[:, view])
        assert fit.per_view_px()[view] == pytest.approx(length[there, view].mean())
    assert np.isnan(fit.per_bead_px()[2])


# Fiducial model


@pytest.mark.parametrize("size", [(120, 90), (121, 91), (4092, 5760)])
def test_a_model_is_what_its_files_hold(tmp_path, size):
    rng = np.random.default_rng(size[1])
    model = model_of(rng, size)
    assert set(model.flag.ravel().tolist()) == {0, 1, 2, 3}
    series = series_of()
    files = write_model(tmp_path, "s", model, series)
    assert [p.name for p in files] == ["s.fid", "s_nogaps.fid", "s_points.csv"]
    again = read_model(files[1], N, size, 9.06, files[2])
    for name in ("xy", "flag", "surface", "sigma_px"):
        assert np.array_equal(getattr(again, name), getattr(model, name), equal_nan=True), name
    # The .fid alone: what was seen, no more is known of it.
    seen = read_model(files[0], N, size, 9.06)
    assert np.array_equal(seen.flag == Flag.MEASURED, model.measured)
    assert np.array_equal(seen.xy[model.measured], model.xy[model.measured])
    # Rounded to single precision, never further from what was given.
    assert again.xy[model.measured] == pytest.approx(model.xy[model.measured], abs=1e-9)
    assert (again.n_tracks, again.n_views) == (6, N)
    assert again.n_points == model.measured.sum()
    used = np.arange(N) > 1
    assert again.completeness(used) == model.measured[:, 2:].sum() / (6 * 5)
    # Written anew, byte for byte the same.
    (tmp_path / "b").mkdir()
    for path in write_model(tmp_path / "b", "s", again, series):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_models_that_do_not_fit(tmp_path):
    model = model_of(np.random.default_rng(1))
    files = write_model(tmp_path, "s", model, series_of())
    with pytest.raises(InputError, match="outside views 1 to 5"):
        read_model(files[1], 5, (120, 90), 9.06)
    with pytest.raises(InputError):
        FiducialModel.from_tracks(np.zeros((3, 4)), (9, 9), 1)
    with pytest.raises(InputError):
        FiducialModel.from_tracks(np.zeros((3, 4, 2)), (9, 9), 1, surface=[1])
    for line in ("1,1,0,0,0.1,seen", "x,1,0,0,0.1,edited", "1,1,0,0,y,edited"):
        files[2].write_text("contour,view,x,y,sigma,flag\n" + line + "\n")
        with pytest.raises(InputError, match=r"s_points\.csv: a damaged line"):
            read_model(files[1], N, (120, 90), 9.06, files[2])
    # Points of which the .fid knows nothing are passed over.
    files[2].write_text("contour,view,x,y,sigma,flag\n99,1,0,0,0.1,edited\n1,99,0,0,0.1,edited\n")
    assert read_model(files[1], N, (120, 90), 9.06, files[2]).n_tracks == 6


def test_an_empty_model(tmp_path):
    model = FiducialModel.from_tracks(np.zeros((0, N, 2)), (120, 90), 9.0)
    assert np.isnan(model.completeness(np.ones(N, bool)))
    files = write_model(tmp_path, "s", model, series_of())
    assert read_model(files[0], N, (120, 90), 9.0, files[-1]).xy.shape == (0, N, 2)


# Tilt series


def test_accumulated_dose():
    order = np.array([7, 5, 3, 1, 2, 4, 6])
    dose = np.array([1.0, 2, 4, 8, 16, 32, 64])
    series = series_of(order=order, order_known=True, dose=dose)
    twin = []
    for view in range(N):
        total = 0.0
        for other in range(N):
            if order[other] <= order[view]:
                total += dose[other]
        twin.append(total)
    assert series.accumulated_dose().tolist() == twin
    assert series.accumulated_dose()[3] == 8
    assert series.accumulated_dose()[0] == dose.sum()
    # A view that is left out was exposed all the same.
    left_out = replace(series, excluded=np.arange(N) == 3)
    assert left_out.accumulated_dose().tolist() == twin
    assert series_of(dose=dose).accumulated_dose() is None
    assert series_of(order_known=True).accumulated_dose() is None


def test_used_views():
    series = series_of().suspected({1: "dark", 2: "lost: x"}).suspected({2: "again", 4: "blank"})
    assert dict(series.suspect) == {1: "dark", 2: "lost: x", 4: "blank"}
    mask = np.arange(N)
    series = replace(series, excluded=mask == 0, kept=mask == 4)
    assert (np.flatnonzero(~series.used)).tolist() == [0, 1, 2]
    # A person's exclusion stands above a person's keeping.
    assert not replace(series, excluded=mask == 4).used[4]
    with pytest.raises(ValueError, match="read-only"):
        series.excluded[0] = False


@pytest.mark.parametrize("size", [(120, 90), (121, 90), (120, 91), (121, 91), (66, 65)])
@pytest.mark.parametrize("binning", [1, 2, 3, 4, 7])
def test_binned_transforms_agree_with_a_direct_projection(size, binning):
    rng = np.random.default_rng(3)
    geometry = geometry_of(rng)
    plain = series_of(size)
    work = np.stack([bin_view(view, binning, False) for view in plain.stack])
    series = replace(plain, work=work, binning=binning, alignment=Alignment.of_geometry(geometry))
    ny, nx = work.shape[1:]
    xyz = rng.normal(0, 20, (4, 3))
    raw = geometry.project(xyz).swapaxes(0, 1) + image_centre(*size)
    # A raw pixel p lies in the binned pixel whose first raw pixel is the grid's; by definition.
    origin = [(n - m * binning) // 2 for n, m in zip(size, (nx, ny), strict=True)]
    binned = (raw + 0.5 - origin) / binning - 0.5 - image_centre(nx, ny)
    aligned = apply(series.image_transforms(), binned)
    level = ViewGeometry.nominal(geometry.tilt_deg, 0.0)
    level = replace(level, x_tilt_deg=geometry.x_tilt_deg)
    expected = level.project(xyz).swapaxes(0, 1) / binning
    assert aligned == pytest.approx(expected, abs=1e-3)
    assert series.image_pixel_size_a == pytest.approx(11.04 * binning)
    assert aligned_size(nx, ny, -84.5) == (ny, nx)
    assert series.describe() == f"7 x {nx} x {ny}, {11.04 * binning:.4g} Å/px +ali"


def test_a_series_without_an_alignment_has_no_transforms():
    with pytest.raises(InputError, match="is not aligned"):
        series_of().image_transforms()
    assert write_alignment(Path("/nowhere"), series_of()) == []
