"""Tiltwright: cryo-electron tomography from a raw tilt series to a tomogram."""

__version__ = "0.1.0"
