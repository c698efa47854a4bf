"""How long a run will take and how much it will write, before it is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiltwright.app.describe import parse_output
from tiltwright.engine.project.project import Project
from tiltwright.engine.protocols.base import Protocol

if TYPE_CHECKING:
    from tiltwright.widgets.form.protocol_form import FormState

_SECONDS_PER_MPX = {
    "xray-eraser": 0.012, "preprocess": 0.012, "coarse-prealignment": 0.02,
    "fiducial-model": 0.05, "fiducial-alignment": 0.01,
}  # fmt: skip
"""Rough, per million pixels of the images that go in, on two cores."""
_VOXEL_UPDATES_PER_S = 5e9
_NS_PER_VOXEL = {
    "eed": 7.0, "beltrami": 2.2, "gaussian": 19.0, "band-pass": 21.0, "median": 210.0,
    "built-in": 400.0,
}  # fmt: skip
"""Of a tomogram, by method, measured on two cores; those that iterate for each iteration."""


def estimate(project: Project, protocol: type[Protocol], state: FormState) -> str:
    """One line, from the records of the inputs alone: no file is read."""
    pixels = voxels = 0.0
    seconds = written = 0.0
    n = 0
    for ident in state.inputs.values():
        if not ident:
            continue
        source = parse_output(ident)
        run = project.runs.get(source.run)
        items = run.outputs.get(source.port, {}) if run is not None else {}
        n = max(n, len(items))
        for record in items.values():
            if record["kind"] == "tilt_series":
                nx, ny = record.get("image_size") or (0, 0)
                pixels += len(record["tilt_deg"]) * nx * ny
                if protocol.key == "reconstruction":
                    thick = state.params.thickness
                    voxels += nx * ny * thick
                    seconds += len(record["tilt_deg"]) * nx * ny * thick / _VOXEL_UPDATES_PER_S
                    written += nx * ny * thick * (2 if state.params.output_type == "int16" else 4)
            elif record["kind"] == "tomogram":
                nz, ny, nx = record["shape"]
                written += 2.0 * nx * ny * nz
                seconds += nx * ny * nz * _seconds_per_voxel(protocol, state.params)
    if not n or getattr(state.params, "method", "") == "membrain-seg":
        # A network is as fast as its graphics card, which nobody knows here.
        return ""
    seconds += _SECONDS_PER_MPX.get(protocol.key, 0.0) * pixels / 1e6
    if protocol.key in ("preprocess", "xray-eraser"):
        written += 2 * pixels / getattr(state.params, "binning", 1) ** 2
    size = f", about {written / 1e9:.2g} GB" if written >= 5e6 else ""
    if seconds < 1:
        time = "below 1 s"
    else:
        time = f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"
    return f"{n} series, {time}{size}"


def _seconds_per_voxel(protocol: type[Protocol], params: Any) -> float:
    if protocol.key not in ("denoise", "segmentation"):
        return 1 / 3e8
    rounds = {"eed": "iterations", "beltrami": "flow_iterations"}.get(params.method)
    return 1e-9 * _NS_PER_VOXEL.get(params.method, 0.0) * (getattr(params, rounds) if rounds else 1)
