"""The pages of docs/: links lead somewhere, decisions are listed, quoted files exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from mrag_pipeline.config import Config

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mrag_pipeline"
DECISIONS = ROOT / "docs" / "decisions"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *DECISIONS.glob("*.md"),
        ROOT / "deploy/README.md",
    ]
)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
# A path of Python code: it has a folder and the suffix, and no placeholder in it.
CODE_FILE = re.compile(r"(?<![\w./{])((?:[\w-]+/)+[\w-]+\.py)\b")


# A file of ours by its name alone.
BARE_FILE = re.compile(r"`([\w-]+\.py)(?:::\w+)?`")


def name_of(page: Path) -> str:
    """A page's path in the repository."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    """A link to a page, picture or file of the repository is not broken."""
    links = {link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link}
    assert [link for link in sorted(links) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_file_that_a_page_names_exists(page: Path) -> None:
    """Paths are relative to the repository or to mrag_pipeline/."""
    named = set(CODE_FILE.findall(page.read_text("utf-8")))
    missing = [p for p in sorted(named) if not ((ROOT / p).exists() or (PACKAGE / p).exists())]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_file_named_without_its_folder_exists(page: Path) -> None:
    """Also a test with its file: `test_keys.py::test_some_behaviour`."""
    ours = {
        path.name
        for folder in ("mrag_pipeline", "flows", "tests", "benchmarks", "docs")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert sorted(set(BARE_FILE.findall(page.read_text("utf-8"))) - ours) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    """`tests/.../test_x.py::test_y` names a function of that file, `::test_y` one of some file."""
    text = page.read_text("utf-8")
    missing = []
    for file, function in re.findall(r"`([\w./-]*)::(test_\w+)`", text):
        files = (
            [ROOT / file] if "/" in file else sorted((ROOT / "tests").rglob(file or "test_*.py"))
        )
        if not any(
            path.exists() and f"def {function}(" in path.read_text("utf-8") for path in files
        ):
            missing.append(f"{file}::{function}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_config_that_a_page_shows_is_one(page: Path) -> None:
    """Its keys exist, and its values are allowed."""
    for shown in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        Config.parse(tomllib.loads(shown))


def test_every_decision_is_listed_with_its_number_and_title() -> None:
    """docs/decisions/README.md has one row for each page, in order, with the page's own title."""
    index = (DECISIONS / "README.md").read_text("utf-8")
    listed = re.findall(r"^\| \[(\d+)\]\(([^)]+)\) \| (.*?) \|", index, re.MULTILINE)
    pages = sorted(DECISIONS.glob("[0-9]*.md"))
    assert [(name, f"# {number}. {title}") for number, name, title in listed] == [
        (page.name, page.read_text("utf-8").splitlines()[0]) for page in pages
    ]


@pytest.mark.parametrize("page", sorted(DECISIONS.glob("[0-9]*.md")), ids=lambda path: path.stem)
def test_a_decision_has_a_status_and_a_date(page: Path) -> None:
    """`accepted, 2026-11-29`; or `replaced by 98, 2026-12-01`."""
    text = page.read_text("utf-8")
    [status] = re.findall(r"^\*\*Status\*\*: (.*)$", text, re.MULTILINE)
    assert re.fullmatch(r"(accepted|replaced by \d+), \d{4}-\d\d-\d\d", status)
