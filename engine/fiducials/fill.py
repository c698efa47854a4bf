"""Beads centred on the images at one place at a time: where a click or a prediction says.

The filter is that of :mod:`tiltwright.engine.fiducials.centre`, learned from the beads that a
model holds already; a peak of its response within the search radius is fitted to a fraction of a
pixel. Positions are raw pixels about the image centre, whatever images are looked at.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import DataError, InputError
from tiltwright.engine.fiducials import background, centre, size, template
from tiltwright.engine.fiducials.centre import MatchedFilter
from tiltwright.engine.geometry.transform import Floats, apply, invert
from tiltwright.engine.stack.frame import BinnedFrame

_TEMPLATE_VIEWS = 12
_LEAST_SCORE = 5.0
"""A peak below so many standard deviations of the background is none."""
_LEAST_SHARE = 0.4
"""A click goes to the nearest peak of at least this part of the strongest one in reach."""
_SIZES = np.geomspace(0.6, 1.6, 13)
"""In diameters as given: balls that are tried where nothing has been learned."""
_SURE = 600.0
"""Sum of squared scores from which on the size is settled: two or three beads, not one of many
clicks on nothing."""
_LOOKS = 3
"""When learning, so many beads in so many views say how large they are."""
_ENOUGH = 20
"""Of fewer points the measured profile is worse than a ball of the right size."""


@dataclass(frozen=True)
class Centred:
    """Beads found: ``xy`` (n, 2) and ``sigma_px`` (n,) raw pixels, NaN where none; ``score`` (n,)
    height over the background in SD, 0 where none; ``ok`` (n,)."""

    xy: Floats
    sigma_px: Floats
    score: Floats
    ok: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """One bead: position about the raw centre, its uncertainty, raw pixels, and its score."""

    x: float
    y: float
    sigma_px: float
    score: float


@dataclass(frozen=True)
class _View:
    """What is known of a view: how to even out its noise, and the filter against its texture."""

    noise: tuple[float, float]
    power: template.Image
    matched: MatchedFilter
    usual_score: float


class BeadCentring:
    """Centres beads in the views of a stack at any binning, raw or interpolated.

    Before it has learned from points of a model, the first beads that are clicked on say how
    large they are: a filter for beads of another size would centre them beside their middle.

    Parameters
    ----------
    images : (n_views, ny, nx)
        Anything that gives a view when indexed.
    frame : BinnedFrame
        Between the raw stack and ``images``; with ``xf`` only its binning counts.
    diameter_px : float
        Of the beads, raw pixels.
    light : bool
        The beads are brighter than their surroundings.
    xf : (n_views, 2, 3), optional
        The images are interpolated by these transforms, raw pixels.

    Raises
    ------
    InputError
        The beads are smaller than 3 pixels of the images.
    """

    def __init__(
        self, images: Any, frame: BinnedFrame, diameter_px: float, *, light: bool = False,
        xf: Floats | None = None,
    ) -> None:  # fmt: skip
        self.images, self.frame, self.xf = images, frame, xf
        self.sign = 1.0 if light else -1.0
        self.diameter_px = float(diameter_px)
        self.diameter = diameter_px / frame.scale
        if not self.diameter >= 3:
            raise InputError(
                f"centring: beads of {self.diameter:.1f} pixels are too small; "
                "use images of a smaller binning"
            )
        n_views, ny, nx = images.shape
        self.middle = np.array([(nx - 1) / 2, (ny - 1) / 2])
        self.side = background.window_px(self.diameter)
        self._lock = Lock()
        self._known = np.full((0, n_views, 2), np.nan)
        self._balls = [
            template.ball_template(k * self.diameter, reach=1.3) for k in _SIZES.tolist()
        ]
        self._guess()

    def _guess(self) -> None:
        """A ball of the given diameter, until beads say more."""
        self._sure, self._evidence = False, np.zeros(len(_SIZES))
        self._start(template.ball_template(self.diameter, reach=1.3))

    def _start(self, bead: template.BeadTemplate) -> None:
        self.template = bead
        self._spectra = centre.template_spectra(bead, self.side)
        self._white = centre.white_filter(bead, self.side)
        self._views: dict[int, _View] = {}

    def to_image(self, view: int, xy: npt.ArrayLike) -> Floats:
        """Raw positions about the centre to index positions in the view's image."""
        raw = np.asarray(xy, np.float64)
        if self.xf is None:
            shown: Floats = self.frame.centred_from_raw(raw) + self.middle
            return shown
        placed = apply(self.xf[view], np.atleast_2d(raw)) / self.frame.scale
        index: Floats = placed.reshape(raw.shape) + self.middle
        return index

    def to_raw(self, view: int, xy: npt.ArrayLike) -> Floats:
        """Index positions in the view's image to raw positions about the centre."""
        index = np.asarray(xy, np.float64) - self.middle
        if self.xf is None:
            return self.frame.centred_to_raw(index)
        back: Floats = apply(invert(self.xf[view]), np.atleast_2d(index * self.frame.scale))
        return back.reshape(index.shape)

    def learn(self, xy: Floats) -> None:
        """Learn what a bead looks like, and what surrounds it, from points of a model.

        Parameters
        ----------
        xy : (n_tracks, n_views, 2)
            Raw pixels about the centre, NaN at gaps.
        """
        there = np.isfinite(xy[..., 0])
        counts = there.sum(0)
        rich = np.flatnonzero(counts >= min(3, max(int(counts.max(initial=0)), 1)))
        with self._lock:
            self._guess()
            self._known = xy.copy()
        for v in rich[:: max(1, len(rich) // _LOOKS)].tolist():
            for c in np.flatnonzero(there[:, v])[:_LOOKS].tolist():
                self._look(v, xy[c, v], 0.5 * self.diameter_px)
        views = rich[:: max(1, len(rich) // _TEMPLATE_VIEWS)].tolist()
        with self._lock:
            self._settle()
            shown = [self._beads(v) for v in views]
            if sum(len(s[1]) for s in shown) < _ENOUGH:
                return
            # Where no bead stands alone, the ball must do.
            with suppress(DataError):
                self._start(
                    template.build_template(
                        [s[0] for s in shown], [s[1] for s in shown], [s[2] for s in shown],
                        self.template.diameter_px,
                    )
                )  # fmt: skip
                self._sure = True

    def _beads(self, view: int) -> tuple[template.Image, Floats, Floats, tuple[float, float]]:
        """The whole view evened out; positions and amplitudes of its known beads; its noise."""
        whole = np.asarray(self.images[view])
        noise = background.noise_model(whole)
        image = background.stabilise(whole, noise)
        at = self.to_image(view, self._known[:, view])
        fit = centre.localise(image, at, self._white, search_px=0.35 * self.diameter)
        good = fit.ok & (fit.amplitude * self.sign > 0)
        return image, fit.xy[good], fit.amplitude[good], noise

    def _view(self, view: int) -> _View:
        with self._lock:
            known = self._views.get(view)
            if known is None:
                image, at, amplitude, noise = self._beads(view)
                power = background.background_power(image, at, amplitude, self.template, self.side)
                matched = centre.matched_filter(self.template, self._spectra, power)
                scores = np.abs(amplitude) * np.sqrt(matched.information[0])
                usual = float(np.median(scores)) if len(scores) else 0.0
                known = self._views[view] = _View(noise, power, matched, usual)
        return known

    def usual_score(self, view: int) -> float:
        """Median score of the beads that are known in a view; 0 when there are none."""
        return self._view(view).usual_score

    def centre(
        self, view: int, guesses: Floats, search_px: npt.ArrayLike, others: Floats | None = None
    ) -> Centred:
        """Centre the bead nearest to each guess, no farther than ``search_px`` raw pixels.

        Parameters
        ----------
        guesses : (n, 2)
        search_px : float or (n,)
        others : (m, 2), optional
            Beads close by that are fitted along with them.
        """
        n = len(guesses)
        xy, sigma = np.full((n, 2), np.nan), np.full(n, np.nan)
        score, ok = np.zeros(n), np.zeros(n, np.bool_)
        reach = np.broadcast_to(np.asarray(search_px, np.float64), (n,)) / self.frame.scale
        index = self.to_image(view, guesses)
        good = np.flatnonzero(np.isfinite(index).all(1))
        if not len(good):
            return Centred(xy, sigma, score, ok)
        state = self._view(view)
        pad = float(reach[good].max()) + self.side + self.template.radius_px
        corner, image = self._part(view, index[good], pad, state.noise)
        if not image.size:
            return Centred(xy, sigma, score, ok)
        near = None if others is None else self.to_image(view, others) - corner
        start = self._peaks(image, index[good] - corner, reach[good], state.matched)
        fit = centre.localise(
            image, start, state.matched, search_px=0.35 * self.diameter, others_xy=near
        )
        away = np.hypot(*(fit.xy - (index[good] - corner)).T)
        with np.errstate(invalid="ignore"):
            fine = (
                fit.ok & (fit.amplitude * self.sign > 0) & (fit.score > _LEAST_SCORE)
                & (away <= reach[good])
            )  # fmt: skip
        xy[good[fine]] = self.to_raw(view, fit.xy[fine] + corner)
        sigma[good[fine]] = fit.sigma_px[fine] * self.frame.scale
        score[good[fine]] = fit.score[fine]
        ok[good[fine]] = True
        return Centred(xy, sigma, score, ok)

    def autocentre(self, view: int, click: tuple[float, float]) -> Found | None:
        """Snap a click to the nearest bead within ``max(6, 2 x diameter)`` px; ``None``: no bead.

        Pixels of the images shown; ``click`` and the answer are raw pixels about the centre.
        """
        reach = max(6.0, 2 * self.diameter) * self.frame.scale
        if not self._sure:
            self._look(view, click, reach)
            with self._lock:
                self._settle()
        found = self.centre(view, np.array([click], np.float64), reach)
        if not found.ok[0]:
            return None
        (x, y), sigma, score = found.xy[0], found.sigma_px[0], found.score[0]
        return Found(float(x), float(y), float(sigma), float(score))

    def _look(self, view: int, at: npt.ArrayLike, reach_px: float) -> None:
        """Score balls of all sizes at the best place within reach, raw pixels."""
        state, reach = self._view(view), reach_px / self.frame.scale
        index = self.to_image(view, np.array([at], np.float64))
        corner, image = self._part(view, index, reach + self.side // 2, state.noise)
        y, x = np.ogrid[: image.shape[0], : image.shape[1]]
        within = np.hypot(x + corner[0] - index[0, 0], y + corner[1] - index[0, 1]) <= reach
        if not within.any():
            return
        scores = size.best_scores(image, within, state.power, self._balls, self.sign)
        if scores.max() > _LEAST_SCORE:
            self._evidence += scores**2

    def _settle(self) -> None:
        """Take the ball that shows most of the beads looked at so far."""
        best = int(np.argmax(self._evidence))
        if self._evidence[best] > 0:
            self._start(self._balls[best])
        self._sure = bool(self._evidence[best] > _SURE)

    def _part(
        self, view: int, index: Floats, pad: float, noise: tuple[float, float]
    ) -> tuple[Floats, template.Image]:
        """The part of a view around positions, evened out, and the index of its first pixel."""
        ny, nx = self.images.shape[1:]
        low = np.clip(np.floor(index.min(0) - pad).astype(int), 0, [nx, ny])
        high = np.clip(np.ceil(index.max(0) + pad).astype(int) + 1, 0, [nx, ny])
        part = np.asarray(self.images[view][low[1] : high[1], low[0] : high[0]])
        if not part.size:
            return low.astype(np.float64), np.zeros((0, 0), np.float32)
        return low.astype(np.float64), background.stabilise(part, noise)

    def _peaks(
        self, image: template.Image, guesses: Floats, reach: Floats, matched: MatchedFilter
    ) -> Floats:
        """The nearest strong peak of the filter's response around each guess; NaN: none."""
        from scipy import ndimage

        kernel = matched.bank[1:3, 1:3, 0].mean((0, 1))
        floor = _LEAST_SCORE / np.sqrt(matched.information[0])
        out = np.full(guesses.shape, np.nan)
        half = self.side // 2
        for k, (guess, radius) in enumerate(zip(guesses, reach, strict=True)):
            if radius <= 0.3 * self.diameter:
                out[k] = guess
                continue
            span = int(np.ceil(radius)) + half + 2
            c = np.rint(guess).astype(int)
            low, high = np.maximum(c - span, 0), np.maximum(c + span + 1, 0)
            crop = image[low[1] : high[1], low[0] : high[0]]
            if min(crop.shape) < 3:
                continue
            level = crop - np.median(crop)
            response = self.sign * centre.correlate(level, kernel) / matched.information[0]
            y, x = np.ogrid[: crop.shape[0], : crop.shape[1]]
            away = np.hypot(x + low[0] - guess[0], y + low[1] - guess[1])
            width = max(3, int(0.7 * self.diameter))
            top = (response == ndimage.maximum_filter(response, width)) & (away <= radius)
            top &= response > floor
            if not top.any():
                continue
            top &= response >= _LEAST_SHARE * response[top].max()
            j, i = np.unravel_index(int(np.argmin(np.where(top, away, np.inf))), top.shape)
            out[k] = i + low[0], j + low[1]
        return out
