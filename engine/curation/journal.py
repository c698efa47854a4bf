"""The journal of edits: on disk at once, and offered again after a crash.

A file of JSON lines: the first says of which model the edits are, each other one is an edit. An
undo is journalled as the edit that it applies. A line goes to the operating system as soon as the
edit is made, in one write, so that a process that is killed loses at most the edit in flight; it is
forced to the disk (``fsync``) at most once a second, and on closing, since that can take as long as
a mouse gesture: a power failure loses about the last second.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import file_error, read_bytes, write_text
from tiltwright.engine.model import edits
from tiltwright.engine.model.edits import Edit, Point, Together
from tiltwright.engine.model.fiducial_model import FiducialModel

_VERSION = 1
_SYNC_S = 1.0
_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        edits.SetPoints, edits.AddPoint, edits.MovePoints, edits.DeletePoints, edits.FillPoints,
        edits.AddContour, edits.DeleteContour, edits.SetSurface, edits.SwapTracks, Together,
    )
}  # fmt: skip


def edit_to_json(edit: Edit) -> dict[str, Any]:
    """An edit as plain lists, numbers and words."""
    values = {f.name: _plain(getattr(edit, f.name)) for f in dataclasses.fields(edit)}  # type: ignore[arg-type]
    return {"edit": type(edit).__name__, **values}


def _plain(value: Any) -> Any:
    if type(value).__name__ in _KINDS:
        return edit_to_json(value)
    if isinstance(value, Point):
        return [_plain(x) for x in dataclasses.astuple(value)]
    if isinstance(value, tuple):
        return [_plain(x) for x in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    return value if isinstance(value, str) else int(value)


def edit_of_json(record: Any) -> Edit:
    """The edit that a record describes; raises :class:`InputError`."""
    try:
        kind = _KINDS[record["edit"]]
        values: dict[str, Any] = {}
        for name, value in record.items():
            if name == "points":
                values[name] = tuple(Point(*_tuples(p)) for p in value)
            elif name == "edits":
                values[name] = tuple(edit_of_json(e) for e in value)
            elif name != "edit":
                values[name] = _tuples(value)
        made: Edit = kind(**values)
    except (KeyError, TypeError, AttributeError) as exc:
        raise InputError(f"journal: a record that is no edit ({exc})") from exc
    return made


def _tuples(value: Any) -> Any:
    if value is None:
        return math.nan
    return tuple(_tuples(x) for x in value) if isinstance(value, list) else value


def model_hash(model: FiducialModel) -> str:
    """The same for models that hold the same."""
    digest = hashlib.sha256(repr((model.size_px, model.xy.shape)).encode())
    for array in (model.xy, model.flag, model.surface, model.sigma_px):
        digest.update(array.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Recovery:
    """Edits that were made to a model and not saved.

    Attributes
    ----------
    edits : tuple of Edit
    model : FiducialModel
        After all of them.
    time : float
        Of the last one, seconds since 1970.
    """

    edits: tuple[Edit, ...]
    model: FiducialModel
    time: float
    _bytes: int

    @property
    def n_edits(self) -> int:
        """How many."""
        return len(self.edits)


def recover(path: Path, model: FiducialModel) -> Recovery | None:
    """What a journal holds beyond ``model``; ``None``: nothing, or it is of another model.

    Raises
    ------
    InputError
        The file cannot be read, or does not begin like a journal.
    """
    if not path.exists():
        return None
    lines = read_bytes(path).splitlines(keepends=True)
    header = _record(lines[0]) if lines else None
    if header is None:
        return None
    if header.get("journal") != _VERSION:
        raise InputError(f"{path}: not a journal of edits")
    if header.get("model") != model_hash(model):
        return None
    made: list[Edit] = []
    size, last = len(lines[0]), float(header.get("time", 0.0))
    for line in lines[1:]:
        record = _record(line)
        # Beyond a line that was cut short nothing can be trusted.
        if record is None:
            break
        try:
            edit = edit_of_json(record["apply"])
            model = edit.apply(model).model
        except (InputError, KeyError, TypeError, ValueError, IndexError):
            break
        made.append(edit)
        size += len(line)
        last = float(record.get("time", last))
    return Recovery(tuple(made), model, last, size) if made else None


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a complete line."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class Journal:
    """Journals the edits of a model.

    A journal with edits that is in the way is set aside as ``NAME.1``, ``NAME.2``, ..., unless
    it is gone on with.

    Parameters
    ----------
    path : Path
        Of the journal.
    model : FiducialModel
        As it is on disk: what the edits start from.
    after : Recovery, optional
        Go on after the edits that were recovered.

    Raises
    ------
    InputError
        The file cannot be written.
    """

    def __init__(self, path: Path, model: FiducialModel, after: Recovery | None = None) -> None:
        self.path = path
        self._fd = -1
        if after is None:
            self._set_aside()
            self._begin(model)
        else:
            self._open()
            os.ftruncate(self._fd, after._bytes)
        self._synced = time.monotonic()

    def append(self, edit: Edit) -> None:
        """Journal an edit that was applied; raises :class:`InputError`."""
        record = {"time": round(time.time(), 3), "apply": edit_to_json(edit)}
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        try:
            size = os.fstat(self._fd).st_size
            if os.write(self._fd, line) != len(line):
                # What comes after half a line would not be read.
                os.ftruncate(self._fd, size)
                raise OSError(errno.ENOSPC, "no space left on device")
            if time.monotonic() - self._synced > _SYNC_S:
                self.sync()
        except OSError as exc:
            raise file_error(self.path, exc) from exc

    def sync(self) -> None:
        """Force what was written to the disk."""
        os.fsync(self._fd)
        self._synced = time.monotonic()

    def restart(self, model: FiducialModel) -> None:
        """Begin anew after ``model`` was saved; raises :class:`InputError`."""
        self.close()
        self._begin(model)

    def close(self) -> None:
        """Close the file; edits since the last save stay in it."""
        if self._fd >= 0:
            self.sync()
            os.close(self._fd)
            self._fd = -1

    def _begin(self, model: FiducialModel) -> None:
        header = {"journal": _VERSION, "model": model_hash(model), "time": round(time.time(), 3)}
        write_text(self.path, json.dumps(header) + "\n")
        self._open()

    def _open(self) -> None:
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        except OSError as exc:
            raise file_error(self.path, exc) from exc

    def _set_aside(self) -> None:
        if not self.path.exists() or read_bytes(self.path).count(b"\n") < 2:
            return
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        os.replace(self.path, aside)
