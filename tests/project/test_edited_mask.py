"""A mask that a person corrects becomes the result of its run, and what follows is out of date."""

from __future__ import annotations

import numpy as np
import pytest

from tiltwright.engine.errors import InputError
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.project.edited_mask import EditedMask
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.engine.volume.mesh import mesh_of_mask, write_mesh

SHAPE = (20, 24, 28)


@pytest.fixture
def project(tmp_path):
    """A tomogram, a mask of it, and a scene of both: what a segmentation leaves, made by hand."""
    made = Project.create(tmp_path / "project", "masks")
    rng = np.random.default_rng(0)
    volume = rng.normal(0, 90, SHAPE).astype(np.int16)
    mask = np.zeros(SHAPE, np.int8)
    mask[5:12, 6:15, 7:20] = 1
    for key, port, name, data in (
        ("reconstruction", "tomogram", "t_rec.mrc", volume),
        ("segmentation", "mask", "t_membranes.mrc", mask),
    ):
        inputs = {"tomogram": Source(1, "tomogram")} if port == "mask" else {}
        run = made.add(key, {}, inputs)
        made.output_folder(run).mkdir(parents=True)
        path = made.output_folder(run) / name
        write_mrc(path, data, 10.0)
        run.outputs = {port: {"t": {
            "kind": "tomogram", "name": "t", "path": made.place(run).name(path),
            "shape": list(SHAPE), "pixel_size_a": 10.0, "origin": [-13.5, -11.5, -9.5],
        }}}  # fmt: skip
        run.status = "finished"
        made.save(run)
    scene = made.add("chimerax", {}, {"tomogram": Source(1, "tomogram"), "mask": Source(2, "mask")})
    execute(made, scene.id)
    assert made.runs[3].status == "finished", made.runs[3].failed
    yield made
    made.close()


MASK = Source(2, "mask")


def saved(edited, mask, note=""):
    *before, version = edited.write(mask, note)
    assert all(piece is None for piece in before)
    edited.use(version)
    return version


def test_saving_makes_the_scene_out_of_date(project):
    edited = EditedMask(project, MASK, "t")
    assert project.stale() == set()
    (project.output_folder(2) / "t_membranes.stl").write_bytes(b"as computed")
    before = np.array(edited.load().data)
    after = before.copy()
    after[5:8] = 0
    version = saved(edited, after, "the lowest part")
    assert version.number == 2
    assert [v.note for v in edited.versions()] == ["as computed", "the lowest part"]
    assert project.stale() == {3}
    found = Project.open(project.folder, read_only=True).item(MASK, "t")
    np.testing.assert_array_equal(found.data, after)
    assert (found.shape, found.pixel_size_a, found.origin) == (SHAPE, 10.0, (-13.5, -11.5, -9.5))
    assert "version 2, the lowest part" in project.runs[2].notes["t"][-1]
    # The first version is what was computed, and the scene is made of the newest one.
    first = edited.versions()[0]
    from tiltwright.engine.io.mrc import open_stack

    np.testing.assert_array_equal(open_stack(first.path / "t_membranes.mrc"), before)
    assert (first.path / "t_membranes.stl").read_bytes() == b"as computed"
    mesh = project.output_folder(3) / "t.stl"
    size = mesh.stat().st_size
    execute(project, 3)
    assert project.stale() == set()
    assert mesh.stat().st_size < size
    assert "edited/t_mask/v002/t_membranes.mrc" in (mesh.parent / "t.cxc").read_text()
    assert saved(edited, before).number == 3
    assert len(project.runs[2].notes["t"]) == 1


def test_the_mesh_of_a_version_is_that_of_its_mask(project):
    """If the run made one; what was computed keeps its own."""
    edited = EditedMask(project, MASK, "t")
    after = np.array(edited.load().data)
    after[5:8] = 0
    version = saved(edited, after)
    assert list(edited.mesh(version)) == []
    made = project.output_folder(2) / "t_membranes.ply"
    made.write_bytes(b"as computed")
    pieces = edited.mesh(version)
    next(pieces)
    pieces.close()
    assert not list(version.path.glob("*.ply"))
    assert set(edited.mesh(version)) == {None}
    (ply,) = version.path.glob("*.ply")
    write_mesh(made.with_name("twin.ply"), mesh_of_mask(after), 10.0)
    assert ply.read_bytes() == made.with_name("twin.ply").read_bytes()
    assert made.read_bytes() == b"as computed"
    empty = saved(edited, np.zeros(SHAPE, np.int8))
    assert list(edited.mesh(empty)) == []


def test_an_interrupted_save_leaves_the_result_as_it_was(project):
    edited = EditedMask(project, MASK, "t")
    pieces = edited.write(np.ones(SHAPE, np.int8), "")
    next(pieces)
    next(pieces)
    pieces.close()
    np.testing.assert_array_equal(edited.load().data.sum(), 7 * 9 * 13)
    assert [v.number for v in edited.versions()] == [1]
    assert not list(edited.folder.glob("v002/*.mrc"))


def test_what_cannot_be_saved_is_said(project):
    edited = EditedMask(project, MASK, "t")
    with pytest.raises(InputError, match="29 x 24 x 20 voxels do not fit"):
        next(edited.write(np.ones((20, 24, 29), np.int8), ""))
    *_, version = edited.write(np.ones(SHAPE, np.int8), "")
    project.runs[2].status = "running"
    with pytest.raises(InputError, match="is running"):
        edited.use(version)
    reader = Project.open(project.folder, read_only=True)
    with pytest.raises(InputError, match="read-only"):
        EditedMask(reader, MASK, "t").check_free()
