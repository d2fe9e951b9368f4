"""The passage of a document that each window found: what a reranker reads for that window.

Shape legend: V voters, W windows, c hits per ranking, G chunks, P passages of a document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mrag_pipeline.domain.filters import matches
from mrag_pipeline.domain.voting import Hit, WeightedRankings
from mrag_pipeline.ports import ChunkLookup, ChunkRow
from mrag_pipeline.query.answer import Answer
from mrag_pipeline.query.vote import Votes


def read_passages(
    index: ChunkLookup,
    collection: str,
    votes_of: Mapping[int, Votes],
    hits: Mapping[int, Sequence[Hit]],
    rows: dict[int, ChunkRow],
) -> dict[int, list[tuple[ChunkRow, ...]]]:
    """Of each question that wants them: for each hit (W,) rows, of each window's best passage.

    Args:
        collection: the chunks collection.
        votes_of, hits: by question.
        rows: those read so far, every hit's best passage among them; is updated.
    """
    wanted = {
        number: [window_passages(votes.rankings, hit) for hit in hits[number]]
        for number, votes in votes_of.items()
        if votes.plan.question.passages
    }
    unread = dict.fromkeys(
        chunk
        for passages in wanted.values()
        for chunks in passages
        for chunk in chunks
        if chunk not in rows
    )
    if unread:
        rows |= index.chunks(collection, list(unread))
    return {
        number: [
            tuple(_shown(chunk, hit, votes_of[number], rows) for chunk in chunks)
            for hit, chunks in zip(hits[number], passages, strict=True)
        ]
        for number, passages in wanted.items()
    }


def with_passages(answer: Answer, passages: Sequence[tuple[ChunkRow, ...]]) -> Answer:
    """The answer with each document's passages; as it is without any."""
    if not passages:
        return answer
    of_hit = {rows[0].document_id: rows for rows in passages}
    found = tuple(
        replace(document, passages=of_hit[document.hit.document_id]) for document in answer.found
    )
    return replace(answer, found=found)


def window_passages(rankings: WeightedRankings, hit: Hit) -> tuple[int, ...]:
    """(W,) the hit's passage that voters rank highest in each window; its best where none does."""
    passages = np.array(hit.chunk_ids, np.int64)
    num_hits = rankings.ids.shape[2]
    worth = rankings.weights[:, None, None] / (1.0 + np.arange(num_hits))  # (V, 1, c)
    votes = np.stack(
        [(worth * (rankings.ids == chunk)).sum(axis=(0, 2)) for chunk in passages.tolist()]
    )  # (P, W)
    # The first of equals, and of none: passages come best first.
    return tuple(passages[votes.argmax(axis=0)].tolist())


def _shown(chunk: int, hit: Hit, votes: Votes, rows: Mapping[int, ChunkRow]) -> ChunkRow:
    """The chunk's row if it may be shown, else that of the hit's best passage, which may be."""
    row = rows.get(chunk)
    wanted = votes.plan.question.filter
    if row is None or (wanted is not None and not matches(wanted, row)):
        return rows[hit.chunk_ids[0]]
    return row
