"""The documentation site: pages are in its navigation, diagrams are drawn from their texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.site import diagrams, links

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def navigation() -> set[str]:
    """The pages that mkdocs.yml names, by their place below docs/."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    return set(re.findall(r"^ +- .*: ([\w./-]+\.md)$", text.split("\nnav:\n")[1], re.MULTILINE))


def written() -> Iterator[str]:
    """Pages of docs/ that a reader should find: all but single decisions."""
    for page in DOCS.rglob("*.md"):
        place = page.relative_to(DOCS).as_posix()
        if not re.match(r"decisions/\d", place):
            yield place


@pytest.mark.parametrize("page", sorted(written()))
def test_every_page_is_in_the_navigation(page: str) -> None:
    """A page that is new in docs/ gets a line under `nav:`."""
    assert page in navigation(), f"add docs/{page} to `nav:` in mkdocs.yml"


@pytest.mark.parametrize("file", [path for path, _ in diagrams.drawn()], ids=lambda path: path.stem)
def test_a_diagram_is_what_its_text_says(file: Path) -> None:
    """`python -m docs.site.diagrams` was run after the last change."""
    assert file.read_text("utf-8") == dict(diagrams.drawn())[file]


def test_a_line_that_says_nothing_is_refused() -> None:
    """A misspelt word is not left out of a diagram without a word."""
    with pytest.raises(ValueError, match="neither title"):
        diagrams.read("title A\nrow a\nboxx a | A")


def test_labels_of_a_diagram_cannot_be_markup() -> None:
    """Text stays text."""
    drawing = diagrams.read("title A & B\nrow a\nbox a | <b>")
    assert "A &amp; B" in diagrams.svg(drawing)
    assert "&lt;b&gt;" in diagrams.svg(drawing)


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("[a](api.md#x)", "[a](api.md#x)"),
        ("[a](decisions/)", "[a](decisions/README.md)"),
        ("[a](../deploy/README.md#one)", "[a](deploy.md#one)"),
        ("[a](../mrag_pipeline/config.py)", "a"),
        ("[a](https://example.com/x.md)", "[a](https://example.com/x.md)"),
        ("![a](../benchmarks/figures/verdicts.png)", "![a](images/verdicts.png)"),
        ("```\n[a](../mrag_pipeline/config.py)\n```", "```\n[a](../mrag_pipeline/config.py)\n```"),
    ],
)
def test_a_link_of_the_repository_becomes_one_of_the_site(link: str, shown: str) -> None:
    """What the site lacks is plain text; code blocks stay as they are."""
    assert links.for_the_site(link, "docs/page.md", "page.md") == shown
