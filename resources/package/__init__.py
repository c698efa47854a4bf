"""Tiltwright: cryo-electron tomography from a raw tilt series to a tomogram."""

import os

# Threaded BLAS on our small systems only waits for itself; the parallel work is in our kernels.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
