"""What the forms of all protocols propose in a project with several runs of everything."""

from __future__ import annotations

import pytest

from tiltwright.app.proposed_inputs import proposed_inputs
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.engine.protocols import all_protocols

ALIGN, TABLE, CORRECTED, ERASED, WBP, SIRT, DENOISED, MASK, OTHER, LATER = range(5, 15)
"""Runs; 1 to 4 are those from import to model, ``OTHER`` is an alignment of other beads."""


def of(run: int, port: str = "tilt_series") -> Source:
    return Source(run, port)


@pytest.fixture
def project(tmp_path) -> Project:
    """Nothing has run yet."""
    made = Project.create(tmp_path / "project")
    both = {"tilt_series": of(4), "fiducial_model": of(4, "fiducial_model")}
    for key, params, inputs in (
        ("import-tilt-series", {"files": ["/s1.mrc"]}, {}),
        ("preprocess", {}, {"tilt_series": of(1)}),
        ("coarse-prealignment", {}, {"tilt_series": of(2)}),
        ("fiducial-model", {}, {"tilt_series": of(3)}),
        ("fiducial-alignment", {}, both),
        ("ctf-estimation", {}, {"tilt_series": of(ALIGN)}),
        ("ctf-correction", {}, {"tilt_series": of(ALIGN), "ctf_table": of(TABLE, "ctf_table")}),
        ("erase-fiducials", {}, {"tilt_series": of(CORRECTED)}),
        ("reconstruction", {"halves": True}, {"tilt_series": of(ERASED)}),
        ("reconstruction-iterative", {"halves": True}, {"tilt_series": of(ERASED)}),
        ("denoise", {}, {"tomogram": of(WBP, "tomogram")}),
        ("segmentation", {}, {"tomogram": of(DENOISED, "tomogram")}),
        ("fiducial-alignment", {}, both),
        ("reconstruction", {}, {"tilt_series": of(OTHER)}),
    ):
        made.add(key, params, inputs)
    assert sorted(made.runs) == [*range(1, 15)]
    return made


def proposed(project: Project, key: str, *selected: int) -> dict[str, tuple[int, str]]:
    found = proposed_inputs(project, all_protocols()[key], selected)
    return {name: (s.run, s.port) for name, s in found.items()}


S, T, M = "tilt_series", "tomogram", "mask"
CTF, MODEL = "ctf_table", "fiducial_model"


@pytest.mark.parametrize(
    ("key", "selected", "expected"),
    [
        # The series of a table, or one of the CTF that is not corrected yet.
        ("ctf-correction", TABLE, {S: (ALIGN, S), CTF: (TABLE, CTF)}),
        ("ctf-correction", ALIGN, {S: (ALIGN, S), CTF: (TABLE, CTF)}),
        ("ctf-correction", ERASED, {S: (ALIGN, S), CTF: (TABLE, CTF)}),
        ("ctf-estimation", ERASED, {S: (ALIGN, S)}),
        ("ctf-import", OTHER, {S: (OTHER, S)}),
        # A table only for images that are not corrected.
        ("reconstruction", CORRECTED, {S: (CORRECTED, S)}),
        ("reconstruction", ERASED, {S: (ERASED, S)}),
        ("reconstruction", ALIGN, {S: (ALIGN, S), CTF: (TABLE, CTF)}),
        ("reconstruction-iterative", ERASED, {S: (ERASED, S)}),
        # Neither a mask of membranes nor a start, unless a person chooses them.
        ("reconstruction-iterative", ALIGN, {S: (ALIGN, S), CTF: (TABLE, CTF)}),
        ("reconstruction-iterative", MASK, {S: (ERASED, S)}),
        # The whole, not a half; the tomogram, not its mask.
        ("denoise", WBP, {T: (WBP, T)}),
        ("denoise", SIRT, {T: (SIRT, T)}),
        ("crop", MASK, {T: (DENOISED, T)}),
        ("segmentation", MASK, {T: (DENOISED, T)}),
        ("segmentation", ALIGN, {T: (DENOISED, T)}),
        # Mask and beads of this tomogram.
        ("chimerax", MASK, {T: (DENOISED, T), M: (MASK, M), S: (ERASED, S)}),
        ("chimerax", DENOISED, {T: (DENOISED, T), M: (MASK, M), S: (ERASED, S)}),
        ("chimerax", WBP, {T: (WBP, T), M: (MASK, M), S: (ERASED, S)}),
        ("chimerax", SIRT, {T: (SIRT, T), S: (ERASED, S)}),
        ("chimerax", LATER, {T: (LATER, T), S: (OTHER, S)}),
        # Model and series of one run.
        ("fiducial-alignment", 4, {S: (4, S), MODEL: (4, MODEL)}),
        ("fiducial-alignment", OTHER, {S: (OTHER, S), MODEL: (OTHER, MODEL)}),
        ("fiducial-alignment", ERASED, {S: (ERASED, S), MODEL: (ALIGN, MODEL)}),
        ("fiducial-model", 3, {S: (3, S)}),
        ("coarse-prealignment", 2, {S: (2, S)}),
        ("erase-fiducials", CORRECTED, {S: (CORRECTED, S)}),
        ("dose-filter", 1, {S: (1, S)}),
        ("xray-eraser", 1, {S: (1, S)}),
        ("preprocess", 1, {S: (1, S)}),
    ],
)
def test_what_follows_the_selected_run(project, key, selected, expected):
    assert proposed(project, key, selected) == expected


def test_every_protocol_with_inputs_was_looked_at():
    (mark,) = test_what_follows_the_selected_run.pytestmark
    assert {case[0] for case in mark.args[1]} == {
        key for key, protocol in all_protocols().items() if protocol.inputs
    }


def test_two_selected_runs_give_an_input_each(project):
    found = proposed(project, "chimerax", WBP, MASK)
    assert found == {T: (WBP, T), M: (MASK, M), S: (ERASED, S)}


def series(**more):
    return {"s1": {"kind": "tilt_series", "alignment": None, "ctf_corrected": False} | more}


def volume(nz: int):
    return {"s1": {"kind": "tomogram", "shape": [nz, 9, 9], "ctf_corrected": True}}


def test_without_a_selection_what_is_there_goes_before_what_is_not(project):
    assert proposed(project, "denoise") == {T: (LATER, T)}
    project.runs[WBP].outputs = {T: volume(5), "even": volume(5), "odd": volume(5)}
    assert proposed(project, "denoise") == {T: (WBP, T)}
    # Selected, it is taken all the same.
    assert proposed(project, "denoise", LATER) == {T: (LATER, T)}


def test_a_mask_of_another_size_or_series_is_not_proposed(project):
    project.runs[WBP].outputs = {T: volume(5)}
    project.runs[DENOISED].outputs = {T: volume(5)}
    project.runs[MASK].outputs = {M: volume(5)}
    assert proposed(project, "chimerax", WBP)[M] == (MASK, M)
    project.runs[MASK].outputs = {M: volume(4)}
    assert M not in proposed(project, "chimerax", WBP)
    project.runs[MASK].outputs = {M: {"s2": volume(5)["s1"]}}
    assert M not in proposed(project, "chimerax", WBP)


def test_images_tell_themselves_whether_they_are_corrected(project):
    """Of what has run, the record counts and not the way to it."""
    project.runs[ERASED].outputs = {S: series(alignment={"kind": "fiducial"})}
    assert proposed(project, "reconstruction", ERASED)[CTF] == (TABLE, CTF)
    project.runs[ALIGN].outputs = {S: series(alignment={"kind": "coarse"}, ctf_corrected=True)}
    assert CTF not in proposed(project, "reconstruction-iterative", ALIGN)


def test_an_empty_project_has_nothing_to_propose(tmp_path):
    empty = Project.create(tmp_path / "empty")
    assert all(proposed_inputs(empty, p, ()) == {} for p in all_protocols().values())
