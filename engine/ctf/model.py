"""The contrast transfer function: one model, and the sign of everything in it.

The transfer of a weak specimen at spatial frequency ``s`` (1/angstrom) in direction ``theta`` is

``CTF = sin(chi + phase + asin(w))``, ``chi = pi lambda D s^2 - pi/2 Cs lambda^3 s^4``

(Rohou & Grigorieff 2015, https://doi.org/10.1016/j.jsb.2015.08.008, where it stands with a minus
sign because dark atoms are negative there).

Defocus
    ``D`` is positive for **underfocus**. Its dimension is angstrom here and in the files of CTFFIND
    and RELION, nanometre in ``.defocus``, micrometre in Warp's files and in the interface.
Astigmatism
    ``D(theta) = (u + v) / 2 + (u - v) / 2 cos 2 (theta - angle)``: ``u`` is the defocus along
    ``angle``, ``v`` the one across it; ``u >= v`` always (a file that has them the other way
    round is turned by 90 degrees on reading). ``angle`` is counter-clockwise from the x axis of
    the **raw** image, with row 0 at the bottom, and within -90 to 90 degrees.
Amplitude contrast
    ``w``, a fraction: ``CTF(0) = w`` without a phase plate, so that the image of dark atoms stays
    dark: the CTF is **positive** below its first zero.
Phase shift
    Of a phase plate, in the same direction as defocus: 0 to 180 degrees, added to ``chi``. A
    cut-on frequency (``.defocus`` of IMOD) is kept with the table but not modelled.
Spherical aberration, voltage
    ``Cs`` in mm, positive; the wavelength is the relativistic one.
Across the tilt
    The defocus of a table is that of the specimen's origin, on the tilt axis. A point at height
    ``z'`` after the tilt has ``D + hand z'``: at a tilt ``t`` of the plane specimen ``z' = -x' tan
    t`` with ``x'`` measured across the tilt axis in the aligned image, so that for ``hand = +1``
    the side of positive ``x'`` is nearer to focus at positive tilts. ``hand`` is +1 or -1 for what
    the defocus gradient said, 0 as long as it is undetermined (see ``engine/conventions.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltwright.engine.errors import InputError
from tiltwright.engine.geometry.projection import ViewGeometry

Floats = npt.NDArray[np.float64]


def wavelength_a(voltage_kv: float) -> float:
    """Relativistic wavelength of electrons, angstrom."""
    volt = voltage_kv * 1e3
    return 12.264259661581491 / math.sqrt(volt * (1 + 0.978475598e-6 * volt))


@dataclass(frozen=True)
class Optics:
    """The microscope: acceleration voltage, spherical aberration, amplitude contrast.

    Raises
    ------
    InputError
        Impossible values.
    """

    voltage_kv: float = 300.0
    cs_mm: float = 2.7
    amplitude_contrast: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what no microscope has."""
        if not 1 <= self.voltage_kv <= 3000:
            raise InputError(f"CTF: voltage {self.voltage_kv:g} kV is not within 1 to 3000")
        if not 0 <= self.cs_mm <= 100:
            raise InputError(f"CTF: spherical aberration {self.cs_mm:g} mm is not within 0 to 100")
        if not 0 <= self.amplitude_contrast <= 1:
            raise InputError(
                f"CTF: amplitude contrast {self.amplitude_contrast:g} is not within 0 to 1"
            )

    @property
    def per_defocus(self) -> float:
        """``pi lambda``: phase per angstrom of defocus and squared frequency."""
        return math.pi * wavelength_a(self.voltage_kv)

    @property
    def per_s4(self) -> float:
        """``pi/2 Cs lambda^3``: phase taken away per fourth power of the frequency."""
        return math.pi / 2 * self.cs_mm * 1e7 * wavelength_a(self.voltage_kv) ** 3

    def constant(self, phase_shift_deg: float = 0.0) -> float:
        """Phase at zero frequency, radians: phase plate and amplitude contrast."""
        return math.radians(phase_shift_deg) + math.asin(self.amplitude_contrast)


@dataclass(frozen=True)
class Defocus:
    """Defocus of one view, angstrom and degrees; see the text of this module."""

    u_a: float
    v_a: float
    angle_deg: float = 0.0
    phase_shift_deg: float = 0.0

    @classmethod
    def of_components(
        cls, mean_a: float, cos_a: float, sin_a: float, phase_shift_deg: float = 0.0
    ) -> Defocus:
        """From the mean and ``(u - v) / 2`` times the cosine and sine of twice the angle."""
        half = math.hypot(cos_a, sin_a)
        angle = math.degrees(math.atan2(sin_a, cos_a)) / 2
        return cls(mean_a + half, mean_a - half, angle, phase_shift_deg)

    @property
    def components(self) -> tuple[float, float, float]:
        """Mean, and ``(u - v) / 2`` times the cosine and sine of twice the angle, angstrom."""
        half, twice = (self.u_a - self.v_a) / 2, math.radians(2 * self.angle_deg)
        return (self.u_a + self.v_a) / 2, half * math.cos(twice), half * math.sin(twice)


def phase(s: npt.ArrayLike, theta: npt.ArrayLike, defocus: Defocus, optics: Optics) -> Floats:
    """The whole argument of the sine, radians.

    Parameters
    ----------
    s : array
        Spatial frequency, 1/angstrom.
    theta : array
        Its direction, radians counter-clockwise from x; broadcasts with ``s``.
    """
    s2 = np.asarray(s, np.float64) ** 2
    mean, cos, sin = defocus.components
    twice = 2 * np.asarray(theta, np.float64)
    d = mean + cos * np.cos(twice) + sin * np.sin(twice)
    out: Floats = optics.per_defocus * d * s2 - optics.per_s4 * s2 * s2
    return out + optics.constant(defocus.phase_shift_deg)


def ctf(s: npt.ArrayLike, theta: npt.ArrayLike, defocus: Defocus, optics: Optics) -> Floats:
    """The contrast transfer function; arguments as of :func:`phase`."""
    out: Floats = np.sin(phase(s, theta, defocus, optics))
    return out


def defocus_slopes(geometry: ViewGeometry, pixel_size_a: float, hand: int = 1) -> Floats:
    """Change of defocus across each raw view, ``(n_views, 2)`` angstrom per raw pixel in x and y.

    The defocus of a pixel ``p`` about the image centre is ``D + slope . (p - shift)``, where
    ``shift`` is where the specimen's origin lies (``geometry.shift_px``).
    """
    t, xi = np.deg2rad(geometry.tilt_deg), math.radians(geometry.x_tilt_deg)
    # Height after the tilt of a point (x, y) of the plane specimen.
    height = np.stack([-np.sin(t), np.cos(t) * math.sin(xi)], -1) * (hand * pixel_size_a)
    plane = geometry.matrices()[:, :, :2]
    slopes: Floats = np.einsum("vi,vij->vj", height, np.linalg.inv(plane))
    return slopes
