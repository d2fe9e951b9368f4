"""What a hit becomes in a framework: its metadata and its score."""

from __future__ import annotations

from typing import Any

from mrag_pipeline.wire.schemas import SearchAnswer, SearchHit

# The key of what the search says of a hit, beside the document's own metadata.
KEY = "mrag"


def metadata(answer: SearchAnswer, rank: int) -> dict[str, Any]:
    """The metadata of the hit's document with its `document_id` and `title`; `mrag` has the rest.

    Where the document's own metadata has one of the first two names, it keeps it; `mrag` has both.

    Args:
        rank: of the hit, from 0.
    """
    hit = answer.hits[rank]
    found = {
        "document_id": hit.document_id,
        "title": hit.title,
        "chunk_id": hit.chunk_id,
        "start": hit.start,
        "end": hit.end,
        "rank": rank + 1,
        "vote": hit.vote,
        "vote_share": hit.vote_share,
        "votes_by_voter": dict(zip(answer.voters, hit.votes_by_voter, strict=True)),
        "window": answer.windows[hit.window].text,
        "cosine": hit.cosine,
        "bm25": hit.bm25,
        "rerank_score": hit.rerank_score,
        "aspects": [answer.aspects[number].model_dump() for number in hit.aspects],
        "version": answer.version,
    }
    return {"document_id": hit.document_id, "title": hit.title, **hit.metadata, KEY: found}


def score(answer: SearchAnswer, rank: int) -> float:
    """A number that falls with the rank: frameworks that join results sort by it.

    The hit's share of all votes; where a reranker made the order, 1 / rank, because its scores
    compare only within a window.
    """
    hit: SearchHit = answer.hits[rank]
    if answer.reranker:
        return 1.0 / (rank + 1)
    return hit.vote if hit.vote_share is None else hit.vote_share
