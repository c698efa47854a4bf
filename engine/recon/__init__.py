"""Reconstruction: weighted back-projection, SIRT, SART, Fourier inversion, 3-D CTF."""
