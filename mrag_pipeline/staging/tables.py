"""Converts a shard's contents to Arrow tables and Parquet bytes, and back.

Vectors are `list<float>`, not fixed-size lists, because Milvus's bulk import reads only those. It
reads large files where they are staged, heads and chunks with their proofs, so these have no
dictionaries (decisions 125 and 142).
Nothing here depends on the clock or the machine, so the same rows give the same bytes.
Shape legend: N chunks, H heads, D head dimension or any vector's width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mrag_pipeline.domain import stored_format
from mrag_pipeline.domain.documents import Chunk, DeadLetter
from mrag_pipeline.domain.heads import Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.precision import rounded
from mrag_pipeline.domain.proofs import PROOF, UNPROVEN, proofs_of
from mrag_pipeline.errors import BadVectors, StagingError
from mrag_pipeline.ports import DocumentRow
from mrag_pipeline.ports.vector_column import vector_matrix

_DICTIONARY = ["document_id", "title", "metadata", "fingerprint", "source", "reason", "head"]

CHUNKS = pa.schema(
    [
        ("chunk_id", pa.int64()),
        ("document_id", pa.string()),
        ("ordinal", pa.int32()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("metadata", pa.string()),
        ("fingerprint", pa.string()),
        ("vector", pa.list_(pa.float32())),
    ]
)
DOCUMENTS = pa.schema(
    [
        ("document_id", pa.string()),
        ("fingerprint", pa.string()),
        ("source", pa.string()),
        ("num_chunks", pa.int32()),
    ]
)
DEAD_LETTERS = pa.schema(
    [
        ("document_id", pa.string()),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("text_hash", pa.string()),
    ]
)
DUPLICATES = pa.schema([("shard", pa.int32()), *DEAD_LETTERS])
DEAD_LETTERS = DEAD_LETTERS.append(pa.field("num_documents", pa.int64()))
# Of a file of dead letters, in its schema's metadata under `format`; none means 1.
DEAD_LETTERS_FORMAT = 1
IMPORTANCE = pa.schema(
    [
        ("head", pa.string()),
        ("num_chunks", pa.int64()),
        ("norm_sum", pa.float64()),
        ("unit_sum", pa.list_(pa.float64())),
    ]
)


def parquet(table: pa.Table, compression: str) -> pa.Buffer:
    """The table as one Parquet file; the same table gives the same bytes."""
    sink = pa.BufferOutputStream()
    names = table.column_names
    # Texts with proofs are for a server; 2.3.5 reads no dictionary of a compressed file.
    dictionary = [] if PROOF in names else [name for name in _DICTIONARY if name in names]
    pq.write_table(
        table, sink, compression=compression, use_dictionary=dictionary, write_page_checksum=True
    )
    return sink.getvalue()


def from_parquet(content: pa.Buffer) -> pa.Table:
    """The table that `parquet` wrote."""
    return pq.read_table(pa.BufferReader(content))


def chunk_table(
    chunks: Sequence[Chunk], standard: NDArray[np.float32], dtype: str = "float32"
) -> pa.Table:
    """N chunks with their standard embeddings (N, E), rounded to `dtype`.

    Raises: StagingError if a text or the metadata cannot be stored.
    """
    try:
        columns = [
            pa.array([c.id for c in chunks], pa.int64()),
            pa.array([c.document_id for c in chunks], pa.string()),
            pa.array([c.ordinal for c in chunks], pa.int32()),
            pa.array([c.start for c in chunks], pa.int64()),
            pa.array([c.end for c in chunks], pa.int64()),
            pa.array([c.title for c in chunks], pa.string()),
            pa.array([c.text for c in chunks], pa.string()),
            pa.array([_json(c) for c in chunks], pa.string()),
            pa.array([c.fingerprint for c in chunks], pa.string()),
            lists(rounded(standard, dtype)),
        ]
    except UnicodeEncodeError as error:
        raise _not_unicode(error, [c.document_id for c in chunks]) from error
    return pa.Table.from_arrays(columns, schema=CHUNKS)


def head_table(ids: NDArray[np.int64], vectors: NDArray[np.float32], dtype: str) -> pa.Table:
    """One head's vectors (N, D) as `dtype`; bfloat16 is stored as float32, as Parquet lacks it.

    Raises: BadVectors if a vector is not finite, or `dtype` cannot hold it.
    """
    stored = rounded(vectors, dtype)
    _check_vectors(stored, dtype)
    halved = stored.astype(np.float16) if dtype == "float16" else stored
    return pa.table({"chunk_id": pa.array(ids, pa.int64()), "vector": lists(halved)})


def proof_table(
    chunks: Sequence[Chunk],
    standard: NDArray[np.float32],
    vectors: NDArray[np.float32],
    dtype: str,
) -> pa.Table:
    """What proves N chunks, of their vectors as `dtype`: (N, E) and (N, H, D)."""
    proofs = proofs_of(chunks, rounded(standard, dtype), rounded(vectors, dtype))
    return pa.table({PROOF: pa.array(proofs, pa.string())})


def proven(table: pa.Table, proofs: pa.Table | None) -> pa.Table:
    """A chunks table with its column of proofs, row for row; None: it has none."""
    column = pa.array([UNPROVEN] * table.num_rows) if proofs is None else proofs[PROOF]
    return table.append_column(PROOF, column)


def importable(table: pa.Table, proofs: pa.Table, dtype: str) -> pa.Table:
    """A chunks table as a server imports it: with its proofs, its vectors checked.

    Raises: BadVectors if a vector is zero or not finite as `dtype`.
    """
    _check_vectors(vector_matrix(table["vector"]), dtype)
    return proven(table, proofs)


def importance_table(sums: ImportanceSums, heads: Sequence[Head]) -> pa.Table:
    """The sums of H heads, one row for each."""
    columns = [
        pa.array([str(head) for head in heads], pa.string()),
        pa.array([sums.num_chunks] * len(heads), pa.int64()),
        pa.array(sums.norm_sum, pa.float64()),
        lists(sums.unit_sum),
    ]
    return pa.Table.from_arrays(columns, schema=IMPORTANCE)


def sums_of(table: pa.Table) -> ImportanceSums:
    """The sums that `importance_table` wrote, to the last bit."""
    return ImportanceSums(
        int(table["num_chunks"][0].as_py()),
        table["norm_sum"].to_numpy().copy(),
        vector_matrix(table["unit_sum"]).astype(np.float64),
    )


def document_table(documents: Sequence[DocumentRow]) -> pa.Table:
    """The documents in order, one row for each."""
    rows = [(d.id, d.fingerprint, d.source, d.num_chunks) for d in documents]
    return _rows(rows, DOCUMENTS)


def documents_of(table: pa.Table) -> list[DocumentRow]:
    """What `document_table` wrote."""
    return [DocumentRow(*row) for row in _tuples(table)]


def dead_letter_table(letters: Sequence[DeadLetter]) -> pa.Table:
    """The dead letters in order, one row for each."""
    named = [(d.document_id, d.source, d.reason, d.text_hash) for d in letters]
    rows = [
        (*map(_printable, row), letter.num_documents)
        for row, letter in zip(named, letters, strict=True)
    ]
    return _rows(rows, DEAD_LETTERS).replace_schema_metadata({"format": str(DEAD_LETTERS_FORMAT)})


def dead_letters_of(table: pa.Table) -> list[DeadLetter]:
    """What `dead_letter_table` wrote; before there were numbers, each stood for one document.

    Columns that a later version of the same format added are passed over.

    Raises: NewerFormat; StagingError if these are no dead letters.
    """
    number = (table.schema.metadata or {}).get(b"format", b"1").decode("ascii", "replace")
    try:
        stored_format.check(int(number), "a file of dead letters", DEAD_LETTERS_FORMAT)
        known = [name for name in DEAD_LETTERS.names if name in table.column_names]
        if known[:4] != DEAD_LETTERS.names[:4]:  # the fifth came later
            raise ValueError("columns")
        return [DeadLetter(*row) for row in _tuples(table.select(known))]
    except ValueError as error:
        raise StagingError(
            f"a file that holds no dead letters: format {number}, columns {table.column_names}",
            f"columns {DEAD_LETTERS.names}",
            "remove the file and run the same command again: it lists them again",
        ) from error


def duplicate_table(duplicates: Mapping[int, Sequence[DeadLetter]]) -> pa.Table:
    """The documents left out, by shard."""
    rows = [
        (shard, d.document_id, d.source, d.reason, d.text_hash)
        for shard in sorted(duplicates)
        for d in duplicates[shard]
    ]
    return _rows(rows, DUPLICATES)


def duplicates_of(table: pa.Table) -> dict[int, list[DeadLetter]]:
    """What `duplicate_table` wrote; only shards with duplicates are keys."""
    duplicates: dict[int, list[DeadLetter]] = {}
    for shard, *fields in _tuples(table):
        duplicates.setdefault(int(shard), []).append(DeadLetter(*fields))
    return duplicates


def single_precision(table: pa.Table) -> pa.Table:
    """The table with its vectors as list<float32>, whatever they were stored as."""
    vector_type = pa.list_(pa.float32())
    if table.schema.field("vector").type == vector_type:
        return table
    column_index = table.schema.get_field_index("vector")
    return table.set_column(column_index, "vector", pc.cast(table["vector"], vector_type))


def lists(vectors: NDArray[np.floating]) -> pa.ListArray:
    """(N, D) as N lists, without a copy."""
    num_rows, width = vectors.shape
    offsets = np.arange(num_rows + 1, dtype=np.int32) * np.int32(width)
    values = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _check_vectors(stored: NDArray[np.floating], dtype: str) -> None:
    num_broken = int(np.sum(~(np.isfinite(stored).all(axis=1) & stored.any(axis=1))))
    if num_broken:
        raise BadVectors(
            f"{num_broken} of {len(stored)} vectors are zero, NaN or infinite as {dtype}",
            "finite vectors with a direction",
            "set staging.vector_dtype to float32; if it already is, check the model",
        )


def _rows(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    names = [str(row[0]) for row in rows]
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    try:
        arrays = [pa.array(list(c), f.type) for c, f in zip(columns, schema, strict=True)]
    except UnicodeEncodeError as error:
        raise _not_unicode(error, names) from error
    return pa.Table.from_arrays(arrays, schema=schema)


def _tuples(table: pa.Table) -> list[tuple[Any, ...]]:
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True))


def _json(chunk: Chunk) -> str:
    try:
        return json.dumps(dict(chunk.metadata), sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StagingError(
            f"metadata of document {chunk.document_id!r} is not JSON: {error}",
            "strings, finite numbers, true or false",
            "map other fields as metadata, or clean these",
        ) from error


def _printable(text: str) -> str:
    # A dead letter may be about broken text, so its id may be broken too.
    return text.encode("utf-8", "backslashreplace").decode()


def _not_unicode(error: UnicodeEncodeError, names: Sequence[str]) -> StagingError:
    surrogate = error.object[error.start : error.end]
    broken_id = next((name for name in names if _printable(name) != name), "")
    id_note = f" (document id {broken_id!r})" if broken_id else ""
    return StagingError(
        f"a text holds {surrogate!r}, half of a surrogate pair{id_note}: "
        f"...{error.object[:40]!r}...",
        "text that can be written as UTF-8",
        "clean the corpus; the corpus reader should have set the document aside as a dead letter",
    )
