"""The few values that a whole chain needs, declared as a protocol's parameters are."""

from __future__ import annotations

from pydantic import Field

from tiltwright.engine.protocols.base import Parameters

_SERIES, _BEADS, _TOMOGRAM = "Series", "Gold beads", "Tomogram"


class WizardParams(Parameters):
    """Values of the workflow wizard; ``None`` means what the metadata say."""

    pixel_size_a: float | None = Field(
        None, gt=0, le=100, title="Pixel size",
        description="Of the raw stack; empty takes the header's or the mdoc's",
        json_schema_extra={"unit": "Å/px", "group": _SERIES},
    )  # fmt: skip
    tilt_axis_deg: float | None = Field(
        None, ge=-360, le=360, title="Tilt axis angle",
        description="Counter-clockwise from the vertical; a typed 0 is a 0",
        json_schema_extra={"unit": "deg", "group": _SERIES, "imod": "RotationAngle"},
    )  # fmt: skip
    binning: int = Field(
        1, ge=1, le=32, title="Binning",
        description="Raw pixels per pixel of the working stack and of the tomogram",
        json_schema_extra={"unit": "px", "group": _SERIES, "imod": "BinByFactor"},
    )  # fmt: skip
    diameter_nm: float = Field(
        10.0, gt=0, le=200, title="Bead diameter",
        description="Diameter of the gold beads as bought",
        json_schema_extra={"unit": "nm", "group": _BEADS, "imod": "BeadDiameter"},
    )  # fmt: skip
    number: int = Field(
        25, ge=3, le=1000, title="Number of beads",
        description="How many to choose for their spread over the specimen",
        json_schema_extra={"group": _BEADS, "imod": "TargetNumberOfBeads"},
    )  # fmt: skip
    two_surfaces: bool = Field(
        True, title="Beads on two surfaces",
        description="Beads lie on the top and on the bottom of the specimen",
        json_schema_extra={"group": _BEADS, "imod": "TwoSurfaces"},
    )  # fmt: skip
    thickness: int = Field(
        300, ge=2, le=8192, title="Thickness",
        description="Thickness of the tomogram; take it too thick first, crop later",
        json_schema_extra={"unit": "voxels", "group": _TOMOGRAM, "imod": "THICKNESS"},
    )  # fmt: skip
