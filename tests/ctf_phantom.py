"""Tilted views of amorphous ice on carbon whose defocus is known: an independent twin of the CTF.

The rings come from white noise seen through the CTF, at a defocus that changes across the tilt.
Its strength is given as the ring contrast of the untilted view: the amplitude of the rings in
the rotational average over the whole image (rings one pixel of a 512-pixel transform wide) in
standard deviations of that average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft

LAMBDA_300 = 0.0196875
CS_A = 2.7e7


@dataclass(frozen=True)
class RingSpec:
    """A series of the acceptance: 300 kV, 2 angstrom per pixel, 3 e/A2 per view."""

    seed: int = 1
    n: int = 2048
    pixel_a: float = 2.0
    tilts: tuple[float, ...] = tuple(range(-60, 61, 3))
    axis_deg: float = -84.5
    defocus_um: float = 3.0
    drift_um: float = 0.08
    astigmatism_a: float = 400.0
    phase_deg: float = 0.0
    contrast: float = 4.0
    hand: int = 1
    dose: float = 3.0
    thickness_a: float = 0.0
    amplitude_contrast: float = 0.1


def twin_ctf(s2, cos2, sin2, d, a1, a2, phase_deg, w):
    """The CTF written out once more."""
    chi = math.pi * LAMBDA_300 * s2 * (d + a1 * cos2 + a2 * sin2)
    chi -= math.pi / 2 * CS_A * LAMBDA_300**3 * s2 * s2
    return np.sin(chi + np.float32(math.radians(phase_deg) + math.asin(w)))


class Rings:
    """Truth, and views made one by one."""

    def __init__(self, spec: RingSpec):
        self.spec = s = spec
        rng = np.random.default_rng([s.seed, 7])
        n = len(s.tilts)
        self.tilt = np.array(s.tilts, float)
        order = np.argsort(np.abs(self.tilt) + 0.1 * (self.tilt < 0), kind="stable")
        self.order = np.empty(n, int)
        self.order[order] = np.arange(1, n + 1)
        walk = np.empty(n)
        walk[order] = np.cumsum(rng.normal(0, s.drift_um / 3, n)) + rng.normal(0, s.drift_um / 2, n)
        self.defocus_a = (s.defocus_um + walk - walk.mean()) * 1e4
        angle = rng.uniform(0, math.pi)
        self.a1 = s.astigmatism_a / 2 * math.cos(2 * angle) + rng.normal(0, 20, n)
        self.a2 = s.astigmatism_a / 2 * math.sin(2 * angle) + rng.normal(0, 20, n)
        k = fft.fftfreq(s.n).astype(np.float32)
        kx = fft.rfftfreq(s.n).astype(np.float32)
        k2 = k[:, None] ** 2 + kx**2
        self.s2 = k2 / np.float32(s.pixel_a**2)
        safe = np.maximum(k2, 1e-12)
        self.cos2 = (kx**2 - k[:, None] ** 2) / safe
        self.sin2 = 2 * kx * k[:, None] / safe

    def offset(self, v):
        """Defocus offset of each pixel, by tilt and axis."""
        s = self.spec
        phi, t = math.radians(s.axis_deg), math.radians(self.tilt[v])
        x = np.arange(s.n, dtype=np.float32) - (s.n - 1) / 2
        across = math.cos(phi) * x + math.sin(phi) * x[:, None]
        return (-s.hand * math.tan(t) * s.pixel_a * across).astype(np.float32)

    def view(self, v, noise=True):
        s = self.spec
        rng = np.random.default_rng([s.seed, 8, v])
        t = math.radians(self.tilt[v])
        path = 1 / math.cos(t)
        # Independent values of a ring in the middle of the fit: 2048 wide, at 1/13 per angstrom.
        rings = math.pi * (s.n * s.pixel_a / 13) * (s.n / 512)
        # 1.65: measured, what the amplitude of the rings loses by the envelope and over the band.
        strength = math.sqrt(1.65 * 2 * s.contrast / math.sqrt(rings))
        electrons = s.dose * s.pixel_a**2 * math.exp(-0.4 * path)
        layers = 1 if s.thickness_a == 0 else 5
        offset = self.offset(v)
        reach = float(np.abs(offset).max())
        total = np.zeros((s.n, s.n), np.float32)
        top = 1 / 8.0**2
        n = 1 + math.ceil(math.pi * LAMBDA_300 * 2 * reach * top / 0.8) if reach > 1 else 1
        step = 2 * reach / max(n - 1, 1)
        for layer in range(layers):
            spectrum = fft.rfft2(rng.standard_normal((s.n, s.n), np.float32), workers=2)
            spectrum *= np.exp(-30 * self.s2)  # B of the power 60 A2
            z = 0.0 if layers == 1 else (layer / (layers - 1) - 0.5) * s.thickness_a * path
            for i in range(n):
                level = -reach + i * step if n > 1 else 0.0
                transfer = twin_ctf(
                    self.s2, self.cos2, self.sin2, self.defocus_a[v] + level + z, self.a1[v],
                    self.a2[v], s.phase_deg, s.amplitude_contrast,
                ).astype(np.float32)  # fmt: skip
                part = fft.irfft2(spectrum * transfer, s=(s.n, s.n), workers=2)
                if n > 1:
                    part *= np.maximum(1 - np.abs(offset - level) / step, 0)
                total += part
        # In units of the shot noise of the untilted view.
        amplitude = strength * math.sqrt(path / layers)
        zero = s.dose * s.pixel_a**2 * math.exp(-0.4)
        image = electrons * (1 + total * np.float32(amplitude / math.sqrt(zero)))
        if noise:
            image += math.sqrt(electrons) * rng.standard_normal((s.n, s.n), np.float32)
        return image


def ladder(n=512, pixel_a=2.0, tilts=(-50.0, -25.0, 0.0, 25.0, 50.0)):
    """Views of round particles: a form factor with rings of its own, and no CTF at all."""
    rng = np.random.default_rng(7)
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)) / pixel_a
    form = np.sinc(2 * k * 50.0) + 0.02
    spots = [np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, n))) * form) for _ in tilts]
    return np.array([s / s.std() + rng.normal(0, 0.3, s.shape) for s in spots])
