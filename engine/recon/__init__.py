"""Reconstruction: weighted back-projection."""
