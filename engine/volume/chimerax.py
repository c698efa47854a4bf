"""A ChimeraX script that opens a tomogram, a mask, its mesh and beads over one another.

ChimeraX puts the centre of a map's first voxel at the origin in its header, angstrom, and shows
meshes and markers where their numbers say. ChimeraX goes to a script's folder before it runs it,
so the files are named from there and the folder can be moved.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import write_text
from tiltwright.engine.io.mrc import MrcHeader, read_header
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.volume.mesh import mesh_of_mask, write_mesh

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """Where the script and what it opens lie; ``None`` where there is none of it."""

    script: Path
    mesh: Path | None
    beads: Path | None


def to_angstrom(voxels: npt.ArrayLike, header: MrcHeader) -> Floats:
    """Voxel positions ``(..., 3)`` as x, y, z to ChimeraX's coordinates."""
    xyz: Floats = np.asarray(voxels, np.float64) * (header.pixel_size_a or 1.0) + header.origin
    return xyz


def write_scene(
    folder: Path,
    name: str,
    tomogram: Path,
    *,
    mask: Path | None = None,
    mask_data: Any = None,
    beads_voxels: npt.ArrayLike | None = None,
    bead_radius_a: float = 50.0,
    monitor: Monitor = SILENT,
) -> Scene:
    """Write ``NAME.cxc`` and the mesh ``NAME.stl`` and markers ``NAME_beads.cmm`` that it opens.

    Parameters
    ----------
    mask : path, optional
        MRC file of the same size; ``mask_data`` ``(nz, ny, nx)`` are its voxels.
    beads_voxels : (n, 3), optional
        x, y, z in voxels of the tomogram, the centre of the first 0; rows of NaN are left out.

    Raises
    ------
    InputError
        A file cannot be read or written, or the mask has another size or pixel size.
    Cancelled
    """
    head = read_header(tomogram)
    pixel = head.pixel_size_a or 1.0
    script = folder / f"{name}.cxc"
    lines = ["close", f"open {_quoted(tomogram, folder)}", "volume #1 style image step 1"]
    mesh_file = beads_file = None
    number = 2
    if mask is not None:
        other = read_header(mask)
        if other.shape != head.shape or abs((other.pixel_size_a or 1.0) / pixel - 1) > 1e-3:
            raise InputError(
                f"{mask}: {_size(other)} does not fit the tomogram, {_size(head)} ({tomogram})"
            )
        lines += [
            f"open {_quoted(mask, folder)}",
            f"volume #{number} style surface step 1 level 0.5 color gold",
            # over the tomogram, whatever its own header says
            f"volume #{number} origin {','.join(f'{x:g}' for x in head.origin)}",
            f"hide #{number} models",
        ]
        number += 1
        if mask_data is not None and np.any(mask_data):
            mesh_file = folder / f"{name}.stl"
            write_mesh(mesh_file, mesh_of_mask(mask_data, monitor=monitor), pixel, head.origin)
            lines += [f"open {_quoted(mesh_file, folder)}", f"color #{number} gold",
                      f"transparency #{number} 30"]  # fmt: skip
            number += 1
    if beads_voxels is not None:
        xyz = to_angstrom(beads_voxels, head).reshape(-1, 3)
        beads_file = folder / f"{name}_beads.cmm"
        rows = [
            f'<marker id="{k}" x="{x:.3f}" y="{y:.3f}" z="{z:.3f}" r="0.2" g="0.6" b="1" '
            f'radius="{bead_radius_a:g}"/>'
            for k, (x, y, z) in enumerate(xyz[np.isfinite(xyz).all(1)], 1)
        ]
        write_text(beads_file, "\n".join(['<marker_set name="beads">', *rows, "</marker_set>", ""]))
        lines += [f"open {_quoted(beads_file, folder)}"]
    lines += ["view"]
    write_text(script, "\n".join(lines) + "\n")
    return Scene(script, mesh_file, beads_file)


def _quoted(path: Path, folder: Path) -> str:
    text = Path(os.path.relpath(path, folder)).as_posix()
    if '"' in text or "\n" in text:
        raise InputError(f"{path}: ChimeraX cannot open a file whose name has a quotation mark")
    return f'"{text}"'


def _size(head: MrcHeader) -> str:
    return f"{head.nx} x {head.ny} x {head.nz}, {head.pixel_size_a or 1.0:.4g} Å/px"
