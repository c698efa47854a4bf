"""Coarse prealignment by cross-correlation, and the test of the tilt axis."""
