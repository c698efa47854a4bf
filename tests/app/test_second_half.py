"""The tutorial's second half by clicks: CTF, correction, SIRT, denoising, membranes, ChimeraX."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from window_parts import Person

from tiltwright.engine.execution.runner import execute
from tiltwright.engine.io.text import read_angles
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.engine.simulate.series import SeriesSpec, write_series
from tiltwright.widgets.runs.quality_table import QualityTable

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "exosome_position14"
NAMES = ("position14", "small")
DEFOCUS_NM = 3000.0


def write_defocus(stack: Path) -> None:
    """A table as IMOD writes it, beside a stack."""
    rows = [
        f"{v}\t{v}\t{tilt:.2f}\t{tilt:.2f}\t{DEFOCUS_NM + 4 * v:.0f}" + ("\t2" if v == 1 else "")
        for v, tilt in enumerate(read_angles(stack.with_suffix(".rawtlt")), 1)
    ]
    stack.with_suffix(".defocus").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def first_half(tmp_path_factory) -> Path:
    """A project whose two series are aligned, as the first half of the tutorial leaves it."""
    base = tmp_path_factory.mktemp("second")
    spec = SeriesSpec(seed=3, n_views=21, nx=360, ny=300, n_beads=18, n_vesicles=3,
                      shift_step_sd_px=3)  # fmt: skip
    write_series(spec, base, "small")
    if (REAL / "position14.mrc").exists():
        for ending in (".mrc", ".rawtlt"):
            shutil.copy(REAL / f"position14{ending}", base)
    else:
        write_series(SeriesSpec(seed=4, n_views=21, nx=300, ny=360, n_beads=18, n_vesicles=2,
                                shift_step_sd_px=3), base, "position14")  # fmt: skip
    files = [str(base / f"{name}.mrc") for name in NAMES]
    for file in files:
        write_defocus(Path(file))
    project = Project.create(base / "project")
    project.add("import-tilt-series",
                {"files": files, "axis_deg": -84.5, "pixel_size_a": 11.04,
                 "voltage_kv": 300, "cs_mm": 2.7})  # fmt: skip
    project.add("preprocess", {}, {"tilt_series": Source(1, "tilt_series")})
    project.add("coarse-prealignment", {}, {"tilt_series": Source(2, "tilt_series")})
    project.add("fiducial-model", {}, {"tilt_series": Source(3, "tilt_series")})
    inputs = {"tilt_series": Source(4, "tilt_series"),
              "fiducial_model": Source(4, "fiducial_model")}  # fmt: skip
    project.add("fiducial-alignment", {}, inputs)
    for number in sorted(project.runs):
        execute(project, number)
    project.close()
    return base / "project"


def test_the_second_half_by_clicks(qtbot, window, first_half, tmp_path):
    person = Person(qtbot, window)
    shutil.copytree(first_half, tmp_path / "project")
    person.open(tmp_path / "project")

    def step(title: str, values: dict[str, str] | None = None) -> int:
        """The chosen run's output goes into a form that is filled and executed."""
        form = person.choose(title)
        for name, text in (values or {}).items():
            person.write(form, name, text)
        return person.execute(form)

    def look(number: int, text: str, name: str = "small"):
        page = person.open_output(number, text)
        if isinstance(page, QualityTable):
            page.select([name])
            qtbot.keyClick(page.table, Qt.Key.Key_Return)
            page = window.workspace.currentWidget()
        qtbot.waitUntil(lambda: page.lane.idle, timeout=20_000)
        return page

    ctf = step("Import CTF")
    corrected = step("CTF correction")
    iterated = step("Reconstruction, second family", {"thickness": "64", "iterations": "5"})
    smooth = step("Denoise tomogram", {"iterations": "5"})
    mask = step("Segment membranes", {"threshold": "4", "min_size": "50"})
    scene = step("Scene for ChimeraX")
    runs = window.project.runs
    for k, r in runs.items():
        print(k, r.protocol, r.inputs)
    assert runs[scene].inputs == {
        "tomogram": Source(smooth, "tomogram"),
        "mask": Source(mask, "mask"),
        "tilt_series": Source(corrected, "tilt_series"),
    }
    assert runs[iterated].inputs == {"tilt_series": Source(corrected, "tilt_series")}
    assert all(runs[number].series == sorted(NAMES) for number in runs)

    look(ctf, "Imported CTF")
    series = look(corrected, "CTF-corrected tilt series")
    assert series.series.ctf_corrected
    qtbot.keyClick(series, Qt.Key.Key_I)
    qtbot.waitUntil(lambda: series.lane.idle, timeout=20_000)
    assert series.images.source.interpolated
    rough, calm = look(iterated, "Tomogram"), look(smooth, "Denoised tomogram")
    assert rough.tomogram.shape == calm.tomogram.shape == (64, 300, 360)
    assert np.std(calm.tomogram.data) < np.std(rough.tomogram.data)
    membranes = look(mask, "Mask of the membranes")
    assert 0 < np.mean(np.asarray(membranes.tomogram.data) > 0) < 0.2

    for name in NAMES:
        folder = window.project.output_folder(scene)
        script = (folder / f"{name}.cxc").read_text()
        for part in (f"{name}_rec", f"{name}_membranes", f"{name}_beads"):
            assert part in script, script
        mesh = window.project.output_folder(mask) / f"{name}_membranes.ply"
        assert mesh.stat().st_size > 1000
    text = (window.project.folder_of(iterated) / "log.txt").read_text()
    assert "residual" in text
