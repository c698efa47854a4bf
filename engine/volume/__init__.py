"""Tomograms after the reconstruction: boundaries, cropping."""
