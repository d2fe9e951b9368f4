"""What is shown of single heads: weight, cost, their words, and pairs that only they find.

Shape legend: S sampled chunks, H heads, D head dimension, E standard width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.head_study import ExamplePair, Excerpt, HeadDetails
from mrag_pipeline.domain.shared_words import Words, words_of_pair
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.domain.voter_groups import MeasuredGroup, MeasuredVoter, Voter
from mrag_pipeline.ports import ChunkRow
from mrag_pipeline.stages.heads.nearest import StudiedIndex, stored_vectors

_WORDS = 8  # of a head, and of a pair
_EXAMPLES = 3  # of a head
_NEAREST = 3  # ranks that examples are drawn from
_EXCERPT_CHARS = 240
_ID_BYTES = 8
_WIDTHS = {"float16": 2, "bfloat16": 2}  # bytes of a number; 4 of any other type


def details_of(
    record: VersionRecord,
    index: StudiedIndex,
    sample: Sequence[ChunkRow],
    heads: MeasuredGroup,
    beside: Sequence[Voter],
    head_vectors: Sequence[NDArray[np.float32]],
    standard: NDArray[np.float32],
    words: Words,
    search_ms: Sequence[float],
    seed: int,
) -> tuple[HeadDetails, ...]:
    """Each head's details. Examples are drawn by the seed, not chosen.

    Args:
        beside: voters of other kinds.
        head_vectors: (S, D) of each head.
        standard: (S, E).
    """
    importance = record.importance()
    total = float(importance.sum())
    num_bytes = record.num_chunks * (record.encoder.head_dim * _number_bytes(record) + _ID_BYTES)
    details = []
    for number, measured in enumerate(heads.voters):
        keeps, passes_over = heads.preferences.strongest(number, _WORDS)
        others = [own.voter for own in heads.voters if own is not measured] + list(beside)
        details.append(
            HeadDetails(
                measured.voter.name,
                float(importance[number]),
                float(importance[number]) / total if total > 0 else 0.0,
                num_bytes,
                search_ms[number],
                tuple(keeps),
                tuple(passes_over),
                _examples(
                    record,
                    index,
                    sample,
                    measured,
                    others,
                    record.head_collections()[number],
                    head_vectors[number],
                    standard,
                    words,
                    np.random.default_rng([seed, number]),
                ),
            )
        )
    return tuple(details)


def _number_bytes(record: VersionRecord) -> int:
    milvus = record.config.get("milvus")
    dtype = milvus.get("vector_dtype") if isinstance(milvus, Mapping) else None
    return _WIDTHS.get(str(dtype), 4)


def _examples(
    record: VersionRecord,
    index: StudiedIndex,
    sample: Sequence[ChunkRow],
    measured: MeasuredVoter,
    others: Sequence[Voter],
    collection: str,
    vectors: NDArray[np.float32],
    standard: NDArray[np.float32],
    words: Words,
    random: np.random.Generator,
) -> tuple[ExamplePair, ...]:
    rows, ranks = np.nonzero(measured.only_found[:, :_NEAREST])
    order = random.permutation(len(rows))
    by_row = {int(rows[place]): int(ranks[place]) for place in order[::-1]}
    chosen = list(dict.fromkeys(int(rows[place]) for place in order))[:_EXAMPLES]
    neighbours = [int(measured.voter.neighbours.chunks[row, by_row[row]]) for row in chosen]
    if not chosen:
        return ()
    chunks = record.chunks_collection()
    stored = index.chunks(chunks, neighbours)
    in_head = stored_vectors(index, collection, neighbours)
    in_standard = stored_vectors(index, chunks, neighbours)
    examples = []
    for place, row in enumerate(chosen):
        near_by_others = {
            chunk_id
            for voter in others
            for chunk_id in voter.neighbours.chunks[row, voter.neighbours.is_hit[row]].tolist()
        }
        neighbour = neighbours[place]
        examples.append(
            ExamplePair(
                _excerpt(sample[row]),
                _excerpt(stored[neighbour]),
                by_row[row] + 1,
                _cosine(vectors[row], in_head[place]),
                _cosine(standard[row], in_standard[place]),
                tuple(
                    words_of_pair(words, sample[row].id, neighbour, sorted(near_by_others), _WORDS)
                ),
            )
        )
    return tuple(examples)


def _excerpt(row: ChunkRow) -> Excerpt:
    text = " ".join(row.text.split())
    shown = text if len(text) <= _EXCERPT_CHARS else text[: _EXCERPT_CHARS - 1].rstrip() + "…"
    return Excerpt(row.id, row.document_id, row.title, shown)


def _cosine(vector: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    norm = float(np.linalg.norm(vector) * np.linalg.norm(other))
    return float(vector @ other) / norm if norm > 0 else 0.0
