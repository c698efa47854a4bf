"""Projection of specimen points, transforms, interpolation of images."""
