"""The chain of runs that the wizard creates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run, Source
from tiltwright.engine.protocols import KEYS, all_protocols
from tiltwright.widgets.form.wizard import ChainStep, WizardValues
from tiltwright.widgets.form.wizard_params import WizardParams

IMPORT = "import-tilt-series"
_FROM: dict[str, dict[str, str]] = {
    "preprocess": {"tilt_series": IMPORT},
    "coarse-prealignment": {"tilt_series": "preprocess"},
    "fiducial-model": {"tilt_series": "coarse-prealignment"},
    "fiducial-alignment": {"tilt_series": "fiducial-model", "fiducial_model": "fiducial-model"},
    "reconstruction": {"tilt_series": "fiducial-alignment"},
}
"""Which step of the chain gives each input."""


def parameters(files: Sequence[Path], p: WizardParams) -> dict[str, dict[str, Any]]:
    """Protocol key to the parameters that differ from the defaults."""
    return {
        IMPORT: {
            "files": [str(f) for f in files], "pixel_size_a": p.pixel_size_a,
            "axis_deg": p.tilt_axis_deg,
        },
        "preprocess": {"binning": p.binning},
        "fiducial-model": {
            "diameter_nm": p.diameter_nm, "number": p.number, "two_surfaces": p.two_surfaces,
        },
        "fiducial-alignment": {"two_surfaces": p.two_surfaces},
        "reconstruction": {"thickness": p.thickness},
    }  # fmt: skip


def preview(values: WizardValues) -> list[ChainStep]:
    """What will be created, in words."""
    declared = all_protocols()
    given = parameters(values.files, values.params)
    steps = []
    for key in (IMPORT, *KEYS):
        fields = declared[key].Params.model_fields
        differs = [
            f"{str(fields[name].title).lower()} {value}"
            for name, value in given.get(key, {}).items()
            if name != "files" and value is not None and value != fields[name].default
        ]
        n = len(values.files)
        detail = ", ".join(differs) or ("default values" if key != IMPORT else "from the metadata")
        if key == IMPORT and n:
            detail = f"{n} series, {detail}"
        steps.append(ChainStep(declared[key].title, detail))
    return steps


def create(project: Project, files: Sequence[Path], params: WizardParams) -> list[Run]:
    """Add the runs of the chain to a project, wired but not started.

    Raises
    ------
    InputError
        The project cannot be written, or a parameter does not fit.
    """
    source = project.add(IMPORT, parameters(files, params)[IMPORT])
    return [source, *connect(project, source, params)]


def connect(project: Project, source: Run, params: WizardParams) -> list[Run]:
    """Add the steps of the chain below a run that gives tilt series."""
    given = parameters((), params)
    made: dict[str, Run] = {IMPORT: source}
    for key in KEYS:
        inputs = {port: Source(made[step].id, port) for port, step in _FROM[key].items()}
        made[key] = project.add(key, given.get(key, {}), inputs)
    return [made[key] for key in KEYS]
