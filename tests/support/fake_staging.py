"""A Staging that lives in memory, and small shards to put into one.

`FakeStaging` passes tests/contracts/test_staging.py, so a stage's test may trust it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mrag_pipeline.domain.dead_letters import num_set_aside
from mrag_pipeline.domain.documents import Chunk, DeadLetter, chunk_id
from mrag_pipeline.domain.heads import EncoderCard, Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.manifest import Manifest, Receipt
from mrag_pipeline.domain.planning import Shard, Slice
from mrag_pipeline.domain.precision import rounded
from mrag_pipeline.errors import FingerprintMismatch, StagingError
from mrag_pipeline.ports import DocumentRow, ShardOutput, StagedTable
from mrag_pipeline.ports.vector_column import vector_matrix
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.staging import tables

HEADS = (Head(5, 0), Head(5, 7))
HEAD_DIM = 4
STANDARD_DIM = 6
PLAN = "a" * 32


def a_card(heads: Sequence[Head] = HEADS, head_dim: int = HEAD_DIM) -> EncoderCard:
    """An encoder of two heads with 4 numbers each and a standard embedding of 6."""
    return EncoderCard(
        spec=EncoderSpec(model="folder"),
        family="bert",
        weights_hash="0" * 64,
        heads=tuple(heads),
        head_dim=head_dim,
        standard_dim=STANDARD_DIM,
        max_tokens=256,
        pooling="cls",
        standard_pooling="mean",
    )


def a_manifest(
    fingerprint: str = PLAN,
    num_shards: int = 2,
    vector_dtype: str = "float32",
    card: EncoderCard | None = None,
) -> Manifest:
    """A plan of some shards, one file each."""
    shards = tuple(
        Shard(i, (Slice(f"{i}.jsonl", "file", 0, 1, 100, "stamp"),)) for i in range(num_shards)
    )
    return Manifest(
        index="docs",
        version=f"v{fingerprint[:12]}",
        fingerprint=fingerprint,
        listing="b" * 32,
        corpus={"uri": "corpus"},
        chunking=ChunkingSpec(),
        encoder=card or a_card(),
        vector_dtype=vector_dtype,
        shards=shards,
        config={"batch": 8},
    )


def an_output(shard: int = 0, names: Sequence[str] = ("a", "b"), seed: int = 0) -> ShardOutput:
    """Two chunks of each named document, with vectors that the seed decides."""
    random = np.random.default_rng((seed, shard))
    chunks = [
        Chunk(
            id=chunk_id(name, start, start + 5, f"text{start}"),
            document_id=name,
            ordinal=ordinal,
            start=start,
            end=start + 5,
            text=f'Text {start} of {name}: ä€𝄞 "quoted"\nnext line',
            title=f"Title of {name}",
            metadata={"year": 2024, "open": True, "score": 0.5, "by": "Zoë"},
        )
        for name in names
        for ordinal, start in enumerate((0, 5))
    ]
    vectors = random.normal(size=(len(chunks), len(HEADS), HEAD_DIM)).astype(np.float32)
    standard = random.normal(size=(len(chunks), STANDARD_DIM)).astype(np.float32)
    return ShardOutput(
        shard=shard,
        chunks=chunks,
        vectors=vectors,
        standard=standard / np.linalg.norm(standard, axis=1, keepdims=True),
        sums=ImportanceSums.of(vectors),
        documents=[DocumentRow(name, f"print-{name}", f"{shard}.jsonl:1", 2) for name in names],
        dead_letters=[DeadLetter("broken", f"{shard}.jsonl:9", "empty text", "")],
        num_tokens=10 * len(chunks),
        num_bytes=100,
    )


class FakeStaging:
    """The Staging port in memory."""

    def __init__(self) -> None:
        self._manifest: Manifest | None = None
        self._outputs: dict[int, ShardOutput] = {}
        self._receipts: dict[int, Receipt] = {}
        self._duplicates: dict[int, list[DeadLetter]] | None = None

    def describe(self) -> str:
        return "memory"

    def manifest(self) -> Manifest | None:
        return self._manifest

    def write_manifest(self, manifest: Manifest) -> None:
        if self._manifest is None:
            self._manifest = manifest
        self._check(self._manifest.fingerprint, manifest.fingerprint)

    def receipt(self, shard: int, fingerprint: str) -> Receipt | None:
        found = self._receipts.get(shard)
        if found is not None:
            self._check(found.fingerprint, fingerprint)
        return found

    def receipts(self, shards: Iterable[int], fingerprint: str) -> Iterator[Receipt | None]:
        yield from (self.receipt(shard, fingerprint) for shard in shards)

    def write_shard(self, output: ShardOutput, fingerprint: str) -> Receipt:
        manifest = self._need_manifest()
        self._check(manifest.fingerprint, fingerprint)
        if output.shard not in self._receipts:
            self._outputs[output.shard] = output
            self._receipts[output.shard] = Receipt(
                shard=output.shard,
                fingerprint=fingerprint,
                num_documents=len(output.documents),
                num_chunks=len(output.chunks),
                num_tokens=output.num_tokens,
                num_dead_letters=num_set_aside(output.dead_letters),
                num_bytes=output.num_bytes,
                files=(),
                remarks=output.remarks,
            )
        return self._receipts[output.shard]

    def chunks(self, shard: int) -> pa.Table:
        output = self._output(shard)
        dtype = self._need_manifest().vector_dtype
        table = tables.chunk_table(output.chunks, output.standard, dtype)
        proofs = tables.proof_table(output.chunks, output.standard, output.vectors, dtype)
        return self._kept(shard, tables.proven(table, proofs))

    def head(self, shard: int, head: Head) -> pa.Table:
        manifest, output = self._need_manifest(), self._output(shard)
        ids = np.array([chunk.id for chunk in output.chunks], dtype=np.int64)
        vectors = output.vectors[:, manifest.encoder.heads.index(head)]
        table = tables.head_table(ids, vectors, manifest.vector_dtype)
        return self._kept(shard, tables.single_precision(table))

    def head_file(self, shard: int, head: Head) -> StagedTable | None:
        num_rows = len(self._output(shard).chunks)
        if self._left_out(shard) or self._need_manifest().vector_dtype == "float16":
            return None
        num_bytes = 4 * num_rows * self._need_manifest().encoder.head_dim
        read = partial(self.head, shard, head)
        return StagedTable("memory", f"{shard}/{head}", num_bytes, num_rows, read)

    def chunks_file(self, shard: int) -> StagedTable | None:
        num_rows = len(self._output(shard).chunks)
        if self._left_out(shard):
            return None
        num_bytes = 4 * num_rows * self._need_manifest().encoder.standard_dim
        read = partial(self.chunks, shard)
        return StagedTable("memory", f"{shard}/chunks", num_bytes, num_rows, read)

    def chunk_ids(self, shard: int) -> NDArray[np.int64]:
        ids: NDArray[np.int64] = self.chunks(shard)["chunk_id"].to_numpy()
        return ids

    def all_chunk_ids(self, shard: int) -> NDArray[np.int64]:
        return np.array([chunk.id for chunk in self._output(shard).chunks], np.int64)

    def sums(self, shard: int) -> ImportanceSums:
        return self._output(shard).sums

    def documents(self, shard: int) -> list[DocumentRow]:
        return list(self._output(shard).documents)

    def dead_letters(self, shard: int) -> list[DeadLetter]:
        return list(self._output(shard).dead_letters)

    def write_duplicates(self, duplicates: Mapping[int, Sequence[DeadLetter]]) -> None:
        self._duplicates = {shard: list(found) for shard, found in duplicates.items() if found}

    def duplicates(self) -> Mapping[int, Sequence[DeadLetter]] | None:
        return self._duplicates

    def duplicate_vectors(self, shard: int) -> NDArray[np.float32]:
        output, left_out = self._output(shard), self._left_out(shard)
        rows = [i for i, c in enumerate(output.chunks) if c.document_id in left_out]
        return rounded(output.vectors[rows], self._need_manifest().vector_dtype)

    def duplicate_chunk_ids(self, shard: int) -> NDArray[np.int64]:
        output, left_out = self._output(shard), self._left_out(shard)
        return np.array([c.id for c in output.chunks if c.document_id in left_out], np.int64)

    def free_bytes(self) -> int | None:
        return None

    def _left_out(self, shard: int) -> set[str]:
        return {letter.document_id for letter in (self._duplicates or {}).get(shard, [])}

    def _kept(self, shard: int, table: pa.Table) -> pa.Table:
        left_out = self._left_out(shard)
        kept = [c.document_id not in left_out for c in self._output(shard).chunks]
        return table.filter(pa.array(kept, pa.bool_()))

    def _output(self, shard: int) -> ShardOutput:
        if shard not in self._outputs:
            raise StagingError(f"shard {shard} is not there")
        return self._outputs[shard]

    def _need_manifest(self) -> Manifest:
        if self._manifest is None:
            raise StagingError("no plan")
        return self._manifest

    def _check(self, stored: str, wanted: str) -> None:
        if stored != wanted:
            raise FingerprintMismatch(f"plan {stored}", f"plan {wanted}")


def table_of(ids: Sequence[int] | NDArray[np.integer], vectors: NDArray[np.floating]) -> pa.Table:
    """A head's table, as `Staging.head` gives it."""
    return tables.head_table(np.asarray(ids, np.int64), vectors.astype(np.float32), "float32")


def as_matrix(table: pa.Table) -> NDArray[np.floating]:
    """A table's vectors as (N, D)."""
    return vector_matrix(table["vector"])
