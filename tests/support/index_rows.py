"""Rows, collections and version records that the tests of an index load."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import CollectionSpec, VectorIndex
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.staging.tables import CHUNKS, lists
from tests.support.fake_staging import a_card

OLD, NEW = "v0123456789ab", "vba9876543210"
HEAD = CollectionSpec(f"docs_{OLD}_l05_h00", "head", 8)
TEXTS = CollectionSpec(f"docs_{OLD}_chunks", "chunks", 4)
HOSTILE = [
    'double "quotes"',
    "single 'quotes'",
    "back\\slash\\",
    '\\"both\\"',
    "new\nline\r\n\ttab",
    "percent % under_score",
    '" or document_id != "',
    "ünïcödé 文書 𝄞 \u200b",
    "control \x00\x01\x1b",
    "{braces} [brackets] $meta",
    "trailing space ",
]


def vectors(num_rows: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_rows, dim)).astype(np.float32)


def texts(documents: list[str], first_id: int = 1, **columns: Sequence[object]) -> pa.Table:
    """A chunks table: one row for each name, ordinals counted within a document."""
    seen: dict[str, int] = {}
    ordinals = []
    for name in documents:
        ordinals.append(seen.get(name, 0))
        seen[name] = ordinals[-1] + 1
    rows = len(documents)
    values: dict[str, object] = {
        "chunk_id": list(range(first_id, first_id + rows)),
        "document_id": list(documents),
        "ordinal": list(ordinals),
        "start": [10 * i for i in range(rows)],
        "end": [10 * i + 9 for i in range(rows)],
        "title": ["title"] * rows,
        "text": [f"text {i}" for i in range(rows)],
        "metadata": ["{}"] * rows,
        "fingerprint": [f"print-{name}" for name in documents],
    } | columns
    arrays = [pa.array(values[f.name], f.type) for f in CHUNKS if f.name != "vector"]
    return pa.Table.from_arrays([*arrays, lists(vectors(rows, 4))], schema=CHUNKS)


def a_record(version: str = OLD, created_at: str = "2026-01-01T00:00:00+00:00") -> VersionRecord:
    return VersionRecord(
        index="docs",
        version=version,
        fingerprint="f" * 32,
        encoder=a_card(),
        chunking=ChunkingSpec(),
        sums=ImportanceSums.of(vectors(6).reshape(3, 4, 4)[:, :2]),
        num_documents=2,
        num_chunks=3,
        num_dead_letters=1,
        created_at=created_at,
        corpus="corpus",
        config={"note": "ü"},
    )


def publish(index: VectorIndex, version: str) -> None:
    index.load(CollectionSpec(f"docs_{version}_chunks", "chunks", 4), [texts(["a"])])
    index.activate(version)
