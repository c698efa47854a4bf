"""Membranes by the network of the package ``membrain-seg``, where that is installed.

Lamm et al. 2024, doi:10.1101/2024.01.05.574336. Its function ``segment`` reads a tomogram and the
weights from files and writes the mask as one; it finds a graphics card by itself.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.io.mrc import open_stack

_WINDOW = 160
"""Side of the cube that the network sees at a time, voxels: what it was trained with."""


def load_membrain(model: Path | None) -> Callable[..., Any]:
    """The package's ``segment``.

    Raises
    ------
    InputError
        No model is named or there, or the package is not installed or one that we do not know.
    """
    if model is None:
        raise InputError("segmentation: membrain-seg needs the file of a trained model (.ckpt)")
    if not model.expanduser().is_file():
        raise InputError(f"segmentation: {model}: no such file; membrain-seg needs its model")
    try:
        found: Callable[..., Any] = importlib.import_module(
            "membrain_seg.segmentation.segment"
        ).segment
    except (ImportError, AttributeError) as exc:
        raise InputError(
            f"segmentation: the package membrain-seg cannot be used ({exc}); install it, or choose "
            "the built-in method"
        ) from exc
    return found


def membrain_mask(
    segment: Callable[..., Any],
    tomogram: Path,
    shape: tuple[int, int, int],
    pixel_size_a: float,
    model: Path,
    folder: Path,
) -> npt.NDArray[np.uint8]:
    """Segment a tomogram's file; 1 in membranes, ``(nz, ny, nx)``.

    Parameters
    ----------
    segment
        What :func:`load_membrain` gave.
    folder
        Where scratch files may lie.

    Raises
    ------
    DataError
        The package failed, or wrote a mask of another size.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        try:
            segment(
                tomogram_path=str(tomogram), ckpt_path=str(model.expanduser()), out_folder=scratch,
                rescale_patches=True, in_pixel_size=pixel_size_a, sw_roi_size=_WINDOW,
            )  # fmt: skip
        except Exception as exc:
            # whatever a foreign network raises: weights of another version, no memory
            raise DataError(f"segmentation: membrain-seg failed: {exc}") from exc
        written = sorted(Path(scratch).rglob("*_segmented.mrc"))
        if len(written) != 1:
            raise DataError(f"segmentation: membrain-seg wrote {len(written)} masks instead of one")
        found = open_stack(written[0])
        if found.shape != shape:
            mine, wanted = (" x ".join(str(n) for n in s[::-1]) for s in (found.shape, shape))
            raise DataError(f"segmentation: membrain-seg wrote {mine} voxels for {wanted}")
        mask: npt.NDArray[np.uint8] = np.array(found > 0).view(np.uint8)
    return mask
