"""The queue of runs: its order, failures, stopping, and what is seen of it meanwhile."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QToolBar
from window_parts import SMALL, Person, build_chain

from tiltwright.app import jobs as jobs_module
from tiltwright.engine.io.mrc import open_stack
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.engine.protocols.reconstruction_iterative import stored
from tiltwright.engine.simulate.series import SeriesSpec, write_series

Key = Qt.Key
CANCEL_S = 1.0


@pytest.fixture
def chain(person, raw, tmp_path) -> Person:
    """A person before a project whose chain has not run yet."""
    project = Project.create(tmp_path / "chain")
    build_chain(project, [str(raw / "s1.mrc"), str(raw / "s2.mrc")])
    project.close()
    person.open(tmp_path / "chain")
    return person


def began(window) -> list[int]:
    order: list[int] = []
    window.jobs.run_changed.connect(
        lambda run: order.append(run.id) if run.status == "running" else None
    )
    return order


def test_runs_go_in_the_order_of_their_inputs(chain):
    order = began(chain.window)
    chain.select(5, 2, 4, 1, 3)
    chain.menu("continue")
    chain.wait()
    assert order == [1, 2, 3, 4, 5]
    assert chain.statuses()[6] == "new"


def test_a_run_without_its_input_says_so(chain):
    chain.select(6)
    chain.key(Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
    chain.wait()
    assert chain.statuses()[6] == "failed"
    assert "no tilt series in common" in chain.window.summary.summary._summary.status_text


def test_continue_all_runs_the_whole_chain(chain):
    order = began(chain.window)
    chain.key(Key.Key_C)
    chain.wait()
    assert order == [1, 2, 3, 4, 5, 6, 7]
    assert set(chain.statuses().values()) == {"finished"}


def test_wait_for_holds_a_run_back(opened):
    window = opened.window
    order = began(window)
    opened.select(3)
    opened.key(Key.Key_E)
    form = window.workspace.currentWidget()
    form.wait_for.choose(("6",))
    opened.click(form.save_button)
    assert window.project.runs[3].wait_for == [6]
    window.jobs.start(2, "restart")
    window.jobs.start(3, "restart")
    window.jobs.start(6, "restart")
    opened.wait()
    assert order == [2, 6, 3]


def test_a_failing_series_does_not_stop_the_other(person, raw, tmp_path, qtbot):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for ending in (".mrc", ".rawtlt", ".mdoc"):
        if (raw / f"s1{ending}").exists():
            (folder / f"good{ending}").write_bytes((raw / f"s1{ending}").read_bytes())
    write_series(SeriesSpec(seed=5, **(SMALL | {"n_beads": 0})), folder, "empty")
    project = Project.create(tmp_path / "mixed-project")
    build_chain(project, [str(folder / "good.mrc"), str(folder / "empty.mrc")])
    project.close()
    person.open(tmp_path / "mixed-project")
    person.key(Key.Key_C)
    person.wait()
    window = person.window
    assert set(person.statuses().values()) == {"finished"}
    run = window.project.runs[4]
    assert run.series == ["good"]
    assert set(run.failed) == {"empty"}
    person.select(4)
    assert run.failed["empty"] in " ".join(
        f"{item.reason}" for item in window.summary.summary._summary.failed
    )
    box = next(b for b in window.runs.graph.runs() if b.id == "4")
    assert (box.n_items, box.n_failed) == (1, 1)
    assert window.project.runs[7].series == ["good"]


def test_a_run_whose_input_failed_does_not_start(chain):
    window = chain.window
    (window.project.folder / "gone").mkdir()
    run = window.project.runs[1]
    run.params["files"] = [str(window.project.folder / "gone")]
    window.project.save(run)
    chain.key(Key.Key_C)
    chain.wait()
    statuses = chain.statuses()
    assert statuses[1] == "failed"
    assert {statuses[k] for k in range(2, 8)} == {"new"}
    chain.select(1)
    assert "no tilt series found" in window.summary.summary._summary.status_text


def test_a_run_taken_from_the_queue_is_what_it_was(opened):
    window = opened.window
    window.jobs.start(2, "restart")
    window.jobs.start(6, "restart")
    assert opened.statuses()[6] == "queued"
    opened.select(6)
    opened.key(Key.Key_S)
    assert opened.statuses()[6] == "finished"
    opened.wait()
    assert set(opened.statuses().values()) == {"finished"}


def test_stop_and_keep_ends_the_series_at_hand_with_what_it_has(opened, qtbot):
    window = opened.window
    action = window.run_actions.actions["stop_keep"]
    values = {"thickness": 48, "iterations": 1000, "output_type": "float32"}
    number = window.project.add(
        "reconstruction-iterative", values, {"tilt_series": Source(5, "tilt_series")}
    ).id
    window.resize(1280, 800)
    window.refresh()
    opened.select(number)
    assert not action.isVisible()
    opened.menu("continue")
    for name in ("s1", "s2"):
        qtbot.waitUntil(
            lambda name=name: (p := window.jobs.progress.get(number)) is not None
            and p.series == name and p.text.startswith("SIRT"), timeout=60_000,
        )  # fmt: skip
        window.refresh()
        assert action.isVisible()
        assert action.isEnabled()
        # What comes and goes leaves room for what stays.
        tools = window.findChild(QToolBar, "Tools")
        search = tools.widgetForAction(window.menus.find)
        assert search.geometry().right() <= tools.width() <= 1280
        assert not tools.widgetForAction(action).visibleRegion().isEmpty()
        assert not search.visibleRegion().isEmpty()
        opened.key(Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    opened.wait()
    run = window.project.runs[number]
    assert run.status == "finished"
    kept = {}
    for name in ("s1", "s2"):
        assert " of 1000 SIRT iterations" in run.notes[name][0]
        tomogram = window.project.item(Source(number, "tomogram"), name)
        assert 1 <= stored(tomogram).iterations < 1000
        kept[name] = tomogram
    log = (window.project.folder_of(run) / "log.txt").read_text()
    assert log.count("ended early, as asked for") == 2
    assert not action.isVisible()
    # To go on is offered: a run of what is left, from the tomogram as it was kept.
    opened.select(number)
    opened.key(Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
    form = window.workspace.currentWidget()
    least = min(stored(tomogram).iterations for tomogram in kept.values())
    assert form.parameters.values().iterations == 1000 - least
    assert form.pickers["start"].ident() == f"{number}.tomogram"
    opened.write(form, "iterations", "2")
    further = opened.execute(form)
    for name in kept:
        tomogram = window.project.item(Source(further, "tomogram"), name)
        assert stored(tomogram).iterations == stored(kept[name]).iterations + 2
    # Nothing is left of that: it is kept as it is.
    opened.select(further)
    opened.key(Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
    opened.wait()
    assert max(window.project.runs) == further
    # The others of the family and other steps have nothing to keep midway.
    window.jobs.start(6, "restart")
    assert not window.jobs.can_end_early(6)
    window.jobs.end_early(6)
    opened.wait()
    assert opened.statuses()[6] == "finished"


@pytest.mark.usefixtures("slow_import")
def test_stop_from_here_stops_the_run_and_what_waits_for_it(chain):
    chain.key(Key.Key_C)
    chain.qtbot.waitUntil(lambda: chain.window.jobs.running == 1, timeout=5000)
    chain.select(1)
    chain.key(Key.Key_S, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    chain.wait()
    statuses = chain.statuses()
    assert statuses[1] == "aborted"
    assert {statuses[k] for k in range(2, 8)} == {"new"}


@pytest.fixture
def slow_import(monkeypatch):
    """Every run waits until it is cancelled."""
    real = jobs_module.execute

    def slow(project, number, mode, hooks):
        end = time.monotonic() + 5
        while not hooks.stop.is_set() and time.monotonic() < end:
            time.sleep(0.01)
        return real(project, number, mode, hooks)

    monkeypatch.setattr(jobs_module, "execute", slow)


def test_the_title_the_tree_and_the_status_bar_show_progress(opened, qtbot):
    window = opened.window
    titles, bars, boxes = set(), set(), set()

    def look() -> None:
        window._show_progress()
        titles.add(window.windowTitle())
        bars.add(window.status_progress.text())
        boxes.update(b.progress_text() for b in window.runs.graph.runs() if b.id == "6")

    window.jobs.progress_changed.connect(lambda _: look())
    opened.select(6)
    opened.menu("restart")
    opened.wait()
    assert any(title.split(" ")[0].isdigit() and "%" in title for title in titles)
    assert any("left" in text and "s1" in text for text in bars)
    assert any("(1 of 2)" in text for text in bars)
    assert any("%" in text for text in boxes)
    assert window.windowTitle() == "Tiltwright — both"
    assert window.status_progress.text() == ""


def test_the_log_is_live_and_kept(opened):
    window = opened.window
    opened.select(6)
    opened.wait()
    assert "done in" in window.summary.log.all_text()
    lines: list[str] = []
    window.jobs.line_logged.connect(lambda _, line: lines.append(line))
    opened.menu("restart")
    opened.wait()
    shown = window.summary.log.all_text()
    assert lines
    assert all(line in shown for line in lines)
    kept = (window.project.folder_of(6) / "log.txt").read_text()
    assert all(line in kept for line in lines)
    assert kept.splitlines() == shown.splitlines()
    assert "[6]" in window.summary.project_log.all_text()


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("larger")
    spec = SeriesSpec(seed=9, n_views=21, nx=512, ny=480, n_beads=20, n_vesicles=2,
                      shift_step_sd_px=3)  # fmt: skip
    write_series(spec, folder, "big")
    return folder


@pytest.mark.slow
def test_every_step_is_cancelled_within_a_second(person, larger, tmp_path, record_property):
    """And continues to the same result afterwards."""
    project = Project.create(tmp_path / "cancelled")
    build_chain(project, [str(larger / "big.mrc")])
    project.add("xray-eraser", {}, {"tilt_series": Source(1, "tilt_series")})
    project.runs[6].params["thickness"] = 200
    project.save(project.runs[6])
    project.close()
    person.open(tmp_path / "cancelled")
    window = person.window
    took = {}
    for number in sorted(window.project.runs):
        run = window.project.runs[number]
        if run.protocol == "import-tilt-series":
            window.jobs.start(number)
            person.wait()
            continue
        window.jobs.start(number)
        person.wait()
        whole = window.project.runs[number].seconds
        for part in (0.15, 0.5, 0.85):
            person.select(number)
            window.jobs.start(number, "restart")
            end = time.monotonic() + part * whole
            while time.monotonic() < end and window.jobs.busy:
                person.qtbot.wait(5)
            if not window.jobs.busy:
                continue
            begin = time.monotonic()
            person.key(Key.Key_S)
            person.qtbot.waitUntil(lambda: not window.jobs.busy, timeout=20_000)
            took[run.protocol, part] = time.monotonic() - begin
            assert window.project.runs[number].status in ("aborted", "finished")
        window.jobs.start(number)
        person.wait()
        assert window.project.runs[number].status == "finished"
    record_property("cancel_s", {f"{k}": round(v, 3) for k, v in took.items()})
    print({f"{k[0]} {k[1]}": round(v, 3) for k, v in took.items()})
    assert {k[0] for k in took} >= {"preprocess", "fiducial-model", "reconstruction"}
    assert max(took.values()) <= CANCEL_S
    assert np.isfinite(open_stack(window.project.output_folder(6) / "big_rec.mrc")).all()
