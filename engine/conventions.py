"""Axes, centres, signs and units: the one place in the code that states them.

Stack in memory
    ``(n_views, ny, nx)``, indexed ``[v, y, x]``; view 0 is the first section of the MRC file and
    row ``y = 0`` is the bottom row on the screen. TIFF rows run top-down and are flipped on
    reading.
Tomogram in memory
    ``(nz, ny, nx)`` with the tilt axis along Y; written in the same order.
Pixel position
    *Index* coordinates: the centre of the first pixel is 0.0, the image centre is ``(n - 1) /
    2``. IMOD model files store *edge* coordinates (index + 0.5); their Z is the 0-based view.
    Functions that take positions "about the centre" take index coordinates minus the image
    centre.
Transform (``.xf``)
    ``aligned - c = A (raw - c) + d`` with ``c`` the centre of each image, stored as ``(2, 3)``
    arrays ``[[a11, a12, dx], [a21, a22, dy]]``, in pixels of the raw, unbinned stack. The
    rotation in a transform is minus the tilt axis angle.
Tilt axis angle
    Degrees, counter-clockwise from the vertical to the tilt axis in the raw image.
Projection, whole
    ``p_raw - c = s + R(phi) m D P Ry(t) Rx(xi) X``: specimen point ``X``, x-axis tilt ``xi``,
    tilt ``t`` about Y, ``P`` drops z, ``D = [[1 + stretch, skew], [0, 1]]``, magnification ``m``,
    rotation by the tilt axis angle ``R(phi) = [[cos, -sin], [sin, cos]]``, shift ``s``.
    ``Rx(xi)`` takes ``(y, z)`` to ``(y cos xi - z sin xi, y sin xi + z cos xi)``. The ``.xf`` is
    the inverse of everything left of ``P``.
Projection, plain
    ``(x, y, z)`` lands at tilt ``t`` at ``x' = x cos t + z sin t``, ``y' = y``.
Residual
    Predicted minus measured, in raw pixels.
Units
    Angstrom per pixel; nanometre for bead diameters and ``.defocus``; degrees; electrons per
    square angstrom. Defocus is positive for underfocus, in micrometres in the interface.
Views
    0-based in code, 1-based wherever a person reads them; identified across files by acquisition
    order.
Handedness
    Parallel projections cannot tell a tilt axis from the one turned by 180 degrees.
Sizes
    When the tilt axis lies nearer the horizontal, the aligned stack and the tomogram have x and y
    swapped with respect to the raw stack.
"""

from __future__ import annotations

import math

EDGE_MINUS_INDEX = 0.5
"""What must be added to an index coordinate to get the edge coordinate of an IMOD model file."""


def image_centre(nx: int, ny: int) -> tuple[float, float]:
    """Centre ``(x, y)`` of an image of ``nx`` by ``ny`` pixels, index coordinates."""
    return (nx - 1) / 2, (ny - 1) / 2


def aligned_size(nx: int, ny: int, axis_deg: float) -> tuple[int, int]:
    """Size ``(nx, ny)`` of the aligned image of a raw ``nx`` by ``ny`` image.

    Swapped when the tilt axis, at ``axis_deg``, lies nearer the horizontal than the vertical.
    """
    return (ny, nx) if abs(math.sin(math.radians(axis_deg))) > math.sqrt(0.5) else (nx, ny)
