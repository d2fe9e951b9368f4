"""An index that answers from files: what is measured on it is no store's time."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.proofs import PROOF
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import ChunkRow, Mark, Ranking, SearchRequest, Staging
from mrag_pipeline.ports.index.rows import ID_END
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.stages.version_collections import collections_of
from mrag_pipeline.stages.versions.stored_rows import staged_chunks

_BLOCK_ROWS = 4_000  # that an answer holds
_ASKED_FOR = 500  # ids in a statement
_SCHEMA = """
CREATE TABLE marks (id INTEGER PRIMARY KEY, document_id TEXT, fingerprint TEXT);
INSERT INTO marks SELECT id, document_id, fingerprint FROM found ORDER BY id;
CREATE INDEX of_document ON marks (document_id);
CREATE TABLE rows (id INTEGER PRIMARY KEY, row BLOB, proof TEXT);
INSERT INTO rows SELECT id, row, proof FROM found ORDER BY id;
DROP TABLE found;
"""


class FileIndex(ExactIndex):
    """An index whose vectors are memory-mapped files and whose rows are SQLite's.

    Workers share the pages, and what one of them asks for is found by a key, not by reading all.
    """

    def __init__(self, folder: Path, index: str) -> None:
        super().__init__(index)
        self._folder = folder
        self._open: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        self._known: NDArray[np.int64] | None = None
        self._connection: sqlite3.Connection | None = None

    def capabilities(self) -> Any:
        """As of a server whose searches are approximate: rows are looked at, not rankings."""
        return replace(super().capabilities(), searches_exactly=False, is_shared=True)

    def fill(self, manifest: Manifest, staging: Staging, with_vectors: bool) -> None:
        """Writes the files from staging: what was not written before, a shard at a time.

        Args:
            with_vectors: and the heads' collections; False leaves what a comparison reads.
        """
        self._folder.mkdir(exist_ok=True)
        *heads, chunks = collections_of(manifest)
        if not (self._folder / "rows.sqlite").exists():
            self._write_rows(manifest, staging)
        if self.is_filled(manifest, with_vectors):
            return
        places = np.searchsorted(self._ids(), np.load(self._folder / "unsorted.npy"))
        for number, collection in enumerate((*heads, chunks)):
            shape = (len(places), collection.dim)
            stored = open_memmap(self._file(collection.name, "npy"), "w+", np.float32, shape)
            start = 0
            for shard in manifest.shards:
                table = (
                    staging.head(shard.index, manifest.encoder.heads[number])
                    if number < len(heads)
                    else staging.chunks(shard.index)
                )
                stop = start + len(table)
                if stop > start:  # the vectors of no rows have no width
                    stored[places[start:stop]] = vector_matrix(table["vector"])
                start = stop
            stored.flush()

    def is_filled(self, manifest: Manifest, with_vectors: bool) -> bool:
        """Whether everything is written."""
        chunks = collections_of(manifest)[-1]
        written = self._file(chunks.name, "npy") if with_vectors else self._folder / "rows.sqlite"
        return written.exists()

    def count(self, collection: str) -> int:  # noqa: ARG002
        """Its rows."""
        return len(self._ids())

    def damage(self, collection: str) -> None:  # the port's
        """None: files are whole."""

    def ids(self, collection: str) -> Iterator[NDArray[np.int64]]:  # noqa: ARG002
        """All at once: every collection has the same."""
        yield np.array(self._ids())

    def vectors(self, collection: str, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """By binary search."""
        known, vectors = self._of(collection)
        places = np.searchsorted(known, ids)
        return dict(zip(ids, np.array(vectors[places]), strict=True))

    def search(self, requests: Sequence[Any]) -> list[Ranking]:
        """Exact, over the whole file."""
        answers = []
        for request in requests:
            assert isinstance(request, SearchRequest)
            hits = top_k(*self._of(request.collection), request.vectors, request.limit)
            answers.append(Ranking(hits.ids, hits.scores))
        return answers

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:  # noqa: ARG002
        """By their ids."""
        found = self._found("SELECT id, row FROM rows WHERE id IN", ids)
        return {chunk_id: pickle.loads(row) for chunk_id, row in found}

    def proofs(self, collection: str, ids: Sequence[int]) -> dict[int, str]:  # noqa: ARG002
        """The same."""
        return dict(self._found("SELECT id, proof FROM rows WHERE id IN", ids))

    def marks(
        self, collection: str, start: int = 0, stop: int = ID_END
    ) -> Iterator[Sequence[Mark]]:
        """A range of ids, some thousand at a time."""
        del collection
        answers = self._database().execute(
            "SELECT id, document_id, fingerprint FROM marks WHERE id BETWEEN ? AND ? ORDER BY id",
            (start, stop - 1),
        )
        while block := answers.fetchmany(_BLOCK_ROWS):
            yield [Mark(*fields) for fields in block]

    def marks_of(self, collection: str, document_ids: Sequence[str]) -> list[Mark]:
        """By their documents."""
        del collection
        asked = "SELECT id, document_id, fingerprint FROM marks WHERE document_id IN"
        return [Mark(*fields) for fields in self._found(asked, document_ids)]

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """The documents of these chunks, and no row."""
        del collection, likely
        return dict(self._found("SELECT id, document_id FROM marks WHERE id IN", ids)), {}

    # -------------------------------------------------------------- inside
    def _write_rows(self, manifest: Manifest, staging: Staging) -> None:
        ids = []
        unfinished = self._folder / "rows.unfinished"
        with closing(sqlite3.connect(unfinished)) as database:
            database.execute("PRAGMA synchronous = OFF")
            database.execute("CREATE TABLE found (id, document_id, fingerprint, row, proof)")
            for shard in manifest.shards:
                table = staging.chunks(shard.index)
                ids.append(table["chunk_id"].to_numpy())
                proofs = table[PROOF].to_pylist()
                rows = map(_row, staged_chunks(table))
                database.executemany(
                    "INSERT INTO found VALUES (?, ?, ?, ?, ?)",
                    (
                        (row.id, row.document_id, row.fingerprint, pickle.dumps(row), proof)
                        for row, proof in zip(rows, proofs, strict=True)
                    ),
                )
            database.commit()
            database.executescript(_SCHEMA)
        np.save(self._folder / "unsorted.npy", np.concatenate(ids))
        np.save(self._folder / "ids.npy", np.sort(np.concatenate(ids)))
        unfinished.rename(self._folder / "rows.sqlite")

    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            where = f"file:{self._folder / 'rows.sqlite'}?mode=ro"
            self._connection = sqlite3.connect(where, uri=True, check_same_thread=False)
        return self._connection

    def _found(self, asked: str, values: Sequence[int] | Sequence[str]) -> Iterator[Any]:
        for start in range(0, len(values), _ASKED_FOR):
            part = values[start : start + _ASKED_FOR]
            marks = ", ".join("?" * len(part))
            yield from self._database().execute(f"{asked} ({marks})", [*part])

    def _ids(self) -> NDArray[np.int64]:
        if self._known is None:
            self._known = np.load(self._folder / "ids.npy", mmap_mode="r")
        return self._known

    def _file(self, collection: str, suffix: str) -> Path:
        return self._folder / f"{collection}.{suffix}"

    def _of(self, collection: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if collection not in self._open:
            vectors = np.load(self._file(collection, "npy"), mmap_mode="r")
            self._open[collection] = self._ids(), vectors
        return self._open[collection]


def _row(chunk: Chunk) -> ChunkRow:
    return ChunkRow(
        chunk.id,
        chunk.document_id,
        chunk.ordinal,
        chunk.start,
        chunk.end,
        chunk.title,
        chunk.text,
        chunk.metadata,
        chunk.fingerprint,
    )
