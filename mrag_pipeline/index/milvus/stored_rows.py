"""The rows of an index on Milvus: read, matched with a filter, added and removed.

Shape legend: D dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.filters import Filter, matches
from mrag_pipeline.domain.proofs import PROOF, UNPROVEN
from mrag_pipeline.index.analyzer import stale_ids
from mrag_pipeline.index.milvus import full_text, rows
from mrag_pipeline.index.milvus.connection import translated
from mrag_pipeline.index.milvus.database import MilvusDatabase
from mrag_pipeline.index.milvus.expressions import Expression, both, expression, ids_in
from mrag_pipeline.index.milvus.lite_filter_rows import LiteRows, Rows, changing
from mrag_pipeline.index.milvus.row_reader import BLOCK_ROWS, RowReader
from mrag_pipeline.index.milvus.schema import CHUNK_FIELDS, FILTER_FIELDS, quoted
from mrag_pipeline.ports import ChunkRow, CollectionSpec, Mark
from mrag_pipeline.ports.index.rows import ID_END
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.settings.milvus import MilvusSpec

if TYPE_CHECKING:
    import pyarrow as pa

_IDS_PER_MATCH = 4_096  # without texts
_ORDINALS_PER_QUERY = 4_096  # a server answers 16,384 rows at most
_MAX_MATCHES = 16_000  # the same, of an answer of ids
_IDS_PER_DELETE = 4_096
_DOCUMENTS_PER_QUERY = 128  # with ids of 64 KB at most, a call has 8 MB
_VECTOR_BLOCK_BYTES = 16 * 1024 * 1024  # about; a server's answers have 64 MB at most
_MARK_FIELDS = ("chunk_id", "document_id", "fingerprint")


class MilvusRows(MilvusDatabase):
    """The ports ChunkLookup, Rows and RowChanges on one Milvus database."""

    def __init__(self, spec: MilvusSpec, index: str) -> None:
        super().__init__(spec, index)
        self._reader = RowReader(self._client, self._direct, spec, self._in_memory)
        self._lite_rows = None if self._path is None else LiteRows(self._path, self._filter_rows)

    # -------------------------------------------------------------- of a query
    def matching(
        self,
        collection: str,
        wanted: Filter,
        ids: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> NDArray[np.int64]:
        """The ids of the rows that match, rising."""
        if self._lite_rows is not None:
            known = self._lite_rows.of(collection)
            tested = known if ids is None else known.keys() & {int(chunk_id) for chunk_id in ids}
            matched = (chunk_id for chunk_id in tested if matches(wanted, known[chunk_id]))
            return np.array(sorted(islice(matched, limit)), dtype=np.int64)
        condition = expression(wanted, self._release.is_lite)
        matching_ids: list[int] = []
        for block in self._candidates(collection, condition, ids, limit):
            matching_ids += [
                row["chunk_id"]
                for row in block
                if condition.is_exact or matches(wanted, rows.filtered(row))
            ]
            if limit is not None and len(matching_ids) >= limit:
                break
        return np.unique(np.array(matching_ids[:limit], dtype=np.int64))

    def look_up(
        self, collection: str, ids: Sequence[int], likely: Sequence[int]
    ) -> tuple[dict[int, str], dict[int, ChunkRow]]:
        """The document id of each row that exists, and some likely rows, read meanwhile.

        Lite takes one call at a time: no likely row is read there.
        """
        started: Callable[[], list[dict[str, Any]]] | None = None
        if likely and not self._release.is_lite and collection in self._loaded:
            started = self._reader.start(collection, likely, CHUNK_FIELDS)
        stored = self._reader.by_id(collection, ids, ("chunk_id", "document_id"))
        documents = {row["chunk_id"]: row["document_id"] for row in stored}
        likely_rows = started() if started is not None else []
        return documents, {row["chunk_id"]: rows.chunk(row) for row in likely_rows}

    def chunks(self, collection: str, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """The rows that exist, by chunk id."""
        stored = self._reader.by_id(collection, ids, CHUNK_FIELDS)
        return {row["chunk_id"]: rows.chunk(row) for row in stored}

    # -------------------------------------------------------------- of a version
    def count(self, collection: str) -> int:
        """Number of rows; 0 if there is no such collection."""
        with translated(f"cannot count {collection}"):
            if not self._exists(collection):
                return 0
            if not self._is_indexed(collection):
                stats = self._client.get_collection_stats(collection, timeout=self._spec.timeout_s)
                return int(stats.get("row_count", 0))
            answer = self._in_memory(
                collection,
                lambda: self._client.query(
                    collection,
                    output_fields=["count(*)"],
                    consistency_level="Strong",
                    timeout=self._spec.timeout_s,
                ),
            )
            return int(answer[0]["count(*)"])

    def ids(self, collection: str) -> Iterator[NDArray[np.int64]]:
        """Every row's id once, in blocks."""
        for block in self._reader.blocks(collection, ("chunk_id",), self.count(collection)):
            yield np.array([row["chunk_id"] for row in block], dtype=np.int64)

    def marks(
        self, collection: str, start: int = 0, stop: int = ID_END
    ) -> Iterator[Sequence[Mark]]:
        """The rows of a chunks collection once, in blocks; those of a range of ids."""
        total = self.count(collection)
        for block in self._reader.blocks(collection, _MARK_FIELDS, total, start=start, stop=stop):
            yield [_mark(row) for row in block]

    def marks_of(self, collection: str, document_ids: Sequence[str]) -> list[Mark]:
        """The rows of these documents, each once."""
        marks: list[Mark] = []
        for start in range(0, len(document_ids), _DOCUMENTS_PER_QUERY):
            quoted_ids = map(quoted, document_ids[start : start + _DOCUMENTS_PER_QUERY])
            of_documents = f"document_id in [{', '.join(quoted_ids)}]"
            for block in self._reader.blocks(collection, _MARK_FIELDS, 0, of_documents):
                marks += [_mark(row) for row in block]
        return marks

    def vectors(self, collection: str, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The vectors that exist, by chunk id: each (D,)."""
        stored = self._reader.by_id(collection, ids, ("chunk_id", "vector"))
        if not stored:
            return {}
        dtype = self._vector_type(collection)
        return {row["chunk_id"]: rows.answered(row["vector"], dtype) for row in stored}

    def vector_blocks(
        self, collection: CollectionSpec
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Every row's id and vector once, in blocks: (n,) and (n, D)."""
        name = collection.name
        dtype = self._vector_type(name)
        # Counted as more rows where vectors are long: the blocks are those of fewer rows.
        share = max(1, 4 * collection.dim * BLOCK_ROWS // _VECTOR_BLOCK_BYTES)
        fields = ("chunk_id", "vector")
        for block in self._reader.blocks(name, fields, share * self.count(name)):
            ids = np.array([row["chunk_id"] for row in block], np.int64)
            yield ids, np.stack([rows.answered(row["vector"], dtype) for row in block])

    def proofs(self, collection: str, ids: Sequence[int]) -> dict[int, str]:
        """What proves the rows that exist, by chunk id; "" if nothing does."""
        with translated(f"cannot look at {collection}"):
            fields = ("chunk_id", PROOF) if self._has_proofs(collection) else ("chunk_id",)
        stored = self._reader.by_id(collection, ids, fields)
        return {row["chunk_id"]: row.get(PROOF) or UNPROVEN for row in stored}

    def stale_words(self, collection: CollectionSpec, chunks: Sequence[ChunkRow]) -> list[int]:
        """The ids of those chunks whose words are missing or other ones."""
        stored_rows = self._reader.by_id(
            collection.name, [row.id for row in chunks], full_text.FIELDS
        )
        stored = {row["chunk_id"]: row[full_text.WORDS] for row in stored_rows}
        return stale_ids(stored, chunks, collection.lexical or LexicalSpec())

    def chunks_of_document(self, collection: str, document_id: str) -> list[ChunkRow]:
        """A document's rows, by ordinal."""
        of_document = f"document_id == {quoted(document_id)}"
        chunks: list[ChunkRow] = []
        start = 0
        while True:
            stop = start + _ORDINALS_PER_QUERY
            page = self._reader.rows(
                collection,
                f"{of_document} and ordinal >= {start} and ordinal < {stop}",
                CHUNK_FIELDS,
            )
            chunks += [rows.chunk(row) for row in page]
            if len(page) < _ORDINALS_PER_QUERY:
                return sorted(chunks, key=lambda chunk: chunk.ordinal)
            start = stop

    # -------------------------------------------------------------- changes
    def upsert(self, collection: CollectionSpec, table: pa.Table) -> None:
        """Adds rows to a loaded collection; a row whose id exists is replaced."""
        name = collection.name
        with changing(self._path, name), translated(f"cannot add rows to {name}"):
            if collection.kind == "chunks":
                table = rows.with_proofs(table, self._has_proofs(name))
            for batch in rows.batches(table, self._spec.insert_rows):
                values = (
                    rows.of(batch, self._vector_type(name))
                    if collection.lexical is None
                    else full_text.lexical_rows(batch, collection.lexical)
                )
                self._replace(name, values)
            self._make_visible(name)

    def write_words(self, collection: CollectionSpec, chunks: Sequence[ChunkRow]) -> None:
        """Writes the words of these chunks; one whose id exists is replaced."""
        name, lexical = collection.name, collection.lexical or LexicalSpec()
        with changing(self._path, name), translated(f"cannot add rows to {name}"):
            for start in range(0, len(chunks), self._spec.insert_rows):
                batch = chunks[start : start + self._spec.insert_rows]
                words = [full_text.words_row(row.id, row.title, row.text, lexical) for row in batch]
                self._replace(name, words)
            self._make_visible(name)

    def delete(self, collection: str, ids: Sequence[int]) -> None:
        """Removes the rows that exist."""
        with changing(self._path, collection), translated(f"cannot remove rows of {collection}"):
            for start in range(0, len(ids), _IDS_PER_DELETE):
                batch = [int(chunk_id) for chunk_id in ids[start : start + _IDS_PER_DELETE]]
                self._client.delete(collection, ids=batch, timeout=self._spec.timeout_s)
            self._make_visible(collection)

    # -------------------------------------------------------------- inside
    def _replace(self, collection: str, values: list[dict[str, Any]]) -> None:
        """Adds the rows, then removes older ones of the same ids.

        A server's upsert replaces rows of the partition that it writes to, and no others (2.3.5).
        """
        timeout_s = self._spec.timeout_s
        self._client.upsert(collection, values, timeout=timeout_s)
        ranges = self._ranges_of(collection)
        if not ranges:
            return
        ids = [row["chunk_id"] for row in values]
        for start in range(0, len(ids), _MAX_MATCHES):
            older = self._in_memory(
                collection,
                partial(self._ids_in_partitions, collection, ids[start:][:_MAX_MATCHES], ranges),
            )
            for partition in ranges if older else ():  # new rows, the most, have no older ones
                self._client.delete(
                    collection, ids=older, partition_name=partition, timeout=timeout_s
                )

    def _ids_in_partitions(
        self, collection: str, ids: Sequence[int], partitions: Sequence[str]
    ) -> list[int]:
        found = self._client.query(
            collection,
            filter=ids_in(ids),
            output_fields=["chunk_id"],
            partition_names=list(partitions),
            consistency_level="Strong",
            timeout=self._spec.timeout_s,
        )
        return [row["chunk_id"] for row in found]

    def _filter_rows(self, collection: str) -> Rows:
        blocks = self._reader.blocks(collection, FILTER_FIELDS, self.count(collection))
        return {row["chunk_id"]: rows.filtered(row) for block in blocks for row in block}

    def _candidates(
        self,
        collection: str,
        condition: Expression,
        ids: Sequence[int] | None,
        limit: int | None,
    ) -> Iterator[list[dict[str, Any]]]:
        """Rows that include all that match, in blocks."""
        fields = ("chunk_id",) if condition.is_exact else FILTER_FIELDS
        if ids is not None:
            for start in range(0, len(ids), _IDS_PER_MATCH):
                batch = both(ids_in(ids[start : start + _IDS_PER_MATCH]), condition.text)
                yield self._reader.rows(collection, batch, fields)
        elif condition.is_exact and limit is not None and limit <= _MAX_MATCHES and condition.text:
            yield self._reader.rows(collection, condition.text, fields, limit)
        else:
            level = self._spec.consistency  # that of searches: they read the same rows
            # 0 with a condition: how many rows match is not known.
            total = 0 if condition.text else self.count(collection)
            yield from self._reader.blocks(collection, fields, total, condition.text, level)

    def _make_visible(self, collection: str) -> None:
        """Returns when every later read sees what was written."""
        # Lite searches unflushed rows 10 to 40 times slower. On a server a read at level
        # Strong waits until what was written is served; then weaker reads see it too.
        if self._release.is_lite:
            self._client.flush(collection, timeout=self._spec.build_timeout_s)
        self._ensure_loaded(collection)
        self._client.query(
            collection,
            filter="chunk_id == 0",
            output_fields=["chunk_id"],
            consistency_level="Strong",
            timeout=self._spec.timeout_s,
        )


def _mark(row: dict[str, Any]) -> Mark:
    return Mark(row["chunk_id"], row["document_id"], row["fingerprint"])
