"""Contrast transfer: its model, its estimation from tilted views, its correction."""
