"""The Markdown pages: links resolve, files that pages name exist, the README is short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = ("agents", "benchmarks", "configs", "docker", "docs", "envs", "examples", "rlgns", "tests")
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(page for folder in TOP_LEVEL for page in (ROOT / folder).rglob("*.md")))
    if ".pytest_cache" not in path.parts
)
TRANSCRIPTS = ROOT / "docs" / "results"
"""These pages show outputs of their time, in which files may have had other names."""

LINK = re.compile(r"\]\(([^()\s]+)\)|^\[[^\]]+\]: (\S+)$|(?:src|href)=\"([^\"]+)\"", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(rf"(?:{'|'.join(TOP_LEVEL)})/[\w./*-]*")
README_WORDS = 900


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def broken_links(page: Path, text: str) -> list[str]:
    targets = [next(filter(None, groups)) for groups in LINK.findall(text)]
    relative = [target for target in targets if not re.match(r"[a-z]+:", target)]
    return [target for target in relative if not _resolves(page, target)]


def _resolves(page: Path, target: str) -> bool:
    path, _, section = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return False
    return not section or section in _sections(file.read_text(encoding="utf-8"))


def _sections(text: str) -> set[str]:
    """Headings as GitHub names them in links."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing_files(text: str) -> list[str]:
    """Files and folders in backticks that do not exist; `*` stands for any characters."""
    named = {word.rstrip(".,:;") for code in CODE.findall(text) for word in code.split() if FILE.fullmatch(word)}
    return sorted(name for name in named if not any(ROOT.glob(name.rstrip("/"))))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", [page for page in PAGES if TRANSCRIPTS not in page.parents], ids=name_of)
def test_named_files_exist(page: Path) -> None:
    assert missing_files(page.read_text(encoding="utf-8")) == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= README_WORDS


def test_the_readme_names_the_files_to_read_first() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.findall(r"^    ((?:agents|rlgns)/\S+\.py) ", text, re.MULTILINE)
    assert len(first) == 6
    assert [name for name in first if not (ROOT / name).is_file()] == []


def test_the_map_has_every_page() -> None:
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    assert sorted(page for page in pages if f"({page})" not in text) == []


def test_broken_links_and_missing_files_are_found() -> None:
    page = ROOT / "README.md"
    text = "[a](docs/README.md) [b](docs/none.md) [c](docs/README.md#words) [d](docs/README.md#none)\n[e]: none.md\n"
    assert broken_links(page, text) == ["docs/none.md", "docs/README.md#none", "none.md"]
    named = "`rlgns/training.py`, `python rlgns/none.py --x`, `envs/*.py`, `docs/none-*.md`, `runs/none`"
    assert missing_files(named) == ["docs/none-*.md", "rlgns/none.py"]
