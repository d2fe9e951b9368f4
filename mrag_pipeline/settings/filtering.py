"""When each way of filtering is used; no table of the config file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """When each way of filtering is used. Affects the cost, never the answer."""

    few_ids: int = 1_000  # matching chunks are searched by id, even in a small collection
    most_ids: int = 10_000  # are the most that are searched by id, even in a large one
    first_depth: int = 4  # depth of the first longer ranking, as a multiple of the ordinary one
    max_hits: int | None = None  # of a ranking; None: as many as the index answers
