"""Correction of a mask by hand: dabs of a brush, strokes that can be undone, nothing but the
voxels that a stroke changed is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.mrc import open_stack, read_header

Region = tuple[slice, slice, slice]
"""A box of voxels in z, y and x."""
LARGEST = 201
"""Diameter of a brush, voxels."""


def open_mask(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    """A mask whose voxels can be changed in memory while the file stays as it is.

    Only what is looked at is read, and only what is changed takes memory.

    Raises
    ------
    InputError
        The file is missing or damaged, is no mask, or has another size.
    """
    head = read_header(path)
    if head.shape != shape:
        mine, wanted = (" x ".join(str(n) for n in s[::-1]) for s in (head.shape, shape))
        raise InputError(f"{path}: a mask of {mine} voxels does not fit a tomogram of {wanted}")
    if head.dtype.kind not in "iu" or head.dtype.itemsize > 2 or head.mode == 101:
        raise InputError(f"{path}: not a mask (voxels of mode {head.mode})")
    open_stack(path)  # says what is wrong with the file
    return np.memmap(path, head.dtype, "c", head.data_offset, shape)


def ball(diameter: int, flat_axis: int | None = None) -> npt.NDArray[np.bool_]:
    """The voxels of a brush: a ball, or a disc across ``flat_axis`` (0 z, 1 y, 2 x).

    Raises
    ------
    InputError
        An impossible diameter.
    """
    if not 1 <= diameter <= LARGEST:
        raise InputError(f"brush: a diameter of {diameter} voxels is not within 1 to {LARGEST}")
    line = np.arange(diameter) - (diameter - 1) / 2
    radius = diameter / 2
    lines = [line if k != flat_axis else np.zeros(1) for k in range(3)]
    z, y, x = np.meshgrid(*lines, indexing="ij")
    inside: npt.NDArray[np.bool_] = z * z + y * y + x * x <= radius * radius
    return inside


@dataclass(eq=False)
class Stroke:
    """What one drag changed.

    Attributes
    ----------
    index : list of (n,) int64
        Into the flat mask.
    before : list of (n,) array
        What was there.
    value : int
        What is there now.
    regions : list
        Boxes within which all of it lies, one for each dab.
    """

    value: int
    index: list[npt.NDArray[np.int64]] = field(default_factory=list)
    before: list[npt.NDArray[Any]] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)

    @property
    def n_voxels(self) -> int:
        """How many voxels it changed."""
        return sum(len(i) for i in self.index)


class MaskEditor:
    """A mask ``(nz, ny, nx)`` that is painted, with undo and redo.

    Attributes
    ----------
    mask : array
        Changed in place.
    edits : int
        Counts every change, undoing included.
    """

    def __init__(self, mask: npt.NDArray[Any]) -> None:
        self.mask = mask
        self.edits = 0
        self._done: list[Stroke] = []
        self._undone: list[Stroke] = []
        self._stroke: Stroke | None = None
        self._saved: Stroke | None = None
        self._last: tuple[float, ...] | None = None

    @property
    def modified(self) -> bool:
        """Whether it differs from what was saved last, as far as strokes tell."""
        return self._top() is not self._saved or self._stroke is not None

    @property
    def can_undo(self) -> bool:
        """Whether there is a stroke to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is a stroke to do again."""
        return bool(self._undone)

    def _top(self) -> Stroke | None:
        return self._done[-1] if self._done else None

    def mark_saved(self) -> None:
        """The mask is on disk as it is."""
        self._saved = self._top()

    def begin(self, value: int) -> None:
        """A stroke begins that sets voxels to ``value``: 1 paints, 0 erases."""
        self._stroke, self._last = Stroke(value), None

    def drag(self, zyx: tuple[float, float, float], brush: npt.NDArray[np.bool_]) -> list[Region]:
        """Carry the brush to a position in a straight line; the regions that changed."""
        if self._stroke is None:
            return []
        end = np.asarray(zyx, np.float64)
        start = end if self._last is None else np.asarray(self._last)
        # Dabs overlap by three quarters, so that a fast drag leaves a band and no beads.
        step = max(1.0, max(brush.shape) / 4)
        count = max(1, int(np.ceil(np.abs(end - start).max() / step)))
        first = 1 if self._last is not None else count
        self._last = tuple(float(v) for v in end)
        changed = [
            self._dab(start + (end - start) * k / count, brush) for k in range(first, count + 1)
        ]
        return [region for region in changed if region is not None]

    def _dab(self, at: npt.NDArray[np.float64], brush: npt.NDArray[np.bool_]) -> Region | None:
        assert self._stroke is not None
        first = np.round(at - (np.array(brush.shape) - 1) / 2).astype(int)
        low = np.maximum(first, 0)
        high = np.minimum(first + brush.shape, self.mask.shape)
        if (high <= low).any():
            return None
        region = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        inside = tuple(
            slice(int(a - f), int(b - f)) for a, b, f in zip(low, high, first, strict=True)
        )
        here = self.mask[region]
        wrong = brush[inside] & ((here != 0) != bool(self._stroke.value))
        where = np.nonzero(wrong)
        if not len(where[0]):
            return None
        index = np.ravel_multi_index(
            tuple(w + a for w, a in zip(where, low, strict=True)), self.mask.shape
        )
        found: Region = (region[0], region[1], region[2])
        self._stroke.index.append(index.astype(np.int64))
        self._stroke.before.append(np.array(here[where]))
        self._stroke.regions.append(found)
        here[where] = self._stroke.value
        self.edits += 1
        return found

    def end(self) -> Stroke | None:
        """The stroke is done; ``None`` when it changed nothing."""
        stroke, self._stroke, self._last = self._stroke, None, None
        if stroke is None or not stroke.index:
            return None
        self._done.append(stroke)
        self._undone.clear()
        return stroke

    def add(self, value: int, index: npt.NDArray[np.int64]) -> None:
        """Do a stroke that is known by the voxels that it changed."""
        flat = self.mask.reshape(-1)
        stroke = Stroke(value, [index], [np.array(flat[index])])
        at = np.array(np.unravel_index(index, self.mask.shape))
        z, y, x = (slice(int(a), int(b) + 1) for a, b in zip(at.min(1), at.max(1), strict=True))
        stroke.regions.append((z, y, x))
        flat[index] = value
        self._done.append(stroke)
        self._undone.clear()
        self.edits += 1

    def undo(self) -> Stroke | None:
        """Take the last stroke back; what that changed."""
        if not self._done or self._stroke is not None:
            return None
        stroke = self._done.pop()
        flat = self.mask.reshape(-1)
        # From the last dab to the first: the first one knows what was there.
        for index, before in zip(stroke.index[::-1], stroke.before[::-1], strict=True):
            flat[index] = before
        self._undone.append(stroke)
        self.edits += 1
        return Stroke(1 - stroke.value, stroke.index, [], stroke.regions)

    def redo(self) -> Stroke | None:
        """Do the stroke again that was taken back last; what that changed."""
        if not self._undone or self._stroke is not None:
            return None
        stroke = self._undone.pop()
        flat = self.mask.reshape(-1)
        for index in stroke.index:
            flat[index] = stroke.value
        self._done.append(stroke)
        self.edits += 1
        return stroke
