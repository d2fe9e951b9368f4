"""How deep a query looks. Nothing here changes what a query means."""

from __future__ import annotations

from dataclasses import dataclass, field

from mrag_pipeline.settings.windows import WindowSpec


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """Where one way of filtering ends and the next begins: its cost, never an answer."""

    few_ids: int = 1_000  # searched among, however small the collection
    most_ids: int = 10_000  # searched among at once, however large
    first_depth: int = 4  # of the first longer ranking, in c
    max_hits: int | None = None  # of a ranking; None: as many as the index answers


@dataclass(frozen=True, slots=True)
class RetrieveSpec:
    """How deep a query looks. Twice of any depth moved figures by less than 0.003 (measured)."""

    windows: WindowSpec = field(default_factory=WindowSpec)
    hits_per_voter: int = 64  # over all windows; a vote of rank 8 is 1/256 of the first's
    min_hits_per_ranking: int = 8
    candidates: int = 512  # chunks whose rows are fetched before documents are ranked
    read_early: int = 2  # chunks for each document asked for, read before it is known who wins
    fused_documents: int = 5  # of each sub-query, before any of a deeper rank
    seconds: float = 30.0  # of the searches, if heads may be missing and no time is given
    filtering: FilterSpec = field(default_factory=FilterSpec)
