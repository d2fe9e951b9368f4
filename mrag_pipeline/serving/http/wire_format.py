"""Answers, chunks and version records as the schemas that go over the wire.

Shape legend: V voters, W windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from mrag_pipeline.domain.strategies import STRATEGIES
from mrag_pipeline.domain.verdicts import Levels
from mrag_pipeline.domain.version import VersionRecord
from mrag_pipeline.ports import ChunkRow
from mrag_pipeline.query.answer import Answer, FoundDocument
from mrag_pipeline.query.browse import FoundDocuments, Neighbours
from mrag_pipeline.wire.document_schemas import (
    DocumentList,
    DocumentPassages,
    DocumentSummary,
    Neighbour,
    PassageNeighbours,
    VoterNeighbours,
)
from mrag_pipeline.wire.printable import printable
from mrag_pipeline.wire.schemas import (
    AspectPart,
    Chunk,
    HeadState,
    IndexState,
    SearchAnswer,
    SearchHit,
    VerdictLevels,
    WindowPart,
)

SUMMARY_CHARS = 300


def search_answer(answer: Answer, explain: bool, total: float) -> SearchAnswer:
    """An answer on the wire; with `explain`, each hit has its votes by voter and window.

    Args:
        total: seconds that the caller waited, including queues.
    """
    return SearchAnswer.model_construct(
        version=answer.version,
        strategy=answer.strategy,
        windows=[
            WindowPart.model_construct(
                text=printable(window.text),
                start=window.start,
                end=window.end,
                scale=window.scale,
            )
            for window in answer.windows
        ],
        voters=list(answer.voters),
        missing_voters=list(answer.missing),
        hits=[_hit(document, explain) for document in answer.found],
        aspects=[
            AspectPart.model_construct(
                text=printable(aspect.text),
                start=aspect.start,
                end=aspect.end,
                nearness=aspect.nearness,
                verdict=aspect.verdict,
            )
            for aspect in answer.aspects
        ],
        levels=_levels(answer.levels),
        warnings=[printable(warning) for warning in answer.warnings],
        reranker=answer.reranker,
        num_searches=answer.num_searches,
        seconds={**answer.seconds, "total": total},
    )


def chunk(row: ChunkRow) -> Chunk:
    """A passage."""
    return Chunk.model_construct(**_passage(row))


def document_list(found: FoundDocuments) -> DocumentList:
    """Documents, each by the beginning of a passage."""
    return DocumentList(
        version=found.version,
        documents=[
            DocumentSummary(
                document_id=printable(row.document_id),
                title=printable(row.title),
                text=printable(row.text[:SUMMARY_CHARS]),
                metadata=_plain(row.metadata),  # type: ignore[arg-type]
            )
            for row in found.rows
        ],
    )


def document_passages(found: FoundDocuments, offset: int, limit: int) -> DocumentPassages:
    """A document, with its passages from the offset on."""
    first = found.rows[0]
    return DocumentPassages(
        version=found.version,
        document_id=printable(first.document_id),
        title=printable(first.title),
        metadata=_plain(first.metadata),  # type: ignore[arg-type]
        num_passages=len(found.rows),
        passages=[chunk(row) for row in found.rows[offset : offset + limit]],
    )


def passage_neighbours(found: Neighbours) -> PassageNeighbours:
    """A passage's neighbours by voter."""
    return PassageNeighbours(
        version=found.version,
        chunk_id=str(found.row.id),
        document_id=printable(found.row.document_id),
        voters=[
            VoterNeighbours(
                voter=voter,
                neighbours=[
                    Neighbour(
                        chunk_id=str(near.row.id),
                        document_id=printable(near.row.document_id),
                        title=printable(near.row.title),
                        cosine=near.cosine,
                    )
                    for near in neighbours
                ],
            )
            for voter, neighbours in found.by_voter.items()
        ],
    )


def index_state(
    record: VersionRecord,
    examples: Sequence[str],
    default_strategy: str,
    default_k: int,
    chat_model: str = "",
    shows_counts: bool = True,
) -> IndexState:
    """A version's record, as callers see it, and what a request gets that does not say.

    Args:
        shows_counts: whether the caller may know how much all tenants have.
    """
    return IndexState(
        index=record.index,
        version=record.version,
        created=record.created_at,
        num_documents=record.num_documents if shows_counts else None,
        num_chunks=record.num_chunks if shows_counts else None,
        model=record.encoder.spec.model,
        heads=[
            HeadState(name=str(head), importance=float(weight))
            for head, weight in zip(record.encoder.heads, record.importance(), strict=True)
        ],
        strategies={name: strategy.summary for name, strategy in STRATEGIES.items()},
        default_strategy=default_strategy,
        default_k=default_k,
        examples=list(examples),
        chat_model=chat_model,
    )


def _hit(document: FoundDocument, explain: bool) -> SearchHit:
    parts = document.hit.parts  # (V, W)
    by_window = parts.sum(axis=0)
    return SearchHit.model_construct(
        **_passage(document.row),
        vote=float(document.hit.vote),
        cosine=document.cosine,
        bm25=document.bm25,
        vote_share=document.hit.share,
        aspects=list(document.aspects),
        window=int(by_window.argmax()),
        rerank_score=document.rerank_score,
        rerank_window=document.rerank_window,
        votes_by_window=by_window.tolist(),
        votes_by_voter=parts.sum(axis=1).tolist(),
        votes=parts.tolist() if explain else None,
    )


def _levels(levels: Levels | None) -> VerdictLevels | None:
    if levels is None:
        return None
    return VerdictLevels.model_construct(weak=levels.weak, found=levels.found)


def _passage(row: ChunkRow) -> dict[str, Any]:
    return {
        "chunk_id": str(row.id),
        "document_id": printable(row.document_id),
        "ordinal": row.ordinal,
        "start": row.start,
        "end": row.end,
        "title": printable(row.title),
        "text": printable(row.text),
        "metadata": _plain(row.metadata),
    }


def _plain(value: Any) -> JsonValue:
    """Metadata as valid JSON: half surrogate pairs are replaced, NaN and infinity become null."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {printable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value  # type: ignore[no-any-return]
