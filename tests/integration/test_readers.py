"""Queries at full speed while versions are switched and synced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mrag_pipeline.index.milvus.adapter import open_index
from mrag_pipeline.ports import VectorIndex
from mrag_pipeline.query.retriever import Retriever
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.milvus import MilvusSpec
from mrag_pipeline.stages.ingest.publish import activate
from mrag_pipeline.stages.versions.lookup import live_record
from tests.support.fake_encoder import FakeEncoder, FakeSegmenter
from tests.support.living_index import Living, a_document

QUERIES = ["river bread stone", "lamp tower. garden winter music", "sun"]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[VectorIndex]:
    with closing(open_index(MilvusSpec(uri=str(tmp_path / "x.db")), "docs")) as opened:
        yield opened


@dataclass
class Reader:
    """Queries until it is stopped; records versions, rows and errors."""

    index: VectorIndex
    stop: threading.Event = field(default_factory=threading.Event)
    answers: int = 0
    versions: set[str] = field(default_factory=set)
    seen: dict[str, set[tuple[int, str]]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def run(self) -> None:
        encoder = FakeEncoder(num_heads=2)
        while not self.stop.is_set():
            try:
                record = live_record(self.index)
                retriever = Retriever(encoder, FakeSegmenter(), self.index, record)
                for strategy in ("mrag", "aspect", "standard"):
                    query = QUERIES[self.answers % len(QUERIES)]
                    answer = retriever.retrieve(query, 5, strategy)
                    assert answer.version == record.version
                    assert answer.found, "no hits from a complete index"
                    rows = {(document.row.id, document.row.text) for document in answer.found}
                    self.seen.setdefault(answer.version, set()).update(rows)
                    self.versions.add(answer.version)
                    self.answers += 1
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")


def rows_of(index: VectorIndex) -> set[tuple[int, str]]:
    name = live_record(index).chunks_collection()
    ids = [int(i) for block in index.ids(name) for i in block]
    return {(row.id, row.text) for row in index.chunks(name, ids).values()}


@pytest.mark.parametrize("flips", [8, pytest.param(20, marks=pytest.mark.long)])
def test_readers_see_whole_versions_only(index: VectorIndex, tmp_path: Path, flips: int) -> None:
    """A sync every four switches: no error, no empty answer, no row that its version never had."""
    living = Living(tmp_path / "staging", [a_document(i) for i in range(30)], index, num_heads=2)
    living.chunking = ChunkingSpec(max_tokens=16)
    living.ingest()
    other = live_record(index)
    rows_by_version = {other.version: rows_of(index)}
    living.chunking = ChunkingSpec(max_tokens=8)
    living.ingest()
    synced = live_record(index).version
    rows_by_version[synced] = rows_of(index)
    readers = [Reader(index) for _ in range(2)]
    threads = [threading.Thread(target=reader.run) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        for flip in range(flips):
            activate(other.version if flip % 2 == 0 else synced, index)
            if flip % 4 == 1:
                living.items = [
                    *(a_document(i, edition=flip) for i in range(flip, flip + 5)),
                    *(a_document(i) for i in range(flip + 5, 30)),
                ]
                living.sync()
                rows_by_version[synced] |= rows_of(index)
    finally:
        for reader in readers:
            reader.stop.set()
        for thread in threads:
            thread.join()
    assert [error for reader in readers for error in reader.errors] == []
    assert sum(reader.answers for reader in readers) > 2 * flips
    for reader in readers:
        for version, rows in reader.seen.items():
            assert rows <= rows_by_version[version]
    assert {v for reader in readers for v in reader.versions} == {other.version, synced}
