"""What the tests of projects are made of."""

from __future__ import annotations

from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source

SMALL = {
    "n_views": 15, "nx": 192, "ny": 160, "n_beads": 10, "n_vesicles": 0, "shift_step_sd_px": 2.0,
    "carbon": False,
}  # fmt: skip


def of(run: int, port: str = "tilt_series", series: tuple[str, ...] | None = None) -> Source:
    return Source(run, port, series)


def build_chain(project: Project, files: list[str]) -> list[int]:
    """Import to crop; the ids of the runs are 1 to 7."""
    project.add("import-tilt-series", {"files": files})
    project.add("preprocess", {}, {"tilt_series": of(1)})
    project.add("coarse-prealignment", {}, {"tilt_series": of(2)})
    project.add("fiducial-model", {"number": 8}, {"tilt_series": of(3)})
    inputs = {"tilt_series": of(4), "fiducial_model": of(4, "fiducial_model")}
    project.add("fiducial-alignment", {}, inputs)
    project.add("reconstruction", {"thickness": 48}, {"tilt_series": of(5)})
    project.add("crop", {"z_from": 5, "z_to": 40}, {"tomogram": of(6, "tomogram")})
    return sorted(project.runs)
