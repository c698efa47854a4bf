"""Binning, spikes, densities, order and the examination of views."""

import numpy as np
import pytest

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.prealign.views import examine_views
from tiltwright.engine.stack.binning import bin_view
from tiltwright.engine.stack.densities import scale_densities, store_as, truncate_outliers
from tiltwright.engine.stack.frame import BinnedFrame, binned_size, first_edge
from tiltwright.engine.stack.order import check_order, order_by_tilt
from tiltwright.engine.stack.spikes import (
    SpikeCriteria,
    erase_spikes,
    erase_stack,
    find_spikes,
)


@pytest.mark.parametrize(
    ("n", "b", "size"),
    [
        (4092, 4, 1024),
        (5760, 4, 1440),
        (1022, 4, 256),
        (66, 4, 18),
        (1023, 4, 257),
        (65, 4, 17),
        (1021, 4, 255),
        (7, 1, 7),
    ],
)
def test_sizes_are_those_measured(n: int, b: int, size: int) -> None:
    assert binned_size(n, b) == size


@pytest.mark.parametrize("b", [2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(64, 66), (65, 67), (50, 63)])
def test_box_average_agrees_with_the_naive_twin(shape: tuple[int, int], b: int) -> None:
    image = np.random.default_rng(1).integers(-99, 99, shape).astype(np.int16)
    out = bin_view(image, b, antialias=False)
    y0, x0 = (first_edge(n, b) for n in shape)
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            y, x = y0 + j * b, x0 + i * b
            block = image[max(y, 0) : y + b, max(x, 0) : x + b]
            assert out[j, i] == pytest.approx(block.mean(), abs=1e-4)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("b", [2, 3, 4])
@pytest.mark.parametrize("n", [120, 121, 122])
def test_a_spot_keeps_its_position(n: int, b: int, antialias: bool) -> None:
    y, x = np.mgrid[:n, :n]
    at = np.array([57.3, 61.8])
    spot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 6.0**2))
    out = bin_view(spot, b, antialias)
    yy, xx = np.mgrid[: out.shape[0], : out.shape[1]]
    centre = np.array([(out * xx).sum(), (out * yy).sum()]) / out.sum()
    frame = BinnedFrame(n, n, b)
    np.testing.assert_allclose(frame.to_raw(centre), at, atol=0.03)
    np.testing.assert_allclose(frame.from_raw(frame.to_raw(centre)), centre)
    about = centre - (out.shape[0] - 1) / 2
    np.testing.assert_allclose(frame.centred_to_raw(about), at - (n - 1) / 2, atol=0.03)
    half = -0.5 if n % 2 and b % 2 == 0 else 0.0
    np.testing.assert_allclose(frame.offset, half)


def test_binning_refuses_nonsense() -> None:
    with pytest.raises(InputError):
        binned_size(10, 0)
    with pytest.raises(InputError):
        bin_view(np.zeros((2, 3, 4)), 2)


def _field(beads: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 4, (200, 240))
    y, x = np.mgrid[:200, :240]
    for bx, by in rng.uniform(20, 180, (12, 2)):
        image += beads / (1 + np.exp((np.hypot(x - bx, y - by) - 5) / 0.7))
    return image.astype(np.float32)


@pytest.mark.parametrize("beads", [-60.0, 60.0])
def test_spikes_go_and_beads_stay(beads: float) -> None:
    clean = _field(beads)
    assert erase_spikes(clean)[1] == []
    spoilt = clean.copy()
    spoilt[50, 210] += 300
    spoilt[120:122, 220] -= 250
    fixed, patches = erase_spikes(spoilt)
    assert len(patches) == 2
    assert np.abs(fixed - clean).max() < 30
    assert np.count_nonzero(fixed != clean) < 40


def test_spikes_of_a_stack_are_listed_by_view() -> None:
    stack = np.stack([_field(-60, 1), _field(-60, 2), _field(-60, 3)])
    clean = stack.copy()
    stack[0, 60, 100] += 300
    stack[2, 30:32, 40:42] += 250
    stack[2, 150, 2] += 300
    out = np.empty_like(stack)
    found = erase_stack(stack, out=out)
    assert [(p.view, round(p.x), round(p.y)) for p in found[:1]] == [(0, 100, 60)]
    assert [p.view for p in found] == [0, 2]
    assert found[1].radius_px > found[0].radius_px
    np.testing.assert_array_equal(out[1], clean[1])
    np.testing.assert_array_equal(out[2, 140:, :20], stack[2, 140:, :20])  # the edge is left out
    assert np.abs(out[:, :140] - clean[:, :140]).max() < 30
    nearer = SpikeCriteria(edge_exclusion_px=2)
    assert [p.view for p in erase_stack(stack, nearer, out=out)] == [0, 2, 2]
    blunt = SpikeCriteria(peak_sd=500.0, giant_sd=500.0)
    assert erase_stack(stack, blunt, out=out) == []
    with pytest.raises(InputError):
        erase_stack(stack, out=out[:2])


@pytest.mark.parametrize(
    ("change", "n"),
    [({}, 1), ({"difference_sd": 200.0, "big_difference_sd": 200.0}, 0), ({"peak_sd": 200.0}, 0),
     ({"radius_px": 0.1, "grow_px": 0.2}, 0), ({"radius_px": 0.1, "giant_sd": 200.0}, 0)],
)  # fmt: skip
def test_every_criterion_counts(change: dict[str, float], n: int) -> None:
    image = _field(0)
    image[60, 100] += 300
    assert len(find_spikes(image, SpikeCriteria(**change))) == n


def test_densities() -> None:
    a = np.array([[0, 10], [20, 300]], np.int16)
    assert scale_densities(a, "mean0sd1").std() == pytest.approx(1)
    assert scale_densities(a, "range", low=-1, high=1).tolist()[1][1] == 1
    assert truncate_outliers(a, 2).max() < 300
    assert store_as(np.array([-5.0, 1.6, 999]), np.uint8).tolist() == [0, 2, 255]
    with pytest.raises(DataError):
        scale_densities(np.ones((3, 3)), "mean0sd1")


def test_order() -> None:
    assert order_by_tilt([3, -3, 0]).tolist() == [1, 2, 0]
    assert check_order([-3, 0, 3]) == []
    assert "views 1 and 2" in check_order([0, 0, 3])[0]
    with pytest.raises(InputError, match="view 2"):
        order_by_tilt([0, 91])


def test_bad_views_are_named_and_good_ones_are_not() -> None:
    tilt = np.arange(-12, 13, 3.0)
    stack = np.stack([_field(-60, 3) + _field(0, 10 + v) for v in range(9)])
    assert examine_views(stack, tilt) == []
    stack[1] = 7
    stack[3] = stack[4]
    stack[6] *= 0.15
    stack[8, 5, 5] = np.nan
    said = {v.view: v.kind for v in examine_views(stack, tilt)}
    assert said.pop(1) == "blank"
    assert said.pop(6) == "dark"
    assert said.pop(8) == "broken"
    assert list(said.values()) == ["duplicate"]
    assert set(said) <= {3, 4}
