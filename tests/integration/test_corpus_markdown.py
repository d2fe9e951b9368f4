"""Markdown: what is front matter, what is a tag, and what is text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrag_pipeline.corpus.formats.front_matter import split_front_matter
from mrag_pipeline.corpus.formats.markdown_text import markdown_text
from mrag_pipeline.domain.documents import Document
from tests.support.corpus_files import only, read, written


@pytest.mark.parametrize(
    "source",
    [
        "---\n\nThe first paragraph about glaciers must not vanish.\n\n---\n\nThe second.\n",
        "---\nglaciers must not vanish\n---\nThe second.\n",
        "---\n- glaciers\n- must not vanish\n---\n",
        "---\n\nnote: glaciers must not vanish\n\n---\n\nThe second.\n",
        "---\nA whole sentence of several words: glaciers must not vanish\n---\nThe second.\n",
        "---\ntitle: glaciers: must not vanish\n---\nThe second.\n",
        "---\nglaciers: must not vanish\n",
        "---\nglaciers: [must, not vanish\n---\n",
        "+++\nglaciers must not vanish\n+++\n",
    ],
)
def test_what_is_no_mapping_is_text(source: str) -> None:
    """Rules across the page, a sentence, a list, broken YAML, a block that does not end."""
    assert split_front_matter(source).text == source
    title, text, fields = markdown_text(source)
    assert "glaciers" in text
    assert "vanish" in text
    assert fields == {}
    assert "vanish" not in title or title in text


@pytest.mark.parametrize(
    ("source", "title", "fields"),
    [
        ("---\ntitle: >-\n  A folded\n  title\ntags: [a, b]\n---\nText", "A folded title",
         {"tags": ["a", "b"]}),
        ("---\ntitle: |\n  Two\n  lines\ndraft: true\n...\nText", "Two lines", {"draft": True}),
        ("---\r\ntitle: 'It''s'\r\nyear: 2024\r\n---\r\nText", "It's", {"year": 2024}),
        ("\ufeff---\ntitle: T # comment\ndate: 2024-05-01\n---\nText", "T", {"date": "2024-05-01"}),
        ("+++\ntitle = \"T\"\nweight = 3\n[extra]\nx = 1.5\n+++\nText", "T",
         {"weight": 3, "extra": {"x": 1.5}}),
        ("---\nlang: no\ntime: 12:30\nid: intro\n---\n# H\n\nText", "H",
         {"lang": "no", "time": "12:30", "id": "intro"}),
        ("---\n---\nText", "a", {}),
    ],
)  # fmt: skip
def test_front_matter_is_read_by_a_yaml_or_toml_library(
    tmp_path: Path, source: str, title: str, fields: dict[str, object]
) -> None:
    """The title, folded or not, and the other fields as metadata; the text does not repeat them."""
    item = only(read(written(tmp_path / "a.md", source)))
    assert isinstance(item, Document), item
    assert item.title == title
    assert item.text.endswith("Text")
    assert "title" not in item.text
    assert item.id == "a.md"
    expected = {key: value for key, value in fields.items() if not isinstance(value, list | dict)}
    assert {key: item.metadata[key] for key in expected} == expected


def test_front_matter_cannot_make_much_of_little() -> None:
    """Aliases and deep nesting are no front matter; the text stays."""
    bomb = "---\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n---\nText"
    deep = "---\na: " + "[" * 5_000 + "\n---\nText"
    assert split_front_matter(bomb).text == bomb
    assert split_front_matter(deep).text == deep


PROSE = [
    "Use Map<String, List<Integer>> to count words. Vec<T> is a vector. a <b and c> d.",
    "A Result<Vec<u8>, E> or std::map<std::string, int> m; template<typename T>",
    "Vec<i> and Optional<a> b, if x<y: z>w",
    "Press <Ctrl>+<C>, then <Enter>. Replace <your name> and <host>.",
    "List<? extends Number> and <T extends Comparable<T>> T max(a)",
]


@pytest.mark.parametrize("text", PROSE)
@pytest.mark.parametrize(
    "template", ["{}", "# Head\n\n- item {}\n", "> {}\n", "| a |\n|-|\n| {} |"]
)
def test_types_and_placeholders_survive_in_prose(text: str, template: str) -> None:
    """What HTML has no element for is text, wherever it stands."""
    assert text in markdown_text(template.format(text))[1]


def test_a_line_of_its_own_is_no_tag_either() -> None:
    """CommonMark makes an HTML block of it."""
    assert "<Integer>" in markdown_text("<Integer>\n\nis a type")[1]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("H<sub>2</sub>O and <b>bold</b><br>next", "H2O and bold\nnext"),
        ("<details><summary>S</summary>\n\nhidden *text*\n\n</details>", "S\n\nhidden text"),
        ("<!-- not shown -->shown", "shown"),
        ('an <a name="x">anchor and <my-tag>own</my-tag>', "an anchor and own"),
        ("see <https://x.y/z> and `List<T>`", "see https://x.y/z and List<T>"),
    ],
)
def test_real_markup_is_still_markup(source: str, text: str) -> None:
    """Elements of HTML, comments, links."""
    assert markdown_text(source)[1] == text


def test_the_fields_of_front_matter_can_be_left_out(tmp_path: Path) -> None:
    """By `metadata_fields`, as those of any record."""
    path = written(tmp_path / "a.md", "---\nyear: 2024\nlang: en\n---\nText")
    assert only(read(path, metadata_fields=("lang",))).metadata == {"lang": "en"}  # type: ignore[union-attr]
    assert only(read(path, metadata_fields=())).metadata == {}  # type: ignore[union-attr]
    assert json.dumps(only(read(path)).metadata) == '{"year": 2024, "lang": "en"}'  # type: ignore[union-attr]
