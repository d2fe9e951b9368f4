"""CSV as tools write it: separators, comments, marks, and quotes that take in other rows."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mrag_pipeline.domain.documents import DeadLetter, Document
from tests.support.corpus_files import read, written

ROWS = "".join(f"{i},row {i} about topic {i % 7}\n" for i in range(1, 41))


def ids(path: Path, data: str | bytes, encoding: str = "") -> list[str]:
    items = read(written(path, data), encoding=encoding)
    return [item.id for item in items if isinstance(item, Document)]


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ('12,"row', None),  # never closed
        ('12,"row', '30,"row'),  # closed by the next quote, in a place where none is due
        ('12,"row', '30,row "x" about'),
        ('12,"row', '30,row about topic 2"'),  # closed properly, but what it holds are rows
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_what_an_open_quote_takes_in_is_counted(
    tmp_path: Path, name: str, opened: str, closed: str | None
) -> None:
    """In lines and bytes, and it counts as so many documents; the other rows are read."""
    body = ROWS.replace("12,row", opened)
    if closed is not None:
        line = next(line for line in body.splitlines() if line.startswith("30,"))
        body = body.replace(line, closed if closed.endswith('"') else closed + " the rest")
    data = f"id,text\n{body}".encode()
    items = read(written(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data))
    (bad,) = [item for item in items if isinstance(item, DeadLetter)]
    num_lines = 29 if closed is None else 19
    assert bad.num_documents == num_lines
    assert f"{num_lines} line(s), " in bad.reason
    assert " bytes" in bad.reason
    assert len(items) - 1 + num_lines == 40


@pytest.mark.parametrize(
    "text",
    [
        '"two\nlines"',
        '"a poem, of\nseveral lines, each\nwith a comma, or\ntwo, and an end\nso, it\ngoes, on"',
        '"code:\n  x = ""1""\n\n  y"',
        '"1\n2\n3\n4\n5\n6\n7\n8"',
    ],
)
def test_a_text_of_several_lines_is_one_document(tmp_path: Path, text: str) -> None:
    """Only lines that look like the file's own rows are taken for rows."""
    items = read(written(tmp_path / "a.csv", f"id,text\n1,{text}\n2,next\n"))
    assert [item.id for item in items if isinstance(item, Document)] == ["1", "2"]


SEPARATED = 'id{0}title{0}text\n1{0}One{0}"a{0} b"\n2{0}Two{0}"two\nlines"\n'


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^"])
@pytest.mark.parametrize("head", ["sep={0}\n", "SEP={0}\r\n", '"sep={0}"\n', "\ufeffsep={0}\n"])
def test_a_line_for_spreadsheets_names_the_separator(
    tmp_path: Path, head: str, delimiter: str
) -> None:
    """`sep=;` above the header, in quotes, after a mark, in any case."""
    data = (head + SEPARATED).format(delimiter)
    assert ids(tmp_path / "a.csv", data) == ["1", "2"]
    items = read(tmp_path / "a.csv")
    assert items[0].text == f"a{delimiter} b"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "head",
    [
        "# exported 2024\n",
        "# exported 2024, by a tool\n#\n\n",
        '#a,"b\n',
        "\n\n",
        "\ufeff# a comment; with signs\nsep=,\n",
    ],
)
def test_comments_and_empty_lines_above_the_header_are_no_rows(tmp_path: Path, head: str) -> None:
    """Nor are comments between the rows of such a file."""
    assert ids(tmp_path / "a.csv", f"{head}id,text\n1,x\n2,y\n") == ["1", "2"]
    if "#" in head:
        items = read(written(tmp_path / "a.csv", f"{head}id,text\n1,x\n# note\n#9,z\n2,y\n"))
        assert [item.id for item in items if isinstance(item, Document)] == ["1", "2"]
        assert len(items) == 2


def test_a_header_may_begin_with_the_sign_of_comments(tmp_path: Path) -> None:
    """And a value may: nothing that could be a row is dropped."""
    assert ids(tmp_path / "a.csv", "#id,text\n1,x\n2,y\n") == ["1", "2"]
    items = read(written(tmp_path / "b.csv", "id,text\n#1,x\n#2\n# note\n3,y\n"))
    assert [isinstance(item, Document) for item in items] == [True, False, True]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32"])
def test_spreadsheets_unicode_is_read(tmp_path: Path, encoding: str) -> None:
    """With and without a mark, cut anywhere."""
    path = written(tmp_path / "a.csv", SEPARATED.format("\t").encode(encoding))
    for max_bytes in (10**9, 5):
        items = read(path, max_bytes)
        assert [item.text for item in items if isinstance(item, Document)] == [
            "a\t b",
            "two\nlines",
        ]


def test_an_older_encoding_is_named_by_the_settings(tmp_path: Path) -> None:
    """Without it the row is set aside, and the reason says what it looks like."""
    data = "id,text\n1,café “x”\n2,plain\n".encode("cp1252")
    assert ids(tmp_path / "a.csv", data) == ["2"]
    assert ids(tmp_path / "a.csv", data, encoding="windows-1252") == ["1", "2"]
