"""The registry of corpus formats: what a new format takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.formats.file_request import FileRequest
from mrag_pipeline.corpus.formats.registry import FILE_FORMATS, FileFormat, format_names
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.corpus.record import Record
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.documents import Document
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.settings.corpus import CorpusSpec


class NoteFiles:
    """A file of paragraphs: `id: text`, an empty line between two."""

    name = "notes"
    fixed_fields = True
    mapping = None

    def whole(self, file: SourceFile) -> Slice:
        return Slice(file.path, "file", 0, 1, file.num_bytes, file.stamp)

    def cut(self, tree: FileTree, file: SourceFile, max_bytes: int) -> Iterator[Slice]:
        yield self.whole(file)

    def records(self, tree: FileTree, piece: Slice) -> Iterator[Record]:
        with tree.stream(tree.find(piece.path)) as stream:
            paragraphs = stream.read().decode().split("\n\n")
        for number, paragraph in enumerate(paragraphs, start=1):
            note_id, _, text = paragraph.partition(": ")
            yield Record({"id": note_id, "text": text}, f"{piece.path}:{number}")


def open_notes(request: FileRequest) -> NoteFiles:
    return NoteFiles()


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of a format that one row registers."""
    monkeypatch.setitem(FILE_FORMATS, "notes", FileFormat((".note",), open_notes))
    (tmp_path / "a.note").write_text("first: One.\n\nsecond: Two.")
    (tmp_path / "README.md").write_text("About the notes.")
    return tmp_path


@pytest.mark.parametrize("format_name", ["auto", "notes"])
def test_one_row_makes_a_format_readable(notes: Path, format_name: str) -> None:
    """Chosen by the suffix or by name, described, cut and read, with no other change."""
    reader = open_corpus(CorpusSpec(str(notes), format=format_name))
    assert list(reader.read(list(reader.slices(10**9)))) == [
        Document("first", "One.", source="a.note:1"),
        Document("second", "Two.", source="a.note:2"),
    ]
    assert reader.describe().startswith("notes, 1 file(s)")
    assert "1 other file(s) ignored" in reader.describe()


def test_a_compressed_file_has_the_format_of_its_inner_suffix(tmp_path: Path) -> None:
    """Formats do not list the suffixes of compressions."""
    assert SourceFile("a.CSV.gz", 1, "").suffix == ".csv"
    assert [row.open.__name__ for row in FILE_FORMATS.values() if ".csv" in row.suffixes] == [
        "open_delimited"
    ]


def test_no_two_formats_share_a_suffix() -> None:
    """A file's name decides for one format."""
    suffixes = [suffix for row in FILE_FORMATS.values() for suffix in row.suffixes]
    assert len(set(suffixes)) == len(suffixes)


def test_an_unknown_format_is_refused_with_the_known_ones(notes: Path) -> None:
    """The error lists every row, suggests the nearest name, and nothing is opened."""
    with pytest.raises(ConfigError) as caught:
        open_corpus(CorpusSpec("x", format="note"))
    assert caught.value.found == "corpus.format = 'note'"
    assert caught.value.expected == f"one of {', '.join(format_names())}"
    assert format_names() == (
        *("auto", "all", "parquet", "arrow", "jsonl", "json", "csv", "text", "notes"),
        *("delta", "iceberg", "pydoc"),
    )
    assert caught.value.fix == "did you mean 'notes'?"
