"""The layered drawing, against what must hold for every graph."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from tiltwright.widgets.runs.run_layout import (
    children_of,
    layered_layout,
    monotone_fit,
    reachable,
    topological,
    visible_runs,
)

SIZE = {"width": 100.0, "height": 40.0, "gap_x": 10.0, "gap_y": 20.0}


@st.composite
def graphs(draw):
    """Run to its parents, each among the runs before it."""
    n = draw(st.integers(0, 14))
    parents = {}
    for i in range(n):
        chosen = draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set()
        parents[str(i)] = tuple(str(p) for p in sorted(chosen))
    return parents


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_boxes_never_overlap_and_edges_go_down(parents):
    layout = layered_layout(parents, **SIZE)
    assert set(layout.centre) == set(parents)
    for ident, above in parents.items():
        for p in above:
            assert layout.centre[ident][1] > layout.centre[p][1]
            points = layout.edges[p, ident]
            assert points[0] == layout.centre[p]
            assert points[-1] == layout.centre[ident]
            assert all(b[1] - a[1] == 60 for a, b in pairwise(points))
    for layer in layout.layers:
        xs = [layout.centre[i][0] for i in layer]
        assert all(b - a >= 110 - 1e-6 for a, b in pairwise(xs))


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_layer_is_the_longest_path(parents):
    def depth(ident):
        return max((depth(p) + 1 for p in parents[ident]), default=0)

    layout = layered_layout(parents, **SIZE)
    assert {i: y / 60 for i, (_, y) in layout.centre.items()} == {i: depth(i) for i in parents}


def test_a_chain_is_straight_and_branches_are_symmetric():
    chain = {"a": (), "b": ("a",), "c": ("b",)}
    assert len({x for x, _ in layered_layout(chain, **SIZE).centre.values()}) == 1
    fork = layered_layout({"a": (), "b": ("a",), "c": ("a",)}, **SIZE).centre
    assert np.isclose(fork["b"][0] + fork["c"][0], 2 * fork["a"][0])
    assert np.isclose(fork["c"][0] - fork["b"][0], 110)


def test_branches_are_untangled():
    crossed = {"a": (), "b": (), "c": ("b",), "d": ("a",)}
    centre = layered_layout(crossed, **SIZE).centre
    assert (centre["a"][0] < centre["b"][0]) == (centre["d"][0] < centre["c"][0])


def test_a_cycle_of_a_damaged_project_is_still_drawn():
    layout = layered_layout({"a": ("b",), "b": ("a",), "c": ("gone",)}, **SIZE)
    assert set(layout.centre) == {"a", "b", "c"}


@given(st.lists(st.tuples(st.floats(-99, 99), st.floats(0.5, 4)), max_size=12))
def test_monotone_fit_against_scipy(pairs):
    values, weights = [v for v, _ in pairs], [w for _, w in pairs]
    if pairs:
        expected = isotonic_regression(values, weights=weights).x
        np.testing.assert_allclose(monotone_fit(values, weights), expected, atol=1e-9)


DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("b",)}


def test_collapsing_hides_only_what_is_reached_through_it():
    assert visible_runs(DIAMOND, {"b"}) == ["a", "b", "c", "d"]
    assert visible_runs(DIAMOND, {"b", "c"}) == ["a", "b", "c"]
    assert visible_runs(DIAMOND, {"a"}) == ["a"]


def test_reachable_both_ways():
    assert reachable(["d"], DIAMOND) == {"d", "b", "c", "a"}
    assert reachable(["b"], children_of(DIAMOND)) == {"b", "d", "e"}


@given(graphs())
def test_parents_come_first(parents):
    order = topological(parents)
    assert sorted(order) == sorted(parents)
    assert all(order.index(p) < order.index(i) for i in parents for p in parents[i])
