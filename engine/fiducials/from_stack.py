"""The fiducial model of a stack: detection, tracking and centring with a template in one call."""

from __future__ import annotations

from threading import Lock

import numpy as np
import numpy.typing as npt

from tiltwright.engine.fiducials import centre, detect
from tiltwright.engine.fiducials.build import FiducialTracks, build_fiducial_model
from tiltwright.engine.fiducials.motion import Bools
from tiltwright.engine.geometry.transform import Floats
from tiltwright.engine.progress import SILENT, Monitor


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
    template = centre.ball_template(diameter_px)
    centred: dict[int, Floats] = {}
    noise: dict[int, tuple[float, float]] = {}
    lock = Lock()

    def localise(view: int, guesses: Floats) -> tuple[Floats, Floats, Floats, Bools]:
        nonlocal template
        image = np.asarray(stack[view])
        with lock:
            if view in centred:
                # A new round: the beads centred in the last one show what a bead looks like.
                views = sorted(centred)[:: max(1, len(centred) // 12)]
                template = centre.build_template(
                    [np.asarray(stack[v]) for v in views], [centred[v] for v in views], diameter_px
                )
                centred.clear()
            if view not in noise:
                noise[view] = centre.noise_model(image)
            now = template
        fit = centre.localise(
            image, guesses + middle, now, search_px=0.35 * diameter_px, noise=noise[view]
        )
        dark = fit.amplitude > 0 if light else fit.amplitude < 0
        with lock:
            centred[view] = fit.xy[fit.ok & dark]
        return (
            fit.xy - middle,
            fit.sigma_px,
            np.abs(fit.score),
            fit.ok & dark & (np.abs(fit.score) > 4),
        )

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
