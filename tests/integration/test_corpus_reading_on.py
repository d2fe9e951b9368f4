"""Files that can only be read from their start are read once if their slices come in order."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from mrag_pipeline.corpus.file_tree import FileTree
from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.corpus.source_file import SourceFile
from mrag_pipeline.domain.planning import Slice
from mrag_pipeline.settings.corpus import CorpusSpec

ROWS = [{"id": f"d{i}", "text": f"Text {i} of them."} for i in range(40)]


@pytest.fixture(params=["a.jsonl.gz", "a.csv.gz", "a.json", "a.json.gz"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Forty documents in one file."""
    path = tmp_path / str(request.param)
    if ".csv" in path.name:
        text = "id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in ROWS)
    elif ".jsonl" in path.name:
        text = "".join(json.dumps(row) + "\n" for row in ROWS)
    else:
        # More than one buffer, so that there are several pieces.
        text = json.dumps([row | {"pad": "x" * 10_000} for row in ROWS])
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were opened from their start."""
    paths: list[str] = []
    stream = FileTree.stream

    @contextmanager
    def counted(tree: FileTree, file: SourceFile) -> Iterator[IO[bytes]]:
        paths.append(file.path)
        with stream(tree, file) as opened_stream:
            yield opened_stream

    monkeypatch.setattr(FileTree, "stream", counted)
    return paths


def pieces_of(path: Path) -> list[Slice]:
    pieces = list(open_corpus(CorpusSpec(str(path))).slices(200))
    assert len(pieces) >= 4
    return pieces


def ids(documents: object) -> list[str]:
    return [document.id for document in documents]  # type: ignore[attr-defined]


def test_pieces_in_order_read_the_file_once(corpus: Path, opened: list[str]) -> None:
    """After the first slice the file is not opened again."""
    pieces = pieces_of(corpus)
    reader = open_corpus(CorpusSpec(str(corpus)))
    first = ids(reader.read(pieces[:1]))
    opened.clear()
    rest = [item for piece in pieces[1:] for item in ids(reader.read([piece]))]
    assert first + rest == [row["id"] for row in ROWS]
    assert opened == []


def test_pieces_in_any_order_hold_the_same(corpus: Path) -> None:
    """Backwards, twice, with gaps and after an abandoned slice: as a new reader reads them."""
    pieces = pieces_of(corpus)
    expected = [ids(open_corpus(CorpusSpec(str(corpus))).read([piece])) for piece in pieces]
    reader = open_corpus(CorpusSpec(str(corpus)))
    order = [3, 2, 2, 0, 1, 3, 0, 2, *range(len(pieces))]
    for number in order:
        abandoned = reader.read([pieces[number]])
        if number % 2:
            next(abandoned)
        assert ids(reader.read([pieces[number]])) == expected[number]
