"""Tilt series of gold beads, vesicles, ice and carbon whose geometry is known exactly."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tiltwright.engine.conventions import aligned_size, image_centre
from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.io.atomic import file_error, write_text
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.io.text import write_angles
from tiltwright.engine.progress import SILENT, Monitor
from tiltwright.engine.simulate.ctf import blend_defocus
from tiltwright.engine.simulate.mdoc_text import mdoc_text
from tiltwright.engine.simulate.phantom import draw_ball, draw_plane

Floats = NDArray[np.float64]

# Attenuation (-ln of the transmitted part, per nm) of a mean free path of 11 nm in gold and
# 500 nm in ice with a small objective aperture; membranes and lumen relative to ice.
_GOLD, _ICE, _MEMBRANE, _LUMEN = 0.09, 0.002, 0.012, 0.0012
_CARBON = 0.25  # -ln T of the film
_TILE, _TILE_PIXEL_A = 1024, 11.04
_N_REFERENCE = 60


@dataclass(frozen=True)
class SeriesSpec:
    """What :func:`simulate_series` makes; units in the names, views 1-based.

    ``axis_deg`` is the true mean tilt axis angle; the one stated in the mdoc is
    ``axis_deg + axis_error_deg``. ``shift_step_sd_px`` is the SD per coordinate of the random
    walk of the shifts. Each of ``jumps``, ``(view, px)``, moves that view and all after it.
    A view of ``duplicated_views`` repeats the data of its predecessor. ``scheme`` is
    ``dose-symmetric`` or ``sequential`` (dates in the mdoc). Defocus at the tilt axis; a point
    of height ``z'`` after the tilt, ``z' = -x sin t``, is ``z'`` further from focus.
    """

    seed: int = 1
    n_views: int = 41
    tilt_min_deg: float = -60.0
    tilt_max_deg: float = 60.0
    nx: int = 720
    ny: int = 512
    pixel_size_a: float = 11.04
    axis_deg: float = -84.5
    axis_error_deg: float = 0.0
    n_beads: int = 30
    bead_diameter_nm: float = 10.0
    thickness_nm: float = 150.0
    n_vesicles: int = 14
    dose_per_view: float = 3.0
    rotation_sd_deg: float = 0.15
    magnification_sd: float = 0.0008
    tilt_sd_deg: float = 0.15
    shift_step_sd_px: float = 6.0
    x_tilt_deg: float = 0.0
    defocus_um: float = 3.0
    voltage_kv: float = 300.0
    cs_mm: float = 2.7
    amplitude_contrast: float = 0.1
    carbon: bool = True
    spikes_per_view: int = 5
    dead_views: tuple[int, ...] = ()
    duplicated_views: tuple[int, ...] = ()
    jumps: tuple[tuple[int, float], ...] = ()
    scheme: str = "dose-symmetric"
    ice_texture: float = 0.03
    coherent_fraction: float = 0.15
    envelope_per_px: float = 0.45
    max_defocus_levels: int = 5

    def check(self) -> None:
        """Raise :class:`InputError` naming the first impossible value."""
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (int, float)) and not math.isfinite(value):
                raise InputError(f"simulate: {f.name} {value} is not a number")
        positive = (
            "n_views pixel_size_a bead_diameter_nm thickness_nm dose_per_view voltage_kv "
            "envelope_per_px max_defocus_levels"
        )
        not_negative = (
            "seed n_beads n_vesicles rotation_sd_deg magnification_sd tilt_sd_deg "
            "shift_step_sd_px spikes_per_view cs_mm ice_texture"
        )
        for name in positive.split():
            if getattr(self, name) <= 0:
                raise InputError(f"simulate: {name} {getattr(self, name)} must be above 0")
        for name in not_negative.split():
            if getattr(self, name) < 0:
                raise InputError(f"simulate: {name} {getattr(self, name)} must not be below 0")
        if min(self.nx, self.ny) < 32 or max(self.nx, self.ny) > 32768:
            raise InputError(f"simulate: size {self.nx} x {self.ny} is not within 32 to 32768")
        if not -80 <= self.tilt_min_deg <= self.tilt_max_deg <= 80 or abs(self.x_tilt_deg) > 45:
            raise InputError(
                f"simulate: tilts {self.tilt_min_deg} to {self.tilt_max_deg}, x tilt "
                f"{self.x_tilt_deg}: tilts must ascend within 80 degrees, x tilt within 45"
            )
        if not 0 < self.amplitude_contrast <= 1 or not 0 <= self.coherent_fraction <= 1:
            raise InputError("simulate: amplitude_contrast or coherent_fraction is not within 0-1")
        for view in (*self.dead_views, *self.duplicated_views, *(v for v, _ in self.jumps)):
            if not 1 <= view <= self.n_views:
                raise InputError(f"simulate: view {view} is not within 1 to {self.n_views}")
        if 1 in self.duplicated_views:
            raise InputError("simulate: view 1 cannot repeat its predecessor")
        if self.scheme not in ("dose-symmetric", "sequential"):
            raise InputError(f"simulate: scheme {self.scheme!r} is unknown")


class SimulatedSeries:
    """A series made view by view; every view is reproducible by itself.

    Attributes
    ----------
    spec : SeriesSpec
    nominal_deg : (n_views,) float64
        Tilt angles as stated.
    geometry : ViewGeometry
        The true one.
    beads_xyz, reference_xyz : (n, 3) float64
        Specimen coordinates of the beads and of invisible points, raw pixels.
    """

    def __init__(self, spec: SeriesSpec) -> None:
        spec.check()
        self.spec = s = spec
        rng = np.random.default_rng([s.seed, 0])
        n, px = s.n_views, s.pixel_size_a
        self.nominal_deg = np.linspace(s.tilt_min_deg, s.tilt_max_deg, n)
        tilt = self.nominal_deg + rng.normal(0, s.tilt_sd_deg, n)
        rot = s.axis_deg + rng.normal(0, s.rotation_sd_deg, n)
        mag = 1 + rng.normal(0, s.magnification_sd, n)
        shift = np.cumsum(rng.normal(0, s.shift_step_sd_px, (n, 2)), 0)
        for view, size in s.jumps:
            angle = rng.uniform(0, 2 * math.pi)
            shift[view - 1 :] += size * np.array([math.cos(angle), math.sin(angle)])
        shift -= shift[np.argmin(np.abs(self.nominal_deg))]
        zero = np.zeros(n)
        self.geometry = ViewGeometry(tilt, rot, mag, zero, zero.copy(), shift, s.x_tilt_deg)
        self._rng = rng
        self._thick = s.thickness_nm * 10 / px
        self._radius = s.bead_diameter_nm * 5 / px
        self.beads_xyz = self._make_beads()
        self.reference_xyz = self._points(_N_REFERENCE, 330.0)
        self.reference_xyz[:, 2] = rng.uniform(-0.5, 0.5, _N_REFERENCE) * self._thick
        self._vesicles = self._points(s.n_vesicles, 0.0)
        self._vesicles[:, 2] = rng.uniform(-0.25, 0.25, s.n_vesicles) * self._thick
        self._vesicle_radius = rng.uniform(300, 800, s.n_vesicles) / px
        sigma = 3.0
        tile = rng.standard_normal((_TILE, _TILE), np.float32)
        tile = ndimage.gaussian_filter(tile, sigma, mode="wrap")
        self._tile = (tile / tile.std()).astype(np.float32)
        centre = np.array(image_centre(s.nx, s.ny))
        self.beads_xy = self.geometry.project(self.beads_xyz) + centre
        self._vesicles_xy = self.geometry.project(self._vesicles) + centre

    def _points(self, n: int, margin_a: float) -> Floats:
        """Random points inside the untilted image, ``(n, 3)`` with z = 0."""
        s = self.spec
        size = np.array([s.nx, s.ny], dtype=np.float64)
        margin = np.minimum(margin_a / s.pixel_size_a, 0.3 * size)
        raw = self._rng.uniform(-0.5, 0.5, (n, 2)) * (size - 2 * margin)
        phi = math.radians(s.axis_deg)
        c, k = math.cos(phi), math.sin(phi)
        x, y = c * raw[:, 0] + k * raw[:, 1], c * raw[:, 1] - k * raw[:, 0]
        return np.stack([x, y, np.zeros(n)], 1)

    def _make_beads(self) -> Floats:
        """Beads on both surfaces, none inside another."""
        s, kept, misses = self.spec, np.empty((0, 3)), 0
        while len(kept) < s.n_beads and misses < 300:
            misses += 1
            p = self._points(1, 2 * s.bead_diameter_nm * 10)
            p[0, 2] = self._rng.choice([-0.45, 0.45]) * self._thick
            p[0, 2] += self._rng.normal(0, 20 / s.pixel_size_a)
            if np.all(np.linalg.norm(kept - p, axis=1) > 2 * self._radius):
                kept, misses = np.concatenate([kept, p]), 0
        if len(kept) < s.n_beads:
            raise InputError(f"simulate: {s.n_beads} beads do not fit into {s.nx} x {s.ny} pixels")
        return kept

    def attenuation(self, v: int, pad: int = 0) -> NDArray[np.float32]:
        """Minus the logarithm of the transmitted part, ``(ny + 2 pad, nx + 2 pad)``, view ``v``."""
        s, g = self.spec, self.geometry
        nm = s.pixel_size_a / 10
        path = 1 / (math.cos(math.radians(g.tilt_deg[v])) * math.cos(math.radians(s.x_tilt_deg)))
        out = np.empty((s.ny + 2 * pad, s.nx + 2 * pad), np.float32)
        width = aligned_size(s.nx, s.ny, s.axis_deg)[0]
        detail = s.pixel_size_a / _TILE_PIXEL_A
        carbon = [_CARBON * path * s.carbon, 0.28 * width, 0.0008 * detail, 2 / detail]
        draw_plane(
            out,
            np.linalg.inv(g.matrices()[v][:, :2]),
            np.array(image_centre(s.nx, s.ny)) + g.shift_px[v] + pad,
            self._tile,
            detail,
            _ICE * s.thickness_nm * path,
            s.ice_texture * path,
            np.array(carbon),
        )
        m = float(g.magnification[v])
        for (x, y), r in zip(self._vesicles_xy[:, v], self._vesicle_radius, strict=True):
            draw_ball(out, x + pad, y + pad, r * m, _MEMBRANE * nm / m, 2)
            inner = max(r - 40 / s.pixel_size_a, 0)
            draw_ball(out, x + pad, y + pad, inner * m, (_LUMEN - _MEMBRANE) * nm / m, 2)
        r = self._radius * m
        sub = max(3, math.ceil(45 / r))
        for x, y in self.beads_xy[:, v]:
            draw_ball(out, x + pad, y + pad, r, _GOLD * nm / m, sub)
        return out

    def view(self, v: int, noise: bool = True) -> NDArray[Any]:
        """Make view ``v`` (0-based): counts ``(ny, nx)`` int16, or expected float32 ones.

        Raises
        ------
        InputError
            No such view.
        """
        s = self.spec
        if not 0 <= v < s.n_views:
            raise InputError(f"simulate: view {v + 1} is not within 1 to {s.n_views}")
        while v + 1 in s.duplicated_views:
            v -= 1
        electrons = s.dose_per_view * s.pixel_size_a**2
        if v + 1 in s.dead_views:
            mean = np.full((s.ny, s.nx), 0.5, np.float32)
        else:
            mean = self._expected(v, electrons)
        if not noise:
            return mean
        rng = np.random.default_rng([s.seed, 1, v])
        out = np.empty(mean.shape, np.int16)
        for i in range(0, s.ny, 256):
            out[i : i + 256] = np.minimum(rng.poisson(mean[i : i + 256]), 32767)
        y, x = rng.integers(0, s.ny, s.spikes_per_view), rng.integers(0, s.nx, s.spikes_per_view)
        spikes = max(electrons, 50) * rng.uniform(0.5, 3, s.spikes_per_view)
        out[y, x] = np.minimum(out[y, x] + spikes, 32767).astype(np.int16)
        return out

    def _expected(self, v: int, electrons: float) -> NDArray[np.float32]:
        s, g = self.spec, self.geometry
        pad = min(128, max(16, math.ceil(300 / s.pixel_size_a)))
        light = self.attenuation(v, pad)
        np.exp(np.negative(light, out=light), out=light)
        t, xi = math.radians(g.tilt_deg[v]), math.radians(s.x_tilt_deg)
        height = np.array([-math.sin(t), math.cos(t) * math.sin(xi)]) * s.pixel_size_a
        slope = height @ np.linalg.inv(g.matrices()[v][:, :2])
        light = blend_defocus(
            light,
            s.pixel_size_a,
            s.defocus_um * 1e4 - float(slope @ g.shift_px[v]),
            (float(slope[0]), float(slope[1])),
            (s.voltage_kv, s.cs_mm, s.amplitude_contrast),
            s.coherent_fraction,
            s.envelope_per_px,
            s.max_defocus_levels,
        )
        light = light[pad : pad + s.ny, pad : pad + s.nx]
        scaled: NDArray[np.float32] = np.maximum(light, 0.01) * np.float32(electrons)
        return scaled

    def truth(self) -> dict[str, Any]:
        """Everything known, as plain lists and numbers; ``raw_xy`` are index coordinates."""
        s, g = self.spec, self.geometry
        points = np.concatenate([self.beads_xyz, self.reference_xyz])
        raw = g.project(points).transpose(1, 0, 2) + np.array(image_centre(s.nx, s.ny))
        xf = g.transforms()
        return {
            "nominal": self.nominal_deg.tolist(),
            "tilt": g.tilt_deg.tolist(),
            "rot": g.axis_deg.tolist(),
            "magnification": g.magnification.tolist(),
            "shift": g.shift_px.tolist(),
            "xf": np.concatenate([xf[:, :, :2].reshape(-1, 4), xf[:, :, 2]], 1).tolist(),
            "raw_xy": raw.tolist(),
            "beads": self.beads_xyz.tolist(),
            "nx": s.nx,
            "ny": s.ny,
            "pixel": s.pixel_size_a,
            "axis": s.axis_deg,
            "axis_nominal": s.axis_deg + s.axis_error_deg,
            "x_tilt": s.x_tilt_deg,
            "bead_diameter_nm": s.bead_diameter_nm,
            "bad_views": sorted({*s.dead_views, *s.duplicated_views}),
            "seed": s.seed,
        }


def simulate_series(spec: SeriesSpec) -> SimulatedSeries:
    """Make a series; its views are drawn when asked for. Raises :class:`InputError`."""
    return SimulatedSeries(spec)


def write_series(
    spec: SeriesSpec, folder: str | os.PathLike[str], name: str, monitor: Monitor = SILENT
) -> dict[str, Path]:
    """Write NAME.mrc (int16), .rawtlt (nominal), .mdoc and .truth.json, view by view.

    Returns
    -------
    dict
        Paths by ``stack``, ``rawtlt``, ``mdoc``, ``truth``.

    Raises
    ------
    InputError
        Impossible values of ``spec``, or a file cannot be written.
    Cancelled
        Nothing partial is left under a final name.
    """
    series, out = SimulatedSeries(spec), Path(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise file_error(out, exc) from exc
    suffixes = {"stack": ".mrc", "rawtlt": ".rawtlt", "mdoc": ".mdoc", "truth": ".truth.json"}
    paths = {key: out / f"{name}{suffix}" for key, suffix in suffixes.items()}
    shape, previous = (spec.n_views, spec.ny, spec.nx), np.empty((0, 0), np.int16)
    labels = [f"Simulated by Tiltwright, seed {spec.seed}"]
    with MrcWriter(paths["stack"], shape, np.int16, spec.pixel_size_a, labels=labels) as writer:
        for v in range(spec.n_views):
            monitor.step(v, spec.n_views, f"simulating view {v + 1}")
            if v + 1 not in spec.duplicated_views:
                previous = series.view(v)
            writer.write(v, previous)
        monitor.step(spec.n_views, spec.n_views, "simulated")
    write_angles(paths["rawtlt"], series.nominal_deg)
    mdoc = mdoc_text(
        paths["stack"].name,
        series.nominal_deg,
        spec.axis_deg + spec.axis_error_deg,
        spec.pixel_size_a,
        (spec.nx, spec.ny),
        spec.dose_per_view,
        spec.defocus_um,
        spec.voltage_kv,
        spec.scheme,
    )
    write_text(paths["mdoc"], mdoc)
    write_text(paths["truth"], json.dumps(series.truth()))
    return paths
