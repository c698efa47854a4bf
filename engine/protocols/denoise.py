"""Denoise a tomogram, for the eye and for segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from tiltwright.engine.model.tomogram import Tomogram, open_tomogram
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter


class Denoise(Protocol):
    """Lower the noise of a tomogram and keep its edges. Not for averaging: grey values change."""

    key = "denoise"
    title = "Denoise tomogram"
    section = "Tomograms"
    citation = (
        "Fernández & Li 2003, doi:10.1016/j.jsb.2003.09.010; Frangakis & Hegerl 2001, "
        "doi:10.1006/jsbi.2001.4406; Fernández 2009, doi:10.1186/1471-2105-10-178"
    )
    inspect = (
        "Raw and denoised side by side: ringing, over-smoothing, lost filaments? Never average "
        "particles of a denoised tomogram."
    )
    inputs: ClassVar = {"tomogram": Port(Tomogram, "Tomogram")}
    outputs: ClassVar = {"tomogram": Port(Tomogram, "Denoised tomogram")}

    class Params(base.Parameters):
        method: Literal["eed", "beltrami", "gaussian", "median", "band-pass"] = parameter(
            "eed", label="Method", imod="nad_eed_3d",
            help="eed: edge-enhancing diffusion. beltrami: Beltrami flow, without a threshold. "
            "The others are plain filters.",
        )  # fmt: skip
        sigma: float = parameter(
            0.5, label="Sigma", unit="voxels", ge=0, le=2.5, shown_if={"method": "eed"},
            help="Smoothing before the gradient is taken.",
        )  # fmt: skip
        iterations: int = parameter(
            10, label="Iterations", ge=1, le=1000, shown_if={"method": "eed"},
            help="More are smoother; the time grows with them.",
        )  # fmt: skip
        lam: float = parameter(
            0.0, label="Lambda", ge=0, shown_if={"method": "eed"}, imod="-k",
            help="Gradient, in grey values per voxel, that counts as an edge; 0 is the mean "
            "gradient, found anew before each iteration.",
        )  # fmt: skip
        step: float = parameter(
            0.1, label="Time step", gt=0, le=0.16, expert=True, shown_if={"method": "eed"},
            help="Larger steps smooth more in each iteration.",
        )  # fmt: skip
        flow_iterations: int = parameter(
            70, label="Iterations", ge=1, le=1000, shown_if={"method": "beltrami"},
            help="More are smoother; the time grows with them.",
        )  # fmt: skip
        flow_step: float = parameter(
            0.15, label="Time step", gt=0, le=0.16, expert=True, shown_if={"method": "beltrami"},
            help="Larger steps smooth more in each iteration.",
        )  # fmt: skip
        gaussian_sigma: float = parameter(
            1.0, label="Sigma", unit="voxels", gt=0, le=50, shown_if={"method": "gaussian"},
            help="Of the Gaussian.",
        )  # fmt: skip
        median_size: int = parameter(
            3, label="Size", unit="voxels", ge=3, le=15, shown_if={"method": "median"},
            help="Side of the cube whose median is taken, an odd number.",
        )  # fmt: skip
        longest_a: float = parameter(
            0.0, label="Longest period", unit="Å", ge=0, shown_if={"method": "band-pass"},
            help="Structures larger than this are removed; 0 keeps them.",
        )  # fmt: skip
        shortest_a: float = parameter(
            60.0, label="Shortest period", unit="Å", ge=0, shown_if={"method": "band-pass"},
            help="Details finer than this are removed; 0 keeps them.",
        )  # fmt: skip
        output_type: Literal["same", "float32"] = parameter(
            "same", label="Output type", expert=True, imod="MODE",
            help="same: int16 and uint16 stay what they are; all else becomes float32.",
        )  # fmt: skip

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """A tomogram of the same size."""
        cls.denoising(params, inputs["tomogram"].pixel_size_a).check()
        return super().foresee(inputs, params)

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Denoise one tomogram into ``NAME_denoised.mrc``."""
        import numpy as np

        from tiltwright.engine.io.mrc import read_header
        from tiltwright.engine.volume.denoise import denoise_volume

        tomogram: Tomogram = inputs["tomogram"]
        how = cls.denoising(params, tomogram.pixel_size_a)
        how.check()
        kind = np.dtype(tomogram.data.dtype).newbyteorder("=")
        keep = params.output_type == "same" and kind in (np.int16, np.uint16)
        path = context.folder / f"{tomogram.name}_denoised.mrc"
        labels = [*read_header(tomogram.path).labels[:9], f"Tiltwright: denoised, {how.method}"]
        denoise_volume(
            tomogram.data, how, path, tomogram.pixel_size_a, dtype=kind if keep else np.float32,
            labels=tuple(labels), monitor=context.monitor, threads=context.threads,
        )  # fmt: skip
        context.say(f"{tomogram.describe()}: {how.method}")
        done = open_tomogram(
            path, tomogram.name, tomogram.origin, tomogram.ctf_corrected, tomogram.turn
        )
        return {"tomogram": done}

    @staticmethod
    def denoising(params: Any, pixel_size_a: float) -> Any:
        """What the parameters mean for a tomogram; a preview uses it with ``denoise_slab``."""
        from tiltwright.engine.volume.denoise import Denoising

        flow, gauss = params.method == "beltrami", params.method == "gaussian"
        return Denoising(
            params.method,
            iterations=params.flow_iterations if flow else params.iterations,
            step=params.flow_step if flow else params.step,
            sigma=params.gaussian_sigma if gauss else params.sigma,
            lam=params.lam,
            size=params.median_size,
            low=pixel_size_a / params.longest_a if params.longest_a else 0.0,
            high=pixel_size_a / params.shortest_a if params.shortest_a else 0.0,
        )
