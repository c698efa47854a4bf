"""A tilt series of one image file per tilt, found through its mdoc and read view by view."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.mdoc import Mdoc, read_mdoc
from tiltwright.engine.io.stack import open_image_stack

_ENDINGS = (".mrc", ".mrcs", ".st", ".tif", ".tiff")


class FrameStack:
    """Single images as one read-only stack ``(n_views, ny, nx)``, opened only when indexed.

    It is indexed like a memory map: ``stack[v]``, ``stack[v, 10:20]``, ``stack[2:5]``,
    ``stack[[3, 1]]``, ``numpy.asarray(stack)``.

    Raises
    ------
    InputError
        A file that cannot be read, holds more than one image, or has another size.
    """

    ndim = 3

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise InputError("a stack of single images needs at least one file")
        self.paths = tuple(paths)
        self.pixel_size_a: float | None = None
        shapes, types = [], []
        for path in self.paths:
            stack, pixel, _ = open_image_stack(path)
            shapes.append(tuple(stack.shape))
            types.append(stack.dtype)
            if shapes[-1][0] != 1:
                raise InputError(f"{path}: holds {shapes[-1][0]} images; one per tilt is needed")
            if shapes[-1] != shapes[0]:
                raise InputError(f"{path}: {shapes[-1][2]} x {shapes[-1][1]} pixels, other views "
                                 f"have {shapes[0][2]} x {shapes[0][1]}")  # fmt: skip
            self.pixel_size_a = self.pixel_size_a or pixel
        self.shape = (len(self.paths), int(shapes[0][1]), int(shapes[0][2]))
        self.dtype: np.dtype[Any] = np.result_type(*types)

    def __len__(self) -> int:
        return self.shape[0]

    def _view(self, index: int) -> NDArray[Any]:
        stack, _, _ = open_image_stack(self.paths[index])
        if tuple(stack.shape[1:]) != self.shape[1:]:
            raise InputError(f"{self.paths[index]}: changed its size while in use")
        return np.asarray(stack[0])

    def __getitem__(self, key: Any) -> NDArray[Any]:
        parts = key if isinstance(key, tuple) else (key,)
        if any(part is Ellipsis or part is None for part in parts):
            return np.asarray(np.asarray(self)[key])
        chosen = np.arange(self.shape[0])[parts[0]]
        rest = parts[1:]
        if chosen.ndim == 0:
            return np.asarray(self._view(int(chosen))[rest], self.dtype)
        if len(chosen) == 0:
            return np.empty((0, *np.empty(self.shape[1:], np.void)[rest].shape), self.dtype)
        return np.stack([np.asarray(self._view(int(v))[rest], self.dtype) for v in chosen])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        out = self[:]
        return out if dtype is None else out.astype(dtype)


@dataclass(frozen=True)
class FrameSeries:
    """A tilt series of single images; angles in degrees, dose in e/A^2, per view.

    Attributes
    ----------
    acquisition_order : (n_views,) int64
        0-based rank in time of each view.
    sections : (n_views,) int64
        Section of the mdoc, from 0, of each view.
    dose, prior_dose : (n_views,) float64 or None
        Of the view, and received before it.
    """

    stack: FrameStack
    tilt_deg: NDArray[np.float64]
    acquisition_order: NDArray[np.int64]
    sections: NDArray[np.int64]
    dose: NDArray[np.float64] | None
    prior_dose: NDArray[np.float64] | None
    axis_deg: float | None
    pixel_size_a: float | None


def load_frames_mdoc(
    mdoc: str | os.PathLike[str] | Mdoc,
    folder: str | os.PathLike[str] | None = None,
    *,
    order: Literal["acquisition", "tilt"] = "acquisition",
    tomo5: bool | None = None,
) -> FrameSeries:
    """Open the images that an mdoc names, one per section.

    Each is looked for in ``folder`` by the file name of its ``SubFramePath``, then, since that
    names the movie and not its average, by the same name with the ending of an MRC or TIFF file.

    Parameters
    ----------
    folder : path, optional
        The mdoc's own folder by default.
    order : {"acquisition", "tilt"}
        Order of the views.
    tomo5 : bool, optional
        Whether Tomo5 wrote the mdoc, see :meth:`~tiltwright.engine.io.mdoc.Mdoc.axis`.

    Raises
    ------
    InputError
        An image that is missing or is no single image, angles or dates that are missing.
    """
    notes = mdoc if isinstance(mdoc, Mdoc) else read_mdoc(mdoc)
    name = "the mdoc" if isinstance(mdoc, Mdoc) else str(mdoc)
    if folder is None:
        folder = Path("." if isinstance(mdoc, Mdoc) else mdoc).parent
    tilt, rank = notes.tilt_deg, notes.acquisition_order
    if tilt is None:
        raise InputError(f"{name}: a section has no TiltAngle")
    if rank is None:
        raise InputError(f"{name}: no acquisition order (DateTime or PriorRecordDose) there")
    sections = np.argsort(rank if order == "acquisition" else tilt, kind="stable")
    names = notes.frame_names
    paths = [_image(name, Path(folder), int(s), names[s]) for s in sections]
    stack = FrameStack(paths)
    dose, prior = notes.doses, notes.prior_doses
    pixel = stack.pixel_size_a if stack.pixel_size_a not in (None, 1.0) else notes.pixel_size_a
    return FrameSeries(
        stack, tilt[sections], rank[sections], sections.astype(np.int64),
        None if dose is None else dose[sections], None if prior is None else prior[sections],
        notes.axis(tomo5), pixel,
    )  # fmt: skip


def _image(mdoc: str, folder: Path, section: int, name: str | None) -> Path:
    if not name or name in (".", "..") or "\0" in name:
        raise InputError(f"{mdoc}: section {section} names no image (SubFramePath)")
    exact = folder / name
    beside = [exact.with_suffix(ending) for ending in _ENDINGS]
    # A movie under its own name is no view: its average, with another ending, goes first then.
    movie: InputError | None = None
    for path in dict.fromkeys([exact, *beside]):
        try:
            if not path.is_file():
                continue
            frames = open_image_stack(path)[0].shape[0]
        except (OSError, InputError) as exc:
            movie = movie or InputError(str(exc))
            continue
        if frames == 1:
            return path
        movie = InputError(f"{path}: a movie of {frames} frames; one averaged image is needed")
    raise movie or InputError(f"{mdoc}: the image {name} of section {section} is not in {folder}")
