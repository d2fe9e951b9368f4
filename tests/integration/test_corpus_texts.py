"""Text files: what is extracted from each kind, and what is kept out."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.settings.corpus import CorpusSpec


def read(path: Path, data: bytes | str, limit_mb: float = 10.0) -> Document | DeadLetter:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    reader = open_corpus(CorpusSpec(str(path.parent), max_document_mb=limit_mb))
    (item,) = reader.read(list(reader.slices(10**9)))
    return item


def document(path: Path, data: bytes | str) -> Document:
    item = read(path, data)
    assert isinstance(item, Document), item
    return item


def test_a_plain_file_is_its_text_under_its_name(tmp_path: Path) -> None:
    """The id is the path, so that an edited file is the same document."""
    found = document(tmp_path / "notes.txt", "\ufeffline\r\nnext\n")
    assert found == Document("notes.txt", "line\nnext\n", "notes", {}, "notes.txt")


def test_html_yields_what_a_browser_shows(tmp_path: Path) -> None:
    """Each block is on its own line; words split by tags are joined; scripts are skipped."""
    found = document(
        tmp_path / "a.html",
        "<html><head><title>T &amp; t</title><style>x{}</style></head><body><h1>Head</h1>"
        "<p>Hel<b>lo</b>\n  world</p><ul><li>one<li>two</ul>a<br>b<!-- no -->"
        "<script>no()</script><pre>  x\n    y</pre></body></html>",
    )
    assert found.title == "T & t"
    words = found.text.split("\n")
    assert [line.strip() for line in words if line.strip()] == [
        "Head",
        "Hello world",
        "one",
        "two",
        "a",
        "b",
        "x",
        "y",
    ]
    assert "\n    y" in found.text


def test_html_in_an_encoding_it_declares_is_read(tmp_path: Path) -> None:
    """Old pages declare their encoding."""
    page = '<meta charset="iso-8859-1"><p>caf\xe9</p>'.encode("latin-1")
    assert document(tmp_path / "a.htm", page).text == "café"


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.html"])
def test_an_empty_or_too_large_file_is_a_dead_letter(tmp_path: Path, name: str) -> None:
    """Neither is a document."""
    assert isinstance(read(tmp_path / name, ""), DeadLetter)
    item = read(tmp_path / name, "x " * 1_000, limit_mb=0.001)
    assert isinstance(item, DeadLetter)
    assert item.reason == "the file has 2,000 bytes, expected at most 1,000"


def test_markdown_is_read_without_its_markup(tmp_path: Path) -> None:
    """Front matter names the title; tables and code are kept as text."""
    found = document(
        tmp_path / "a.md",
        '---\ntitle: "Front"\ntags: [x]\n---\n# Head *ing*\n\nA [link](http://x) and `code`.\n\n'
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\ndef f():\n    return 1\n```\n",
    )
    assert found.title == "Front"
    assert "A link and code." in found.text
    assert "1 2" in found.text
    assert "def f():\n    return 1" in found.text
    assert "tags" not in found.text
    assert document(tmp_path / "a.md", "# Head *ing*\n\ntext").title == "Head ing"


SPHINX = """:mod:`gzip` --- Support
=======================

.. module:: gzip
   :synopsis: Interfaces.

The :func:`gzip.open` and :class:`~gzip.GzipFile`; see :ref:`this <that-thing>`.

.. function:: open(*args, **kwargs)
              open2(x)

   Open a gzip file *quickly*.

   .. versionadded:: 3.1
      The *x* parameter.

.. code-block:: python
   :linenos:

   x = 1

.. some-extension:: foo
   :its-option: y

   Not lost.
"""


def test_sphinx_markup_yields_its_text(tmp_path: Path) -> None:
    """Directives and roles that docutils does not know keep their words."""
    found = document(tmp_path / "a.rst", SPHINX)
    assert found.title == "gzip --- Support"
    assert [line for line in found.text.split("\n") if line] == [
        "gzip --- Support",
        "The gzip.open and gzip.GzipFile; see this.",
        "open(*args, **kwargs)",
        "open2(x)",
        "Open a gzip file quickly.",
        "3.1",
        "The x parameter.",
        "x = 1",
        "foo",
        "Not lost.",
    ]


def test_restructured_text_includes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No file is included, raw markup is dropped, nothing is printed."""
    (tmp_path / ".secret").write_text("TOP SECRET")
    secret = tmp_path / ".secret"
    source = f"""Fine.

.. include:: {secret}

.. literalinclude:: {secret}

.. csv-table::
   :file: {secret}

.. raw:: html

   <p>RAW</p>

.. raw:: html
   :file: {secret}

*unclosed

:unknown:`role kept` |undefined|
"""
    text = document(tmp_path / "a.rst", source).text
    assert "Fine." in text
    assert "role kept" in text
    assert "SECRET" not in text
    assert "RAW" not in text
    assert capfd.readouterr() == ("", "")


HOSTILE = {
    "deep.html": "<div>" * 20_000 + "x",
    "deep.md": "> " * 5_000 + "x\n" + "- " * 3_000 + "y",
    "deep.rst": "\n".join(" " * i + f"* x{i}\n" for i in range(400)),
    "entities.html": "&#xD800;&#x110000;&bogus; x <![CDATA[ y",
    "open.html": "<p <b <script>x",
    "roles.rst": ":a:`" * 500 + "x",
    "control.rst": "a\x00b\x0cc \x1b[31m",
    "controls.md": "a\x00b",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(60)
def test_hostile_text_is_a_document_or_a_dead_letter(tmp_path: Path, name: str) -> None:
    """Reading never fails or hangs; what is stored is valid UTF-8."""
    item = read(tmp_path / name, HOSTILE[name])
    (item.text if isinstance(item, Document) else item.reason).encode("utf-8")
