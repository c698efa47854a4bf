"""Fiducial alignment: bundle adjustment with analytic derivatives."""
