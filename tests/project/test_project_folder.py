"""Projects as folders: opening, locking, damage, workflows, copies."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from project_parts import build_chain, of

from tiltwright.engine.errors import InputError
from tiltwright.engine.execution.runner import execute
from tiltwright.engine.project.lock import Lock, Owner
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Run, run_from_json, run_to_json
from tiltwright.engine.protocols import all_protocols


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Seven runs that have not run."""
    made = Project.create(tmp_path / "project", "mine")
    build_chain(made, ["/nowhere/a.mrc"])
    return made


# Opening


def test_created_and_opened_again(project):
    project.runs[3].comment = "a comment with Å and \ud800"
    project.save(project.runs[3])
    project.close()
    again = Project.open(project.folder)
    assert (again.name, again.read_only, again.damaged) == ("mine", None, {})
    assert again.runs == project.runs
    assert [again.folder_of(k).name for k in (1, 7)] == ["001_import-tilt-series", "007_crop"]


def test_what_is_no_project(tmp_path):
    for make, words in [
        (lambda: Project.open(tmp_path), "is no Tiltwright project"),
        (lambda: Project.open(tmp_path / "nowhere"), "is no Tiltwright project"),
        (lambda: Project.create(Path("/proc/nowhere")), "/proc/nowhere"),
    ]:
        with pytest.raises(InputError, match=words):
            make()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        Project.create(tmp_path)
    with pytest.raises(InputError, match="file"):
        Project.create(tmp_path / "file")
    made = Project.create(tmp_path / "new")
    with pytest.raises(InputError, match="project already"):
        Project.create(made.folder)
    for text in ("", "{}", "[1]", '{"schema": "x", "name": 1}', "[" * 100_000, "\xff"):
        (made.folder / "project.json").write_text(text)
        with pytest.raises(InputError, match=r"project\.json: damaged"):
            Project.open(made.folder)
    (made.folder / "project.json").write_text('{"schema": 99, "name": "x"}')
    with pytest.raises(InputError, match="later version"):
        Project.open(made.folder)
    # Schema 0 has nothing that we miss.
    (made.folder / "project.json").write_text('{"schema": 0, "name": "old"}')
    made.close()
    assert Project.open(made.folder).name == "old"


# One writer

HOLD = """
import sys
from pathlib import Path
from tiltwright.engine.project.project import Project
project = Project.open(Path(sys.argv[1]))
print(project.read_only is None, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(project: Project) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the project."""
    project.close()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(project.folder)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_window_reads_and_says_why(project, holder):
    second = Project.open(project.folder)
    assert second.read_only is not None
    assert second.read_only.pid == holder.pid
    assert f"process {holder.pid} on {socket.gethostname()}" in str(second.read_only)
    assert len(second.runs) == 7
    run = second.runs[1]
    for change in (
        lambda: second.add("preprocess"), lambda: second.save(run), lambda: second.delete([7]),
        lambda: second.duplicate([1]), lambda: execute(second, 1),
    ):  # fmt: skip
        with pytest.raises(InputError, match="read-only"):
            change()
    assert len(Project.open(project.folder).runs) == 7
    # In the very process as well.
    holder.kill()
    holder.wait()
    first = Project.open(project.folder)
    assert first.read_only is None
    third = Project.open(project.folder)
    assert third.read_only is not None
    third.close()
    first.close()
    assert Project.open(project.folder).read_only is None


def test_a_killed_process_is_taken_over_at_once(project, holder):
    # Not even waited for: a process that is dead but still in the table.
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert Project.open(project.folder).read_only is None


def test_a_pid_that_was_given_away_is_no_owner(project):
    lock = project.folder / ".lock"
    owner = json.loads(lock.read_text())
    assert owner["pid"] == os.getpid()
    lock.write_text(json.dumps(owner | {"born": "1"}))
    assert Project.open(project.folder).read_only is None


@pytest.mark.parametrize(
    "text", [json.dumps({"host": "far", "pid": 1, "since": "then"}), "", "garbage", '{"pid": -1}']
)
def test_elsewhere_only_the_heartbeat_tells(project, text):
    project.close()
    lock = project.folder / ".lock"
    lock.write_text(text)
    second = Project.open(project.folder)
    assert second.read_only is not None
    assert ("far" in str(second.read_only)) == ("far" in text)
    assert lock.read_text() == text
    os.utime(lock, (time.time() - 300,) * 2)
    assert Project.open(project.folder).read_only is None


def test_of_two_that_take_over_only_one_does(tmp_path, monkeypatch):
    path = tmp_path / ".lock"
    path.write_text(json.dumps({"host": "far", "pid": 1, "since": "then"}))
    os.utime(path, (time.time() - 300,) * 2)
    first, second = Lock(tmp_path), Lock(tmp_path)
    judged = second._dead

    def slow(text: str) -> bool:
        dead = judged(text)
        monkeypatch.setattr(second, "_dead", judged)
        assert first.acquire() is None
        return dead

    monkeypatch.setattr(second, "_dead", slow)
    owner = second.acquire()
    assert owner is not None
    assert owner.pid == os.getpid()
    assert (first.held, second.held) == (True, False)
    first.renew()
    assert not first.lost
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock"]


def test_a_window_that_was_taken_for_dead_writes_no_more(project):
    assert project.lock is not None
    project.lock.path.write_text(json.dumps(Owner("far", 7, "now").__dict__))
    project.lock.renew()
    with pytest.raises(InputError, match="process 7 on far"):
        project.add("preprocess")
    project.close()
    assert project.lock.path.exists()


# Damage


def test_damaged_runs_leave_the_rest_usable(opened, stubborn):
    folder = opened.folder
    (opened.folder_of(2) / "run.json").write_text("{ half")
    (opened.folder_of(4) / "run.json").unlink()
    later = json.loads((opened.folder_of(6) / "run.json").read_text()) | {"schema": 99}
    (opened.folder_of(6) / "run.json").write_text(json.dumps(later))
    shutil.copytree(opened.folder_of(1), folder / "runs" / "009_import-tilt-series")
    (folder / "runs" / "notes").mkdir()
    (folder / "runs" / "notes.txt").write_text("mine")
    opened.close()
    again = Project.open(folder)
    assert sorted(again.runs) == [1, 3, 5, 7]
    assert {k: v.split(": ", 1)[1].split(" (")[0] for k, v in again.damaged.items()} == {
        "002_preprocess": "damaged",
        "004_fiducial-model": "no such file or directory; check that the file and its folder exist",
        "006_reconstruction": "written by a later version of Tiltwright; update to open this run",
        "009_import-tilt-series": "has the number of 001_import-tilt-series",
    }
    assert again.stale() == {3, 5, 7}
    for k in again.runs:
        assert stubborn(again, k) == ([] if k in (1, 5, 7) else stubborn(again, k))
        again.choices(
            again.protocol(k).inputs.get(
                "tilt_series", all_protocols()["preprocess"].inputs["tilt_series"]
            ),
            k,
        )
    # A new number is new, and the damaged folders stay for who wants to mend them.
    assert again.add("preprocess", {}, {"tilt_series": of(1)}).id == 10
    assert execute(again, 10).status == "finished"
    again.delete([10, 999])
    assert (folder / "runs" / "002_preprocess" / "run.json").read_text() == "{ half"
    with pytest.raises(InputError, match="no tilt series in common"):
        execute(again, 3)
    assert again.runs[3].failed == {
        "": "Coarse prealignment: its inputs have no tilt series in common yet"
    }


@pytest.mark.parametrize("record", [{}, {"kind": "tilt_series"}, {"order": [1], "excluded": 5}])
def test_damaged_records_concern_one_series(opened, record):
    path = opened.folder_of(3) / "run.json"
    data = json.loads(path.read_text())
    whole = data["outputs"]["tilt_series"]["s1"]
    data["outputs"]["tilt_series"]["s1"] = record if len(record) < 2 else whole | record
    path.write_text(json.dumps(data))
    opened.refresh()
    assert opened.damaged == {}
    assert opened.stale() == {4, 5, 6, 7}
    with pytest.raises(InputError, match="damaged record"):
        opened.item(of(3), "s1")
    run = execute(opened, 4)
    assert list(run.failed) == ["s1"]
    assert opened.names(of(4)) == ["s2"]
    # The record of its own series in the output folder mends it.
    execute(opened, 3)
    execute(opened, 4)
    assert opened.names(of(4)) == ["s1", "s2"]
    assert opened.stale() == set()


def test_a_protocol_that_this_version_lacks(opened):
    text = (opened.folder_of(3) / "run.json").read_text()
    (opened.folder_of(3) / "run.json").write_text(
        text.replace("coarse-prealignment", "warp-everything", 1)
    )
    opened.close()
    again = Project.open(opened.folder)
    assert again.damaged == {}
    with pytest.raises(InputError, match="no protocol warp-everything"):
        again.protocol(3)
    assert again.stale() == {3, 4, 5, 6, 7}
    port = all_protocols()["fiducial-model"].inputs["tilt_series"]
    # Its outputs cannot be offered; those of runs below it are there.
    assert again.choices(port) == [(5, "tilt_series"), (4, "tilt_series")]
    assert again.item(of(3), "s1").alignment is not None
    with pytest.raises(InputError, match="no protocol"):
        execute(again, 3)
    assert again.runs[3].status == "failed"
    assert again.workflow()[2]["protocol"] == "warp-everything"
    again.delete([3])
    assert sorted(again.runs) == [1, 2]


def test_parameters_of_another_version(opened):
    path = opened.folder_of(6) / "run.json"
    data = json.loads(path.read_text())
    data["params"] |= {"thickness": -5}
    path.write_text(json.dumps(data))
    opened.refresh()
    with pytest.raises(InputError, match=r"Tomogram reconstruction: thickness: .*greater than"):
        execute(opened, 6)
    assert "thickness" in opened.runs[6].failed[""]
    assert opened.stale() == {6, 7}
    opened.runs[6].params["thickness"] = 48
    assert execute(opened, 6).failed == {}
    assert opened.stale() == set()


def test_an_older_run_and_entries_of_a_newer_one():
    old = run_from_json('{"id": 1, "protocol": "crop"}', "here")
    assert (old.status, old.schema, old.outputs) == ("new", 1, {})
    extra = json.dumps(json.loads(run_to_json(old)) | {"shiny": [1]})
    assert run_from_json(extra, "here") == old


@pytest.mark.parametrize(
    "change",
    [
        {"id": "1"}, {"protocol": 5}, {"status": "lost"}, {"params": []}, {"outputs": {"a": 5}},
        {"outputs": {"a": {"b": 5}}}, {"excluded": {"tilt_series": {"a": []}}},
        {"inputs": {"a": {"run": "x", "port": "y"}}}, {"inputs": []}, {"wait_for": ["x"]},
        {"started": "now"}, {"schema": None}, {"colour": 4}, {"label": None},
    ],
)  # fmt: skip
def test_runs_with_wrong_values_are_damaged(change):
    good = json.loads(run_to_json(Run(1, "crop")))
    with pytest.raises(InputError, match="here: damaged"):
        run_from_json(json.dumps(good | change), "here")


def test_a_missing_input_file_is_named_and_the_other_series_goes_on(opened):
    opened.item(of(2), "s1").work_path.unlink()
    with pytest.raises(InputError, match=r"s1_pre\.mrc"):
        opened.item(of(2), "s1")
    assert opened.stale() == {3, 4, 5, 6, 7}
    run = execute(opened, 3)
    assert run.status == "finished"
    assert list(run.failed) == ["s1"]
    assert "s1_pre.mrc" in run.failed["s1"]
    assert opened.names(of(3)) == ["s2"]
    # Made again above: all is as it was.
    assert execute(opened, 2).failed == {}
    for k in range(3, 8):
        assert execute(opened, k).failed == {}
        assert opened.names(of(k, next(iter(opened.runs[k].outputs)))) == ["s1", "s2"]
    assert opened.stale() == set()


def test_folders_that_cannot_be_written(opened, tmp_path):
    opened.runs[7].status = "running"
    opened.save(opened.runs[7])
    opened.close()
    where = tmp_path / "ro"
    where.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount read-only")
    for words in (["--bind", str(opened.folder)], ["-o", "remount,bind,ro", str(opened.folder)]):
        if subprocess.run(["mount", *words, str(where)], capture_output=True).returncode:
            subprocess.run(["umount", str(where)], capture_output=True)
            pytest.skip("no read-only mount here")
    try:
        project = Project.open(where)
        assert "cannot be written" in str(project.read_only)
        assert "process" not in str(project.read_only)
        assert project.runs[7].status == "interrupted"
        assert project.stale() == set()
        assert project.item(of(5), "s1").alignment is not None
        for change in (
            lambda: project.add("preprocess"),
            lambda: project.exclude_series(of(1), "s1", True),
        ):
            with pytest.raises(InputError, match="read-only"):
                change()
        with pytest.raises(InputError, match="read-only"):
            Project.create(where / "new")
        copied = project.copy_to(tmp_path / "copy")
        assert copied.read_only is None
    finally:
        subprocess.run(["umount", str(where)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A small disk at ``tmp_path / "disk"``; calling it fills it to the last byte."""
    at = tmp_path / "disk"
    at.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    words = ["mount", "-t", "tmpfs", "-o", "size=24m", "tiltwright-test", str(at)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")

    def fill() -> None:
        with open(at / "ballast", "wb", buffering=0) as stream:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        stream.write(bytes(size))
                except OSError:
                    pass

    yield fill
    subprocess.run(["umount", str(at)], check=True)


def test_a_full_disk(finished, tmp_path, disk, stubborn):
    folder = tmp_path / "disk" / "project"
    shutil.copytree(finished, folder)
    project = Project.open(folder)
    project.close()
    disk()
    project = Project.open(folder)
    assert project.read_only is None
    assert Project.open(folder).read_only is not None
    with pytest.raises(InputError, match="no space left"):
        project.add("preprocess", {}, {"tilt_series": of(1)})
    with pytest.raises(InputError, match="no space left"):
        project.exclude_series(of(1), "s1", True)
    assert sorted(project.runs) == list(range(1, 8))
    assert project.names(of(1)) == ["s1", "s2"]
    with pytest.raises(InputError, match="free space"):
        execute(project, 6, "restart")
    assert project.runs[6].status == "failed"
    assert "free space" in project.runs[6].failed[""]
    for k in project.runs:
        assert stubborn(project, k) == []
    assert project.stale() == set()
    # Room is made from within, and the run goes on.
    project.delete([7])
    (tmp_path / "disk" / "ballast").unlink()
    assert execute(project, 6).status == "finished"
    project.close()
    again = Project.open(folder)
    assert (again.damaged, again.read_only, sorted(again.runs)) == ({}, None, [1, 2, 3, 4, 5, 6])
    with pytest.raises(InputError, match="cannot be copied"):
        disk() or again.copy_to(tmp_path / "disk" / "copy")
    assert not (tmp_path / "disk" / "copy").exists()


# Workflows, copies, deleting


def test_a_workflow_goes_out_and_comes_in(project, tmp_path):
    project.runs[2].inputs["tilt_series"] = of(1, series=("a", "b"))
    project.runs[3].wait_for = [2]
    # An input that was made after its user.
    late = project.add("preprocess", {"binning": 2}, {"tilt_series": of(1)}, "late", comment="why")
    project.runs[6].inputs["tilt_series"] = of(late.id)
    text = json.dumps(project.workflow())
    assert "/nowhere/a.mrc" in text
    other = Project.create(tmp_path / "other")
    other.add("crop")
    made = other.add_workflow(json.loads(text))
    assert len(made) == 8
    shift = {old: new.id for old, new in zip(project.runs, made, strict=True)}
    for k, run in project.runs.items():
        twin = other.runs[shift[k]]
        assert (twin.protocol, twin.label, twin.params, twin.comment) == (
            run.protocol, run.label, run.params, run.comment
        )  # fmt: skip
        assert twin.inputs == {
            p: of(shift[s.run], s.port, s.series) for p, s in run.inputs.items()
        }  # fmt: skip
        assert twin.wait_for == [shift[w] for w in run.wait_for]
        assert (twin.status, twin.outputs) == ("new", {})
    other.close()
    assert Project.open(other.folder).runs == other.runs


def test_parts_of_a_workflow_take_only_what_fits(project, tmp_path):
    part = project.workflow([6, 7])
    other = Project.create(tmp_path / "other")
    # Run 5 is something else here.
    for _ in range(5):
        other.add("crop")
    recon, crop = other.add_workflow(part)
    assert recon.inputs == {}
    assert crop.inputs == {"tomogram": of(recon.id, "tomogram")}
    # At home it is what it was.
    assert project.add_workflow(part)[0].inputs == {"tilt_series": of(5)}


@pytest.mark.parametrize(
    "workflow",
    [
        5, None, [5], ["x"], {"a": 1}, [{"id": 1}], [{"id": "x", "protocol": "crop"}],
        [{"id": 1, "protocol": "crop", "params": 7}],
        [{"id": 1, "protocol": "crop"}, {"id": 2, "protocol": "none", "params": {}}],
        [{"id": 1, "protocol": "crop"}, {"id": 2, "protocol": "crop", "params": {"x_from": -1}}],
        [{"id": 1, "protocol": "crop", "inputs": {"tomogram": 7}}],
        [{"id": 1, "protocol": "crop", "params": {"other": 1}}],
    ],
)  # fmt: skip
def test_what_is_no_workflow_adds_nothing(project, workflow):
    with pytest.raises(InputError):
        project.add_workflow(workflow)
    assert sorted(project.runs) == list(range(1, 8))
    assert len(list((project.folder / "runs").iterdir())) == 7


def test_duplicates_keep_their_wiring(opened):
    twins = opened.duplicate([4, 5, 6])
    ids = [run.id for run in twins]
    assert ids == [8, 9, 10]
    assert [run.label[-7:] for run in twins] == [" (copy)"] * 3
    assert twins[0].inputs == {"tilt_series": of(3)}
    assert twins[1].inputs == {"tilt_series": of(8), "fiducial_model": of(8, "fiducial_model")}
    assert twins[2].inputs == {"tilt_series": of(9)}
    for k in ids:
        assert execute(opened, k).failed == {}
    a, b = (opened.item(of(k, "tomogram"), "s2").data for k in (6, 10))
    assert np.array_equal(a, b)
    assert opened.stale() == set()


def test_deleting(opened):
    opened.runs[6].status = "running"
    with pytest.raises(InputError, match="Tomogram reconstruction: is running; stop it first"):
        opened.delete([5])
    assert sorted(opened.runs) == list(range(1, 8))
    opened.runs[6].status = "finished"
    opened.delete([5])
    assert sorted(opened.runs) == [1, 2, 3, 4]
    assert [p.name[:3] for p in sorted((opened.folder / "runs").iterdir())] == [
        "001", "002", "003", "004"
    ]  # fmt: skip
    assert opened.add("crop").id == 5
    # What a killed window left half deleted goes at the next opening.
    (opened.folder / "runs" / ".deleted.5.1").mkdir()
    opened.close()
    again = Project.open(opened.folder)
    assert not list((again.folder / "runs").glob(".*"))


def test_copies(opened, tmp_path, stubborn):
    opened.runs[6].status = "running"
    opened.save(opened.runs[6])
    twin = opened.copy_to(tmp_path / "copy")
    assert twin.read_only is None
    assert twin.runs[6].status == "interrupted"
    assert opened.runs[6].status == "running"
    shutil.rmtree(opened.folder)
    assert [stubborn(twin, k) for k in twin.runs] == [[]] * 7
    assert twin.stale() == set()
    for folder, words in [(twin.folder, "exists already"), (twin.folder / "in", "within")]:
        with pytest.raises(InputError, match=words):
            twin.copy_to(folder)


def test_choices(project):
    ports = {k: p.inputs for k, p in all_protocols().items()}
    assert project.choices(ports["crop"]["tomogram"]) == [(7, "tomogram"), (6, "tomogram")]
    assert project.choices(ports["crop"]["tomogram"], below=7) == [(6, "tomogram")]
    # Nothing has run yet, but it is known what will be aligned.
    assert project.choices(ports["fiducial-model"]["tilt_series"]) == [
        (5, "tilt_series"), (4, "tilt_series"), (3, "tilt_series")
    ]  # fmt: skip
    assert project.choices(ports["fiducial-model"]["tilt_series"], below=4) == [(3, "tilt_series")]
    assert project.choices(ports["preprocess"]["tilt_series"], below=2) == [(1, "tilt_series")]
    assert project.choices(ports["fiducial-alignment"]["fiducial_model"]) == [
        (5, "fiducial_model"), (4, "fiducial_model"), (1, "fiducial_model")
    ]  # fmt: skip


def test_queued_and_running_runs_of_a_window_that_is_gone(opened):
    for k, status in ((2, "queued"), (6, "running"), (7, "queued")):
        opened.runs[k].status = status
        opened.runs[k].started = time.time() - 1000
        opened.save(opened.runs[k])
    fresh = opened.add("crop")
    fresh.status = "queued"
    opened.save(fresh)
    log = opened.folder_of(6) / "log.txt"
    os.utime(log, (opened.runs[6].started + 5,) * 2)
    opened.close()
    again = Project.open(opened.folder)
    assert [again.runs[k].status for k in (2, 6, 7, 8)] == [
        "finished", "interrupted", "finished", "new"
    ]  # fmt: skip
    assert again.runs[6].seconds == pytest.approx(5, abs=0.1)
    assert [r.status for r in Project.open(opened.folder, read_only=True).runs.values()] == [
        r.status for r in again.runs.values()
    ]
