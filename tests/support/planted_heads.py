"""Versions whose heads are known: texts of planted subjects and colours, vectors made by hand.

Heads 0 and 1 are near by subject and equal; head 2 is near by colour. The standard vector mixes
subjects with noise and knows no colour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.documents import Chunk, chunk_id, text_hash
from mrag_pipeline.domain.heads import EncoderCard, Head
from mrag_pipeline.domain.importance import ImportanceSums
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import CollectionSpec, VectorIndex
from mrag_pipeline.settings.chunking import ChunkingSpec
from mrag_pipeline.settings.encoder import EncoderSpec
from mrag_pipeline.settings.lexical import LexicalSpec
from mrag_pipeline.staging.tables import chunk_table, head_table

INDEX = "planted"
VERSION, OTHER = "v0123456789ab", "vba9876543210"
HEAD_DIM, STANDARD_DIM = 8, 12
SUBJECTS = ("river", "violin", "engine", "bakery", "glacier", "market")
COLOURS = ("red", "green", "blue", "white")


def documents(num: int = 120, seed: int = 1) -> list[Chunk]:
    """A chunk for each document: four words of its subject, two of its colour, four of neither."""
    random = np.random.default_rng(seed)
    chunks = []
    for number in range(num):
        subject, colour = SUBJECTS[number % 6], COLOURS[number // 6 % 4]
        words = [f"{subject}{ending}" for ending in random.choice(12, 4, replace=False)]
        words += [f"{colour}{ending}" for ending in random.choice(4, 2, replace=False)]
        words += [f"any{ending}" for ending in random.choice(40, 4, replace=False)]
        text = " ".join(words)
        name = f"d{number}"
        chunks.append(
            Chunk(
                chunk_id(name, 0, len(text), text), name, 0, 0, len(text), text,
                f"T{number}", {"colour": colour, "number": number}, text_hash(text),
            )
        )  # fmt: skip
    return chunks


def by_label(labels: Sequence[str], dim: int, seed: int, noise: float = 0.2) -> NDArray[np.float32]:
    """Vectors near each other where the labels are equal: (N, D)."""
    random = np.random.default_rng(seed)
    names = sorted(set(labels))
    directions = random.normal(size=(len(names), dim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    clean = directions[[names.index(label) for label in labels]]
    return (clean + noise * random.normal(size=clean.shape)).astype(np.float32)


def subjects(chunks: Sequence[Chunk]) -> list[str]:
    return [chunk.text.split()[0].rstrip("0123456789") for chunk in chunks]


def planted(chunks: Sequence[Chunk]) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """The three heads' vectors and the standard vectors of these chunks."""
    of_subject = by_label(subjects(chunks), HEAD_DIM, 3)
    of_colour = by_label([str(chunk.metadata["colour"]) for chunk in chunks], HEAD_DIM, 4)
    standard = by_label(subjects(chunks), STANDARD_DIM, 5, noise=0.5)
    return [of_subject, of_subject, of_colour], standard


def load(
    index: VectorIndex,
    chunks: Sequence[Chunk],
    heads: Sequence[NDArray[np.float32]],
    standard: NDArray[np.float32],
    version: str = VERSION,
    *,
    words: bool = True,
) -> VersionRecord:
    """Loads a version and writes its record; makes nothing live."""
    standard = standard / np.linalg.norm(standard, axis=1, keepdims=True)
    card = EncoderCard(
        spec=EncoderSpec(model=f"made {version}"),
        family="made",
        weights_hash=version,
        heads=tuple(Head(5, head) for head in range(len(heads))),
        head_dim=heads[0].shape[1],
        standard_dim=standard.shape[1],
        max_tokens=256,
        pooling="mean",
        standard_pooling="mean",
    )
    record = VersionRecord(
        index=INDEX,
        version=version,
        fingerprint="f" * 32,
        encoder=card,
        chunking=ChunkingSpec(),
        sums=ImportanceSums.of(np.stack(heads, axis=1)),
        num_documents=len(chunks),
        num_chunks=len(chunks),
        num_dead_letters=0,
        created_at="2026-01-01T00:00:00+00:00",
        corpus="made",
        lexical=LexicalSpec() if words else None,
    )
    ids = np.array([chunk.id for chunk in chunks], np.int64)
    for name, vectors in zip(record.head_collections(), heads, strict=True):
        table = head_table(ids, np.ascontiguousarray(vectors), "float32")
        index.load(CollectionSpec(name, "head", vectors.shape[1]), [table])
    table = chunk_table(chunks, standard.astype(np.float32))
    if words:
        name = str(record.lexical_collection())
        index.load(CollectionSpec(name, "lexical", 0, record.lexical), [table])
    index.load(CollectionSpec(record.chunks_collection(), "chunks", standard.shape[1]), [table])
    index.write_record(record)
    return record
