"""The mask of a run as a person corrects it: versions beside its results."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.atomic import file_error
from tiltwright.engine.io.mrc import open_stack, read_header
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.model.tomogram import Tomogram
from tiltwright.engine.project.edited import EditedResult, author
from tiltwright.engine.project.versions import Version, new_folder, write_record

_SECTIONS = 8
_MESHES = (".ply", ".stl")


class EditedMask(EditedResult):
    """Versions of one mask of a project."""

    @property
    def folder(self) -> Path:
        """Where the versions lie."""
        return self._project.folder_of(self._source.run) / "edited" / f"{self._name}_mask"

    def load(self) -> Tomogram:
        """The mask as it is; raises :class:`InputError`."""
        mask: Tomogram = self._project.item(self._source, self._name)
        return mask

    def write(self, mask: Any, note: str) -> Iterator[Version | None]:
        """Write a version in pieces: ``None`` after each, then the version.

        It is not the run's result before :meth:`use`; nobody may change ``mask`` meanwhile.

        Parameters
        ----------
        mask : (nz, ny, nx)
            Not 0 inside.

        Raises
        ------
        InputError
            Another size than the run's mask, or a file cannot be written.
        """
        before = self.load()
        if mask.shape != before.shape:
            mine = " x ".join(str(n) for n in mask.shape[::-1])
            raise InputError(f"mask: {mine} voxels do not fit the result, {before.describe()}")
        if not self.versions():
            yield from self._keep(before)
        path = new_folder(self.folder)
        file = path / before.path.name
        head = read_header(before.path)
        labels = [*head.labels[:9], "Tiltwright: mask edited by hand"]
        count = 0
        with MrcWriter(
            file, mask.shape, np.int8, before.pixel_size_a, head.origin, labels
        ) as writer:
            for z in range(0, len(mask), _SECTIONS):
                part = np.asarray(mask[z : z + _SECTIONS]) != 0
                count += int(part.sum())
                writer.write(z, part.view(np.int8))
                yield None
        yield write_record(path, file.stem, author(), note, {"n_voxels": count})

    def mesh(self, version: Version) -> Iterator[None]:
        """Write the mesh of a version in pieces, if the run has made one of its mask.

        It is made of the file: the mask may be changed meanwhile.

        Raises
        ------
        InputError
            A file cannot be read or written.
        """
        from tiltwright.engine.volume.mesh import Mesh, mesh_in_pieces, write_mesh

        made = self._project.output_folder(self._source.run) / f"{version.name}.mrc"
        file = version.path / made.name
        endings = [ending for ending in _MESHES if made.with_suffix(ending).exists()]
        if not endings or not version.numbers.get("n_voxels", 1):
            return
        mask, head = open_stack(file), read_header(file)
        rounds = int(self._project.runs[self._source.run].params.get("smoothing", 10))
        for piece in mesh_in_pieces(mask, rounds):
            yield None
            if isinstance(piece, Mesh):
                pixel = head.pixel_size_a or 1.0
                write_mesh(file.with_suffix(endings[0]), piece, pixel, head.origin)

    def _keep(self, mask: Tomogram) -> Iterator[None]:
        """The mask as computed becomes the first version, at no cost where files can be linked."""
        path = new_folder(self.folder)
        meshes = [mask.path.with_suffix(ending) for ending in _MESHES]
        for file in (mask.path, *(m for m in meshes if m.exists())):
            try:
                try:
                    os.link(file, path / file.name)
                except OSError:
                    shutil.copyfile(file, path / file.name)
            except OSError as exc:
                raise file_error(path / file.name, exc) from exc
        yield None
        write_record(path, mask.path.stem, author(), "as computed", {})

    def use(self, version: Version) -> None:
        """Make a version the result of the run: what depends on it is out of date afterwards.

        Raises
        ------
        InputError
            Read-only, the run is at work, or its record cannot be written.
        """
        self.check_free()
        path = version.path / f"{version.name}.mrc"
        changed = {"path": self._project.place(self._source.run).name(path)}
        self._adopt(changed, version)
