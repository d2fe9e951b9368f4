"""`[retrieve.windows]`: how a query is cut into windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from mrag_pipeline.settings.bounds import Count, PositiveCount, Share


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How a query is cut. Results are stable around the defaults on both of the paper's sets."""

    short_words: Count = 16  # a query of at most this many is one window
    span_words: PositiveCount = 12  # in the smallest windows, which overlap by half
    run_words: PositiveCount = 64  # sentences are merged up to this length; longer ones are cut
    max_windows: Annotated[int, Interval(ge=1, le=1_000)] = 128  # the most distinct are kept
    clause_words: Count = 64  # a question of at most this many is cut into its clauses too
    part_words: PositiveCount = 13  # of the overlapping parts of a sentence, at most...
    min_part_words: PositiveCount = 4  # ...and at least; 3 n words are cut into parts of n
    same_cosine: Share = 0.95  # of standard embeddings; such windows are near-duplicates
