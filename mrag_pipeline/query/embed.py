"""Second step: the windows of several queries are embedded in one batch.

Needs the model and knows no index; an `EmbeddedQuery` can be sent to where the index is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrag_pipeline.domain.aspects import Aspect, aspects_of
from mrag_pipeline.domain.heads import Embeddings, EncoderCard
from mrag_pipeline.domain.strategies import Strategy
from mrag_pipeline.domain.windows import Window
from mrag_pipeline.ports import Encoder, Segmenter
from mrag_pipeline.query.checks import check_query
from mrag_pipeline.query.cut import cut, windows_to_search
from mrag_pipeline.query.question import EmbeddedQuery, Query
from mrag_pipeline.settings.retrieve import RetrieveSpec


@dataclass(frozen=True, slots=True)
class CutQuery:
    """A query and the windows that it was cut into."""

    query: Query
    strategy: Strategy
    windows: tuple[Window, ...]


class QueryEmbedder:
    """Cuts queries into windows and embeds the windows of all of them in one batch."""

    def __init__(
        self, encoder: Encoder, segmenter: Segmenter, spec: RetrieveSpec | None = None
    ) -> None:
        self._encoder = encoder
        self._segmenter = segmenter
        self._spec = spec or RetrieveSpec()

    @property
    def card(self) -> EncoderCard:
        """What the model is."""
        return self._encoder.card

    def embed(self, queries: Sequence[Query]) -> list[EmbeddedQuery]:
        """The queries' windows and their embeddings, in order, from one call of the encoder.

        Raises: ConfigError, as `check_query` does.
        """
        if not queries:
            return []
        started = time.perf_counter()
        cuts = [self.cut(query) for query in queries]
        cut_done = time.perf_counter()
        texts = list(dict.fromkeys(window.text for one in cuts for window in one.windows))
        row_of = {text: row for row, text in enumerate(texts)}
        embeddings = self.encode(texts)
        seconds = {"windows": cut_done - started, "encode": time.perf_counter() - cut_done}
        embedded = []
        for one in cuts:
            rows = np.array([row_of[window.text] for window in one.windows], np.intp)
            embedded.append(self.chosen(one, embeddings, rows, seconds, len(queries)))
        return embedded

    def cut(self, query: Query) -> CutQuery:
        """The query's windows.

        Raises: ConfigError, as `check_query` does.
        """
        strategy = check_query(query, self._spec)
        windows = cut(query, strategy, self._segmenter, self._spec.windows)
        return CutQuery(query, strategy, tuple(windows))

    def encode(self, texts: Sequence[str]) -> Embeddings:
        """The embeddings of windows' texts."""
        return self._encoder.encode(texts, "query")

    def chosen(
        self,
        cut_query: CutQuery,
        embeddings: Embeddings,
        rows: NDArray[np.intp],
        seconds: Mapping[str, float],
        num_batched: int,
    ) -> EmbeddedQuery:
        """The windows to search, of those that the query was cut into.

        Args:
            rows: (W,), the row of `embeddings` of each window.
            seconds: by phase; num_batched: queries that were embedded together.
        """
        query, strategy, windows = cut_query.query, cut_query.strategy, cut_query.windows
        standard = embeddings.standard[rows]
        searched = windows_to_search(query, strategy, standard, self._spec.windows)
        return EmbeddedQuery(
            tuple(windows[row] for row in searched.tolist()),
            _rows(embeddings, rows[searched]),
            seconds,
            num_batched,
            tuple(self._aspects(query, windows, standard, searched)),
        )

    def _aspects(
        self,
        query: Query,
        windows: Sequence[Window],
        standard: NDArray[np.float32],
        searched: NDArray[np.intp],
    ) -> list[Aspect]:
        """The query's aspects, whose windows are rows of those that are searched.

        Args:
            windows: as they were cut; standard: (W, E) of them.
            searched: rows of `windows`; one that is not searched is like one of these.
        """
        is_long = all(window.scale in ("query", "span") for window in windows[1:])
        sentences = self._segmenter.sentences(query.text) if is_long and len(windows) > 1 else ()
        if len(sentences) > self._spec.windows.max_windows:
            sentences = ()
        nearest = (standard @ standard[searched].T).argmax(axis=1).tolist()  # itself if searched
        return [
            replace(aspect, windows=tuple(dict.fromkeys(nearest[row] for row in aspect.windows)))
            for aspect in aspects_of(query.text, windows, sentences)
        ]


def _rows(embeddings: Embeddings, rows: NDArray[np.intp]) -> Embeddings:
    """Those rows; the embeddings themselves, not a copy, if that is all of them in order."""
    if len(rows) == len(embeddings) and np.array_equal(rows, np.arange(len(rows))):
        return embeddings
    return embeddings.of_rows(rows)
