"""Coarse alignment and the test of the axis, on projected beads and on the real series."""

import json
from pathlib import Path

import numpy as np
import pytest

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.prealign import axis as axis_module
from tiltwright.engine.prealign.correlate import prealign

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "exosome_position14"


def _series(axis: float = -80.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    tilt = np.arange(-48, 49, 6.0)
    shift = np.cumsum(rng.normal(0, 3, (len(tilt), 2)), axis=0)
    shift[12] += [50, -30]
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


def test_shifts_and_a_jump_are_found() -> None:
    stack, tilt, shift = _series()
    stack[3] = 0
    found = prealign(stack, tilt, -80.0)
    assert np.flatnonzero(found.distrusted).tolist() == [3]
    assert found.reasons[3] == "no contrast"
    good = ~found.distrusted
    assert np.hypot(*(found.shift_px - shift)[good].T).max() < 4
    np.testing.assert_array_equal(found.transforms()[:, :, 2], -found.shift_px)


def test_the_axis_is_found_and_a_wrong_one_is_said() -> None:
    stack, tilt, _ = _series()
    right = axis_module.test_axis(stack, tilt, -80.0)
    assert abs(right.best_deg + 80) < 4
    assert right.message == ""
    wrong = axis_module.test_axis(stack, tilt, 10.0)
    assert abs((wrong.best_deg + 80 + 90) % 180 - 90) < 4
    assert "not at the stated 10.0" in wrong.message


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError):
        prealign(np.zeros((3, 64, 64)), [0, 1], 0)
    with pytest.raises(DataError):
        prealign(np.zeros((3, 64, 64)), [0, 1, 2], 0)


def test_real_series() -> None:
    if not DATA.exists():
        pytest.skip("the shared data set exosome_position14 is not here")
    import mrcfile

    with mrcfile.mmap(DATA / "position14.mrc", permissive=True) as file:
        stack = np.array(file.data)
    truth = json.loads((DATA / "position14.truth.json").read_text())
    found = prealign(stack, truth["nominal"], -84.5)
    assert not found.distrusted.any()
    miss = found.shift_px - np.array(truth["shift"])
    miss -= np.median(miss, axis=0)
    # Beyond this range views 1 and 29 to 31 are 7 to 26 px off, why is not known; the tracker
    # votes for its own shifts and recovers them.
    inner = np.abs(truth["nominal"]) < 42
    assert np.hypot(*miss[inner].T).max() < 5
    assert np.hypot(*miss.T).max() < 35
