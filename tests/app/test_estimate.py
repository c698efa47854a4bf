"""What a form says of time, disk and memory before a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tiltwright.app.estimate import estimate
from tiltwright.engine.protocols import all_protocols

SERIES = {
    "kind": "tilt_series", "image_size": [1440, 1024], "tilt_deg": [0.0] * 41, "binning": 1,
    "axis_deg": -84.5,
}  # fmt: skip
TOMOGRAM = {"kind": "tomogram", "shape": [200, 1440, 1024]}


def said(key: str, **params: Any) -> str:
    protocol = all_protocols()[key]
    outputs = {"tilt_series": {"a": SERIES, "b": SERIES}, "tomogram": {"a": TOMOGRAM}}
    project: Any = SimpleNamespace(runs={1: SimpleNamespace(outputs=outputs)})
    inputs = {port: f"1.{port}" for port in protocol.inputs if port in outputs}
    state: Any = SimpleNamespace(inputs=inputs, params=protocol.Params(**params))
    return estimate(project, protocol, state)


@pytest.mark.parametrize(
    ("key", "params", "words"),
    [
        # measured for one series: WBP 1.9 s, CTF 1.5 s and 1 s, EED 2.7 s a round, 2.5 GB
        ("reconstruction", {"thickness": 200}, "2 series, about 5 s, about 1.2 GB"),
        ("ctf-estimation", {}, "2 series, about 3 s"),
        ("ctf-correction", {}, "2 series, about 2 s, about 0.48 GB"),
        ("denoise", {"iterations": 10}, "1 series, about 26 s, about 0.59 GB, 2.4 GB of memory"),
    ],
)
def test_the_line_of_a_form(key, params, words):
    assert said(key, **params) == words


def test_more_iterations_take_longer_and_no_input_says_nothing():
    assert said("reconstruction-iterative", iterations=300).split("about ")[1].startswith("2")
    protocol = all_protocols()["denoise"]
    project: Any = SimpleNamespace(runs={})
    for inputs in ({}, {"tomogram": ""}, {"tomogram": "7.tomogram"}):
        state: Any = SimpleNamespace(inputs=inputs, params=protocol.Params())
        assert estimate(project, protocol, state) == ""
