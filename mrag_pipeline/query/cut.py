"""First step: a query is cut into the windows that its strategy searches.

How a text is cut is `domain/windows`; sentences come from the encoder's `Segmenter`.
Shape legend: W windows, E standard width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.clauses import question_windows
from mrag_pipeline.domain.strategies import Strategy
from mrag_pipeline.domain.windows import Scale, Window, given, most_distinct, whole, windows_of
from mrag_pipeline.ports import Segmenter
from mrag_pipeline.query.question import Query
from mrag_pipeline.settings.windows import WindowSpec


def cut(query: Query, strategy: Strategy, segmenter: Segmenter, spec: WindowSpec) -> list[Window]:
    """The query's windows, at least one: the whole query, the caller's windows, or ours.

    The caller's windows are in place of ours, as they are. Where the whole question is one of the
    windows it stays the first of them.
    """
    if strategy.windows == "query":
        return [whole(query.text)]
    if query.windows:
        scale: Scale = "sub-query" if strategy.windows == "sub-queries" else "given"
        texts = [text for text in query.windows if text.strip()]
        windows = [given(query.text, text, scale) for text in texts]
        if strategy.windows != "question":
            return windows
        others = [window for window in windows if window.text.split() != query.text.split()]
        return [whole(query.text), *others]
    if strategy.windows == "question":
        return question_windows(query.text, segmenter.sentences(query.text), spec)
    return windows_of(query.text, segmenter.sentences(query.text), spec)


def windows_to_search(
    query: Query, strategy: Strategy, standard: NDArray[np.floating], spec: WindowSpec
) -> NDArray[np.intp]:
    """The rows of the windows to search, rising: near-duplicates among our own are dropped.

    Args:
        standard: (W, E), the windows' standard embeddings, of unit length.
    """
    if strategy.windows in ("aspects", "question") and not query.windows and len(standard) > 1:
        return most_distinct(standard, spec)
    return np.arange(len(standard))
