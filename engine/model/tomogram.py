"""A tomogram: a file and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.io.mrc import open_stack, read_header

Floats = npt.NDArray[np.float64]
Turn = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
UPRIGHT: Turn = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Tomogram:
    """A volume ``(nz, ny, nx)`` on disk, tilt axis along y.

    Attributes
    ----------
    name : str
        Of the tilt series that it is made of.
    shape : (nz, ny, nx)
    pixel_size_a : float
    origin : (x, y, z)
        Where the first voxel's centre lies in the specimen frame of the alignment (origin at the
        specimen's centre) as it is turned, in voxels of this tomogram.
    ctf_corrected : bool
        Whether the CTF of its views was corrected, before the reconstruction or in it.
    turn : three rows of three
        How the specimen is turned against the frame of the alignment, on (x, y, z).
    """

    name: str
    path: Path
    shape: tuple[int, int, int]
    pixel_size_a: float
    origin: tuple[float, float, float]
    ctf_corrected: bool = False
    turn: Turn = UPRIGHT

    @cached_property
    def data(self) -> Any:
        """The memory-mapped voxels ``(nz, ny, nx)``.

        Raises
        ------
        InputError
            The file is missing or damaged.
        """
        return open_stack(self.path)

    def voxels_of(self, specimen: npt.ArrayLike) -> Floats:
        """Voxel positions ``(..., 3)`` as x, y, z of places in the alignment's specimen frame.

        Both in voxels of this tomogram; the centre of the first is 0.
        """
        turned: Floats = np.asarray(specimen, np.float64) @ np.array(self.turn).T
        return turned - self.origin

    def specimen_of(self, voxels: npt.ArrayLike) -> Floats:
        """What :meth:`voxels_of` takes, of what it gives."""
        out: Floats = (np.asarray(voxels, np.float64) + self.origin) @ np.array(self.turn)
        return out

    def describe(self) -> str:
        """``1024 x 1440 x 300, 5.52 Å/px +ctf``."""
        nz, ny, nx = self.shape
        text = f"{nx} x {ny} x {nz}, {self.pixel_size_a:.4g} Å/px"
        return text + (" +ctf" if self.ctf_corrected else "")


def open_tomogram(
    path: Path,
    name: str | None = None,
    origin: tuple[float, float, float] | None = None,
    ctf_corrected: bool = False,
    turn: Turn = UPRIGHT,
) -> Tomogram:
    """Open a volume; without an ``origin`` its centre is the specimen's.

    Raises
    ------
    InputError
        The file is missing or damaged.
    """
    head = read_header(path)
    nz, ny, nx = head.shape
    centre = (-(nx - 1) / 2, -(ny - 1) / 2, -(nz - 1) / 2)
    return Tomogram(
        name or path.stem, path, (nz, ny, nx), head.pixel_size_a or 1.0, origin or centre,
        ctf_corrected, turn,
    )  # fmt: skip
