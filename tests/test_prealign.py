"""Coarse alignment and the test of the axis, on projected beads and on the real series."""

import json
from pathlib import Path

import numpy as np
import pytest

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.prealign import axis as axis_module
from tiltwright.engine.prealign.correlate import prealign
from tiltwright.engine.prealign.prepare import valid_mask, working_views

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "exosome_position14"


def _series(
    axis: float = -80.0, jumps: dict[int, tuple[float, float]] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    tilt = np.arange(-48, 49, 6.0)
    shift = np.cumsum(rng.normal(0, 3, (len(tilt), 2)), axis=0)
    for view, jump in (jumps or {12: (50, -30)}).items():
        shift[view:] += jump
    shift -= shift[8]
    xyz = np.stack([*rng.uniform(-160, 160, (2, 70)), rng.uniform(-6, 6, 70)], -1)
    xy = ViewGeometry.nominal(tilt, axis).with_shifts(shift).project(xyz)
    ny, nx = 200, 260
    y, x = np.mgrid[:ny, :nx]
    stack = rng.normal(0, 0.3, (len(tilt), ny, nx)).astype(np.float32)
    for v in range(len(tilt)):
        for px, py in xy[:, v] + [(nx - 1) / 2, (ny - 1) / 2]:
            if -9 < px < nx + 9 and -9 < py < ny + 9:
                stack[v] -= np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8)
    return stack, tilt, shift


def _off(found: np.ndarray, true: np.ndarray, tilt: np.ndarray, axis: float) -> np.ndarray:
    """Distances that no choice of the specimen's origin removes; (n_views,)."""
    m = ViewGeometry.nominal(tilt, axis).matrices()
    miss = found - true
    origin = np.zeros(3)
    for _ in range(20):
        left = miss - m @ origin
        w = 1 / np.sqrt(np.maximum(np.abs(left), 1.0))
        rows = m * w[..., None]
        origin = np.linalg.lstsq(rows.reshape(-1, 3), (miss * w).ravel(), rcond=None)[0]
    out: np.ndarray = np.hypot(*(miss - m @ origin).T)
    return out


@pytest.mark.parametrize(
    "jumps", [{12: (50.0, -30.0)}, {3: (-45.0, 20.0), 7: (50.0, -35.0), 13: (-50.0, 30.0)}]
)
def test_shifts_and_jumps_are_found(jumps: dict[int, tuple[float, float]]) -> None:
    stack, tilt, shift = _series(jumps=jumps)
    stack[4] = 0
    found = prealign(working_views(stack), tilt, -80.0)
    assert np.flatnonzero(found.distrusted).tolist() == [4]
    assert found.reasons[4] == "no contrast"
    good = ~found.distrusted
    assert np.hypot(*(found.shift_px - shift)[good].T).max() < 4
    np.testing.assert_array_equal(found.transforms()[:, :, 2], -found.shift_px)


def test_a_view_of_another_place_is_not_trusted() -> None:
    stack, tilt, shift = _series()
    stack[5] = np.roll(stack[5][::-1, ::-1], (31, 47), (0, 1))
    found = prealign(working_views(stack), tilt, -80.0)
    assert np.flatnonzero(found.distrusted).tolist() == [5]
    between = (found.shift_px[4] + found.shift_px[6]) / 2
    np.testing.assert_allclose(found.shift_px[5], between)
    good = ~found.distrusted
    assert np.hypot(*(found.shift_px - shift)[good].T).max() < 4


def test_features_at_another_height_do_not_pull_a_view_away() -> None:
    """After a gap of 18 degrees only a second layer, faint until then, 25 px above, is in sight."""
    stack, tilt, _ = _series(jumps={12: (0, 0)})
    rng = np.random.default_rng(7)
    xyz = np.stack([*rng.uniform(-150, 150, (2, 25)), np.full(25, 25.0)], -1)
    tilt = np.append(tilt, 66.0)
    xy = ViewGeometry.nominal(tilt, -80.0).project(xyz)
    stack = np.concatenate([stack, rng.normal(0, 0.3, (1, 200, 260)).astype(np.float32)])
    y, x = np.mgrid[:200, :260]
    found_before = prealign(working_views(stack[:-1]), tilt[:-1], -80.0)
    shifts = np.concatenate([found_before.shift_px, [[6.0, -4.0]]])
    for v in range(len(tilt)):
        depth = 0.45 if v < len(tilt) - 1 else 1.0
        for px, py in xy[:, v] + shifts[v] + [129.5, 99.5]:
            stack[v] -= depth * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8)
    found = prealign(working_views(stack), tilt, -80.0)
    # Uncorrected it is 12 px off.
    assert _off(found.shift_px, shifts, tilt, -80.0)[-1] < 6


def test_the_axis_is_found_and_a_wrong_one_is_said() -> None:
    stack, tilt, _ = _series()
    working = working_views(stack)
    for stated in (-76.0, -80.0, -84.0):
        right = axis_module.test_axis(working, tilt, stated)
        assert abs(right.best_deg + 80) < 3
        assert right.message == ""
    wrong = axis_module.test_axis(working, tilt, 10.0)
    assert abs((wrong.best_deg + 80 + 90) % 180 - 90) < 3
    assert "not at the stated 10.0" in wrong.message
    assert "mirror image" in axis_module.test_axis(working, tilt, 80.0).message


def test_the_axis_of_pure_noise_is_not_judged() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (12, 160, 200))
    test = axis_module.test_axis(working_views(noise), np.arange(12.0) * 5 - 30, 20.0)
    assert test.message == ""


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError):
        working_views(np.zeros((3, 64)))
    with pytest.raises(InputError):
        working_views(np.zeros((3, 64, 64)), trim_px=(20, 0))
    working = working_views(np.zeros((3, 64, 64)))
    with pytest.raises(InputError):
        prealign(working, [0, 1], 0)
    with pytest.raises(DataError):
        prealign(working, [0, 1, 2], 0)
    with pytest.raises(InputError):
        axis_module.test_axis(working, [0, 1], 0)
    with pytest.raises(DataError):
        axis_module.test_axis(working, [0, 1, 2], 0)


@pytest.mark.parametrize("level", [200.0, 20.0])
def test_fill_with_a_little_noise_is_masked_and_nothing_else(level: float) -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:300, :400]
    image = rng.normal(100, 10, (300, 400))
    image[np.hypot(x - 150, y - 150) < 40] -= 30
    fill = x + 0.3 * y > 420
    image[fill] = level + rng.normal(0, 2, int(fill.sum()))
    valid = valid_mask(image, 2)
    inside = fill[1::2, 1::2]
    assert valid[inside].mean() < 0.02  # the thin tip of the wedge
    assert valid[:, :150].mean() > 0.99
    assert valid_mask(image[:, :200], 2).all()
    assert not valid_mask(np.full((64, 64), 3), 1).any()


@pytest.fixture(scope="module")
def position14():
    if not DATA.exists():
        pytest.skip("the shared data set exosome_position14 is not here")
    import mrcfile

    with mrcfile.mmap(DATA / "position14.mrc", permissive=True) as file:
        working = working_views(np.asarray(file.data))
    return working, json.loads((DATA / "position14.truth.json").read_text())


def test_real_series(position14) -> None:
    working, truth = position14
    found = prealign(working, truth["nominal"], -84.5)
    assert not found.distrusted.any()
    off = _off(found.shift_px, np.array(truth["shift"]), np.array(truth["nominal"]), -84.5)
    # Measured: 5.6 px in view 31; its beads lie on two surfaces some 60 px apart.
    assert off.max() < 6
    assert np.median(off) < 1.5


@pytest.mark.parametrize(("stated", "word"), [(-80.0, ""), (-89.0, ""), (5.5, "degrees from"),
                                              (84.5, "mirror image")])  # fmt: skip
def test_axis_of_the_real_series(position14, stated: float, word: str) -> None:
    working, truth = position14
    test = axis_module.test_axis(working, truth["nominal"], stated)
    assert abs((test.best_deg + 84.5 + 90) % 180 - 90) < 3
    assert word in test.message
    assert bool(word) == bool(test.message)
