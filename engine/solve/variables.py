"""Which parameters of the views are solved, and how groups of views share them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.transform import Floats

Ints = npt.NDArray[np.intp]

KINDS = ("shift x", "shift y", "axis", "log magnification", "tilt", "stretch", "skew")
N_KINDS = len(KINDS)


@dataclass(frozen=True)
class Variables:
    """What the bundle adjustment may vary; shifts are always solved for every view.

    Group variables sit at knots over the views in the order of tilt, about ``*_group`` views
    apart (closer at high tilt), and are interpolated linearly between them.

    Attributes
    ----------
    rotation : 'none', 'one', 'group' or 'all'
        Tilt axis angle: nominal, one for all views, grouped, or one for each view.
    magnification, tilt : 'fixed', 'group' or 'all'
    distortion : 'none', 'skew' or 'full'
        Grouped skew, or grouped skew and stretch.
    """

    rotation: Literal["none", "one", "group", "all"] = "all"
    rotation_group: int = 5
    magnification: Literal["fixed", "group", "all"] = "all"
    magnification_group: int = 4
    tilt: Literal["fixed", "group", "all"] = "all"
    tilt_group: int = 5
    distortion: Literal["none", "skew", "full"] = "none"
    stretch_group: int = 7
    skew_group: int = 11


def _map(tilt_deg: Floats, group: int) -> Floats:
    """``(n, n_knots)`` linear interpolation over the index of views sorted by tilt.

    Knots are ``group`` views apart at zero tilt and ``group * cos(tilt)`` elsewhere.
    """
    n = len(tilt_deg)
    if group <= 1 or n < 2:
        return np.eye(n)
    density = 1 / (group * np.maximum(np.cos(np.deg2rad(tilt_deg)), 0.3))
    passed = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    n_knots = min(n, int(np.ceil(passed[-1] - 1e-9)) + 1)
    knots = np.interp(np.linspace(0, passed[-1], n_knots), passed, np.arange(n))
    return np.stack([np.interp(np.arange(n), knots, row) for row in np.eye(n_knots)], axis=1)


def _without(g: Floats, row: Floats) -> Floats:
    """Drop the freedom of adding a constant: the combination ``row`` of the views stays 0."""
    fixed = g - row
    return np.delete(fixed, int(np.argmax(row)), axis=1)


def linear_maps(variables: Variables, tilt_deg: npt.ArrayLike) -> list[Floats]:
    """Linear maps from variables to the parameters of the views, gauges removed.

    Parameters
    ----------
    variables
    tilt_deg : (n_views,)
        Of the views that are solved, in any order.

    Returns
    -------
    list of (n_views, n_variables), one for each of :data:`KINDS`
        The mean stretch and the mean skew stay 0; tilt and magnification of the view of least
        tilt stay nominal (``solve`` then makes the mean change of log magnification 0).

    Raises
    ------
    InputError
        A group of no views, or a choice that does not exist.
    """
    t = np.asarray(tilt_deg, np.float64)
    n = len(t)
    v = variables
    groups = (v.rotation_group, v.magnification_group, v.tilt_group, v.stretch_group, v.skew_group)
    if min(groups) < 1:
        raise InputError("a group of views needs at least one view")
    order = np.argsort(t, kind="stable")
    back = np.argsort(order, kind="stable")
    least = int(np.argmin(np.abs(t)))
    empty = np.zeros((n, 0))

    def build(choice: str, group: int) -> Floats:
        if choice in ("none", "fixed"):
            return empty
        if choice == "one":
            return np.ones((n, 1))
        if choice not in ("group", "all"):
            raise InputError(f"no such choice of variables: {choice}")
        return _map(t[order], group if choice == "group" else 1)[back]

    def centred(g: Floats) -> Floats:
        return _without(g, g.mean(0)) if g.shape[1] else g

    def referred(g: Floats) -> Floats:
        return _without(g, g[least]) if g.shape[1] else g

    if v.distortion not in ("none", "skew", "full"):
        raise InputError(f"no such choice of distortion: {v.distortion}")
    return [
        np.eye(n),
        np.eye(n),
        build(v.rotation, v.rotation_group),
        referred(build(v.magnification, v.magnification_group)),
        referred(build(v.tilt, v.tilt_group)),
        centred(build("group" if v.distortion == "full" else "none", v.stretch_group)),
        centred(build("none" if v.distortion == "none" else "group", v.skew_group)),
    ]


def stacked(maps: list[Floats]) -> Floats:
    """One map ``(n_views * 7, n_variables)`` from all variables to all parameters, by view."""
    n = len(maps[0])
    out = np.zeros((n, N_KINDS, sum(g.shape[1] for g in maps)))
    start = 0
    for kind, g in enumerate(maps):
        out[:, kind, start : start + g.shape[1]] = g
        start += g.shape[1]
    return out.reshape(n * N_KINDS, -1)
