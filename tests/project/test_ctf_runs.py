"""CTF steps as runs of a project: estimated, imported, corrected, reconstructed, stale."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from project_parts import of

from tiltwright.engine.errors import DataError
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.geometry.projection import ViewGeometry
from tiltwright.engine.io.mrc_write import MrcWriter
from tiltwright.engine.io.text import write_angles, write_xf
from tiltwright.engine.project.project import Project
from tiltwright.engine.protocols import all_protocols

sys.path.insert(0, str(Path(__file__).parents[1]))
from ctf_phantom import Rings, RingSpec

TILTS = (-50.0, -25.0, 0.0, 25.0, 50.0)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """``TS_1.mrc`` of rings, aligned, with its ``.rawtlt .tlt .xf``."""
    folder = tmp_path_factory.mktemp("rings")
    spec = RingSpec(seed=12, n=512, tilts=TILTS, contrast=8, hand=-1)
    twin = Rings(spec)
    with MrcWriter(folder / "TS_1.mrc", (5, 512, 512), np.float32, 2.0) as writer:
        for v in range(5):
            writer.write(v, twin.view(v))
    for ending in (".rawtlt", ".tlt"):
        write_angles(folder / f"TS_1{ending}", np.array(TILTS))
    geometry = ViewGeometry.nominal(TILTS, spec.axis_deg)
    write_xf(folder / "TS_1.xf", geometry.transforms())
    return folder


def test_from_import_to_tomogram(raw, tmp_path):
    project = Project.create(tmp_path / "project", "ctf")
    project.add("import-tilt-series", {"files": [str(raw / "TS_1.mrc")], "axis_deg": -84.5})
    project.add("ctf-estimation", {"tile_px": 256}, {"tilt_series": of(1)})
    inputs = {"tilt_series": of(1), "ctf_table": of(2, "ctf_table")}
    project.add("ctf-correction", {}, inputs)
    project.add("reconstruction", {"thickness": 20}, {"tilt_series": of(3)})
    for k in sorted(project.runs):
        execute(project, k)
    table = project.item(of(2, "ctf_table"), "TS_1")
    assert table.hand == -1
    corrected = project.item(of(3), "TS_1")
    assert corrected.describe() == "5 x 512 x 512, 2 Å/px +ali +ctf"
    assert project.item(of(4, "tomogram"), "TS_1").shape == (20, 512, 512)
    assert (project.place(project.runs[2]).own / "TS_1.defocus").exists()
    # Continue with nothing changed keeps everything.
    key = project.runs[3].key
    assert execute(project, 3).key == key
    # A table of another program: its content belongs to the identity of the run.
    file = tmp_path / "TS_1.defocus"
    file.write_text((project.place(project.runs[2]).own / "TS_1.defocus").read_text())
    project.add("ctf-import", {"files": [str(file)]}, {"tilt_series": of(1)})
    run = execute(project, 5)
    assert run.status == "finished"
    assert project.key_of(run) == run.key
    file.write_text(file.read_text().replace("-50.00", "-50.01"))
    assert project.key_of(run) != run.key
    file.unlink()
    # In 3-D, from the series before its correction, with halves.
    values = {"thickness": 20, "ctf": "flip", "halves": True}
    inputs = {"tilt_series": of(1), "ctf_table": of(2, "ctf_table")}
    number = project.add("reconstruction", values, inputs).id
    run = execute(project, number)
    assert run.status == "finished"
    text = "512 x 512 x 20, 2 Å/px +ctf"
    for port in ("tomogram", "even", "odd"):
        assert project.item(of(number, port), "TS_1").describe() == text
    assert project.item(of(4, "tomogram"), "TS_1").ctf_corrected
    # Halves are offered to later steps where they are made.
    offered = project.choices(all_protocols()["denoise"].inputs["tomogram"])
    assert offered == [(number, p) for p in ("tomogram", "even", "odd")] + [(4, "tomogram")]
    project.runs[number].inputs["tilt_series"] = of(3)
    with pytest.raises(DataError, match="TS_1 is corrected already"):
        execute(project, number)
    project.close()
