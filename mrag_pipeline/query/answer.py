"""What a question found, and why. Shape legend: V voters, W windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrag_pipeline.domain.voting import Hit
from mrag_pipeline.domain.windows import Window
from mrag_pipeline.ports import ChunkRow


@dataclass(frozen=True, slots=True, eq=False)
class FoundDocument:
    """A document that answers the query, shown by its best passage."""

    hit: Hit
    row: ChunkRow  # of hit.chunk_ids[0]
    passages: tuple[ChunkRow, ...] = ()  # (W,) each window's best, if the question wants them
    rerank_score: float | None = None  # None: it was not rescored
    rerank_window: int | None = None  # index in `Answer.windows` of what it was scored for


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a question found: `found[i].hit.parts` is (V, W), ordered as `voters` and `windows`."""

    strategy: str
    version: str
    windows: tuple[Window, ...]
    voters: tuple[str, ...]  # those that voted
    found: tuple[FoundDocument, ...]
    num_searches: int  # rankings requested: V x W
    seconds: Mapping[str, float]  # by phase; of all questions that were answered together
    missing: tuple[str, ...] = ()  # voters that did not answer in time
    num_batched: int = 1  # queries that were embedded together
    reranker: str = ""  # the model that ordered the documents; empty: the vote did
    warnings: tuple[str, ...] = ()  # what the caller should know of the answer, in words

    def documents(self) -> list[str]:
        """Document ids, best first, each once."""
        return [document.hit.document_id for document in self.found]
