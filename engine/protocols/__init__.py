"""The steps of the workflow, each declared once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiltwright.engine.protocols.base import Protocol

KEYS = (
    "preprocess",
    "coarse-prealignment",
    "fiducial-model",
    "fiducial-alignment",
    "reconstruction",
)
"""Keys of the protocols that ``process`` carries out if nothing else is asked for."""

ORDER = (
    "xray-eraser", "dose-filter", *KEYS[:-1], "ctf-import", "ctf-estimation", "ctf-correction",
    "erase-fiducials", "reconstruction", "reconstruction-iterative", "crop", "denoise",
    "segmentation", "chimerax",
)  # fmt: skip
"""Keys of all protocols that have a command, in the order in which a chain carries them out."""


def protocols() -> dict[str, type[Protocol]]:
    """Key to protocol class, in the order of the chain (imported when asked for)."""
    from tiltwright.engine.protocols.coarse_prealignment import CoarsePrealignment
    from tiltwright.engine.protocols.fiducial_alignment import FiducialAlignment
    from tiltwright.engine.protocols.fiducial_model import FiducialModel
    from tiltwright.engine.protocols.preprocess import Preprocess
    from tiltwright.engine.protocols.reconstruction import Reconstruction

    steps = (Preprocess, CoarsePrealignment, FiducialModel, FiducialAlignment, Reconstruction)
    return {step.key: step for step in steps}


def all_protocols() -> dict[str, type[Protocol]]:
    """Every protocol that a project offers, in the order of the catalogue."""
    from tiltwright.engine.protocols.chimerax import ChimeraX
    from tiltwright.engine.protocols.crop import Crop
    from tiltwright.engine.protocols.ctf_correction import CtfCorrection
    from tiltwright.engine.protocols.ctf_estimation import CtfEstimation
    from tiltwright.engine.protocols.ctf_import import CtfImport
    from tiltwright.engine.protocols.denoise import Denoise
    from tiltwright.engine.protocols.dose_filter import DoseFilter
    from tiltwright.engine.protocols.erase_fiducials import EraseFiducials
    from tiltwright.engine.protocols.import_tilt_series import ImportTiltSeries
    from tiltwright.engine.protocols.reconstruction_iterative import ReconstructionIterative
    from tiltwright.engine.protocols.segmentation import Segmentation
    from tiltwright.engine.protocols.simulate import Simulate
    from tiltwright.engine.protocols.xray_eraser import XrayEraser

    chain = protocols()
    reconstruction = chain.pop("reconstruction")
    steps: tuple[type[Protocol], ...] = (
        ImportTiltSeries, Simulate, XrayEraser, DoseFilter, *chain.values(), EraseFiducials,
        CtfImport, CtfEstimation, CtfCorrection, reconstruction, ReconstructionIterative, Crop,
        Denoise, Segmentation, ChimeraX,
    )  # fmt: skip
    return {step.key: step for step in steps}
