"""Writes the files of a small corpus and reads them as the product does."""

from __future__ import annotations

from pathlib import Path

from mrag_pipeline.corpus.reader import open_corpus
from mrag_pipeline.domain.documents import DeadLetter, Document
from mrag_pipeline.settings.corpus import CorpusSpec

Item = Document | DeadLetter


def read(path: Path, max_bytes: int = 10**9, **spec: object) -> list[Item]:
    """All items of the corpus at the path, read slice by slice."""
    reader = open_corpus(CorpusSpec(str(path), **spec))  # type: ignore[arg-type]
    return list(reader.read(list(reader.slices(max_bytes))))


def written(path: Path, data: bytes | str) -> Path:
    """The path, after the data is written there."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def only(items: list[Item]) -> Item:
    """The single item of the list."""
    assert len(items) == 1
    return items[0]
