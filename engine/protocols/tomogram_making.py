"""What the steps that make tomograms share: parameters, the request, CTF in 3-D, halves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from tiltwright.engine.conventions import aligned_size
from tiltwright.engine.errors import InputError
from tiltwright.engine.model.ctf_table import CtfTable
from tiltwright.engine.model.tilt_series import TiltSeries
from tiltwright.engine.model.tomogram import UPRIGHT, Tomogram, Turn, open_tomogram
from tiltwright.engine.progress import Monitor
from tiltwright.engine.protocols import base
from tiltwright.engine.protocols.base import Context, Port, Protocol, parameter
from tiltwright.engine.protocols.ctf_views import CtfViews, Hand, hand_parameter, rows_of

if TYPE_CHECKING:
    from tiltwright.engine.recon.output import Reconstruction
    from tiltwright.engine.recon.strips import Request
    from tiltwright.engine.recon.wbp import Weighting

CtfMethod = Literal["off", "flip", "multiply", "wiener"]
_CTF_TITLE = "CTF correction in 3-D"
SERIES = Port(TiltSeries, "Aligned tilt series", aligned=True)
CTF = Port(CtfTable, "CTF, for a correction in 3-D", optional=True)
TOMOGRAMS: Mapping[str, Port] = {
    "tomogram": Port(Tomogram, "Tomogram"),
    "even": Port(Tomogram, "Even half", optional=True),
    "odd": Port(Tomogram, "Odd half", optional=True),
}


class SizeParams(base.Parameters):
    """Size and place of the tomogram."""

    thickness: int = parameter(
        300, label="Thickness", unit="voxels", ge=2, le=8192, imod="THICKNESS",
        help="Thickness of the tomogram, in voxels of the tomogram.",
    )  # fmt: skip
    width: int = parameter(
        0, label="Width", unit="voxels", ge=0, expert=True, imod="WIDTH",
        help="Width across the tilt axis; 0 is the full width.",
    )  # fmt: skip
    shift_x: float = parameter(
        0.0, label="Shift in x", unit="voxels", imod="SHIFT", help="Moves the specimen in x."
    )
    shift_z: float = parameter(
        0.0, label="Shift in z", unit="voxels", imod="SHIFT", help="Moves the specimen in z."
    )
    angle_offset_deg: float = parameter(
        0.0, label="Angle offset", unit="deg", ge=-90, le=90, imod="OFFSET",
        help="Added to all tilt angles.",
    )  # fmt: skip


def ctf_parameter(**more: Any) -> Any:
    """Whether, and how, the CTF is corrected in 3-D."""
    return parameter(
        "off", label=_CTF_TITLE, **more,
        help="Reconstruct the specimen in slabs, each from views corrected for the defocus at its "
        "height; for thick specimens. Needs the CTF of a series that is not corrected yet. Flip "
        "the phases, multiply by the CTF, or a Wiener filter.",
    )  # fmt: skip


class CtfParams(base.Parameters):
    """Correction of the CTF in 3-D."""

    ctf: CtfMethod = ctf_parameter()
    defocus_step_nm: float = parameter(
        15.0, label="Defocus step", unit="nm", gt=0, le=10000,
        shown_if={"ctf": ("flip", "multiply", "wiener")},
        help="Thickness of a slab. The time grows with the number of slabs.",
    )  # fmt: skip
    snr: float = parameter(
        4.0, label="Signal to noise", gt=0, le=1e6, shown_if={"ctf": "wiener"},
        help="Of the power, for the Wiener filter.",
    )  # fmt: skip
    hand: Hand = hand_parameter(shown_if={"ctf": ("flip", "multiply", "wiener")})


class OutputParams(base.Parameters):
    """What is written."""

    halves: bool = parameter(
        False, label="Even and odd halves",
        help="Also reconstruct from the even and the odd frames alone, or, where the series has "
        "none, from every other view in the order of tilt, on the scale of the whole: for "
        "denoising by pairs and for Fourier shell correlation.",
    )  # fmt: skip
    output_type: Literal["int16", "float32"] = parameter(
        "int16", label="Output type", imod="MODE",
        help="int16 is half the size; its scale and offset stand in a label of the file.",
    )  # fmt: skip


class TomogramMaking(Protocol):
    """Base of the steps that make tomograms."""

    section = "Reconstruction"
    outputs: ClassVar = TOMOGRAMS

    @classmethod
    def makes(cls, params: Any) -> Mapping[str, Port]:
        """Halves where they are wanted."""
        return TOMOGRAMS if params.halves else {"tomogram": TOMOGRAMS["tomogram"]}

    @classmethod
    def corrects(cls, params: Any) -> bool:
        """Whether the CTF is corrected in 3-D."""
        return bool(params.ctf != "off")

    @classmethod
    def foresee(cls, inputs: Mapping[str, Any], params: Any) -> dict[str, Any]:
        """Tomograms of this size; their files are not there yet."""
        series: TiltSeries = inputs["tilt_series"]
        if cls.corrects(params):
            check_ctf(series, inputs)
        frame = series.frame
        nx, ny = aligned_size(frame.nx_binned, frame.ny_binned, series.axis_deg)
        shape = (params.thickness, ny, params.width or nx)
        made = Tomogram(series.name, series.path, shape, series.image_pixel_size_a, (0.0, 0.0, 0.0))
        return dict.fromkeys(cls.makes(params), made)


def request_of(series: TiltSeries, params: Any, path: Path, context: Context) -> Request:
    """Ask for the tomogram of one series.

    Raises
    ------
    InputError
        It is not aligned.
    """
    from tiltwright.engine.recon.strips import Request

    alignment = series.alignment
    if alignment is None:
        raise InputError(f"reconstruction: {series.name} is not aligned yet")
    for view in np.flatnonzero(series.used & ~alignment.valid):
        context.say(f"view {view + 1} is left out: it was excluded when the series was aligned")
    return Request(
        series.images, series.image_transforms(), alignment.tilt_deg, params.thickness,
        series.axis_deg, path, series.image_pixel_size_a, params.width, params.shift_x,
        params.shift_z, params.angle_offset_deg, alignment.x_tilt_deg,
        series.used & alignment.valid, params.output_type,
    )  # fmt: skip


def origin_of(request: Request) -> tuple[float, float, float]:
    """``(x, y, z)`` of the first voxel in the specimen frame, voxels."""
    nz, ny, nx = request.shape()
    return -(nx - 1) / 2 - request.shift_x, -(ny - 1) / 2, -(nz - 1) / 2 - request.shift_z


def check_ctf(series: TiltSeries, inputs: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` unless ``series`` can be corrected in 3-D with its table.

    A table that is missing in ``inputs`` is not known yet; None says that there is none.
    """
    if series.ctf_corrected:
        raise InputError(
            f"{_CTF_TITLE}: {series.name} is corrected already; take the series before that, or "
            f"set {_CTF_TITLE} to off"
        )
    if "ctf_table" not in inputs:
        return
    if inputs["ctf_table"] is None:
        raise InputError(
            f"{_CTF_TITLE}: the CTF of {series.name} is not given; choose it as an input, or set "
            f"{_CTF_TITLE} to off"
        )
    rows_of(_CTF_TITLE, series, inputs["ctf_table"])


def turn_of(request: Request) -> Turn:
    """How an offset of the tilt angles turns the specimen: about y, the other way."""
    if not request.angle_offset_deg:
        return UPRIGHT
    from tiltwright.engine.volume.crop import turn

    matrix = turn(-request.x_tilt_deg, 0.0) @ turn(request.x_tilt_deg, -request.angle_offset_deg)
    a, b, c = ((float(x), float(y), float(z)) for x, y, z in matrix)
    return a, b, c


def corrected_views(
    series: TiltSeries, table: CtfTable | None, params: Any, context: Context
) -> CtfViews | None:
    """The views for a correction in 3-D; ``None`` when it is off.

    Raises
    ------
    InputError
        The series is corrected already, or its CTF is not given or not known for some views.
    """
    if params.ctf == "off":
        if table is not None and not series.ctf_corrected:
            context.note("the CTF is not corrected: CTF correction in 3-D is off")
        return None
    check_ctf(series, {"ctf_table": table})
    assert table is not None
    # What turns the tomogram turns its slabs.
    return CtfViews.of(_CTF_TITLE, series, table, params.hand, params.angle_offset_deg, context)


def back_projected(
    request: Request, weighting: Weighting, views: CtfViews | None, params: Any, monitor: Monitor
) -> Reconstruction:
    """Reconstruct by weighted back-projection, with a correction of ``views`` in 3-D if given."""
    if views is None:
        from tiltwright.engine.recon.wbp import reconstruct_series

        return reconstruct_series(request, weighting, monitor)
    from tiltwright.engine.ctf.correct import Correction
    from tiltwright.engine.recon.slabs import reconstruct_slabs

    correction = Correction(params.ctf, snr=params.snr)
    part = replace(views, images=request.stack)
    return reconstruct_slabs(
        request, lambda v, z: part.at_height(v, z, correction, monitor),
        step_nm=params.defocus_step_nm, weighting=weighting, monitor=monitor,
    )  # fmt: skip


def make_tomograms(
    series: TiltSeries,
    request: Request,
    params: Any,
    ctf_corrected: bool,
    context: Context,
    make: Callable[[Request, Monitor], Reconstruction],
) -> dict[str, Any]:
    """The tomogram, and those of the halves if wanted: an object for each output.

    Parameters
    ----------
    make : callable
        Reconstructs what it is asked for; the whole comes first.
    """
    parts = {"tomogram": request}
    if params.halves:
        parts |= _halves(series, request)
    out: dict[str, Any] = {}
    for index, port in enumerate(list(parts)):
        done = make(parts[port], context.monitor.part(index, len(parts)))
        if port == "tomogram" and request.dtype == "int16":
            scaling = done.scale, done.offset
            parts |= {name: replace(parts[name], scaling=scaling) for name in list(parts)[1:]}
        out[port] = open_tomogram(
            done.path, series.name, origin_of(request), ctf_corrected, turn_of(request)
        )
    context.say(out["tomogram"].describe())
    return out


def _halves(series: TiltSeries, request: Request) -> dict[str, Request]:
    """Of the frames where the series has them, else of the views."""
    path = Path(request.path)
    out = {name: replace(request, path=path.with_name(f"{path.stem}_{name}.mrc"))
           for name in ("even", "odd")}  # fmt: skip
    if series.halves is not None:
        parts = dict(zip(out, series.halves, strict=True))
        return {name: replace(out[name], stack=half) for name, half in parts.items()}
    used = np.asarray(request.used_views, bool)
    which = np.flatnonzero(used)[np.argsort(np.asarray(request.tilt_deg)[used], kind="stable")]
    if len(which) < 2:
        raise InputError(f"reconstruction: {series.name} has one view; no halves can be made")
    # Counted from 1, as the views are.
    for name, first in (("even", 1), ("odd", 0)):
        half = np.zeros(len(used), bool)
        half[which[first::2]] = True
        out[name] = replace(out[name], used_views=half)
    return out
