"""The beads of an alignment reach the steps that need them, whatever stands between."""

from __future__ import annotations

import re

import numpy as np
import pytest
from project_parts import of

from tiltwright.engine.execution.runner import execute
from tiltwright.engine.fiducials import gold_sites


@pytest.fixture
def corrected(opened, tmp_path):
    """The project with the CTF of ``s1`` imported (run 8) and corrected (run 9)."""
    series = opened.item(of(5), "s1")
    rows = [f"{v} {v} {tilt:.2f} {tilt:.2f} 2500" for v, tilt in enumerate(series.tilt_deg, 1)]
    (tmp_path / "s1.defocus").write_text("\n".join([f"{rows[0]} 2", *rows[1:]]) + "\n")
    opened.add("ctf-import", {"files": [str(tmp_path / "s1.defocus")]}, {"tilt_series": of(5)})
    inputs = {"tilt_series": of(5, series=("s1",)), "ctf_table": of(8, "ctf_table")}
    opened.add("ctf-correction", {}, inputs)
    for k in (8, 9):
        execute(opened, k)
    return opened


def test_gold_is_erased_where_the_alignment_has_it(corrected, monkeypatch):
    asked = []
    find = gold_sites.find_gold

    def spy(*args, **rest):
        asked.append(rest["xyz"])
        return find(*args, **rest)

    monkeypatch.setattr(gold_sites, "find_gold", spy)
    number = corrected.add("erase-fiducials", {}, {"tilt_series": of(9)}).id
    assert execute(corrected, number).failed == {}
    aligned = corrected.item(of(5), "s1").alignment
    (xyz,) = asked
    np.testing.assert_array_equal(xyz, aligned.fit.xyz)
    assert np.isfinite(xyz).all(axis=1).sum() >= 8
    # The fit itself stays with the model that it speaks of.
    erased = corrected.item(of(number), "s1").alignment
    assert erased.fit is None
    np.testing.assert_array_equal(erased.beads.xyz, aligned.fit.xyz)
    # IMOD finds the positions beside the stack.
    assert (corrected.output_folder(number) / "s1.xyz").read_bytes() == (
        corrected.output_folder(5) / "s1.xyz"
    ).read_bytes()


def test_a_scene_has_the_beads_of_the_alignment(corrected):
    marks = {}
    for source in (5, 9):
        inputs = {"tomogram": of(6, "tomogram", ("s1",)), "tilt_series": of(source)}
        number = corrected.add("chimerax", {"mesh": False}, inputs).id
        execute(corrected, number)
        text = (corrected.output_folder(number) / "s1_beads.cmm").read_text()
        marks[source] = re.findall(r'x="(\S+)" y="(\S+)" z="(\S+)"', text)
    assert marks[9] == marks[5]
    assert len(marks[9]) >= 8
