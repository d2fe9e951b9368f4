"""How a query is cut into aspect windows; no table of the config file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How a query is cut. Results are stable around the defaults on both of the paper's sets."""

    short_words: int = 16  # a query of at most this many is one window
    span_words: int = 12  # in the smallest windows, which overlap by half
    run_words: int = 64  # sentences are merged up to this length; longer ones are cut
    max_windows: int = 128  # the most distinct are kept
    clause_words: int = 64  # a question of at most this many is cut into its clauses too
    part_words: int = 16  # of the overlapping parts of a sentence, at most...
    min_part_words: int = 5  # ...and at least; a question of 3 n words is cut into parts of n
    same_cosine: float = 0.95  # of standard embeddings; such windows are near-duplicates
