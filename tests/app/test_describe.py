"""Runs in words and numbers."""

from __future__ import annotations

import pytest

from tiltwright.app import describe
from tiltwright.app.quality import quality
from tiltwright.engine.project.project import Project


@pytest.fixture
def project(tmp_path):
    project = Project.create(tmp_path / "project")
    yield project
    project.close()


def _series(**more):
    record = {
        "kind": "tilt_series", "tilt_deg": [-3.0, 0.0, 3.0], "excluded": [False, True, False],
        "suspect": {"2": "darker than its neighbours"}, "alignment": None,
        "kept": [False] * 3, "order": [2, 1, 3], "pixel_size_a": 11.04, "binning": 1,
        "image_size": [8, 8], "axis_deg": 0.0,
    }  # fmt: skip
    return {**record, **more}


def test_numbers_of_an_alignment_stand_by_series(project):
    run = project.add("fiducial-alignment", {}, {})
    fit = {"mean_residual_px": 1.25, "leave_one_out_px": 1.5, "variables": "rotation one"}
    run.outputs = {
        "tilt_series": {"a": _series(alignment={"fit": fit})},
        "fiducial_model": {
            "a": {"kind": "fiducial_model", "n_tracks": 10, "n_views": 3, "n_points": 15}
        },
    }
    found = {n.label: n for n in describe.numbers(run)}
    assert {n.series for n in found.values()} == {"a"}
    assert (found["Mean residual"].text, found["Mean residual"].verdict) == ("1.250 px", "check")
    assert found["Leave-one-out error"].text == "1.500 px"
    assert found["Views left out"].text == "2, 3"
    assert found["Views left out"].reason == (
        "view 2: excluded by hand\nview 3: darker than its neighbours"
    )
    assert (found["Complete"].text, found["Complete"].verdict) == ("50 %", "check")


def test_a_defocus_that_is_not_proven_is_to_be_checked():
    record = {"hand": 0, "hand_confidence": 0.0, "text": "7 views, defocus 2.01 to 2.02 µm"}
    assert describe._ctf_numbers("s1", record)[0].verdict == ""
    assert describe._ctf_numbers("s1", record | {"rival": 0.3})[0].verdict == ""
    doubtful = describe._ctf_numbers("s1", record | {"rival": 1.36})[0]
    assert doubtful.text == "2.01 to 2.02 µm, not proven"
    assert doubtful.verdict == "check"
    assert "136 % as well" in doubtful.reason


def test_a_box_says_what_its_items_are(project):
    record = {"kind": "tomogram", "shape": [300, 8, 8], "pixel_size_a": 11.04}
    run = project.add("reconstruction", {}, {})
    run.outputs = {"tomogram": {"a": record, "b": record}}
    aligned = project.add("fiducial-alignment", {}, {})
    aligned.outputs = {"tilt_series": {"a": _series(), "b": _series()}}
    texts = [box.items_text() for box in describe.boxes(project, set(), {})]
    assert texts == ["2 tomograms", "2 TS"]
    assert describe.numbers(run)[0].text == "300 voxels, 331 nm"


def test_methods_name_only_what_was_set(project):
    run = project.add("reconstruction", {"thickness": 250}, {})
    prose, _ = describe.methods(project, run)
    assert "thickness 250 voxels" in prose
    assert "None" not in prose
    run = project.add("coarse-prealignment", {}, {})
    assert "None" not in describe.methods(project, run)[0]


def test_why_series_failed_is_told_without_keys_and_options(project):
    run = project.add("fiducial-model", {}, {})
    run.status = "failed"
    run.failed = {"a": "fiducial-model: beads of 3 nm are 2.7 px at 11.04 A/px"}
    summary = describe.summary(project, run, False, ())
    assert [f.reason for f in summary.failed] == ["beads of 3 nm are 2.7 px at 11.04 Å/px"]


def test_what_a_person_excluded_or_kept_since_counts(project):
    run = project.add("preprocess", {}, {})
    run.outputs = {"tilt_series": {"a": _series(excluded=[False] * 3)}}
    assert describe.output_text(project, run, "tilt_series").endswith("(1 left out)")
    # By acquisition number: 2 is the first view of the file, 3 the last.
    run.excluded = {"tilt_series": {"a": {"excluded": [2], "kept": [3]}}}
    assert describe.left_out(describe.curated(run, "tilt_series")["a"]) == {0: "excluded by hand"}
    assert [n.text for n in describe.numbers(run)] == ["1"]
    (row,) = quality(project, run, "tilt_series")
    assert row.views_used == 2
