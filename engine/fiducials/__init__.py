"""Beads: detection, centring, seeds, tracks; patches for series without beads."""
