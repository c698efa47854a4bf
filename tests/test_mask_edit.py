"""Painting a mask: what changes, what comes back, what is kept over a crash."""

from __future__ import annotations

import numpy as np
import pytest

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.mrc_write import write_mrc
from tiltwright.engine.project.mask_journal import MaskJournal
from tiltwright.engine.volume.mask_edit import MaskEditor, ball, open_mask

SHAPE = (12, 30, 40)


@pytest.fixture
def mask_path(tmp_path):
    mask = (np.random.default_rng(0).random(SHAPE) < 0.2).astype(np.int8)
    write_mrc(tmp_path / "m.mrc", mask, 10.0)
    return tmp_path / "m.mrc"


def painted(editor, value, places, brush):
    editor.begin(value)
    for place in places:
        editor.drag(place, brush)
    return editor.end()


@pytest.mark.parametrize("diameter", [1, 2, 3, 8, 15])
def test_a_ball_is_round_and_as_wide_as_it_says(diameter):
    brush = ball(diameter)
    assert brush.shape == (diameter,) * 3
    assert brush.any((1, 2)).all()
    if diameter > 3:
        assert brush.sum() == pytest.approx(np.pi / 6 * diameter**3, rel=0.15)
    for axis in range(3):
        disc = ball(diameter, axis)
        assert disc.shape[axis] == 1
        assert np.array_equal(brush, np.swapaxes(brush, axis, (axis + 1) % 3))
    with pytest.raises(InputError, match="diameter of 0"):
        ball(0)


def test_a_stroke_is_the_union_of_balls_along_its_way():
    mask = np.zeros(SHAPE, np.int8)
    editor = MaskEditor(mask)
    stroke = painted(editor, 1, [(5, 8, 8), (5, 20, 30)], ball(7))
    z, y, x = np.indices(SHAPE)
    a, b = np.array([5, 8, 8]), np.array([5, 20, 30])
    points = np.stack([z, y, x], -1)
    along = np.clip(((points - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
    away = np.linalg.norm(points - (a + along[..., None] * (b - a)), axis=-1)
    assert not mask[away > 4.2].any()
    assert mask[away < 2.8].all()
    assert stroke.n_voxels == mask.sum() == sum(len(i) for i in stroke.index)
    # Only small boxes are touched, and all that changed lies in them.
    inside = np.zeros(SHAPE, bool)
    for region in stroke.regions:
        assert all(1 <= s.stop - s.start <= 7 for s in region)
        inside[region] = True
    assert not mask[~inside].any()


def test_undo_and_redo_are_exact(mask_path):
    mask = open_mask(mask_path, SHAPE)
    editor, states = MaskEditor(mask), [np.array(mask)]
    rng = np.random.default_rng(1)
    for k in range(6):
        places = rng.uniform(-3, 45, (4, 3))
        brush = ball(int(rng.integers(1, 12)), None if k % 2 else int(rng.integers(3)))
        if painted(editor, k % 2, places, brush) is not None:
            states.append(np.array(mask))
    n = len(states) - 1
    assert n >= 4
    for k in range(n - 1, -1, -1):
        assert editor.modified
        editor.undo()
        assert np.array_equal(mask, states[k])
    assert not editor.modified
    assert editor.undo() is None
    for k in range(1, n + 1):
        editor.redo()
        assert np.array_equal(mask, states[k])
    editor.mark_saved()
    assert not editor.modified
    editor.undo()
    assert editor.modified
    # A new stroke ends what could be done again.
    painted(editor, 1 - int(mask[2, 2, 2] != 0), [(2, 2, 2)], ball(1))
    assert not editor.can_redo


def test_undo_gives_back_labels_and_the_file_stays(tmp_path):
    labels = np.random.default_rng(2).integers(0, 5, SHAPE).astype(np.int16)
    write_mrc(tmp_path / "l.mrc", labels, 10.0)
    before = (tmp_path / "l.mrc").read_bytes()
    mask = open_mask(tmp_path / "l.mrc", SHAPE)
    editor = MaskEditor(mask)
    painted(editor, 0, [(5, 15, 15), (5, 15, 25)], ball(9))
    assert not mask[5, 15, 15:25].any()
    editor.undo()
    assert np.array_equal(mask, labels)
    painted(editor, 0, [(5, 15, 15)], ball(9))
    assert (tmp_path / "l.mrc").read_bytes() == before


def test_nothing_happens_outside_or_without_a_change():
    editor = MaskEditor(np.zeros(SHAPE, np.int8))
    assert painted(editor, 1, [(50, 50, 50)], ball(5)) is None
    assert painted(editor, 0, [(5, 5, 5)], ball(5)) is None
    assert editor.drag((5, 5, 5), ball(5)) == []
    assert not editor.modified
    assert not editor.can_undo
    editor.begin(1)
    editor.drag((5, 5, 5), ball(3))
    # Not in the middle of a stroke.
    assert editor.undo() is None
    assert editor.end().n_voxels == 19


def test_a_mask_of_another_size_or_kind_is_refused(tmp_path, mask_path):
    with pytest.raises(InputError, match="40 x 30 x 12 voxels does not fit a tomogram of 40 x 31"):
        open_mask(mask_path, (12, 31, 40))
    write_mrc(tmp_path / "f.mrc", np.zeros(SHAPE, np.float32), 10.0)
    with pytest.raises(InputError, match="not a mask"):
        open_mask(tmp_path / "f.mrc", SHAPE)
    with pytest.raises(InputError, match=r"gone\.mrc"):
        open_mask(tmp_path / "gone.mrc", SHAPE)


def journalled(journal, stroke):
    if stroke is not None:
        journal.note(stroke)


def test_the_journal_brings_every_change_back(tmp_path, mask_path):
    path = tmp_path / "sub" / "strokes.journal"
    editor = MaskEditor(open_mask(mask_path, SHAPE))
    journal = MaskJournal(path, mask_path)
    journalled(journal, painted(editor, 1, [(3, 3, 3), (9, 20, 30)], ball(8)))
    journalled(journal, painted(editor, 0, [(3, 10, 12), (3, 20, 12)], ball(6, 0)))
    journalled(journal, painted(editor, 1, [(8, 8, 8)], ball(3)))
    journalled(journal, editor.undo())
    journalled(journal, editor.undo())
    journalled(journal, editor.redo())
    again = MaskEditor(open_mask(mask_path, SHAPE))
    assert MaskJournal(path, mask_path).recover(again) == 6
    assert np.array_equal(again.mask, editor.mask)
    assert again.modified
    # A record that was cut off counts as not written.
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    cut = MaskEditor(open_mask(mask_path, SHAPE))
    assert MaskJournal(path, mask_path).recover(cut) == 5
    journal.clear()
    assert MaskJournal(path, mask_path).recover(cut) == 0


@pytest.mark.parametrize("junk", [b"", b"\x00" * 40, b"\x01\xff\xff\xff\xff", b"\x07" * 21])
def test_a_damaged_journal_harms_nothing(tmp_path, mask_path, junk):
    path = tmp_path / "strokes.journal"
    editor = MaskEditor(open_mask(mask_path, SHAPE))
    journal = MaskJournal(path, mask_path)
    journal.note(painted(editor, 1, [(3, 3, 3)], ball(8)))
    with open(path, "ab") as stream:
        stream.write(junk)
    again = MaskEditor(open_mask(mask_path, SHAPE))
    assert MaskJournal(path, mask_path).recover(again) == 1
    assert np.array_equal(again.mask, editor.mask)


def test_the_journal_of_another_mask_is_not_used(tmp_path, mask_path):
    path = tmp_path / "strokes.journal"
    editor = MaskEditor(open_mask(mask_path, SHAPE))
    MaskJournal(path, mask_path).note(painted(editor, 1, [(3, 3, 3)], ball(8)))
    write_mrc(mask_path, np.ones(SHAPE, np.int8), 10.0)
    again = MaskEditor(open_mask(mask_path, SHAPE))
    assert MaskJournal(path, mask_path).recover(again) == 0
    assert not path.exists()
    with pytest.raises(InputError, match="run the segmentation again"):
        MaskJournal(path, tmp_path / "gone.mrc")
