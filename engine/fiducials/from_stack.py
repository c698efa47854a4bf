"""The fiducial model of a stack: detection, tracking and centring with a template in one call."""

from __future__ import annotations

from threading import Lock

import numpy as np
import numpy.typing as npt

from tiltwright.engine.fiducials import background, centre, detect, template
from tiltwright.engine.fiducials.build import FiducialTracks, build_fiducial_model
from tiltwright.engine.fiducials.motion import Bools
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import SILENT, Monitor

_TEMPLATE_VIEWS = 12


class _Centring:
    """Localises beads in the views of a stack; its template and spectra improve by rounds."""

    def __init__(
        self, stack: npt.NDArray[np.generic], detections: list[Floats], diameter_px: float,
        light: bool,
    ) -> None:  # fmt: skip
        self.stack, self.detections = stack, detections
        self.diameter = diameter_px
        self.sign = 1 if light else -1
        self.side = background.window_px(diameter_px)
        self.noise = background.noise_model
        self.centred: dict[int, tuple[Floats, Floats]] = {}
        self.power: dict[int, background.Image] = {}
        self.lock = Lock()
        ball = template.ball_template(diameter_px)
        white = centre.white_filter(ball, self.side)
        for v in range(0, len(stack), max(1, len(stack) // _TEMPLATE_VIEWS)):
            self._keep(v, self._fit(self._image(v), detections[v], white))
        self._renew()

    def _image(self, view: int) -> background.Image:
        return background.stabilise(np.asarray(self.stack[view]))

    def _fit(self, image, xy, matched, others=None) -> centre.Localised:  # type: ignore[no-untyped-def]
        return centre.localise(
            image, xy, matched, search_px=0.35 * self.diameter, others_xy=others
        )

    def _keep(self, view: int, fit: centre.Localised) -> None:
        right = fit.ok & (fit.amplitude * self.sign > 0) & (fit.score > 4)
        self.centred[view] = fit.xy[right], fit.amplitude[right]

    def _renew(self) -> None:
        """The beads centred in the last round show what a bead looks like."""
        views = sorted(self.centred)[:: max(1, len(self.centred) // _TEMPLATE_VIEWS)]
        self.template = template.build_template(
            [self._image(v) for v in views],
            [self.centred[v][0] for v in views],
            [self.centred[v][1] for v in views],
            self.diameter,
        )
        self.spectra = centre.template_spectra(self.template, self.side)
        self.white = centre.white_filter(self.template, self.side)
        self.centred.clear()

    def __call__(self, view: int, guesses: Floats) -> tuple[Floats, Floats, Floats, Bools]:
        ny, nx = self.stack.shape[1:]
        middle = np.array([(nx - 1) / 2, (ny - 1) / 2])
        image = self._image(view)
        with self.lock:
            if view in self.centred:
                self._renew()
            bead, spectra, white = self.template, self.spectra, self.white
        power = self.power.get(view)
        if power is None:
            found = self._fit(image, self.detections[view], white)
            ok = found.ok & (found.amplitude * self.sign > 0)
            power = background.background_power(
                image, found.xy[ok], found.amplitude[ok], bead, self.side
            )
            self.power[view] = power
        matched = centre.matched_filter(bead, spectra, power)
        fit = self._fit(image, guesses + middle, matched)
        with self.lock:
            self._keep(view, fit)
        ok = fit.ok & (fit.amplitude * self.sign > 0) & (fit.score > 4)
        return fit.xy - middle, fit.sigma_px, fit.score, ok


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
    found = detect.detect_all(stack, diameter_px, light=light, monitor=monitor, threads=threads)
    localise = _Centring(stack, [d.xy for d in found], diameter_px, light)
    return build_fiducial_model(
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
