"""A tilt series: the stack and what is known of its views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.io.frames import load_frames_mdoc
from tiltwright.engine.io.mdoc import Mdoc, read_mdoc
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.io.stack import StackInfo, open_image_stack
from tiltwright.engine.io.text import read_angles
from tiltwright.engine.model.alignment import Alignment
from tiltwright.engine.stack.frame import BinnedFrame

Bools = npt.NDArray[np.bool_]
HALVES = ("_even", "_odd")
"""What the names of stacks of half of the frames end with."""


@dataclass(frozen=True)
class TiltSeries:
    """A memory-mapped stack ``(n_views, ny, nx)``, its metadata, and what steps have added.

    Everything is per view of the *raw* stack and in its pixels; views are never renumbered.

    Attributes
    ----------
    path : Path
        Of the raw stack.
    stack : (n_views, ny, nx)
        Anything that gives a view when indexed.
    tilt_deg : (n_views,) float64, read-only
        Nominal tilt angles.
    axis_deg, pixel_size_a : float
    excluded, kept : (n_views,) bool, read-only
        Views that a person left out, or kept against the advice of a step.
    origin : (x, y, z), angstrom
    name : str
    order : (n_views,) int64, read-only
        Rank of each view in the order of acquisition, from 1; known only with an mdoc, else the
        order in the file.
    order_known : bool
    dose : (n_views,) float64, optional, read-only
        Electrons per square angstrom of each view alone.
    prior_dose : (n_views,) float64, optional, read-only
        Electrons per square angstrom before each view, as the microscope counted them: with
        those of views that are not in the stack.
    suspect : mapping
        View (0-based) to the reason why a step leaves it out.
    work : optional
        The preprocessed stack, raw binned by ``binning``; ``None`` is the raw stack itself.
    work_path : Path, optional
        Where it lies; ``None`` while it is in memory only.
    alignment : Alignment, optional
    voltage_kv, cs_mm, amplitude_contrast : float
        Of the microscope, for the CTF.
    ctf_corrected : bool
        Whether the CTF of ``work`` is corrected.
    erased_path : Path, optional
        List of the patches that were erased from the views, raw pixels.
    halves : (even, odd), optional
        Stacks like ``images`` of the even and the odd frames of each view.
    halves_paths : (Path, Path), optional
        Where they lie; ``None`` while they are in memory only.
    """

    path: Path
    stack: Any
    tilt_deg: npt.NDArray[np.float64]
    axis_deg: float
    pixel_size_a: float
    excluded: Bools
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    name: str = ""
    order: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    order_known: bool = False
    dose: npt.NDArray[np.float64] | None = None
    kept: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))
    suspect: Mapping[int, str] = field(default_factory=dict)
    work: Any = None
    work_path: Path | None = None
    binning: int = 1
    alignment: Alignment | None = None
    voltage_kv: float = 300.0
    cs_mm: float = 2.7
    amplitude_contrast: float = 0.1
    ctf_corrected: bool = False
    prior_dose: npt.NDArray[np.float64] | None = None
    erased_path: Path | None = None
    halves: tuple[Any, Any] | None = None
    halves_paths: tuple[Path, Path] | None = None

    def __post_init__(self) -> None:
        """Fill in what can be derived."""
        n = len(self.tilt_deg)
        if not self.name:
            object.__setattr__(self, "name", self.path.stem)
        if not len(self.order):
            object.__setattr__(self, "order", np.arange(1, n + 1))
        if not len(self.kept):
            object.__setattr__(self, "kept", np.zeros(n, np.bool_))
        for array in (
            self.tilt_deg,
            self.excluded,
            self.kept,
            self.order,
            self.dose,
            self.prior_dose,
        ):
            if array is not None:
                array.flags.writeable = False

    @property
    def n_views(self) -> int:
        """Number of views in the file."""
        return len(self.tilt_deg)

    @property
    def size(self) -> tuple[int, int]:
        """``(nx, ny)`` of a raw view."""
        return int(self.stack.shape[2]), int(self.stack.shape[1])

    @property
    def images(self) -> Any:
        """The stack that the next step works on."""
        return self.stack if self.work is None else self.work

    @property
    def parts(self) -> dict[str, Any]:
        """``images`` under an empty name, and the halves, if there are any, under theirs."""
        return {"": self.images} | dict(zip(HALVES, self.halves or (), strict=False))

    def with_parts(self, folder: Path, name: str) -> TiltSeries:
        """The series with the files ``NAME.mrc`` and ``NAME_even.mrc``... for its parts."""
        paths = [folder / f"{name}{part}.mrc" for part in self.parts]
        stacks = [open_stack(path) for path in paths]
        new = replace(self, work=stacks[0], work_path=paths[0])
        if self.halves is None:
            return new
        return replace(new, halves=(stacks[1], stacks[2]), halves_paths=(paths[1], paths[2]))

    @property
    def frame(self) -> BinnedFrame:
        """Between the pixels of the raw stack and those of ``images``."""
        return BinnedFrame(*self.size, self.binning)

    @property
    def image_pixel_size_a(self) -> float:
        """Pixel size of ``images``."""
        return self.pixel_size_a * self.binning

    @property
    def used(self) -> Bools:
        """``(n_views,)``: neither excluded by a person nor, unless kept, by a step."""
        out = ~self.excluded
        for view in self.suspect:
            out[view] &= self.kept[view]
        return out

    def accumulated_dose(self) -> npt.NDArray[np.float64] | None:
        """Dose before and with each view, ``(n_views,)``; ``None`` without dose or order.

        What the microscope counted, else the sum over the views taken before.
        """
        if self.dose is None or not self.order_known:
            return None
        if self.prior_dose is not None:
            return self.prior_dose + self.dose
        return np.array([self.dose[self.order <= k].sum() for k in self.order])

    def image_transforms(self) -> npt.NDArray[np.float64]:
        """The alignment's transforms in pixels of ``images``, ``(n_views, 2, 3)``.

        Raises
        ------
        InputError
            The series has no alignment.
        """
        if self.alignment is None:
            raise InputError(f"{self.name}: is not aligned; run an alignment first")
        xf = self.alignment.transforms.copy()
        frame = self.frame
        xf[..., 2] = (xf[..., 2] + xf[..., :2] @ frame.offset) / frame.scale
        return xf

    def suspected(self, reasons: Mapping[int, str]) -> TiltSeries:
        """The series with more views in doubt; a reason given first stays."""
        return replace(self, suspect=dict(sorted({**reasons, **self.suspect}.items())))

    def describe(self) -> str:
        """``41 x 1440 x 1024, 5.52 Å/px +ali +ctf``, as users of the field read it."""
        ny, nx = self.images.shape[1:]
        text = f"{self.n_views} x {nx} x {ny}, {self.image_pixel_size_a:.4g} Å/px"
        text += " +ali" if self.alignment is not None else ""
        return text + (" +ctf" if self.ctf_corrected else "")


def open_raw(path: Path, tomo5: bool | None = None) -> tuple[Any, float | None, StackInfo, Any]:
    """Open a raw stack or the images that an mdoc names.

    Returns
    -------
    stack, pixel_size_a or None, info, FrameSeries or None

    Raises
    ------
    InputError
        The file or an image cannot be read.
    """
    if path.suffix != ".mdoc":
        return (*open_image_stack(path), None)
    frames = load_frames_mdoc(path, order="tilt", tomo5=tomo5)
    info = StackInfo("frames", tilt_deg=frames.tilt_deg, tilt_axis_deg=frames.axis_deg)
    return frames.stack, frames.pixel_size_a, info, frames


def load_tilt_series(
    path: Path,
    *,
    tilt_angles: Path | None = None,
    angle_range: tuple[float, float] | None = None,
    axis_deg: float | None = None,
    pixel_size_a: float | None = None,
    mdoc: Path | None = None,
    tomo5: bool | None = None,
    exclude: tuple[int, ...] = (),
) -> TiltSeries:
    """Open a tilt series; what is not given comes from the mdoc beside it or from the header.

    Parameters
    ----------
    path
        A stack, or an mdoc that names one image per tilt (views then in the order of tilt).
    angle_range
        First tilt angle and step, instead of all other sources.
    tomo5
        Whether Tomo5 wrote the mdoc; by default as it says.
    exclude : views to leave out, 1-based.

    Raises
    ------
    InputError
        A file that cannot be read, counts that disagree, or metadata that nothing gives.
    """
    stack, header_pixel, info, frames = open_raw(path, tomo5)
    n_views = int(stack.shape[0])
    if n_views < 3:
        raise InputError(f"{path}: {n_views} views are no tilt series; at least 3 are needed")
    notes = None if frames is not None else _mdoc_of(path, mdoc)
    tilt: Any
    if angle_range is not None:
        tilt = angle_range[0] + angle_range[1] * np.arange(n_views)
    else:
        tilt = _first(
            read_angles(tilt_angles, n_views) if tilt_angles is not None else None,
            notes.tilt_deg if notes is not None else None,
            info.tilt_deg,
        )
    if tilt is None:
        beside = [path.with_suffix(s) for s in (".rawtlt", ".tlt")]
        found = next((p for p in beside if p.exists()), None)
        if found is None:
            raise InputError(f"{path}: no tilt angles in its header; give --tilt-angles FILE")
        tilt = read_angles(found, n_views)
    if len(tilt) != n_views:
        raise InputError(f"{path}: {len(tilt)} tilt angles for {n_views} views")
    axis = _first(axis_deg, notes.axis(tomo5) if notes is not None else None, info.tilt_axis_deg)
    if axis is None:
        raise InputError(f"{path}: the tilt axis angle is not known; give --tilt-axis DEGREES")
    pixel = _first(pixel_size_a, header_pixel, notes.pixel_size_a if notes is not None else None)
    if pixel is None:
        raise InputError(f"{path}: its header has no pixel size; give --pixel-size ANGSTROM")
    if not (np.isfinite(pixel) and pixel > 0):
        raise InputError(
            f"{path}: pixel size {pixel:g} must be above 0; give --pixel-size ANGSTROM"
        )
    if not np.isfinite(axis) or abs(axis) > 360:
        raise InputError(f"--tilt-axis {axis:g}: must be an angle in degrees")
    angles = np.array(tilt, np.float64)
    if np.abs(angles).max() > 90:
        raise InputError(f"{path}: tilt angles beyond 90 degrees")
    if np.ptp(angles) < 5:
        raise InputError(f"{path}: the tilt angles span only {np.ptp(angles):.1f} degrees")
    excluded = np.zeros(n_views, np.bool_)
    for view in exclude:
        if not 1 <= view <= n_views:
            raise InputError(f"--exclude {view}: the series has views 1 to {n_views}")
        excluded[view - 1] = True
    rank, dose, prior = _acquisition(notes, n_views)
    if frames is not None:
        rank, dose, prior = frames.acquisition_order, frames.dose, frames.prior_dose
    return TiltSeries(
        path, stack, angles, float(axis), float(pixel), excluded, info.origin,
        order=np.arange(1, n_views + 1) if rank is None else rank + 1,
        order_known=rank is not None, dose=dose, prior_dose=_believed(prior, dose, rank),
    )  # fmt: skip


def _acquisition(notes: Mdoc | None, n_views: int) -> tuple[Any, Any, Any]:
    """Rank by time, dose and prior dose of each view from an mdoc that has as many sections."""
    if notes is None or len(notes.sections) != n_views:
        return None, None, None
    return notes.acquisition_order, notes.doses, notes.prior_doses


def _believed(prior: Any, dose: Any, rank: Any) -> Any:
    """The prior doses if each holds that of the view before; some programs write zeros."""
    if prior is None or dose is None or rank is None:
        return None
    order = np.argsort(rank)
    grown = np.diff(prior[order]) >= 0.9 * dose[order][:-1]
    return prior if np.isfinite(prior).all() and prior.min() >= 0 and grown.all() else None


def _mdoc_of(path: Path, mdoc: Path | None) -> Mdoc | None:
    if mdoc is not None:
        return read_mdoc(mdoc)
    for beside in (path.with_name(path.name + ".mdoc"), path.with_suffix(".mdoc")):
        if beside.exists():
            return read_mdoc(beside)
    return None


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)
