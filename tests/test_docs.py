"""The guide: its pictures and links exist, and are small enough for a repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("tutorial", "user-guide", "fiducial-editor")),
]
MOST_BYTES, MOST_BYTES_IN_ALL = 250_000, 4_000_000


def _targets(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [t for t in re.findall(r"\]\(([^)\s]+)\)", text) if not t.startswith("http")]


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_pictures_exist(page):
    targets = _targets(page)
    assert targets
    for target in targets:
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in _anchors(path), target


def test_pictures_are_small_and_all_of_them_are_used():
    pictures = list((ROOT / "docs" / "images").glob("*"))
    used = {(page.parent / t).resolve() for page in PAGES for t in _targets(page)}
    assert {p.resolve() for p in pictures} <= used
    assert max(p.stat().st_size for p in pictures) < MOST_BYTES
    whole = sum(p.stat().st_size for p in (ROOT / "docs").rglob("*") if p.is_file())
    assert whole < MOST_BYTES_IN_ALL


def test_the_front_page_is_short():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) < 120
