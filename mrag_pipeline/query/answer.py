"""What a question found, and why. Shape legend: V voters, W windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mrag_pipeline.domain.verdicts import AspectVerdict, Levels
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
    # The best cosine of the standard vector over windows and passages: the hit's score. None: no
    # time was left for it, or the question wants no scores.
    cosine: float | None = None
    bm25: float | None = None  # the same of its words, 0 if none; None: the version has no words
    # By chunk id of its scored passages: the aspects, as indexes in `Answer.aspects`, that the
    # passage can be a source of.
    answered: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def aspects(self) -> tuple[int, ...]:
        """The aspects that the passage shown can be a source of."""
        return self.answered.get(self.row.id, ())


@dataclass(frozen=True, slots=True)
class AspectFound:
    """What the version has on one aspect of the question: query[start:end], in characters."""

    text: str
    start: int
    end: int
    nearness: float | None  # of the passage nearest to it (domain/aspects.py)
    verdict: AspectVerdict | None  # None: no levels, no time, or no wish


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a question found: `found[i].hit.parts` is (V, W), ordered as `voters` and `windows`."""

    strategy: str
    version: str
    windows: tuple[Window, ...]
    voters: tuple[str, ...]  # those that voted
    found: tuple[FoundDocument, ...]
    num_searches: int  # rankings that vote: V x W, also those that count 0
    seconds: Mapping[str, float]  # by phase; of all questions that were answered together
    missing: tuple[str, ...] = ()  # voters that did not answer in time
    num_batched: int = 1  # queries that were embedded together
    reranker: str = ""  # the model that ordered the documents; empty: the vote did
    aspects: tuple[AspectFound, ...] = ()  # in the order of the question
    levels: Levels | None = None  # of the verdicts; None: the version was built without them
    warnings: tuple[str, ...] = ()  # what the caller should know of the answer, in words

    def documents(self) -> list[str]:
        """Document ids, best first, each once."""
        return [document.hit.document_id for document in self.found]
