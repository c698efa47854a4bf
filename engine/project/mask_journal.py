"""Strokes on a mask that are not saved yet, on disk at once: a crash or a closed page loses none.

A file that only grows: a line of JSON that says of which mask file the strokes are, then a record
for each change, undoing included: the value, and the runs of voxels that have it now. What was cut
off at the end is left out.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import file_error, read_bytes

if TYPE_CHECKING:
    from tiltwright.engine.volume.mask_edit import MaskEditor, Stroke

Ints = npt.NDArray[np.int64]
_RECORD = struct.Struct("<BI")
_MOST_BYTES = 1 << 30


class MaskJournal:
    """The journal of one mask.

    Parameters
    ----------
    path : Path
        Of the journal.
    mask : Path
        The mask's file as it was opened.

    Raises
    ------
    InputError
        There is no such mask.
    """

    def __init__(self, path: Path, mask: Path) -> None:
        self._path = path
        try:
            stat = mask.stat()
        except OSError as exc:
            raise InputError(f"{mask}: no such file; run the segmentation again") from exc
        what = {"mask": mask.name, "bytes": stat.st_size, "time": stat.st_mtime_ns}
        self._head = json.dumps(what).encode() + b"\n"

    def note(self, stroke: Stroke) -> None:
        """Note a change; raises :class:`InputError`."""
        runs = np.concatenate([_runs(index) for index in stroke.index]).astype("<i8")
        record = _RECORD.pack(stroke.value, len(runs)) + runs.tobytes()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "ab") as stream:
                stream.write(record if stream.tell() else self._head + record)
        except OSError as exc:
            raise file_error(self._path, exc) from exc

    def clear(self) -> None:
        """The mask was saved; raises :class:`InputError`."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as exc:
            raise file_error(self._path, exc) from exc

    def recover(self, editor: MaskEditor) -> int:
        """Make the changes again that were not saved; how many there are.

        A journal of another mask is removed.

        Raises
        ------
        InputError
            It cannot be read.
        """
        if not self._path.exists():
            return 0
        data = read_bytes(self._path, _MOST_BYTES)
        if not data.startswith(self._head):
            self.clear()
            return 0
        count = 0
        for value, index in _records(data, len(self._head), editor.mask.size):
            editor.add(value, index)
            count += 1
        return count


def _runs(index: Ints) -> Ints:
    """First voxel and length of each run of consecutive voxels, ``(n, 2)``."""
    ends = np.flatnonzero(np.diff(index) != 1) + 1
    first = np.concatenate([[0], ends])
    last = np.concatenate([ends, [len(index)]])
    return np.stack([index[first], last - first], 1)


def _records(data: bytes, at: int, size: int) -> Iterator[tuple[int, Ints]]:
    """Value and voxels of each whole record."""
    while at + _RECORD.size <= len(data):
        value, count = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if value > 1 or not count or at + 16 * count > len(data):
            return
        first, length = np.frombuffer(data, "<i8", 2 * count, at).reshape(-1, 2).T
        at += 16 * count
        if first.min() < 0 or length.min() < 1 or (first + length).max() > size:
            return
        offset = np.repeat(first - np.cumsum(length) + length, length)
        yield value, offset + np.arange(int(length.sum()))
