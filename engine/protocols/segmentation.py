"""Segmentation of membranes, as a mask and a mesh."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.io.hashes import file_hash
from tiltwright.engine.model.tomogram import Tomogram, open_tomogram
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter
from tiltwright.engine.volume.membrain import load_membrain


class Segmentation(Protocol):
    """Find membranes by their plane-ness and by votes along them, or by a trained network."""

    key = "segmentation"
    title = "Segment membranes"
    section = "Tomograms"
    citation = (
        "Martinez-Sanchez et al. 2014, doi:10.1016/j.jsb.2014.02.015; membrain-seg: Lamm et al. "
        "2024, doi:10.1101/2024.01.05.574336"
    )
    inspect = (
        "Does the mask hug the membranes? Holes, spikes, density that it lacks, noise that it "
        "has? Membranes that lie flat are lost in the missing wedge."
    )
    inputs: ClassVar = {"tomogram": Port(Tomogram, "Tomogram, denoised at best")}
    outputs: ClassVar = {"mask": Port(Tomogram, "Mask of the membranes")}

    class Params(base.Parameters):
        method: Literal["built-in", "membrain-seg"] = parameter(
            "built-in", label="Method",
            help="built-in: plane-ness and votes, without learned weights. membrain-seg: its "
            "neural network, if that package is installed.",
        )  # fmt: skip
        model: Path | None = parameter(
            None, label="Trained model", path="file", empty="needed",
            shown_if={"method": "membrain-seg"},
            help="The file of weights (.ckpt) that membrain-seg is to use.",
        )  # fmt: skip
        thickness_nm: float = parameter(
            4.0, label="Membrane thickness", unit="nm", gt=0, le=100,
            shown_if={"method": "built-in"},
            help="What is looked for, and how thick the mask is.",
        )  # fmt: skip
        threshold: float = parameter(
            14.0, label="Strength threshold", gt=0,
            shown_if={"method": "built-in"},
            help="How much stronger than the background's usual sheets a membrane must be "
            "somewhere. Lower finds more membranes and more noise.",
        )  # fmt: skip
        weak: float = parameter(
            0.6, label="Weak part", gt=0, le=1, expert=True,
            shown_if={"method": "built-in"},
            help="Part of the threshold that suffices where a sheet is connected to a strong one.",
        )  # fmt: skip
        min_size: int = parameter(
            300, label="Minimum size", unit="voxels", ge=0,
            shown_if={"method": "built-in"},
            help="Of a connected membrane: voxels of its middle sheet.",
        )  # fmt: skip
        light: bool = parameter(
            False, label="Light membranes", expert=True,
            shown_if={"method": "built-in"},
            help="Membranes are lighter than their surroundings.",
        )  # fmt: skip
        rim: bool = parameter(
            False, label="Also at the rim", expert=True, shown_if={"method": "built-in"},
            help="Look also where only some of the views reach: their borders are straight lines "
            "there, which may be taken for membranes.",
        )  # fmt: skip
        mesh: Literal["none", "ply", "stl"] = parameter(
            "ply", label="Mesh", help="Also write the smoothed surface, in angstrom.",
        )  # fmt: skip
        smoothing: int = parameter(
            10, label="Rounds of smoothing", ge=0, le=200, expert=True,
            help="Of the mesh; it does not shrink.",
        )  # fmt: skip

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """A mask of the tomogram's size."""
        if params.method == "membrain-seg":
            load_membrain(params.model)
        else:
            _thickness(inputs["tomogram"], params)
        return {"mask": inputs["tomogram"]}

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Segment one tomogram into ``NAME_membranes.mrc`` and its mesh."""
        import numpy as np

        from tiltwright.engine.io.mrc_write import MrcWriter
        from tiltwright.engine.volume.mesh import mesh_of_mask, write_mesh

        tomogram: Tomogram = inputs["tomogram"]
        if params.method == "membrain-seg":
            mask = cls._learned(tomogram, params, context)
        else:
            mask = cls._built_in(tomogram, params, context)
        path = context.folder / f"{tomogram.name}_membranes.mrc"
        label = ("Tiltwright: 1 in membranes",)
        with MrcWriter(path, mask.shape, np.int8, tomogram.pixel_size_a, labels=label) as writer:
            for z, section in enumerate(mask):
                context.monitor.check()
                writer.write(z, section.astype(np.int8))
        if params.mesh != "none":
            mesh = mesh_of_mask(mask, params.smoothing, context.monitor)
            write_mesh(path.with_suffix(f".{params.mesh}"), mesh, tomogram.pixel_size_a)
            context.say(f"mesh of {len(mesh.triangles)} triangles")
        return {"mask": open_tomogram(path, tomogram.name, tomogram.origin, turn=tomogram.turn)}

    @classmethod
    def source_hashes(cls, params: Any) -> list[str]:
        """Identity of the model that was named."""
        if params.method != "membrain-seg" or params.model is None:
            return []
        return [file_hash(params.model.expanduser())]

    @staticmethod
    def _built_in(tomogram: Tomogram, params: Any, context: Context) -> Any:
        from tiltwright.engine.volume.membranes import find_membranes

        thickness = _thickness(tomogram, params)
        found = find_membranes(
            tomogram.data, thickness, threshold=params.threshold, weak=params.weak,
            least_points=params.min_size, dark=not params.light, rim=params.rim,
            monitor=context.monitor, threads=context.threads,
        )  # fmt: skip
        if not len(found.points):
            raise DataError(
                f"segmentation: no membranes found in {tomogram.name}; lower the threshold, or "
                "denoise the tomogram first"
            )
        area = len(found.points) * (found.spacing * tomogram.pixel_size_a / 10) ** 2
        context.say(f"{found.component.max() + 1} membranes, about {area:.0f} nm² together")
        return found.mask

    @staticmethod
    def _learned(tomogram: Tomogram, params: Any, context: Context) -> Any:
        from tiltwright.engine.volume.membrain import membrain_mask

        segment = load_membrain(params.model)
        context.monitor.step(0, 1, "membrain-seg is at work")
        mask = membrain_mask(
            segment, tomogram.path, tomogram.shape, tomogram.pixel_size_a, params.model,
            context.folder,
        )  # fmt: skip
        if not mask.any():
            raise DataError(f"segmentation: membrain-seg found no membranes in {tomogram.name}")
        context.say(f"membrain-seg with {params.model.name}: {int(mask.sum())} voxels")
        return mask


def _thickness(tomogram: Tomogram, params: Any) -> float:
    """Of a membrane, in voxels."""
    thickness: float = params.thickness_nm * 10 / tomogram.pixel_size_a
    if not 1 <= thickness <= 20:
        raise InputError(
            f"segmentation: membranes of {params.thickness_nm:g} nm are {thickness:.2g} voxels "
            f"of {tomogram.pixel_size_a:g} Å thick; 1 to 20 are possible"
        )
    return thickness
