"""The journal after a kill, damaged journals, and versions of a model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import imodmodel
import numpy as np
import pytest
from curation_cases import phantom
from foreign_case import DRAWING, foreign_file
from test_edits import random_edit, same

from tiltwright.engine.curation.journal import Journal, recover
from tiltwright.engine.errors import InputError
from tiltwright.engine.io.model_file import (
    Chunk,
    ModelFile,
    read_fiducial_model,
)
from tiltwright.engine.io.model_file import read_model as read_model_file
from tiltwright.engine.io.model_file import write_model as write_model_file
from tiltwright.engine.model.edits import (
    AddContour,
    AddPoint,
    DeleteContour,
    DeletePoints,
    FillPoints,
    MovePoints,
    Point,
    SwapTracks,
)
from tiltwright.engine.model.fiducial_model import Flag
from tiltwright.engine.model.foreign import put_into
from tiltwright.engine.project.versions import compare, list_versions, open_version, save_version

CHILD = """
import sys, time
import numpy as np
from curation_cases import phantom
from test_edits import random_edit
from tiltwright.engine.curation.journal import Journal
from pathlib import Path
_, model, _ = phantom(n=20, n_views=31)
journal = Journal(Path(sys.argv[1]), model)
rng = np.random.default_rng(7)
for _ in range(50):
    edit = random_edit(model, rng)
    model = edit.apply(model).model
    journal.append(edit)
print("ready", flush=True)
time.sleep(60)
"""


def test_all_50_edits_survive_a_kill(tmp_path):
    path = tmp_path / "journal"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, env=env
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"ready"
        child.send_signal(signal.SIGKILL)
        child.wait()
    _, model, _ = phantom(n=20, n_views=31)
    found = recover(path, model)
    assert found is not None
    assert found.n_edits == 50
    rng, expected = np.random.default_rng(7), model
    for _ in range(50):
        expected = random_edit(expected, rng).apply(expected).model
    assert same(found.model, expected)


def edited(path, model, n=5):
    journal, models = Journal(path, model), [model]
    for k in range(n):
        edit = AddPoint(k, k, 1.5 * k, -k)
        journal.append(edit)
        models.append(edit.apply(models[-1]).model)
    journal.close()
    return models


def test_a_line_cut_short_loses_that_edit_only_and_the_journal_goes_on(tmp_path):
    _, model, _ = phantom(n=8, n_views=9)
    path = tmp_path / "journal"
    models = edited(path, model)
    path.write_bytes(path.read_bytes()[:-7])
    found = recover(path, model)
    assert found.n_edits == 4
    assert same(found.model, models[4])
    journal = Journal(path, model, after=found)
    journal.append(DeletePoints(((1, 1),)))
    journal.close()
    again = recover(path, model)
    assert again.n_edits == 5
    assert again.model.flag[1, 1] == Flag.GAP


@pytest.mark.parametrize(
    "garbage",
    [
        b"{}\n",
        b"\x00\xff\n",
        b'{"apply": {"edit": "Exec"}}\n',
        b'{"apply": {"edit": "DeleteContour", "contour": "a"}}\n',
    ],
)
def test_what_comes_after_damage_is_not_trusted(tmp_path, garbage):
    _, model, _ = phantom(n=8, n_views=9)
    path = tmp_path / "journal"
    edited(path, model)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], garbage, *lines[3:]]))
    assert recover(path, model).n_edits == 2


def test_a_journal_of_another_model_is_not_applied_and_not_lost(tmp_path):
    _, model, _ = phantom(n=8, n_views=9)
    _, other, _ = phantom(n=8, n_views=9, seed=1)
    path = tmp_path / "journal"
    assert recover(path, model) is None
    edited(path, model)
    assert recover(path, other) is None
    text = path.read_bytes()
    Journal(path, other).close()
    assert (tmp_path / "journal.1").read_bytes() == text
    # A journal without edits is in nobody's way.
    Journal(path, model).close()
    assert not (tmp_path / "journal.2").exists()
    assert recover(path, model) is None
    path.write_text("[1]\n")
    assert recover(path, model) is None
    path.write_text('{"journal": 99}\n')
    with pytest.raises(InputError):
        recover(path, model)


def test_saving_begins_a_new_journal(tmp_path):
    _, model, _ = phantom(n=8, n_views=9)
    path = tmp_path / "journal"
    journal = Journal(path, model)
    step = AddPoint(0, 0, 1, 1).apply(model)
    journal.append(AddPoint(0, 0, 1, 1))
    journal.restart(step.model)
    assert recover(path, model) is None
    assert recover(path, step.model) is None
    journal.append(step.inverse)
    journal.close()
    assert same(recover(path, step.model).model, model)


def test_versions_are_kept_listed_and_opened(tmp_path):
    series, model, _ = phantom(n=6, n_views=9, gaps=0.2)
    numbers = {"mean_residual_px": 0.25, "leave_one_out_px": float("nan")}
    first = save_version(tmp_path, "cell", model, series, author="Ada", numbers=numbers)
    gap = np.argwhere(~model.measured)[0]
    filled = (
        FillPoints((Point(*map(int, gap), 3.0, 4.0, int(Flag.FILLED), 0.5),)).apply(model).model
    )
    second = save_version(tmp_path, "cell", filled, series, note="one more")
    (tmp_path / "v007").mkdir()
    third = save_version(tmp_path, "cell", model, series)
    assert [v.number for v in list_versions(tmp_path)] == [1, 2, 8]
    assert list_versions(tmp_path) == [first, second, third]
    assert (first.author, dict(first.numbers)) == ("Ada", {"mean_residual_px": 0.25})
    assert second.note == "one more"
    assert same(open_version(first, series), model)
    assert same(open_version(second, series), filled)
    contours, _ = read_fiducial_model(second.model_path)
    assert sum(len(c) for c in contours) == model.n_points
    (second.path / "version.json").write_text("{}")
    with pytest.raises(InputError, match=r"version\.json"):
        list_versions(tmp_path)


def test_comparison_finds_what_differs_whatever_the_numbers():
    _, model, _ = phantom(n=6, n_views=9)
    assert compare(model, model).same
    x, y = model.xy[3, 4] + [0.5, 0]
    other = MovePoints(((3, 4, x, y),)).apply(model).model
    other = DeletePoints(((5, 1),)).apply(other).model
    other = DeleteContour(0).apply(other).model
    other = AddContour(-1, (Point(0, 2, 700.0, 500.0, 1),)).apply(other).model
    found = compare(model, other)
    assert found.moved == ((3, 2, 4),)
    assert found.moved_px == pytest.approx([0.5], abs=1e-3)
    assert found.only_first == ((5, 4, 1),)
    assert found.only_second == ()
    assert (found.contours_only_first, found.contours_only_second) == ((0,), (5,))
    assert not found.same
    _, short, _ = phantom(n=6, n_views=8)
    with pytest.raises(InputError):
        compare(model, short)


def test_nothing_of_a_foreign_file_is_lost_on_saving(tmp_path):
    series, model, _ = phantom(n=5, n_views=9, gaps=0.2)
    path = tmp_path / "theirs.mod"
    write_model_file(path, foreign_file(model))
    same_again = save_version(tmp_path / "v", "theirs", model, series, keep=path)
    assert same_again.model_path.read_bytes() == path.read_bytes()
    # Contour 2 loses a point, 3 goes, a new one comes.
    view = int(np.flatnonzero(model.measured[1])[2])
    edited = DeletePoints(((1, view),)).apply(model).model
    edited = DeleteContour(2).apply(edited).model
    edited = AddContour(-1, (Point(0, 4, 1.0, 2.0, 1),), 1).apply(edited).model
    saved = save_version(tmp_path / "v", "theirs", edited, series, keep=path)
    old, new = read_model_file(path), read_model_file(saved.model_path)
    assert [o.name for o in new.objects] == ["object 0", "object 1"]
    assert [len(o.contours) for o in new.objects] == [2, 4]
    assert [c for c in new.items if isinstance(c, Chunk)] == [
        c for c in old.items if isinstance(c, Chunk)
    ]
    for before, after in zip(old.objects, new.objects, strict=True):
        chunks = [[c for c in o.items if isinstance(c, Chunk)] for o in (before, after)]
        assert chunks[0] == chunks[1]
    untouched = new.objects[1].contours[0]
    assert untouched.extra == old.objects[1].contours[1].extra
    cut, whole = new.objects[0].contours[1], old.objects[0].contours[1]
    sizes = [np.frombuffer(c.extra[1].data, ">f4", offset=4) for c in (whole, cut)]
    assert np.array_equal(np.delete(sizes[0], 2), sizes[1])
    assert (cut.flags, cut.time, cut.extra[0]) == (whole.flags, whole.time, whole.extra[0])
    back, _ = read_fiducial_model(saved.model_path)
    assert sum(len(c) for c in back) == edited.n_points + len(DRAWING)
    assert new.objects[1].contours[2].surface == 2
    # What was drawn on one picture is no bead, and stays; the order is that of the model.
    assert np.array_equal(new.objects[1].contours[3].points, DRAWING)
    assert same(open_version(saved, series), edited)
    with pytest.raises(InputError, match="no object"):
        put_into(ModelFile(old.header), model)
    with pytest.raises(InputError, match="outside the views"):
        put_into(old, phantom(n=5, n_views=4)[1])


def test_tracks_keep_their_numbers_in_a_foreign_file(tmp_path):
    """Two that were exchanged over most views, a new one between, and one of another object."""
    series, model, _ = phantom(n=5, n_views=9)
    path = tmp_path / "theirs.mod"
    write_model_file(path, foreign_file(model))
    swapped = SwapTracks(1, 3, tuple(range(7))).apply(model).model
    point = Point(0, 4, 1.0, 2.0, 1)
    for edited in (
        swapped,
        AddContour(0, (point,)).apply(swapped).model,
        AddContour(2, (point,)).apply(DeleteContour(0).apply(model).model).model,
    ):
        saved = save_version(tmp_path / "v", "theirs", edited, series, keep=path)
        assert same(open_version(saved, series), edited)
    empty = model
    for _ in range(model.n_tracks):
        empty = DeleteContour(0).apply(empty).model
    empty = AddContour(-1, (point,)).apply(empty).model
    saved = save_version(tmp_path / "v", "theirs", empty, series, keep=path)
    assert same(open_version(saved, series), empty)
    assert np.array_equal(read_model_file(saved.model_path).objects[1].contours[0].points, DRAWING)


@pytest.mark.filterwarnings("ignore:The `dict` method is deprecated")
def test_our_files_go_through_another_reader_unchanged(tmp_path):
    series, model, _ = phantom(n=5, n_views=9, gaps=0.2)
    saved = save_version(tmp_path, "cell", model, series)
    theirs = imodmodel.ImodModel.from_file(saved.model_path)
    theirs.to_file(saved.model_path)
    assert same(open_version(saved, series), model)
