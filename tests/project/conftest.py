"""Two tiny series, and a project in which the whole chain has run on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from project_parts import SMALL, build_chain

from tiltwright.engine.execution.runner import execute
from tiltwright.engine.project.project import Project
from tiltwright.engine.project.run import Source
from tiltwright.engine.simulate.series import SeriesSpec, write_series


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``s1.mrc`` and ``s2.mrc``."""
    folder = tmp_path_factory.mktemp("raw")
    for seed in (1, 2):
        write_series(SeriesSpec(seed=seed, **SMALL), folder, f"s{seed}")
    return folder


@pytest.fixture(scope="session")
def _finished(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "project"
    project = Project.create(folder, "both")
    for k in build_chain(project, [str(raw / "s1.mrc"), str(raw / "s2.mrc")]):
        execute(project, k)
    project.close()
    return folder


@pytest.fixture
def finished(_finished: Path, tmp_path: Path) -> Path:
    """A fresh copy of the project in which everything has run; not open."""
    return Path(shutil.copytree(_finished, tmp_path / "project"))


@pytest.fixture
def opened(finished: Path) -> Project:
    """The same, open."""
    return Project.open(finished)


@pytest.fixture
def stubborn() -> Callable[[Project, int], list[str]]:
    """All objects of a run, loaded: the names of those that cannot be."""

    def bad(project: Project, number: int) -> list[str]:
        out = []
        run = project.runs[number]
        for port, items in run.outputs.items():
            for name in items:
                try:
                    project.item(Source(number, port), name)
                except Exception as exc:
                    out.append(f"{port} {name}: {exc}")
        return out

    return bad
