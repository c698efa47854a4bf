"""Crop and position a tomogram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tiltwright.engine.io.mrc import read_header
from tiltwright.engine.model.tomogram import Tomogram, Turn, open_tomogram
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter

if TYPE_CHECKING:
    from tiltwright.engine.volume.crop import Box


def _edge(axis: str, last: bool) -> Any:
    word, side = ("to", "last") if last else ("from", "first")
    return parameter(
        0, label=f"{axis.upper()} {word}", unit="voxels", ge=0, group="Box",
        imod="trimvol -" + axis,
        help=f"The {side} voxel along {axis} that is kept, counted from 1; 0 is the edge.",
    )  # fmt: skip


def _box(tomogram: Tomogram, params: Any) -> Box:
    """First and last voxel along x, y and z, 0-based."""
    first = [max(getattr(params, f"{a}_from"), 1) - 1 for a in "xyz"]
    last = [
        (getattr(params, f"{a}_to") or n) - 1
        for a, n in zip("xyz", tomogram.shape[::-1], strict=True)
    ]
    return (first[0], last[0]), (first[1], last[1]), (first[2], last[2])


def _labels(tomogram: Tomogram) -> list[str]:
    """Those of the tomogram, which say how its grey values are scaled, and ours."""
    return [*read_header(tomogram.path).labels[:9], "Tiltwright: cropped tomogram"]


def placed(
    tomogram: Tomogram, box: Box, about_x_deg: float, about_y_deg: float
) -> tuple[tuple[float, float, float], Turn]:
    """Origin and turn of a crop."""
    first = np.array([low for low, _ in box], np.float64)
    if not (about_x_deg or about_y_deg):
        x, y, z = (float(v) for v in tomogram.origin + first)
        return (x, y, z), tomogram.turn
    from tiltwright.engine.volume.crop import turn

    # a voxel u comes to lie at M (u - middle) + middle, and the box begins at its first
    matrix = turn(about_x_deg, about_y_deg)
    middle = np.array([(low + high) / 2 for low, high in box])
    x, y, z = (float(v) for v in matrix @ (tomogram.origin + middle) - middle + first)
    a, b, c = ((float(p), float(q), float(r)) for p, q, r in matrix @ np.array(tomogram.turn))
    return (x, y, z), (a, b, c)


class Crop(Protocol):
    """Keep a box of a tomogram, inclusive on both sides, and lay the specimen flat if asked."""

    key = "crop"
    title = "Crop / position tomogram"
    section = "Tomograms"
    inspect = "The specimen is centred in Z, with little empty volume above and below."
    inputs: ClassVar = {"tomogram": Port(Tomogram, "Tomogram")}
    outputs: ClassVar = {"tomogram": Port(Tomogram, "Cropped tomogram")}

    class Params(base.Parameters):
        x_from: int = _edge("x", False)
        x_to: int = _edge("x", True)
        y_from: int = _edge("y", False)
        y_to: int = _edge("y", True)
        z_from: int = _edge("z", False)
        z_to: int = _edge("z", True)
        about_x_deg: float = parameter(
            0.0, label="Turn about x", unit="deg", ge=-45, le=45, group="Flatten",
            help="Turns the specimen about the x axis, so that it lies flat.",
        )  # fmt: skip
        about_y_deg: float = parameter(
            0.0, label="Turn about y", unit="deg", ge=-45, le=45, group="Flatten",
            help="Turns the specimen about the tilt axis, so that it lies flat.",
        )  # fmt: skip

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """A smaller tomogram."""
        from tiltwright.engine.volume.crop import check_box

        tomogram: Tomogram = inputs["tomogram"]
        (x0, x1), (y0, y1), (z0, z1) = box = _box(tomogram, params)
        check_box(box, tomogram.shape)
        return {"tomogram": replace(tomogram, shape=(z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1))}

    @classmethod
    def run(cls, inputs: Mapping[str, Any], params: Any, context: Context) -> dict[str, Any]:
        """Crop one tomogram into ``NAME_crop.mrc``."""
        from tiltwright.engine.volume.crop import crop_volume

        tomogram: Tomogram = inputs["tomogram"]
        box = _box(tomogram, params)
        path = context.folder / f"{tomogram.name}_crop.mrc"
        shape = crop_volume(
            tomogram.data, box, path, tomogram.pixel_size_a, about_x_deg=params.about_x_deg,
            about_y_deg=params.about_y_deg, labels=_labels(tomogram),
            monitor=context.monitor,
        )  # fmt: skip
        origin, turned = placed(tomogram, box, params.about_x_deg, params.about_y_deg)
        context.say(f"{tomogram.describe()} -> {shape[2]} x {shape[1]} x {shape[0]}")
        done = open_tomogram(path, tomogram.name, origin, tomogram.ctf_corrected, turned)
        return {"tomogram": done}
