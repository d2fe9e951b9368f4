"""An index that answers from files: what is measured on it is no store's time."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import Chunk
from mrag_pipeline.domain.exact_search import top_k
from mrag_pipeline.domain.manifest import Manifest
from mrag_pipeline.domain.proofs import PROOF
from mrag_pipeline.index.exact import ExactIndex
from mrag_pipeline.ports import ChunkRow, Mark, Ranking, SearchRequest, Staging
from mrag_pipeline.ports.index.rows import ID_END
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.stages.ingest.verify_items import collections_of_plan
from mrag_pipeline.stages.versions.stored_rows import staged_chunks

_MARKS_OF_FILE = 8_000


class FileIndex(ExactIndex):
    """An index whose collections are files: memory-mapped, so workers share the pages."""

    def __init__(self, folder: Path, index: str) -> None:
        super().__init__(index)
        self._folder = folder
        self._open: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        self._texts: dict[int, tuple[ChunkRow, str]] = {}

    def capabilities(self) -> Any:
        """As of a server whose searches are approximate: rows are looked at, not rankings."""
        return replace(super().capabilities(), searches_exactly=False, is_shared=True)

    def fill(self, manifest: Manifest, staging: Staging) -> None:
        """Writes the files from staging."""
        self._folder.mkdir()
        heads = manifest.encoder.heads
        for number, collection in enumerate(collections_of_plan(manifest)):
            ids, vectors, marks = [], [], []
            for shard in manifest.shards:
                table = (
                    staging.head(shard.index, heads[number])
                    if number < len(heads)
                    else staging.chunks(shard.index)
                )
                ids.append(table["chunk_id"].to_numpy())
                rows = vector_matrix(table["vector"]).astype(np.float32)
                vectors.append(rows.reshape(len(table), collection.dim))
                if number == len(heads):
                    proofs = table[PROOF].to_pylist()
                    lines = list(zip(map(_row, staged_chunks(table)), proofs, strict=True))
                    file = self._folder / f"rows-{shard.index}"
                    file.write_bytes(pickle.dumps(lines))
                    marks += [Mark(row.id, row.document_id, row.fingerprint) for row, _ in lines]
            if number == len(heads):
                self._write_marks(marks)
            order = np.argsort(np.concatenate(ids))
            np.save(self._folder / f"{collection.name}.ids.npy", np.concatenate(ids)[order])
            np.save(self._folder / f"{collection.name}.npy", np.concatenate(vectors)[order])

    def count(self, collection: str) -> int:
        """Its rows."""
        return len(self._of(collection)[0])

    def damage(self, collection: str) -> None:  # the port's
        """None: files are whole."""

    def ids(self, collection: str) -> Iterator[NDArray[np.int64]]:
        """All at once."""
        yield np.array(self._of(collection)[0])

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
        """Rows that were read with the first call."""
        rows = self._all_rows()
        return {chunk_id: rows[chunk_id][0] for chunk_id in ids}

    def proofs(self, collection: str, ids: Sequence[int]) -> dict[int, str]:  # noqa: ARG002
        """The same."""
        rows = self._all_rows()
        return {chunk_id: rows[chunk_id][1] for chunk_id in ids}

    def marks(
        self, collection: str, start: int = 0, stop: int = ID_END
    ) -> Iterator[Sequence[Mark]]:
        """One file at a time of those that hold the range: nothing is kept of it."""
        del collection
        for file in sorted(self._folder.glob("marks-*")):
            first, last = map(int, file.name.split("-")[1:])
            if first < stop and last >= start:
                marks = pickle.loads(file.read_bytes())
                yield [mark for mark in marks if start <= mark.id < stop]

    def marks_of(self, collection: str, document_ids: Sequence[str]) -> list[Mark]:
        """From all files."""
        wanted = set(document_ids)
        return [
            mark for block in self.marks(collection) for mark in block if mark.document_id in wanted
        ]

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """Rows that were read with the first call."""
        del likely
        return {
            chunk_id: row.document_id for chunk_id, row in self.chunks(collection, ids).items()
        }, {}

    def _write_marks(self, marks: list[Mark]) -> None:
        """Files of some thousand, by ids, as a server's answers are ranges of them."""
        marks.sort(key=lambda mark: mark.id)
        for start in range(0, len(marks), _MARKS_OF_FILE):
            part = marks[start : start + _MARKS_OF_FILE]
            file = self._folder / f"marks-{part[0].id:020d}-{part[-1].id:020d}"
            file.write_bytes(pickle.dumps(part))

    def warm(self) -> None:
        """Reads what later calls need."""
        self._all_rows()

    def _all_rows(self) -> dict[int, tuple[ChunkRow, str]]:
        if not self._texts:
            for file in self._folder.glob("rows-*"):
                rows = pickle.loads(file.read_bytes())
                self._texts |= {row.id: (row, proof) for row, proof in rows}
        return self._texts

    def _of(self, collection: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if collection not in self._open:
            named = self._folder / collection
            self._open[collection] = (
                np.load(f"{named}.ids.npy", mmap_mode="r"),
                np.load(f"{named}.npy", mmap_mode="r"),
            )
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
