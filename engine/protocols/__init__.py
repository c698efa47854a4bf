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
"""Keys of the protocols of ``process``, in their order; also the names of their commands."""


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
    from tiltwright.engine.protocols.denoise import Denoise
    from tiltwright.engine.protocols.dose_filter import DoseFilter
    from tiltwright.engine.protocols.erase_fiducials import EraseFiducials
    from tiltwright.engine.protocols.import_tilt_series import ImportTiltSeries
    from tiltwright.engine.protocols.segmentation import Segmentation
    from tiltwright.engine.protocols.simulate import Simulate
    from tiltwright.engine.protocols.xray_eraser import XrayEraser

    extra = {
        step.key: step
        for step in (ImportTiltSeries, Simulate, XrayEraser, DoseFilter, EraseFiducials)
    }
    after = {step.key: step for step in (Crop, Denoise, Segmentation, ChimeraX)}
    return {**extra, **protocols(), **after}
