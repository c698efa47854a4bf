"""A tomogram: a file and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tiltwright.engine.io.mrc import open_stack, read_header


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
        specimen's centre), in voxels of this tomogram.
    ctf_corrected : bool
        Whether the CTF of its views was corrected, before the reconstruction or in it.
    """

    name: str
    path: Path
    shape: tuple[int, int, int]
    pixel_size_a: float
    origin: tuple[float, float, float]
    ctf_corrected: bool = False

    @cached_property
    def data(self) -> Any:
        """The memory-mapped voxels ``(nz, ny, nx)``.

        Raises
        ------
        InputError
            The file is missing or damaged.
        """
        return open_stack(self.path)

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
        ctf_corrected,
    )  # fmt: skip
