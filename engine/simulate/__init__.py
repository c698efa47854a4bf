"""Tilt series with exactly known truth."""
