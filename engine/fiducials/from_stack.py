"""The fiducial model of a stack: detection, tracking and centring with a template in one call."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Lock

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError
from tiltwright.engine.fiducials import background, centre, detect, template
from tiltwright.engine.fiducials.build import FiducialTracks, build_fiducial_model
from tiltwright.engine.fiducials.motion import Bools
from tiltwright.engine.fiducials.template import Image
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import SILENT, Monitor

_TEMPLATE_VIEWS = 12
_SAME_DIAMETER = (0.7, 1.35)
"""A measured diameter within these parts of the given one confirms it: blur and fringes of the CTF
shift what is measured, and the template is measured anyway."""


class Centring:
    """Localises beads in the views of a stack; its template improves from round to round.

    Calls are those of :data:`~tiltwright.engine.fiducials.build.Localise`, and may be made for
    several views at once. ``found`` are the detections of every view, ``skip`` tells views that
    show nothing.
    """

    def __init__(
        self, stack: npt.NDArray[np.generic], found: Sequence[detect.Detections],
        diameter_px: float, light: bool, skip: Bools | None = None,
    ) -> None:  # fmt: skip
        self.stack, self.diameter = stack, diameter_px
        self.sign = 1.0 if light else -1.0
        self.side = background.window_px(diameter_px)
        self.found = [(d.xy, self.sign * d.contrast) for d in found]
        self.centred = {
            v: beads for v, beads in enumerate(self.found) if skip is None or not skip[v]
        }
        self.template = template.ball_template(diameter_px, reach=1.3)
        self.power: dict[int, Image] = {}
        self.lock = Lock()
        self._renew()

    def _image(self, view: int) -> Image:
        return background.stabilise(np.asarray(self.stack[view]))

    def _renew(self) -> None:
        """The beads centred in the last round show what a bead looks like."""
        views = sorted(self.centred)[:: max(1, len(self.centred) // _TEMPLATE_VIEWS)]
        # In a field so dense that no bead stands alone the template of before must do.
        with suppress(DataError):
            self.template = template.build_template(
                [self._image(v) for v in views],
                [self.centred[v][0] for v in views],
                [self.centred[v][1] for v in views],
                self.diameter,
            )
        self.spectra = centre.template_spectra(self.template, self.side)
        self.centred.clear()

    def __call__(self, view: int, guesses: Floats) -> tuple[Floats, Floats, Floats, Bools]:
        ny, nx = self.stack.shape[1:]
        middle = np.array([(nx - 1) / 2, (ny - 1) / 2])
        image = self._image(view)
        with self.lock:
            if view in self.centred:
                self._renew()
            bead, spectra = self.template, self.spectra
        if view not in self.power:
            self.power[view] = background.background_power(
                image, *self.found[view], bead, self.side
            )
        matched = centre.matched_filter(bead, spectra, self.power[view])
        fit = centre.localise(image, guesses + middle, matched, search_px=0.35 * self.diameter)
        ok = fit.ok & (fit.amplitude * self.sign > 0) & (fit.score > 4)
        with self.lock:
            self.centred[view] = fit.xy[ok], fit.amplitude[ok]
        return fit.xy - middle, fit.sigma_px, fit.score, ok


def measured_diameter(
    stack: npt.NDArray[np.generic], tilt_deg: Floats, diameter_px: float, light: bool,
    skip: Bools | None = None,
) -> float:  # fmt: skip
    """The beads' diameter as the views of least tilt show it; the given one if they cannot tell."""
    usable = np.ones(len(tilt_deg), bool) if skip is None else ~np.asarray(skip, bool)
    views = np.argsort(np.where(usable, np.abs(tilt_deg), np.inf))[:2]
    measured = diameter_px
    with suppress(DataError):
        images = [np.asarray(stack[v]) for v in views]
        for _ in range(3):
            # One step reaches half to one and a half times the guess; far ones need more.
            before, measured = measured, detect.refine_diameter(images, measured, light=light)
            if abs(measured / before - 1) < 0.15:
                break
    return measured


def build_from_stack(
    stack: npt.NDArray[np.generic],
    tilt_deg: Floats,
    axis_deg: float,
    diameter_px: float,
    n_fiducials: int,
    *,
    prealign_shift_px: Floats | None = None,
    skip: Bools | None = None,
    two_surfaces: bool = True,
    light: bool = False,
    rounds: int = 2,
    monitor: Monitor = SILENT,
    threads: int = 2,
) -> FiducialTracks:
    """Find, track and centre the beads of ``stack`` ``(n_views, ny, nx)``.

    The other parameters and the errors are those of
    :func:`~tiltwright.engine.fiducials.build.build_fiducial_model`; ``light`` looks for beads
    that are brighter than their surroundings.
    """
    ny, nx = stack.shape[1:]
    middle = np.array([(nx - 1) / 2, (ny - 1) / 2])
    log: list[str] = []
    measured = measured_diameter(stack, tilt_deg, diameter_px, light, skip)
    ratio = measured / diameter_px
    if not _SAME_DIAMETER[0] <= ratio <= _SAME_DIAMETER[1]:
        log.append(f"the beads measure {ratio:.2f} of the diameter given; that is taken instead")
        diameter_px = measured
    found = detect.detect_all(stack, diameter_px, light=light, monitor=monitor, threads=threads)
    localise = Centring(stack, found, diameter_px, light, skip)
    tracks = build_fiducial_model(
        [d.xy - middle for d in found],
        tilt_deg,
        axis_deg,
        (nx, ny),
        diameter_px,
        n_fiducials,
        localise=localise,
        rounds=rounds,
        prealign_shift_px=prealign_shift_px,
        skip=skip,
        two_surfaces=two_surfaces,
        monitor=monitor,
        threads=threads,
    )
    return replace(tracks, log=log + tracks.log)
