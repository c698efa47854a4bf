"""The demo project: a simulated series and the chain that makes a tomogram of it."""

from __future__ import annotations

from tiltwright.app.chain import connect
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run
from tiltwright.widgets.form.wizard_params import WizardParams


def create(project: Project) -> list[Run]:
    """Add the runs of the demo; raises :class:`InputError` when they cannot be written."""
    source = project.add(
        "simulate", {"seed": 14}, label="Simulated exosomes", comment="41 views with exact truth"
    )
    return [source, *connect(project, source, WizardParams(thickness=200))]
