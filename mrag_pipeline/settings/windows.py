"""How a question is cut into aspect windows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How a query is cut. The defaults lie on a plateau on both of the paper's sets."""

    short_words: int = 16  # a query of no more is one window
    span_words: int = 12  # of the smallest windows, which overlap by half
    run_words: int = 64  # sentences are merged up to this; a longer one is cut
    max_windows: int = 128  # the most distinct are kept
    same_cosine: float = 0.95  # of standard embeddings; such windows are near-duplicates
