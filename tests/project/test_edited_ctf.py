"""A CTF that a person edits becomes the result of its run, and what follows is out of date."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from project_parts import of

from tiltwright.engine.ctf.model import Defocus
from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.io.ctf_text import read_ctf
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.io.text import write_angles
from tiltwright.engine.project.edited_ctf import EditedTable
from tiltwright.engine.project.project import Project

sys.path.insert(0, str(Path(__file__).parents[1]))
from ctf_phantom import Rings, RingSpec

TILTS = (-40.0, -20.0, 0.0, 20.0, 40.0)
CTF = of(2, "ctf_table")


@pytest.fixture(scope="module")
def _finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edited_ctf")
    spec = RingSpec(seed=12, n=384, tilts=TILTS, contrast=12)
    twin = Rings(spec)
    with MrcWriter(folder / "s1.mrc", (5, 384, 384), np.float32, 2.0) as writer:
        for v in range(5):
            writer.write(v, twin.view(v))
    write_angles(folder / "s1.rawtlt", np.array(TILTS))
    project = Project.create(folder / "project")
    project.add("import-tilt-series", {"files": [str(folder / "s1.mrc")], "axis_deg": -84.5})
    project.add("ctf-estimation", {"tile_px": 256}, {"tilt_series": of(1)})
    project.add("coarse-prealignment", {}, {"tilt_series": of(1)})
    project.add("ctf-correction", {}, {"tilt_series": of(3), "ctf_table": CTF})
    for k in sorted(project.runs):
        execute(project, k)
    project.close()
    return folder / "project"


@pytest.fixture
def opened(_finished, tmp_path):
    import shutil

    project = Project.open(Path(shutil.copytree(_finished, tmp_path / "project")))
    yield project
    project.close()


@pytest.fixture
def edited(opened):
    return EditedTable(opened, CTF, "s1", opened.item(of(1), "s1"))


def moved(table):
    return table.with_row(1, Defocus(31000.0, 29000.0, 12.0), 0.5, 9.0).with_used([4], False)


def test_saving_makes_what_follows_out_of_date(opened, edited):
    assert opened.stale() == set()
    after = moved(edited.load())
    version = edited.save(after, "one view")
    assert version.number == 2
    assert [v.note for v in edited.versions()] == ["as computed", "one view"]
    assert opened.stale() == {4}
    assert any("version 2, one view" in line for line in opened.runs[2].notes["s1"])
    # Everything stands on the disk, also for another window and for IMOD.
    again = Project.open(opened.folder, read_only=True)
    found = again.item(CTF, "s1")
    assert found.defocus_of(1) == Defocus(31000.0, 29000.0, 12.0)
    assert found.used.tolist() == [True] * 4 + [False]
    assert (found.score[1], found.resolution_a[1]) == (0.5, 9.0)
    assert found.hand == after.hand
    record = again.runs[2].outputs["ctf_table"]["s1"]
    assert record["text"] == after.describe()
    rows = read_ctf(again.place(2).path(record["files"][".defocus"]))
    assert rows.u_a[1] == pytest.approx(31000, abs=1)
    # A view in use without a defocus is refused by the correction, which says how to go on.
    with pytest.raises(DataError, match=r"views 5 .*or exclude"):
        execute(opened, 4)


def test_what_was_computed_is_never_overwritten(opened, edited):
    before = edited.load()
    own = opened.place(2).own / "s1_ctf.csv"
    text = own.read_text()
    edited.save(moved(before), "")
    edited.save(moved(before).with_used([4], True), "again")
    assert own.read_text() == text
    first, second, third = edited.versions()
    for name in before.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(edited.open(first), name), getattr(before, name))
    assert not edited.open(second).used[4]
    assert edited.open(third).used.all()
    assert opened.stale() == {4}
    # Back to what was computed: a new version, and nothing is out of date any more.
    edited.save(edited.open(first), "back")
    assert opened.stale() == set()
    assert edited.load().defocus_of(1) == before.defocus_of(1)


def test_computing_the_run_again_keeps_the_versions(opened, edited):
    before = edited.load()
    edited.save(moved(before), "")
    execute(opened, 2, mode="restart")
    assert edited.load().defocus_of(1) == before.defocus_of(1)
    assert len(edited.versions()) == 2


def test_edits_that_were_not_saved_come_back_once(opened, edited):
    assert edited.unsaved() is None
    after = moved(edited.load())
    edited.keep_unsaved(after)
    assert edited.unsaved().defocus_of(1) == after.defocus_of(1)
    edited.save(after, "")
    assert edited.unsaved() is None
    # Of another result they are not offered.
    edited.keep_unsaved(after)
    execute(opened, 2, mode="restart")
    assert edited.unsaved() is None
    edited.keep_unsaved(after)
    edited.drop_unsaved()
    assert edited.unsaved() is None


def test_a_damaged_file_of_unsaved_edits_is_passed_over(edited):
    edited.keep_unsaved(edited.load())
    (path,) = edited.folder.glob("unsaved_*/s1_ctf.csv")
    path.write_text("nonsense")
    assert edited.unsaved() is None


def test_a_project_of_another_window_is_not_written(opened, edited):
    table = edited.load()
    reader = Project.open(opened.folder, read_only=True)
    theirs = EditedTable(reader, CTF, "s1", reader.item(of(1), "s1"))
    for write in (lambda: theirs.save(table, ""), lambda: theirs.keep_unsaved(table)):
        with pytest.raises(InputError, match="read-only"):
            write()
    opened.runs[2].status = "running"
    with pytest.raises(InputError, match="running"):
        edited.save(table, "")
    assert edited.versions() == []
