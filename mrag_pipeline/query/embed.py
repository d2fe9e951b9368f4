"""A query's first half: cut into windows and embedded. Needs the model, knows no index.

What it gives can be sent to where the index is. Shape legend: W windows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mrag_pipeline.domain import strategies
from mrag_pipeline.domain.heads import Embeddings, EncoderCard
from mrag_pipeline.domain.strategies import Strategy
from mrag_pipeline.domain.windows import Scale, Window, given, most_distinct, whole, windows_of
from mrag_pipeline.errors import ConfigError
from mrag_pipeline.ports import Encoder, Segmenter
from mrag_pipeline.settings.retrieve import RetrieveSpec


@dataclass(frozen=True, slots=True)
class Query:
    """A query and how it is to be read."""

    query: str
    strategy: str = strategies.DEFAULT
    windows: tuple[str, ...] = ()  # instead of ours; a fusion strategy's sub-queries


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedQuery:
    """What is searched for one query: row w of `embeddings` is `windows[w]`'s."""

    windows: tuple[Window, ...]
    embeddings: Embeddings  # of W windows
    seconds: Mapping[str, float]  # by phase: windows, encode; of the whole batch it was in
    num_batched: int = 1  # queries in that batch


class QueryEmbedder:
    """Cuts queries into windows and embeds the windows of all of them in one batch."""

    def __init__(
        self, encoder: Encoder, segmenter: Segmenter, spec: RetrieveSpec | None = None
    ) -> None:
        self._encoder = encoder
        self._segmenter = segmenter
        self._spec = (spec or RetrieveSpec()).windows

    @property
    def card(self) -> EncoderCard:
        """What the model is."""
        return self._encoder.card

    def embed(self, asked: Sequence[Query]) -> list[EmbeddedQuery]:
        """The queries' windows and their embeddings, in order, from one call of the encoder.

        Raises: ConfigError for a query without text, no such strategy, missing sub-queries, or
            windows where the strategy takes none.
        """
        began = time.perf_counter()
        chosen = [check_query(one) for one in asked]
        cuts = [self._cut(one, how) for one, how in zip(asked, chosen, strict=True)]
        if not cuts:
            return []
        cut = time.perf_counter()
        texts = list(dict.fromkeys(window.text for windows in cuts for window in windows))
        place = {text: row for row, text in enumerate(texts)}
        made = self._encoder.encode(texts, "query")
        seconds = {"windows": cut - began, "encode": time.perf_counter() - cut}
        embedded = []
        for one, how, windows in zip(asked, chosen, cuts, strict=True):
            rows = np.array([place[window.text] for window in windows], np.intp)
            if how.windows == "aspects" and not one.windows and len(windows) > 1:
                kept = most_distinct(made.standard[rows], self._spec)
                windows, rows = [windows[at] for at in kept.tolist()], rows[kept]
            taken = _taken(made, rows)
            embedded.append(EmbeddedQuery(tuple(windows), taken, seconds, len(asked)))
        return embedded

    def _cut(self, asked: Query, chosen: Strategy) -> list[Window]:
        if chosen.windows == "query":
            return [whole(asked.query)]
        if asked.windows:
            scale: Scale = "sub-query" if chosen.windows == "sub-queries" else "given"
            texts = [text for text in asked.windows if text.strip()]
            return [given(asked.query, text, scale) for text in texts]
        return windows_of(asked.query, self._segmenter.sentences(asked.query), self._spec)


def _taken(made: Embeddings, rows: np.ndarray) -> Embeddings:
    if len(rows) == len(made) and np.array_equal(rows, np.arange(len(rows))):
        return made
    return Embeddings(made.heads[rows], made.standard[rows], made.num_tokens[rows])


def check_query(asked: Query) -> Strategy:
    """The strategy, if the query can be asked by it.

    Raises: ConfigError for a query without text, no such strategy, missing sub-queries, or
        windows where the strategy takes none.
    """
    chosen = strategies.strategy(asked.strategy)
    if not asked.query.strip():
        raise ConfigError("a query without text", "some words to look for")
    has_text = any(text.strip() for text in asked.windows)
    if chosen.windows == "sub-queries" and not has_text:
        raise ConfigError(
            f"the strategy {chosen.name} without sub-queries",
            "the query put in several ways, as an LLM would",
            "give them with the query, or use `aspect`: it needs none",
        )
    if asked.windows and chosen.windows == "query":
        raise ConfigError(
            f"windows for the strategy {chosen.name}",
            "none: it searches by the whole query",
            "leave them out, or use `aspect` or `standard-windows`",
        )
    if asked.windows and not has_text:
        raise ConfigError("windows without text", "some words in at least one of them")
    return chosen
