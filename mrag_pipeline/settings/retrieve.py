"""How deep a query searches; no table of the config file. It never changes a query's meaning."""

from __future__ import annotations

from dataclasses import dataclass, field

from mrag_pipeline.settings.windows import WindowSpec


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """When each way of filtering is used. Affects the cost, never the answer."""

    few_ids: int = 1_000  # matching chunks are searched by id, even in a small collection
    most_ids: int = 10_000  # are the most that are searched by id, even in a large one
    first_depth: int = 4  # depth of the first longer ranking, as a multiple of the ordinary one
    max_hits: int | None = None  # of a ranking; None: as many as the index answers


@dataclass(frozen=True, slots=True)
class RetrieveSpec:
    """How deep a query searches. Doubling any of them moved figures by under 0.003 (measured)."""

    windows: WindowSpec = field(default_factory=WindowSpec)
    hits_per_voter: int = 64  # over all windows; a vote at rank 8 counts 1/256 of one at rank 0
    min_hits_per_ranking: int = 8
    reciprocal_hits: int = 192  # as hits_per_voter, where votes fall slowly with the rank
    min_reciprocal_hits: int = 24
    candidates: int = 512  # chunks whose rows are fetched before documents are ranked
    read_early: int = 2  # chunks per requested document that are read before the vote is final
    fused_documents: int = 5  # of each sub-query that come before any of a deeper rank
    seconds: float = 30.0  # for the searches, if heads may be missing and no timeout is given
    filtering: FilterSpec = field(default_factory=FilterSpec)
