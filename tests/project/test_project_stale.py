"""What is out of date, and views that a person excludes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from project_parts import SMALL, build_chain, of

from tiltwright.engine.errors import InputError
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.project.project import Project
from tiltwright.engine.simulate.series import SeriesSpec, write_series


def none(n: int) -> np.ndarray:
    return np.zeros(n, bool)


def views(n: int, *chosen: int) -> np.ndarray:
    """1-based views as a mask."""
    out = none(n)
    out[np.array(chosen, int) - 1] = True
    return out


def test_a_changed_parameter_and_its_way_back(opened):
    assert opened.stale() == set()
    before = dict(opened.runs[4].params)
    opened.runs[4].params["number"] = 9
    assert opened.stale() == {4, 5, 6, 7}
    opened.runs[4].params = before
    assert opened.stale() == set()
    opened.runs[7].params["z_to"] = 30
    assert opened.stale() == {7}


def test_an_input_that_was_made_again(opened):
    # With the same result: nothing is out of date.
    execute(opened, 3, "restart")
    assert opened.stale() == set()
    # With other parameters but the same result as well: the axis test does not touch the shifts.
    opened.runs[3].params["test_axis"] = False
    assert opened.stale() == {3, 4, 5, 6, 7}
    execute(opened, 3)
    assert opened.stale() == set()
    # With another result: everything below.
    opened.runs[3].params["sigma1"] = 0.1
    execute(opened, 3)
    assert opened.stale() == {4, 5, 6, 7}
    for k in (4, 5, 6, 7):
        execute(opened, k)
    assert opened.stale() == set()


def test_the_raw_data_and_what_lies_beside_them(raw, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(raw, data)
    project = Project.create(tmp_path / "project")
    project.add("import-tilt-series", {"files": [str(data / "s1.mrc")]})
    project.add("xray-eraser", {}, {"tilt_series": of(1)})
    for k in (1, 2):
        execute(project, k)
    assert project.stale() == set()
    angles = data / "s1.rawtlt"
    lines = angles.read_text().split()
    angles.write_text("\n".join(["-61.5", *lines[1:]]))
    assert project.stale() == {1, 2}
    execute(project, 1)
    assert project.stale() == {2}
    angles.write_text("\n".join(lines))
    execute(project, 1)
    assert project.stale() == set()
    stack = np.array(open_stack(data / "s1.mrc"))
    stack[3, 5, 6] += 1
    with open(data / "s1.mrc", "r+b") as stream:
        stream.seek(1024)
        stream.write(stack.tobytes())
    assert project.stale() == {1, 2}
    (data / "s1.mrc").unlink()
    assert project.stale() == {1, 2}
    with pytest.raises(InputError, match=r"s1\.mrc"):
        execute(project, 1)
    assert project.names(of(2)) == ["s1"]


def test_marks_of_a_person(opened):
    n = SMALL["n_views"]
    opened.exclude(of(3), "s1", views(n, 4, 9), views(n, 2))
    assert opened.stale() == {4, 5, 6, 7}
    again = opened.item(of(3), "s1")
    assert (np.flatnonzero(again.excluded) + 1).tolist() == [4, 9]
    assert (np.flatnonzero(again.kept) + 1).tolist() == [2]
    # By acquisition number, in the file as well.
    mark = json.loads((opened.folder_of(3) / "run.json").read_text())["excluded"]
    assert mark["tilt_series"]["s1"] == {
        "excluded": sorted(again.order[[3, 8]].tolist()), "kept": [int(again.order[1])]
    }  # fmt: skip
    assert not opened.item(of(3), "s2").excluded.any()
    # What is excluded further up later comes on top of it, and a view may be taken in again.
    opened.exclude(of(1), "s1", views(n, 1, 15), none(n))
    assert 3 in opened.stale()
    for k in (2, 3):
        execute(opened, k)
    assert (np.flatnonzero(opened.item(of(3), "s1").excluded) + 1).tolist() == [1, 4, 9, 15]
    opened.exclude(of(3), "s1", views(n, 4, 9, 15), none(n))
    assert (np.flatnonzero(opened.item(of(3), "s1").excluded) + 1).tolist() == [4, 9, 15]
    opened.close()
    assert (
        np.flatnonzero(Project.open(opened.folder).item(of(3), "s1").excluded) + 1
    ).tolist() == [4, 9, 15]
    # All undone.
    again = Project.open(opened.folder)
    assert again.read_only is not None


def test_undone_marks_leave_no_trace(opened):
    n = SMALL["n_views"]
    opened.exclude(of(2), "s1", views(n, 3), none(n))
    opened.exclude_series(of(2), "s2", True)
    assert opened.stale() == {3, 4, 5, 6, 7}
    assert opened.names(of(2)) == ["s1"]
    opened.exclude_series(of(2), "s2", False)
    assert opened.stale() == {3, 4, 5, 6, 7}
    opened.exclude(of(2), "s1", none(n), none(n))
    assert opened.stale() == set()
    assert opened.runs[2].excluded == {"tilt_series": {}}
    # A series that is left out keeps the marks on its views.
    opened.exclude(of(2), "s1", views(n, 3), none(n))
    opened.exclude_series(of(2), "s1", True)
    opened.exclude_series(of(2), "s1", False)
    assert opened.item(of(2), "s1").excluded.sum() == 1


def test_marks_on_what_is_not_there(opened):
    n = SMALL["n_views"]
    for act in (
        lambda: opened.exclude(of(2), "s9", none(n), none(n)),
        lambda: opened.exclude(of(9), "s1", none(n), none(n)),
        lambda: opened.exclude_series(of(2, "tomogram"), "s1", True),
        lambda: opened.item(of(2), "s9"),
        lambda: opened.item_hash(of(9), "s1"),
    ):
        with pytest.raises(InputError):
            act()
    with pytest.raises(InputError, match="views of a tomogram"):
        opened.exclude(of(6, "tomogram"), "s1", none(n), none(n))


def test_series_left_out_as_a_whole(opened):
    opened.exclude_series(of(4), "s2", True)
    opened.runs[5].inputs["tilt_series"] = of(4, series=("s1", "s2"))
    assert opened.series_of(opened.runs[5]) == ["s1"]
    execute(opened, 5)
    assert list(opened.runs[5].outputs["tilt_series"]) == ["s1"]
    assert not list(opened.output_folder(5).glob("s2*"))
    assert not (opened.output_folder(5) / "items" / "s2.json").exists()
    opened.exclude_series(of(4), "s1", True)
    with pytest.raises(InputError, match="no tilt series in common"):
        execute(opened, 5)
    # The result of before is still there.
    assert opened.item(of(5), "s1").alignment is not None


def test_excluding_three_of_41_views_after_the_alignment(tmp_path):
    spec = SeriesSpec(seed=5, **(SMALL | {"n_views": 41}))
    write_series(spec, tmp_path / "raw", "s")
    mdoc = tmp_path / "raw" / "s.mdoc"
    # A dose of its own for each view.
    text, k = mdoc.read_text(), 0
    while "ExposureDose = 3" in text:
        text, k = text.replace("ExposureDose = 3", f"ExposureDose = 2.{k:02d}5", 1), k + 1
    assert k == 41
    mdoc.write_text(text)
    truth = json.loads((tmp_path / "raw" / "s.truth.json").read_text())
    project = Project.create(tmp_path / "project")
    build_chain(project, [str(tmp_path / "raw" / "s.mrc")])
    for k in range(1, 8):
        execute(project, k)
    first = project.item(of(5), "s")
    assert len(set(first.dose.tolist())) == 41
    assert first.order_known
    assert first.order.tolist() != sorted(first.order.tolist())
    out = views(41, 1, 20, 33)
    used = np.flatnonzero(~out)

    # On the alignment: the tomogram is out of date, made again of 38.
    tomogram = np.array(project.item(of(6, "tomogram"), "s").data)
    project.exclude(of(5), "s", out, none(41))
    assert project.stale() == {6, 7}
    execute(project, 6)
    execute(project, 7)
    assert project.stale() == set()
    without = np.array(project.item(of(6, "tomogram"), "s").data)
    assert not np.array_equal(without, tomogram)
    project.exclude(of(5), "s", none(41), none(41))
    assert project.stale() == {6, 7}
    execute(project, 6)
    execute(project, 7)
    assert np.array_equal(np.array(project.item(of(6, "tomogram"), "s").data), tomogram)

    # On the import, after the alignment: everything downstream.
    project.exclude(of(1), "s", out, none(41))
    assert project.stale() == {2, 3, 4, 5, 6, 7}
    for k in range(2, 8):
        execute(project, k)
    assert project.stale() == set()
    series = project.item(of(5), "s")
    model = project.item(of(5, "fiducial_model"), "s")
    fit = series.alignment.fit
    assert series.n_views == 41
    assert series.used.sum() == 38
    assert series.alignment.valid.tolist() == (~out).tolist()
    assert np.isfinite(fit.residual_px[..., 0]).any(0).tolist() == (~out).tolist()
    assert not model.measured[:, out].any()
    # Dose, order and nominal tilt belong to their views still.
    for name in ("dose", "order", "tilt_deg"):
        assert np.array_equal(getattr(series, name), getattr(first, name)), name
    assert np.array_equal(series.accumulated_dose(), first.accumulated_dose())
    # So do transforms and solved tilts: each view against its own truth.
    assert np.array_equal(series.alignment.transforms[out], np.tile(np.eye(2, 3), (3, 1, 1)))
    xf, tilt = series.alignment.transforms[used], np.deg2rad(series.alignment.tilt_deg[used])
    raw = np.array(truth["raw_xy"])[used] - [(192 - 1) / 2, (160 - 1) / 2]
    q = np.einsum("vij,vbj->vbi", xf[..., :2], raw) + xf[:, None, :, 2]
    m = np.stack([np.cos(tilt), np.sin(tilt)], 1)
    x = q[..., 0] - m @ np.linalg.lstsq(m, q[..., 0], rcond=None)[0]
    y = q[..., 1] - q[..., 1].mean(0)
    assert np.sqrt((x**2 + y**2).mean(1)).max() < 0.3
    # The files of the run say the same, a line per view.
    assert len((project.output_folder(5) / "s.xf").read_text().splitlines()) == 41
    # Undone, and what was computed of all 41 comes out again.
    project.exclude(of(1), "s", none(41), none(41))
    assert project.stale() == {2, 3, 4, 5, 6, 7}
    for k in range(2, 7):
        execute(project, k)
    assert np.array_equal(np.array(project.item(of(6, "tomogram"), "s").data), tomogram)


def test_undoing_before_anything_ran_again_is_fresh(opened):
    n = SMALL["n_views"]
    for port, k in (("tilt_series", 5), ("tilt_series", 1)):
        opened.exclude(of(k, port), "s1", views(n, 2, 5, 6), none(n))
        assert opened.stale() == set(range(k + 1, 8))
        opened.exclude(of(k, port), "s1", none(n), none(n))
        assert opened.stale() == set()


def test_a_circle_of_inputs_ends(opened):
    opened.runs[2].inputs["tilt_series"] = of(5)
    assert 2 in opened.stale()
    port = opened.protocol(4).inputs["tilt_series"]
    assert (5, "tilt_series") in opened.choices(port)
    assert opened.descendants([2]) >= {2, 3, 4, 5, 6, 7}
    for k in (2, 3):
        opened.runs[k] = replace(opened.runs[k], outputs={})
    opened.runs[2].inputs["tilt_series"] = of(2)
    opened.runs[3] = replace(opened.runs[3], protocol="preprocess")
    opened.runs[2].inputs["tilt_series"] = of(3)
    assert (3, "tilt_series") not in opened.choices(port)


def test_the_path_is_no_part_of_a_result(raw, tmp_path):
    project = Project.create(tmp_path / "project")
    project.add("import-tilt-series", {"files": [str(raw / "s1.mrc")]})
    project.add("xray-eraser", {}, {"tilt_series": of(1)})
    for k in (1, 2):
        execute(project, k)
    data = Path(shutil.copytree(raw, tmp_path / "moved"))
    project.runs[1].params["files"] = [str(data / "s1.mrc")]
    assert project.stale() == {1, 2}
    execute(project, 1)
    assert project.stale() == set()
    assert project.item(of(1), "s1").path == data / "s1.mrc"
